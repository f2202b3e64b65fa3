"""Blob storage with the standard library alone: a container, as nodes and farm reach it, is a depot.

A container is named by its URL, with a SAS or, for a pool with a managed identity, without one. Its query
string is a secret: no error carries it. The SDK takes 2.7 ms of CPU for a small download, this some tenths.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from renderfarm.depots import listing
from renderfarm.depots.identity import TokenError, Tokens
from renderfarm.depots.listing import META, Blob
from renderfarm.depots.wire import BUSY, WAITS, Body, LostError, Reply, Wire
from renderfarm.errors import PoolError
from renderfarm.words import files, stamps

API_VERSION = "2021-08-06"
"""new enough for blocks of 4 GB, old enough for every service in use"""
FULL = "BlockCountExceedsLimit"
"""what an append blob with its 50,000 blocks answers"""
UNNAMED = "NoToken"
"""who gives tokens gave none, which may pass"""
RECEIPT, SHA256 = "receipt", "sha256"
"""names of a blob's metadata"""
_NAMELESS = re.compile("getaddrinfo|gaierror|Name or service not known|nodename nor servname")
READS = ("GET", "HEAD")
_NEW = {"If-None-Match": "*"}
_THERE = (412, "BlobAlreadyExists")


class BlobError(PoolError):
    """Storage did not do what it was asked for; `status` 0: it could not be reached."""

    def __init__(self, message: str, hint: str = "", status: int = 0, code: str = "") -> None:
        super().__init__(message, hint)
        self.status = status
        self.code = code
        self.transient = status == 0 or status in BUSY or code == UNNAMED

    @property
    def refused(self) -> bool:
        """The signature has run out, or does not allow this."""
        return self.status in (401, 403) and self.code != UNNAMED


class BlobMissingError(BlobError, FileNotFoundError):
    """The blob or its container is not there."""


