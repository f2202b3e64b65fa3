"""A hundred thousand tasks into a job: a hundred at a time, in order, several requests under way.

Tasks are compiled once and their ids follow from their frames, so adding one twice does no harm: a task that is
there already counts as added.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from renderfarm.errors import PoolError
from renderfarm.queues.azure.at_once import at_once
from renderfarm.queues.azure.batch import Batch
from renderfarm.queues.azure.refusals import LONGEST_PAUSE_SECONDS, ServiceRefusal, hint

MOST = 100
"""tasks in a request: the service's limit"""
LARGEST_BODY_BYTES = 900_000
"""of a request; the service takes less than 1 MB"""
CONCURRENCY = 4
TRIES = 8
"""of a task that the service failed to add for reasons of its own"""
TOO_LARGE = "RequestBodyTooLarge"

Chunk = dict[str, str]
"""task id to its JSON"""


def add_tasks(
    batch: Batch, job: str, tasks: Iterable[Mapping[str, Any]], concurrency: int = CONCURRENCY
) -> int:
    """Add tasks and return how many there were; the first failure ends it, after what is under way.

    The iterable is walked no further than the requests that are under way.
    """
    return sum(at_once((partial(_add, batch, job, chunk) for chunk in chunks(tasks)), concurrency))


def chunks(tasks: Iterable[Mapping[str, Any]]) -> Iterator[Chunk]:
    """Tasks in groups that fit into a request, by number and by bytes."""
    chunk: Chunk = {}
    size = 0
    for task in tasks:
        text = json.dumps(task, separators=(",", ":"))
        if chunk and (len(chunk) == MOST or size + len(text) > LARGEST_BODY_BYTES):
            yield chunk
            chunk, size = {}, 0
        chunk[str(task["id"])] = text
        size += len(text) + 1
    if chunk:
        yield chunk


def _add(batch: Batch, job: str, chunk: Chunk) -> int:
    """Add a chunk; what the service failed at is tried again, what it finds too large is halved."""
    left = chunk
    for attempt in range(TRIES):
        try:
            results = batch.send_tasks(job, f'{{"value":[{",".join(left.values())}]}}')
        except ServiceRefusal as refused:
            if refused.code != TOO_LARGE and refused.status != 413:
                raise
            return sum(_add(batch, job, half) for half in _halves(left, refused))
        done = {str(result.get("taskId")) for result in results if _is_there(job, result)}
        left = {task: text for task, text in left.items() if task not in done}
        if not left:
            return len(chunk)
        pause = min(batch.backoff_seconds * 2**attempt, LONGEST_PAUSE_SECONDS)
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
    message = (
        f"Azure Batch failed {TRIES} times to add {len(left)} tasks to {job!r}, first {next(iter(left))!r}."
    )
    raise ServiceRefusal(message, "Resume the job in a few minutes.", code="ServerError", status=500)


def _halves(chunk: Chunk, refused: ServiceRefusal) -> tuple[Chunk, Chunk]:
    if len(chunk) == 1:
        message = f"Task {next(iter(chunk))!r} is larger than Azure Batch takes."
        raise PoolError(message, "Use a smaller --chunk.") from refused
    items = list(chunk.items())
    return dict(items[: len(items) // 2]), dict(items[len(items) // 2 :])


def _is_there(job: str, result: Mapping[str, Any]) -> bool:
    """Whether a task is there now; False when trying again may help, ServiceRefusal when it won't."""
    status = str(result.get("status")).lower()
    error = result.get("error") or {}
    code = str(error.get("code", ""))
    if status == "success" or code == "TaskExists":
        return True
    if status == "servererror":
        return False
    message = (error.get("message") or {}).get("value", "").splitlines()
    details = "; ".join(f"{item['key']}: {item['value']}" for item in error.get("values") or ())
    told = " ".join(filter(None, [*message[:1], details]))
    what = f"Azure Batch can't add task {result.get('taskId')!r} to {job!r}: {told}"
    raise ServiceRefusal(f"{what.strip()} ({code})", hint(code), code=code, status=400)
