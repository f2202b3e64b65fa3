"""What is made of a job's frames while others are rendered: parts of the film, pictures for the sheet."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from bisect import bisect
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from renderfarm.farm import products
from renderfarm.farm.experience import encoding_seconds
from renderfarm.farm.preparation import Ready
from renderfarm.job.job import Job
from renderfarm.job.store import Store
from renderfarm.words.frames import PROGRESSIVE
from renderfarm.words.states import FrameState

if TYPE_CHECKING:
    from renderfarm.pictures.contact_sheet import Thumb
    from renderfarm.pictures.segments import Part

MOST_FRAMES = 100_000
"""a longer film does not grow"""
WORTH_SECONDS = 2.0
"""a film that takes no longer is made at once: each part costs the start of an encoder"""
WORTH_PIXELS = 50e6
"""… and a sheet of so few pixels: they are read in about a second"""
NICENESS = 10
"""rendering comes first"""
SHOWING_SHARE = 0.05
"""of the time, for joining the parts again and again"""


class _Background:
    """A thread that does one thing after the other, and gives way to rendering."""

    def __init__(self) -> None:
        self._steps = ThreadPoolExecutor(1, "background", _give_way)
        self._dropped = threading.Event()

    def do(self, step: Callable[[], None]) -> None:
        """Do something later, or never. What goes wrong is told when it is needed, and done again."""
        self._steps.submit(step)

    def check(self, _: int = 0) -> None:
        """Called by long steps; ends them when nobody wants them any more."""
        if self._dropped.is_set():
            raise CancelledError

    def finish(self, *, drop: bool = False) -> None:
        """Wait for the step in hand, or drop it; there is no other."""
        self._steps.shutdown(wait=False, cancel_futures=True)
        if drop:
            self._dropped.set()
        else:
            _hurry()
        self._steps.shutdown()


def _give_way() -> None:
    if sys.platform == "linux":  # where each thread has its own, and hands it on
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _hurry() -> None:
    """What is in hand is waited for: threads and encoders of this process give way no longer.

    Without rights a process gets no nicer to itself, but among sessions that is what their group is (sched(7)).
    """
    niceness = os.getpriority(os.PRIO_PROCESS, os.getpid())
    for thread in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
        with contextlib.suppress(OSError):
            for child in map(int, (thread / "children").read_text().split()):
                from renderfarm.pictures.ffmpeg import yield_like

                yield_like(child, niceness)
                os.setpriority(os.PRIO_PGRP, child, niceness)


class Growing:
    """What grows of one job. What could not be done is done when film and sheet are made."""

    def __init__(self, store: Store, job: Job, ready: Ready) -> None:
        self._background = _Background()
        seconds = encoding_seconds(store, job.request, ready.scene.resolution, job.total)
        worth = seconds > WORTH_SECONDS and job.request.order != PROGRESSIVE and job.total <= MOST_FRAMES
        self._sheet = _GrowingSheet(job, ready, self._background)
        self._all: list[_GrowingSheet | _GrowingFilm] = [self._sheet]
        if worth and products.has_film(job):
            self._all.append(_GrowingFilm(job, ready, self._background))

    def begin(self) -> None:
        """Frames are about to be rendered; some may be there."""
        for each in self._all:
            each.begin()
        self._background.do(_prepare_report)

    def add(self, frame: int) -> None:
        """A frame was delivered, perhaps in place of another."""
        for each in self._all:
            each.add(frame)

    def finish(self) -> dict[int, Thumb]:
        """Wait for what is in hand; returns the sheet's little pictures."""
        self._background.finish()
        return self._sheet.thumbs

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *_: object) -> None:
        self._background.finish(drop=True)


def _prepare_report() -> None:
    from renderfarm.reports import report

    report.page()


class _GrowingFilm:
    """The parts of a film, each encoded when all its frames are there."""

    def __init__(self, job: Job, ready: Ready, background: _Background) -> None:
        self._job = job
        self._ready = ready
        self._background = background
        self._spans: list[Sequence[int]] = []
        """the frames of each part"""
        self._lacking: dict[int, int | None] = {}
        """a part's frame that is not there; None where all are"""
        self._there: dict[int, Part] = {}
        """parts that are encoded"""
        self._next_show = 0.0

    def begin(self) -> None:
        from renderfarm.pictures.segments import spans

        if not self._spans:
            frames = list(self._ready.frames.ascending())
            self._spans = [[frames[place] for place in span] for span in spans(len(frames))]
            for span in self._spans:
                self.add(span[0])

    def add(self, frame: int) -> None:
        part = bisect(self._spans, frame, key=lambda span: span[0]) - 1
        if self._lacking.get(part) not in (None, frame):
            return
        state = self._job.ledger.state
        self._lacking[part] = next((f for f in self._spans[part] if state(f) is not FrameState.SUCCEEDED), None)
        if self._lacking[part] is None:
            self._background.do(partial(self._encode, part))

    def _encode(self, number: int) -> None:
        from renderfarm.pictures.excerpt import FAILED, shrink
        from renderfarm.pictures.film import encode_part
        from renderfarm.pictures.shots import Picture

        job = self._job
        out = Path(job.request.video or products.film_place(job))
        pictures = [Picture(frame, job.record.picture(frame)) for frame in self._spans[number]]
        wanted = products.film_options(job, self._ready)
        if part := encode_part(pictures, out, wanted, products.film_folder(job), self._background.check):
            with contextlib.suppress(*FAILED):
                shrink(part, products.film_seconds(job), products.small_folder(job))
            if number + 1 < len(self._spans):  # with the last one the film itself is there at once
                self._there[number] = part
                self._show()

    def _show(self) -> None:
        """Join the parts at the film's beginning, as far as they are there, to what can be watched."""
        from renderfarm.pictures.film import show

        began = time.monotonic()
        if 0 in self._there and began >= self._next_show:
            count = next(number for number in range(len(self._there) + 1) if number not in self._there)
            show([self._there[number] for number in range(count)], products.so_far(self._job))
            took = time.monotonic() - began
            self._next_show = began + took / SHOWING_SHARE


class _GrowingSheet:
    """Little pictures of the frames that the contact sheet will show if nothing goes wrong."""

    def __init__(self, job: Job, ready: Ready, background: _Background) -> None:
        self._job = job
        self._ready = ready
        self._background = background
        self._shown: frozenset[int] = frozenset()
        self.thumbs: dict[int, Thumb] = {}

    def begin(self) -> None:
        from renderfarm.pictures.contact_sheet import chosen
        from renderfarm.pictures.shots import Picture

        width, height = self._ready.scene.resolution
        if self._shown:
            return
        pictures = [
            Picture(frame, self._job.record.picture(frame)) for frame in products.choice(self._ready.frames)
        ]
        shown = [picture.frame for picture in chosen(pictures)]
        self._shown = frozenset(shown if len(shown) * width * height > WORTH_PIXELS else ())
        for frame in shown:
            if self._job.ledger.state(frame) is FrameState.SUCCEEDED:
                self.add(frame)

    def add(self, frame: int) -> None:
        if frame in self._shown:
            self._background.do(partial(self._make, frame))

    def _make(self, frame: int) -> None:
        from renderfarm.pictures.contact_sheet import thumb

        scene = self._ready.scene
        path = self._job.record.picture(frame)
        self.thumbs[frame] = thumb(path, len(self._shown), scene.resolution, scene.colour)
