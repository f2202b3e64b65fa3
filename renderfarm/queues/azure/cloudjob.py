"""One job of the farm in Batch: a row of Batch jobs, of which the newest takes tasks.

A Batch job that has ended takes none; its tokens for storage, which can't be changed, outlive it. Frames that
are left then go on in the next generation: `shot-1a2b`, `shot-1a2b_2`, …
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, count

from azure.batch import models

from renderfarm.queues.azure import layout
from renderfarm.queues.azure.batch import CLOSED, Batch, Json, at, is_word
from renderfarm.queues.azure.refusals import ServiceRefusal
from renderfarm.queues.azure.submission import Submission
from renderfarm.words.work import Task

SELECTED = ("id", "stateTransitionTime", "executionInfo", "nodeInfo")
OVER = "state eq 'completed'"
ENDED = ("completed", "terminating", "deleting")


class CloudJob:
    """The Batch jobs of one job of the farm."""

    def __init__(self, batch: Batch, job: str) -> None:
        """Find the newest one of an earlier submit, if there is any."""
        self._batch = batch
        self._job = job
        self._generation = 0
        self.is_open = self._sealed = False
        """whether the newest Batch job takes tasks, as far as is known"""
        self._since: str | None = None
        """when the task ended that ended last, as the service spells it"""
        for self._generation, found in _generations(batch, job):
            self.is_open = not is_word(found.state, *ENDED)
            self._sealed = is_word(found.all_tasks_complete_mode, "terminatejob")

    @property
    def id(self) -> str:
        """Of the newest Batch job."""
        return layout.batch_id(self._job, max(self._generation, 1))

    @property
    def is_there(self) -> bool:
        """Whether there is a Batch job yet."""
        return self._generation > 0

    def tasks(self) -> Iterator[tuple[Json, bool]]:
        """All tasks, oldest Batch job first, with what they render and whether they may still come to run."""
        for generation in range(1, self._generation + 1):
            is_open = self.is_open and generation == self._generation
            name = layout.batch_id(self._job, generation)
            for row in self._batch.tasks(name, (*SELECTED[:3], "environmentSettings")):
                yield row, is_open

    def add(self, tasks: Iterable[Task], submission: Submission) -> list[Task]:
        """Hand tasks over and return them; those that are there already count as handed over."""
        left, added = iter(tasks), list[Task]()
        try:
            self._send(_noted(left, added), submission)
        except ServiceRefusal as refused:
            if refused.code not in CLOSED:
                raise
            self.is_open = False
            self._send(chain(added[:], _noted(left, added)), submission)
        return added

    def _send(self, tasks: Iterable[Task], submission: Submission) -> None:
        if not self.is_open:
            self._generation += 1
            while not self._batch.create_job(submission.job_body(self._generation)):
                self._generation += 1
            self.is_open, self._sealed, self._since = True, False, None
        self._batch.add_tasks(self.id, submission.task_bodies(tasks))

    def seal(self) -> None:
        """All tasks are there: let the Batch job end with the last of them, whether anybody looks or not."""
        if self.is_open and not self._sealed:
            # One that has ended meanwhile is found so by the next look, with all that it never ran.
            body = {"onAllTasksComplete": "terminatejob"}
            self._batch.order("PATCH", at("jobs", self.id), f"change job {self.id!r}", body, gone=CLOSED)
            self._sealed = True

    def changes(self) -> list[Json]:
        """Tasks that ended since the last call, maybe with some that it told: one listing, of those alone."""
        rows = list(self._batch.tasks(self.id, SELECTED, OVER, self._since))
        self._since = max((row["stateTransitionTime"] for row in rows), default=self._since)
        return rows

    def ending(self) -> str | None:
        """Why the newest Batch job has ended; None while it goes on."""
        found = self._batch.get_job(self.id)
        if found is not None and not is_word(found.state, *ENDED):
            return None
        info = found and found.execution_info
        return "JobNotFound" if found is None else (info and info.termination_reason) or "ended"

    def end(self, reason: str) -> None:
        """End the newest Batch job, if it goes on."""
        if self.is_there:
            self._batch.terminate_job(self.id, reason)
        self.is_open = False


def _noted(tasks: Iterator[Task], added: list[Task]) -> Iterator[Task]:
    """The tasks, each noted as it is walked."""
    for task in tasks:
        added.append(task)
        yield task


def end_all(batch: Batch, job: str, reason: str) -> bool:
    """End all Batch jobs of a job; False when there is none."""
    ended = [batch.terminate_job(found.id or "", reason) for _, found in _generations(batch, job)]
    return bool(ended)


def _generations(batch: Batch, job: str) -> Iterator[tuple[int, models.BatchJob]]:
    """The Batch jobs of a job, oldest first."""
    for generation in count(1):
        found = batch.get_job(layout.batch_id(job, generation))
        if found is None:
            return
        yield generation, found
