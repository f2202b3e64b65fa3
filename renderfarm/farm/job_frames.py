"""A job's delivered frames: from the cache or from nodes, whole and looked at; looked at again, taken back."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
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


class OutputFullError(RenderfarmError):
    """The output folder can't take another frame."""


class JobFrames:
    """The frames of a job that somebody has claimed."""

    def __init__(self, store: Store, job: Job, ready: Ready) -> None:
        self._store = store
        self._job = job
        self._ready = ready
        self._cache = FrameCache(store)
        self._origin = ready.origin(store)
        self._kept: dict[Build | None, list[tuple[int, int, int, bytes]]] = {}
        """what was put into the cache and is not remembered yet, by what rendered it"""
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
        known = self._cache.expected(self._origin)
        if not fingerprints or not known:
            return
        state = ledger.state
        wanted = [f for f in sorted(known) if f in self._ready.frames and state(f) not in DECIDED]
        restored = self._cache.restore(fingerprints, known, {frame: self.paths(frame) for frame in wanted})
        own = {frame: fingerprints.of(frame) if fingerprints.observed else "" for frame in restored}
        used = {fingerprint for fingerprint in own.values() if fingerprint} - ledger.sets.keys()
        self._job.tell(*(events.Saw(of, files) for of in used for _, files in self._store.frames.sets_of(of)))
        self._job.tell(*(events.Reused(frame, *known[frame][:2], own[frame]) for frame in restored))
        if restored:
            with self._store.transaction():
                self._cache.touch(fingerprints, self._job.request.scene, restored)

    def collect(self, receipt: Rendered, picture: Path) -> Failed | None:
        """Deliver a frame that a node rendered, `picture` being its first view; Failed when one is not good.

        Raises OutputFullError when it can't be stored. `remember` it before much else happens.
        """
        if lacks := self.observation.lacks(receipt):
            message = f"{lacks} is missing, and the frame looks for it. --allow-missing renders without it."
            return replace(_failure(receipt, Reason.MISSING_FILE, message), lacks=lacks)
        fingerprint = self.observation.fingerprint_of(receipt)
        targets, looks = self.paths(receipt.frame), list[Look]()
        taken = [self._ready.scratch / f"leaving-{target.name}" for target in targets]
        try:
            for found, safe in zip(pictures(str(picture), len(targets)), taken, strict=True):
                os.replace(found, safe)  # noqa: PTH105 - pathlib would cost more than the rename
        except FileNotFoundError:
            return _failure(
                receipt, Reason.NO_PICTURE, "The picture was there, and was gone when it was fetched."
            )
        if wrong := self._looked_at(receipt.frame, taken, looks):
            for path in taken:
                path.unlink()
            return _failure(receipt, Reason.BAD_PICTURE, wrong)
        try:
            size, mtime = self._deliver(receipt, taken, targets, looks)
        except OSError as error:
            raise _explained(error, targets[0]) from error
        self._job.tell(events.Delivered(receipt.frame, receipt.attempt, size, mtime, fingerprint))
        self.growing.add(receipt.frame)
        return None

    def _deliver(
        self, receipt: Rendered, taken: Sequence[Path], targets: Sequence[Path], looks: Sequence[Look]
    ) -> tuple[int, int]:
        """Put pictures into the cache and where they belong; their size and time."""
        size, mtime = recorded(taken)
        if not receipt.instead and self._has_kept(receipt, taken):
            self._kept.setdefault(receipt.build, []).append((receipt.frame, size, mtime, mark(looks)))
        for path, target in zip(taken, targets, strict=True):
            _move(path, target)
        return size, mtime

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

    def _has_kept(self, receipt: Rendered, found: Sequence[Path]) -> bool:
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
        scene = self._ready.scene
        return None if scene.tiles and self._ready.work.parts else scene.resolution

    def remember(self) -> None:
        """Remember the good frames of late under what rendered them."""
        if not self._kept:
            return
        with self._store.transaction():
            for build, rows in self._kept.items():
                if fingerprints := self._origin.of(build):
                    self._cache.keep(fingerprints, self._job.request.scene, rows)
                if self._origin.learn(build) and build and self._ready.ingredients:
                    made_by = replace(self._ready.ingredients, identity=build.identity, label=build.label)
                    self._job.restate(replace(self._job.record, ingredients=made_by))
        self._kept.clear()

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
        size = self._ready.scene.resolution
        fingerprints = [*self._origin.all()][::-1]
        for frame in (each.frame for each in self._job.ledger.of(FrameState.SUCCEEDED)):
            kept = next(filter(None, (self._cache.mark(each, frame) for each in fingerprints)), None)
            looks = looks_from(frame, size, kept) if kept else self._looks_again(frame)
            yield from itertools.islice(looks, view, view + 1)

    def _looks_again(self, frame: int) -> Iterator[Look]:
        for path in self.paths(frame):
            seen = look(path, frame, size=self._size)
            yield from (seen, *seen.views)


def mark(looks: Iterable[Look]) -> bytes:
    """How a frame's views look, as the cache keeps it: what is asked when its neighbours are judged."""
    return b"".join(f"{each.magenta:.5f}|{each.blank or ''}|".encode() + each.signature for each in looks)


def looks_from(frame: int, size: tuple[int, int], kept: bytes) -> Iterator[Look]:
    """The inverse of `mark`."""
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
