"""Why nodes don't come, or come and can't work: what the service says, what their logs say, what can be done.

Cheap enough to be asked every few polls: one request for the pool, one for the nodes that are in a bad state,
one for the preparation of a job. Logs are read once per failure.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

from azure.batch import models

from renderfarm.depots.redaction import redact
from renderfarm.errors import PoolError
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.batch import Batch, Json, at, is_word, items, word
from renderfarm.queues.azure.refusals import ServiceRefusal, hint, sentence
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.remote_side import PoolTrouble
from renderfarm.words.updates import NodeChange

TAIL_BYTES = 16_384
TELLING = "renderfarm:"
"""how lines begin that our programs on nodes write for users"""
SHOWN_LINES = 4
FEW_NODES = 3
"""that many failures of the same kind, and nothing but failures, are no accident"""
MOST_NODES = 1000
"""looked at per call"""
HEARD_LATE = 5
"""looks"""
GONE = ("preempted", "unusable", "offline", "starttaskfailed", "leavingpool")
_BAD = ("starttaskfailed", "unusable", "unknown")
_UNPREPARED = ("JobPreparationTaskOrReleaseTaskNotSpecified", "JobPreparationTaskNotSpecified")
"""as the service says it, and as it is documented"""
_NO_CAPACITY = ("allocationtimedout", "allocationfailed", "overconstrainedallocationrequest", "skunotavailable")

Execution = models.BatchStartTaskInfo | models.BatchJobPreparationTaskExecutionInfo | None


class Troubles:
    """The nodes of one pool table, looked at again and again."""

    def __init__(self, batch: Batch, settings: CloudSettings) -> None:
        self._batch = batch
        self._settings = settings
        name = settings.name
        self._anew = f"Make the pool anew: renderfarm pool delete {name}; renderfarm pool create {name}"
        self._logs: dict[tuple[str, str, str], str] = {}
        """what the log of a failure says, by node, folder, and when it failed"""
        self._states: dict[str, str] = {}
        self._cured: dict[str, tuple[int, float]] = {}
        """node to how many remedies were tried, and when the last one was"""
        self._spared = 0
        """nodes whose scheduling was disabled when they were last looked at"""

    def of(self, pool_id: str, job: str | None = None) -> tuple[PoolTrouble, ...]:
        """What is wrong with a pool, and with a Batch job's preparation on its nodes."""
        pool = self._batch.get_pool(pool_id)
        if pool is None:
            return (PoolTrouble(f"Pool {pool_id!r} is gone.", "Submit again, which makes it anew.", True),)
        preparation = self._of_preparation(pool, job) if job else ()
        return (*self._of_size(pool), *self._of_nodes(pool), *self._of_spared(pool), *preparation)

    def _of_size(self, pool: models.BatchPool) -> Iterator[PoolTrouble]:
        nobody = not _size(pool) and not is_word(pool.allocation_state, "resizing")
        for error in pool.resize_errors or ():
            yield self._resize_error(error, nobody, scales=bool(pool.enable_auto_scale))
        run = pool.auto_scale_run
        if run is not None and run.error is not None:
            message = f"The autoscale formula fails: {sentence(run.error.message)} ({run.error.code})"
            yield PoolTrouble(message, self._anew, fatal=nobody)

    def _resize_error(self, error: models.ResizeError, nobody: bool, *, scales: bool) -> PoolTrouble:
        code = error.code or ""
        values = "; ".join(f"{v.name}: {v.value}" for v in error.error_values or ())
        size = self._settings.vm_size
        message = f"No more nodes of {size}: {sentence(error.message)} {values}".strip() + f" ({code})"
        if not code.lower().startswith(_NO_CAPACITY):
            return PoolTrouble(message, hint(code) or self._anew, fatal=nobody)
        what, more = ("spot ", ", or spot = false") if self._settings.spot else ("", "")
        way = f"Azure has no {what}capacity now. Try another vm_size or region{more}."
        # A formula is evaluated again every few minutes, a fixed size is never tried again.
        return PoolTrouble(message, way, fatal=nobody and not scales)

    def _of_nodes(self, pool: models.BatchPool) -> Iterator[PoolTrouble]:
        condition = " or ".join(f"state eq '{state}'" for state in _BAD)
        nodes = self._batch.nodes(pool.id or "", ("id", "state", "startTaskInfo", "errors"), condition)
        bad = [node for node in itertools.islice(nodes, MOST_NODES) if is_word(node.state, *_BAD)]
        settled = is_word(pool.allocation_state, "steady") or len(bad) >= FEW_NODES
        hopeless = bool(bad) and len(bad) >= _size(pool) and settled
        for state in dict.fromkeys(word(node.state) for node in bad):
            these = [node for node in bad if word(node.state) == state]
            count = f"{len(these)} of {_size(pool)} nodes of pool {pool.id!r}"
            if state == "starttaskfailed":
                told = self._told(pool, these[0].id or "", "startup", these[0].start_task_info)
                message = f"The start task failed on {count}. {told}"
                way = f"The whole log: renderfarm pool show {self._settings.name}. Mended? {self._anew}"
            else:
                errors = "; ".join(f"{sentence(e.message)} ({e.code})" for e in these[0].errors or ())
                message = f"{count} are {state}. {errors}".strip()
                way = f"Azure replaces such nodes only when asked: {self._anew}"
            yield PoolTrouble(message, way, hopeless)

    def _of_spared(self, pool: models.BatchPool) -> Iterator[PoolTrouble]:
        """Nodes that could not be mended take no more tasks; once there are no others, nothing goes on."""
        if 0 < self._spared >= _size(pool) and is_word(pool.allocation_state, "steady"):
            which = f"None of the {self._spared} nodes of pool {pool.id!r}"
            yield PoolTrouble(f"{which} takes tasks: scheduling is disabled.", self._anew, fatal=True)

    def _of_preparation(self, pool: models.BatchPool, job: str) -> Iterator[PoolTrouble]:
        failed = self._failed_preparations(job)
        if failed:
            info = failed[-1].job_preparation_task_execution_info
            told = self._told(pool, failed[-1].node_id or "", (info and info.task_root_directory) or "", info)
            count = f"{len(failed)} of {max(_size(pool), len(failed))} nodes"
            message = f"The scene's files can't be brought to {count}. {told}".strip()
            hopeless = len(failed) >= max(_size(pool), 1) and is_word(pool.allocation_state, "steady")
            yield PoolTrouble(message, "Look at the storage account, then: renderfarm resume", hopeless)

    def _failed_preparations(self, job: str) -> list[models.BatchJobPreparationAndReleaseTaskStatus]:
        select = ["nodeId", "poolId", "jobPreparationTaskExecutionInfo"]
        listing = self._batch.sdk.list_job_preparation_and_release_task_status
        rows = items(f"read the preparation of {job!r}", listing, job, select=select)
        try:
            return [row for row in itertools.islice(rows, MOST_NODES) if _has_failed(row)]
        except ServiceRefusal as refused:
            if refused.code in (*_UNPREPARED, "JobNotFound"):
                return []
            raise

    def _told(self, pool: models.BatchPool, node: str, folder: str, info: Execution) -> str:
        """The telling lines of a failure's log, read once; else what the service says."""
        key = (node, folder, str(info and info.end_time))
        if key not in self._logs:
            names = (f"{folder}/stderr.txt", f"{folder}/stdout.txt")
            self._logs[key] = next(filter(None, (telling(self._file(pool, node, name)) for name in names)), "")
        return self._logs[key] or _failure(info)

    def _file(self, pool: models.BatchPool, node: str, path: str) -> str:
        """The end of a node's file; empty when it can't be had, which is no reason to fail."""
        try:
            found = self._batch.file("pools", pool.id or "", "nodes", node, path=path, last=TAIL_BYTES)
        except PoolError:
            return ""
        return redact((found or b"").decode("utf-8", "replace"))

    # Mending

    def changes(self, pool: str) -> Iterator[NodeChange]:
        """Nodes of a pool that were lost since the last call."""
        self._spared = 0
        for node in self._batch.nodes(pool, ("id", "state", "schedulingState")):
            self._spared += is_word(node.scheduling_state, "disabled")
            name, state = layout.node_name(node.id or ""), word(node.state)
            before = self._states.get(name, "")
            self._states[name] = state
            if state in GONE and before and before not in GONE:
                yield NodeChange(name, "gone", state)

    def cure(self, row: Json) -> str | None:
        """Do something about the node that could not begin a task, more each time; what it was, for people."""
        node, pool = ((row.get("nodeInfo") or {}).get(key) for key in ("nodeId", "poolId"))
        tried, when = self._cured.get(node or "", (0, 0.0))
        # What its tasks of before the last remedy said is heard after it.
        if not node or not pool or time.monotonic() < when + HEARD_LATE * self._settings.poll_seconds:
            return None
        done = self._remedied(pool, node, tried)
        return f"node {layout.node_name(node)} could not begin its tasks: {done}" if done else None

    def _remedied(self, pool: str, node: str, tried: int) -> str:
        """The next remedy that is not refused; one that is stops nothing. Empty when all were tried."""
        refused = ""
        for number, (done, remedy) in enumerate(self._remedies(pool, node)[tried:], tried + 1):
            self._cured[node] = (number, time.monotonic())
            try:
                remedy()
            except PoolError as error:
                refused = f"it stays as it is. {error.message}"
            else:
                return done
        return refused

    def _remedies(self, pool: str, node: str) -> tuple[tuple[str, Callable[[], object]], ...]:
        order, rest = self._batch.order, at("pools", pool, "nodes", node, "disablescheduling")
        removal = {"nodeList": [node], "nodeDeallocationOption": "requeue"}
        away, gone = at("pools", pool, "removenodes"), ("NodeAlreadyInTargetSchedulingState",)
        requeue = {"nodeDisableSchedulingOption": "requeue"}
        return (
            ("it is restarted", lambda: reboot(self._batch, pool, node)),
            ("it is given back", lambda: order("POST", away, f"remove {node}", removal, patient=False)),
            ("it gets no more tasks", lambda: order("POST", rest, f"spare {node}", requeue, gone=gone)),
        )


