"""How many nodes a pool has: resizes, quotas, automatic scaling, and the end of a pool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.batch_service.autoscale import FormulaError, Result, evaluate
from tests.batch_service.machines import Machines
from tests.batch_service.sizes import cores
from tests.batch_service.state import Body, Node, Pool, Service
from tests.batch_service.times import parse_duration

RESIZING_SECONDS = 0.3
SHORTAGE_SECONDS = 1.0
"""how long a pool tries before it reports that there are no machines"""
LEAST_INTERVAL_SECONDS = 0.5


class Allocation:
    """Brings pools to their targets, one change at a time."""

    def __init__(self, service: Service, machines: Machines) -> None:
        self.service = service
        self.machines = machines

    def resize(self, pool: Pool, option: str = "requeue") -> None:
        """Starts towards the pool's targets."""
        pool.deallocation = option
        pool.body.pop("resizeErrors", None)
        self._allocation(pool, "resizing")
        pool.resizing = self.service.spawn(self._resize(pool, option))

    def _allocation(self, pool: Pool, state: str) -> None:
        pool.body["allocationState"] = state
        pool.body["allocationStateTransitionTime"] = self.service.clock.stamp()

    async def _resize(self, pool: Pool, option: str) -> None:
        await self.service.clock.pause(RESIZING_SECONDS + self.service.faults.slow_nodes_seconds)
        errors: list[Body] = []
        leaving: list[Node] = []
        for is_dedicated, name in ((True, "targetDedicatedNodes"), (False, "targetLowPriorityNodes")):
            more = pool.body[name] - pool.current(is_dedicated)
            if more > 0:
                errors += await self._grow(pool, is_dedicated, more)
            elif more < 0:
                leaving += victims(pool, is_dedicated, -more)
        await self._let_go(leaving, option)
        self._steady(pool, errors)

    def _steady(self, pool: Pool, errors: Sequence[Body]) -> None:
        if errors:
            pool.body["resizeErrors"] = list(errors)
        pool.resizing = None
        if pool.state == "active":
            self._allocation(pool, "steady")

    async def _grow(self, pool: Pool, is_dedicated: bool, count: int) -> list[Body]:
        code = self.service.faults.resize_error(str(pool.body["id"]))
        if code is not None:
            await self.service.clock.pause(SHORTAGE_SECONDS)
            return [resize_error(code, is_dedicated)]
        room = self._room(pool, is_dedicated)
        for _ in range(min(count, room)):
            self.machines.make(pool, is_dedicated)
        if room < count:
            kind = "" if is_dedicated else "LowPriority"
            return [resize_error(f"Account{kind}CoreQuotaReached", is_dedicated)]
        return []

    def _room(self, pool: Pool, is_dedicated: bool) -> int:
        """Nodes that the account's quota still allows."""
        quota = self.service.faults.quota.get("dedicated_cores" if is_dedicated else "spot_cores")
        if quota is None:
            return 1_000_000
        pools = self.service.pools.values()
        used = sum(other.current(is_dedicated) * cores(str(other.body["vmSize"])) for other in pools)
        return max(0, (quota - used) // cores(str(pool.body["vmSize"])))

    def remove_nodes(self, pool: Pool, nodes: Sequence[Node], option: str) -> None:
        """Takes these very nodes out; the targets follow."""
        pool.body.pop("resizeErrors", None)
        self._allocation(pool, "resizing")
        pool.resizing = self.service.spawn(self._remove_nodes(pool, nodes, option))

    async def _remove_nodes(self, pool: Pool, nodes: Sequence[Node], option: str) -> None:
        await self.service.clock.pause(RESIZING_SECONDS)
        for node in nodes:
            name = "targetDedicatedNodes" if node.is_dedicated else "targetLowPriorityNodes"
            pool.body[name] = max(0, pool.body[name] - 1)
        await self._let_go(nodes, option)
        self._steady(pool, ())

    async def _let_go(self, nodes: Sequence[Node], option: str) -> None:
        """Wait until nodes have left; where the resize is stopped they leave all the same."""
        leaving = [self.service.spawn(self.machines.remove(node, option)) for node in nodes]
        await asyncio.shield(asyncio.gather(*leaving))

    def stop(self, pool: Pool) -> None:
        """Leaves the pool with the nodes that it has, and its targets as they were."""
        if pool.resizing is not None:
            pool.resizing.cancel()
        self._allocation(pool, "stopping")
        pool.resizing = self.service.spawn(self._stop(pool))

    async def _stop(self, pool: Pool) -> None:
        await self.service.clock.pause(RESIZING_SECONDS)
        missed = [
            resize_error("ResizeStopped", is_dedicated)
            for is_dedicated, name in ((True, "targetDedicatedNodes"), (False, "targetLowPriorityNodes"))
            if pool.body[name] != pool.current(is_dedicated)
        ]
        self._steady(pool, missed)

    def delete(self, pool: Pool) -> None:
        """Begins the end of a pool; tasks that ran on it wait for another of the same name."""
        for work in (pool.resizing, pool.scaling):
            if work is not None:
                work.cancel()
        now = self.service.clock.stamp()
        pool.body["state"] = "deleting"
        pool.body["stateTransitionTime"] = now
        self._allocation(pool, "resizing")
        self.service.spawn(self._delete(pool))

    async def _delete(self, pool: Pool) -> None:
        await self.service.clock.pause(RESIZING_SECONDS)
        while pool.nodes:
            await asyncio.gather(*(self.machines.remove(node, "requeue") for node in list(pool.nodes.values())))
        self.service.pools.pop(pool.key, None)

    def scale(self, pool: Pool) -> None:
        """Keeps a pool at what its formula says; a new formula starts at once."""
        self.unscale(pool)
        pool.scaling = self.service.spawn(self._scale(pool))

    def unscale(self, pool: Pool) -> None:
        if pool.scaling is not None:
            pool.scaling.cancel()
            pool.scaling = None

    async def _scale(self, pool: Pool) -> None:
        while pool.body["enableAutoScale"]:
            run, result = self.evaluated(pool, pool.body["autoScaleFormula"])
            pool.body["autoScaleRun"] = run
            if result is not None and pool.resizing is None:
                self._follow(pool, result)
            await asyncio.sleep(self._interval(pool))

    def _interval(self, pool: Pool) -> float:
        if self.service.settings.autoscale_seconds is not None:
            return self.service.settings.autoscale_seconds
        seconds = parse_duration(pool.body["autoScaleEvaluationInterval"]).total_seconds()
        return max(LEAST_INTERVAL_SECONDS, self.service.clock.scaled(seconds))

    def _follow(self, pool: Pool, result: Result) -> None:
        wanted = {"targetDedicatedNodes": result.target_dedicated, "targetLowPriorityNodes": result.target_spot}
        news = {name: count for name, count in wanted.items() if count is not None and pool.body[name] != count}
        if news:
            pool.body |= news
            self.service.touch(pool.body)
            self.resize(pool, (result.deallocation or "requeue").lower())

    def evaluated(self, pool: Pool, formula: str) -> tuple[Body, Result | None]:
        """One evaluation as `autoScaleRun` shows it, and its result unless the formula failed."""
        now = self.service.clock.stamp()
        targets = {
            "TargetDedicatedNodes": "targetDedicatedNodes",
            "TargetLowPriorityNodes": "targetLowPriorityNodes",
        }
        current = {variable: float(pool.body[name]) for variable, name in targets.items()}
        try:
            result = evaluate(formula, samples(pool), current)
        except FormulaError as error:
            message = "The autoscale formula could not be evaluated."
            details = [{"name": "Message", "value": str(error)}]
            told = {"code": "AutoScalingFormulaEvaluationError", "message": message, "values": details}
            kept = ";".join(f"${variable}={count:g}" for variable, count in current.items())
            results = f"{kept};$NodeDeallocationOption=requeue"
            return {"timestamp": now, "results": results, "error": told}, None
        return {"timestamp": now, "results": result.text}, result


def samples(pool: Pool) -> dict[str, float]:
    """What a formula can ask about the pool now."""
    counts = {
        name: sum(job.counts.get(name, 0) for job in pool.jobs.values())
        for name in ("active", "running", "succeeded", "failed")
    }
    states = [node.state for node in pool.nodes.values()]
    busy = states.count("running") / len(states) * 100 if states else 0.0
    return {
        "PendingTasks": counts["active"] + counts["running"],
        "ActiveTasks": counts["active"],
        "RunningTasks": counts["running"],
        "SucceededTasks": counts["succeeded"],
        "FailedTasks": counts["failed"],
        "TaskSlotsPerNode": pool.body["taskSlotsPerNode"],
        "CurrentDedicatedNodes": pool.current(True),
        "CurrentLowPriorityNodes": pool.current(False),
        "PreemptedNodeCount": states.count("preempted"),
        "UsableNodeCount": states.count("idle") + states.count("running"),
        "CPUPercent": busy,
        "MemoryBytes": 0.0,
        "DiskBytes": 0.0,
        "NetworkInBytes": 0.0,
        "NetworkOutBytes": 0.0,
        "DiskReadBytes": 0.0,
        "DiskWriteBytes": 0.0,
        "DiskReadOps": 0.0,
        "DiskWriteOps": 0.0,
        "WallClockSeconds": 0.0,
    }


def victims(pool: Pool, is_dedicated: bool, count: int) -> list[Node]:
    """The nodes that a shrinking pool loses: those that do no work first, then the youngest."""
    candidates = [
        node
        for node in pool.nodes.values()
        if node.is_dedicated == is_dedicated and node.state != "leavingpool"
    ]
    return sorted(candidates, key=lambda node: (len(node.runs), -node.seq))[:count]


def resize_error(code: str, is_dedicated: bool) -> Body:
    """Why a pool has not the nodes of one kind that it should have."""
    kind = "dedicated" if is_dedicated else "low priority"
    missed = f"Desired number of {kind} nodes could not be allocated"
    messages = {
        "AccountCoreQuotaReached": "The specified account has reached core quota",
        "AccountLowPriorityCoreQuotaReached": "The specified account has reached low priority core quota",
        "AllocationTimedout": f"{missed} as the resize timeout was reached",
        "ResizeStopped": f"{missed} due to a stop resize operation",
    }
    return {"code": code, "message": messages.get(code, "The pool could not be resized")}
