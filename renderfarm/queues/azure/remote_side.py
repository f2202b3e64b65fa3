"""What the cloud says of jobs, to any machine that has the pool's table: recalled, counted, read, stopped."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from renderfarm.depots.blobs import BlobClient, BlobMissingError
from renderfarm.errors import ConfigError, PoolError, RenderfarmError, StoreError
from renderfarm.job.job import Job
from renderfarm.job.record import Record
from renderfarm.job.store import Store
from renderfarm.queues.azure import garbage, layout, packages, prices, uploads
from renderfarm.queues.azure.account import Account, RecordError
from renderfarm.queues.azure.batch import OURS, is_word, marks
from renderfarm.queues.azure.cloudjob import CloudJob, end_all
from renderfarm.queues.azure.images import choose_image, supported
from renderfarm.queues.azure.queue import mirror
from renderfarm.queues.azure.settings import DELETE, KEEP, CloudSettings
from renderfarm.queues.azure.start_task import start_task
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.remote import unattended
from renderfarm.queues.remote_side import Bill, Check, Swept
from renderfarm.renderers import renderers as known_renderers
from renderfarm.words.scene import Scene
from renderfarm.words.status import Status
from renderfarm.words.work import Build


class AzureSide:
    """Jobs in the cloud (see `renderfarm.queues.remote_side.RemoteSide`), and what is rented for them."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self.account = Account(settings)
        """nodes, which come and go, renderers for them, and the services behind them"""

    def recall(self, job: str) -> Record | None:
        """The record of a job, by its id or an unambiguous beginning of it."""
        if found := self.account.record(job):
            return found
        candidates = [record for record in self._records(job) if record.job.startswith(job)]
        if len(candidates) > 1:
            names = ", ".join(record.job for record in candidates[:5])
            raise StoreError(f"{job!r} can mean more than one job: {names}.", "Give more of its id.")
        return candidates[0] if candidates else None

    def _records(self, job: str) -> Iterator[Record]:
        start = layout.container(self._settings.prefix, job)
        for name in self.account.storage.containers():
            if name.startswith(start):
                with contextlib.suppress(BlobMissingError, RecordError):
                    record = self.account.record_in(name)
                    if found := self.account.record(record.job):
                        yield found

    def status(self, job: Job, status: Status) -> Status:
        """A status with what the nodes have done since this machine looked last, and what they cost."""
        self._mirror(job)
        paid = prices.paid(job.refresh().ledger.nodes.spans, status, self._settings)
        if not status.frames.queued + status.frames.running:
            return paid
        cloud = self._cloud(job)
        return unattended(job, paid, cloud.is_there and cloud.ending() is None)

    def _mirror(self, job: Job) -> BlobClient:
        depot = self.account.depot(job.id)
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
            yield from self._running_logs(self._cloud(job), seen)

    def _running_logs(self, cloud: CloudJob, seen: set[str]) -> Iterator[tuple[str, str]]:
        batch = self.account.batch
        for row in batch.tasks(cloud.id, ("id",), "state eq 'running'") if cloud.is_there else ():
            name = row["id"]
            for file in ("stdout.txt", "stderr.txt") if name not in seen else ():
                if data := batch.file("jobs", cloud.id, "tasks", name, path=file):
                    yield f"{name}/{file}", data.decode(errors="replace")

    def cancel(self, job: Job) -> bool:
        """End a job's tasks, whatever its record says by now; its frames stay. False when Batch has none."""
        return end_all(self.account.batch, job.id, "canceled")

    def equipment(self, scene: Scene, build: Build) -> str:
        """The pool, its image and the packages that the scene gets."""
        settings, known = self._settings, self.account.packages.all()
        own = list(settings.renderer)
        with contextlib.suppress(PoolError):  # a package that is missing is told by who needs it
            chosen = packages.choose(known, packages.wanted(settings), scene, build)
            own = [package.sha256 or package.name for package in chosen]
        place = [settings.batch_url, settings.pool_id, settings.image, settings.container_image]
        return json.dumps([*place, own, scene.renderer, build.version])

    def bill(self, job: PoolJob) -> Bill:
        """What a submit would send, and what it may cost."""
        with contextlib.closing(Store(job.home)) as store:
            manifest = uploads.collect(job.scene, store)
        missing = uploads.missing(manifest, self.account.storage)
        is_known = job.seconds is not None
        seconds = (job.seconds or 0.0) * job.frame_count / self._settings.slots_per_node
        cost = prices.estimate(seconds, self._settings)
        return Bill(
            upload=tuple((f"{manifest.root}/{file.path}", file.bytes) for file in missing),
            present=len({file.sha256 for file in manifest.files}) - len(missing),
            node_hours=cost.node_hours if is_known else None,
            cost=cost.amount if is_known else None,
            currency=cost.currency,
            prices=cost.dated,
            unpriced=prices.unpriced(self._settings) or "",
        )

    def settle(self, job: Job) -> str | None:
        """Let go of nodes that no other job uses, if the configuration says so; a note."""
        settings, nodes = self._settings, self.account.nodes
        record = self.account.record(job.id)
        after = (record and record.request.after) or settings.after
        if after == KEEP or settings.auto_pool:
            return None
        if others := [other for other in nodes.jobs() if other != self._cloud(job).id]:
            return f"pool {settings.pool_id!r} is kept: {others[0]} uses it"
        if after == DELETE:
            nodes.delete()
            return f"pool {settings.pool_id!r} is being deleted"
        return nodes.resize(0)

    def _cloud(self, job: Job) -> CloudJob:
        return CloudJob(self.account.batch, job.id)

    # What is paid for

    def create(self, nodes: int | None = None) -> tuple[str, ...]:
        """Make the pool before any job needs it, or bring it up to date; `nodes` come at once. Notes."""
        settings, storage = self._settings, self.account.storage
        if settings.auto_pool:
            message = f"[pools.{settings.name}] has auto_pool = true: each job brings its own pool."
            raise PoolError(message, "Take auto_pool out of the table to have a pool that stays.")
        chosen = self.account.packages.unasked(settings)
        renderers = {package.renderer for package in chosen if package.file}
        if any(package.name == packages.DISTRIBUTION for package in chosen):
            renderers.update(each.name for each in known_renderers() if each.equipment.distribution)
        start = start_task(storage, settings, chosen, {"renderers": sorted(renderers)})
        return self.account.nodes.ensure(start, nodes=nodes or 0, exactly=nodes)

    def sweep(self, days: float, *, dry_run: bool) -> Swept:
        """Remove what jobs that ended so long ago left, and assets that no job needs."""
        storage = self.account.storage
        return garbage.sweep(storage, living=self._is_living, older_than=timedelta(days=days), dry_run=dry_run)

    def _is_living(self, container: str) -> bool:
        """Whether a container's job is not over, on any pool; of another account's jobs nobody knows here."""
        with contextlib.suppress(BlobMissingError, RecordError):
            if not self.account.is_ours(self.account.record_in(container)):
                return True
        names = (marks(job.metadata).get(OURS) for job in self.account.batch.open_jobs())
        return any(name and self.account.container(name) == container for name in names)

    def doctor(self) -> Iterator[Check]:
        """Look at everything that a job needs, in the order in which to mend it."""
        looks = LOOKS | ({"start task": _start_task} if self._settings.start_task else {})
        for name, look in looks.items():
            try:
                yield Check(name, True, look(self.account))
            except RenderfarmError as error:
                yield Check(name, False, error.message, error.hint)

    def close(self) -> None:
        """Let go of connections."""
        self.account.close()


