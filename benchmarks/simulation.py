"""A thousand spot nodes that get lost now and then, as discrete events: what does a way of chunking cost?

Simulated, because nobody has a thousand nodes at hand; the tasks come from the real planner. A node is there
from the beginning, for every plan and for the ideal alike. A lost node takes its task along: what it had
finished is kept, the task is queued again, and the node comes back after it was replaced and set up.
Batch's own limits (dispatch, storage) are not simulated.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count, pairwise
from typing import NamedTuple

from renderfarm.job.chunks import plan_chunks
from renderfarm.words.work import Task

FRAMES = 100_000
NODES = 1000
PLANS = ("auto", "auto, frame time unknown", "fixed 1", "fixed 10", "fixed 50")


@dataclass(frozen=True)
class World:
    """What nodes and tasks cost, in seconds."""

    nodes: int = NODES
    lost_per_hour: float = 0.05
    """part of the nodes; exponential, whatever a node does"""
    task_start: float = 8.0
    """from Batch handing a task out to its first frame: node program, renderer, scene"""
    look_up: float = 0.05
    """a task that runs again asks storage for each frame that it had finished"""
    noticed: float = 30.0
    """from losing a node to its task being queued again"""
    replaced: float = 60.0
    """from losing a node to a new one booting"""
    node_start: float = 120.0
    """start task and assets"""
    lost_first: bool = True
    """a lost task goes before those that were never handed out (they are younger); else after them all"""


WORLD = World()


def frame_costs(mean: float, seed: int, heavy_at: float, frames: int = FRAMES) -> list[float]:
    """Seconds of each frame of an animation made of shots.

    A shot of 2 to 20 s of film has a level (log-normal, σ 0.4), frames wander around it (σ 0.15, correlated
    over 50 frames) with noise of 5 %; one scene of a fiftieth of the film, beginning at `heavy_at` (0 first,
    1 last), costs three times as much. Scaled to the mean.
    """
    chance, wander = random.Random(seed), 0.0
    costs: list[float] = []
    while len(costs) < frames:
        level = chance.gauss(0, 0.4)
        for _ in range(chance.randint(48, 480)):
            wander = 0.98 * wander + chance.gauss(0, 0.15 * math.sqrt(1 - 0.98**2))
            costs.append(math.exp(level + wander + chance.gauss(0, 0.05)))
    del costs[frames:]
    length = frames // 50
    begin = round(heavy_at * (frames - length))
    costs[begin : begin + length] = [3 * cost for cost in costs[begin : begin + length]]
    scale = mean * frames / sum(costs)
    return [scale * cost for cost in costs]


def planned(plan: str, mean: float, world: World = WORLD, frames: int = FRAMES) -> list[Task]:
    """The tasks of one of PLANS."""
    if plan.startswith("fixed"):
        size = int(plan.split()[1])
        return [Task(tuple(range(at, min(at + size, frames)))) for at in range(0, frames, size)]
    seconds = None if plan.endswith("unknown") else mean
    return list(plan_chunks(range(frames), seconds, world.task_start, world.nodes))


@dataclass(frozen=True)
class Outcome:
    """How long a job took, and where the nodes' time went (parts of the ideal)."""

    makespan: float
    ideal: float
    """work divided by nodes"""
    starts: float
    """starting tasks and looking up what was finished"""
    losses: float
    """frames begun for nothing, and nodes away"""
    tasks: int
    lost: int
    """nodes lost"""

    @property
    def ratio(self) -> float:
        """Makespan over ideal."""
        return self.makespan / self.ideal

    @property
    def waiting(self) -> float:
        """Nodes with nothing left to do before the last task ends."""
        return self.ratio - 1 - self.starts - self.losses


class _Span(NamedTuple):
    """Frames [first, end) that are left of a task, counted in the order of tasks; its own first is `origin`."""

    origin: int
    first: int
    end: int


