"""Why nodes don't come, or come and can't work: what the service says about a pool, and what their logs say.

Cheap enough to be asked every few polls: one request for the pool, one for the nodes that are in a bad state,
one for the preparation of a job. Logs are read once per failure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from azure.batch import models

from renderfarm.depots.redaction import redact
from renderfarm.errors import PoolError
from renderfarm.queues.azure.batch import Batch, ServiceRefusal, is_word
from renderfarm.queues.azure.refusals import hint
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.site import PoolTrouble

TAIL_BYTES = 16_384
TELLING = "renderfarm:"
"""how lines begin that our programs on nodes write for users"""
SHOWN_LINES = 4
FEW_NODES = 3
"""that many failures of the same kind, and nothing but failures, are no accident"""
MOST_NODES = 1000
"""looked at per call"""
_BAD = ("starttaskfailed", "unusable", "unknown")
_NO_CAPACITY = ("allocationtimedout", "allocationfailed", "overconstrainedallocationrequest", "skunotavailable")


class Troubles:
    """Looks at one pool again and again."""

    def __init__(self, batch: Batch, settings: CloudSettings) -> None:
        self._batch = batch
        self._settings = settings
        self._logs: dict[tuple[str, str], str] = {}
        """what the log of a failure says, by node and by when it failed"""

    def of(self, pool_id: str, job: str | None = None) -> tuple[PoolTrouble, ...]:
        """What is wrong with a pool, and with a job's preparation on its nodes."""
        pool = self._batch.get_pool(pool_id)
        if pool is None:
            return (PoolTrouble(f"Pool {pool_id!r} is gone.", "Submit again, which makes it anew.", True),)
        return (
            *self._of_size(pool),
            *self._of_nodes(pool),
            *(self._of_preparation(pool, job) if job else ()),
        )

    def _of_size(self, pool: models.BatchPool) -> Iterator[PoolTrouble]:
        nobody = not _size(pool) and not is_word(pool.allocation_state, "resizing")
        for error in pool.resize_errors or ():
            yield self._resize_error(error, nobody, scales=bool(pool.enable_auto_scale))
        run = pool.auto_scale_run
        if run is not None and run.error is not None:
            message = f"The autoscale formula fails: {_sentence(run.error.message)} ({run.error.code})"
            yield PoolTrouble(message, self._anew(), fatal=nobody)

    def _resize_error(self, error: models.ResizeError, nobody: bool, *, scales: bool) -> PoolTrouble:
        code = error.code or ""
        values = "; ".join(f"{v.name}: {v.value}" for v in error.error_values or ())
        size = self._settings.vm_size
        message = f"No more nodes of {size}: {_sentence(error.message)} {values}".strip() + f" ({code})"
        if code.lower().startswith(_NO_CAPACITY):
            what = "spot " if self._settings.spot else ""
            way = f"Azure has no {what}capacity now. Try another vm_size or region"
            way += ", or spot = false." if self._settings.spot else "."
            # A formula is evaluated again every few minutes, a fixed size is never tried again.
            return PoolTrouble(message, way, fatal=nobody and not scales)
        return PoolTrouble(message, hint(code) or self._anew(), fatal=nobody)

    def _of_nodes(self, pool: models.BatchPool) -> Iterator[PoolTrouble]:
        bad = list(self._bad_nodes(pool.id or ""))
        hopeless = bool(bad) and len(bad) >= _size(pool)
        hopeless = hopeless and (is_word(pool.allocation_state, "steady") or len(bad) >= FEW_NODES)
        kinds: dict[str, list[models.BatchNode]] = {}
        for node in bad:
            kinds.setdefault(_word(node.state), []).append(node)
        for state, nodes in kinds.items():
            first = nodes[0]
            count = f"{len(nodes)} of {_size(pool)} nodes"
            if state == "starttaskfailed":
                told = self._start_log(pool.id or "", first)
                message = f"The start task failed on {count} of pool {pool.id!r}. {told}"
                way = f"The whole log: renderfarm pool show {self._settings.name}. Mended? {self._anew()}"
                yield PoolTrouble(message, way, hopeless)
            else:
                message = f"{count} of pool {pool.id!r} are {state}. {_errors(first)}".strip()
                yield PoolTrouble(
                    message, "Azure replaces such nodes only when asked: " + self._anew(), hopeless
                )

    def _bad_nodes(self, pool_id: str) -> Iterable[models.BatchNode]:
        condition = " or ".join(f"state eq '{state}'" for state in _BAD)
        select = ("id", "state", "startTaskInfo", "errors")
        listing = self._batch.nodes(pool_id, select=select, filter=condition)
        return (node for node in itertools.islice(listing, MOST_NODES) if is_word(node.state, *_BAD))

    def _start_log(self, pool_id: str, node: models.BatchNode) -> str:
        info = node.start_task_info
        name = node.id or ""
        told = self._told(name, str(info and info.end_time), lambda path: self._node_file(pool_id, name, path))
        return told or _failure(info)

    def _of_preparation(self, pool: models.BatchPool, job: str) -> Iterator[PoolTrouble]:
        failed = self._failed_preparations(job)
        if not failed:
            return
        first, info = failed[-1], failed[-1].job_preparation_task_execution_info
        node, folder = first.node_id or "", (info and info.task_root_directory) or ""
        told = self._told(
            f"{job} {node}",
            str(info and info.end_time),
            lambda path: self._node_file(pool.id or "", node, f"{folder}/{path}"),
        )
        count = f"{len(failed)} of {max(_size(pool), len(failed))} nodes"
        message = f"The scene's files can't be brought to {count}. {told or _failure(info)}"
        hopeless = len(failed) >= max(_size(pool), 1) and is_word(pool.allocation_state, "steady")
        yield PoolTrouble(message.strip(), "Look at the storage account, then: renderfarm resume", hopeless)

    def _failed_preparations(self, job: str) -> list[models.BatchJobPreparationAndReleaseTaskStatus]:
        select = ("nodeId", "poolId", "jobPreparationTaskExecutionInfo")
        listing = itertools.islice(self._batch.prep_status(job, select=select), MOST_NODES)
        try:
            return [row for row in listing if _has_failed(row.job_preparation_task_execution_info)]
        except ServiceRefusal as refused:
            if refused.code in ("JobPreparationTaskNotSpecified", "JobNotFound"):
                return []
            raise

    def _told(self, name: str, when: str, read: Callable[[str], str]) -> str:
        """The telling lines of a failure's log, read once."""
        key = (name, when)
        if key not in self._logs:
            self._logs[key] = telling(read("stderr.txt")) or telling(read("stdout.txt"))
        return self._logs[key]

    def _node_file(self, pool_id: str, node: str, path: str) -> str:
        """The end of a node's file; empty when it can't be had, which is no reason to fail."""
        where = path if "/" in path else f"startup/{path}"
        try:
            found = self._batch.node_file(pool_id, node, where, offset=-TAIL_BYTES)
        except PoolError:
            return ""
        return redact((found or b"").decode("utf-8", "replace"))

    def _anew(self) -> str:
        name = self._settings.name
        return f"Make the pool anew: renderfarm pool delete {name}; renderfarm pool create {name}"


