"""URLs that let somebody without credentials do one thing for a while: shared access signatures.

Signed with the account's key where there is one, else with a user delegation key, which the service gives to
whoever has the role for it and which lives a week.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.storage.blob import (
    BlobServiceClient,
    ContainerSasPermissions,
    UserDelegationKey,
    generate_blob_sas,
    generate_container_sas,
)

from renderfarm.queues.azure.storage_refusals import DELEGATOR, Account, told

LONGEST = timedelta(days=7)
"""a user delegation key lives no longer, so neither does what it signs"""
_EARLIER = timedelta(minutes=5)
"""signatures hold from a little before now: clocks differ"""
_RESERVE = timedelta(days=1)


class Signer:
    """Signs for one account; any number of threads may use it at once."""

    def __init__(self, service: BlobServiceClient, account: Account, key: str | None) -> None:
        self._service = service
        self._account = account
        self._key = key
        self._lock = threading.Lock()
        self._delegation: tuple[UserDelegationKey, datetime] | None = None

    def query(self, container: str, permissions: str, seconds: float, blob: str | None = None) -> str:
        """The query part of a URL of a container or blob. Never to be shown."""
        expiry = datetime.now(UTC) + timedelta(seconds=seconds)
        signer: dict[str, Any] = {"account_key": self._key}
        if self._key is None:
            delegation, end = self._delegated(expiry)
            signer, expiry = {"user_delegation_key": delegation}, min(expiry, end)
        terms: dict[str, Any] = {
            "permission": str(ContainerSasPermissions.from_string(permissions)),
            "start": datetime.now(UTC) - _EARLIER,
            "expiry": expiry,
            "protocol": "https" if self._account.url.startswith("https:") else "https,http",
        }
        if blob is None:
            return generate_container_sas(self._account.name, container, **signer, **terms)
        return generate_blob_sas(self._account.name, container, blob, **signer, **terms)

    def _delegated(self, expiry: datetime) -> tuple[UserDelegationKey, datetime]:
        """A key that signs until then, or for as long as one can be had; asked for once a day at most."""
        now = datetime.now(UTC)
        with self._lock:
            if self._delegation is None or self._delegation[1] < min(expiry, now + LONGEST - _RESERVE):
                end = now + LONGEST - _EARLIER
                with told(self._account, "get a key for signed URLs", DELEGATOR):
                    self._delegation = self._service.get_user_delegation_key(now - _EARLIER, end), end
            return self._delegation
