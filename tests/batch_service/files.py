"""The operations on files of tasks and nodes."""

from __future__ import annotations

import mimetypes
import os
import re
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError
from tests.batch_service.state import Body
from tests.batch_service.times import format_time
from tests.batch_service.wire import check_conditions, http_date, page, skip_token

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def _task_root(app: App, request: Request) -> tuple[Path, str]:
    """A task's folder, and the URL of its files."""
    task = app.service.task(request.path_params["job"], request.path_params["task"])
    place = task.body.get("nodeInfo")
    if place is None:
        raise BatchError("TaskFilesUnavailable", message="The task has not run yet: it has no files.")
    pool = app.service.pools.get(place["poolId"].lower())
    node = pool.nodes.get(place["nodeId"].lower()) if pool else None
    if node is None:
        raise BatchError("NodeNotFound")
    folder = node.folder / place["taskRootDirectory"]
    if not folder.is_dir():
        raise BatchError("TaskFilesUnavailable")
    return folder, f"{task.body['url']}/files"


def _node_root(app: App, request: Request) -> tuple[Path, str]:
    node = app.service.node(request.path_params["pool"], request.path_params["node"])
    if not node.folder.is_dir() or node.state in ("creating", "preempted", "deallocated"):
        raise BatchError("OperationNotValidOnNode", Reason=f"the node is {node.state}")
    return node.folder, f"{node.body['url']}/files"


def _root(app: App, request: Request) -> tuple[Path, str]:
    return _task_root(app, request) if "task" in request.path_params else _node_root(app, request)


async def list_files(app: App, request: Request) -> Response:
    folder, url = _root(app, request)
    recursive = request.query_params.get("recursive", "false").lower() == "true"
    token = skip_token(request)
    names = sorted(name for name in _names(folder, recursive) if name > token)
    items = ((name, lambda name=name: _entry(folder, url, name)) for name in names)
    return await page(app.service, request, "files", items)


def _names(folder: Path, recursive: bool) -> Iterator[str]:
    if not recursive:
        yield from (entry.name for entry in os.scandir(folder))
        return
    for place, folders, files in os.walk(folder):
        relative = Path(place).relative_to(folder)
        yield from ((relative / name).as_posix() for name in folders + files)


def _entry(folder: Path, url: str, name: str) -> Body:
    path = folder / name
    entry: Body = {"name": name, "url": f"{url}/{quote(name, safe='')}", "isDirectory": path.is_dir()}
    if path.is_file():
        entry["properties"] = _properties(path)
    return entry


def _properties(path: Path) -> Body:
    facts = path.stat()
    return {
        "creationTime": _time(facts.st_ctime),
        "lastModified": _time(facts.st_mtime),
        "contentLength": str(facts.st_size),
        "contentType": _content_type(path),
        "fileMode": f"0o{facts.st_mode:o}",
    }


def _time(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))


def _content_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _file(app: App, request: Request) -> tuple[Path, str]:
    """The path of the file that the request names; none outside its task or node."""
    folder, url = _root(app, request)
    name = request.path_params["path"]
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(folder) or not path.exists():
        raise BatchError("FileNotFound")
    return path, f"{url}/{quote(name, safe='')}"


def _headers(path: Path, url: str) -> dict[str, str]:
    facts = path.stat()
    return {
        "Last-Modified": http_date(_time(facts.st_mtime)),
        "ETag": f"0x{facts.st_mtime_ns // 100:X}",
        "ocp-creation-time": http_date(_time(facts.st_ctime)),
        "ocp-batch-file-isdirectory": str(stat.S_ISDIR(facts.st_mode)),
        "ocp-batch-file-url": url,
        "ocp-batch-file-mode": f"0o{facts.st_mode:o}",
    }


def _check_conditions(request: Request, path: Path) -> None:
    facts = path.stat()
    check_conditions(
        request, {"eTag": f"0x{facts.st_mtime_ns // 100:X}", "lastModified": _time(facts.st_mtime)}
    )


async def file_properties(app: App, request: Request) -> Response:
    path, url = _file(app, request)
    _check_conditions(request, path)
    size = 0 if path.is_dir() else path.stat().st_size
    headers = {**_headers(path, url), "Content-Length": str(size)}
    return Response(None, 200, headers, _content_type(path))


async def get_file(app: App, request: Request) -> Response:
    path, url = _file(app, request)
    _check_conditions(request, path)
    if path.is_dir():
        raise BatchError("OperationInvalidForCurrentState", Reason="a directory has no content")
    size = path.stat().st_size
    first, last = _span(request, size)
    with path.open("rb") as file:
        file.seek(first)
        content = file.read(last - first + 1)
    headers = _headers(path, url)
    is_part = len(content) < size
    if is_part:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    status = 206 if is_part and app.service.faults.partial_content else 200
    return Response(content, status, headers, _content_type(path))


def _span(request: Request, size: int) -> tuple[int, int]:
    """The first and the last byte asked for; the whole file without a range."""
    text = request.headers.get("ocp-range") or request.headers.get("range")
    if not text:
        return 0, size - 1
    found = RANGE.fullmatch(text.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        raise BatchError("InvalidHeaderValue", HeaderName="ocp-range", HeaderValue=text)
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    first, last = int(found[1]), min(size - 1, int(found[2] or size))
    if first >= size or (found[2] and int(found[2]) < first):
        raise BatchError("InvalidRange", headers={"Content-Range": f"bytes */{size}"})
    return first, last


async def delete_file(app: App, request: Request) -> Response:
    path, _ = _file(app, request)
    recursive = request.query_params.get("recursive", "false").lower() == "true"
    if not path.is_dir():
        path.unlink()
    elif recursive:
        shutil.rmtree(path)
    elif any(path.iterdir()):
        raise BatchError("OperationInvalidForCurrentState", Reason="the directory is not empty")
    else:
        path.rmdir()
    return Response(None, 200)
