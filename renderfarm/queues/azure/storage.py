"""One storage account: what the SDK does (containers, keys that sign) and the clients of its containers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import certifi
from azure.storage.blob import BlobServiceClient, ContainerClient

from renderfarm.depots.blobs import BlobClient
from renderfarm.depots.wire import Wire
from renderfarm.errors import PoolError
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.signatures import Signer
from renderfarm.queues.azure.storage_refusals import Account, told

if TYPE_CHECKING:
    from renderfarm.queues.azure.settings import CloudSettings

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""seconds between tries"""
_OWN = "racwdl"
_OWN_SECONDS = 6 * 3600.0


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
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        """`key` signs URLs; where there is none, a user delegation key does."""
        self.prefix = prefix
        self.url = service.url.rstrip("/")
        self._service = service
        self._account = Account(account or str(service.account_name), self.url)
        self._signer = Signer(service, self._account, key)
        trusted = ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
        self._wire = Wire(self.url, pauses, certificates=trusted)
        self._own: dict[str, tuple[str, float]] = {}

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
        self._wire.close()
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

    def at(self, container: str) -> BlobClient:
        """The client of a container, which need not be there."""
        url = f"{self.url}/{container}"
        return BlobClient(url, wire=self._wire, sign=lambda: self._signed(container), hint=self._account.hint)

    def ensure(self, *containers: str) -> None:
        """Make containers that are not there; without credentials nobody can read them."""
        for name in containers:
            client = self._service.get_container_client(name)
            try:
                with told(self._account, f"make the container {name}", allowed="ContainerAlreadyExists"):
                    client.create_container()
            except PoolError:
                # Who may write into a container may not be allowed to make one.
                if not self._is_there(client):
                    raise

    def _is_there(self, client: ContainerClient) -> bool:
        try:
            with told(self._account, f"look at the container {client.container_name}"):
                return bool(client.exists())
        except PoolError:
            return False

    def containers(self) -> Iterator[str]:
        """Names of all containers that begin with our prefix."""
        with told(self._account, "list containers"):
            for found in self._service.list_containers(name_starts_with=f"{self.prefix}-"):
                yield str(found.name)

    def delete_container(self, name: str) -> bool:
        """Delete a container with all that is in it; False when it was not there."""
        gone: list[None] = []
        with told(self._account, f"delete the container {name}", allowed="ContainerNotFound"):
            gone.append(self._service.delete_container(name))
        return bool(gone)

    # Signatures

    def sas_url(self, container: str, permissions: str, seconds: float, blob: str | None = None) -> str:
        """A URL that lets whoever has it do so much with a container or a blob, for so long. Never to be shown.

        `permissions` are letters: r read, l list, c create, w write. Without the account's key it ends after
        seven days at the latest (`signatures.LONGEST`).
        """
        query = self._signer.query(container, permissions, seconds, blob)
        name = "" if blob is None else f"/{quote(blob, safe='/~')}"
        return f"{self.url}/{container}{name}?{query}"

    def _signed(self, container: str) -> str:
        """The query of this process's own requests."""
        query, until = self._own.get(container, ("", 0.0))
        if until < time.monotonic():
            query = self._signer.query(container, _OWN, _OWN_SECONDS)
            self._own[container] = query, time.monotonic() + _OWN_SECONDS / 2
        return query
