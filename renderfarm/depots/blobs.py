"""Blob storage with the standard library alone: the client of nodes and farm, and one job's depot in it.

A container is named by its URL, with a SAS or, for a pool with a managed identity, without one. Its query
string is a secret: no error carries it. The SDK takes 2.7 ms of CPU for a small download, this some tenths.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from renderfarm.depots import listing
from renderfarm.depots.identity import Identity, TokenError
from renderfarm.depots.listing import META, Blob
from renderfarm.depots.wire import BUSY, WAITS, Body, LostError, Reply, Wire
from renderfarm.errors import PoolError

API_VERSION = "2021-08-06"
"""new enough for blocks of 4 GB, old enough for every service in use"""
LARGE_BYTES = 100 << 20
"""larger blobs go up in blocks of this size, so that a broken connection costs one of them"""
FULL = "BlockCountExceedsLimit"
"""what an append blob with its 50,000 blocks answers"""
RECEIPT, SHA256 = "receipt", "sha256"
"""names of a blob's metadata"""
_CODE = re.compile(rb"<Code>(\w+)</Code>")
_NAMELESS = re.compile("getaddrinfo|gaierror|Name or service not known|nodename nor servname")
_NEW = {"If-None-Match": "*"}


class BlobError(PoolError):
    """Storage did not do what it was asked for; `status` 0: it could not be reached."""

    def __init__(self, message: str, hint: str = "", status: int = 0, code: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.transient = status == 0 or status in BUSY

    @property
    def refused(self) -> bool:
        """The signature has run out, or does not allow this."""
        return self.status in (401, 403)


class BlobMissingError(BlobError, FileNotFoundError):
    """The blob or its container is not there."""


class BlobClient:
    """One container; safe to use from many threads."""

    def __init__(
        self,
        url: str,
        identity: Identity | None = None,
        waits: tuple[float, ...] = WAITS,
        *,
        wire: Wire | None = None,
        sign: Callable[[], str] | None = None,
        hint: Callable[[int, str], str] = lambda status, code: "",
    ) -> None:
        """`sign` gives the query of a URL for now; `hint` says what to do about a status and a code."""
        parts = urlsplit(url)
        self.name = parts.path.rstrip("/").rpartition("/")[2]
        """the container's, for messages"""
        self._host, self._path = parts.netloc, parts.path.rstrip("/")
        self._sign = sign or (lambda: parts.query)
        self._identity = identity
        self._wire = wire or Wire(url, waits)
        self._hint = hint

    def __enter__(self) -> BlobClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.close()

    # Writing

    def put(
        self, name: str, source: Body, metadata: Mapping[str, str] | None = None, new: bool = False
    ) -> bool:
        """Write a blob whole or not at all; False when it must be `new` and is there already.

        A retry that meets its own success can't tell it from somebody else's.
        """
        headers = {
            **{f"{META}{key}": value for key, value in (metadata or {}).items()},
            **(_NEW if new else {}),
        }
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > LARGE_BYTES:
            return self.commit(name, self._staged_of(name, source), headers, new=new)
        reply = self._ask("PUT", name, headers={**headers, "x-ms-blob-type": "BlockBlob"}, body=source)
        return self._made(reply, name, new)

    def _staged_of(self, name: str, source: Body) -> list[str]:
        ids = []
        for number, block in enumerate(_blocks(source)):
            ids.append(f"{number:08d}")
            self.stage(name, ids[-1], block)
        return ids

    def _made(self, reply: Reply, name: str, new: bool) -> bool:
        if new and (reply.status == 412 or self._code(reply) == "BlobAlreadyExists"):
            return False
        self._check(reply, "write", name)
        return True

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Send one block of a blob that `commit` makes of its blocks; all ids have the same length."""
        query = f"comp=block&blockid={quote(_encoded(block), safe='')}"
        self._check(self._ask("PUT", name, query, body=data), "write", name)

    def staged(self, name: str) -> frozenset[str]:
        """Ids of blocks that were sent and not committed yet (the service keeps them for a week)."""
        reply = self._ask("GET", name, "comp=blocklist&blocklisttype=uncommitted")
        if reply.status == 404:
            return frozenset()
        self._check(reply, "look at", name)
        return listing.blocks(reply.data)

    def commit(
        self, name: str, blocks: Sequence[str], headers: Mapping[str, str] = _NEW, *, new: bool = True
    ) -> bool:
        """Make a blob of staged blocks; False when it is there already."""
        ids = "".join(f"<Latest>{_encoded(block)}</Latest>" for block in blocks)
        body = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{ids}</BlockList>"
        return self._made(self._ask("PUT", name, "comp=blocklist", headers, body.encode()), name, new)

    def append(self, name: str, data: bytes) -> None:
        """Add a block to an append blob, which is made when it is not there.

        A block whose answer got lost may be added twice. Raises BlobError with the code FULL when no more fit.
        """
        reply = self._ask("PUT", name, "comp=appendblock", body=data)
        if reply.status == 404 and self._code(reply) == "BlobNotFound":
            self._made(self._ask("PUT", name, headers={**_NEW, "x-ms-blob-type": "AppendBlob"}), name, True)
            reply = self._ask("PUT", name, "comp=appendblock", body=data)
        self._check(reply, "append to", name)

    def delete(self, name: str, etag: str = "") -> bool:
        """Delete a blob; False when it is not there, or is not the one that had this etag."""
        reply = self._ask("DELETE", name, headers={"If-Match": etag} if etag else {})
        if reply.status in (404, 412):
            return False
        self._check(reply, "delete", name)
        return True

    def touch(self, name: str) -> bool:
        """Make a blob as young as now, with another etag; False when it is not there."""
        used = {f"{META}used": datetime.now(timezone.utc).isoformat(timespec="seconds")}  # noqa: UP017 - 3.10
        reply = self._ask("PUT", name, "comp=metadata", used)
        if reply.status == 404:
            return False
        self._check(reply, "renew", name)
        return True

    # Reading

    def get(self, name: str, target: Path, sha256: str | None = None) -> None:
        """Bring a blob to a file, which appears whole and verified, or not at all.

        Without `sha256`, what the blob itself says of its bytes counts. Raises BlobMissingError, OSError.
        """
        draft = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            with draft.open("w+b") as file:
                reply = self._ask("GET", name, into=file)
                self._check(reply, "get", name)
                wanted = sha256 or reply.headers.get(f"{META}{SHA256}")
                if wanted is not None and (found := _digest(file)) != wanted:
                    message = f"{self.name}/{name} came with the SHA-256 {found}, not {wanted}."
                    raise BlobError(message, status=200, code="WrongContent")
            draft.replace(target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()

    def read(self, name: str, start: int = 0, limit: int | None = None) -> bytes:
        """A blob's bytes from there on; empty where there are none. Raises BlobMissingError."""
        end = "" if limit is None else str(start + limit - 1)
        reply = self._ask("GET", name, headers={"Range": f"bytes={start}-{end}"} if start or end else {})
        if reply.status == 416:
            return b""
        self._check(reply, "read", name)
        return reply.data

    def stat(self, name: str) -> Blob | None:
        """A blob with its metadata; None when it is not there."""
        reply = self._ask("HEAD", name)
        if reply.status == 404:
            return None
        self._check(reply, "look at", name)
        return listing.looked_at(name, reply.headers)

    def list(self, prefix: str = "") -> Iterator[Blob]:
        """Blobs by name; raises BlobMissingError when there is no such container."""
        marker, more = "", True
        while more:
            reply = self._ask("GET", "", listing.query(prefix, marker))
            self._check(reply, "list", "")
            found, marker = listing.page(reply.data)
            more = bool(marker)
            yield from found

    def now(self) -> datetime:
        """The service's clock, which the times of blobs are of."""
        return parsedate_to_datetime(self._ask("HEAD", "clock").headers["date"])

    # Asking

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
        target = f"{self._path}/{quote(name)}" if name else self._path
        full_query = "&".join(part for part in (query, self._sign()) if part)
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
            raise self._unreachable(name, str(error)) from error
        except TokenError as error:
            raise BlobError(f"{error}.", status=401, code="NoToken") from error
        return reply

    def _standard_headers(self) -> dict[str, str]:
        headers = {"x-ms-version": API_VERSION, "x-ms-date": formatdate(usegmt=True)}
        if self._identity:
            headers["Authorization"] = f"Bearer {self._identity.token()}"
        return headers

    def _check(self, reply: Reply, verb: str, name: str) -> None:
        if reply.status // 100 == 2:
            return
        code, place = self._code(reply), f"{self.name}/{name}".rstrip("/")
        if reply.status in BUSY:
            raise self._unreachable(name, f"it answers {reply.status}")
        kind = BlobMissingError if reply.status == 404 else BlobError
        message = f"Storage at {self._host} can't {verb} {place}: {code or 'refused'} ({reply.status})."
        raise kind(message, self._hint(reply.status, code), reply.status, code)

    def _unreachable(self, name: str, reason: str) -> BlobError:
        place = f"{self.name}/{name}".rstrip("/")
        message = f"Storage at {self._host} can't be reached for {place}: {reason}."
        if _NAMELESS.search(reason):
            message = f"There is no storage account at {self._host}, so nothing can be done with {place}."
        return BlobError(message, self._hint(0, ""))

    @staticmethod
    def _code(reply: Reply) -> str:
        found = _CODE.search(reply.data)
        return reply.headers.get("x-ms-error-code", "") or (found[1].decode() if found else "")


class BlobDepot:
    """One job's container (see `renderfarm.depots.Depot`)."""

    def __init__(self, reader: BlobClient, writer: BlobClient | None = None) -> None:
        """Nodes have one signature to read with and another one to write with."""
        self._reader, self._writer = reader, writer or reader

    def put(self, name: str, source: bytes | Path, receipt: str = "") -> None:
        """Write a blob that tells its receipt and the hash of its bytes."""
        with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext() as file:
            sha256 = _digest(file) if file else hashlib.sha256(source).hexdigest()  # type: ignore[arg-type]
        told = {RECEIPT: base64.b64encode(receipt.encode()).decode()} if receipt else {}
        self._writer.put(name, source, {**told, SHA256: sha256})

    def receipt(self, name: str) -> str | None:
        """The line that came with a file, empty where nobody can read it; None when there is no such file."""
        blob = self._reader.stat(name)
        if blob is None:
            return None
        with contextlib.suppress(ValueError):
            return base64.b64decode(blob.metadata.get(RECEIPT, "")).decode()
        return ""

    def get(self, name: str, target: Path) -> None:
        """Bring a file here."""
        self._reader.get(name, target)

    def read(self, name: str, start: int = 0, limit: int | None = None) -> bytes:
        """A file's bytes from there on."""
        return self._reader.read(name, start, limit)

    def list(self, beginning: str) -> Iterator[tuple[str, int]]:
        """Names that begin so, with their sizes."""
        return ((blob.name, blob.size) for blob in self._reader.list(beginning))

    def append(self, name: str, data: bytes) -> None:
        """Add whole lines."""
        self._writer.append(name, data)

    def remove(self, beginning: str) -> None:
        """Take away what has such names."""
        for blob in self._reader.list(beginning):
            self._writer.delete(blob.name)


def _encoded(block: str) -> str:
    return base64.b64encode(block.encode()).decode()


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
