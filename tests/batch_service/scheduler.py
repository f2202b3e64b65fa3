"""Which task runs where and when, and what becomes of it: the states of tasks change here and nowhere else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.batch_service.dependencies import link, satisfy, unlink
from tests.batch_service.processes import TaskError
from tests.batch_service.runs import Outcome, Run, Runner
from tests.batch_service.state import Body, Job, Node, Pool, Service, Task

if TYPE_CHECKING:
    from tests.batch_service.endings import Endings

ENDED = TaskError("TaskEnded", "Task was ended by user request")
COUNTED_AS = {"preparing": "running"}
SWEEP_AT = 1000
"""stale entries in a job's list of changes, beyond twice its tasks, that make it worth sweeping"""


class Scheduler:
    """Starts ready tasks on free slots whenever it is woken; never looks at tasks that are not ready."""

    def __init__(self, service: Service, runner: Runner) -> None:
        self.service = service
        self.runner = runner
        self.endings: Endings

    async def loop(self) -> None:
        while True:
            await self.service.wake.wait()
            self.service.wake.clear()
            for pool in list(self.service.pools.values()):
                self._assign(pool)

    def wake(self) -> None:
        self.service.wake.set()

    def add(self, task: Task) -> None:
        """Takes a new task in, and queues it unless it has to wait for others."""
        job = task.job
        job.tasks[task.key] = task
        job.order.append(task)
        job.changes.append((task.body["stateTransitionTime"], task))
        self._count(task, "active", 1)
        if "dependsOn" in task.body and not self.service.faults.has_defect("dependencies_ignored"):
            link(task)
        if not task.missing:
            self._queue(task)

    def _queue(self, task: Task, first: bool = False) -> None:
        task.is_queued = True
        if first:
            task.job.ready.appendleft(task)
        else:
            task.job.ready.append(task)
        self.wake()

    def _count(self, task: Task, state: str, by: int) -> None:
        job, kind = task.job, COUNTED_AS.get(state, state)
        kinds = [kind]
        if kind == "completed":
            kinds.append("succeeded" if task.body["executionInfo"].get("result") == "success" else "failed")
        for name in kinds:
            job.counts[name] = job.counts.get(name, 0) + by
            job.slot_counts[name] = job.slot_counts.get(name, 0) + by * task.required_slots

    def _move(self, task: Task, state: str, info: Body) -> None:
        self._count(task, task.state, -1)
        task.body["executionInfo"] = info
        stamp = self.service.shift(task.body, state)
        self._count(task, state, 1)
        job = task.job
        job.changes.append((stamp, task))
        if len(job.changes) > 2 * len(job.tasks) + SWEEP_AT:
            job.changes = [entry for entry in job.changes if is_current(entry)]

    def _assign(self, pool: Pool) -> None:
        jobs = [job for job in pool.jobs.values() if job.ready and job.state == "active"]
        nodes = [node for node in pool.nodes.values() if node.can_work and node.free_slots > 0]
        while jobs and nodes:
            job = min(jobs, key=lambda item: _rank(pool, item))
            task = self._next(job, pool)
            node = _pick(pool, nodes, task) if task else None
            if task is None or node is None:
                jobs.remove(job)
                continue
            job.ready.popleft()
            self._start(task, node)
            if node.free_slots <= 0:
                nodes.remove(node)

    def _next(self, job: Job, pool: Pool) -> Task | None:
        limit = job.body.get("maxParallelTasks", -1)
        if 0 <= limit <= len(job.runs):
            return None
        slots = pool.body["taskSlotsPerNode"]
        while job.ready:
            task = job.ready[0]
            if task.is_queued and task.state == "active" and task.required_slots <= slots:
                return task
            job.ready.popleft()
        return None

    def _start(self, task: Task, node: Node) -> None:
        is_exclusive = task.manager is not None and task.manager.get("runExclusive", True)
        run = Run(task, node, node.free_slots if is_exclusive else task.required_slots)
        task.is_queued = False
        task.run = run
        task.job.served = self.service.number()
        node.used_slots += run.slots
        node.runs.add(run)
        task.job.runs.add(run)
        self._occupy(node)
        self._place(task, node)
        self._move(task, "preparing" if task.job.body.get("jobPreparationTask") else "running", _info(task))
        run.work = self.service.spawn(self.runner.carry_out(run))
        run.work.add_done_callback(lambda work: self._see_to(run, work))

    def _see_to(self, run: Run, work: asyncio.Task[None]) -> None:
        """A run that was cancelled before it began, or that failed because of the service, ends too."""
        if run not in run.node.runs:
            return
        is_broken = not work.cancelled() and work.exception() is not None
        failure = (
            TaskError("Unknown", f"The service failed: {work.exception()!r}", "servererror")
            if is_broken
            else None
        )
        self.finish(run, Outcome(failure=failure) if failure else None)

    def _place(self, task: Task, node: Node) -> None:
        root = f"workitems/{task.job.folder_name}/{task.body['id']}"
        task.body["nodeInfo"] = {
            "affinityId": node.body["affinityId"],
            "nodeUrl": node.body["url"],
            "poolId": node.pool.body["id"],
            "nodeId": node.id,
            "taskRootDirectory": root,
            "taskRootDirectoryUrl": f"{node.body['url']}/files/{root}",
        }

    def _occupy(self, node: Node) -> None:
        """Idle or running, as there are runs; other states are not the scheduler's."""
        state = "running" if node.runs else "idle"
        if node.state in ("idle", "running") and node.state != state:
            node.body["state"] = state
            node.body["stateTransitionTime"] = self.service.clock.stamp()

    def started(self, run: Run) -> None:
        """The node has prepared the job: the task itself begins."""
        info = {**_info(run.task), "startTime": self.service.clock.stamp()}
        if run.task not in run.node.recent:
            run.node.recent.appendleft(run.task)
        run.node.body["totalTasksRun"] += 1
        self._move(run.task, "running", info)

    def retried(self, run: Run) -> None:
        """A bad exit code, and another attempt is allowed."""
        info = dict(run.task.body["executionInfo"])
        info["retryCount"] += 1
        info["lastRetryTime"] = self.service.clock.stamp()
        run.task.body["executionInfo"] = info

    def stop(self, run: Run, reason: str) -> None:
        """Breaks a run off: `terminated` ends the task now, `requeue`, `lost` and `deleted` when it is dead."""
        if run.stop is not None:
            return
        run.stop = reason
        if reason == "terminated":
            self.complete(run.task, Outcome(failure=ENDED))
        if run.work is not None:
            run.work.cancel()

    def finish(self, run: Run, outcome: Outcome | None) -> None:
        """A run is over and its slots are free; what the task becomes depends on why."""
        task, node = run.task, run.node
        node.used_slots -= run.slots
        node.runs.discard(run)
        task.job.runs.discard(run)
        if task.run is run:
            task.run = None
        self._occupy(node)
        self.wake()
        if task.state == "completed" or run.stop == "deleted":
            return
        if outcome is not None and run.stop is None:
            node.body["totalTasksSucceeded"] += outcome.has_succeeded
            self.complete(task, outcome)
        else:
            self.requeue(task, is_by_user=run.stop == "requeue")

    def requeue(self, task: Task, is_by_user: bool) -> None:
        """Back to active, as if it had never run but for the counts."""
        info = {name: task.body["executionInfo"][name] for name in ("retryCount", "requeueCount")}
        if is_by_user:
            info["requeueCount"] += 1
            info["lastRequeueTime"] = self.service.clock.stamp()
        task.body.pop("nodeInfo", None)
        self._move(task, "active", info)
        self._queue(task, first=True)

    def complete(self, task: Task, outcome: Outcome) -> None:
        """The end of a task, with all that follows for those that wait for it and for its job."""
        now = self.service.clock.stamp()
        info = {**_info(task), **task.body["executionInfo"], "endTime": now}
        has_succeeded = outcome.has_succeeded or self.service.faults.has_defect("failures_succeed")
        info["result"] = "success" if has_succeeded else "failure"
        if outcome.exit_code is not None:
            info["exitCode"] = outcome.exit_code
        if outcome.failure is not None and not has_succeeded:
            info["failureInfo"] = outcome.failure.info()
        task.is_queued = False
        self._move(task, "completed", info)
        options = exit_options(task, outcome)
        if (
            str(options.get("dependencyAction") or ("satisfy" if has_succeeded else "block")).lower()
            == "satisfy"
        ):
            for waiting in satisfy(task):
                if waiting.state == "active" and waiting.run is None:
                    self._queue(waiting)
        if outcome.failure is ENDED and not task.body.get("exitConditions"):
            options = {"jobAction": "none"}  # who ends a task by hand does not mean its job
        self.endings.task_ended(task, options, has_succeeded)

    def terminate(self, task: Task) -> None:
        """By the user's wish, whether it runs or waits."""
        if task.run is not None:
            self.stop(task.run, "terminated")
        else:
            self.complete(task, Outcome(failure=ENDED))

    def reactivate(self, task: Task) -> None:
        """A failed task gets all its attempts again."""
        task.body.pop("nodeInfo", None)
        self._move(task, "active", {"retryCount": 0, "requeueCount": 0})
        if not task.missing:
            self._queue(task)

    def remove(self, task: Task) -> None:
        """Deletes a task, running or not."""
        if task.run is not None:
            self.stop(task.run, "deleted")
        job = task.job
        self._count(task, task.state, -1)
        task.is_queued = False
        unlink(task)
        del job.tasks[task.key]
        job.order[task.seq - 1] = None
        self.endings.check_all_complete(job)


