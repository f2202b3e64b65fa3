"""One container in Blob storage, with the standard library alone: put, get, head, append.

A container is named by its URL, with a SAS or, for a pool with a managed identity, without one. Its query
string is a secret: no error carries it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from renderfarm.errors import PoolError
from renderfarm.queues.azure.on_node.identity import Identity, TokenError
from renderfarm.queues.azure.on_node.wire import WAITS, Body, LostError, Reply, Wire

API_VERSION = "2021-08-06"
"""new enough for blocks of 4 GB, old enough for every service in use"""
LARGE_BYTES = 100 << 20
"""larger blobs go up in blocks of this size, so that a broken connection costs one of them"""
JOURNAL_FULL = "BlockCountExceedsLimit"
_CODE = re.compile(rb"<Code>(\w+)</Code>")


class BlobError(PoolError):
    """Storage did not do what it was asked for; `status` 0: it could not be reached."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def missing(self) -> bool:
        """The blob or its container is not there."""
        return self.status == 404

    @property
    def refused(self) -> bool:
        """The signature has run out, or does not allow this."""
        return self.status in (401, 403)


class BlobClient:
    """One container; safe to use from many threads."""

    def __init__(self, url: str, identity: Identity | None = None, waits: tuple[float, ...] = WAITS) -> None:
        parts = urlsplit(url)
        self.name = parts.path.rstrip("/").rpartition("/")[2]
        """the container's, for messages"""
        self._path = parts.path.rstrip("/")
        self._signature = parts.query
        self._identity = identity
        self._wire = Wire(url, waits)

    def __enter__(self) -> BlobClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.close()

    def put(
        self, name: str, source: Body, metadata: Mapping[str, str] | None = None, if_absent: bool = False
    ) -> bool:
        """Write a blob whole or not at all; False when `if_absent` and it is there already."""
        headers = {f"x-ms-meta-{key}": value for key, value in (metadata or {}).items()}
        if if_absent:
            headers["If-None-Match"] = "*"
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > LARGE_BYTES:
            reply = self._put_blocks(name, source, headers)
        else:
            reply = self._ask("PUT", name, headers={**headers, "x-ms-blob-type": "BlockBlob"}, body=source)
        if if_absent and reply.status in (409, 412):
            return False
        self._check(reply, "put", name)
        return True

    def _put_blocks(self, name: str, source: Body, headers: Mapping[str, str]) -> Reply:
        entries = []
        for number, block in enumerate(_blocks(source)):
            block_id = base64.b64encode(f"{number:08d}".encode()).decode()
            reply = self._ask("PUT", name, f"comp=block&blockid={quote(block_id, safe='')}", body=block)
            self._check(reply, "put", name)
            entries.append(f"<Latest>{block_id}</Latest>")
        listing = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{''.join(entries)}</BlockList>"
        return self._ask("PUT", name, "comp=blocklist", headers, listing.encode())

    def get(self, name: str, target: Path, sha256: str | None = None) -> None:
        """Bring a blob to a file, which appears whole and, with `sha256`, verified, or not at all."""
        draft = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            with draft.open("w+b") as file:
                self._check(self._ask("GET", name, into=file), "get", name)
                if sha256 is not None and (found := _digest(file)) != sha256:
                    message = f"{self.name}/{name} came with the SHA-256 {found}, not {sha256}."
                    raise BlobError(message, 200, "WrongContent")
            draft.replace(target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()

    def read(self, name: str) -> bytes:
        """A small blob's bytes."""
        reply = self._ask("GET", name)
        self._check(reply, "get", name)
        return reply.data

    def head(self, name: str) -> dict[str, str] | None:
        """A blob's metadata; None when there is no such blob."""
        reply = self._ask("HEAD", name)
        if reply.status == 404 and _code(reply) != "ContainerNotFound":
            return None
        self._check(reply, "look at", name)
        start = "x-ms-meta-"
        return {key[len(start) :]: value for key, value in reply.headers.items() if key.startswith(start)}

    def append(self, name: str, data: bytes) -> None:
        """Add a block to an append blob, which is made when it is not there.

        A block whose answer got lost may be added twice. Raises BlobError with the code JOURNAL_FULL when the
        blob has its 50,000 blocks.
        """
        reply = self._ask("PUT", name, "comp=appendblock", body=data)
        if reply.status == 404 and _code(reply) == "BlobNotFound":
            headers = {"x-ms-blob-type": "AppendBlob", "If-None-Match": "*"}
            made = self._ask("PUT", name, headers=headers)
            if made.status not in (409, 412):
                self._check(made, "make", name)
            reply = self._ask("PUT", name, "comp=appendblock", body=data)
        self._check(reply, "append to", name)

    def _ask(
        self,
        method: str,
        name: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        into: BinaryIO | None = None,
    ) -> Reply:
        """One request; a download goes on where a connection broke, a refused token is renewed once."""
        target = f"{self._path}/{quote(name)}"
        full_query = "&".join(part for part in (query, self._signature) if part)
        target += f"?{full_query}" if full_query else ""

        def all_headers() -> dict[str, str]:
            start = into.tell() if into else 0
            more = {"Range": f"bytes={start}-"} if start else {}
            return {**self._standard_headers(), **(headers or {}), **more}

        try:
            reply = self._wire.ask(method, target, all_headers, body, into)
            if reply.status == 401 and self._identity:
                self._identity.forget()
                reply = self._wire.ask(method, target, all_headers, body, into)
        except LostError as error:
            raise BlobError(f"Storage could not be reached for {self.name}/{name}: {error}.") from error
        except TokenError as error:
            raise BlobError(f"{error}.", 401, "NoToken") from error
        return reply

    def _standard_headers(self) -> dict[str, str]:
        headers = {"x-ms-version": API_VERSION, "x-ms-date": formatdate(usegmt=True)}
        if self._identity:
            headers["Authorization"] = f"Bearer {self._identity.token()}"
        return headers

    def _check(self, reply: Reply, verb: str, name: str) -> None:
        if reply.status // 100 != 2:
            code = _code(reply)
            message = f"Storage did not let us {verb} {self.name}/{name}: {reply.status} {code}".rstrip() + "."
            raise BlobError(message, reply.status, code)


def _code(reply: Reply) -> str:
    found = _CODE.search(reply.data)
    return reply.headers.get("x-ms-error-code", "") or (found[1].decode() if found else "")


def _blocks(source: Body) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), LARGE_BYTES):
            yield source[start : start + LARGE_BYTES]
        return
    with source.open("rb") as file:
        while block := file.read(LARGE_BYTES):
            yield block


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
