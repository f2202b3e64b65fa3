"""One job's delivered frames: from the cache or from nodes, looked at again, taken back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from renderfarm.farm.cache import FrameCache, Restored, is_as_recorded
from renderfarm.farm.collector import Collector, Delivered, failure, looks_from
from renderfarm.farm.growing import Growing
from renderfarm.farm.observation import Observation
from renderfarm.farm.preparation import Ready
from renderfarm.job import events
from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.job import Job
from renderfarm.job.ledger import DECIDED
from renderfarm.job.store import Store
from renderfarm.pictures.look import Look
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build

Kept = tuple[int, int, int, bytes | None]
"""frame, size, time and signature of a picture that is kept"""


class JobFrames:
    """The frames of a job that somebody has claimed."""

    def __init__(self, store: Store, job: Job, ready: Ready) -> None:
        self._store = store
        self._job = job
        self._ready = ready
        self._cache = FrameCache(store)
        self._origin = ready.origin(store)
        self.observation = Observation(store, job, ready)
        self.growing = Growing(store, job, ready)
        scene, places = ready.inspection.scene, job.record.pictures
        size = None if scene.tiles and ready.inspection.work.parts else scene.resolution
        self._collector = Collector(job.record.output, places, size, self._cache, self._origin)

    def miss(self) -> None:
        """Queue again what is not there any more."""
        for frame in list(self._job.ledger.of(FrameState.SUCCEEDED)):
            if not is_as_recorded(self._collector.paths(frame.frame), frame.size or 0, frame.mtime or 0):
                self._job.tell(events.Missed(frame.frame))

    def reuse(self) -> None:
        """Take frames of the same takes from the cache."""
        fingerprints, ledger = self._origin.expected, self._job.ledger
        known = self._cache.known(fingerprints) if fingerprints else {}
        if not fingerprints or not known:
            return
        open_frames = (f for f in sorted(known) if f in self._ready.frames)
        wanted = [frame for frame in open_frames if ledger.state(frame) not in DECIDED]
        targets = {frame: self._collector.paths(frame) for frame in wanted}
        restored = list(self._cache.restore(fingerprints, known, targets))
        if fingerprints.observed:
            used = {fingerprints.of(each.frame) for each in restored} - ledger.sets.keys()
            self._job.tell(*(events.Saw(t, files) for t in used for _, files in self._store.frames.sets_of(t)))
        self._job.tell(*(_reused(fingerprints, each) for each in restored))
        if restored:
            with self._store.transaction():
                self._cache.touch(fingerprints, self._job.request.scene, (each.frame for each in restored))

    def collect(self, receipt: Rendered, picture: Path) -> Delivered | Failed:
        """Deliver a frame that a node rendered; Failed when its picture is not good."""
        if lacks := self.observation.lacks(receipt):
            message = f"{lacks} is missing, and the frame looks for it. --allow-missing renders without it."
            return replace(failure(receipt, Reason.MISSING_FILE, message), lacks=lacks)
        fingerprint = self.observation.fingerprint_of(receipt)
        outcome = self._collector.collect(receipt, picture)
        if isinstance(outcome, Delivered):
            self._job.tell(
                events.Delivered(receipt.frame, receipt.attempt, outcome.size, outcome.mtime, fingerprint)
            )
            self.growing.add(receipt.frame)
        return outcome

    def keep(self, kept: Mapping[Build | None, list[Kept]]) -> None:
        """Remember good frames under what rendered them."""
        if not kept:
            return
        with self._store.transaction():
            for build, rows in kept.items():
                if fingerprints := self._origin.of(build):
                    self._cache.keep(fingerprints, self._job.request.scene, rows)
                if self._origin.learn(build) and build and self._ready.parts:
                    made_by = replace(self._ready.parts, identity=build.identity, label=build.label)
                    self._job.restate(replace(self._job.record, parts=made_by))

    def forget(self, frame: int) -> None:
        """Take a delivered frame back."""
        for fingerprints in self._origin.all():
            self._cache.forget(fingerprints, [frame])
        self._collector.discard(frame)

    def looks(self, view: int = 0) -> Iterator[Look]:
        """How a view of the delivered frames looks, ascending: as remembered when they were collected."""
        size = self._ready.inspection.scene.resolution
        fingerprints = [*self._origin.all()][::-1]
        for frame in self._job.ledger.of(FrameState.SUCCEEDED):
            mark = next(filter(None, (self._cache.mark(each, frame.frame) for each in fingerprints)), None)
            looks = looks_from(frame.frame, size, mark) if mark else self._collector.looks(frame.frame)
            yield from itertools.islice(looks, view, view + 1)


def _reused(fingerprints: Fingerprints, frame: Restored) -> events.Reused:
    fingerprint = fingerprints.of(frame.frame) if fingerprints.observed else ""
    return events.Reused(frame.frame, frame.size, frame.mtime, fingerprint)
