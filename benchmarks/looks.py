"""`python -m benchmarks.looks`: CPU seconds of looks at jobs of few and many tasks, each the least of five.

`status` is a process of its own: when the client has just left the job, when its nodes said more since,
and with nothing new. A client's look with nothing new is `RemotePool`'s part of it, without the service's.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from renderfarm.job import record as records
from renderfarm.job import snapshots
from renderfarm.job.events import Delivered, Ended, Taken
from renderfarm.job.job import Job
from renderfarm.job.journal import Journal
from renderfarm.job.store import Store
from renderfarm.queues import Over, Queue
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.remote import RemotePool
from renderfarm.words.updates import Rendered, Started
from renderfarm.words.work import Task
from tests.farm_runs import Farm, card, ended

SIZES = ((5_000, 4_000), (100_000, 20_000), (100_000, 80_000))
"""tasks, and how many of them are done"""
MORE = 200
"""that end afterwards, while nobody looks"""
NODES, ROUNDS, LOOKS = 3, 5, 200


def main() -> None:
    """Print a line for each size."""
    print("| tasks | done | `status`, left | nodes went on | nothing new | a look of a client |")
    print("|--:|--:|--:|--:|--:|--:|")
    for tasks, done in SIZES:
        with tempfile.TemporaryDirectory() as name:
            print(measured(Farm(Path(name)), tasks, done), flush=True)


def measured(farm: Farm, tasks: int, done: int) -> str:
    """One line of the table."""
    job = long_job(farm, tasks)
    say(job, range(1, done + 1))
    with closing(Store(farm.home)) as store:
        snapshots.read_on(store, Job.at(job.folder))
    left = min(_status(farm, forget=True) for _ in range(ROUNDS))
    say(job, range(done + 1, done + MORE + 1))
    more = min(_status(farm, forget=True) for _ in range(ROUNDS))
    again = min(_status(farm) for _ in range(ROUNDS))
    look = _look_ms(job, tasks)
    return f"| {tasks:,} | {done:,} | {left:.2f} s | {more:.2f} s | {again:.2f} s | {look:.2f} ms |"


def long_job(farm: Farm, tasks: int) -> Job:
    """A small job that is described as a long one, of which nothing was said."""
    farm.submit(card(farm.folder / "shot.testcard", "1-1", size=[1, 1]))
    (path,) = (farm.folder / "out" / records.SCRATCH).glob(f"*/{records.RECORD}")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frames": f"1-{tasks}", "total": tasks}))
    job = Job.at(path.parent)
    for journal in job.journals.iterdir():
        journal.unlink()
    return job


def say(job: Job, frames: range) -> None:
    """What nodes say of one-frame tasks, and the farm of their frames."""
    for node in range(NODES):
        with closing(Journal(job.journals, f"n{node}")) as journal:
            for frame in frames[node::NODES]:
                name, task = f"n{node}", f"f{frame}"
                done = Rendered(frame, "", 0.1, task=task, node=name, build=job.record.renderer)
                journal.add(Taken(task, name), Started(frame, task, 1, name), done, Ended(task, name, 0))
    with closing(Journal(job.journals, "farm")) as journal:
        for frame in frames:
            journal.add(Delivered(frame, 1, 69, 1))


def _status(farm: Farm, *, forget: bool = False) -> float:
    """CPU seconds of one; `forget` what the last one told."""
    if forget:
        with closing(sqlite3.connect(farm.home / "farm.sqlite", isolation_level=None)) as store:
            store.execute("DELETE FROM known WHERE kind = 'Status'")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended(farm.start("status"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class _Still:
    """A queue of which nothing is to be told any more."""

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks

    def known(self) -> list[tuple[str, Task]]:
        return [(f"f{frame}", Task((frame,))) for frame in range(1, self._tasks + 1)]

    def look(self) -> dict[str, Over]:
        return {}

    def notices(self) -> tuple[str, ...]:
        return ()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: ""


def _look_ms(job: Job, tasks: int) -> float:
    pool = RemotePool(cast("Queue", _Still(tasks)), 0.0, 0.0)
    good = frozenset(job.refresh().ledger.frames)
    work, scene = job.record.work, job.record.scene
    pool.prepare(PoolJob(job.id, work, scene, job.folder, tasks, good=good, folder=job.folder))
    pool._look()
    spent = []
    for _ in range(LOOKS):
        began = time.process_time()
        pool._look()
        spent.append(time.process_time() - began)
    pool.close()
    return min(spent) * 1000


if __name__ == "__main__":
    main()