def _info(task: Task) -> Body:
    old = task.body["executionInfo"]
    return {name: old[name] for name in ("retryCount", "requeueCount", "lastRequeueTime") if name in old}


def is_current(entry: tuple[str, Task]) -> bool:
    """Whether a change is the last one of a task that still exists."""
    stamp, task = entry
    return task.body["stateTransitionTime"] == stamp and task.job.tasks.get(task.key) is task


def _rank(pool: Pool, job: Job) -> tuple[int, int]:
    policy = pool.body.get("taskSchedulingPolicy") or {}
    by_age = str(policy.get("jobDefaultOrder", "none")).lower() == "creationtime"
    return -int(job.body.get("priority", 0)), job.seq if by_age else job.served


def _pick(pool: Pool, nodes: list[Node], task: Task) -> Node | None:
    fitting = [node for node in nodes if _fits(node, task)]
    wish = (task.body.get("affinityInfo") or {}).get("affinityId")
    policy = pool.body.get("taskSchedulingPolicy") or {}
    sign = 1 if str(policy.get("nodeFillType", "spread")).lower() == "pack" else -1
    return min(
        fitting,
        key=lambda node: (node.body["affinityId"] != wish, sign * node.free_slots, node.seq),
        default=None,
    )


def _fits(node: Node, task: Task) -> bool:
    known = task.job.preparations.get(node.key)
    if known is not None and known.has_failed and known.incarnation == node.incarnation:
        return False
    if task.manager is not None:
        if task.manager.get("runExclusive", True) and node.used_slots:
            return False
        if not node.is_dedicated and not task.manager.get("allowLowPriorityNode", True):
            return False
    return task.required_slots <= node.free_slots


def exit_options(task: Task, outcome: Outcome) -> Body:
    """The exit options that apply, with the service's own defaults left out."""
    conditions = task.body.get("exitConditions") or {}
    code = outcome.exit_code
    if outcome.phase == "preprocessing":
        return conditions.get("preProcessingError") or conditions.get("default") or {}
    if outcome.phase == "upload":
        return conditions.get("fileUploadError") or conditions.get("default") or {}
    for mapping in conditions.get("exitCodes") or ():
        if mapping["code"] == code:
            return mapping["exitOptions"] or {}
    for mapping in conditions.get("exitCodeRanges") or ():
        if code is not None and mapping["start"] <= code <= mapping["end"]:
            return mapping["exitOptions"] or {}
    if outcome.has_succeeded:
        return {}
    return conditions.get("default") or {}
