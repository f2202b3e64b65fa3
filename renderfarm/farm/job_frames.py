"""A job's delivered frames: from the cache or from nodes, whole and looked at; looked at again, taken back."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import RenderfarmError
from renderfarm.farm.cache import FrameCache, is_as_recorded, place, recorded
from renderfarm.farm.growing import Growing
from renderfarm.farm.observation import Observation
from renderfarm.farm.preparation import Ready
from renderfarm.job import events
from renderfarm.job.job import Job
from renderfarm.job.ledger import DECIDED
from renderfarm.job.record import FRAMES
from renderfarm.job.store import Store
from renderfarm.pictures.look import SIGNATURE_BYTES, Look, look
from renderfarm.words.scene import pictures
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build

FULL = (errno.ENOSPC, errno.EDQUOT)
Kept = tuple[int, int, int, bytes | None]
"""frame, size, time and signature of a picture that is kept"""


class OutputFullError(RenderfarmError):
    """The output folder can't take another frame."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A frame that is in the output folder."""

    receipt: Rendered
    looks: tuple[Look, ...]
    """of each view"""
    size: int
    mtime: int
    """nanoseconds; see `cache.recorded`"""
    kept: bool
    """for reuse"""

    @property
    def mark(self) -> bytes:
        """Its looks, as the cache keeps them: what a frame must tell when its neighbours are judged."""
        return b"".join(
            f"{each.magenta:.5f}|{each.blank or ''}|".encode() + each.signature for each in self.looks
        )


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
        self.folder = job.record.output / FRAMES
        self.folder.mkdir(parents=True, exist_ok=True)
        for half in self.folder.glob(".*.part"):  # of a farm that was killed
            half.unlink(missing_ok=True)

    def paths(self, frame: int) -> list[Path]:
        """Where a frame's pictures are delivered."""
        return self._job.record.pictures(frame)

    def miss(self) -> None:
        """Queue again what is not there any more."""
        for frame in list(self._job.ledger.of(FrameState.SUCCEEDED)):
            if not is_as_recorded(self.paths(frame.frame), frame.size or 0, frame.mtime or 0):
                self._job.tell(events.Missed(frame.frame))

    def reuse(self) -> None:
        """Take frames of the same fingerprints from the cache."""
        fingerprints, ledger = self._origin.expected, self._job.ledger
        known = self._cache.known(fingerprints) if fingerprints else {}
        if not fingerprints or not known:
            return
        open_frames = (f for f in sorted(known) if f in self._ready.frames)
        wanted = [frame for frame in open_frames if ledger.state(frame) not in DECIDED]
        restored = list(
            self._cache.restore(fingerprints, known, {frame: self.paths(frame) for frame in wanted})
        )
        if fingerprints.observed:
            used = {fingerprints.of(each.frame) for each in restored} - ledger.sets.keys()
            self._job.tell(
                *(events.Saw(of, files) for of in used for _, files in self._store.frames.sets_of(of))
            )
        own = {each.frame: fingerprints.of(each.frame) if fingerprints.observed else "" for each in restored}
        self._job.tell(*(events.Reused(r.frame, r.size, r.mtime, own[r.frame]) for r in restored))
        if restored:
            with self._store.transaction():
                self._cache.touch(fingerprints, self._job.request.scene, (each.frame for each in restored))

    def collect(self, receipt: Rendered, picture: Path) -> Delivered | Failed:
        """Deliver a frame that a node rendered, `picture` being its first view; Failed when one is not good.

        Raises OutputFullError when it can't be stored.
        """
        if lacks := self.observation.lacks(receipt):
            message = f"{lacks} is missing, and the frame looks for it. --allow-missing renders without it."
            return replace(_failure(receipt, Reason.MISSING_FILE, message), lacks=lacks)
        fingerprint = self.observation.fingerprint_of(receipt)
        outcome = self._deliver(receipt, picture)
        if isinstance(outcome, Delivered):
            size, mtime = outcome.size, outcome.mtime
            self._job.tell(events.Delivered(receipt.frame, receipt.attempt, size, mtime, fingerprint))
            self.growing.add(receipt.frame)
        return outcome

    def _deliver(self, receipt: Rendered, file: Path) -> Delivered | Failed:
        targets, looks = self.paths(receipt.frame), list[Look]()
        found = [file, *map(Path, itertools.islice(pictures(str(file), len(targets)), 1, None))]
        taken = [self._ready.scratch / f"leaving-{target.name}" for target in targets]
        try:
            for path, safe in zip(found, taken, strict=True):
                os.replace(path, safe)  # noqa: PTH105 - pathlib would cost more than the rename
        except FileNotFoundError:
            return _failure(
                receipt, Reason.NO_PICTURE, "The picture was there, and was gone when it was fetched."
            )
        if wrong := self._looked_at(receipt.frame, taken, looks):
            for path in taken:
                path.unlink()
            return _failure(receipt, Reason.BAD_PICTURE, wrong)
        try:
            size, mtime = recorded(taken)
            kept = not receipt.instead and self._kept(receipt, taken)
            for path, target in zip(taken, targets, strict=True):
                _move(path, target)
        except OSError as error:
            raise _explained(error, targets[0]) from error
        return Delivered(receipt, tuple(looks), size, mtime, kept)

    def _looked_at(self, frame: int, taken: Sequence[Path], looks: list[Look]) -> str:
        """What is wrong with pictures, where no renderer can put a link or a pipe into their place any more."""
        for path in taken:
            if not stat.S_ISREG(path.lstat().st_mode):
                return "The renderer put a link or a pipe in the place of its picture."
            seen = look(path, frame, size=self._size)
            looks += (seen, *seen.views)
            if seen.finding is not None:
                which = f"{path.name.removeprefix('leaving-')}: " if len(taken) > 1 else ""
                return f"{seen.finding}: {which}{seen.detail}"
        return ""

    def _kept(self, receipt: Rendered, found: Sequence[Path]) -> bool:
        """Put a frame where it is found again; whether there is room. A full disk there costs no frame."""
        fingerprints = self._origin.of(receipt.build)
        try:
            if fingerprints and fingerprints.of(receipt.frame):
                self._cache.put(fingerprints, receipt.frame, found)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._make_room()
            return False
        return True

    def _make_room(self) -> None:
        """Let go of half of what is kept of other jobs, once: the farm's memory needs room there, too."""
        note = f"the disk of {self._store.home} is full, so not all frames are kept for reuse"
        if note not in self._job.ledger.remarks.notes:
            self._job.tell(events.Noted(note))
            own = frozenset(itertools.chain.from_iterable(self._origin.all()))
            self._cache.prune(self._cache.usage().bytes // 2, spare=own)

    @property
    def _size(self) -> tuple[int, int] | None:
        """What pictures must have; of tiles each has its own."""
        scene = self._ready.inspection.scene
        return None if scene.tiles and self._ready.inspection.work.parts else scene.resolution

    def keep(self, kept: Mapping[Build | None, list[Kept]]) -> None:
        """Remember good frames under what rendered them."""
        if not kept:
            return
        with self._store.transaction():
            for build, rows in kept.items():
                if fingerprints := self._origin.of(build):
                    self._cache.keep(fingerprints, self._job.request.scene, rows)
                if self._origin.learn(build) and build and self._ready.ingredients:
                    made_by = replace(self._ready.ingredients, identity=build.identity, label=build.label)
                    self._job.restate(replace(self._job.record, ingredients=made_by))

    def forget(self, frame: int) -> None:
        """Take a delivered frame back, here and from the cache."""
        for fingerprints in self._origin.all():
            self._cache.forget(fingerprints, [frame])
        self.discard(frame)

    def discard(self, frame: int) -> None:
        """Take its pictures away, here and from the cache's folder."""
        paths = self.paths(frame)
        kept = (path for each in self._origin.all() for path in self._cache.places(each, frame, paths))
        for path in (*paths, *kept):
            path.unlink(missing_ok=True)

    def looks(self, view: int = 0) -> Iterator[Look]:
        """How a view of the delivered frames looks, ascending: as remembered when they were collected."""
        size = self._ready.inspection.scene.resolution
        fingerprints = [*self._origin.all()][::-1]
        for frame in (each.frame for each in self._job.ledger.of(FrameState.SUCCEEDED)):
            mark = next(filter(None, (self._cache.mark(each, frame) for each in fingerprints)), None)
            looks = looks_from(frame, size, mark) if mark else self._looks_again(frame)
            yield from itertools.islice(looks, view, view + 1)

    def _looks_again(self, frame: int) -> Iterator[Look]:
        for path in self.paths(frame):
            seen = look(path, frame, size=self._size)
            yield from (seen, *seen.views)


def looks_from(frame: int, size: tuple[int, int], kept: bytes) -> Iterator[Look]:
    """The inverse of `Delivered.mark`."""
    while kept:
        magenta, blank, rest = kept.split(b"|", 2)
        signature, kept = rest[:SIGNATURE_BYTES], rest[SIGNATURE_BYTES:]
        yield Look(frame, None, "", size, blank.decode() or None, float(magenta), signature)


def _failure(of: Rendered, reason: Reason, message: str) -> Failed:
    """An attempt that gave no picture to deliver."""
    return Failed(of.frame, reason, message, of.seconds, of.task, of.attempt, of.node, of.log)


def _move(path: Path, target: Path) -> None:
    """Rename a picture; where `frames` is a link to another disk, copy it."""
    try:
        os.replace(path, target)  # noqa: PTH105 - pathlib would cost more than the rename
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        place(path, target)
        path.unlink()


def _explained(error: OSError, target: Path) -> OutputFullError:
    place = Path(error.filename2 or error.filename or target)
    if error.errno in FULL:
        message = f"The disk of {place.parent} is full ({shutil.disk_usage(place.parent).free >> 20} MiB left)."
        return OutputFullError(message, "Make room, then resume: every finished frame is kept.")
    return OutputFullError(f"{place} can't be written: {error.strerror}.", "Mend that, then resume.")
