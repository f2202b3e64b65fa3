"""The management plane: the only way to a pool whose nodes have an identity.

azure-mgmt-batch is an extra, because only such pools need it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from renderfarm.errors import ConfigError, PoolError
from renderfarm.queues.azure.credentials import CA_BUNDLE, default_credential
from renderfarm.queues.azure.poolbody import managed_body
from renderfarm.queues.azure.refusals import Patience, refusals
from renderfarm.queues.azure.settings import CloudSettings

ARM_URL = "https://management.azure.com"
ARM_VARIABLE = "RENDERFARM_ARM_URL"
"""for sovereign clouds"""


def create_with_identity(settings: CloudSettings, pool: str, body: Mapping[str, Any]) -> None:
    """Make a pool with the configured identity, or bring it to that state; raises PoolError."""
    if not (settings.subscription and settings.resource_group):
        message = f"[pools.{settings.name}] has an identity, but no subscription and resource_group."
        raise ConfigError(message, "Write those of the Batch account into the table.")
    client = _client(settings.subscription)
    what = f"create pool {pool!r} with an identity"
    with client, refusals(what):
        client.pool.create(settings.resource_group, settings.batch_account, pool, managed_body(settings, body))


def _client(subscription: str) -> Any:
    try:
        from azure.mgmt.batch import BatchManagementClient
    except ImportError as error:
        message = "Pools with an identity are made through azure-mgmt-batch, which is not installed."
        raise PoolError(message, "pip install 'renderfarm[azure-management]'") from error
    url = os.environ.get(ARM_VARIABLE, ARM_URL)
    return BatchManagementClient(
        default_credential(),
        subscription,
        base_url=url,
        credential_scopes=[f"{url}/.default"],
        retry_policy=Patience(),
        connection_verify=os.environ.get(CA_BUNDLE) or True,
    )
