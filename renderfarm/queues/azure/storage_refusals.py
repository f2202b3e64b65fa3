"""What to do where Blob storage refuses, and the SDK's errors as ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from renderfarm.depots.blobs import BlobError
from renderfarm.depots.redaction import redact
from renderfarm.errors import PoolError

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


@dataclass(frozen=True)
class Account:
    """Whom a refusal comes from."""

    name: str
    url: str

    def hint(self, status: int, code: str = "", role: str = CONTRIBUTOR) -> str:
        """What to do about an answer of the service; status 0: none came."""
        if status == 0:
            return "Look at storage_url in the pool's table and at this machine's network."
        if status == 401 or code in _HINTS:
            return _HINTS.get(code, _LOGIN)
        if status != 403:
            return ""
        who = '--assignee "$(az ad signed-in-user show --query id -o tsv)"'
        scope = f'--scope "$(az storage account show -n {self.name} --query id -o tsv)"'
        return f"Somebody must grant you a role: az role assignment create --role '{role}' {who} {scope}"


@contextmanager
def told(account: Account, what: str, role: str = CONTRIBUTOR, allowed: str = "") -> Iterator[None]:
    """Turn the SDK's errors into ours, but one code that is allowed; `what` reads on after "can't"."""
    try:
        yield
    except HttpResponseError as error:
        known = getattr(error, "error_code", None) or ""
        code = str(getattr(known, "value", known))
        if allowed and code == allowed:
            return
        if isinstance(error, ClientAuthenticationError) and error.response is None:
            raise PoolError(f"No credentials to {what}: {_sentence(error)}", _LOGIN) from error
        status = error.status_code or 0
        message = (
            f"Storage account {account.name} can't {what}: {_sentence(error)} ({code or f'HTTP {status}'})"
        )
        raise BlobError(message, account.hint(status, code, role), status, code) from error
    except AzureError as error:
        host, reason = urlsplit(account.url).netloc, _sentence(error)
        message = f"Storage at {host} can't be reached to {what}: {reason}"
        if _NAMELESS.search(reason):
            message = f"There is no storage account at {host}, so renderfarm can't {what}."
        raise BlobError(message, account.hint(0)) from error


def _sentence(error: AzureError) -> str:
    """What an error says, without request ids and clocks."""
    lines = [line.strip() for line in str(error.message).splitlines() if line.strip()]
    told = [
        line for line in lines[:6] if not line.startswith(("RequestId:", "Time:", "ErrorCode:", "Content:"))
    ]
    return redact(" ".join(told))