def telling(log: str) -> str:
    """What a user must read of a log: the last line that is meant for users, then the last lines of all."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith(TELLING)]
    if ours:
        return ours[-1].removeprefix(TELLING).strip()
    return " | ".join(lines[-SHOWN_LINES:])


def _has_failed(info: models.BatchJobPreparationTaskExecutionInfo | None) -> bool:
    return info is not None and is_word(info.state, "completed") and is_word(info.result, "failure")


def _failure(info: models.BatchStartTaskInfo | models.BatchJobPreparationTaskExecutionInfo | None) -> str:
    """What the service says of a failure whose log can't be read."""
    if info is None:
        return ""
    failure = info.failure_info
    code = "" if info.exit_code is None else f"exit code {info.exit_code}"
    told = "" if failure is None else f"{_sentence(failure.message)} ({failure.code})"
    details = "" if failure is None else "; ".join(f"{d.name}: {d.value}" for d in failure.details or ())
    return redact(" ".join(part for part in (code, told, details) if part))


def _errors(node: models.BatchNode) -> str:
    return redact("; ".join(f"{_sentence(e.message)} ({e.code})" for e in node.errors or ()))


def _size(pool: models.BatchPool) -> int:
    return (pool.current_dedicated_nodes or 0) + (pool.current_low_priority_nodes or 0)


def _word(value: object) -> str:
    return str(getattr(value, "value", value)).lower()


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())
