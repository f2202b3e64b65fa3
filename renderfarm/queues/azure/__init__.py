"""The Azure Batch pool: nodes that are rented, storage between them and here, and no server of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from renderfarm.queues.azure.settings import read
from renderfarm.settings.pool import PoolConfig

if TYPE_CHECKING:
    from renderfarm.queues.azure.remote_side import AzureSide
    from renderfarm.queues.remote import RemotePool


def open_pool(config: PoolConfig) -> RemotePool:
    """The pool of a `[pools.NAME]` table; raises ConfigError. Nothing is asked of Azure yet."""
    from renderfarm.queues.azure.queue import BatchQueue
    from renderfarm.queues.remote import RemotePool

    settings = read(config)
    return RemotePool(BatchQueue(settings), settings.poll_seconds, lost_seconds=0)


def place(config: PoolConfig) -> str:
    """Both services and the prefix of a `[pools.NAME]` table, which names its jobs; raises ConfigError."""
    found = read(config)
    return ", ".join(f'{key} = "{getattr(found, key)}"' for key in ("batch_url", "storage_url", "prefix"))


def open_remote_side(config: PoolConfig) -> AzureSide:
    """What may be asked about jobs, nodes and storage of a `[pools.NAME]` table; raises ConfigError."""
    from renderfarm.queues.azure.remote_side import AzureSide

    return AzureSide(read(config))
