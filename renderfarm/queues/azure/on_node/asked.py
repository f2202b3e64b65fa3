"""What one task of Batch is to do, as text in its environment: `{"frames":"1-3,9,-5","attempt":1,…}`."""

from __future__ import annotations

import itertools
import json

from renderfarm.renderers.wildcards import ranges, spans
from renderfarm.words.work import Task

VARIABLE = "RENDERFARM_TASK"


def written(task: Task, retries: int) -> str:
    """A task, and how often its frames may be tried again."""
    return json.dumps({"frames": spans(task.frames), "attempt": task.attempt, "retries": retries})


def read(text: str) -> tuple[Task, int]:
    """The inverse of `written`; raises ValueError."""
    try:
        said = json.loads(text)
        frames = tuple(itertools.chain.from_iterable(ranges(said["frames"])))
        if not frames:
            raise ValueError("it has no frames")
        return Task(frames, int(said["attempt"])), int(said.get("retries", 0))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no task: {error}") from error
