"""The one adapter over azure-storage-blob: containers, blobs, signed URLs.

What is asked for thousands of times (frames, journals, is this asset there?) goes around the SDK: measured with
3 KB blobs, `download_blob` takes 2.7 ms of CPU, a request of urllib3 with a signature of our own 0.4 ms.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient

from renderfarm.errors import PoolError
from renderfarm.queues.azure import layout, listing
from renderfarm.queues.azure.listing import Blob
from renderfarm.queues.azure.on_node.redaction import redact
from renderfarm.queues.azure.signatures import Signer, address
from renderfarm.queues.azure.storage_refusals import (
    TRANSIENT,
    Account,
    BlobChangedError,
    BlobMissingError,
    BlobThereError,
)

if TYPE_CHECKING:
    from renderfarm.queues.azure.settings import CloudSettings

__all__ = ["Blob", "BlobMissingError", "Storage"]

T = TypeVar("T")
Answer = urllib3.BaseHTTPResponse

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""seconds between tries of what goes around the SDK"""
PARTS = 4
"""blocks of one file on their way at once"""

_OWN_SECONDS = 6 * 3600.0
_CHUNK = 1 << 20
_CONNECTIONS = 64
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_PAST_THE_END = 416


class _DamagedError(Exception):
    """What arrived is not what was written."""


