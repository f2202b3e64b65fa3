"""Where things lie in Blob storage, what they are called in Batch, and how tasks are spelled there."""

from __future__ import annotations

import hashlib
import itertools
import json
import re

from renderfarm.renderers.wildcards import ranges, spans
from renderfarm.words.work import Task

ASSETS = "assets"
PACKAGES = "packages"
RECORD = "in/job.json"
MANIFEST = "in/manifest.json"
INPUTS = "in/"
LOGS = "logs/"
TASK = "RENDERFARM_TASK"
"""variable that tells a task what to do: `{"frames":"1-3,9,-5","attempt":1,…}`"""

_LONGEST_CONTAINER = 63
_LONGEST_JOB = 50
"""leaves room for a generation in Batch's 64 characters"""
_MARK = 8
_NODE = re.compile(r"tvmps_([0-9a-f]{6})[0-9a-f]*_([dp])")


def container(prefix: str, name: str) -> str:
    """A container's name: `renderfarm-assets`. 3 to 63 of a-z, 0-9 and single hyphens (Blob storage's rule)."""
    wanted = f"{prefix}-{name}"
    return _fitted(wanted, re.sub(r"[^a-z0-9]+", "-", wanted.lower()).strip("-"), _LONGEST_CONTAINER)


def batch_id(job: str, generation: int = 1) -> str:
    """A job's id in Batch, up to 64 of A-Z, a-z, 0-9, _ and -; later generations go on where one ended."""
    plain = _fitted(job, re.sub(r"[^A-Za-z0-9_-]+", "-", job), _LONGEST_JOB)
    return plain if generation == 1 else f"{plain}_{generation}"


def task_id(task: Task) -> str:
    """A task's id in Batch: the farm's own, with the attempt from the second one on."""
    return task.id if task.attempt == 1 else f"{task.id}_{task.attempt}"


def asked(task: Task, retries: int) -> str:
    """What a task is told to do, in its environment: its frames, and how often these may be tried again."""
    return json.dumps({"frames": spans(task.frames), "attempt": task.attempt, "retries": retries})


def asked_of(text: str) -> tuple[Task, int]:
    """The inverse; raises ValueError."""
    try:
        said = json.loads(text)
        frames = tuple(itertools.chain.from_iterable(ranges(said["frames"])))
        if not frames:
            raise ValueError("it has no frames")
        return Task(frames, int(said["attempt"])), int(said.get("retries", 0))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no task: {error}") from error


def node_name(node: str) -> str:
    """A node's id as people can tell it apart: `tvmps_<64 hex digits>_p` reads `3fa91c-spot`."""
    match = _NODE.fullmatch(node)
    return f"{match[1]}-{'spot' if match[2] == 'p' else 'dedicated'}" if match else node


def _fitted(wanted: str, plain: str, longest: int) -> str:
    """The plain name; where it is not the wanted one, or too long, with a mark that tells it from others."""
    if plain == wanted and len(plain) <= longest:
        return plain
    mark = hashlib.sha256(wanted.encode()).hexdigest()[:_MARK]
    return f"{plain[: longest - _MARK - 1].rstrip('-')}-{mark}"
