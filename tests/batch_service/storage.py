"""Blob storage as a node sees it: plain HTTP with the SAS that a task brought, or the identity's own key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from tests.batch_service.processes import TaskError

BLOCK_BYTES = 32 * 2**20
SINGLE_PUT_BYTES = 100 * 2**20
CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 60.0
VERSION = "2021-12-02"


class StorageError(Exception):
    """A storage service's refusal."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Identity:
    """What stands for a managed identity here: an account with its key."""

    account: str
    key: str

    def sign(self, method: str, url: str, headers: Mapping[str, str], length: int) -> str:
        """The Authorization header of storage's SharedKey scheme."""
        parts = urlsplit(url)
        ours = sorted(
            (name.lower(), value) for name, value in headers.items() if name.lower().startswith("x-ms-")
        )
        query = sorted((name.lower(), value) for name, value in parse_qsl(parts.query, keep_blank_values=True))
        plain = {name.lower(): value for name, value in headers.items()}
        standard = [
            "",
            "",
            str(length) if length else "",
            "",
            plain.get("content-type", ""),
            "",
            "",
            "",
            "",
            "",
            "",
        ]
        lines = [method, *standard, *(f"{name}:{value}" for name, value in ours)]
        lines.append(f"/{self.account}{parts.path}" + "".join(f"\n{name}:{value}" for name, value in query))
        digest = hmac.new(base64.b64decode(self.key), "\n".join(lines).encode(), hashlib.sha256).digest()
        return f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"


def _request(
    method: str,
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | BinaryIO | None = None,
    length: int = 0,
    identity: Identity | None = None,
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StorageError(400, "InvalidUri")
    own = dict(headers or {})
    if identity is not None:
        own |= {"x-ms-version": VERSION, "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
        own["Authorization"] = identity.sign(method, url, own, length)
    if method == "PUT":
        own["Content-Length"] = str(length)
    connection = _connect(parts.scheme, parts.hostname, parts.port)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body, own)
        return connection, connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise StorageError(503, type(error).__name__) from error


def _connect(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)


def _checked(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if response.status >= 300:
        raise StorageError(response.status, response.headers.get("x-ms-error-code") or response.reason)
    return response


def download(url: str, target: Path, identity: Identity | None = None) -> None:
    """Writes what `url` serves to `target`; StorageError when storage refuses."""
    connection, response = _request("GET", url, identity=identity)
    try:
        _checked(response)
        with target.open("wb") as out:
            while chunk := response.read(CHUNK_BYTES):
                out.write(chunk)
        if response.length:
            raise StorageError(503, "IncompleteRead")
    except http.client.HTTPException as error:
        raise StorageError(503, type(error).__name__) from error
    finally:
        connection.close()


def blob_url(container_url: str, name: str) -> str:
    """The address of a blob in a container whose address may end in a SAS."""
    parts = urlsplit(container_url)
    path = f"{parts.path.rstrip('/')}/{quote(name, safe='/~')}"
    return parts._replace(path=path).geturl()


def list_blobs(container_url: str, prefix: str, identity: Identity | None = None) -> Iterator[str]:
    """The names of all blobs that begin with `prefix`."""
    marker = ""
    while True:
        query = {"restype": "container", "comp": "list", "prefix": prefix, "marker": marker}
        parts = urlsplit(container_url)
        more = urlencode({name: value for name, value in query.items() if value}, quote_via=quote)
        url = parts._replace(query="&".join(filter(None, (parts.query, more)))).geturl()
        connection, response = _request("GET", url, identity=identity)
        try:
            tree = ElementTree.fromstring(_checked(response).read())
        finally:
            connection.close()
        yield from (name.text or "" for name in tree.iterfind("./Blobs/Blob/Name"))
        marker = tree.findtext("NextMarker") or ""
        if not marker:
            return


def upload(
    container_url: str, name: str, source: Path, headers: Mapping[str, str], identity: Identity | None = None
) -> None:
    """Writes a file to a block blob, in blocks when it is large."""
    size = source.stat().st_size
    url = blob_url(container_url, name)
    with source.open("rb") as file:
        if size <= SINGLE_PUT_BYTES:
            _put(url, {"x-ms-blob-type": "BlockBlob", **headers}, file.read(), identity)
            return
        names: list[str] = []
        while block := file.read(BLOCK_BYTES):
            names.append(base64.b64encode(f"{len(names):08d}".encode()).decode())
            _put(_with_query(url, comp="block", blockid=names[-1]), {}, block, identity)
    listed = "".join(f"<Latest>{block_name}</Latest>" for block_name in names)
    document = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
    _put(_with_query(url, comp="blocklist"), headers, document.encode(), identity)


def _put(url: str, headers: Mapping[str, str], body: bytes, identity: Identity | None) -> None:
    own = {"Content-Type": "application/octet-stream", **headers}
    connection, response = _request("PUT", url, own, body, len(body), identity)
    try:
        _checked(response).read()
    finally:
        connection.close()


def _with_query(url: str, **more: str) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(more))))
    return parts._replace(query=query).geturl()


def name_of(url: str) -> str:
    """The last part of a URL's path, for messages that must not show a SAS."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{unquote(parts.path)}"


def download_failure(error: StorageError, file_path: str, url: str) -> TaskError:
    """A refused download as the task's failure."""
    details = {"FilePath": file_path, "BlobSource": name_of(url), "HttpStatus": str(error.status)}
    if error.status == 404:
        return TaskError("BlobNotFound", "The specified Azure Blob is not found.", details=details)
    if error.status in (401, 403, 409):
        return TaskError("BlobAccessDenied", "Access to the specified Azure Blob is denied.", details=details)
    message = f"An Azure Blob could not be downloaded: {error}"
    return TaskError("BlobDownloadMiscError", message, "servererror", details)
