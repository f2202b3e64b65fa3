"""How long it will still take, by arithmetic on a simulated clock."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.job.pace import Pace

FRAMES = 300


def simulated(
    nodes: dict[str, float], frames: int, stop_after: int, warm_up: float = 0.0
) -> tuple[Pace, float, float]:
    """A pace after `stop_after` of `frames` frames on steady nodes, the time then, and the time of the end."""
    pace, now, waiting = Pace(), 0.0, frames
    busy: list[tuple[float, str, float]] = []
    for name, seconds in nodes.items():
        pace.started(name, frames - waiting, 0.0)
        heapq.heappush(busy, (warm_up + seconds, name, warm_up + seconds))
        waiting -= 1
    stopped, finished = 0.0, 0
    while busy:
        now, name, seconds = heapq.heappop(busy)
        finished += 1
        if finished <= stop_after:
            pace.finished(name, seconds, now)
            stopped = now
        if waiting:
            waiting -= 1
            if finished <= stop_after:
                pace.started(name, frames - waiting, now)
            heapq.heappush(busy, (now + nodes[name], name, nodes[name]))
    return pace, stopped, now


STEADY = st.lists(st.floats(0.05, 20), min_size=1, max_size=8).filter(lambda s: max(s) <= 4 * min(s))


@given(STEADY)
def test_after_a_tenth_of_the_job_the_time_left_is_right_within_a_fifth(seconds: list[float]) -> None:
    nodes = {f"w{n}": s for n, s in enumerate(seconds)}
    pace, now, end = simulated(nodes, FRAMES, FRAMES // 10)
    left = pace.seconds_left(FRAMES - FRAMES // 10, now)
    assert left == pytest.approx(end - now, rel=0.2)


@given(st.floats(0.05, 5), st.integers(1, 4), st.floats(0, 30))
def test_a_slow_first_frame_does_not_spoil_the_estimate(seconds: float, nodes: int, warm_up: float) -> None:
    pace, now, end = simulated({f"w{n}": seconds for n in range(nodes)}, FRAMES, FRAMES // 10, warm_up)
    assert pace.seconds_left(FRAMES - FRAMES // 10, now) == pytest.approx(end - now, rel=0.2)


def test_a_node_that_left_does_not_count_any_more() -> None:
    pace = Pace()
    pace.finished("w1", 2.0, 2.0)
    pace.finished("w2", 2.0, 2.0)
    assert pace.rate(2.0) == pytest.approx(1.0)
    pace.left("w2")
    pace.left("w9")  # was never there
    assert pace.rate(2.0) == pytest.approx(0.5)
    assert [name for name, _, _ in pace.nodes()] == ["w1"]


def test_when_half_of_the_nodes_leave_the_time_left_doubles_soon() -> None:
    pace, now = Pace(), 0.0
    for frame in range(100):
        now += 0.5
        pace.finished(f"w{frame % 2}", 1.0, now)
    pace.left("w1")
    for _ in range(10):
        now += 1.0
        pace.finished("w0", 1.0, now)
    assert pace.seconds_left(60, now) == pytest.approx(60, rel=0.2)


def test_frames_in_hand_count_as_far_as_they_are() -> None:
    pace = Pace()
    pace.finished("w1", 10.0, 10.0)
    pace.started("w1", 2, 10.0)
    assert pace.seconds_left(2, 15.0) == pytest.approx(15.0)


def test_a_frame_that_takes_longer_than_usual_counts_once() -> None:
    pace = Pace()
    pace.finished("w1", 1.0, 1.0)
    pace.started("w1", 2, 1.0)
    assert pace.seconds_left(1, 60.0) == 0.0


def test_it_is_told_what_each_node_renders_and_since_when() -> None:
    pace = Pace()
    pace.started("w2", 7, 3.0)
    pace.started("w1", 8, 4.0)
    pace.finished("w2", 1.0, 4.0)
    assert [(name, frame) for name, frame, _ in pace.nodes()] == [("w1", 8), ("w2", None)]


def test_frames_that_took_no_time_are_not_measured() -> None:
    pace = Pace()
    pace.finished("w1", 0.0, 1.0)
    pace.started("w1", 2, 1.0)
    assert (pace.seconds_per_frame(), pace.rate(1.0), pace.seconds_left(5, 1.0)) == (None, None, None)
    pace.finished("w1", 2.0, 3.0)
    assert pace.seconds_left(5, 3.0) == pytest.approx(10.0)
