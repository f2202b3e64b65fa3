"""What a pool is: five verbs and a close. Data in, data out; no callbacks into the farm.

`prepare` gets nodes ready, `submit` takes tasks (lazily, so a pool on this machine never holds a hundred
thousand of them), `updates` returns what changed since the last call, `fetch` brings a finished frame to
this machine, `cancel` stops everything. A pool is added with one module and one line in `POOLS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from renderfarm.errors import ConfigError
from renderfarm.model import Rendered, Scene, Task, Update, Work
from renderfarm.node.process import NodeProcess

POOLS = {"local": "local"}
"""Pool type to the module of this package that has `open_pool`."""


@dataclass(frozen=True)
class PoolConfig:
    """One `[pools.NAME]` table: its type and the keys that only that type understands."""

    name: str = "local"
    type: str = "local"
    options: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolJob:
    """What a pool must know about a job before tasks come."""

    id: str
    work: Work
    scene: Scene
    home: Path
    """the farm home, for what pools of several jobs must agree on"""
    frame_count: int
    """frames still to render, for sizing"""
    workers: int | None = None
    """sessions that the user asked for; None: chosen by the pool"""
    warm: NodeProcess | None = None
    """a node on this machine that has the scene open already; a pool that takes it over says so"""


class Pool(Protocol):
    """A group of nodes that render tasks. Used by one thread."""

    def prepare(self, job: PoolJob) -> None:
        """Get the first node going; raises PoolError when the pool can't be used."""

    def submit(self, tasks: Iterable[Task]) -> None:
        """Take tasks. Walked lazily, first come first served; later calls go ahead of what is unwalked.

        A task that was submitted before is not rendered twice at once.
        """

    def updates(self, timeout: float) -> Sequence[Update]:
        """What changed since the last call, in order; waits at most `timeout` seconds for something to change.

        Every frame of every task ends in exactly one Rendered or Failed. A frame whose node went away ends in
        Failed with Reason.NODE_LOST. Trouble means that no node can render this job.
        """

    def fetch(self, frame: Rendered) -> Path:
        """A file on this machine, on the output folder's file system, that the caller may rename away."""

    def cancel(self) -> None:
        """Stop all work now; frames in hand are lost, their tasks end in Failed with Reason.NODE_LOST."""

    def close(self) -> None:
        """Let go of the nodes: no process is left when this returns. Never raises."""


def open_pool(config: PoolConfig) -> Pool:
    """The pool that a configuration names; raises ConfigError for an unknown type or key."""
    if config.type not in POOLS:
        message = f"Pool {config.name!r} has the unknown type {config.type!r}."
        raise ConfigError(message, f"Known types: {', '.join(POOLS)}.")
    module = importlib.import_module(f"{__name__}.{POOLS[config.type]}")
    return cast("Pool", module.open_pool(config))
