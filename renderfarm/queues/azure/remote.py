"""What the cloud says of jobs, to any machine that has the pool's table: recalled, counted, read, stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from renderfarm.depots.blobs import BlobDepot, BlobMissingError
from renderfarm.errors import PoolError, StoreError
from renderfarm.job.job import Job
from renderfarm.job.record import Record
from renderfarm.job.store import Store
from renderfarm.queues.azure import layout, prices, uploads
from renderfarm.queues.azure.account import Account, RecordError
from renderfarm.queues.azure.cloudjob import CloudJob, end_all
from renderfarm.queues.azure.movable import require_movable
from renderfarm.queues.azure.queue import mirror
from renderfarm.queues.azure.settings import DELETE, KEEP, CloudSettings
from renderfarm.queues.order import PoolJob
from renderfarm.queues.remote import unattended
from renderfarm.queues.site import Bill
from renderfarm.words.model import Status


class RemoteJobs:
    """Jobs in the cloud (see `renderfarm.queues.Site`)."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._account = Account(settings)

    def recall(self, job: str) -> Record | None:
        """The record of a job, by its id or an unambiguous beginning of it."""
        if found := self._account.record(job):
            return found
        candidates = [record for record in self._records(job) if record.job.startswith(job)]
        if len(candidates) > 1:
            names = ", ".join(record.job for record in candidates[:5])
            raise StoreError(f"{job!r} can mean more than one job: {names}.", "Give more of its id.")
        return candidates[0] if candidates else None

    def _records(self, job: str) -> Iterator[Record]:
        start = layout.container(self._settings.prefix, job)
        for name in self._account.storage.containers():
            if name.startswith(start):
                with contextlib.suppress(BlobMissingError, RecordError):
                    record = self._account.record_in(name)
                    if found := self._account.record(record.job):
                        yield found

    def standing(self, job: Job, status: Status) -> Status:
        """A status with what the nodes have done since this machine looked last, and what they cost."""
        self._mirror(job)
        spans = job.refresh().ledger.nodes.spans.items()
        spot, dedicated = (
            sum(last - first for node, (first, last) in spans if node.endswith(kind)) / 3600
            for kind in ("-spot", "-dedicated")
        )
        cost = prices.spent(spot, dedicated, self._settings)
        notes = (*status.notes, *filter(None, [prices.unpriced(self._settings)]))
        hours = round(cost.node_hours, 4)
        paid = replace(status, node_hours=hours, cost=cost.amount, currency=cost.currency, notes=notes)
        if not status.frames.queued + status.frames.running:
            return paid
        cloud = self._cloud(job.id)
        goes_on = cloud.is_there and cloud.ending() is None
        return unattended(job, paid, goes_on)

    def _mirror(self, job: Job) -> BlobDepot:
        depot = BlobDepot(self._account.storage.at(self._account.container(job.id)))
        mirror(depot, job.journals)
        return depot

    def logs(self, job: Job, frame: int | None) -> Iterator[tuple[str, str]]:
        """Logs that tasks left in storage, and the words so far of those that run."""
        depot = self._mirror(job)
        names = None if frame is None else {Path(name).stem for name in job.refresh().ledger.logs(frame)}
        seen = set()
        for blob, _ in depot.list(layout.LOGS):
            task, _, file = blob.removeprefix(layout.LOGS).rpartition("/")
            if task and (names is None or Path(file).stem in names):
                seen.add(task)
                yield f"{task}/{file}", depot.read(blob).decode(errors="replace")
        if names is None:
            yield from self._running_logs(job.id, seen)

    def _running_logs(self, job: str, seen: set[str]) -> Iterator[tuple[str, str]]:
        cloud = self._cloud(job)
        if not cloud.is_there:
            return
        for row in self._account.batch.changed_tasks(cloud.id, None, ("id",), "state eq 'running'"):
            name = row["id"]
            if name not in seen:
                for file in ("stdout.txt", "stderr.txt"):
                    if data := self._account.batch.task_file(cloud.id, name, file):
                        yield f"{name}/{file}", data.decode(errors="replace")

    def cancel(self, job: Job) -> bool:
        """End a job's tasks, whatever its record says by now; its frames stay. False when Batch has none."""
        return end_all(self._account.batch, job.id, "canceled")

    def bill(self, job: PoolJob) -> Bill:
        """What a submit would send, and what it may cost."""
        with contextlib.closing(Store(job.home)) as store:
            manifest = uploads.collect(job.scene, store)
        require_movable(job.scene, manifest)
        plan = uploads.plan(manifest, self._account.storage)
        seconds = None if job.seconds is None else job.seconds * job.frame_count / self._settings.slots_per_node
        cost = prices.estimate(seconds or 0.0, self._settings)
        return Bill(
            upload=tuple((f"{manifest.root}/{file.path}", file.bytes) for file in plan.missing),
            present=plan.present_files,
            node_hours=None if seconds is None else cost.node_hours,
            cost=None if seconds is None else cost.amount,
            currency=cost.currency,
            prices=cost.dated,
            unpriced=prices.unpriced(self._settings) or "",
        )

    def settle(self, job: Job) -> str | None:
        """Let go of nodes that no other job uses, if the configuration says so; a note."""
        settings, nodes = self._settings, self._account.nodes
        record = self._account.record(job.id)
        after = (record and record.request.after) or settings.after
        if after == KEEP or settings.auto_pool:
            return None
        if others := [other for other in self._active() if other != self._cloud(job.id).id]:
            return f"pool {settings.pool_id!r} is kept: {others[0]} uses it"
        if after == DELETE:
            nodes.delete()
            return f"pool {settings.pool_id!r} is being deleted"
        return nodes.resize(0)

    def _active(self) -> Iterator[str]:
        """Jobs that are not over on this pool."""
        for job in self._account.batch.list_jobs("state ne 'completed'", ("id", "state", "poolInfo")):
            if job.pool_info and job.pool_info.pool_id == self._settings.pool_id:
                yield job.id or ""

    def _cloud(self, job: str) -> CloudJob:
        record = self._account.record(job)
        if record is None:
            raise PoolError(
                f"The cloud has no job {job}.", "It never got there, or was removed (renderfarm gc)."
            )
        cloud = CloudJob(
            self._account.batch,
            self._settings,
            job,
            record.request,
            lambda: {"poolId": self._settings.pool_id},
            lambda: self._account.access(job),
        )
        cloud.attach()
        return cloud

    def close(self) -> None:
        """Let go of connections."""
        self._account.close()
