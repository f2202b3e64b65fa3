"""What one task of Batch is to do, as text in its environment: `{"frames":"1-3,9,-5","attempt":1,…}`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from renderfarm.words.work import Task

VARIABLE = "RENDERFARM_TASK"
_SPAN = re.compile(r"(-?\d+)(?:-(-?\d+))?")


def written(task: Task, retries: int) -> str:
    """A task, and how often its frames may be tried again."""
    return json.dumps({"frames": spans(task.frames), "attempt": task.attempt, "retries": retries})


def read(text: str) -> tuple[Task, int]:
    """The inverse of `written`; raises ValueError."""
    try:
        said = json.loads(text)
        frames = tuple(frame for span in said["frames"].split(",") for frame in _frames(span))
        return Task(frames, int(said["attempt"])), int(said.get("retries", 0))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no task: {error}") from error


def spans(frames: Iterable[int]) -> str:
    """Frames in their order; runs of ascending neighbours are spans."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _frames(span: str) -> Iterator[int]:
    match = _SPAN.fullmatch(span)
    if match is None:
        raise ValueError(f"{span!r} is no span of frames")
    return iter(range(int(match[1]), int(match[2] or match[1]) + 1))
