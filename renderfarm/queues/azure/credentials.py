"""Clients of Azure that know who they are: default credentials, or a key from the environment.

Keys are read from RENDERFARM_BATCH_KEY and RENDERFARM_STORAGE_KEY only, so they are in no file, no argument
list and no error. azure-core's own logging leaves out credentials and unknown query parameters.
"""

from __future__ import annotations

import base64
import binascii
import functools
import logging
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from renderfarm.errors import ConfigError
from renderfarm.queues.azure import clouds
from renderfarm.queues.azure.settings import CloudSettings

if TYPE_CHECKING:
    from azure.batch import BatchClient
    from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
    from azure.storage.blob import BlobServiceClient

BATCH_KEY = "RENDERFARM_BATCH_KEY"
STORAGE_KEY = "RENDERFARM_STORAGE_KEY"
CA_BUNDLE = "RENDERFARM_CA_BUNDLE"
"""file of certificates to trust besides the system's, for local services with TLS and for proxies"""


def batch_client(settings: CloudSettings, *, backoff_seconds: float | None = None) -> BatchClient:
    """A client of the Batch account, safe to use from several threads."""
    from azure.batch import BatchClient

    from renderfarm.queues.azure.refusals import BACKOFF_SECONDS, Patience

    _quiet()
    key = _named_key(BATCH_KEY, settings.batch_account)
    return BatchClient(
        settings.batch_url,
        key or _token(settings.batch_url, BATCH_KEY),
        credential_scopes=[clouds.scope(urlsplit(settings.batch_url).hostname or "")],
        retry_policy=Patience(BACKOFF_SECONDS if backoff_seconds is None else backoff_seconds),
        connection_verify=os.environ.get(CA_BUNDLE) or True,
    )


def blob_service(settings: CloudSettings) -> BlobServiceClient:
    """A client of the storage account."""
    from azure.storage.blob import BlobServiceClient, ExponentialRetry

    _quiet()
    return BlobServiceClient(
        settings.storage_url,
        # The SDK's own policy waits 15 s before its first retry.
        retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=6),
        credential=_named_key(STORAGE_KEY, settings.storage_account)
        or _token(settings.storage_url, STORAGE_KEY),
        connection_verify=os.environ.get(CA_BUNDLE) or True,
    )


def storage_key(settings: CloudSettings) -> str | None:
    """The storage account's key, where the environment has one."""
    key = _named_key(STORAGE_KEY, settings.storage_account)
    return None if key is None else key.named_key.key


@functools.cache
def default_credential() -> TokenCredential:
    """Whoever this machine's user is: environment, workload or managed identity, az, azd, PowerShell."""
    from azure.identity import DefaultAzureCredential

    _quiet()
    return DefaultAzureCredential(require_envvar=False)


def _named_key(variable: str, account: str) -> AzureNamedKeyCredential | None:
    from azure.core.credentials import AzureNamedKeyCredential

    key = os.environ.get(variable, "").strip()
    if not key:
        return None
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"{variable} is not an account key.", "A key is base64 text.") from None
    return AzureNamedKeyCredential(account, key)


def _token(url: str, variable: str) -> TokenCredential:
    """The default credential, which must never travel unencrypted."""
    if urlsplit(url).scheme != "https":
        raise ConfigError(f"{url} is not https, so only a key may be used with it.", f"Set {variable}.")
    return default_credential()


def _quiet() -> None:
    """Keep warnings of the SDK off the terminal: what matters comes as an error."""
    logger = logging.getLogger("azure")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
