"""What queues have in common whose nodes see the job's folder: orders lie in it, and nodes write into it.

An order is written before the queue is told of it and says all that its tasks need, so that whoever follows the
job later, without its scene even, can go on.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from renderfarm.depots import FRAMES
from renderfarm.depots.folder import FolderDepot
from renderfarm.job.home import farm_home
from renderfarm.job.job import Job, parts_of
from renderfarm.job.record import Record
from renderfarm.job.shelf import Shelf
from renderfarm.node import archive
from renderfarm.node.task import Order
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.remote import unattended
from renderfarm.words.as_json import read_json, to_json
from renderfarm.words.status import Status
from renderfarm.words.work import Task

FOLDER = "queue/"
"""orders, the node program, and what the queue itself wrote of tasks"""
PROGRAM = f"{FOLDER}node.pyz"


class Orders:
    """The orders of one job, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.depot = FolderDepot(folder)

    @functools.cached_property
    def _all(self) -> list[Order]:
        """Read once: each look of who follows a job asks for them, and they may be large and many."""
        names = (name for name, _ in self.depot.list(FOLDER) if name.endswith(".json"))
        return [read_json(Order, self.depot.read(name)) for name in names]

    def __iter__(self) -> Iterator[Order]:
        return iter(self._all)

    def known(self) -> Iterator[tuple[str, Task]]:
        """The tasks of all of them, by name."""
        for order in self:
            yield from named(order)

    def write(self, job: PoolJob, tasks: tuple[Task, ...]) -> Order:
        """A new one, and the program that carries it out. What is to be done is as it was told first."""
        earlier = next((order.work for order in self), None)
        if earlier is None:
            self.depot.put(PROGRAM, archive.build(Path(job.work.scratch) / "node.pyz"))
        number = len(self._all)
        work = earlier or replace(job.work, scratch="", journal="", copies=self._kept(job.work.copies))
        order = Order(f"{job.id}-{number:03d}-{secrets.token_hex(4)}", work, tasks, job.retries)
        self.depot.put(self._name(order), to_json(order).encode())
        self._all.append(order)
        return order

    def _kept(self, copies: Mapping[str, str]) -> dict[str, str]:
        """Copies of the scene's own files that stay with the job: another one may take its output folder."""
        kept = {}
        for path, copy in copies.items():
            target = self.depot.path(FOLDER) / Path(copy).parent.name / Path(copy).name
            target.parent.mkdir(parents=True, exist_ok=True)
            FolderDepot(Path(copy).parent).get(target.name, target)
            kept[path] = str(target)
        return kept

    def take_back(self, order: Order) -> None:
        """The queue does not want it."""
        self.depot.remove(self._name(order))
        self._all.remove(order)

    def command(self, order: Order, python: str) -> list[str]:
        """What a node starts; it appends the task's number, its own name, cores and megabytes."""
        return [python, str(self.depot.path(PROGRAM)), "task", str(self.depot.path(self._name(order)))]

    def _name(self, order: Order) -> str:
        return f"{FOLDER}{order.name}.json"


def named(order: Order) -> Iterator[tuple[str, Task]]:
    """An order's tasks by their names."""
    return ((f"{order.name}.{number}", task) for number, task in enumerate(order.tasks))


class SharedQueue(Protocol):
    """A queue that any machine may ask about a job whose folder it sees."""

    orders: Orders

    def living(self) -> int:
        """How many tasks wait or run; raises PoolError."""

    def cancel(self) -> None:
        """End all tasks."""


class SharedSide:
    """What is asked about such jobs (see `remote_side.RemoteSide`), but `equipment` and `doctor`.

    Its queue keeps `Orders` in the job's folder, and the output of tasks in `*.out` beside them.
    """

    def __init__(self, queue: Callable[[Path], SharedQueue]) -> None:
        self._queue = queue

    def recall(self, job: str) -> Record | None:
        """The record of a job of this farm whose tasks were handed over."""
        shelf = Shelf(farm_home())
        found = shelf.find(job) if shelf.has(job) else None
        folders = (found.folder, parts_of(found.folder)) if found else ()
        return found.record if found and any(any(Orders(folder)) for folder in folders) else None

    def status(self, job: Job, status: Status) -> Status:
        """With what nodes did since somebody followed the job last."""
        return unattended(job, status, self._queue(job.folder).living())

    def logs(self, job: Job, frame: int | None) -> Iterator[tuple[str, str]]:
        """What the queue wrote of tasks; renderers' logs are in the output folder."""
        depot = Orders(job.folder).depot
        for name, size in depot.list(FOLDER) if frame is None else ():
            if name.endswith(".out") and size:
                yield Path(name).name, depot.read(name).decode(errors="replace")

    def cancel(self, job: Job) -> bool:
        """End its tasks; False when it has none."""
        self._queue(job.folder).cancel()
        return any(Orders(job.folder))

    def bill(self, job: PoolJob) -> None:
        """Nothing is uploaded, and nobody knows a price."""

    def settle(self, job: Job) -> str | None:
        """Where all pictures were taken over, their second names may go; `collect` finds those of others."""
        if not (job.ledger.undecided or job.ledger.counts().canceled):
            Orders(job.folder).depot.remove(FRAMES)
        return None

    def close(self) -> None:
        """Nothing is open."""
