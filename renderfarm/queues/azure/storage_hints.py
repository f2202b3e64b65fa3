"""What to do where Blob storage refuses."""

from __future__ import annotations

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


def storage_hint(account: str, role: str, status: int, code: str) -> str:
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
