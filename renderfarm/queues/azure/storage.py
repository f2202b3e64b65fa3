"""One storage account: its containers, and signed URLs that let nodes into them for a while.

The farm itself comes with the account's key where there is one (by a signature of its own), else with a token.
"""

from __future__ import annotations

import functools
import os
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import certifi
from azure.storage.blob import (
    ContainerSasPermissions,
    ResourceTypes,
    UserDelegationKey,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

from renderfarm.depots import listing
from renderfarm.depots.blobs import BlobClient, BlobError
from renderfarm.depots.identity import Kept
from renderfarm.depots.wire import Wire
from renderfarm.queues.azure import credentials, layout
from renderfarm.queues.azure.settings import CloudSettings

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""seconds between tries"""
LONGEST = timedelta(days=7)
"""a user delegation key lives no longer, so neither does what it signs"""
_EARLIER = timedelta(minutes=5)
"""signatures hold from a little before now: clocks differ"""
_OWN_SECONDS = 6 * 3600.0
CONTRIBUTOR = "Storage Blob Data Contributor"
DELEGATOR = "Storage Blob Delegator"
"""may ask for keys that sign URLs"""

_LOGIN = "Sign in with: az login  (or set RENDERFARM_STORAGE_KEY); docs/azure.md says more."
_HINTS = {
    "AuthenticationFailed": "Look at RENDERFARM_STORAGE_KEY and at this machine's clock, or: az login",
    "AuthorizationFailure": "Look at RENDERFARM_STORAGE_KEY and at the account's network rules.",
    "KeyBasedAuthenticationNotPermitted": "The account takes no keys: unset RENDERFARM_STORAGE_KEY; az login",
    "ContainerBeingDeleted": "Somebody deleted it; wait a minute, then try again.",
    "AccountIsDisabled": "Enable the storage account in the portal.",
    "AccountBeingCreated": "Wait until it is made.",
    "InsufficientAccountPermissions": "Look at the account's permissions in the portal.",
    "InvalidHeaderValue": "Is it a local service? Start Azurite with --skipApiVersionCheck.",
}


class Storage:
    """One storage account. Any number of threads may use it at once."""

    def __init__(
        self, settings: CloudSettings, key: str | None = None, pauses: tuple[float, ...] = PAUSES
    ) -> None:
        """`key` signs URLs; where there is none, a key does that the service gives to this machine's user."""
        self.prefix, self.url = settings.prefix, settings.storage_url.rstrip("/")
        self.assets = layout.container(self.prefix, layout.ASSETS)
        """the container of what scenes need, named by content"""
        self.packages = layout.container(self.prefix, layout.PACKAGES)
        """the container of renderers, node programs and start scripts"""
        self._settings, self._key = settings, key
        self._login = None if key else credentials.storage_tokens(self.url)
        variables = (credentials.CA_BUNDLE, "REQUESTS_CA_BUNDLE")
        trusted = next(filter(None, map(os.environ.get, variables)), certifi.where())
        self._wire = Wire(self.url, pauses, certificates=trusted)
        self._own = Kept(self._own_query)
        self._delegation = Kept(self._delegated)

    def close(self) -> None:
        """Let go of the connections."""
        self._wire.close()

    # Containers

    def at(self, container: str) -> BlobClient:
        """The client of a container, which need not be there."""
        return self._client(f"{self.url}/{container}")

    def _client(self, url: str, role: str = CONTRIBUTOR) -> BlobClient:
        hint = functools.partial(hint_for, self._settings.storage_account, role)
        return BlobClient(
            url, self._login, wire=self._wire, sign=self._own.get if self._key else None, hint=hint
        )

    def ensure(self, *containers: str) -> None:
        """Make containers that are not there; without credentials nobody can read them."""
        for name in containers:
            try:
                self._ask("make the container", name, "PUT", fine=("ContainerAlreadyExists",))
            except BlobError:
                # Who may write into a container may not be allowed to make one.
                if not self._is_there(name):
                    raise

    def _is_there(self, name: str) -> bool:
        try:
            return self._ask("look at the container", name, "HEAD", fine=(404,))
        except BlobError:
            return False

    def _ask(self, verb: str, name: str, method: str, fine: tuple[int | str, ...]) -> bool:
        return self._client(self.url).ask(verb, name, method, "restype=container", fine=fine).good

    def containers(self) -> Iterator[str]:
        """Names of all containers that begin with our prefix."""

        def ask(marker: str) -> bytes:
            query = listing.query(f"{self.prefix}-", marker, "comp=list")
            return self._client(self.url).ask("list the containers of", "", "GET", query).data

        for page in listing.pages(ask):
            yield from (name.text or "" for name in page.iterfind("Containers/Container/Name"))

    def delete_container(self, name: str) -> bool:
        """Delete a container with all that is in it; False when it was not there."""
        return self._ask("delete the container", name, "DELETE", fine=("ContainerNotFound",))

    # Signatures

    def sas_url(self, container: str, permissions: str, seconds: float, blob: str | None = None) -> str:
        """A URL that lets whoever has it do so much with a container or a blob, for so long. Never to be shown.

        `permissions` are letters: r read, l list, c create, w write. Without the account's key it ends after
        seven days at the latest.
        """
        expiry = datetime.now(UTC) + timedelta(seconds=seconds)
        signer: dict[str, Any] = {"account_key": self._key}
        if self._key is None:
            signer = {"user_delegation_key": self._delegation.get()}
            expiry = min(expiry, datetime.fromisoformat(str(signer["user_delegation_key"].signed_expiry)))
        terms = {
            **signer,
            **self._terms(expiry),
            "permission": ContainerSasPermissions.from_string(permissions),
        }
        if blob is None:
            query = generate_container_sas(self._settings.storage_account, container, **terms)
        else:
            query = generate_blob_sas(self._settings.storage_account, container, blob, **terms)
        return f"{self.url_of(container, blob)}?{query}"

    def for_nodes(self, container: str, rights: str, seconds: float, blob: str | None = None) -> str:
        """A URL for nodes: signed for so long, or bare where they have an identity."""
        if self._settings.identity:
            return self.url_of(container, blob)
        return self.sas_url(container, rights, seconds, blob)

    def url_of(self, container: str, blob: str | None = None) -> str:
        """A URL that lets nobody in who has no right of his own."""
        return f"{self.url}/{container}" if blob is None else f"{self.url}/{container}/{quote(blob, safe='/~')}"

    def _terms(self, expiry: datetime) -> dict[str, Any]:
        protocol = "https" if self.url.startswith("https:") else "https,http"
        return {"start": datetime.now(UTC) - _EARLIER, "expiry": expiry, "protocol": protocol}

    def _own_query(self) -> tuple[str, float]:
        """The query of this process's own requests."""
        end = datetime.now(UTC) + timedelta(seconds=_OWN_SECONDS)
        kinds = ResourceTypes(service=True, container=True, object=True)
        query = generate_account_sas(
            self._settings.storage_account, self._key or "", kinds, "rwdlac", **self._terms(end)
        )
        return query, time.time() + _OWN_SECONDS / 2

    def _delegated(self) -> tuple[UserDelegationKey, float]:
        """A key that signs for a week, for who has the role; it is good for new signatures for half an hour."""
        now = datetime.now(UTC)
        terms = (("Start", now - _EARLIER), ("Expiry", now + LONGEST - _EARLIER))
        times = "".join(f"<{name}>{when:%Y-%m-%dT%H:%M:%SZ}</{name}>" for name, when in terms)
        body = f"<?xml version='1.0' encoding='utf-8'?><KeyInfo>{times}</KeyInfo>".encode()
        query = "restype=service&comp=userdelegationkey"
        reply = self._client(self.url, DELEGATOR).ask("sign URLs of", "", "POST", query, body=body)
        key = UserDelegationKey()  # type: ignore[no-untyped-call]
        for item in ET.fromstring(reply.data):  # noqa: S314 - from the user's own storage account
            setattr(key, re.sub("(?<=[a-z])(?=[A-Z])", "_", item.tag).lower(), item.text)
        return key, time.time() + 1800


def secured(body: dict[str, Any], identity: str | None) -> dict[str, Any]:
    """A resource file or a file destination, with the identity that may reach it."""
    return {**body, "identityReference": {"resourceId": identity}} if identity else body


def hint_for(account: str, role: str, status: int, code: str) -> str:
    """What to do about an answer that needs a role; status 0: none came."""
    if status == 0:
        return "Look at storage_url in the pool's table and at this machine's network."
    if status == 401 or code in _HINTS:
        return _HINTS.get(code, _LOGIN)
    if status != 403:
        return ""
    who = '--assignee "$(az ad signed-in-user show --query id -o tsv)"'
    scope = f'--scope "$(az storage account show -n {account} --query id -o tsv)"'
    return f"Somebody must grant you a role: az role assignment create --role '{role}' {who} {scope}"
