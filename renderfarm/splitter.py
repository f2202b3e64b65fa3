"""Breaks a job's frames into tasks, lazily: ten million frames are split as the nodes ask for them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from itertools import islice

from renderfarm import frames as frame_ranges
from renderfarm.frames import FrameRange
from renderfarm.model import Task
from renderfarm.renderers import Concurrency

TARGET_SECONDS = 0.25
"""a task of very short frames lasts about this long, so that handing it out costs next to nothing"""
MOST_FRAMES = 250
TASKS_PER_SESSION = 2
"""tasks that are left for each session at the end, so that none waits long for the last one"""


def split(frames: FrameRange, order: str, done: Container[int], chunk: Callable[[], int]) -> Iterator[Task]:
    """Tasks of the frames that are not done, `chunk()` frames each, asked again for every task.

    A task's id follows from its frames, so the same frames are the same task whenever they are split.
    """
    left = (frame for frame in frame_ranges.ordered(frames, order) if frame not in done)
    while batch := tuple(islice(left, max(1, chunk()))):
        yield Task(batch)


def chunk_size(traits: Concurrency, seconds: float | None, frames_left: int, sessions: int) -> int:
    """How many frames the next task should have.

    seconds: measured time of a frame, None before the first one. Tasks get smaller toward the end.
    """
    fair = frames_left // (max(1, sessions) * TASKS_PER_SESSION)
    if seconds is None:
        wanted = traits.frames_per_run
    elif traits.short_seconds and seconds < traits.short_seconds:
        wanted = max(traits.frames_per_run, round(TARGET_SECONDS / max(seconds, 1e-6)))
    else:
        wanted = round(TARGET_SECONDS / max(seconds, 1e-6))
    return max(1, min(wanted, fair, MOST_FRAMES))
