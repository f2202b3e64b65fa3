"""Splitting: every frame in exactly one task, whatever the order, the chunk and what is done."""

from __future__ import annotations

from itertools import count, islice

from hypothesis import given
from hypothesis import strategies as st

from renderfarm.frames import ORDERS, ordered, parse
from renderfarm.renderers import Concurrency
from renderfarm.splitter import MOST_FRAMES, TASKS_PER_SESSION, chunk_size, split

ORDER = st.sampled_from(ORDERS)
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
def test_no_two_tasks_of_a_job_have_the_same_id(total: int, order: str, chunk: int) -> None:
    ids = [task.id for task in split(parse(f"1-{total}"), order, (), lambda: chunk)]
    assert len(ids) == len(set(ids))


@given(st.integers(1, 400), ORDER, st.integers(1, 40))
def test_splitting_again_gives_the_same_tasks(total: int, order: str, chunk: int) -> None:
    def tasks() -> list[object]:
        return list(split(parse(f"1-{total}"), order, (), lambda: chunk))

    assert tasks() == tasks()


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
    assert 1 <= size <= max(1, min(MOST_FRAMES, left // (max(1, sessions) * TASKS_PER_SESSION)))


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
    assert [chunk_size(traits, seconds, 1000, 2) for seconds in (None, 0.9, 1.1)] == [12, 12, 1]