def _batch_account(account: Account) -> str:
    pool = account.batch.get_pool(account.settings.pool_id)
    how = "is there" if pool and not is_word(pool.state, "deleting") else "is made by submit"
    return f"{account.settings.batch_url}, pool {account.settings.pool_id!r} {how}"


def _storage_account(account: Account) -> str:
    names = sum(1 for _ in account.storage.containers())
    return f"{account.settings.storage_url}, {names} containers of {account.settings.prefix!r}"


def _image(account: Account) -> str:
    found = choose_image(supported(account.batch), account.settings, datetime.now(UTC))
    return "; ".join((found.name, *found.notes))


def _pool(account: Account) -> str:
    """Size and price; raises PoolError for what keeps all nodes from working."""
    settings, found = account.settings, account.nodes.show()
    for trouble in found.troubles:
        if trouble.fatal:
            raise PoolError(trouble.message, trouble.hint)
    hour = prices.estimate(3600, settings)
    cost = prices.unpriced(settings) or f"about {hour.amount:.3g} {hour.currency} an hour each"
    nodes = f"{found.current_spot + found.current_dedicated} nodes now"
    return "; ".join(filter(None, [f"{settings.vm_size}, {cost}", nodes, prices.retiring(settings.vm_size)]))


def _renderers(account: Account) -> str:
    """What is kept; raises InputError when the table names a renderer that isn't."""
    for name in account.settings.renderer:
        account.packages.named(name)
    return (
        ", ".join(package.name for package in account.packages.all())
        or "none kept in storage (renderfarm renderer add)"
    )


def _start_task(account: Account) -> str:
    path = Path(account.settings.start_task or "")
    if path.is_file():
        return str(path)
    hint = "start_task in the pool's table is the path of a shell script on this machine."
    raise ConfigError(f"There is no file {path}.", hint)


LOOKS: dict[str, Callable[[Account], str]] = {
    "Batch account": _batch_account,
    "storage account": _storage_account,
    "image": _image,
    "pool": _pool,
    "renderers": _renderers,
}
"""what rendering stands on, in the order in which to mend it"""