def reboot(batch: Batch, pool: str, node: str) -> bool:
    """Restart a node; its start task runs again."""
    starting = ("NodeBeingCreated", "NodeBeingStarted", "NodeBeingRebooted", "NodeBeingReimaged")
    path = at("pools", pool, "nodes", node, "reboot")
    return batch.order("POST", path, f"restart node {node}", {"nodeRebootOption": "requeue"}, gone=starting)


def pool_of(batch: Batch, settings: CloudSettings, job: str) -> str | None:
    """The pool that a Batch job runs on; where pools come with jobs, None before Batch made it."""
    if not settings.auto_pool:
        return settings.pool_id
    found = batch.get_job(job)
    info = found and found.execution_info
    return (info.pool_id or None) if info else None


def telling(log: str) -> str:
    """What a user must read of a log: the last line that is meant for users, then the last lines of all."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith(TELLING)]
    return ours[-1].removeprefix(TELLING).strip() if ours else " | ".join(lines[-SHOWN_LINES:])


def _has_failed(row: models.BatchJobPreparationAndReleaseTaskStatus) -> bool:
    info = row.job_preparation_task_execution_info
    return info is not None and is_word(info.state, "completed") and is_word(info.result, "failure")


def _failure(info: Execution) -> str:
    """What the service says of a failure whose log can't be read."""
    if info is None:
        return ""
    failure = info.failure_info
    code = "" if info.exit_code is None else f"exit code {info.exit_code}"
    told = "" if failure is None else f"{sentence(failure.message)} ({failure.code})"
    details = "" if failure is None else "; ".join(f"{d.name}: {d.value}" for d in failure.details or ())
    return redact(" ".join(part for part in (code, told, details) if part))


def _size(pool: models.BatchPool) -> int:
    return (pool.current_dedicated_nodes or 0) + (pool.current_low_priority_nodes or 0)
