"""Who we are to Azure: default credentials, or a key from the environment.

Keys are read from RENDERFARM_BATCH_KEY and RENDERFARM_STORAGE_KEY only, so they are in no file, no argument
list and no error. azure-core's own logging leaves out credentials and unknown query parameters.
"""

from __future__ import annotations

import base64
import functools
import logging
import os
from urllib.parse import urlsplit

from azure.batch import BatchClient
from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import AzureError

from renderfarm.depots.identity import EARLY_SECONDS, STORAGE, Kept, TokenError, Tokens
from renderfarm.depots.redaction import redact
from renderfarm.errors import ConfigError
from renderfarm.queues.azure import clouds
from renderfarm.queues.azure.refusals import BACKOFF_SECONDS, Patience
from renderfarm.queues.azure.settings import CloudSettings

BATCH_KEY = "RENDERFARM_BATCH_KEY"
STORAGE_KEY = "RENDERFARM_STORAGE_KEY"
CA_BUNDLE = "RENDERFARM_CA_BUNDLE"
"""file of certificates to trust besides the system's, for local services with TLS and for proxies"""


def batch_client(settings: CloudSettings, backoff_seconds: float = BACKOFF_SECONDS) -> BatchClient:
    """A client of the Batch account, safe to use from several threads."""
    _quiet()
    key, url = _key(BATCH_KEY), settings.batch_url
    return BatchClient(
        url,
        AzureNamedKeyCredential(settings.batch_account, key) if key else credential(url, BATCH_KEY),
        credential_scopes=[clouds.scope(urlsplit(url).hostname or "")],
        retry_policy=Patience(backoff_seconds),
        connection_verify=os.environ.get(CA_BUNDLE) or True,
    )


def storage_key() -> str | None:
    """The storage account's key, where the environment has one."""
    return _key(STORAGE_KEY)


def storage_tokens(url: str) -> Tokens:
    """Tokens of the default credential, which would ask a program each time; they raise TokenError."""
    return Kept(functools.partial(_token, credential(url, STORAGE_KEY)))


def _token(credential: TokenCredential) -> tuple[str, float]:
    try:
        found = credential.get_token(f"{STORAGE}/.default")
    except AzureError as error:
        told = " ".join(str(error).split()).rstrip(".")
        raise TokenError(redact(f"No credentials for storage: {told}")) from error
    return found.token, found.expires_on - EARLY_SECONDS


def credential(url: str, variable: str) -> TokenCredential:
    """The default credential, whose tokens must never travel unencrypted."""
    if urlsplit(url).scheme != "https":
        raise ConfigError(f"{url} is not https, so only a key may be used with it.", f"Set {variable}.")
    return default_credential()


@functools.cache
def default_credential() -> TokenCredential:
    """Whoever this machine's user is: environment, workload or managed identity, az, azd, PowerShell."""
    from azure.identity import DefaultAzureCredential

    _quiet()
    return DefaultAzureCredential(require_envvar=False)


def _key(variable: str) -> str | None:
    key = os.environ.get(variable, "").strip()
    try:
        base64.b64decode(key, validate=True)
    except ValueError:
        raise ConfigError(f"{variable} is not an account key.", "A key is base64 text.") from None
    return key or None


def _quiet() -> None:
    """Keep warnings of the SDK off the terminal: what matters comes as an error."""
    logger = logging.getLogger("azure")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
