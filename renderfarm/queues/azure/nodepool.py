"""The pool of nodes behind one `[pools.NAME]` table: made when it is missing, kept right, shown, let go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from azure.batch import models

from renderfarm.errors import ConfigError, PoolError
from renderfarm.queues.azure import prices
from renderfarm.queues.azure.batch import LONGEST_LOOK_SECONDS, Batch, Json, at, is_word, items, word
from renderfarm.queues.azure.credentials import CA_BUNDLE, default_credential
from renderfarm.queues.azure.images import Image, choose_image, supported
from renderfarm.queues.azure.poolbody import Mark, managed_body, mark_of, metadata, pool_body, scale, shares
from renderfarm.queues.azure.refusals import Patience, ServiceRefusal, refusals
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.start_task import StartTask
from renderfarm.queues.azure.troubles import Troubles, reboot
from renderfarm.queues.remote_side import PoolStatus, PoolSummary

NOT_BILLED = ("preempted", "deallocated")
FORBIDDEN = 403
ARM_URL = "https://management.azure.com"
ARM_VARIABLE = "RENDERFARM_ARM_URL"
"""for sovereign clouds"""
WAIT_SECONDS = 120.0
"""for a pool that is being deleted to be gone"""


class NodePool:
    """The nodes of one pool table."""

    def __init__(self, batch: Batch, settings: CloudSettings) -> None:
        self._batch = batch
        self._settings = settings
        self._id = settings.pool_id

    def ensure(self, start: StartTask, *, nodes: int = 1, exactly: int | None = None) -> tuple[str, ...]:
        """Make the pool if it is missing, else bring its start task up to date; what the user should know.

        `nodes` are wanted at once of a pool that scales itself (the formula takes over within minutes);
        a new one of fixed size has `exactly` so many.
        Raises PoolError for a pool that can't serve, with the way out.
        """
        pool = self._batch.get_pool(self._id)
        if pool is not None and is_word(pool.state, "deleting"):
            self._wait_until_gone()
            pool = None
        told = filter(None, [prices.retiring(self._settings.vm_size)])
        if pool is None:
            return (*self._create(start, nodes, exactly), *told)
        return (*self._differences(pool), *self._brought_up_to_date(pool, start, nodes), *told)

    def auto_pool(self, start: StartTask, nodes: int) -> Json:
        """The `autoPoolSpecification` of a job whose pool lives and dies with it."""
        body = pool_body(self._settings, start, self._image(), scale(self._settings, awake=nodes))
        lifetime = {"poolLifetimeOption": "job", "keepAlive": False}
        return {"autoPoolIdPrefix": self._id[:20], **lifetime, "pool": body}

    def resize(self, nodes: int) -> str:
        """Let the pool have at most (of a fixed size: exactly) so many nodes until the next submit; a note."""
        pool = self._batch.get_pool(self._id)
        if pool is None:
            hint = f"Make it with: renderfarm pool create {self._settings.name}"
            raise PoolError(f"There is no pool {self._id!r} in Azure Batch.", hint)
        if pool.enable_auto_scale:
            self._scale_itself(nodes=nodes)
            return f"pool {self._id!r} follows its tasks up to {nodes} nodes until the next submit"
        self._set_size(pool, nodes)
        return f"pool {self._id!r} is on its way to {nodes} nodes"

    def delete(self, *, wait: bool = False) -> bool:
        """Delete the pool with its nodes; False when there is none."""
        gone = ("PoolNotFound", "PoolBeingDeleted")
        there = self._batch.order("DELETE", at("pools", self._id), f"delete pool {self._id!r}", gone=gone)
        if there and wait:
            self._wait_until_gone()
        return there

    # Looking

    def show(self) -> PoolStatus:
        """Where the pool stands, with what is wrong."""
        batch, settings = self._batch, self._settings
        pool = batch.get_pool(self._id)
        if pool is None:
            return PoolStatus(settings.name, self._id, "missing", vm_size=settings.vm_size)
        found = mark_of(pool.metadata) or Mark()
        states, billed = _counts(batch, self._id)
        return PoolStatus(
            name=settings.name,
            pool=self._id,
            state=word(pool.state),
            allocation=word(pool.allocation_state),
            vm_size=pool.vm_size or "",
            image=found.image,
            autoscale=bool(pool.enable_auto_scale),
            maximum=settings.nodes,
            current_spot=pool.current_low_priority_nodes or 0,
            current_dedicated=pool.current_dedicated_nodes or 0,
            target_spot=pool.target_low_priority_nodes or 0,
            target_dedicated=pool.target_dedicated_nodes or 0,
            nodes=states,
            slots_per_node=pool.task_slots_per_node or 1,
            renderers=found.renderers,
            made_by=found.version,
            created=pool.creation_time.isoformat() if pool.creation_time else None,
            troubles=Troubles(batch, settings).of(self._id),
            cost_per_hour=prices.spent(*billed, settings),
        )

    def of_account(self) -> tuple[PoolSummary, ...]:
        """All pools of the Batch account."""
        return tuple(map(_summary, items("list the pools", self._batch.sdk.list_pools)))

    def jobs(self) -> tuple[str, ...]:
        """Batch jobs that are not over on this pool."""
        found = ((job.pool_info, job.id or "") for job in self._batch.open_jobs())
        return tuple(job for pool, job in found if pool and pool.pool_id == self._id)

    # Making and mending

    def _create(self, start: StartTask, nodes: int, exactly: int | None) -> Iterator[str]:
        image = self._image()
        many = self._settings.nodes if self._settings.autoscale or exactly is None else exactly
        size = scale(self._settings, nodes=many, awake=nodes)
        body = {"id": self._id, **pool_body(self._settings, start, image, size)}
        if self._settings.identity:
            create_with_identity(self._settings, self._id, body)
        else:
            self._batch.order("POST", "/pools", f"create pool {self._id!r}", body, gone=("PoolExists",))
        kind = "follows its tasks up to" if self._settings.autoscale else "has"
        yield f"made pool {self._id!r}: {self._settings.vm_size}, {kind} {many} nodes"
        yield from image.notes

    def _image(self) -> Image:
        return choose_image(supported(self._batch), self._settings, datetime.now(UTC))

    def _differences(self, pool: models.BatchPool) -> Iterator[str]:
        """What can't be changed about a pool that there is."""
        settings = self._settings
        anew = f"renderfarm pool delete {settings.name} makes way for a new one"
        if mark_of(pool.metadata) is None:
            message = f"Azure Batch has a pool {self._id!r} that renderfarm did not make."
            raise PoolError(message, f"Choose another pool_id in [pools.{settings.name}].")
        if (pool.vm_size or "").lower() != settings.vm_size.lower():
            yield f"pool {self._id!r} has nodes of {pool.vm_size}, not {settings.vm_size}: {anew}"
        if (pool.task_slots_per_node or 1) != settings.slots_per_node:
            yield f"pool {self._id!r} has {pool.task_slots_per_node} slots per node: {anew}"

    def _brought_up_to_date(self, pool: models.BatchPool, start: StartTask, nodes: int) -> Iterator[str]:
        """Start task and size; a pool of which the user may only make use is taken as it is."""
        try:
            yield from self._refresh(pool, start)
            yield from self._wake(pool, nodes)
        except ServiceRefusal as refused:
            if refused.status != FORBIDDEN:
                raise
            yield f"pool {self._id!r} is used as it is: you may not change it"

    def _refresh(self, pool: models.BatchPool, start: StartTask) -> Iterator[str]:
        """Give the pool this start task: nodes to come need tokens that are good for the next job."""
        found = mark_of(pool.metadata) or Mark()
        is_same = found.start == start.fingerprint
        if is_same and self._settings.identity:
            return
        body = {"startTask": start.body, "metadata": metadata(start, found.image)}
        self._batch.order("PATCH", at("pools", self._id), f"change pool {self._id!r}", body)
        if is_same:
            return
        yield f"pool {self._id!r} has a new start task"
        if busy := sum(not self._restarted(node) for node in self._batch.nodes(self._id)):
            yield f"{busy} nodes are at work and keep what they have until they are restarted"

    def _restarted(self, node: models.BatchNode) -> bool:
        """Restart a node that does nothing; False for one that keeps what it has."""
        if is_word(node.state, "idle", "starttaskfailed"):
            try:
                reboot(self._batch, self._id, node.id or "")
            except ServiceRefusal:
                return False
        return not is_word(node.state, "running")

    def _wake(self, pool: models.BatchPool, nodes: int) -> Iterator[str]:
        """Let nodes come now; a formula that is set is evaluated at once."""
        if pool.enable_auto_scale and self._settings.autoscale:
            self._scale_itself(awake=nodes)
        elif not pool.enable_auto_scale and not _target(pool):
            self._set_size(pool, self._settings.nodes)
            yield f"pool {self._id!r} had no nodes and is on its way to {self._settings.nodes}"

    def _scale_itself(self, **how: int) -> None:
        """Let a formula decide on the pool's size; the service takes this once in 30 seconds."""
        body = scale(replace(self._settings, autoscale=True), **how)
        del body["enableAutoScale"]
        what, often = f"let pool {self._id!r} scale itself", ("TooManyEnableAutoScaleRequests",)
        self._batch.order("POST", at("pools", self._id, "enableautoscale"), what, body, gone=often)

    def _set_size(self, pool: models.BatchPool, nodes: int) -> None:
        """Begin to resize a pool of fixed size, whose tasks end first; a resize that goes on is given up."""
        if not is_word(pool.allocation_state, "steady"):
            done = ("OperationInvalidForCurrentState", "PoolNotBeingResized")
            what = f"stop resizing {self._id!r}"
            self._batch.order("POST", at("pools", self._id, "stopresize"), what, {}, gone=done)
        spot, dedicated = shares(self._settings, nodes)
        sizes = {"targetDedicatedNodes": dedicated, "targetLowPriorityNodes": spot}
        body = {**sizes, "nodeDeallocationOption": "taskcompletion"}
        self._batch.order("POST", at("pools", self._id, "resize"), f"resize pool {self._id!r}", body)

    def _wait_until_gone(self) -> None:
        pause = min(self._settings.poll_seconds, LONGEST_LOOK_SECONDS)
        deadline = time.monotonic() + WAIT_SECONDS
        while self._batch.get_pool(self._id):
            if time.monotonic() > deadline:
                hint = "Try again in a few minutes, or choose another pool_id."
                raise PoolError(f"Pool {self._id!r} is being deleted, which takes its time.", hint)
            time.sleep(pause)


