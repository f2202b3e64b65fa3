"""One task on one node, from its job's preparation to the upload of its outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.batch_service.folders import (
    fresh,
    job_folder,
    preparation_id,
    release_id,
    task_environment,
    task_root,
)
from tests.batch_service.processes import Processes, TaskError
from tests.batch_service.state import Body, Job, Node, Preparation, Service, Task
from tests.batch_service.times import parse_duration
from tests.batch_service.transfers import fetch_all, send_all

if TYPE_CHECKING:
    from tests.batch_service.scheduler import Scheduler

LONG_SECONDS = 10 * 365 * 86400.0
"""limits beyond this count as none"""


@dataclass(eq=False, slots=True)
class Run:
    """A task's hold on a node; `stop` is why it was broken off."""

    task: Task
    node: Node
    slots: int
    work: asyncio.Task[None] | None = None
    stop: str | None = None


@dataclass(slots=True)
class Outcome:
    """How a task ended; without an exit code when its command was never started or was killed."""

    exit_code: int | None = None
    failure: TaskError | None = None
    phase: str = "command"
    """command, preprocessing or upload"""
    notes: Body = field(default_factory=dict)

    @property
    def has_succeeded(self) -> bool:
        return self.failure is None


class PreparationError(Exception):
    """The job preparation task failed on this node: the task goes back to the queue."""


