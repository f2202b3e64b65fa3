"""What a remote pool is asked for besides rendering: its jobs, its nodes, its renderers, its storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from renderfarm.job.job import Job
from renderfarm.job.record import Record
from renderfarm.queues.pool_job import PoolJob
from renderfarm.words.scene import Scene
from renderfarm.words.status import Status
from renderfarm.words.work import Build


class RemoteSide(Protocol):
    """What a remote pool is asked for about its jobs, from any machine that has its configuration.

    Methods raise PoolError when the service can't be used, InputError for what does not exist there.
    """

    def recall(self, job: str) -> Record | None:
        """The job with this id or unambiguous prefix; None when there is none."""

    def status(self, job: Job, status: Status) -> Status:
        """A job's status, brought up to date by what its nodes have done since it was last followed."""

    def logs(self, job: Job, frame: int | None) -> Iterator[tuple[str, str]]:
        """Renderers' logs as (name, text), oldest first; of one frame when given."""

    def cancel(self, job: Job) -> bool:
        """Stop a job's tasks; what is rendered stays collectable. False when the pool has none of it."""

    def equipment(self, scene: Scene, build: Build) -> str:
        """What stands for the nodes that render a scene which `build` looked at, and for what they install."""

    def bill(self, job: PoolJob) -> Bill | None:
        """What submitting would upload, and what rendering may cost; changes nothing. None where it is free."""

    def settle(self, job: Job) -> str | None:
        """A job has ended: let go of nodes as far as the configuration says so; what people should know."""

    def doctor(self) -> Iterator[Check]:
        """Look at everything that a job needs, in the order in which to mend it."""

    def close(self) -> None:
        """Let go of connections. Never raises."""


@dataclass(frozen=True)
class Check:
    """One thing that rendering stands on, here or in a pool."""

    name: str
    ok: bool
    needed: bool = field(default=True, kw_only=True)
    """whether the main job can't run without it"""
    detail: str
    remedy: str = ""
    """the command that mends it; empty when it is fine"""


@dataclass(frozen=True)
class Swept:
    """What was removed, or would be."""

    jobs: tuple[str, ...]
    assets: int
    bytes: int


@dataclass(frozen=True)
class Bill:
    """What a remote job would take."""

    upload: tuple[tuple[str, int], ...] = ()
    """files that are not there yet: path and bytes"""
    present: int = 0
    """files that are there already"""
    node_hours: float | None = None
    """None: unknown, no frame of this was rendered before"""
    cost: float | None = None
    currency: str = "USD"
    prices: str = ""
    """where the price is from and how old it is"""
    unpriced: str = ""
    """what to do where no price is known"""


@dataclass(frozen=True)
class Cost:
    """Node-hours and what they come to; no amount where no price is known."""

    node_hours: float
    amount: float | None
    currency: str
    dated: str
    """of when the price is, or where it comes from"""


@dataclass(frozen=True)
class PoolTrouble:
    """Something that keeps nodes from working."""

    message: str
    hint: str = ""
    fatal: bool = False
    """nothing can ever run: waiting is of no use"""


@dataclass(frozen=True)
class PoolSummary:
    """One line about a pool in Batch."""

    pool: str
    state: str
    """active or deleting"""
    allocation: str
    """steady, resizing or stopping"""
    vm_size: str
    nodes: int
    """spot and dedicated nodes that there are"""
    target: int
    autoscale: bool
    ours: bool
    """made by renderfarm"""


@dataclass(frozen=True)
class PoolStatus:
    """Where a pool stands."""

    name: str
    pool: str
    state: str
    """active, deleting, or missing"""
    allocation: str = ""
    vm_size: str = ""
    image: str = ""
    autoscale: bool = False
    maximum: int = 0
    current_spot: int = 0
    current_dedicated: int = 0
    target_spot: int = 0
    target_dedicated: int = 0
    nodes: dict[str, int] = field(default_factory=dict)
    """how many are in which state"""
    slots_per_node: int = 1
    renderers: tuple[str, ...] = ()
    made_by: str = ""
    """version of renderfarm that made it; empty for pools of others"""
    created: str | None = None
    troubles: tuple[PoolTrouble, ...] = ()
    cost_per_hour: Cost | None = None
    """of the nodes that there are now; they cost the same whatever they do"""
