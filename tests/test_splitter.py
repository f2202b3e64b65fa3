"""Splitting: every frame in exactly one task, whatever the order, the chunk and what is done."""

from __future__ import annotations

from itertools import count, islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.job.chunks import (
    LONGEST_SECONDS,
    MOST_FRAMES,
    MOST_PLANNED_FRAMES,
    TASKS_PER_SESSION,
    WORK_PER_START,
    chunk_size,
    plan_chunks,
    split,
)
from renderfarm.renderers import Concurrency
from renderfarm.words.frames import ORDERS, ordered, parse
from renderfarm.words.work import Task

ORDER = st.sampled_from(ORDERS)
PLANS = st.tuples(st.one_of(st.none(), st.floats(0, 1e5)), st.floats(0, 600), st.integers(0, 3000))
"""seconds of a frame, of a start, and sessions"""
CHUNKS = st.lists(st.integers(-1, 40), min_size=1, max_size=20)


@given(st.integers(1, 400), ORDER, CHUNKS, st.sets(st.integers(1, 400)))
def test_every_frame_that_is_not_done_is_in_exactly_one_task(
    total: int, order: str, chunks: list[int], done: set[int]
) -> None:
    sizes = iter(chunks * 401)
    tasks = list(split(parse(f"1-{total}"), order, done, lambda: next(sizes)))
    frames = [frame for task in tasks for frame in task.frames]
    assert frames == [frame for frame in ordered(parse(f"1-{total}"), order) if frame not in done]


@given(st.integers(1, 400), ORDER, st.integers(1, 40))
def test_splitting_again_gives_the_same_tasks_each_with_its_own_id(total: int, order: str, chunk: int) -> None:
    def tasks() -> list[Task]:
        return list(split(parse(f"1-{total}"), order, (), lambda: chunk))

    assert tasks() == tasks()
    assert len({task.id for task in tasks()}) == len(tasks())


def test_a_chunk_is_asked_for_only_when_a_task_is_wanted() -> None:
    asked = count()
    tasks = split(parse("1-10000000"), "sequential", (), lambda: next(asked) + 1)
    assert [len(task.frames) for task in islice(tasks, 3)] == [1, 2, 3]
    assert next(asked) == 3