class Storage:
    """One storage account. Any number of threads may use it at once."""

    def __init__(
        self,
        service: BlobServiceClient,
        prefix: str = "renderfarm",
        *,
        account: str = "",
        key: str | None = None,
        ca_bundle: str | None = None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """`key` signs URLs; where there is none, a user delegation key does."""
        self.prefix = prefix
        self.url = service.url.rstrip("/")
        self._service = service
        self._account = Account(account or str(service.account_name), self.url)
        self._told = self._account.told
        self._signer = Signer(service, self._account, key)
        self._http = _connections(self.url, ca_bundle)
        self._pauses = pauses
        self._own: dict[str, tuple[str, float]] = {}
        logging.getLogger("urllib3.connectionpool").addFilter(_without_signatures)

    @classmethod
    def of(cls, settings: CloudSettings) -> Storage:
        """The storage account of a configured pool."""
        from renderfarm.queues.azure import credentials

        return cls(
            credentials.blob_service(settings),
            settings.prefix,
            account=settings.storage_account,
            key=credentials.storage_key(settings),
            ca_bundle=os.environ.get(credentials.CA_BUNDLE),
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._http.clear()
        self._service.close()

    @property
    def assets(self) -> str:
        """The container of what scenes need, named by content."""
        return layout.container(self.prefix, layout.ASSETS)

    @property
    def packages(self) -> str:
        """The container of renderers, node programs and start scripts."""
        return layout.container(self.prefix, layout.PACKAGES)

    # Containers

    def ensure(self, *containers: str) -> None:
        """Make containers that are not there; without credentials nobody can read them."""
        for name in containers:
            client = self._service.get_container_client(name)
            try:
                with self._told(f"make the container {name}"):
                    client.create_container()
            except BlobThereError:
                continue
            except PoolError:
                # Who may write into a container may not be allowed to make one.
                if not self._is_there(client):
                    raise

    def _is_there(self, client: ContainerClient) -> bool:
        try:
            with self._told(f"look at the container {client.container_name}"):
                return bool(client.exists())
        except PoolError:
            return False

    def containers(self) -> Iterator[str]:
        """Names of all containers that begin with our prefix."""
        with self._told("list containers"):
            for found in self._service.list_containers(name_starts_with=f"{self.prefix}-"):
                yield str(found.name)

    def delete_container(self, name: str) -> bool:
        """Delete a container with all that is in it; False when it was not there."""
        try:
            with self._told(f"delete the container {name}"):
                self._service.delete_container(name)
        except BlobMissingError:
            return False
        return True

    # Blobs, by the SDK

    def put(
        self,
        container: str,
        name: str,
        data: bytes | Path,
        *,
        new: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Write bytes, or a file as a stream. With `new`, False when the blob is there already.

        A retry that meets its own success can't tell it from somebody else's.
        """
        client = self._service.get_blob_client(container, name)
        options: dict[str, Any] = {"overwrite": not new, "metadata": dict(metadata or {})}
        try:
            with self._told(f"write {container}/{name}"):
                if isinstance(data, bytes):
                    client.upload_blob(data, **options)
                else:
                    with data.open("rb") as file:
                        client.upload_blob(file, max_concurrency=PARTS, **options)
        except BlobThereError:
            return False
        return True

    def stage(self, container: str, name: str, block: str, data: bytes) -> None:
        """Send one block of a blob that `commit` makes of its blocks; all ids have the same length."""
        with self._told(f"write {container}/{name}"):
            self._service.get_blob_client(container, name).stage_block(block, data)

    def staged(self, container: str, name: str) -> frozenset[str]:
        """Ids of blocks that were sent and not committed yet (the service keeps them for a week)."""
        try:
            with self._told(f"look at {container}/{name}"):
                _, blocks = self._service.get_blob_client(container, name).get_block_list("uncommitted")
        except BlobMissingError:
            return frozenset()
        return frozenset(str(block.id) for block in blocks)

    def commit(self, container: str, name: str, blocks: Sequence[str]) -> bool:
        """Make a blob of staged blocks; False when it is there already."""
        client = self._service.get_blob_client(container, name)
        try:
            with self._told(f"write {container}/{name}"):
                client.commit_block_list(
                    [BlobBlock(block) for block in blocks], match_condition=MatchConditions.IfMissing
                )
        except BlobThereError:
            return False
        return True

    def delete(self, container: str, name: str, *, etag: str | None = None) -> bool:
        """Delete a blob; False when it is not there, or is not the one that had this etag."""
        options: dict[str, Any] = {}
        if etag is not None:
            options = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        try:
            with self._told(f"delete {container}/{name}"):
                self._service.get_blob_client(container, name).delete_blob(**options)
        except (BlobMissingError, BlobChangedError):
            return False
        return True

    def touch(self, container: str, name: str) -> bool:
        """Make a blob as young as now, with another etag; False when it is not there."""
        used = {"used": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            with self._told(f"renew {container}/{name}"):
                self._service.get_blob_client(container, name).set_blob_metadata(used)
        except BlobMissingError:
            return False
        return True

    def copy(self, container: str, name: str, to_container: str, to_name: str) -> None:
        """Copy a blob of at most 256 MiB inside the account."""
        source = self.sas_url(container, "r", 3600, name)
        with self._told(f"copy {container}/{name} to {to_container}"):
            self._service.get_blob_client(to_container, to_name).start_copy_from_url(source, requires_sync=True)

    # Blobs, around the SDK

    def get(self, container: str, name: str) -> bytes:
        """A blob's bytes; raises BlobMissingError."""
        return self.read(container, name, 0)

    def read(self, container: str, name: str, offset: int, limit: int | None = None) -> bytes:
        """A blob's bytes from an offset on; empty when there are no more. Raises BlobMissingError."""
        end = "" if limit is None else str(offset + limit - 1)
        what, wanted = f"read {container}/{name}", {"Range": f"bytes={offset}-{end}"} if offset or end else {}

        def take(answer: Answer) -> bytes:
            if answer.status == _PAST_THE_END:
                return b""
            self._refuse(answer, what)
            return answer.read()

        return self._ask("GET", container, name, what, take, wanted)

    def list(self, container: str, prefix: str = "", *, metadata: bool = False) -> Iterator[Blob]:
        """Blobs by name; raises BlobMissingError when there is no such container."""
        what, marker = f"list {container}", ""

        def take(answer: Answer) -> bytes:
            self._refuse(answer, what)
            return answer.read()

        while True:
            query = listing.query(prefix, marker, metadata=metadata)
            blobs, marker = listing.page(self._ask("GET", container, None, what, take, query=query))
            yield from blobs
            if not marker:
                return

    def stat(self, container: str, name: str) -> Blob | None:
        """A blob with its metadata; None when it is not there."""
        what = f"look at {container}/{name}"

        def take(answer: Answer) -> Blob | None:
            if answer.status == 404:
                return None
            self._refuse(answer, what)
            return listing.looked_at(name, answer.headers)

        return self._ask("HEAD", container, name, what, take)

    def fetch(self, container: str, name: str, target: Path, sha256: str | None = None) -> None:
        """Bring a blob into a file, which is whole or not there. Raises BlobMissingError, OSError."""
        what = f"fetch {container}/{name}"
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")

        def take(answer: Answer) -> None:
            self._refuse(answer, what)
            digest = hashlib.sha256()
            with part.open("wb") as file:
                for chunk in answer.stream(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if sha256 is not None and digest.hexdigest() != sha256:
                raise _DamagedError("the bytes that arrive are not those that were written")

        try:
            self._ask("GET", container, name, what, take)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def now(self) -> datetime:
        """The service's clock, which the times of blobs are of."""
        date = self._ask(
            "HEAD", self.assets, "clock", "ask for the time", lambda answer: answer.headers["Date"]
        )
        return parsedate_to_datetime(date)

    def _ask(
        self,
        method: str,
        container: str,
        name: str | None,
        what: str,
        take: Callable[[Answer], T],
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> T:
        """Send a request until it is answered; `take` reads the answer, once more when that breaks off."""
        url, trouble = self._signed(container, name) + (query and f"&{query}"), ""
        for pause in (*self._pauses, 0):
            try:
                answer = self._http.request(
                    method, url, headers=headers, preload_content=False, retries=False, redirect=False
                )
                try:
                    if answer.status not in TRANSIENT:
                        return take(answer)
                    trouble = f"it answers {answer.status}"
                finally:
                    answer.drain_conn()
            except (urllib3.exceptions.HTTPError, _DamagedError) as error:
                trouble = redact(str(error))
            time.sleep(pause)
        raise self._account.unreachable(what, trouble)

    def _refuse(self, answer: Answer, what: str) -> None:
        if answer.status >= 300:
            code = answer.headers.get("x-ms-error-code", "")
            raise self._account.refusal(what, answer.status, code, answer.reason or "")

    # Signatures

    def sas_url(self, container: str, permissions: str, seconds: float, blob: str | None = None) -> str:
        """A URL that lets whoever has it do so much with a container or a blob, for so long. Never to be shown.

        `permissions` are letters: r read, l list, c create, w write. Without the account's key it ends after
        seven days at the latest (`signatures.LONGEST`).
        """
        query = self._signer.query(container, permissions, seconds, blob)
        return f"{address(self.url, container, blob)}?{query}"

    def _signed(self, container: str, name: str | None) -> str:
        """A URL for this process's own reading."""
        query, until = self._own.get(container, ("", 0.0))
        if until < time.monotonic():
            query = self._signer.query(container, "rl", _OWN_SECONDS)
            self._own[container] = query, time.monotonic() + _OWN_SECONDS / 2
        return f"{address(self.url, container, name)}?{query}"


def _connections(url: str, ca_bundle: str | None) -> urllib3.PoolManager:
    """Connections that are kept, through the proxy that the environment names."""
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "maxsize": _CONNECTIONS,
        "timeout": _TIMEOUT,
        "ca_certs": ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where(),
    }
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


def _without_signatures(record: logging.LogRecord) -> bool:
    """At DEBUG, urllib3 logs the path of each request with its query."""
    record.msg, record.args = redact(record.getMessage()), ()
    return True
