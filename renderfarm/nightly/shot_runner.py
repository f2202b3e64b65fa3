"""One run through the shots of a night: what is known at once, what goes to remote pools, what renders here.

A shot that fails is a line in the record; the others go on. The record is written after each shot, and a job
is found again by its output folder, so a run that was killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm import request
from renderfarm.errors import InputError, Interrupted
from renderfarm.farm import background, verbs
from renderfarm.farm.terms import Observer, Terms, Until
from renderfarm.job.home import farm_home
from renderfarm.job.job import Job
from renderfarm.job.shelf import Shelf, newest
from renderfarm.nightly import nights, outcome
from renderfarm.nightly.model import Night, Shot, ShotList, ShotNight, ShotState
from renderfarm.settings import config
from renderfarm.words.request import Request
from renderfarm.words.status import Status

Tell = Callable[[str], None]
Step = Callable[[Shot], Status | None]

HANDED_OVER_AT_ONCE = 8
OPEN = frozenset({ShotState.LIMITED, ShotState.CANCELED})
"""states that a run which goes on takes up again"""


@dataclass(frozen=True)
class Way:
    """How a run goes about its shots."""

    again: bool = False
    """render everything, known or not"""
    going_on: bool = False
    """the run before this one died; this one is to end as that one would have"""
    observer: Observer | None = None
    tell: Tell = lambda _: None


class ShotRunner:
    """Whoever makes one has claimed the list's folder."""

    def __init__(self, listed: ShotList, night: Night, earlier: list[Night], way: Way) -> None:
        self.listed = listed
        self.night = night
        self.way = way
        self.stop = threading.Event()
        self.shelf = Shelf(farm_home())
        self.folder = listed.output / night.night
        self._earlier = earlier
        self._records = {record.name: record for record in night.shots}
        self._jobs: dict[str, str] = {}
        """jobs that this run has worked on"""
        self._writing = threading.Lock()

    def begin(self) -> list[Shot]:
        """Write the record, and say which shots are still to be done."""
        self.write()
        return [s for s in self.listed.shots if self.state(s) is None or self.state(s) in OPEN]

    def state(self, shot: Shot) -> ShotState | None:
        """How a shot came out of the night so far."""
        record = self._records.get(shot.name)
        return record.state if record else None

    def record(self, shot: Shot) -> ShotNight:
        """What the night did to a shot so far."""
        return self._records[shot.name]

    def is_fresh(self, shot: Shot) -> bool:
        """Whether frames of a shot that failed before are to be tried again: once, in a run of its own."""
        return not self.way.going_on and shot.name not in self._jobs

    def write(self) -> None:
        """Keep the record of the night."""
        order = [shot.name for shot in self.listed.shots]
        with self._writing:
            shots = tuple(self._records[name] for name in order if name in self._records)
            self.night = replace(self.night, shots=shots)
            nights.write(self.night, self.listed.output)

    # The passes

    def reuse(self, shots: Iterable[Shot]) -> list[Shot]:
        """Finish the shots whose frames are all known, without a renderer; returns the others."""
        return [shot for shot in shots if not self.attempt(shot, self._known)]

    def render(self, shots: Sequence[Shot]) -> None:
        """Render shots on this machine, several at once if the list says so."""
        together = min(self.listed.together or 1, len(shots))
        if together > 1:
            self.at_once(shots, self.step(), together)
            return
        for shot in shots:
            self.attempt(shot, self.step())

    def hand_over(self, shots: Sequence[Shot]) -> None:
        """Give shots to their remote pools, which go on without this machine."""
        self.at_once(shots, self._detached, self.listed.together or HANDED_OVER_AT_ONCE, ShotState.RUNNING)

    def at_once(
        self, shots: Sequence[Shot], step: Step, together: int, unfinished: ShotState = ShotState.CANCELED
    ) -> None:
        """Take a step of several shots at the same time."""
        with ThreadPoolExecutor(max(1, together)) as threads:
            futures = [threads.submit(self.attempt, shot, step, unfinished) for shot in shots]
            try:
                for future in futures:
                    future.result()
            except KeyboardInterrupt:
                self.stop.set()
                threads.shutdown(cancel_futures=True)
                raise

    # One shot

    def attempt(self, shot: Shot, step: Step, unfinished: ShotState = ShotState.CANCELED) -> bool:
        """Take a step of a shot and record what came of it; False when it was not to be taken."""
        if self.stop.is_set():
            return True
        try:
            status = step(shot)
        except Interrupted:
            self._keep(shot, None, ShotState.CANCELED)
            raise
        except Exception as error:  # noqa: BLE001 - one shot must not stop the others: recorded and reported
            self._keep(shot, error, unfinished)
            return True
        if status is None:
            return False
        self._jobs[shot.name] = status.job
        self._keep(shot, status, unfinished)
        return True

    def step(self, terms: Terms | None = None) -> Step:
        """Rendering a shot here, on these terms or as a whole."""
        whole = Terms(enough=self.stop.is_set, products=False, again=not self.way.going_on)
        return lambda shot: self._rendered(shot, terms or whole)

    def request(self, shot: Shot) -> Request:
        """What is asked for a shot this night, which has an order of its own; raises InputError."""
        options = {
            "missing": "hold",
            "together": not is_remote(shot.pool),
            **({"order": "progressive"} if self.night.limited else {}),
            **shot.options,
        }
        if self.way.again:
            options["no_reuse"] = True
        return request.build(shot.scene, shot.frames, self.folder / shot.name, **options)  # type: ignore[arg-type]

    def job(self, wanted: Request, shot: Shot) -> Job | None:
        """The job of this night that a shot goes on with."""
        if shot.name in self._jobs:
            return self.shelf.find(self._jobs[shot.name])
        found = newest(Path(wanted.output))
        fits = found is not None and found.request == wanted
        return found if fits and (self.way.going_on or not self.way.again) else None

    def _known(self, shot: Shot) -> Status | None:
        wanted = self.request(shot)
        if job := self.job(wanted, shot):
            complete = job.refresh().ledger.counts().succeeded == job.total
            return self._resumed(job, Terms()) if complete else None
        return verbs.reuse(wanted, self.way.observer)

    def _rendered(self, shot: Shot, terms: Terms) -> Status:
        wanted = self.request(shot)
        job = self.job(wanted, shot)
        status = self._resumed(job, terms) if job else None
        return status or verbs.submit(wanted, self.way.observer, terms)

    def _resumed(self, job: Job, terms: Terms) -> Status | None:
        """The job gone on with; None when its scene is no longer what it was."""
        try:
            return verbs.resume(job.id, self.way.observer, terms)
        except InputError:
            return None

    def _detached(self, shot: Shot) -> Status:
        wanted = self.request(shot)
        if job := self.job(wanted, shot):
            with contextlib.suppress(InputError):
                return verbs.resume(job.id, self.way.observer, Terms(Until.SUBMITTED))
        return background.detach(wanted, self.way.observer)

    def _keep(self, shot: Shot, found: Status | Exception | None, unfinished: ShotState) -> None:
        """Put what happened to a shot into the record."""
        record = outcome.blank(shot)
        earlier = nights.before(shot.name, self.night.night, self._earlier)
        job = newest(self.folder / shot.name)
        if job:
            status = found if isinstance(found, Status) else job.refresh().status(alive=False)
            record = outcome.with_status(record, status, job.refresh(), self.folder, unfinished)
            record = outcome.with_reasons(record, earlier and earlier[1], again=self.way.again)
        if isinstance(found, Exception):
            record = outcome.with_error(record, found, self.folder / shot.name / outcome.CRASH)
        if not is_remote(record.pool):
            record = outcome.priced(record, self.listed.price_per_hour, self.listed.currency)
        if record.frames.left == 0 and record.video is None and record.stem:
            # It was brought from the last night and is not of these frames.
            (self.folder / shot.name / f"{record.stem}.mp4").unlink(missing_ok=True)
        self._records[shot.name] = record
        self.write()
        self.way.tell(told(record))


def is_remote(pool: str | None) -> bool:
    """Whether a pool goes on without this machine."""
    return config.load().pool(pool).remote


def told(record: ShotNight) -> str:
    """A shot in one line: `sh010 succeeded: 3 rendered, 97 reused`."""
    counts = record.frames
    words = (
        ("rendered", counts.rendered),
        ("reused", counts.reused),
        ("failed", counts.failed),
        ("left", counts.left),
    )
    parts = ", ".join(f"{count:,} {word}" for word, count in words if count)
    return f"{record.name} {record.state}: {record.error or parts or 'nothing to do'}"
