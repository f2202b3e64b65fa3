"""What every pool must do, whatever its nodes are: one suite, put to each pool through `Subject`.

A test module for a pool defines a fixture `subject` and imports everything here. Written against the Pool
protocol alone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from farm_runs import PATIENCE_SECONDS

from renderfarm.queues import Pool
from renderfarm.renderers.testcard_inside import picture
from renderfarm.words.scene import Scene, pictures
from renderfarm.words.updates import Failed, Rendered, Started, Update
from renderfarm.words.work import Task

Faults = dict[str, dict[str, object]]


class Subject(Protocol):
    """One kind of pool under test."""

    def pool(self, *, workers: int = 1, frames: int = 1000, **card: object) -> Pool:
        """A prepared pool that renders a test card with these fields; closed when the test ends."""


def card_scene(path: Path, card: Mapping[str, object]) -> Scene:
    """What is found out about a test card with these fields."""
    views = cast("list[str]", card.get("views", []))
    return Scene(str(path), "testcard", "1", "1-8", 24.0, (32, 18), None, views=tuple(views))


@dataclass
class Seen:
    """What a pool reported."""

    updates: list[Update] = field(default_factory=list)

    def of(self, *kinds: type) -> list[Update]:
        return [update for update in self.updates if isinstance(update, kinds)]

    @property
    def outcomes(self) -> dict[int, str]:
        """Frame to its reason for failing, or to nothing where it is good."""
        decided = [u for u in self.updates if isinstance(u, Rendered | Failed)]
        return {u.frame: u.reason.value if isinstance(u, Failed) else "" for u in decided}

    @property
    def times_decided(self) -> Counter[int]:
        return Counter(u.frame for u in self.updates if isinstance(u, Rendered | Failed))


def watch(pool: Pool, enough: Callable[[Seen], bool], seen: Seen | None = None) -> Seen:
    """Take updates until that is enough."""
    seen = seen or Seen()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not enough(seen):
        assert time.monotonic() < deadline, f"waited in vain; saw {seen.updates}"
        seen.updates += pool.updates(0.2)
    return seen


def until(count: int) -> Callable[[Seen], bool]:
    """That many frames are decided."""
    return lambda seen: len(seen.outcomes) >= count


def singles(frames: Iterable[int]) -> Iterator[Task]:
    return (Task((frame,)) for frame in frames)


def fault(what: str, *frames: int) -> Faults:
    return {str(frame): {"what": what} for frame in frames}


def test_every_frame_of_every_task_is_started_and_then_rendered_once_with_a_receipt(subject: Subject) -> None:
    pool = subject.pool(workers=2)
    tasks = [Task((1, 2, 3)), Task((10,)), Task((20, 30)), Task((-5, -4), attempt=3), *singles((11, 12))]
    pool.submit(iter(tasks[:4]))
    pool.submit(iter(tasks[4:]))
    seen = watch(pool, until(10))
    seen.updates += pool.updates(0.2)
    assert not [u for u in pool.updates(0.1) if isinstance(u, Rendered | Failed | Started)], "all is told"
    assert seen.times_decided == {frame: 1 for task in tasks for frame in task.frames}
    order = [(type(u).__name__, u.frame) for u in seen.updates if isinstance(u, Started | Rendered)]
    assert all(order.index(("Started", f)) < order.index(("Rendered", f)) for f in seen.outcomes)
    receipts = [u for u in seen.updates if isinstance(u, Rendered)]
    told = sorted((r.frame, r.task, r.attempt) for r in receipts)
    assert told == sorted((frame, task.id, task.attempt) for task in tasks for frame in task.frames)
    assert all(receipt.node for receipt in receipts)


def test_a_fetched_frame_has_files_that_may_be_renamed_away(subject: Subject, tmp_path: Path) -> None:
    pool = subject.pool(views=["_L", "_R"])
    pool.submit(singles([1]))
    (receipt,) = watch(pool, until(1)).of(Rendered)
    assert isinstance(receipt, Rendered)
    files = pictures(receipt.path, 2)
    moved = {Path(file).rename(tmp_path / f"moved{number}.png") for number, file in enumerate(files)}
    assert {path.read_bytes() for path in moved} == {picture(view, (32, 18), "") for view in (1, 2)}


def test_bad_frames_fail_once_and_the_rest_of_their_task_renders(subject: Subject) -> None:
    faults = {2: "crash", 4: "error", 6: "garbage", 8: "truncated", 10: "nothing"}
    pool = subject.pool(faults={str(frame): {"what": what} for frame, what in faults.items()})
    pool.submit([Task(tuple(range(1, 12)))])
    seen = watch(pool, until(11))
    assert {frame for frame, reason in seen.outcomes.items() if reason} == set(faults)
    assert set(seen.times_decided.values()) == {1}


def test_a_task_that_is_in_hand_is_not_rendered_twice(subject: Subject) -> None:
    pool = subject.pool(workers=2, seconds=0.3)
    pool.submit([Task((1,)), Task((1,)), Task((2,))])
    seen = watch(pool, lambda seen: {1, 2} <= set(seen.outcomes))
    seen.updates += pool.updates(0.5)
    assert seen.times_decided == {1: 1, 2: 1}


def test_frames_that_failed_or_were_rendered_can_be_submitted_again(subject: Subject) -> None:
    pool = subject.pool(faults={"2": {"what": "crash", "times": 1}})
    pool.submit([Task((1, 2))])
    assert watch(pool, until(2)).outcomes == {1: "", 2: "crash"}
    pool.submit([Task((1, 2), attempt=2)])
    again = watch(pool, until(2)).of(Rendered)
    assert sorted((r.frame, r.attempt) for r in again if isinstance(r, Rendered)) == [(1, 2), (2, 2)]


def test_cancel_takes_back_neither_what_is_rendered_nor_what_is_submitted_afterwards(subject: Subject) -> None:
    pool = subject.pool(faults=fault("hang", 2))
    pool.submit([Task((1, 2, 3))])
    seen = watch(pool, lambda seen: len(seen.of(Started)) == 2)
    pool.cancel()
    pool.submit(singles([9]))
    watch(pool, until(4), seen)
    assert seen.outcomes == {1: "", 2: "node-lost", 3: "node-lost", 9: ""}
    assert set(seen.times_decided.values()) == {1}


def test_a_pool_that_was_never_used_closes(subject: Subject) -> None:
    subject.pool().close()


def test_a_job_without_frames_needs_no_node(subject: Subject, survivors: Callable[[], Sequence[str]]) -> None:
    pool = subject.pool(frames=0)
    pool.submit(iter(()))
    assert not pool.updates(0)
