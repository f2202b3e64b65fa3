"""What the service remembers: pools, nodes, jobs, schedules and tasks, each around the body that clients see.

Nothing is written to disk but the nodes' own folders: a service that ends forgets everything.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests.batch_service.clock import Clock
from tests.batch_service.errors import BatchError

if TYPE_CHECKING:
    from tests.batch_service.faults import Faults
    from tests.batch_service.runs import Run

Body = dict[str, Any]
Found = TypeVar("Found")


@dataclass(slots=True, eq=False)
class Task:
    job: Job
    key: str
    seq: int
    body: Body
    required_slots: int = 1
    manager: Body | None = None
    """the jobManagerTask that this task is"""
    missing: int = 0
    """dependencies that are not satisfied yet"""
    is_queued: bool = False
    is_satisfied: bool = False
    run: Run | None = None

    @property
    def state(self) -> str:
        return str(self.body["state"])


@dataclass(slots=True, eq=False)
class Preparation:
    """What the job preparation and release tasks of one job did on one node."""

    node: Node
    incarnation: int
    status: Body
    work: asyncio.Task[None] | None = None
    has_failed: bool = False


@dataclass(slots=True, eq=False)
class Job:
    key: str
    seq: int
    body: Body
    pool_key: str | None = None
    schedule: Schedule | None = None
    is_auto_pool: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)
    order: list[Task | None] = field(default_factory=list)
    """every task at the place of its number; a deleted one leaves a gap, so that paging tokens stay right"""
    changes: list[tuple[str, Task]] = field(default_factory=list)
    """(stateTransitionTime, task) as they happened; stale entries are skipped and swept now and then"""
    ready: deque[Task] = field(default_factory=deque)
    counts: dict[str, int] = field(default_factory=dict)
    slot_counts: dict[str, int] = field(default_factory=dict)
    dependents: dict[str, list[Task]] = field(default_factory=dict)
    range_dependents: list[tuple[int, int, Task]] = field(default_factory=list)
    satisfied_numbers: set[int] = field(default_factory=set)
    preparations: dict[str, Preparation] = field(default_factory=dict)
    runs: set[Run] = field(default_factory=set)
    ending: asyncio.Task[None] | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    served: int = 0
    """when a task of this job was last started, as a count over the whole service"""
    release_is_done: bool = False

    @property
    def state(self) -> str:
        return str(self.body["state"])

    @property
    def folder_name(self) -> str:
        """Below workitems: `<job>/job-1`, and `<schedule>/<job>` for the jobs of a schedule."""
        name = str(self.body["id"])
        return name.replace(":", "/") if self.schedule else f"{name}/job-1"


@dataclass(slots=True, eq=False)
class Schedule:
    key: str
    seq: int
    body: Body
    loop: asyncio.Task[None] | None = None
    runs: int = 0
    pool_id: str | None = None
    """the automatic pool that all its jobs share"""


@dataclass(slots=True, eq=False)
class Node:
    pool: Pool
    key: str
    seq: int
    body: Body
    folder: Path
    is_dedicated: bool
    slots: int
    used_slots: int = 0
    incarnation: int = 0
    is_full: bool = False
    """a fault: its disk has no room"""
    runs: set[Run] = field(default_factory=set)
    recent: deque[Task] = field(default_factory=lambda: deque(maxlen=10))
    users: dict[str, Body] = field(default_factory=dict)
    life: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return str(self.body["id"])

    @property
    def state(self) -> str:
        return str(self.body["state"])

    @property
    def free_slots(self) -> int:
        return self.slots - self.used_slots

    @property
    def can_work(self) -> bool:
        return self.body["state"] in ("idle", "running") and self.body["schedulingState"] == "enabled"


@dataclass(slots=True, eq=False)
class Pool:
    key: str
    seq: int
    body: Body
    nodes: dict[str, Node] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    resizing: asyncio.Task[None] | None = None
    scaling: asyncio.Task[None] | None = None
    scaled_at: float = float("-inf")
    deallocation: str = "requeue"

    @property
    def state(self) -> str:
        return str(self.body["state"])

    def current(self, is_dedicated: bool) -> int:
        return sum(node.is_dedicated == is_dedicated for node in self.nodes.values())


@dataclass(frozen=True, slots=True)
class Settings:
    account: str
    key: str
    root: Path
    search_path: str
    storage_account: str | None = None
    storage_key: str | None = None
    autoscale_seconds: float | None = None


class Service:
    """All state of one running service, and the look-ups that every operation needs."""

    def __init__(self, settings: Settings, clock: Clock, faults: Faults) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = faults
        self.base = ""
        self.pools: dict[str, Pool] = {}
        self.jobs: dict[str, Job] = {}
        self.schedules: dict[str, Schedule] = {}
        self.applications: dict[str, Body] = {}
        self.certificates: dict[str, Body] = {}
        self.wake = asyncio.Event()
        self._numbers = itertools.count(1)
        self._background: set[asyncio.Task[Any]] = set()

    def number(self) -> int:
        """A number later than all others: the order in which things were made."""
        return next(self._numbers)

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Runs a coroutine beside the requests; its exception is not lost."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            context = {"message": "background work failed", "exception": task.exception(), "task": task}
            asyncio.get_running_loop().call_exception_handler(context)

    def pool(self, pool_id: str) -> Pool:
        return _found(self.pools.get(pool_id.lower()), "PoolNotFound")

    def node(self, pool_id: str, node_id: str) -> Node:
        return _found(self.pool(pool_id).nodes.get(node_id.lower()), "NodeNotFound")

    def job(self, job_id: str) -> Job:
        return _found(self.jobs.get(job_id.lower()), "JobNotFound")

    def schedule(self, schedule_id: str) -> Schedule:
        return _found(self.schedules.get(schedule_id.lower()), "JobScheduleNotFound")

    def task(self, job_id: str, task_id: str) -> Task:
        return _found(self.job(job_id).tasks.get(task_id.lower()), "TaskNotFound")

    def check_packages(self, references: Iterable[Body] | None) -> None:
        """BatchError unless every application, in the version asked for, exists."""
        for reference in references or ():
            known = self.applications.get(reference["applicationId"].lower())
            version = reference.get("version")
            if known is None or (version and version not in known["versions"]):
                raise BatchError(
                    "InvalidApplicationPackageReferences", ApplicationId=reference["applicationId"]
                )

    def stamp_new(self, body: Body, state: str) -> None:
        """The properties that the service gives to what has just been made."""
        now = self.clock.stamp()
        body["eTag"] = self.clock.etag()
        body["lastModified"] = body["creationTime"] = now
        body["state"] = state
        body["stateTransitionTime"] = now

    def touch(self, body: Body) -> None:
        body["eTag"] = self.clock.etag()
        body["lastModified"] = self.clock.stamp()

    def move(self, body: Body, state: str) -> str:
        """Changes a state and remembers the one before; answers when."""
        now = self.shift(body, state)
        body["lastModified"] = now
        body["eTag"] = self.clock.etag()
        return now

    def shift(self, body: Body, state: str) -> str:
        """The same for a task, whose version stays: in the service a task that runs is not a modified one."""
        now = self.clock.stamp()
        body["previousState"] = body["state"]
        body["previousStateTransitionTime"] = body["stateTransitionTime"]
        body["state"] = state
        body["stateTransitionTime"] = now
        return now

    def jobs_of(self, schedule: Schedule) -> Iterable[Job]:
        return (job for job in self.jobs.values() if job.schedule is schedule)


def _found(item: Found | None, code: str) -> Found:
    if item is None:
        raise BatchError(code)
    return item
