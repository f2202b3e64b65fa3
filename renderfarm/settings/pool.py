"""One pool as the configuration has it: its type, and the keys that only that type understands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TypeVar

from renderfarm.errors import ConfigError
from renderfarm.words.as_json import decode
from renderfarm.words.work import Build

K = TypeVar("K")


@dataclass(frozen=True)
class PoolType:
    """One type of pool."""

    module: str
    """of `renderfarm.queues`: it has `open_pool`, and where it is remote `open_remote_side` and `place`"""
    keys: tuple[str, ...]
    """of its table, besides `type`: fields of settings in the module, which is imported when it is used"""
    page: str
    """of docs/ that explains them"""
    remote: bool = True
    """its jobs go on without this machine"""
    rented: bool = False
    """its nodes and its storage are paid for, made and taken away through it"""
    files: tuple[str, ...] = ()
    """keys that name files of the user"""


_SLURM = (
    "partition account qos constraint time gres cpus memory_gb nodes python setup poll_seconds lost_seconds"
)
_AZURE = (
    "batch_url storage_url batch_account storage_account vm_size prefix pool_id nodes dedicated_nodes spot "
    "slots_per_node image node_agent container_image start_task renderer network identity identity_client_id "
    "subscription resource_group price_per_node_hour after auto_pool autoscale poll_seconds job_hours"
)
POOLS = {
    "local": PoolType("local", ("workers", "memory_gb"), "configuration.md", remote=False),
    "slurm": PoolType("slurm", tuple(_SLURM.split()), "slurm.md"),
    "azure-batch": PoolType("azure", tuple(_AZURE.split()), "azure.md", rented=True, files=("start_task",)),
}
"""Every type of pool that there is"""
UNKNOWN = PoolType("", (), "", remote=False)
DEFAULT_NODES = 10
"""the most nodes of a remote pool that does not say"""


@dataclass(frozen=True)
class PoolConfig:
    """One `[pools.NAME]` table: its type and the keys that only that type understands."""

    name: str = "local"
    type: str = "local"
    options: dict[str, object] = field(default_factory=dict)
    own: bool = False
    """the user's own file says it, so it may name any address"""

    @property
    def kind(self) -> PoolType:
        """What is known of its type."""
        return POOLS.get(self.type, UNKNOWN)

    @property
    def remote(self) -> bool:
        """Whether its jobs go on without this machine."""
        return self.kind.remote

    @property
    def table(self) -> dict[str, object]:
        """Its type and keys, as a job keeps them."""
        return {"type": self.type, **self.options}

    @property
    def sessions(self) -> int:
        """Frames that it renders at once when it is as large as it may be; for sizing tasks."""
        counts = (self.options.get("nodes", DEFAULT_NODES), self.options.get("slots_per_node", 1))
        return math.prod(count for count in counts if isinstance(count, int))

    def rendering(self, build: Build) -> Build:
        """The build that fingerprints hold: this machine's; nodes elsewhere name theirs with each frame."""
        return replace(build, identity=self.type) if self.remote else build


def read(config: PoolConfig, kind: type[K]) -> K:
    """A pool's keys as a dataclass that has them all; raises ConfigError for others, and for wrong values."""
    known = POOLS[config.type]
    try:
        if unknown := sorted(config.options.keys() - set(known.keys)):
            raise ValueError(f"there is no {unknown[0]!r}, but {', '.join(known.keys)}")
        return decode(kind, config.options)
    except ValueError as error:
        hint = f"Its keys are explained in docs/{known.page}."
        raise ConfigError(f"[pools.{config.name}]: {error}.", hint) from error
