"""One pool as the configuration has it: its type, and the keys that only that type understands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from renderfarm.words.model import Build

POOLS = {"local": "local", "azure-batch": "azure"}
"""Pool type to the module of this package that has `open_pool`, and `open_site` where it is remote."""
REMOTE = frozenset({"azure-batch"})
"""Types of pools whose jobs go on without this machine"""
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
    def remote(self) -> bool:
        """Whether its jobs go on without this machine."""
        return self.type in REMOTE

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