@dataclass
class _Node:
    life: int = 0
    """counts losses, so that what was planned for an earlier life is void"""
    span: _Span | None = None
    begun: float = 0.0
    away_since: float | None = None


@dataclass
class _Farm:
    """The state between two events; `work[i]` is the time of the first i frames, in the order of tasks."""

    world: World
    work: list[float]
    chance: random.Random
    queue: deque[_Span]
    nodes: list[_Node] = field(default_factory=list)
    idle: set[int] = field(default_factory=set)
    events: list[tuple[float, int, str, int, int | _Span]] = field(default_factory=list)
    now: float = 0.0
    starts: float = 0.0
    losses: float = 0.0
    lost: int = 0
    left: int = 0
    _order: count[int] = field(default_factory=count)

    def later(self, seconds: float, what: str, node: int, about: int | _Span) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self._order), what, node, about))

    def run(self) -> None:
        """Until every task is done."""
        for node in range(len(self.nodes)):
            self.join(node)
        while self.left:
            self.hand_out()
            self.now, _, what, node, about = heapq.heappop(self.events)
            self.happen(what, node, about)
        self.losses += sum(self.now - node.away_since for node in self.nodes if node.away_since is not None)

    def happen(self, what: str, node: int, about: int | _Span) -> None:
        if isinstance(about, _Span):
            (self.queue.appendleft if self.world.lost_first else self.queue.append)(about)
        elif what == "joins":
            self.join(node)
        elif about != self.nodes[node].life:
            return
        elif what == "lost":
            self.lose(node)
        else:
            self.nodes[node].span = None
            self.left -= 1
            self.idle.add(node)

    def hand_out(self) -> None:
        while self.queue and self.idle:
            number, span = self.idle.pop(), self.queue.popleft()
            node, start = self.nodes[number], self.world.task_start
            start += (span.first - span.origin) * self.world.look_up
            node.span, node.begun = span, self.now + start
            self.starts += start
            self.later(start + self.work[span.end] - self.work[span.first], "done", number, node.life)

    def join(self, number: int) -> None:
        node = self.nodes[number]
        if node.away_since is not None:
            self.losses += self.now - node.away_since
            node.away_since = None
        self.idle.add(number)
        self.later(self.chance.expovariate(self.world.lost_per_hour / 3600), "lost", number, node.life)

    def lose(self, number: int) -> None:
        node, world = self.nodes[number], self.world
        self.lost += 1
        node.life += 1
        node.away_since = self.now
        self.idle.discard(number)
        if node.span is not None:
            self.later(world.noticed, "again", number, self.remainder(node, node.span))
            node.span = None
        self.later(world.replaced + world.node_start, "joins", number, 0)

    def remainder(self, node: _Node, span: _Span) -> _Span:
        """What a lost task has left: the frame it was at, and those after."""
        if self.now < node.begun:
            self.starts -= node.begun - self.now
            return span
        reached = self.work[span.first] + self.now - node.begun
        first = min(span.end - 1, max(span.first, bisect_right(self.work, reached) - 1))
        self.losses += reached - self.work[first]
        return _Span(span.origin, first, span.end)


def simulate(tasks: Iterable[Task], costs: Sequence[float], seed: int, world: World = WORLD) -> Outcome:
    """Render frames 0, 1, … of these costs with these tasks; same seed, same losses."""
    planned = [task.frames for task in tasks]
    ends = [0, *accumulate(map(len, planned))]
    spans = deque(_Span(first, first, end) for first, end in pairwise(ends))
    nodes = [_Node() for _ in range(world.nodes)]
    work = [0.0, *accumulate(costs[frame] for frames in planned for frame in frames)]
    tasks_planned = len(spans)
    farm = _Farm(world, work, random.Random(seed), spans, nodes, left=tasks_planned)
    farm.run()
    total = work[-1]
    return Outcome(
        farm.now, total / world.nodes, farm.starts / total, farm.losses / total, tasks_planned, farm.lost
    )
