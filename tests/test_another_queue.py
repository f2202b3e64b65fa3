"""A third queue in a test's own fifty lines: tasks are processes of this machine that nobody waits for."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from conftest import write_testcard
from node_work import work_for
from pool_contract import card_scene, singles, until, watch
from queue_contract import *  # noqa: F403 - the contract's tests become this module's
from queue_contract import Queues

from renderfarm.depots.folder import FolderDepot
from renderfarm.errors import UnreachableError
from renderfarm.job.home import is_claimed
from renderfarm.queues import Over, Queue, slurm
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.remote import RemotePool
from renderfarm.queues.shared import Orders, named
from renderfarm.words.work import Task


class ProcessQueue:
    """Each task is a process that holds the lock of a file of its name."""

    orders: Orders

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def depot(self) -> FolderDepot:
        return self.orders.depot

    def prepare(self, job: PoolJob) -> None:
        self.job, self.orders, self.locks = job, Orders(job.folder), job.folder / "locks"
        self.locks.mkdir(parents=True, exist_ok=True)

    def known(self) -> Iterator[tuple[str, Task]]:
        return self.orders.known()

    def submit(self, tasks: Iterable[Task], avoid: Sequence[str]) -> Iterator[tuple[str, Task]]:
        if several := tuple(tasks):
            order = self.orders.write(self.job, several)
            for number, (name, task) in enumerate(named(order)):
                command = [*self.orders.command(order, sys.executable), str(number), "here", "1", "0"]
                with (self.locks / name).open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    process = subprocess.Popen(command, pass_fds=[lock.fileno()], start_new_session=True)
                    self.started.append(process)
                    lock.write(str(process.pid))
                yield name, task

    def look(self) -> Mapping[str, Over]:
        return {name: Over() for name, _ in self.known() if not is_claimed(self.locks / name)}

    def notices(self) -> Iterator[str]:
        return iter(())

    def trouble(self) -> str:
        return ""

    def cancel(self) -> None:
        for name in dict(self.known()).keys() - self.look().keys():
            os.killpg(int((self.locks / name).read_text()), signal.SIGTERM)

    def close(self) -> None:
        """Nothing is open."""


class ProcessQueues:
    """Jobs in a test's folder, and queues for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[ProcessQueue] = []

    def job(self, frames: int = 1000, **card: object) -> PoolJob:
        path = write_testcard(self.folder, **card)
        work = work_for(path, self.folder / "scratch")
        Path(work.scratch).mkdir(exist_ok=True)
        return PoolJob("job", work, card_scene(path, card), self.folder, frames, folder=self.folder / "job")

    def queue(self, job: PoolJob) -> Queue:
        made = self.new()
        made.prepare(job)
        return made

    def close(self, queue: Queue) -> None:
        queue.close()

    def new(self) -> ProcessQueue:
        self.opened.append(ProcessQueue())
        return self.opened[-1]


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[Queues]:
    made = ProcessQueues(tmp_path)
    yield made
    for queue in made.opened:
        queue.cancel()
        for process in queue.started:
            process.wait()


def test_a_queue_and_a_depot_are_a_pool(queues: ProcessQueues) -> None:
    job = queues.job(faults={"2": {"what": "crash"}})
    pool = RemotePool(queues.new(), poll_seconds=0.05, lost_seconds=1.0)
    pool.prepare(job)
    pool.submit(singles((1, 2, 3)))
    assert watch(pool, until(3)).outcomes == {1: "", 2: "crash", 3: ""}
    pool.close()


class AwayQueue(ProcessQueue):
    """Can't be reached the second time that tasks come."""

    asked = 0

    def submit(self, tasks: Iterable[Task], avoid: Sequence[str]) -> Iterator[tuple[str, Task]]:
        self.asked += 1
        if self.asked == 2:
            raise UnreachableError("no controller")
        return super().submit(tasks, avoid)


def test_frames_to_be_tried_again_wait_for_a_queue_that_is_away(queues: ProcessQueues) -> None:
    queues.opened.append(queue := AwayQueue())
    pool = RemotePool(queue, poll_seconds=0.05, lost_seconds=1.0)
    pool.prepare(queues.job())
    pool.submit(singles((1,)))
    pool.submit(list(singles((2,))))
    assert watch(pool, until(2)).outcomes == {1: "", 2: ""}
    pool.close()


def test_a_controller_that_does_not_even_say_that_it_is_there_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, does in (("squeue", "echo no >&2; exit 1"), ("scontrol", "exec sleep 60")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "ANSWER_SECONDS", 0.5)
    with pytest.raises(UnreachableError, match="squeue"):
        slurm._run(["squeue"])
