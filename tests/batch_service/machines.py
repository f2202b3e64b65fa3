"""The life of one node: made, booted, its start task run, rebooted, preempted, removed."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Coroutine

from tests.batch_service.folders import fresh, lay_out, node_environment, wipe
from tests.batch_service.processes import Processes, TaskError
from tests.batch_service.runs import Outcome, Runner, retrying
from tests.batch_service.scheduler import Scheduler
from tests.batch_service.state import Body, Node, Pool, Service
from tests.batch_service.transfers import fetch_all

CREATING_SECONDS = 0.4
STARTING_SECONDS = 0.3
REBOOTING_SECONDS = 0.5
RESTORE_SECONDS = 3.0
SSH_PORT = 22
FIRST_SSH_PORT = 50000
"""until a preempted node has its machine back, unless the fault says otherwise"""
WATCH_SECONDS = 0.02
AGENT_VERSION = "1.12.2"


def _free_place(pool: Pool) -> int:
    """The lowest number that no node of the pool has."""
    taken = {endpoint_of(node, SSH_PORT)["frontendPort"] - FIRST_SSH_PORT for node in pool.nodes.values()}
    return next(place for place in itertools.count() if place not in taken)


def _has_ipv6(pool: Pool) -> bool:
    public = (pool.body.get("networkConfiguration") or {}).get("publicIPAddressConfiguration") or {}
    return "ipv6" in [str(family).lower() for family in public.get("ipFamilies") or ()]


def endpoint_of(node: Node, port: int) -> Body:
    """The way to a port of a node from outside."""
    endpoints = node.body["endpointConfiguration"]["inboundEndpoints"]
    return next(found for found in endpoints if found["backendPort"] == port)


def _endpoints(pool: Pool, place: int) -> list[Body]:
    """The ports that the pool's network opens on a node, and SSH; nothing listens behind them."""
    network = pool.body.get("networkConfiguration") or {}
    opened = (network.get("endpointConfiguration") or {}).get("inboundNATPools") or []
    ssh = {
        "name": "SSHRule",
        "protocol": "tcp",
        "frontendPortRangeStart": FIRST_SSH_PORT,
        "frontendPortRangeEnd": 65535,
        "backendPort": SSH_PORT,
    }
    return [
        {
            "name": f"{nat['name']}.{place}",
            "protocol": nat["protocol"],
            "publicIPAddress": "127.0.0.1",
            "publicFQDN": "localhost",
            "frontendPort": min(nat["frontendPortRangeStart"] + place, nat["frontendPortRangeEnd"]),
            "backendPort": nat["backendPort"],
        }
        for nat in [*opened, ssh]
    ]


