"""How jobs stop: disabled, terminated, deleted, at their wall clock, or because all their tasks are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from tests.batch_service.folders import job_folder, wipe
from tests.batch_service.runs import LONG_SECONDS, Runner
from tests.batch_service.scheduler import Scheduler
from tests.batch_service.state import Body, Job, Service, Task
from tests.batch_service.times import parse_duration

WATCH_SECONDS = 0.02
"""how often an ending job looks whether its processes are gone"""
DISSOLVED_TASKS = 2000
AFTER_SECONDS = 0.2
"""between the request and the end of a job that has nothing to wait for"""


class Endings:
    """Ends jobs step by step: stop what runs, run the release task, say so."""

    def __init__(self, service: Service, scheduler: Scheduler, runner: Runner) -> None:
        self.service = service
        self.scheduler = scheduler
        self.runner = runner
        self.job_ended: Callable[[Job], None] = lambda job: None

    def task_ended(self, task: Task, options: Body, has_succeeded: bool) -> None:
        """What a job does when one of its tasks has ended."""
        job = task.job
        if job.state not in ("active", "disabling", "disabled", "enabling"):
            return
        if task.manager is not None and task.manager.get("killJobOnCompletion", True):
            self.terminate(job, "JMComplete")
            return
        if str(job.body.get("onTaskFailure", "noaction")).lower() == "performexitoptionsjobaction":
            action = str(options.get("jobAction") or ("none" if has_succeeded else "terminate")).lower()
            if action == "terminate":
                self.terminate(job, "TaskFailed")
                return
            if action == "disable" and job.state == "active":
                self.disable(job, "requeue")
        self.check_all_complete(job)

    def check_all_complete(self, job: Job) -> None:
        """Terminates the job if it wants to end with its tasks and they have all ended."""
        wants = str(job.body.get("onAllTasksComplete", "noaction")).lower() == "terminatejob"
        is_done = job.counts.get("completed", 0) == len(job.tasks)
        if wants and is_done and job.state == "active":
            self.terminate(job, "AllTasksComplete")

    def limit(self, job: Job) -> None:
        """Sets the alarm for the job's wall clock, counted from its creation."""
        for timer in job.timers:
            timer.cancel()
        job.timers.clear()
        text = (job.body.get("constraints") or {}).get("maxWallClockTime")
        seconds = parse_duration(text).total_seconds() if text else LONG_SECONDS
        if seconds < LONG_SECONDS:
            loop = asyncio.get_running_loop()
            job.timers.append(loop.call_later(seconds, self._time_is_up, job))

    def _time_is_up(self, job: Job) -> None:
        if job.state in ("active", "disabling", "disabled", "enabling"):
            self.terminate(job, "MaxWallClockTimeExpiry")

    def disable(self, job: Job, option: str) -> None:
        """Stops what runs (`requeue`, `terminate`) or waits for it (`wait`); then the job is disabled."""
        self.service.move(job.body, "disabling")
        self._begin(job, self._disable(job, option))

    async def _disable(self, job: Job, option: str) -> None:
        await self.service.clock.pause(AFTER_SECONDS)
        if option != "wait":
            self._stop_all(job, "requeue" if option == "requeue" else "terminated")
        await self._quiet(job)
        self.service.move(job.body, "disabled")

    def enable(self, job: Job) -> None:
        self.service.move(job.body, "enabling")
        self._begin(job, self._enable(job))

    async def _enable(self, job: Job) -> None:
        await self.service.clock.pause(AFTER_SECONDS)
        self.service.move(job.body, "active")
        self.check_all_complete(job)
        self.scheduler.wake()

    def terminate(self, job: Job, reason: str) -> None:
        """Ends what runs; what waits stays active in a completed job."""
        self.service.move(job.body, "terminating")
        job.body["executionInfo"]["terminateReason"] = reason
        self._begin(job, self._terminate(job))

    async def _terminate(self, job: Job) -> None:
        await self.service.clock.pause(AFTER_SECONDS)
        self._stop_all(job, "terminated")
        if self.service.faults.has_defect("terminate_ends_queued"):
            for task in [task for task in job.tasks.values() if task.state == "active"]:
                self.scheduler.terminate(task)
        await self._quiet(job)
        await self.runner.release(job)
        job.body["executionInfo"]["endTime"] = self.service.clock.stamp()
        self.service.move(job.body, "completed")
        self.job_ended(job)

    def delete(self, job: Job) -> None:
        self.service.move(job.body, "deleting")
        self._begin(job, self._delete(job))

    async def _delete(self, job: Job) -> None:
        await self.service.clock.pause(AFTER_SECONDS)
        self._stop_all(job, "deleted")
        await self._quiet(job)
        await self.runner.release(job)
        for pool in self.service.pools.values():
            pool.jobs.pop(job.key, None)
            for node in pool.nodes.values():
                wipe(job_folder(node, job))
        self.service.jobs.pop(job.key, None)
        self.job_ended(job)
        await _dissolve(job)

    def _begin(self, job: Job, work: Coroutine[None, None, None]) -> None:
        if job.ending is not None:
            job.ending.cancel()
        job.ending = self.service.spawn(work)

    def _stop_all(self, job: Job, reason: str) -> None:
        for run in list(job.runs):
            self.scheduler.stop(run, reason)

    async def _quiet(self, job: Job) -> None:
        while job.runs:
            await asyncio.sleep(WATCH_SECONDS)


async def _dissolve(job: Job) -> None:
    """Lets go of a deleted job's tasks bit by bit: a hundred thousand at once would hold up all requests."""
    for held in (job.changes, job.ready, job.order, job.dependents, job.range_dependents):
        held.clear()
    while job.tasks:
        for _ in range(min(DISSOLVED_TASKS, len(job.tasks))):
            job.tasks.popitem()
        await asyncio.sleep(0)
