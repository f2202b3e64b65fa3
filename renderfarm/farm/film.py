"""A job's film: what it is made of, and its parts, which are encoded while other frames are rendered."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from bisect import bisect
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from renderfarm.errors import RenderfarmError
from renderfarm.farm.experience import encoding_seconds
from renderfarm.farm.preparation import Ready
from renderfarm.job.job import Job
from renderfarm.job.record import SCRATCH
from renderfarm.job.store import Store
from renderfarm.words import frames as frame_ranges
from renderfarm.words.frames import PROGRESSIVE, FrameRange
from renderfarm.words.model import FrameState, Scene

if TYPE_CHECKING:
    from renderfarm.pictures.film import Picture, VideoOptions
    from renderfarm.pictures.segments import Part

FOLDER = "film"
"""parts, in the hidden folder of the output"""
SO_FAR = "so-far"
"""the film up to the first part that is not there, for those who can't wait; without sound"""
MOST_FRAMES = 100_000
"""a longer film does not grow"""
WORTH_SECONDS = 2.0
"""a film that takes no longer is made at once: each part costs the start of an encoder"""
NICENESS = 10
"""rendering comes first"""
SHOWING_SHARE = 0.05
"""of the time, for joining the parts again and again"""


def is_wanted(job: Job) -> bool:
    """Whether a job is to have a film."""
    return bool(job.request.video or (job.total > 1 and not job.request.no_video))


def folder(job: Job) -> Path:
    """Where the parts of an output folder's film are."""
    return Path(job.request.output) / SCRATCH / FOLDER


def default_place(job: Job) -> Path:
    """Where the film of a job is that names no other place."""
    return Path(job.request.output) / f"{Path(job.request.scene).stem}.mp4"


def options(job: Job, ready: Ready) -> VideoOptions:
    """What was asked, and what the scene says."""
    from renderfarm.pictures.film import VideoOptions, with_sounds

    request, fps, scene = job.request, job.record.fps, ready.inspection.scene
    wanted = VideoOptions(
        fps=fps,
        codec=request.codec,
        crf=request.crf,
        audio=Path(request.audio) if request.audio else None,
        audio_offset=_audio_offset(ready.frames, scene, fps),
        missing=request.missing,
        colour=scene.colour,
        pixel_aspect=scene.pixel_aspect,
    )
    return with_sounds(wanted, scene.sounds, ready.frames, scene.fps)


def _audio_offset(frames: FrameRange, scene: Scene, fps: float) -> float:
    """A sound track belongs to the whole animation: a later first frame starts later in it, an earlier one
    before it."""
    own = frame_ranges.parse(scene.frames)
    return (frames.first - own.first) / fps


class _Stopped(Exception):  # noqa: N818 - not an error: the job has ended
    """Nobody wants the part any more."""


class GrowingFilm:
    """Encodes parts of a job's film as soon as their frames are there, in a thread that gives way to rendering.

    What it could not do is done when the film is made, and told then.
    """

    def __init__(self, store: Store, job: Job, ready: Ready) -> None:
        self._job = job
        self._ready = ready
        seconds = encoding_seconds(store, job.request, ready.inspection.scene.resolution, job.total)
        in_order = job.request.order != PROGRESSIVE and job.total <= MOST_FRAMES
        self._grows = is_wanted(job) and in_order and seconds > WORTH_SECONDS
        self._spans: list[Sequence[int]] = []
        """the frames of each part"""
        self._lacking: dict[int, int | None] = {}
        """a part's frame that is not there; None where all are"""
        self._whole: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._dropped = threading.Event()

    def begin(self) -> None:
        """Frames are about to be rendered; some may be there."""
        from renderfarm.pictures.segments import spans

        if self._spans or not self._grows:
            return
        frames = list(self._ready.frames.ascending())
        self._spans = [[frames[place] for place in span] for span in spans(len(frames))]
        for span in self._spans:
            self.add(span[0])

    def add(self, frame: int) -> None:
        """A frame was delivered, perhaps in place of another."""
        if not self._spans:
            return
        part = bisect(self._spans, frame, key=lambda span: span[0]) - 1
        if self._lacking.get(part) not in (None, frame):
            return
        state = self._job.ledger.state
        self._lacking[part] = next((f for f in self._spans[part] if state(f) is not FrameState.SUCCEEDED), None)
        if self._lacking[part] is None:
            self._whole.put(part)
            self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="film", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait for the part in hand; others are encoded with the film, when nothing is rendered any more."""
        self._over.set()
        self._whole.put(None)
        if self._thread:
            self._thread.join()

    def __enter__(self) -> GrowingFilm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dropped.set()
        self.finish()

    def _work(self) -> None:
        from renderfarm.pictures.film import encode_part

        if sys.platform == "linux":  # where each thread has its own, and hands it on
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        out = Path(self._job.request.video or default_place(self._job))
        wanted, parts = options(self._job, self._ready), _Parts(folder(self._job) / f"{SO_FAR}{out.suffix}")
        while (number := self._whole.get()) is not None and not self._over.is_set():
            with contextlib.suppress(RenderfarmError, OSError, _Stopped):
                part = encode_part(self._pictures(number), out, wanted, folder(self._job), self._check)
                if part is None:
                    return
                parts.add(number, part)

    def _pictures(self, number: int) -> list[Picture]:
        from renderfarm.pictures.film import Picture

        return [Picture(frame, self._job.record.picture(frame)) for frame in self._spans[number]]

    def _check(self, _: int) -> None:
        if self._dropped.is_set():
            raise _Stopped


class _Parts:
    """The parts that are there, and the film that is joined from those at its beginning."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._there: dict[int, Part] = {}
        self._next = 0.0

    def add(self, number: int, part: Part) -> None:
        """A part was encoded, perhaps again."""
        from renderfarm.pictures.film import show

        self._there[number] = part
        began = time.monotonic()
        if 0 in self._there and began >= self._next:
            count = next(number for number in range(len(self._there) + 1) if number not in self._there)
            show([self._there[number] for number in range(count)], self._out)
            took = time.monotonic() - began
            self._next = began + took / SHOWING_SHARE