class Machines:
    """Moves nodes through their states; what runs on them is broken off when a machine goes."""

    def __init__(self, service: Service, scheduler: Scheduler, runner: Runner, processes: Processes) -> None:
        self.service = service
        self.scheduler = scheduler
        self.runner = runner
        self.processes = processes

    def make(self, pool: Pool, is_dedicated: bool) -> Node:
        """A new machine for the pool, still to be booted."""
        node_id = f"tvmps_{secrets.token_hex(32)}_{'d' if is_dedicated else 'p'}"
        number = self.service.number()
        folder = self.service.settings.root / "nodes" / f"{number:06d}-{'d' if is_dedicated else 'p'}"
        body = self._new_body(pool, node_id, is_dedicated)
        node = Node(pool, node_id.lower(), number, body, folder, is_dedicated, pool.body["taskSlotsPerNode"])
        pool.nodes[node.key] = node
        self._live(node, self._boot(node, CREATING_SECONDS, "creating", is_wiped=True))
        return node

    def _new_body(self, pool: Pool, node_id: str, is_dedicated: bool) -> Body:
        now = self.service.clock.stamp()
        machine = pool.body.get("virtualMachineConfiguration") or {}
        place = _free_place(pool)
        return {
            "id": node_id,
            "url": f"{self.service.base}/pools/{pool.body['id']}/nodes/{node_id}",
            "state": "creating",
            "schedulingState": "enabled",
            "stateTransitionTime": now,
            "allocationTime": now,
            "ipAddress": f"10.0.{place // 250 % 250}.{place % 250 + 4}",
            **({"ipv6Address": f"fd00::{place + 4:x}"} if _has_ipv6(pool) else {}),
            "affinityId": f"TVM:{node_id}",
            "vmSize": pool.body["vmSize"],
            "totalTasksRun": 0,
            "totalTasksSucceeded": 0,
            "isDedicated": is_dedicated,
            "virtualMachineInfo": {"imageReference": machine.get("imageReference") or {}},
            "endpointConfiguration": {"inboundEndpoints": _endpoints(pool, place)},
        }

    def _live(self, node: Node, course: Coroutine[None, None, None]) -> None:
        if node.life is not None:
            node.life.cancel()
        node.life = self.service.spawn(course)

    def enter(self, node: Node, state: str) -> None:
        """Changes a node's state; a schedulable one gets work."""
        if node.state != state:
            node.body["state"] = state
            node.body["stateTransitionTime"] = self.service.clock.stamp()
        self.scheduler.wake()

    async def _boot(self, node: Node, seconds: float, state: str, is_wiped: bool) -> None:
        self.enter(node, state)
        await self.service.clock.pause(seconds)
        self.enter(node, "starting")
        await self.service.clock.pause(STARTING_SECONDS)
        node.body["lastBootTime"] = self.service.clock.stamp()
        node.body["nodeAgentInfo"] = {"version": AGENT_VERSION, "lastUpdateTime": node.body["lastBootTime"]}
        if is_wiped:
            node.incarnation += 1
            node.is_full = False
            lay_out(node)
        self._forget_preparations(node)
        await self._start_task(node)

    def _forget_preparations(self, node: Node) -> None:
        for job in self.service.jobs.values():
            known = job.preparations.get(node.key)
            specification = job.body.get("jobPreparationTask") or {}
            reruns = specification.get("rerunOnNodeRebootAfterSuccess", True)
            if known is not None and (reruns or known.has_failed):
                known.work = None
                known.has_failed = False

    async def _start_task(self, node: Node) -> None:
        specification = node.pool.body.get("startTask")
        node.body.pop("startTaskInfo", None)
        if not specification:
            node.body.pop("startTask", None)
            self.settle(node)
            return
        node.body["startTask"] = specification
        waits = specification.get("waitForSuccess", True)
        if waits:
            self.enter(node, "waitingforstarttask")
        else:
            self.settle(node)
        outcome = await self._run_start_task(node, specification)
        if not waits:
            return
        if outcome.has_succeeded:
            self.settle(node)
        else:
            self.enter(node, "starttaskfailed")

    async def _run_start_task(self, node: Node, specification: Body) -> Outcome:
        info: Body = {"state": "running", "startTime": self.service.clock.stamp(), "retryCount": 0}
        node.body["startTaskInfo"] = info

        async def once() -> Outcome:
            return await self._start_task_once(node, specification)

        def count() -> None:
            info["retryCount"] += 1
            info["lastRetryTime"] = self.service.clock.stamp()

        outcome = await retrying(once, int(specification.get("maxTaskRetryCount") or 0), count)
        self.runner.side_task_ended(info, outcome)
        return outcome

    async def _start_task_once(self, node: Node, specification: Body) -> Outcome:
        if self.service.faults.fails_start_task(node):
            return Outcome(
                1, TaskError("FailureExitCode", "The task exited with an exit code representing a failure")
            )
        folder = fresh(node.folder / "startup")
        environment = node_environment(self.service, node, folder)
        settings = specification.get("environmentSettings") or []
        environment |= {item["name"]: item.get("value") or "" for item in settings}
        try:
            await fetch_all(self.service, specification.get("resourceFiles") or [], folder / "wd")
        except TaskError as failure:
            return Outcome(failure=failure, phase="preprocessing")
        return await self.runner.command(specification["commandLine"], environment, folder, keep=True)

    def settle(self, node: Node) -> None:
        """Ready for work, or offline while its scheduling is disabled."""
        if node.body["schedulingState"] == "disabled":
            self.enter(node, "offline")
        else:
            self.enter(node, "running" if node.runs else "idle")

    async def vacate(self, node: Node, option: str) -> None:
        """Frees a node of its tasks: `requeue`, `terminate`, or waiting for `taskcompletion`."""
        if option not in ("taskcompletion", "retaineddata"):
            for run in list(node.runs):
                self.scheduler.stop(run, "terminated" if option == "terminate" else "requeue")
        while node.runs:
            await asyncio.sleep(WATCH_SECONDS)

    def reboot(self, node: Node, option: str) -> None:
        self._live(node, self._restart(node, option, "rebooting", is_wiped=False))

    async def _restart(self, node: Node, option: str, state: str, is_wiped: bool) -> None:
        self.enter(node, state)
        await self.vacate(node, option)
        self.processes.kill_below(node.folder)
        await self._boot(node, REBOOTING_SECONDS, state, is_wiped)

    def deallocate(self, node: Node, option: str) -> None:
        self._live(node, self._deallocate(node, option))

    async def _deallocate(self, node: Node, option: str) -> None:
        self.enter(node, "deallocating")
        await self.vacate(node, option)
        self.processes.kill_below(node.folder)
        await self.service.clock.pause(REBOOTING_SECONDS)
        self.enter(node, "deallocated")

    def start(self, node: Node) -> None:
        """A deallocated machine boots again, its disk as it was."""
        self._live(node, self._boot(node, STARTING_SECONDS, "starting", is_wiped=False))

    def disable(self, node: Node, option: str) -> None:
        node.body["schedulingState"] = "disabled"
        self.service.spawn(self._go_offline(node, option))

    async def _go_offline(self, node: Node, option: str) -> None:
        await self.vacate(node, option)
        if node.state in ("idle", "running") and node.body["schedulingState"] == "disabled":
            self.enter(node, "offline")

    def enable(self, node: Node) -> None:
        node.body["schedulingState"] = "enabled"
        if node.state == "offline":
            self.settle(node)
        self.scheduler.wake()

    def preempt(self, node: Node, restore_after: float | None) -> None:
        """The machine is taken away in the middle of its work; it may come back, empty, under the same id."""
        self.enter(node, "preempted")
        self._lose(node)
        wipe(node.folder)
        if restore_after is None:
            if node.life is not None:
                node.life.cancel()
        else:
            self._live(node, self._restore(node, restore_after))

    async def _restore(self, node: Node, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while node.runs:
            await asyncio.sleep(WATCH_SECONDS)
        await self._boot(node, CREATING_SECONDS, "creating", is_wiped=True)

    def _lose(self, node: Node) -> None:
        node.incarnation += 1
        self.processes.kill_below(node.folder)
        for run in list(node.runs):
            self.scheduler.stop(run, "lost")
        for job in self.service.jobs.values():
            known = job.preparations.get(node.key)
            if known is not None and known.work is not None:
                known.work.cancel()

    def break_down(self, node: Node, state: str, errors: list[Body]) -> None:
        """A fault: the node is `unusable`, `unknown` or the like, and what ran on it starts anew elsewhere."""
        self.enter(node, state)
        if errors:
            node.body["errors"] = errors
        if state not in ("idle", "running"):
            self._lose(node)

    async def remove(self, node: Node, option: str) -> None:
        """Takes a node out of its pool for good."""
        self.enter(node, "leavingpool")
        if node.life is not None:
            node.life.cancel()
        await self.vacate(node, option)
        self.processes.kill_below(node.folder)
        await self.service.clock.pause(STARTING_SECONDS)
        node.pool.nodes.pop(node.key, None)
        node.incarnation += 1
        wipe(node.folder)