class BlobClient:
    """One container (see `renderfarm.depots.Depot`); safe to use from many threads."""

    def __init__(
        self,
        url: str,
        tokens: Tokens | None = None,
        waits: tuple[float, ...] = WAITS,
        *,
        writes: str = "",
        wire: Wire | None = None,
        sign: Callable[[], str] | None = None,
        hint: Callable[[int, str], str] = lambda status, code: "",
    ) -> None:
        """Nodes have one signature to read with and, in the URL `writes`, another one to write with.

        `sign` gives the query of a URL for now; `hint` says what to do about a status and a code.
        """
        parts = urlsplit(url)
        self._host, self._path = parts.netloc, parts.path.rstrip("/")
        self.name = self._path.rpartition("/")[2]
        """the container's, for messages"""
        self._sign = sign or (lambda: parts.query)
        self._writes = urlsplit(writes).query
        self._tokens = tokens
        self._wire = wire or Wire(url, waits)
        self._hint = hint

    # Writing

    def put(self, name: str, source: Body, receipt: str = "", *, new: bool = False) -> bool:
        """Write a blob whole or not at all; False when it must be `new` and is there already.

        One that may be written again tells its receipt and the hash of its bytes. A retry that meets its own
        success can't tell it from somebody else's.
        """
        headers = {**(_NEW if new else _facts(source, receipt)), "x-ms-blob-type": "BlockBlob"}
        return self.ask("write", name, "PUT", headers=headers, body=source, fine=_THERE if new else ()).good

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Send one block of a blob that `commit` makes of its blocks; all ids have the same length."""
        self.ask("write", name, "PUT", f"comp=block&blockid={quote(_encoded(block), safe='')}", body=data)

    def staged(self, name: str) -> frozenset[str]:
        """Ids of blocks that were sent and not committed yet (the service keeps them for a week)."""
        reply = self.ask("look at", name, "GET", "comp=blocklist&blocklisttype=uncommitted", fine=(404,))
        return listing.blocks(reply.data) if reply.good else frozenset()

    def commit(self, name: str, blocks: Sequence[str]) -> bool:
        """Make a new blob of staged blocks; False when it is there already."""
        ids = "".join(f"<Latest>{_encoded(block)}</Latest>" for block in blocks)
        body = f"<?xml version='1.0' encoding='utf-8'?><BlockList>{ids}</BlockList>".encode()
        return self.ask("write", name, "PUT", "comp=blocklist", _NEW, body, fine=_THERE).good

    def append(self, name: str, data: bytes) -> None:
        """Add a block to an append blob, which is made when it is not there.

        A block whose answer got lost may be added twice. Raises BlobError with the code FULL when no more fit.
        """
        block = ("append to", name, "PUT", "comp=appendblock", None, data)
        if not self.ask(*block, fine=("BlobNotFound",)).good:
            headers = {**_NEW, "x-ms-blob-type": "AppendBlob"}
            self.ask("append to", name, "PUT", headers=headers, fine=_THERE)
            self.ask(*block)

    def delete(self, name: str, etag: str = "") -> bool:
        """Delete a blob; False when it is not there, or is not the one that had this etag."""
        headers = {"If-Match": etag} if etag else {}
        return self.ask("delete", name, "DELETE", headers=headers, fine=(404, 412)).good

    def remove(self, beginning: str) -> None:
        """Take away what has such names."""
        for name, _ in self.list(beginning):
            self.delete(name)

    def touch(self, name: str) -> bool:
        """Make a blob as young as now, with another etag; False when it is not there."""
        used = {f"{META}used": datetime.now(timezone.utc).isoformat(timespec="seconds")}  # noqa: UP017 - 3.10
        return self.ask("renew", name, "PUT", "comp=metadata", used, fine=(404,)).good

    # Reading

    def get(self, name: str, target: Path, sha256: str | None = None) -> None:
        """Bring a blob to a file, which appears whole and verified, or not at all.

        Without `sha256`, what the blob itself says of its bytes counts. Raises BlobMissingError, OSError.
        """
        with files.draft(target) as made:
            with made.open("w+b") as file:
                reply = self.ask("get", name, "GET", into=file)
            wanted = sha256 or reply.headers.get(f"{META}{SHA256}")
            if wanted is not None and (found := stamps.sha256(made)) != wanted:
                message = f"{self.name}/{name} came with the SHA-256 {found}, not {wanted}."
                raise BlobError(message, status=200, code="WrongContent")

    def read(self, name: str, start: int = 0, limit: int | None = None) -> bytes:
        """A blob's bytes from there on; empty where there are none. Raises BlobMissingError."""
        end = "" if limit is None else str(start + limit - 1)
        headers = {"Range": f"bytes={start}-{end}"} if start or end else {}
        reply = self.ask("read", name, "GET", headers=headers, fine=(416,))
        return reply.data if reply.good else b""

    def stat(self, name: str) -> Blob | None:
        """A blob with its metadata; None when it is not there."""
        reply = self.ask("look at", name, "HEAD", fine=(404,))
        return listing.looked_at(name, reply.headers) if reply.good else None

    def receipt(self, name: str) -> str | None:
        """The line that came with a blob, empty where nobody can read it; None when there is no such blob."""
        blob = self.stat(name)
        if blob is None:
            return None
        with contextlib.suppress(ValueError):
            return base64.b64decode(blob.metadata.get(RECEIPT, "")).decode()
        return ""

    def list(self, beginning: str) -> Iterator[tuple[str, int]]:
        """Names that begin so, with their sizes."""
        return ((blob.name, blob.size) for blob in self.blobs(beginning))

    def blobs(self, prefix: str = "") -> Iterator[Blob]:
        """Blobs by name; raises BlobMissingError when there is no such container."""
        return listing.blobs(lambda marker: self.ask("list", "", "GET", listing.query(prefix, marker)).data)

    def now(self) -> datetime:
        """The service's clock, which the times of blobs are of."""
        reply = self.ask("look at", "clock", "HEAD", fine=(404,))
        return parsedate_to_datetime(reply.headers["date"])

    # Asking

    def ask(
        self,
        verb: str,
        name: str,
        method: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        into: BinaryIO | None = None,
        fine: Sequence[int | str] = (),
    ) -> Reply:
        """One request, which may also end with the statuses or codes `fine`; raises BlobError for others.

        A download goes on where a connection broke, a refused token is renewed once. `verb` is for messages.
        """
        target = f"{self._path}/{quote(name)}" if name else self._path or "/"
        signature = self._writes if self._writes and method not in READS else self._sign()
        full_query = "&".join(part for part in (query, signature) if part)
        target += f"?{full_query}" if full_query else ""

        def all_headers() -> dict[str, str]:
            start = into.tell() if into else 0
            more = {"Range": f"bytes={start}-"} if start else {}
            if self._tokens:
                more["Authorization"] = f"Bearer {self._tokens.get()}"
            more |= {"x-ms-version": API_VERSION, "x-ms-date": formatdate(usegmt=True)}
            return {**more, **(headers or {})}

        place = f"{self.name}/{name}".strip("/") or self._host
        try:
            reply = self._wire.ask(method, target, all_headers, body, into)
            if reply.status == 401 and self._tokens:
                self._tokens.forget()
                reply = self._wire.ask(method, target, all_headers, body, into)
        except LostError as error:
            raise self._unreachable(place, str(error)) from error
        except TokenError as error:
            raise BlobError(f"{error}.", self._hint(401, ""), status=401, code=UNNAMED) from error
        if not (reply.good or reply.status in fine or reply.code in fine):
            raise self._refusal(verb, place, reply)
        return reply

    def _refusal(self, verb: str, place: str, reply: Reply) -> BlobError:
        if reply.status in BUSY:
            return self._unreachable(place, f"it answers {reply.status}")
        kind = BlobMissingError if reply.status == 404 else BlobError
        message = f"Storage at {self._host} can't {verb} {place}: {reply.code or 'refused'} ({reply.status})."
        return kind(message, self._hint(reply.status, reply.code), reply.status, reply.code)

    def _unreachable(self, place: str, reason: str) -> BlobError:
        message = f"Storage at {self._host} can't be reached for {place}: {reason}."
        if _NAMELESS.search(reason):
            message = f"There is no storage account at {self._host}, so nothing can be done with {place}."
        return BlobError(message, self._hint(0, ""))


def _facts(source: Body, receipt: str) -> dict[str, str]:
    """What a blob says of itself: its receipt, and the hash of its bytes."""
    sha256 = stamps.sha256(source) if isinstance(source, Path) else hashlib.sha256(source).hexdigest()
    told = {f"{META}{RECEIPT}": _encoded(receipt)} if receipt else {}
    return {**told, f"{META}{SHA256}": sha256}


def _encoded(block: str) -> str:
    return base64.b64encode(block.encode()).decode()
