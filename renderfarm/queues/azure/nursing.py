"""What becomes of the nodes of one job, and what to do about those that can't begin its tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from renderfarm.errors import PoolError
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.batch import Batch, at, word
from renderfarm.queues.azure.nodepool import reboot
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.troubles import Troubles, pool_of
from renderfarm.queues.site import PoolTrouble
from renderfarm.words.model import NodeChange

HEARD_LATE = 5
"""looks"""
GONE = ("preempted", "unusable", "offline", "starttaskfailed", "leavingpool")


class Nursing:
    """The nodes of one job, looked at again and again."""

    def __init__(self, batch: Batch, settings: CloudSettings) -> None:
        self._batch = batch
        self._settings = settings
        self._troubles = Troubles(batch, settings)
        self._states: dict[str, str] = {}
        self._cured: dict[str, tuple[int, float]] = {}
        """node to how many remedies were tried, and when the last one was"""

    def troubles(self, job: str) -> tuple[PoolTrouble, ...]:
        """Why nodes may never render anything of a Batch job."""
        pool = pool_of(self._batch, self._settings, job)
        return self._troubles.of(pool, job) if pool else ()

    def changes(self, job: str) -> Iterator[NodeChange]:
        """Nodes of a job's pool that were lost since the last call."""
        pool = pool_of(self._batch, self._settings, job)
        for node in self._batch.nodes(pool) if pool else ():
            name, state = layout.node_name(node.id or ""), word(node.state)
            before = self._states.get(name, "")
            self._states[name] = state
            if state in GONE and before and before not in GONE:
                yield NodeChange(name, "gone", state)

    def cure(self, job: str, task: str) -> str | None:
        """Do something about the node that could not begin a task, more each time; what it was, for people."""
        try:
            found = self._batch.get_task(job, task, ("id", "nodeInfo")) or {}
        except PoolError as error:
            return f"the node of task {task} could not begin it: {error.message}"
        node, pool = ((found.get("nodeInfo") or {}).get(key) for key in ("nodeId", "poolId"))
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
        order, place = self._batch.order, at("pools", pool, "nodes", node)
        removal = {"nodeList": [node], "nodeDeallocationOption": "requeue"}
        rest, resting = {"nodeDisableSchedulingOption": "requeue"}, ("NodeAlreadyInTargetSchedulingState",)
        away, apart = f"remove node {node}", f"keep tasks away from node {node}"
        return (
            ("it is restarted", lambda: reboot(self._batch, pool, node)),
            (
                "it is given back",
                lambda: order("POST", at("pools", pool, "removenodes"), away, removal, patient=False),
            ),
            (
                "it gets no more tasks",
                lambda: order("POST", f"{place}/disablescheduling", apart, rest, gone=resting),
            ),
        )
