"""What Blob storage answers when it does not do what it was asked, as errors of ours with the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from renderfarm.errors import PoolError
from renderfarm.queues.azure.on_node.redaction import redact

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
"""statuses after which the same request may succeed"""
CONTRIBUTOR = "Storage Blob Data Contributor"
DELEGATOR = "Storage Blob Delegator"
"""may ask for keys that sign URLs"""

_LOGIN = "Sign in with: az login  (or set RENDERFARM_STORAGE_KEY); docs/azure.md says more."
_NAMELESS = re.compile("getaddrinfo|NameResolution|Name or service not known|nodename nor servname", re.I)
_HINTS = {
    "AuthenticationFailed": "Look at RENDERFARM_STORAGE_KEY and at this machine's clock, or: az login",
    "AuthorizationFailure": "Look at RENDERFARM_STORAGE_KEY and at the account's network rules.",
    "KeyBasedAuthenticationNotPermitted": "The account takes no keys: unset RENDERFARM_STORAGE_KEY; az login",
    "InvalidAuthenticationInfo": _LOGIN,
    "NoAuthenticationInformation": _LOGIN,
    "ContainerBeingDeleted": "Somebody deleted it; wait a minute, then try again.",
    "AccountIsDisabled": "Enable the storage account in the portal.",
    "AccountBeingCreated": "Wait until it is made.",
    "InsufficientAccountPermissions": "Look at the account's permissions in the portal.",
    "ServerBusy": "The service is busy; try again in a minute.",
    "InvalidHeaderValue": "Is it a local service? Start Azurite with --skipApiVersionCheck.",
}


class BlobMissingError(PoolError):
    """The blob or its container is not there."""


class BlobThereError(PoolError):
    """The blob or container was to be made and is there already."""


class BlobChangedError(PoolError):
    """The blob is not the one that was meant: somebody wrote it since."""


@dataclass(frozen=True)
class Account:
    """Whom a refusal comes from."""

    name: str
    url: str

    @contextmanager
    def told(self, what: str, role: str = CONTRIBUTOR) -> Iterator[None]:
        """Turn the SDK's errors into ours; `what` reads on after "can't"."""
        try:
            yield
        except HttpResponseError as error:
            if isinstance(error, ClientAuthenticationError) and error.response is None:
                raise PoolError(f"No credentials to {what}: {_sentence(error)}", _LOGIN) from error
            known = getattr(error, "error_code", None) or ""
            code = str(getattr(known, "value", known))
            raise self.refusal(what, error.status_code or 0, code, _sentence(error), role) from error
        except AzureError as error:
            raise self.unreachable(what, _sentence(error)) from error

    def refusal(
        self, what: str, status: int, code: str, reason: str = "", role: str = CONTRIBUTOR
    ) -> PoolError:
        """One answer of the service as an error of ours."""
        message = (
            f"Storage account {self.name} can't {what}: {reason or 'refused'} ({code or f'HTTP {status}'})"
        )
        if status == 404:
            return BlobMissingError(message, _HINTS.get(code, ""))
        if code in ("BlobAlreadyExists", "ContainerAlreadyExists"):
            return BlobThereError(message)
        if status == 412:
            return BlobChangedError(message)
        return PoolError(message, _HINTS.get(code) or self._role_hint(status, role))

    def unreachable(self, what: str, reason: str) -> PoolError:
        """No answer came, or none that is of use."""
        host = urlsplit(self.url).netloc
        if _NAMELESS.search(reason):
            message = f"There is no storage account at {host}, so renderfarm can't {what}."
            return PoolError(message, "Look at storage_url in the pool's table and at this machine's network.")
        message = f"Storage at {host} can't be reached to {what}: {redact(reason)}"
        return PoolError(message, "Look at storage_url and at this machine's network.")

    def _role_hint(self, status: int, role: str) -> str:
        if status == 401:
            return _LOGIN
        if status != 403:
            return ""
        who = '--assignee "$(az ad signed-in-user show --query id -o tsv)"'
        scope = f'--scope "$(az storage account show -n {self.name} --query id -o tsv)"'
        return f"Somebody must grant you a role: az role assignment create --role '{role}' {who} {scope}"


def _sentence(error: AzureError) -> str:
    """What an error says, without request ids and clocks."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    told = [
        line for line in lines[:6] if not line.startswith(("RequestId:", "Time:", "ErrorCode:", "Content:"))
    ]
    return redact(" ".join(told))
