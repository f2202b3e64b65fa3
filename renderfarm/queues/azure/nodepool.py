"""The pool of nodes behind one `[pools.NAME]` table: made when it is missing, kept right, looked at, let go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from azure.batch import models

from renderfarm.errors import PoolError
from renderfarm.queues.azure import prices
from renderfarm.queues.azure.autoscale import INTERVAL_MINUTES
from renderfarm.queues.azure.batch import Batch, Json, ServiceRefusal, is_word
from renderfarm.queues.azure.images import Image, choose_image
from renderfarm.queues.azure.poolbody import Mark, Start, mark, mark_of, metadata, pool_body, scale, shares
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.troubles import Troubles
from renderfarm.queues.site import PoolStanding, PoolSummary, PoolTrouble

__all__ = ["NodePool", "PoolStanding", "PoolSummary", "PoolTrouble"]

AWAKE = timedelta(minutes=10)
"""how long the nodes that a submit asks for stay wanted while samples of its tasks come in"""
NOT_BILLED = ("preempted", "deallocated")
LONGEST_LOOK_SECONDS = 2.0
FORBIDDEN = 403
WAIT_SECONDS = 120.0
"""for a pool that is being deleted to be gone, and for a resize to stop"""


class NodePool:
    """The nodes of one pool table."""

    def __init__(self, batch: Batch, settings: CloudSettings) -> None:
        self._batch = batch
        self._settings = settings
        self._id = settings.pool_id
        self._troubles = Troubles(batch, settings)

    def ensure(self, start: Start, *, nodes: int = 1) -> tuple[str, ...]:
        """Make the pool if it is missing, else bring its start task up to date; what the user should know.

        `nodes` are wanted at once (of a pool that scales itself); the formula takes over within minutes.
        Raises PoolError for a pool that can't serve, with the way out.
        """
        pool = self._batch.get_pool(self._id)
        if pool is not None and is_word(pool.state, "deleting"):
            self._wait_until_gone()
            pool = None
        told = filter(None, [prices.retiring(self._settings.vm_size)])
        if pool is None:
            return (*self._create(start, nodes), *told)
        return (*self._differences(pool), *self._brought_up_to_date(pool, start, nodes), *told)

    def auto_pool_specification(self, start: Start, *, nodes: int = 1) -> tuple[Json, tuple[str, ...]]:
        """The `autoPoolSpecification` of a job whose pool lives and dies with it, and notes for the user."""
        image = self._image()
        specification = {
            "autoPoolIdPrefix": self._id[:20],
            "poolLifetimeOption": "job",
            "keepAlive": False,
            "pool": pool_body(self._settings, start, image, self._scale(nodes)),
        }
        return specification, image.notes

    def show(self) -> PoolStanding:
        """Where the pool stands, with what is wrong."""
        pool = self._batch.get_pool(self._id)
        settings = self._settings
        if pool is None:
            return PoolStanding(settings.name, self._id, "missing", vm_size=settings.vm_size)
        found = mark_of(pool.metadata) or Mark()
        states, billed = self._counts()
        return PoolStanding(
            name=settings.name,
            pool=self._id,
            state=_word(pool.state),
            allocation=_word(pool.allocation_state),
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
            troubles=self._troubles.of(self._id),
            cost_per_hour=prices.per_hour(*billed, settings),
        )

    def list(self) -> Iterator[PoolSummary]:
        """The account's pools."""
        return (_summary(pool) for pool in self._batch.list_pools())

    def resize(self, nodes: int) -> str:
        """Let the pool have at most (of a fixed size: exactly) so many nodes until the next submit; a note."""
        pool = self._batch.get_pool(self._id)
        if pool is None:
            raise _missing(self._settings)
        spot, dedicated = shares(self._settings, nodes)
        if pool.enable_auto_scale:
            self._enable(scale(self._settings, nodes=nodes))
            return f"pool {self._id!r} follows its tasks up to {nodes} nodes until the next submit"
        if is_word(pool.allocation_state, "resizing"):
            self._stop_resize()
        self._batch.resize_pool(self._id, spot=spot, dedicated=dedicated)
        return f"pool {self._id!r} is on its way to {nodes} nodes"

    def delete(self, *, wait: bool = False) -> bool:
        """Delete the pool with its nodes; False when there is none."""
        there = self._batch.delete_pool(self._id)
        if there and wait:
            self._wait_until_gone()
        return there

    def troubles(self, job: str | None = None) -> tuple[PoolTrouble, ...]:
        """Why nodes may not come or not work; for a job in Batch also why they can't prepare for it."""
        pool = self.pool_of(job)
        return self._troubles.of(pool, job) if pool else ()

    def pool_of(self, job: str | None) -> str | None:
        """The pool that a job runs on; where pools come with jobs its own one, None before Batch made that."""
        if job is None or not self._settings.auto_pool:
            return self._id
        found = self._batch.get_job(job, select=("id", "executionInfo"))
        info = found and found.execution_info
        return (info.pool_id or None) if info else None

    # Making and mending

    def _create(self, start: Start, nodes: int) -> tuple[str, ...]:
        image = self._image()
        body = {"id": self._id, **pool_body(self._settings, start, image, self._scale(nodes))}
        if self._settings.identity:
            from renderfarm.queues.azure.management import create_with_identity

            create_with_identity(self._settings, self._id, body)
        else:
            self._batch.create_pool(body)
        kind = "follows its tasks up to" if self._settings.autoscale else "has"
        made = f"made pool {self._id!r}: {self._settings.vm_size}, {kind} {self._settings.nodes} nodes"
        return (made, *image.notes)

    def _image(self) -> Image:
        return choose_image(self._batch.supported_images(), self._settings, datetime.now(UTC))

    def _scale(self, nodes: int) -> Json:
        awake = min(nodes, self._settings.nodes)
        return scale(self._settings, awake=awake, until=datetime.now(UTC) + AWAKE)

    def _differences(self, pool: models.BatchPool) -> Iterator[str]:
        """What can't be changed about a pool that there is."""
        settings = self._settings
        found = mark_of(pool.metadata)
        anew = f"renderfarm pool delete {settings.name} makes way for a new one"
        if found is None:
            message = f"Azure Batch has a pool {self._id!r} that renderfarm did not make."
            raise PoolError(message, f"Choose another pool_id in [pools.{settings.name}].")
        if (pool.vm_size or "").lower() != settings.vm_size.lower():
            yield f"pool {self._id!r} has nodes of {pool.vm_size}, not {settings.vm_size}: {anew}"
        if (pool.task_slots_per_node or 1) != settings.slots_per_node:
            yield f"pool {self._id!r} has {pool.task_slots_per_node} slots per node: {anew}"

    def _brought_up_to_date(self, pool: models.BatchPool, start: Start, nodes: int) -> Iterator[str]:
        """Start task and size; a pool of which the user may only make use is taken as it is."""
        try:
            yield from self._refresh(pool, start)
            yield from self._wake(pool, nodes)
        except ServiceRefusal as refused:
            if refused.status != FORBIDDEN:
                raise
            yield f"pool {self._id!r} is used as it is: you may not change it"

    def _refresh(self, pool: models.BatchPool, start: Start) -> Iterator[str]:
        """Give the pool this start task: nodes to come need tokens that are good for the next job."""
        found = mark_of(pool.metadata) or Mark()
        if found.start == start.fingerprint and self._settings.identity:
            return
        self._batch.patch_pool(
            self._id, {"startTask": start.body, "metadata": metadata(mark(start, found.image))}
        )
        if found.start == start.fingerprint:
            return
        yield f"pool {self._id!r} has a new start task"
        if busy := sum(
            not self._restarted(node) for node in self._batch.nodes(self._id, select=("id", "state"))
        ):
            yield f"{busy} nodes are at work and keep what they have until they are restarted"

    def _restarted(self, node: models.BatchNode) -> bool:
        """Restart a node that does nothing; False for one that keeps what it has."""
        if is_word(node.state, "idle", "starttaskfailed"):
            try:
                self._batch.reboot_node(self._id, node.id or "")
            except ServiceRefusal:
                return False
        return not is_word(node.state, "running")

    def _wake(self, pool: models.BatchPool, nodes: int) -> Iterator[str]:
        """Let nodes come now; a formula that is set is evaluated at once."""
        if pool.enable_auto_scale and self._settings.autoscale:
            self._enable(self._scale(nodes))
        elif not pool.enable_auto_scale and not _target(pool):
            if not is_word(pool.allocation_state, "steady"):
                self._stop_resize()
            spot, dedicated = shares(self._settings, self._settings.nodes)
            self._batch.resize_pool(self._id, spot=spot, dedicated=dedicated)
            yield f"pool {self._id!r} had no nodes and is on its way to {self._settings.nodes}"

    def _enable(self, body: Json) -> None:
        formula = body.get("autoScaleFormula") or scale(self._settings)["autoScaleFormula"]
        try:
            self._batch.enable_autoscale(self._id, formula, INTERVAL_MINUTES)
        except ServiceRefusal as refused:
            if refused.code != "TooManyEnableAutoScaleRequests":
                raise

    # Waiting

    def _wait_until_gone(self) -> None:
        self._wait(_is_gone, f"Pool {self._id!r} is being deleted, which takes its time.")

    def _stop_resize(self) -> None:
        self._batch.stop_resize(self._id)
        self._wait(_is_steady, f"Pool {self._id!r} goes on resizing.")

    def _counts(self) -> tuple[dict[str, int], tuple[int, int]]:
        """Nodes by state, and how many spot and dedicated ones are billed."""
        counts = self._batch.node_counts(self._id)
        if counts is None:
            return {}, (0, 0)
        kinds = [_numbers(counts.low_priority), _numbers(counts.dedicated)]
        states = {state: sum(kind.get(state, 0) for kind in kinds) for state in {**kinds[0], **kinds[1]}}
        spot, dedicated = (sum(n for s, n in kind.items() if s not in NOT_BILLED) for kind in kinds)
        return {state: number for state, number in states.items() if number}, (spot, dedicated)

    def _wait(self, done: Callable[[models.BatchPool | None], bool], message: str) -> None:
        """Look until something is so; raises PoolError after a while."""
        pause = min(self._settings.poll_seconds, LONGEST_LOOK_SECONDS)
        deadline = time.monotonic() + WAIT_SECONDS
        while not done(self._batch.get_pool(self._id)):
            if time.monotonic() > deadline:
                raise PoolError(message, "Try again in a few minutes, or choose another pool_id.")
            time.sleep(pause)


