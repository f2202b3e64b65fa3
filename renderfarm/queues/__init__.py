"""What a pool is: a queue that takes tasks, and a depot where nodes leave what they made.

The farm sees five verbs and a close. Data in, data out; no callbacks into the farm.

`prepare` gets nodes ready, `submit` takes tasks (lazily, so a pool on this machine never holds a hundred
thousand of them), `updates` returns what changed since the last call, finished frames with their files on
this machine, `caught_up` says whether that is all, `cancel` stops everything. A pool is added with one module
and one line in `POOLS`.

The jobs of a *remote* pool go on without this machine. `remote.RemotePool` makes one of a `Queue` (which tasks
are over) and a depot (what nodes told and rendered), and any machine may ask about its jobs (`RemoteSide`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from renderfarm.depots import Depot
from renderfarm.errors import ConfigError
from renderfarm.job.events import Event
from renderfarm.queues.pool_job import PoolJob
from renderfarm.settings.pool import POOLS, PoolConfig
from renderfarm.words.updates import NodeChange, Update
from renderfarm.words.work import Task

if TYPE_CHECKING:
    from renderfarm.queues.remote_side import RemoteSide


class Pool(Protocol):
    """A group of nodes that render tasks. Used by one thread."""

    def prepare(self, job: PoolJob) -> None:
        """Get the first node going; raises PoolError when the pool can't be used."""

    def submit(self, tasks: Iterable[Task]) -> None:
        """Take tasks. Walked lazily, first come first served; later calls go ahead of what is unwalked.

        A task that was submitted before is not rendered twice at once.
        """

    def updates(self, timeout: float) -> Sequence[Update | Event]:
        """What changed since the last call, in order; waits at most `timeout` seconds for something to change.

        Every frame of every task ends in exactly one Rendered or Failed. A frame whose node went away ends in
        Failed with Reason.NODE_LOST. Trouble means that no node can render this job. The path of a Rendered is
        a file on this machine, on the output folder's file system, that the caller may rename away.
        """

    def caught_up(self) -> bool:
        """Whether all that the nodes had finished at the last look is handed over."""

    def cancel(self) -> None:
        """Stop all work now; frames in hand are lost, their tasks end in Failed with Reason.NODE_LOST."""

    def close(self) -> None:
        """Let go of the nodes: no process is left when this returns. Never raises."""


@dataclass(frozen=True)
class Over:
    """How a task ended, as far as its queue knows; where that is nothing, the journals tell."""

    why: str = ""
    node: str = ""


class Queue(Protocol):
    """Where tasks of one job wait for nodes, run and end, whether the farm is there or not.

    Methods raise PoolError when it can't be used; with a true `transient` when that may pass.
    """

    @property
    def depot(self) -> Depot:
        """The job's part of the depot that its nodes use."""

    def prepare(self, job: PoolJob) -> None:
        """Get ready for a job, or find what an earlier farm gave it of this one."""

    def known(self) -> Iterator[tuple[str, Task]]:
        """The tasks that it has been given, by the names that it gave them."""

    def submit(self, tasks: Iterable[Task], avoid: Sequence[str]) -> Iterator[tuple[str, Task]]:
        """Take tasks, for other nodes than those to avoid; yields each with its name."""

    def look(self) -> Mapping[str, Over]:
        """The tasks that are over, however they ended; those that were told before may be left out.

        What nodes wrote until they were over is in the job's own journals then.
        """

    def notices(self) -> Iterable[str | NodeChange]:
        """What people should know, as found by the last look: why tasks wait, nodes that went."""

    def trouble(self) -> str:
        """Why no task will ever run, as found by the last look; empty when they will."""

    def cancel(self) -> None:
        """End all tasks."""

    def close(self) -> None:
        """Let go of connections. Never raises."""


def open_pool(config: PoolConfig) -> Pool:
    """The pool that a configuration names; raises ConfigError for an unknown type or key."""
    return cast("Pool", _module(config).open_pool(config))


def open_remote_side(config: PoolConfig) -> RemoteSide:
    """The remote side of a pool; raises ConfigError, also for one that has none."""
    if not config.remote:
        message = f"Pool {config.name!r} is this machine: there is nothing to manage."
        raise ConfigError(message, "Name a pool of another type with --pool.")
    return cast("RemoteSide", _module(config).open_remote_side(config))


def place(config: PoolConfig) -> str:
    """Where a remote pool keeps its jobs: tables that say the same find the same jobs. Raises ConfigError."""
    return cast("str", _module(config).place(config))


def _module(config: PoolConfig) -> ModuleType:
    if config.type not in POOLS:
        message = f"Pool {config.name!r} has the unknown type {config.type!r}."
        raise ConfigError(message, f"Known types: {', '.join(POOLS)}.")
    return importlib.import_module(f"{__name__}.{POOLS[config.type].module}")
