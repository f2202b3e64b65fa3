"""The services behind one `[pools.NAME]` table, each made when it is first needed."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property

from renderfarm.depots.blobs import BlobMissingError
from renderfarm.errors import PoolError
from renderfarm.job.record import Record
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.batch import Batch, is_word
from renderfarm.queues.azure.jobs import RECORD, Access
from renderfarm.queues.azure.nodepool import NodePool
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.start_task import stored_program
from renderfarm.queues.azure.storage import Storage
from renderfarm.queues.site import PoolTrouble
from renderfarm.words.model import NodeChange, decode

SLACK_SECONDS = 1800.0
"""what a token outlives its job by, for the last uploads"""
HEARD_LATE = 5
"""looks"""
GONE = ("preempted", "unusable", "offline", "starttaskfailed", "leavingpool")


class RecordError(PoolError):
    """What should be a job's record can't be read as one."""


class Account:
    """Batch and storage, as one pool table names them."""

    def __init__(self, settings: CloudSettings) -> None:
        self.settings = settings
        self._states: dict[str, str] = {}
        self._cured: dict[str, tuple[int, float]] = {}
        """node to how many remedies were tried, and when the last one was"""

    @cached_property
    def batch(self) -> Batch:
        """The Batch account."""
        return Batch(self.settings)

    @cached_property
    def storage(self) -> Storage:
        """The storage account."""
        return Storage.of(self.settings)

    @cached_property
    def nodes(self) -> NodePool:
        """The pool of nodes."""
        return NodePool(self.batch, self.settings)

    def container(self, job: str) -> str:
        """The container of a job."""
        return layout.container(self.settings.prefix, job)

    def access(self, job: str) -> Access:
        """What the nodes of a job may reach, for as long as the job may last."""
        settings, container = self.settings, self.container(job)
        program = stored_program(self.storage)
        if settings.identity:
            base = self.storage.url
            own = f"{base}/{container}"
            assets = f"{base}/{self.storage.assets}"
            url = f"{base}/{self.storage.packages}/{program}"
            ids = settings.identity, settings.identity_client_id
            return Access(assets, own, own, math.inf, *ids, url, self._digest(job))
        seconds = settings.job_hours * 3600 + SLACK_SECONDS
        sign = self.storage.sas_url
        return Access(
            sign(self.storage.assets, "r", seconds),
            sign(container, "rl", seconds),
            sign(container, "cw", seconds),
            time.time() + seconds,
            program=sign(self.storage.packages, "r", seconds, program),
            record=self._digest(job),
        )

    def _digest(self, job: str) -> str:
        return hashlib.sha256(self.storage.at(self.container(job)).read(layout.RECORD)).hexdigest()

    def _check(self, job: str) -> None:
        """Raise PoolError when a job's record is not the one that its first Batch job was made with."""
        found = self.batch.get_job(layout.batch_id(job), select=("id", "metadata"))
        marks = {item.name: item.value for item in (found.metadata if found else None) or ()}
        if RECORD in marks and marks[RECORD] != self._digest(job):
            message = f"The record of {job} in storage is not the one that was submitted."
            raise PoolError(message, "A node or a person changed it. Cancel the job and submit it again.")

    def record(self, job: str) -> Record | None:
        """A job's record, by its whole id; None when the cloud has none."""
        try:
            found = self.record_in(self.container(job))
        except BlobMissingError:
            return None
        if found.job != job:
            return None
        if not self.is_ours(found):
            message = f"{job} runs in {found.service}, not in the batch_url of [pools.{self.settings.name}]."
            raise PoolError(message, "Ask from where the pool's table names that account.")
        self._check(job)
        return found

    def is_ours(self, record: Record) -> bool:
        """Whether a job whose record is in this storage has its tasks in this Batch account."""
        return record.service in ("", self.settings.batch_url)

    def record_in(self, container: str) -> Record:
        """The record of the job that has this container; raises BlobMissingError, and RecordError."""
        text = self.storage.at(container).read(layout.RECORD)
        try:
            return decode(Record, json.loads(text))
        except (ValueError, RecursionError) as error:
            message = f"{container}/{layout.RECORD} is no job's record ({error})."
            raise RecordError(message, "A node or a person changed it. Submit the scene again.") from error

    def troubles(self, batch_job: str) -> Sequence[PoolTrouble]:
        """Why nodes may never render anything of a job."""
        return self.nodes.troubles(batch_job)

    def node_changes(self, batch_job: str) -> list[NodeChange]:
        """Nodes of a job's pool that were lost since the last call."""
        changes: list[NodeChange] = []
        pool = self.nodes.pool_of(batch_job)
        for node in self.batch.nodes(pool, select=("id", "state")) if pool else ():
            name, state = layout.node_name(node.id or ""), str(getattr(node.state, "value", node.state)).lower()
            before = self._states.get(name, "")
            self._states[name] = state
            if is_word(state, *GONE) and before and not is_word(before, *GONE):
                changes.append(NodeChange(name, "gone", state))
        return changes

    def cure(self, batch_job: str, task: str) -> str | None:
        """Do something about the node that could not begin a task, more each time; what it was, for people."""
        try:
            found = self.batch.get_task(batch_job, task, ("id", "nodeInfo")) or {}
        except PoolError as error:
            return f"the node of task {task} could not begin it: {error.message}"
        node, pool = ((found.get("nodeInfo") or {}).get(key) for key in ("nodeId", "poolId"))
        tried, when = self._cured.get(node or "", (0, 0.0))
        # What its tasks of before the last remedy said is heard after it.
        if not node or not pool or time.monotonic() < when + HEARD_LATE * self.settings.poll_seconds:
            return None
        done = self._remedied(pool, node, tried)
        return f"node {layout.node_name(node)} could not begin its tasks: {done}" if done else None

    def _remedied(self, pool: str, node: str, tried: int) -> str:
        """The next remedy that is not refused; one that is stops nothing. Empty when all were tried."""
        remedies: tuple[tuple[str, Callable[[], object]], ...] = (
            ("it is restarted", lambda: self.batch.reboot_node(pool, node)),
            ("it is given back", lambda: self.batch.remove_nodes(pool, [node])),
            ("it gets no more tasks", lambda: self.batch.disable_scheduling(pool, node)),
        )
        refused = ""
        for number, (done, remedy) in enumerate(remedies[tried:], tried + 1):
            self._cured[node] = (number, time.monotonic())
            try:
                remedy()
            except PoolError as error:
                refused = f"it stays as it is. {error.message}"
            else:
                return done
        return refused

    def close(self) -> None:
        """Let go of the connections that were made."""
        for service in ("batch", "storage"):
            if opened := self.__dict__.get(service):
                opened.close()
