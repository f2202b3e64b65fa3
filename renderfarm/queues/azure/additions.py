"""A hundred thousand tasks into a job: a hundred at a time, in order, several requests under way.

Tasks are compiled once and their ids follow from their frames, so adding one twice does no harm: a task that is
there already counts as added.
"""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from renderfarm.errors import PoolError
from renderfarm.queues.azure.refusals import BACKOFF_SECONDS, LONGEST_PAUSE_SECONDS, ServiceRefusal, hint

AT_ONCE = 100
"""tasks in a request: the service's limit"""
LARGEST_BODY_BYTES = 900_000
"""of a request; the service takes less than 1 MB"""
TRIES = 8
"""of a task that the service failed to add for reasons of its own"""
TOO_LARGE = "RequestBodyTooLarge"
_OUTER_BYTES = len('{"value":[]}')

Chunk = dict[str, str]
"""task id to its JSON"""
Send = Callable[[str, str], list[dict[str, Any]]]
"""job and body to what became of each task"""


class Additions:
    """Adds tasks through `send`; safe to use from several threads."""

    def __init__(self, send: Send, backoff_seconds: float | None = None) -> None:
        self._send = send
        self._backoff_seconds = BACKOFF_SECONDS if backoff_seconds is None else backoff_seconds

    def add(
        self,
        job: str,
        tasks: Iterable[Mapping[str, Any]],
        concurrency: int,
        added: Callable[[int], None] | None = None,
    ) -> int:
        """Add tasks and return how many there were; the first failure ends it, after what is under way."""
        total = 0
        under_way: deque[tuple[int, Future[None]]] = deque()
        with ThreadPoolExecutor(concurrency, thread_name_prefix="add-tasks") as threads:
            for chunk in chunks(tasks):
                under_way.append((len(chunk), threads.submit(self._whole, job, chunk)))
                if len(under_way) >= concurrency:
                    total += _finished(under_way, added, total)
            while under_way:
                total += _finished(under_way, added, total)
        return total

    def _whole(self, job: str, chunk: Chunk) -> None:
        """Add a chunk; what the service failed at is tried again, what it finds too large is halved."""
        for attempt in range(TRIES):
            try:
                chunk = self._left(job, chunk)
            except ServiceRefusal as refused:
                if refused.code != TOO_LARGE and refused.status != 413:
                    raise
                self._halved(job, chunk, refused)
                return
            if not chunk:
                return
            pause = min(self._backoff_seconds * 2**attempt, LONGEST_PAUSE_SECONDS)
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
        first = next(iter(chunk))
        message = f"Azure Batch failed {TRIES} times to add {len(chunk)} tasks to {job!r}, first {first!r}."
        raise ServiceRefusal(message, "Resume the job in a few minutes.", code="ServerError", status=500)

    def _halved(self, job: str, chunk: Chunk, refused: ServiceRefusal) -> None:
        if len(chunk) == 1:
            message = f"Task {next(iter(chunk))!r} is larger than Azure Batch takes."
            raise PoolError(message, "Use a smaller --chunk.") from refused
        items = list(chunk.items())
        for half in (items[: len(items) // 2], items[len(items) // 2 :]):
            self._whole(job, dict(half))

    def _left(self, job: str, chunk: Chunk) -> Chunk:
        """Send a chunk; the part that the service failed to add, and what it didn't mention."""
        results = self._send(job, f'{{"value":[{",".join(chunk.values())}]}}')
        done = {str(result.get("taskId")) for result in results if _added(job, result)}
        return {task: text for task, text in chunk.items() if task not in done}


def chunks(tasks: Iterable[Mapping[str, Any]]) -> Iterator[Chunk]:
    """Tasks in groups that fit into a request, by number and by bytes."""
    chunk: Chunk = {}
    size = _OUTER_BYTES
    for task in tasks:
        text = json.dumps(task, separators=(",", ":"))
        if chunk and (len(chunk) == AT_ONCE or size + len(text) + 1 > LARGEST_BODY_BYTES):
            yield chunk
            chunk, size = {}, _OUTER_BYTES
        chunk[str(task["id"])] = text
        size += len(text) + 1
    if chunk:
        yield chunk


def _finished(
    under_way: deque[tuple[int, Future[None]]], added: Callable[[int], None] | None, before: int
) -> int:
    """Wait for the oldest request; how many tasks it had."""
    count, future = under_way.popleft()
    future.result()
    if added is not None:
        added(before + count)
    return count


def _added(job: str, result: Mapping[str, Any]) -> bool:
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
    told = (
        f"Azure Batch can't add task {result.get('taskId')!r} to {job!r}: {' '.join([*message[:1], details])}"
    )
    raise ServiceRefusal(f"{told.strip()} ({code})", hint(code), code=code, status=400)
