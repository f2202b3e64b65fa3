"""Tells who watches how a job stands, a few times per second."""

from __future__ import annotations

import time
from dataclasses import replace

from renderfarm.farm.experience import seconds_after
from renderfarm.farm.terms import Observer
from renderfarm.job.job import Job
from renderfarm.job.store import Store
from renderfarm.queues import turns
from renderfarm.words.states import Phase
from renderfarm.words.status import Status

TELL_SECONDS = 0.25


class Announcer:
    """One observer of one job."""

    def __init__(self, store: Store, job: Job, observer: Observer | None) -> None:
        self._store = store
        self._job = job
        self._observer = observer
        self._told = 0.0

    def tell(self, phase: Phase, doing: str = "", *, force: bool = False) -> None:
        """Tell, unless that was just done."""
        now = time.monotonic()
        if self._observer and (force or now - self._told >= TELL_SECONDS):
            self._told = now
            self._observer(replace(self._status(phase), doing=doing))

    def _status(self, phase: Phase) -> Status:
        status = in_motion(self._job.status(alive=True), self._job, self._store)
        phase = Phase.PAUSING if phase is Phase.RENDERING and self._job.ledger.run.paused else phase
        return replace(status, phase=phase, suspects=())


def in_motion(status: Status, job: Job, store: Store) -> Status:
    """A job's status with its place in this machine's line, and the time that its film will take."""
    if status.eta_seconds is not None:
        status = replace(status, eta_seconds=status.eta_seconds + seconds_after(job, store))
    found = turns.place(store.home, status.job) if status.phase is Phase.WAITING else None
    return replace(status, place=found[0], behind=found[1]) if found else status
