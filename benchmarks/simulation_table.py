"""Every plan at every cost of a frame, a few films each, as one table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from benchmarks.simulation import PLANS, WORLD, Outcome, World, frame_costs, planned, simulate

MEANS = (2, 10, 30, 120, 300)
"""seconds of a frame"""
SEEDS = tuple(range(100, 110))
"""the planner's constants were chosen with seeds 0 to 19; these came after"""
LOST_LAST = "auto, lost tasks last"
ROWS = (*PLANS, LOST_LAST)
_Sample = tuple[str, int, Outcome]


@dataclass(frozen=True)
class Cell:
    """Means over the films of one plan and one cost."""

    makespan: float
    ideal: float
    worst: float
    """largest ratio"""
    starts: float
    losses: float
    waiting: float
    tasks: int
    lost: float

    @property
    def ratio(self) -> float:
        """Makespan over ideal."""
        return self.makespan / self.ideal


Cells = Mapping[tuple[str, int], Cell]


def cells(seeds: Sequence[int]) -> dict[tuple[str, int], Cell]:
    """All plans at all costs. The heavy scene is at 0, 25, 50, 75 and 100 % of the films in turn."""
    jobs = [(mean, seed) for mean in MEANS for seed in seeds]
    with ProcessPoolExecutor() as pool:
        samples = [sample for film in pool.map(_film, jobs) for sample in film]
    samples.sort(key=_place)
    return {place: _cell([one[2] for one in group]) for place, group in groupby(samples, _place)}


def _place(sample: _Sample) -> tuple[str, int]:
    return sample[0], sample[1]


def _film(job: tuple[int, int]) -> list[_Sample]:
    mean, seed = job
    costs = frame_costs(mean, seed, heavy_at=seed % 5 / 4)
    done = [(plan, mean, simulate(planned(plan, mean), costs, seed, WORLD)) for plan in PLANS]
    last = simulate(planned("auto", mean), costs, seed, World(lost_first=False))
    return [*done, (LOST_LAST, mean, last)]


def _cell(outcomes: list[Outcome]) -> Cell:
    def mean(name: str) -> float:
        return statistics.fmean(getattr(one, name) for one in outcomes)

    worst = max(one.ratio for one in outcomes)
    parts = (mean("starts"), mean("losses"), mean("waiting"))
    return Cell(mean("makespan"), mean("ideal"), worst, *parts, outcomes[0].tasks, mean("lost"))


def text(known: Cells, films: int) -> str:
    """Two Markdown tables: makespan over ideal, and where the time of `auto` goes."""
    return "\n".join([*_ratios(known, films), "", *_parts(known)]) + "\n"


def _ratios(known: Cells, films: int) -> Iterator[str]:
    yield f"| makespan / ideal, mean (worst) of {films} films | " + _columns(
        f"{mean} s a frame" for mean in MEANS
    )
    yield "|---|" + "--:|" * len(MEANS)
    for plan in ROWS:
        row = [known[plan, mean] for mean in MEANS]
        yield f"| {plan} | " + _columns(f"{cell.ratio:.2f} ({cell.worst:.2f})" for cell in row)


def _parts(known: Cells) -> Iterator[str]:
    row = [known["auto", mean] for mean in MEANS]
    yield "| auto, beyond the ideal | " + _columns(f"{mean} s a frame" for mean in MEANS)
    yield "|---|" + "--:|" * len(MEANS)
    yield "| ideal | " + _columns(f"{cell.ideal / 60:.1f} min" for cell in row)
    yield "| tasks | " + _columns(f"{cell.tasks:,}" for cell in row)
    yield "| nodes lost | " + _columns(f"{cell.lost:.0f}" for cell in row)
    yield "| starting tasks | " + _columns(f"{cell.starts:.1%}" for cell in row)
    yield "| lost work, nodes away | " + _columns(f"{cell.losses:.1%}" for cell in row)
    yield "| waiting for the last task | " + _columns(f"{cell.waiting:.1%}" for cell in row)


def _columns(values: Iterator[str]) -> str:
    return " | ".join(values) + " |"