@given(
    st.one_of(st.none(), st.floats(0, 100)),
    st.integers(1, 100_000),
    st.integers(0, 64),
    st.builds(Concurrency, frames_per_run=st.integers(1, 48), short_seconds=st.sampled_from([0.0, 0.5, 5.0])),
)
def test_a_chunk_is_never_empty_nor_more_than_a_sessions_fair_part(
    seconds: float | None, left: int, sessions: int, traits: Concurrency
) -> None:
    size = chunk_size(traits, seconds, left, sessions)
    part = max(1, left // (max(1, sessions) * TASKS_PER_SESSION))
    assert 1 <= size <= (MOST_FRAMES if traits.short_seconds else min(MOST_FRAMES, part))


@given(st.floats(0, 0.1), st.integers(1, 8), st.integers(1, 3000))
def test_tasks_shrink_toward_the_end(seconds: float, sessions: int, left: int) -> None:
    sizes = []
    while left:
        sizes.append(chunk_size(Concurrency(), seconds, left, sessions))
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_long_frames_go_one_by_one() -> None:
    assert chunk_size(Concurrency(), 1.0, 1000, 2) == 1


def test_frames_that_cost_nothing_go_in_large_tasks() -> None:
    assert chunk_size(Concurrency(), 0.001, 100_000, 2) == MOST_FRAMES


def test_short_frames_of_a_renderer_that_likes_runs_go_in_runs() -> None:
    traits = Concurrency(frames_per_run=12, short_seconds=1.0)
    assert [chunk_size(traits, seconds, 1000, 2) for seconds in (None, 0.9, 0.1, 1.1)] == [1, 12, 80, 1]


def test_the_last_short_frames_are_shared_out_in_runs_that_are_worth_a_start() -> None:
    traits = Concurrency(frames_per_run=4, short_seconds=5)
    assert [chunk_size(traits, 0.3, left, 8) for left in (64, 24, 8, 1)] == [8, 4, 4, 4]
    assert [chunk_size(traits, 3.0, left, 8) for left in (64, 24, 8)] == [4, 3, 1]


def sizes(total: int, seconds: float | None, start: float, sessions: int) -> list[int]:
    return [len(task.frames) for task in plan_chunks(range(total), seconds, start, sessions)]


@given(st.lists(st.integers(-500, 5000), unique=True, max_size=3000), PLANS)
def test_a_plan_has_every_frame_once_and_each_task_its_own_in_order(
    frames: list[int], plan: tuple[float | None, float, int]
) -> None:
    tasks = list(plan_chunks(frames, *plan))
    assert tasks == list(plan_chunks(frames, *plan))
    place = {frame: number for number, frame in enumerate(frames)}
    assert sorted(frame for task in tasks for frame in task.frames) == sorted(frames)
    assert all(list(task.frames) == sorted(task.frames, key=place.__getitem__) for task in tasks)
    assert len({task.id for task in tasks}) == len(tasks)


@given(st.integers(1, 100_000), PLANS)
def test_planned_chunks_never_grow_and_are_never_enormous(
    total: int, plan: tuple[float | None, float, int]
) -> None:
    planned = sizes(total, *plan)
    assert all(before >= after for before, after in pairwise(planned))
    assert planned[0] <= MOST_PLANNED_FRAMES


@given(st.floats(0.5, 1000), st.floats(1, 30), st.integers(1, 20))
def test_the_first_half_of_a_long_job_spends_no_more_than_a_tenth_on_starts(
    seconds: float, start: float, sessions: int
) -> None:
    planned = sizes(200 * sessions * max(1, int(30 / seconds)), seconds, start, sessions)
    first_half = planned[: len(planned) // 4]
    assert all(size * seconds >= WORK_PER_START * start for size in first_half)


@given(st.integers(1, 100_000), st.floats(1, 1e5), st.integers(1, 3000))
def test_a_planned_task_begins_no_frame_after_minutes_when_starts_are_short(
    total: int, seconds: float, sessions: int
) -> None:
    assert (sizes(total, seconds, 8, sessions)[0] - 1) * seconds <= LONGEST_SECONDS


def test_a_plan_ends_in_small_tasks() -> None:
    planned = sizes(100_000, 30, 8, 1000)
    assert planned[0] == 11
    assert set(planned[-1000:]) == {1}


def test_tasks_that_run_at_once_share_a_stretch_so_that_frames_come_in_order() -> None:
    tasks = list(plan_chunks(range(1, 1001), 60, 8, 10))
    together = [task.frames for task in tasks[:10]]
    assert together[0][:3] == (1, 11, 21)
    assert sorted(frame for frames in together for frame in frames) == list(
        range(1, 1 + sum(map(len, together)))
    )


def test_an_unknown_frame_time_still_gives_chunks_that_shrink() -> None:
    planned = sizes(100_000, None, 8, 1000)
    assert planned[0] > planned[-1]


@pytest.mark.parametrize(
    ("plan", "planned"),
    [
        ((500, 301, 8, 10), [1] * 500),
        ((500, 40_000, 8, 10), [1] * 500),
        ((40, 60, 8, 1000), [1] * 40),
        ((40, 1, 8, 1000), [14, 13, 13]),
        ((48, 10, 8, 20), [3] * 16),
        ((0, 30, 8, 10), []),
    ],
    ids=["minutes", "hours", "few for all nodes", "few short ones", "one round of a few starts", "none"],
)
def test_frames_are_planned_as_their_number_and_their_time_say(
    plan: tuple[int, float, float, int], planned: list[int]
) -> None:
    assert sizes(*plan) == planned