def _is_gone(pool: models.BatchPool | None) -> bool:
    return pool is None


def _is_steady(pool: models.BatchPool | None) -> bool:
    return pool is None or is_word(pool.allocation_state, "steady")


def _summary(pool: models.BatchPool) -> PoolSummary:
    return PoolSummary(
        pool=pool.id or "",
        state=_word(pool.state),
        allocation=_word(pool.allocation_state),
        vm_size=pool.vm_size or "",
        nodes=(pool.current_low_priority_nodes or 0) + (pool.current_dedicated_nodes or 0),
        target=_target(pool),
        autoscale=bool(pool.enable_auto_scale),
        ours=mark_of(pool.metadata) is not None,
    )


def _target(pool: models.BatchPool) -> int:
    return (pool.target_low_priority_nodes or 0) + (pool.target_dedicated_nodes or 0)


def _numbers(counts: models.BatchNodeCounts | None) -> dict[str, int]:
    """Nodes by state, in the words that nodes have."""
    found = {} if counts is None else counts.as_dict()
    return {state.lower(): int(number) for state, number in found.items() if state != "total"}


def _word(value: object) -> str:
    return str(getattr(value, "value", value)).lower()


def _missing(settings: CloudSettings) -> PoolError:
    hint = f"Make it with: renderfarm pool create {settings.name}"
    return PoolError(f"There is no pool {settings.pool_id!r} in Azure Batch.", hint)
