"""Frames that are rendered in parts: a job of their own below the frames' job, and what they are merged into.

That job's frames are parts, so each is a task like any other: tried again, looked at, kept, resumed. What they
make is a picture that the frames' own job takes as if it were rendered, so a split frame is one in every count.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.farm.cache import FrameCache
from renderfarm.farm.filling import FILLING, PROOF
from renderfarm.farm.job_frames import JobFrames
from renderfarm.farm.preparation import Ready, lacking
from renderfarm.farm.splitting import parts_of
from renderfarm.job import observed, record, tiles
from renderfarm.job.events import Noted
from renderfarm.job.fingerprint import Fingerprints, hashed
from renderfarm.job.job import PARTS, Job
from renderfarm.job.job import parts_of as below
from renderfarm.job.store import Store
from renderfarm.pictures import merging
from renderfarm.settings.checks import AUTO
from renderfarm.settings.pool import PoolConfig
from renderfarm.words import files
from renderfarm.words.frames import parse
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.updates import Failed, NodeChange, Started
from renderfarm.words.work import Part, Task

MERGED = "merged"
NODE = "parts"
"""what a frame is with as long as its parts are rendered"""


class Stills:
    """The parts of one job's frames, and another job for them."""

    def __init__(self, store: Store, job: Job, ready: Ready) -> None:
        self._store = store
        self._frames = job
        self._whole = ready
        self._size = ready.scene.resolution
        self._costs: tiles.Costs = ()

    def cut(self) -> None:
        """Into what was begun, or into parts that cost the same as far as small pictures tell."""
        begun, split = below(self._frames.folder), self._frames.record.split
        self.parts = parts_of(self._whole, split, self._costs)
        if (begun / record.RECORD).exists():
            kept = record.read(begun)
            alike = kept.split == split and tiles.alike(kept.scene, self._whole.scene)
            self.parts = kept.work.parts if alike else self.parts
        self.job, self.ready = self._below(PARTS, self.parts, self._whole)
        self._files = JobFrames(self._store, self.job, self.ready)

    def proof(self, frame: int) -> tuple[Job, Ready]:
        """The job of a small picture of a frame and its tiles."""
        scene, settings = self._whole.scene, self._whole.work.settings
        parts = tiles.proof(frame, scene, self._frames.record.split or "")
        small = replace(scene, resolution=parts[0].size)
        settings = replace(settings, resolution=small.resolution, scale=None)
        work = replace(self._whole.work, settings=settings)
        ready = replace(self._whole, scene=small, work=work, node=None)
        return self._below(f"{PROOF}{frame}", parts, _here(ready))

    def unlike(self, job: Job, ready: Ready) -> str:
        """Why the parts of a small picture are not what it has there; empty when they are."""
        parts = ready.work.parts
        if failure := next(job.ledger.failures(), None):
            return f"a small picture can't be rendered: {failure.message}"
        whole, *others = [(part, job.record.picture(number)) for number, part in enumerate(parts)]
        target = whole[1].with_name(f"{MERGED}{whole[1].suffix}")
        merging.merge(others, whole[0].size, target)
        share = merging.differing(whole[0], whole[1], target, near=bool(others[0][0].samples))
        target.unlink()
        if share:
            shutil.rmtree(job.request.output)
            return f"of a small picture's pixels {share:.1%} differ in parts"
        took = [self._seconds(job, ready, number) for number in range(len(parts))]
        self._costs = self._costs or merging.costs(whole[1], parts, took)
        return ""

    def _seconds(self, job: Job, ready: Ready, number: int) -> float:
        """What a part took, now or when it was rendered; 0: nobody knows."""
        measure = f"seconds of part {ready.fingerprints.of(number)}"
        if seconds := job.ledger.frames[number].seconds:
            self._store.set_measure(measure, seconds)
        return seconds or self._store.measure(measure) or 0.0

    def _below(self, name: str, parts: tuple[Part, ...], ready: Ready) -> tuple[Job, Ready]:
        """A job for parts, as it was left or new."""
        output = self._frames.folder / name
        folder = record.folder_of(output, name)
        ready = _ready_for(parts, ready, output)
        if ready.fingerprints.observed:
            folder_of_scene = str(Path(ready.scene.path).parent)
            without = lacking(self._frames.request, ready.scene)
            observed.recall(ready.fingerprints, folder_of_scene, self._store, without)
        if not (folder / record.RECORD).exists():
            settings = ready.work.settings
            request = replace(
                self._frames.request, output=str(output), settings=settings, video=None, no_video=True
            )
            kept = replace(
                self._frames.record,
                request=request,
                created=time.time(),
                frames=ready.frames.text,
                total=len(parts),
                work=replace(ready.work, copies={}, inputs=()),
                fingerprint=ready.fingerprints.whole,
                fingerprints=ready.fingerprints,
                ingredients=None,
                whole=self._frames.record,
                notes=(),
            )
            record.write(kept, folder)
        job = Job.at(folder)
        if job.record.fingerprint != ready.fingerprints.whole:  # of other inputs
            shutil.rmtree(folder)
            return self._below(name, parts, ready)
        job.orders = self._frames.orders
        return job, ready

    def of(self, frames: Sequence[int]) -> frozenset[int]:
        """The numbers of some frames' parts."""
        return frozenset(number for number, part in enumerate(self.parts) if part.frame in frames)

    def begin(self, frames: Sequence[int]) -> None:
        """Say that frames are under way."""
        known = self._frames.ledger.frames
        for frame in frames:
            attempt = known[frame].attempts + 1 if frame in known else 1
            self._frames.tell(Started(frame, Task((frame,)).id, attempt, NODE))
        self._frames.parts = self.job

    def merged(self, frames: Sequence[int]) -> Ready:
        """What is left to be done with frames whose parts are there; the others have failed."""
        self._frames.tell(NodeChange(NODE, "gone"))
        self._frames.ledger.rest()
        if len(builds := self.job.ledger.remarks.builds) > 1:
            message = f"Nodes rendered parts with several renderers: {', '.join(builds)}."
            raise InputError(message, "Give all nodes the same one, then submit again with --no-reuse.")
        done = {}
        for frame in frames:
            numbers = sorted(self.of([frame]))
            if wrong := self._failure(frame, numbers) or self._seam(frame, numbers):
                self._frames.tell(wrong)
            else:
                done[str(frame)] = str(self._merge(frame, numbers))
                for step in merging.steps(self._tiles(numbers), self._size):
                    self._frames.tell(Noted(f"look at frame {frame}: {step}"))
        work = replace(self._whole.work, merged=done)
        return _here(replace(self._whole, work=work, node=None))

    def _failure(self, frame: int, numbers: Sequence[int]) -> Failed | None:
        """Why a frame's parts are no picture, if they are none."""
        ledger = self.job.ledger
        failed = next((n for n in numbers if ledger.state(n) is not FrameState.SUCCEEDED), None)
        if failed is not None:
            return self._of_part(frame, failed)
        sets = [ledger.seen(n) for n in numbers]
        if any(each is not None for each in sets) and observed.together(sets) is None:
            return self._final(frame, Reason.INPUT_CHANGED, "files changed while its parts were rendered")
        return None

    def _seam(self, frame: int, numbers: Sequence[int]) -> Failed | Noted | None:
        """What becomes of a frame whose parts don't fit together: `auto` renders it whole, here."""
        why = merging.seam(self._tiles(numbers), self._size)
        if why and self._frames.request.split == AUTO and not self._whole.pool.remote:
            return Noted(f"frame {frame} is rendered as a whole: {why}")
        why = why and f"{why}: samples were carried further than expected, so leave --split out"
        return self._final(frame, Reason.BAD_PICTURE, why) if why else None

    def _tiles(self, numbers: Sequence[int]) -> list[tuple[Part, Path]]:
        return [(self.parts[n], self._files.paths(n)[0]) for n in numbers]

    def _merge(self, frame: int, numbers: Sequence[int]) -> Path:
        folder = self._frames.folder / MERGED
        folder.mkdir(exist_ok=True)
        target = folder / self._files.paths(frame)[0].name
        merging.merge(self._tiles(numbers), self._size, target)
        return target

    def _of_part(self, frame: int, number: int) -> Failed:
        """A frame whose part has failed for good, with a log of the part's last attempt among the frames'."""
        why = next(each for each in self.job.ledger.failures() if each.frame == number)
        attempt = self._frames.ledger.frames[frame].attempts + 1
        log = Path(self._frames.record.log(f"{Task((frame,)).id}.{attempt}.log"))
        if why.log and (source := self.job.record.log(why.log)).is_file():
            with files.draft(log) as made:
                shutil.copyfile(source, made)
        return self._final(frame, Reason(why.reason), f"{self.parts[number]}: {why.message}", str(log))

    def _final(self, frame: int, reason: Reason, message: str, log: str = "") -> Failed:
        attempt = self._frames.ledger.frames[frame].attempts + 1
        return Failed(frame, reason, message, attempt=attempt, log=log, final=True)

    def forget(self) -> None:
        """Frames that are there need no parts any more."""
        for name in (MERGED, FILLING, f"{PROOF}*"):
            for folder in self._frames.folder.glob(name):
                files.remove(folder)
        there = [each.frame for each in self._frames.ledger.of(FrameState.SUCCEEDED)]
        for number in self.of(there):
            FrameCache(self._store).forget(self.ready.fingerprints, [number])
            self._files.discard(number)


def _here(ready: Ready) -> Ready:
    """The same on this machine, whatever the pool is."""
    return replace(ready, pool=PoolConfig(), nodes=None) if ready.pool.remote else ready


def _ready_for(parts: tuple[Part, ...], ready: Ready, folder: Path) -> Ready:
    """A job's scene, for its parts."""
    scene, fingerprints = ready.scene, ready.fingerprints
    one = fingerprints.key if fingerprints.observed else fingerprints.of
    own = {str(n): hashed(one(part.frame), repr(part)) for n, part in enumerate(parts)}
    base = hashed(fingerprints.base, *map(repr, parts), str(scene.resolution))
    settings = ready.work.settings
    work = replace(
        ready.work,
        parts=parts,
        size=scene.resolution,
        settings=replace(settings, format=scene.tiles or settings.format),
        logs=str(folder / "logs"),
        inputs=tuple(replace(each, frames=None) for each in ready.work.inputs),
    )
    return replace(
        ready,
        work=work,
        frames=parse(f"0-{len(parts) - 1}"),
        fingerprints=Fingerprints(base, observed=True, keys=own)
        if fingerprints.observed
        else Fingerprints(base, own),
        ingredients=None,
    )