class Runner:
    """Carries out runs; tells the scheduler what became of them."""

    def __init__(self, service: Service, processes: Processes) -> None:
        self.service = service
        self.processes = processes
        self.scheduler: Scheduler

    async def carry_out(self, run: Run) -> None:
        """The whole life of a run; a cancelled one ends by its `stop`."""
        outcome: Outcome | None = None
        try:
            await self._prepare(run)
            outcome = await self._limited(run)
        except PreparationError:
            run.stop = "unprepared"
        except asyncio.CancelledError:
            if run.stop is None:
                raise
        self.scheduler.finish(run, outcome)

    async def _limited(self, run: Run) -> Outcome:
        limit = seconds_of(run.task.body["constraints"].get("maxWallClockTime"))
        try:
            async with asyncio.timeout(limit):
                return await self._attempts(run)
        except TimeoutError:
            message = "The task was ended: it ran longer than its maximum wall clock time."
            return Outcome(failure=TaskError("TaskEnded", message))

    async def _attempts(self, run: Run) -> Outcome:
        task, node = run.task, run.node
        self.scheduler.started(run)
        folder = fresh(node.folder / task_root(task.job, str(task.body["id"])))
        allowed = int(task.body["constraints"].get("maxTaskRetryCount", 0))
        if self.service.faults.has_defect("retry_off_by_one") and allowed >= 0:
            allowed = max(0, allowed - 1)
        while True:
            outcome = await self._attempt(run, folder)
            info = task.body["executionInfo"]
            is_final = outcome.failure is None or outcome.phase != "command" or outcome.exit_code is None
            if is_final or 0 <= allowed <= info["retryCount"]:
                break
            self.scheduler.retried(run)
        return await self._outputs(run, folder, outcome)

    async def _attempt(self, run: Run, folder: Path) -> Outcome:
        task, node, own = run.task, run.node, run.task.body
        if node.is_full:
            return Outcome(
                failure=TaskError("DiskFull", "There is not enough disk space on the node."),
                phase="preprocessing",
            )
        environment = task_environment(self.service, node, task.job, str(own["id"]), folder, own)
        try:
            await fetch_all(self.service, own.get("resourceFiles") or [], folder / "wd")
            if settings := own.get("multiInstanceSettings"):
                await fetch_all(self.service, settings.get("commonResourceFiles") or [], folder)
                await self._coordinate(settings["coordinationCommandLine"], environment, folder)
        except TaskError as failure:
            return Outcome(failure=failure, phase="preprocessing")
        return await self.command(own["commandLine"], environment, folder)

    async def _coordinate(self, command_line: str, environment: dict[str, str], folder: Path) -> None:
        code = await self.processes.run(command_line, environment, folder / "wd", folder, keep=True)
        if code:
            raise TaskError(
                "CoordinationCommandFailed", f"The coordination command ended with exit code {code}."
            )

    async def command(
        self, command_line: str, environment: dict[str, str], folder: Path, keep: bool = False
    ) -> Outcome:
        """One command with its streams in `folder`, in the working directory below it."""
        try:
            code = await self.processes.run(command_line, environment, folder / "wd", folder, keep)
        except TaskError as failure:
            return Outcome(failure=failure, phase="preprocessing")
        if code == 0:
            return Outcome(0)
        details = {"Message": f"The task process exited with exit code {code}."}
        message = "The task exited with an exit code representing a failure"
        return Outcome(code, TaskError("FailureExitCode", message, details=details))

    async def _outputs(self, run: Run, folder: Path, outcome: Outcome) -> Outcome:
        own = run.task.body
        environment = task_environment(self.service, run.node, run.task.job, str(own["id"]), folder, own)
        try:
            files = own.get("outputFiles") or []
            await send_all(self.service, files, folder / "wd", environment, outcome.has_succeeded)
        except TaskError as failure:
            if outcome.failure is None:
                return Outcome(outcome.exit_code, failure, "upload")
        return outcome

    async def _prepare(self, run: Run) -> None:
        """Runs the job's preparation task unless this node has done so since it was last set up."""
        job, node = run.task.job, run.node
        specification = job.body.get("jobPreparationTask")
        if not specification:
            return
        preparation = self.preparation(job, node)
        if preparation.work is None:
            preparation.work = self.service.spawn(self._prepare_once(preparation, job, node, specification))
        await asyncio.shield(preparation.work)
        if preparation.has_failed:
            raise PreparationError

    def preparation(self, job: Job, node: Node) -> Preparation:
        """The record of this job on this node, new when the node was set up again since."""
        known = job.preparations.get(node.key)
        if known is None or known.incarnation != node.incarnation:
            status = {"poolId": node.pool.body["id"], "nodeId": node.id, "nodeUrl": node.body["url"]}
            known = job.preparations[node.key] = Preparation(node, node.incarnation, status)
        return known

    async def _prepare_once(self, preparation: Preparation, job: Job, node: Node, specification: Body) -> None:
        own_id = preparation_id(job)
        info = self._side_task_started(preparation, "jobPreparationTaskExecutionInfo", job, own_id)
        info["retryCount"] = 0
        constraints = specification.get("constraints") or {}
        allowed = int(constraints.get("maxTaskRetryCount") or 0)

        async def once() -> Outcome:
            return await self._side_task(job, node, own_id, specification, constraints.get("maxWallClockTime"))

        outcome = await retrying(once, allowed, lambda: self._count_retry(info))
        self.side_task_ended(info, outcome)
        preparation.has_failed = not outcome.has_succeeded and specification.get("waitForSuccess", True)

    def _count_retry(self, info: Body) -> None:
        info["retryCount"] += 1
        info["lastRetryTime"] = self.service.clock.stamp()

    def _side_task_started(self, preparation: Preparation, kind: str, job: Job, own_id: str) -> Body:
        root = task_root(job, own_id)
        info: Body = {
            "startTime": self.service.clock.stamp(),
            "state": "running",
            "taskRootDirectory": root,
            "taskRootDirectoryUrl": f"{preparation.node.body['url']}/files/{root}",
        }
        preparation.status[kind] = info
        return info

    def side_task_ended(self, info: Body, outcome: Outcome) -> None:
        """Writes how a start, preparation or release task ended."""
        info["state"] = "completed"
        info["endTime"] = self.service.clock.stamp()
        info["result"] = "success" if outcome.has_succeeded else "failure"
        if outcome.exit_code is not None:
            info["exitCode"] = outcome.exit_code
        if outcome.failure is not None:
            info["failureInfo"] = outcome.failure.info()

    async def _side_task(
        self, job: Job, node: Node, own_id: str, specification: Body, limit: str | None
    ) -> Outcome:
        folder = job_folder(node, job) / own_id
        (folder / "wd").mkdir(parents=True, exist_ok=True)
        environment = task_environment(self.service, node, job, own_id, folder, specification)
        try:
            async with asyncio.timeout(seconds_of(limit)):
                await fetch_all(self.service, specification.get("resourceFiles") or [], folder / "wd")
                return await self.command(specification["commandLine"], environment, folder)
        except TaskError as failure:
            return Outcome(failure=failure, phase="preprocessing")
        except TimeoutError:
            return Outcome(
                failure=TaskError("TaskEnded", "The task ran longer than its maximum wall clock time.")
            )

    async def release(self, job: Job) -> None:
        """Runs the job's release task on every node that prepared the job and is still there."""
        specification = job.body.get("jobReleaseTask")
        prepared = [known for known in job.preparations.values() if known.node.incarnation == known.incarnation]
        if specification and not job.release_is_done:
            job.release_is_done = True
            await asyncio.gather(
                *(self._release_on(known, job, specification) for known in prepared if _is_up(known.node))
            )

    async def _release_on(self, preparation: Preparation, job: Job, specification: Body) -> None:
        own_id = release_id(job)
        info = self._side_task_started(preparation, "jobReleaseTaskExecutionInfo", job, own_id)
        limit = specification.get("maxWallClockTime") or "PT15M"
        self.side_task_ended(info, await self._side_task(job, preparation.node, own_id, specification, limit))


def _is_up(node: Node) -> bool:
    return node.state in ("idle", "running", "offline")


async def retrying(once: Callable[[], Awaitable[Outcome]], allowed: int, count: Callable[[], None]) -> Outcome:
    """Repeats a task that ends with a bad exit code, `allowed` times at most (-1: without end)."""
    done = 0
    while True:
        outcome = await once()
        if outcome.failure is None or outcome.exit_code is None or 0 <= allowed <= done:
            return outcome
        done += 1
        count()


def seconds_of(duration: str | None) -> float | None:
    """A limit in seconds; None for no limit."""
    if not duration:
        return None
    seconds = parse_duration(duration).total_seconds()
    return seconds if seconds < LONG_SECONDS else None
