"""What the service answers when it does not do what it was asked, as errors of ours with the way out.

Also how patient a client is: the SDK's own policy repeats a POST only for some statuses, or when it is told how
long to wait. All of ours may be repeated, because doing them twice does no harm.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.policies import RetryPolicy

from renderfarm.depots.redaction import redact
from renderfarm.errors import PoolError, UnreachableError

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
"""statuses after which the same request may succeed"""
BACKOFF_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_RETRY_AFTER_SECONDS = 120.0
RETRIES = 7
CONNECTIONS = 3
"""further tries to reach a service at all: a wrong address must not take a minute to be told"""

_QUOTA = "Ask for more in the portal (Batch account, Quotas), or use fewer or smaller nodes."
_ROLE = "Grant the role 'Azure Batch Data Contributor' on the Batch account: see docs/azure.md, Roles."
_LOGIN = "Sign in with: az login  (or set RENDERFARM_BATCH_KEY); docs/azure.md says more."
_HINTS = {
    "AuthenticationFailed": "Look at RENDERFARM_BATCH_KEY, batch_account and this machine's clock.",
    "InvalidAuthenticationInfo": _LOGIN,
    "AuthorizationFailure": _ROLE,
    "AuthorizationFailed": _ROLE,
    "Forbidden": _ROLE,
    "InsufficientPermissions": _ROLE,
    "AccountNotFound": "Look at batch_url in the pool's table.",
    "PoolQuotaReached": "Delete a pool (renderfarm pool list says which there are), or ask for a larger quota.",
    "ActiveJobAndScheduleQuotaReached": "Wait for jobs to end or cancel one, or ask for a larger quota.",
    "AccountCoreQuotaReached": _QUOTA,
    "AccountLowPriorityCoreQuotaReached": _QUOTA,
    "AccountSpotCoreQuotaReached": _QUOTA,
    "AccountVMSeriesCoreQuotaReached": _QUOTA,
    "InvalidPropertyValue": "Look at what is named. Sizes of a region: az batch location list-skus -l REGION",
    "PoolNotFound": "Make it with: renderfarm pool create",
    "PoolBeingDeleted": "Wait until it is gone, or choose another pool_id.",
    "NotImplemented": "This service can't do that; a local Batch service can do less than Azure.",
}


class ServiceRefusal(PoolError):  # noqa: N818 - what it is
    """The service said no; `code` is its own word, `status` that of HTTP."""

    def __init__(self, message: str, hint: str = "", *, code: str = "", status: int = 0) -> None:
        super().__init__(message, hint)
        self.code = code
        self.status = status
        self.transient = status in TRANSIENT


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn the SDK's errors into ours; `what` reads on after "can't", such as "create pool 'cloud'"."""
    try:
        yield
    except HttpResponseError as error:
        raise refusal(what, error) from error
    except AzureError as error:
        message = f"Azure Batch can't be reached to {what}: {sentence(_plain(str(error.message)))}"
        raise UnreachableError(message, "Look at batch_url and at this machine's network.") from error


def _plain(words: str) -> str:
    """The library's words without its class names: `myfarm…azure.com:443: Failed to resolve …`."""
    return re.sub(r"HTTPS?Connection(?:Pool)?\(host='([^']*)', port=(\d+)\)", r"\1:\2", words)


def refusal(what: str, error: HttpResponseError) -> PoolError:
    """One refusal of the SDK as ours; credentials that are not there now have no answer of the service."""
    if error.response is None:
        return UnreachableError(f"No credentials to {what}: {sentence(str(error.message))}", _LOGIN)
    code, status = answered(error), int(error.status_code or 0)
    told = getattr(error.error, "message", None) or error.reason or error.message
    details = "; ".join(f"{each.code}: {each.message}" for each in getattr(error.error, "details", None) or ())
    reason = " ".join(filter(None, [sentence(str(told)), redact(details)]))
    message = f"Azure Batch can't {what}: {reason} ({code or f'HTTP {status}'})"
    return ServiceRefusal(message, hint(code, status), code=code, status=status)


def answered(error: HttpResponseError) -> str:
    """The service's own word for a refusal; empty when it gave none."""
    return str(getattr(error.error, "code", None) or "")


def hint(code: str, status: int = 0) -> str:
    """What to do about a refusal; empty where nobody knows."""
    if code in _HINTS:
        return _HINTS[code]
    if "quota" in code.lower():
        return _QUOTA
    return {401: _LOGIN, 403: _ROLE, 429: "The service is busy; try again in a minute."}.get(status, "")


def sentence(text: str | None) -> str:
    """What the service says, without what only its makers need."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return redact(" ".join(line for line in lines[:6] if not line.startswith(("RequestId:", "Time:"))))


class Patience(RetryPolicy):  # type: ignore[type-arg]
    """Repeats every request after any transient status and any lost connection, with growing, uneven pauses."""

    def __init__(self, backoff_seconds: float = BACKOFF_SECONDS) -> None:
        super().__init__(
            retry_total=RETRIES,
            retry_connect=CONNECTIONS,
            retry_read=RETRIES,
            retry_status=RETRIES,
            retry_backoff_factor=backoff_seconds,
            retry_backoff_max=LONGEST_PAUSE_SECONDS,
        )

    def _is_method_retryable(self, settings: dict[str, Any], request: Any, response: Any = None) -> bool:
        return True

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Seconds to wait: doubled each time, and between half and all of that, so that clients spread."""
        longest = settings["backoff"] * 2 ** max(len(settings["history"]) - 1, 0)
        return float(min(longest, settings["max_backoff"]) * random.uniform(0.5, 1))  # noqa: S311 - no secret

    def get_retry_after(self, response: Any) -> float | None:
        """Seconds that the service asks for, within reason."""
        wanted = super().get_retry_after(response)
        return None if wanted is None else min(wanted, LONGEST_RETRY_AFTER_SECONDS)
