"""The simulated farm: its bookkeeping, and what the planner's chunks reach on a thousand spot nodes."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.simulation import Outcome, World, frame_costs, planned, simulate
from renderfarm.job.chunks import plan_chunks

NEVER = 1e-9
"""lost per hour; exponential waits can't be for ever"""


@pytest.fixture(scope="module")
def films() -> dict[int, list[float]]:
    """Three films of 100,000 frames of 30 s, the heavy scene at the beginning, in the middle, at the end."""
    return {seed: frame_costs(30, seed, heavy_at) for seed, heavy_at in ((200, 0.0), (201, 0.5), (202, 1.0))}


def makespan_over_ideal(plan: str, films: dict[int, list[float]]) -> float:
    tasks = planned(plan, 30)
    return statistics.fmean(simulate(tasks, costs, seed).ratio for seed, costs in films.items())


def small_farm(world: World, seed: int = 1) -> Outcome:
    costs = frame_costs(20, seed, 0.5, frames=600)
    return simulate(plan_chunks(range(600), 20, world.task_start, world.nodes), costs, seed, world)


def test_auto_is_within_a_tenth_of_the_ideal(films: dict[int, list[float]]) -> None:
    assert makespan_over_ideal("auto", films) <= 1.10


@pytest.mark.slow
def test_auto_beats_fixed_chunks(films: dict[int, list[float]]) -> None:
    auto = makespan_over_ideal("auto", films)
    assert all(auto < makespan_over_ideal(f"fixed {size}", films) for size in (1, 10, 50))


def test_a_farm_that_costs_nothing_reaches_the_ideal() -> None:
    free = World(nodes=10, lost_per_hour=NEVER, task_start=0)
    outcome = simulate(plan_chunks(range(600), 5, 0, 10), [5.0] * 600, 1, free)
    assert outcome.makespan == pytest.approx(outcome.ideal)


def test_one_node_that_is_never_lost_takes_its_work_and_its_starts() -> None:
    outcome = small_farm(World(nodes=1, lost_per_hour=NEVER))
    assert outcome.makespan == pytest.approx(600 * 20 + outcome.tasks * 8)


def test_the_time_of_one_node_is_work_starts_and_losses() -> None:
    """Nothing is waited for: a task is queued again before its only node is back."""
    outcome = small_farm(World(nodes=1, lost_per_hour=10))
    assert outcome.lost > 10
    assert outcome.waiting == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("lost_first", [True, False])
def test_nodes_are_never_busier_than_time_allows(lost_first: bool) -> None:
    outcome = small_farm(World(nodes=20, lost_per_hour=8, lost_first=lost_first))
    assert outcome.lost > 0
    assert outcome.waiting >= 0


def test_frames_that_were_finished_are_not_rendered_again() -> None:
    """One task of everything: from the beginning each time, it would never end."""
    world = World(nodes=1, lost_per_hour=20)
    outcome = simulate(planned("fixed 600", 20, frames=600), [20.0] * 600, 1, world)
    assert outcome.tasks == 1
    assert outcome.makespan < 4 * 600 * 20


def test_the_same_seed_is_the_same_farm() -> None:
    world = World(nodes=20, lost_per_hour=8)
    assert small_farm(world, 3) == small_farm(world, 3)
    assert small_farm(world, 3) != small_farm(world, 4)