def create_with_identity(settings: CloudSettings, pool: str, body: Mapping[str, Any]) -> None:
    """Make a pool with the configured identity by the management plane, the only way to such; raises PoolError.

    azure-mgmt-batch is an extra, because only such pools need it.
    """
    if not (settings.subscription and settings.resource_group):
        message = f"[pools.{settings.name}] has an identity, but no subscription and resource_group."
        raise ConfigError(message, "Write those of the Batch account into the table.")
    client = _client(settings.subscription)
    what = f"create pool {pool!r} with an identity"
    with client, refusals(what):
        client.pool.create(settings.resource_group, settings.batch_account, pool, managed_body(settings, body))


def _client(subscription: str) -> Any:
    try:
        from azure.mgmt.batch import BatchManagementClient
    except ImportError as error:
        message = "Pools with an identity are made through azure-mgmt-batch, which is not installed."
        raise PoolError(message, "pip install 'renderfarm[azure-management]'") from error
    url = os.environ.get(ARM_VARIABLE, ARM_URL)
    return BatchManagementClient(
        default_credential(),
        subscription,
        base_url=url,
        credential_scopes=[f"{url}/.default"],
        retry_policy=Patience(),
        connection_verify=os.environ.get(CA_BUNDLE) or True,
    )


def _summary(pool: models.BatchPool) -> PoolSummary:
    return PoolSummary(
        pool=pool.id or "",
        state=word(pool.state),
        allocation=word(pool.allocation_state),
        vm_size=pool.vm_size or "",
        nodes=(pool.current_low_priority_nodes or 0) + (pool.current_dedicated_nodes or 0),
        target=_target(pool),
        autoscale=bool(pool.enable_auto_scale),
        ours=mark_of(pool.metadata) is not None,
    )


def _target(pool: models.BatchPool) -> int:
    return (pool.target_low_priority_nodes or 0) + (pool.target_dedicated_nodes or 0)


def _counts(batch: Batch, pool: str) -> tuple[dict[str, int], tuple[int, int]]:
    """Nodes by state, in the words that nodes have, and how many spot and dedicated ones are billed."""
    what, condition = f"count the nodes of {pool!r}", f"poolId eq '{pool}'"
    states: dict[str, int] = {}
    billed = [0, 0]
    for counts in items(what, batch.sdk.list_pool_node_counts, filter=condition):
        for kind, found in enumerate((counts.low_priority, counts.dedicated)):
            for name, number in (found.as_dict() if found else {}).items():
                state = name.lower()
                if number and state != "total":
                    states[state] = states.get(state, 0) + number
                    billed[kind] += 0 if state in NOT_BILLED else number
    return states, (billed[0], billed[1])
