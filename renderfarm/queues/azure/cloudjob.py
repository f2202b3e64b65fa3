"""One job of the farm in Batch: a row of Batch jobs, of which the newest takes tasks.

A Batch job that has ended takes none, and one whose tokens for storage run out can't be given new ones. Then
the frames that are left go on in the next generation: `shot-1a2b`, `shot-1a2b_2`, …
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from azure.batch import models

from renderfarm.errors import PoolError
from renderfarm.queues.azure import jobs, layout
from renderfarm.queues.azure.batch import Batch, Json, ServiceRefusal, is_word
from renderfarm.queues.azure.jobs import Access
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.words.model import Request, Task

SELECTED = ("id", "stateTransitionTime", "executionInfo")
OVER = "state eq 'completed'"
ENDED = ("completed", "terminating", "deleting")
CLOSED = frozenset({"JobCompleted", "JobTerminating", "JobBeingTerminated", "JobBeingDeleted", "JobNotFound"})
"""why a job takes no tasks"""
MOST_GENERATIONS = 50
RENEWAL_SECONDS = 3600.0
"""before tokens run out"""


class CloudJob:
    """The Batch jobs of one job of the farm."""

    def __init__(
        self,
        batch: Batch,
        settings: CloudSettings,
        job: str,
        request: Request,
        pool: Callable[[], Json],
        access: Callable[[], Access],
    ) -> None:
        self._batch = batch
        self._settings = settings
        self._job = job
        self._request = request
        self._pool = pool
        self._new_access = access
        self._generation = 0
        self._access: Access | None = None
        self._expires = float("inf")
        self._open = self._sealed = False
        self._since: str | None = None
        self._seen: set[tuple[str, str]] = set()

    @property
    def id(self) -> str:
        """Of the newest Batch job."""
        return layout.batch_id(self._job, max(self._generation, 1))

    @property
    def is_there(self) -> bool:
        """Whether there is a Batch job yet."""
        return self._generation > 0

    @property
    def is_open(self) -> bool:
        """Whether that one takes tasks, as far as is known."""
        return self._open

    @property
    def expires_soon(self) -> bool:
        """Whether what is queued may find its tokens run out."""
        return self._open and time.time() > self._expires - min(RENEWAL_SECONDS, self._settings.job_hours * 360)

    def attach(self) -> None:
        """Find the newest Batch job of an earlier submit, if there is any."""
        for generation, found in _generations(self._batch, self._job):
            self._generation = generation
            self._open = not is_word(found.state, *ENDED)
            marks = {item.name: item.value for item in found.metadata or ()}
            self._expires = float(marks.get("expires", "inf"))
            self._sealed = is_word(found.all_tasks_complete_mode, "terminatejob")

    def tasks(self) -> Iterator[tuple[Json, bool]]:
        """All tasks, oldest Batch job first, with what they render and whether they may still come to run."""
        for generation in range(1, self._generation + 1):
            is_open = self._open and generation == self._generation
            name = layout.batch_id(self._job, generation)
            for row in self._batch.changed_tasks(name, None, (*SELECTED, "environmentSettings")):
                yield row, is_open

    def ended(self) -> Iterator[Json]:
        """All tasks of the newest Batch job that have ended."""
        return self._batch.changed_tasks(self.id, None, SELECTED, OVER)

    def add(self, tasks: Iterable[Task], added: Callable[[Task], None]) -> None:
        """Hand tasks over; those that are there already count as handed over."""
        waiting: list[Task] = []

        def bodies() -> Iterator[dict[str, Any]]:
            for task in tasks:
                waiting.append(task)
                added(task)
                yield jobs.task_body(task, self._request, self._ready(), self._settings)

        try:
            self._batch.add_tasks(self.id if self._open else self._begin(), bodies())
        except ServiceRefusal as refused:
            if refused.code not in CLOSED:
                raise
            self._open = False
            again = [jobs.task_body(task, self._request, self._ready(), self._settings) for task in waiting]
            self._batch.add_tasks(self.id, again)

    def _ready(self) -> Access:
        if not self._open:
            self._begin()
        if self._access is None:
            self._access = self._new_access()
        return self._access

    def _begin(self) -> str:
        """The next generation; its tokens are new."""
        self._access = self._new_access()
        for generation in count(self._generation + 1):
            body = jobs.job_body(
                self._settings, self._job, generation, self._request, self._access, self._pool()
            )
            self._generation = generation
            if self._batch.create_job(models.BatchJobCreateOptions(body)):
                break
            if generation >= MOST_GENERATIONS:
                message = f"Batch has {generation} jobs named like {self.id} already."
                raise PoolError(message, "Cancel this job and submit the scene again.")
        self._open, self._sealed = True, False
        self._expires = self._access.expires
        self._since = None
        self._seen.clear()
        return self.id

    def seal(self) -> None:
        """All tasks are there: let the Batch job end with the last of them, whether anybody looks or not."""
        if self._open and not self._sealed:
            options = models.BatchJobUpdateOptions(all_tasks_complete_mode="terminatejob")
            try:
                self._batch.patch_job(self.id, options)
            except ServiceRefusal as refused:
                if refused.code not in CLOSED:
                    raise
                self._open = False
            self._sealed = True

    def changes(self) -> list[Json]:
        """Tasks that ended since the last call: one listing, of those alone."""
        rows = []
        for row in self._batch.changed_tasks(self.id, self._since, SELECTED, OVER):
            key = (row["id"], row["stateTransitionTime"])
            if key not in self._seen:
                rows.append(row)
        if rows:
            newest = max(row["stateTransitionTime"] for row in rows)
            if newest != self._since:
                self._seen.clear()
            self._since = newest
            self._seen |= {
                (row["id"], row["stateTransitionTime"]) for row in rows if row["stateTransitionTime"] == newest
            }
        return rows

    def ending(self) -> str | None:
        """Why the newest Batch job has ended; None while it goes on."""
        found = self._batch.get_job(self.id, select=("id", "state", "executionInfo"))
        if found is None:
            self._open = False
            return "JobNotFound"
        if not is_word(found.state, *ENDED):
            return None
        self._open = False
        info = found.execution_info
        return (info.termination_reason if info else None) or "ended"

    def renew(self, left: Iterable[Task]) -> None:
        """Go on with these tasks in a new generation, with new tokens."""
        self.end("renewed")
        self.add(left, lambda _: None)
        self.seal()

    def end(self, reason: str) -> None:
        """End the newest Batch job, if it goes on."""
        if self.is_there:
            self._batch.terminate_job(self.id, reason)
        self._open = False


def end_all(batch: Batch, job: str, reason: str) -> bool:
    """End all Batch jobs of a job; False when there is none."""
    ended = [batch.terminate_job(found.id or "", reason) for _, found in _generations(batch, job)]
    return bool(ended)


def _generations(batch: Batch, job: str) -> Iterator[tuple[int, models.BatchJob]]:
    """The Batch jobs of a job, oldest first."""
    for generation in range(1, MOST_GENERATIONS):
        found = batch.get_job(layout.batch_id(job, generation))
        if found is None:
            return
        yield generation, found
