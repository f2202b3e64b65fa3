"""Breaks a job's frames into tasks, lazily: ten million frames are split as the nodes ask for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import islice

from renderfarm.renderers import Concurrency
from renderfarm.words import frames as frame_ranges
from renderfarm.words.frames import FrameRange
from renderfarm.words.work import Task

TARGET_SECONDS = 0.25
"""a task of very short frames lasts about this long, so that handing it out costs next to nothing"""
RUN_SECONDS = (1.2, 8.0)
"""a run of short frames lasts at least and about so long, so that the renderer's start is a small part of it"""
MOST_FRAMES = 250
TASKS_PER_SESSION = 2
"""tasks that are left for each session at the end, so that none waits long for the last one; of short
frames that go in runs it is one, as a start costs as much as they do"""

WORK_PER_START = 9
"""a planned task renders this many times as long as it takes to start, so that its start is a tenth of it"""
LEAST_WORK_PER_START = 2
"""less than this is never worth a start, neither at the end nor to keep one more node busy"""
LONGEST_SECONDS = 300.0
"""a planned task takes no second frame that would begin later than this"""
MOST_PLANNED_FRAMES = 2000
"""a task's frames travel in an environment variable, one by one where they are not consecutive"""
UNKNOWN_SECONDS = 10.0
"""what a frame is taken to last when nobody knows; with 2 to 300 s at most 13 % worse than knowing"""
PARTS_PER_SHARE = 6
"""no task is more than one of so many parts of a session's share: one that is lost late is waited for"""
SPREAD = 2
"""and none more than one of so many parts of its share of what is left"""


def split(frames: FrameRange, order: str, done: Container[int], chunk: Callable[[], int]) -> Iterator[Task]:
    """Tasks of the frames that are not done, `chunk()` frames each, asked again for every task.

    A task's id follows from its frames, so the same frames are the same task whenever they are split.
    """
    left = (frame for frame in frame_ranges.ordered(frames, order) if frame not in done)
    while batch := tuple(islice(left, max(1, chunk()))):
        yield Task(batch)


def chunk_size(traits: Concurrency, seconds: float | None, frames_left: int, sessions: int) -> int:
    """How many frames the next task should have.

    seconds: measured time of a frame, None before the first one, which is a task by itself. frames_left:
    those that are in no task yet. Tasks get smaller toward the end.
    """
    if seconds is not None and seconds < traits.short_seconds:
        return _run_length(traits.frames_per_run, seconds, math.ceil(frames_left / max(1, sessions)))
    fair = frames_left // (max(1, sessions) * TASKS_PER_SESSION)
    wanted = 1 if seconds is None else round(TARGET_SECONDS / max(seconds, 1e-6))
    return max(1, min(wanted, fair, MOST_FRAMES))


def _run_length(usual: int, seconds: float, share: int) -> int:
    least, most = (round(each / max(seconds, 1e-6)) for each in RUN_SECONDS)
    return max(1, min(MOST_FRAMES, max(usual, most), max(least, share)))


def plan_chunks(
    frames: Sequence[int], seconds: float | None, start_seconds: float, sessions: int
) -> Iterator[Task]:
    """Tasks for a pool that must have them all at once, before anybody knows how the job goes.

    frames: in rendering order. seconds: of a frame, None when unknown. start_seconds: from a task's begin to
    its first frame. sessions: how many tasks run at once. Chunks shrink toward the end. Those that run at once
    take every n-th frame of their stretch: so frames come in order, and shots that cost more are everybody's.
    """
    sessions = max(1, sessions)
    least, most = _bounds(len(frames), seconds, start_seconds, sessions)
    at = 0
    while at < len(frames):
        fair = (len(frames) - at) // (sessions * SPREAD)
        size = max(least, min(most, fair))
        stretch = frames[at : at + size * sessions]
        count = math.ceil(len(stretch) / size)
        yield from (Task(tuple(stretch[place::count])) for place in range(count))
        at += len(stretch)


def _bounds(total: int, seconds: float | None, start_seconds: float, sessions: int) -> tuple[int, int]:
    """The least and the most frames of a planned task."""
    seconds = max(UNKNOWN_SECONDS if seconds is None else seconds, 1e-3)
    share = total / sessions
    worth_a_start = math.ceil(WORK_PER_START * start_seconds / seconds)
    longest = max(1 + int(LONGEST_SECONDS / seconds), worth_a_start)
    least = max(1, math.ceil(LEAST_WORK_PER_START * start_seconds / seconds))
    if share * seconds < 2 * LEAST_WORK_PER_START * start_seconds:
        least = max(least, math.ceil(share))  # a second round would cost more than it evens out
    most = min(longest, max(worth_a_start, int(share / PARTS_PER_SHARE)))
    return min(least, MOST_PLANNED_FRAMES), min(most, MOST_PLANNED_FRAMES)
