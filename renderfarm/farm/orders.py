"""What other terminals ask of who works on a job."""

from __future__ import annotations

import time

from renderfarm.farm.job_frames import JobFrames
from renderfarm.farm.tasks import Tasks
from renderfarm.farm.terms import Canceled, Paused
from renderfarm.job import events
from renderfarm.job.job import Job
from renderfarm.queues import Pool
from renderfarm.queues.local import LocalPool
from renderfarm.queues.turns import Turn
from renderfarm.words.frames import parse
from renderfarm.words.states import FrameState

OBEY_SECONDS = 1.0
"""how often orders are looked for"""


class OrdersLeft:
    """Carries out what was left in a job's folder."""

    def __init__(self, job: Job, frames: JobFrames, tasks: Tasks) -> None:
        self._job = job
        self._frames = frames
        self._tasks = tasks
        self._obeyed = 0.0

    def obey(self, pool: Pool | None, turn: Turn | None = None) -> None:
        """Do what was asked since the last time; raises Canceled, and Paused while there is no pool.

        turn: the job's place in the line, while it waits.
        """
        if time.monotonic() - self._obeyed < OBEY_SECONDS:
            return
        self._obeyed = time.monotonic()
        for what, text in self._job.take_orders(self._is_left):
            if what == "cancel":
                if pool:
                    pool.cancel()
                raise Canceled
            if what == "pause":
                self._pause(pool)
            elif what == "priority":
                if turn:
                    turn.rank(int(text))
            elif (again := self._retried(text)) and pool:
                pool.submit(self._tasks.again(again))

    def _is_left(self, what: str, frames: str) -> bool:
        """Whether frames are wanted again that are rendered in parts: they begin with those, in another run."""
        job = self._job
        return what == "retry" and bool(job.record.split and (frames or not job.record.work.parts))

    def _pause(self, pool: Pool | None) -> None:
        """Begin no other frame; those in hand are worth finishing."""
        self._job.tell(events.Paused())
        if not isinstance(pool, LocalPool):
            raise Paused
        pool.drain()

    def _retried(self, text: str) -> list[tuple[int, int]]:
        """Failed frames, or some decided frames, that somebody wants again, with their next attempts."""
        ledger, wanted = self._job.ledger, parse(text) if text else ()
        decided = list(ledger.of(FrameState.FAILED, FrameState.SUCCEEDED))
        for frame in decided:
            if frame.state is FrameState.SUCCEEDED and frame.frame in wanted:
                self._frames.forget(frame.frame)  # before it is told: who dies in between finds it missing
        self._job.tell(events.Retried(text))
        return [(f.frame, f.attempts + 1) for f in decided if f.state is FrameState.QUEUED]
