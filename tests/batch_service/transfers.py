"""Resource files onto a node before a task, and output files off it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.batch_service.processes import TaskError
from tests.batch_service.state import Body, Service
from tests.batch_service.storage import (
    Identity,
    StorageError,
    blob_url,
    download,
    download_failure,
    list_blobs,
    name_of,
    upload,
)

ATTEMPTS = 3
"""for what storage could not serve just then"""
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
THREADS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="transfer")


async def fetch_all(service: Service, files: Sequence[Body], folder: Path) -> None:
    """Brings every resource file into `folder`; TaskError names the first that can't be had."""
    loop = asyncio.get_running_loop()
    for file in files:
        if service.faults.denies("download", str(file)):
            raise download_failure(
                StorageError(403, "AuthenticationFailed"), str(file.get("filePath", "")), _source(file)
            )
        await loop.run_in_executor(THREADS, _fetch, service, file, folder)


def _source(file: Body) -> str:
    return str(file.get("httpUrl") or file.get("storageContainerUrl") or "")


def _identity(service: Service, holder: Body) -> Identity | None:
    settings = service.settings
    if not holder.get("identityReference") or not settings.storage_account or not settings.storage_key:
        return None
    return Identity(settings.storage_account, settings.storage_key)


def _fetch(service: Service, file: Body, folder: Path) -> None:
    identity = _identity(service, file)
    where = str(file.get("filePath") or "")
    mode = int(str(file.get("fileMode") or "0770").removeprefix("0o"), 8)
    if url := file.get("httpUrl"):
        _fetch_one(url, where, _inside(folder, where), mode, identity)
        return
    container = file.get("storageContainerUrl") or ""
    if not container:
        message = "The account has no auto storage; give a URL instead of autoStorageContainerName."
        raise TaskError("BlobAccessDenied", message, details={"FilePath": where})
    try:
        names = list(
            _with_patience(lambda: list(list_blobs(container, file.get("blobPrefix") or "", identity)))
        )
    except StorageError as error:
        raise download_failure(error, where, container) from None
    for name in names:
        relative = f"{where}/{name}" if where else name
        _fetch_one(blob_url(container, name), relative, _inside(folder, relative), mode, identity)


def _inside(folder: Path, relative: str) -> Path:
    """Where a resource file goes; it must not leave the folder."""
    target = Path(os.path.normpath(folder / relative))
    if not relative or not target.is_relative_to(folder) or target == folder:
        message = "A resource file's path must lie inside the working directory."
        raise TaskError("ResourceFileCreateFailed", message, details={"FilePath": relative})
    return target


def _fetch_one(url: str, relative: str, target: Path, mode: int, identity: Identity | None) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _with_patience(lambda: download(url, target, identity))
        target.chmod(mode)
    except StorageError as error:
        raise download_failure(error, relative, url) from None
    except OSError as error:
        details = {"FilePath": relative, "Message": str(error)}
        raise TaskError(
            "ResourceFileWriteFailed", "A resource file can't be written.", details=details
        ) from None


def _with_patience(work: Any) -> Any:
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except StorageError as error:
            if error.status < 500 or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def wanted(file: Body, has_succeeded: bool) -> bool:
    """Whether an output file's condition holds."""
    condition = str(file["uploadOptions"]["uploadCondition"]).lower()
    return condition == "taskcompletion" or (condition == "tasksuccess") == has_succeeded


async def send_all(
    service: Service, files: Sequence[Body], folder: Path, environment: Mapping[str, str], has_succeeded: bool
) -> None:
    """Uploads what the patterns find and tells of it in fileuploadout.txt; TaskError when storage refuses."""
    chosen = [file for file in files if wanted(file, has_succeeded)]
    if not chosen or service.faults.has_defect("outputs_lost"):
        return
    loop = asyncio.get_running_loop()
    report, trouble = folder.parent / "fileuploadout.txt", folder.parent / "fileuploaderr.txt"
    trouble.touch()
    for file in chosen:
        denied = service.faults.denies("upload", str(file))
        try:
            await loop.run_in_executor(THREADS, _send, service, file, folder, environment, report, denied)
        except TaskError as failure:
            trouble.write_text(f"{failure.code}: {failure.message} {dict(failure.details)}\n")
            raise


async def send_log(service: Service, destination: Body, name: str, source: Path) -> None:
    """Uploads one file to `containerUrl`; nobody learns what storage says to it."""
    url, identity = destination["containerUrl"], _identity(service, destination)
    with contextlib.suppress(StorageError):
        await asyncio.get_running_loop().run_in_executor(THREADS, upload, url, name, source, {}, identity)


def _send(
    service: Service, file: Body, folder: Path, environment: Mapping[str, str], report: Path, denied: bool
) -> None:
    container = file["destination"]["container"]
    url, identity = container["containerUrl"], _identity(service, container)
    headers = {header["name"]: header.get("value") or "" for header in container.get("uploadHeaders") or []}
    pattern = expand(file["filePattern"], environment)
    with report.open("a") as log:
        for source, name in found(folder, pattern, container.get("path") or ""):
            try:
                if denied:
                    raise StorageError(403, "AuthenticationFailed")
                _with_patience(lambda: upload(url, name, source, headers, identity))  # noqa: B023
            except StorageError as error:
                raise _upload_failure(error, source, url) from None
            log.write(f"{source} -> {name}\n")


def _upload_failure(error: StorageError, source: Path, url: str) -> TaskError:
    details = {"FilePath": str(source), "Container": name_of(url), "HttpStatus": str(error.status)}
    if error.code == "ContainerNotFound" or error.status == 404:
        return TaskError(
            "FileUploadContainerNotFound", "The container of an output file is not found.", details=details
        )
    if error.status in (401, 403):
        return TaskError(
            "FileUploadAccessDenied", "Access to an output file's container is denied.", details=details
        )
    return TaskError(
        "FileUploadMiscError", f"An output file could not be uploaded: {error}", "servererror", details
    )


def expand(pattern: str, environment: Mapping[str, str]) -> str:
    """`$VAR` and `${VAR}` replaced by what the task sees."""
    return VARIABLE.sub(lambda found: environment.get(found[1] or found[2], ""), pattern)


def found(folder: Path, pattern: str, path: str) -> Iterator[tuple[Path, str]]:
    """Each file of the pattern with the blob's name: `path` itself, or a prefix when there are wildcards."""
    if not any(mark in pattern for mark in "*?["):
        source = Path(os.path.normpath(folder / pattern))
        if source.is_file():
            yield source, path or source.name
        return
    start = Path(os.path.normpath(folder / _fixed_part(pattern)))
    rule = pattern[len(_fixed_part(pattern)) :]
    for name in sorted(glob.glob(rule, root_dir=start, recursive=True)):  # noqa: PTH207
        if (start / name).is_file():
            yield start / name, "/".join(filter(None, (path.rstrip("/"), name)))


def _fixed_part(pattern: str) -> str:
    """The folders before the first wildcard; names of blobs are relative to them."""
    head = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return head[: head.rfind("/") + 1]
