"""Which frames of a job are still to be rendered, and in which tasks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from renderfarm.farm.preparation import Ready, session_measure, workers
from renderfarm.job import chunks
from renderfarm.job.job import Job
from renderfarm.job.ledger import DECIDED
from renderfarm.job.store import Store
from renderfarm.queues import capacity
from renderfarm.renderers import renderer
from renderfarm.words.frames import ordered
from renderfarm.words.request import Request
from renderfarm.words.states import FrameState
from renderfarm.words.work import Task

REMOTE_START_SECONDS = 8.0
"""from a task's start on a remote node to its first frame: program, view of the assets, renderer, scene"""


def busy(request: Request, ready: Ready, tasks: int) -> int:
    """How many workers would render so many tasks."""
    if ready.pool.remote:
        return min(ready.pool.sessions, tasks)
    scene = ready.scene
    traits, asked = renderer(scene.renderer).concurrency, workers(request, scene)
    return capacity.first_layout(capacity.this_machine(), traits, tasks, asked).sessions


class Tasks:
    """The tasks of a job, or of as much of it as is to be done this time."""

    def __init__(self, store: Store, job: Job, ready: Ready) -> None:
        self._store = store
        self._job = job
        self._ready = ready
        self.beyond: frozenset[int] = frozenset()
        """frames that are left for another time"""
        self._waiting = 0
        """frames that are in no task yet"""
        self._workers = 1
        """that may render them at once"""

    def limit(self, frames: int) -> None:
        """Leave what is beyond so many frames for another time."""
        order = ordered(self._ready.frames, self._order)
        left = (frame for frame in order if self._job.ledger.state(frame) not in DECIDED)
        self.beyond = frozenset(itertools.islice(left, frames, None))

    def leave(self, wanted: frozenset[int]) -> None:
        """Leave all but the wanted frames for another time."""
        state = self._job.ledger.state
        self.beyond = frozenset(f for f in self._ready.frames if f not in wanted and state(f) not in DECIDED)

    def open(self) -> Iterator[int]:
        """The frames to be done this time that have no outcome."""
        state = self._job.ledger.state
        return (f for f in self._ready.frames if f not in self.beyond and state(f) not in DECIDED)

    def stop(self) -> None:
        """Leave all frames without an outcome for another time."""
        self.limit(0)

    @property
    def left(self) -> int:
        """Frames to be done this time that have no outcome."""
        return self._job.ledger.undecided - len(self.beyond)

    def begin(self) -> None:
        """A pool is opened: what it is given follows from how frames stand now."""
        self._waiting = self.left
        self._workers = busy(self._job.request, self._ready, self._waiting)

    @property
    def settled(self) -> frozenset[int]:
        """Frames that a pool need not hand over again."""
        return frozenset(n for n, frame in self._job.ledger.frames.items() if frame.state in DECIDED)

    def first(self) -> Iterator[Task]:
        """The frames that are left, in tasks: made while nodes ask, or all at once for a remote pool."""
        frames, order, pool = self._ready.frames, self._order, self._ready.pool
        others = {frame for frame, _ in self._tried()} | self.settled | self.beyond
        if self._ready.work.parts:
            return chunks.split(frames, order, others, lambda: 1)
        if not pool.remote or self._job.request.chunk or self._ready.scene.ordered:
            return chunks.split(frames, order, others, self._chunk)
        left = [frame for frame in ordered(frames, order) if frame not in others]
        seconds = self._store.measure(session_measure(self._job.request))
        return chunks.plan_chunks(left, seconds, REMOTE_START_SECONDS, pool.sessions)

    def more(self) -> list[tuple[int, int]]:
        """Frames that were tried before and are to be tried again, with their attempts."""
        again = self._tried()
        self._waiting -= len(again)
        return again

    def _tried(self) -> list[tuple[int, int]]:
        tried = (frame for frame in self._job.ledger.of(FrameState.QUEUED) if frame.attempts)
        return [(each.frame, each.attempts + 1) for each in tried if each.frame not in self.beyond]

    def again(self, frames: Iterable[tuple[int, int]]) -> Sequence[Task]:
        """Tasks for frames to be tried again, with their attempts: together where each runs through others."""
        again = list(frames)
        if not self._ready.scene.ordered:
            return [self._try((frame,), attempt) for frame, attempt in again]
        attempts = sorted({attempt for _, attempt in again})
        return [self._try(tuple(sorted(f for f, a in again if a == wanted)), wanted) for wanted in attempts]

    def _try(self, frames: tuple[int, ...], attempt: int) -> Task:
        known = self._job.ledger.frames
        return Task(frames, attempt, max(known[frame].spent for frame in frames))

    @property
    def _order(self) -> str:
        return "sequential" if self._ready.scene.ordered else self._job.request.order

    def _chunk(self) -> int:
        if self._job.request.chunk:
            return self._job.request.chunk
        if self._ready.scene.ordered:
            return max(1, self.left)
        pace, traits = self._job.ledger.nodes.pace, renderer(self._ready.scene.renderer).concurrency
        sessions = max(self._workers, len(pace.nodes()))
        size = chunks.chunk_size(traits, pace.seconds_per_frame(), self._waiting, sessions)
        self._waiting -= size
        return size
