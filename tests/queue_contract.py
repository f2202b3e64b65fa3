"""What every queue must do, whatever runs its tasks: one suite, put to each queue through `Queues`.

A test module for a queue defines a fixture `queues` and imports everything here. Written against the Queue
protocol alone, so it says what a new queue has to keep to before a pool is made of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from farm_runs import PATIENCE_SECONDS

from renderfarm.depots import frame_name
from renderfarm.job.events import Ended, Event, Taken
from renderfarm.job.journal import FARM, FOLDER, Reader
from renderfarm.queues import Queue
from renderfarm.queues.pool_job import PoolJob
from renderfarm.renderers.testcard_inside import picture
from renderfarm.words.updates import Rendered, Started
from renderfarm.words.work import Task

HANGING = {"1": {"what": "hang"}}


class Queues(Protocol):
    """One kind of queue under test."""

    def job(self, frames: int = 1000, **card: object) -> PoolJob:
        """A job of a test card with these fields."""

    def queue(self, job: PoolJob) -> Queue:
        """A queue that is prepared for the job, as any machine may have one; ended and closed with the test."""

    def close(self, queue: Queue) -> None:
        """A machine lets go of its job."""


def said(queue: Queue, job: PoolJob) -> list[Event]:
    """All that nodes have told of the job so far."""
    queue.look()
    return [entry.event for entry in Reader(job.folder / FOLDER, without=FARM).news()]


def wait(enough: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not enough():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def wait_over(queue: Queue, names: Iterable[str]) -> None:
    left = set(names)

    def none_is_left() -> bool:
        left.difference_update(queue.look())
        return not left

    wait(none_is_left)


def test_a_job_without_tasks_has_nothing_to_look_at(queues: Queues) -> None:
    queue = queues.queue(queues.job())
    assert (dict(queue.known()), dict(queue.look()), queue.trouble()) == ({}, {}, "")


def test_tasks_are_known_by_their_names_from_anywhere(queues: Queues) -> None:
    job = queues.job(faults=HANGING)
    names = dict(queues.queue(job).submit([Task((1, 2)), Task((7,), attempt=3)], ()))
    assert {(task.frames, task.attempt) for task in names.values()} == {((1, 2), 1), ((7,), 3)}
    assert dict(queues.queue(job).known()) == names


def test_a_task_that_a_node_did_is_over_and_its_pictures_are_in_the_depot(
    queues: Queues, tmp_path: Path
) -> None:
    job = queues.job()
    queue = queues.queue(job)
    ((name, _),) = queue.submit([Task((1, 2))], ())
    wait_over(queue, [name])
    told = said(queue, job)
    assert [(event.task, event.code) for event in told if isinstance(event, Ended)] == [(name, 0)]
    assert [event.task for event in told if isinstance(event, Taken)] == [name]
    assert sorted(event.frame for event in told if isinstance(event, Rendered)) == [1, 2]
    assert queue.depot.receipt(frame_name(2, 1, "png"))
    queue.depot.get(frame_name(2, 1, "png"), tmp_path / "two.png")
    assert (tmp_path / "two.png").read_bytes() == picture(2, (32, 18), "")


def test_canceling_ends_tasks_that_run(queues: Queues) -> None:
    job = queues.job(faults=HANGING)
    queue = queues.queue(job)
    ((name, _),) = queue.submit([Task((1, 2))], ())
    wait(lambda: any(isinstance(event, Started) for event in said(queue, job)))
    assert name not in queue.look()
    queue.cancel()
    wait_over(queue, [name])
    assert not any(isinstance(event, Rendered) for event in said(queue, job))


def test_tasks_go_on_when_nobody_follows_them(queues: Queues) -> None:
    job = queues.job(seconds=0.2)
    first = queues.queue(job)
    names = dict(first.submit([Task((1,)), Task((2, 3))], ()))
    queues.close(first)
    later = queues.queue(job)
    assert dict(later.known()) == names
    wait_over(later, names)
    assert sorted(event.frame for event in said(later, job) if isinstance(event, Rendered)) == [1, 2, 3]
