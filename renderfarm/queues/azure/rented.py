"""What is paid for: nodes that come and go, renderers for them, and storage that fills up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from renderfarm.depots.blobs import BlobMissingError
from renderfarm.errors import PoolError
from renderfarm.queues.azure import garbage, nodepool, packages
from renderfarm.queues.azure.account import Account, RecordError
from renderfarm.queues.azure.batch import OURS, marks
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.start_task import start_task
from renderfarm.queues.remote_side import Package, PoolStatus, PoolSummary, Swept
from renderfarm.renderers import renderers as known_renderers


class Rented:
    """The nodes and the storage of one pool table. Raises PoolError, InputError for what is not there."""

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._account = Account(settings)

    def create(self, nodes: int | None = None) -> tuple[str, ...]:
        """Make the pool before any job needs it, or bring it up to date; `nodes` come at once. Notes."""
        settings, storage = self._settings, self._account.storage
        if settings.auto_pool:
            message = f"[pools.{settings.name}] has auto_pool = true: each job brings its own pool."
            raise PoolError(message, "Take auto_pool out of the table to have a pool that stays.")
        chosen = tuple(self._wanted())
        renderers = {package.renderer for package in chosen if package.file}
        if any(package.name == packages.DISTRIBUTION for package in chosen):
            renderers.update(each.name for each in known_renderers() if each.equipment.distribution)
        start = start_task(storage, settings, chosen, {"renderers": sorted(renderers)})
        return self._account.nodes.ensure(start, nodes=nodes or 0)

    def _wanted(self) -> Iterator[Package]:
        """What nodes install when no scene says which: as configured, or the newest of all that is kept."""
        storage = self._account.storage
        if wanted := packages.wanted(self._settings):
            yield from (packages.named(storage, name) for name in wanted)
            return
        newest = {package.renderer: package for package in reversed(packages.packages(storage))}
        yield from newest.values() or (packages.without_file(packages.DISTRIBUTION),)

    def show(self) -> PoolStatus:
        """Where the pool stands."""
        return nodepool.show(self._account.batch, self._settings)

    def list(self) -> tuple[PoolSummary, ...]:
        """All pools of the Batch account."""
        return tuple(nodepool.pools(self._account.batch))

    def resize(self, nodes: int) -> str:
        """Another size until the next submit; a note."""
        return self._account.nodes.resize(nodes)

    def delete(self, *, wait: bool = False) -> bool:
        """Delete the pool with its nodes; False when there is none. Jobs wait for the next one."""
        return self._account.nodes.delete(wait=wait)

    def jobs_under_way(self) -> tuple[str, ...]:
        """Jobs that are not over on this pool."""
        return tuple(self._account.under_way())

    def packages(self) -> Sequence[Package]:
        """Renderers that nodes can install."""
        return packages.packages(self._account.storage)

    def add_package(self, file: Path, name: str | None, progress: Callable[[str], None]) -> Package:
        """Keep a renderer for nodes; raises InputError for a file that is none."""
        return packages.add(self._account.storage, file, name, progress)

    def remove_package(self, name: str) -> None:
        """Take a renderer away; raises InputError when it is not there."""
        packages.remove(self._account.storage, name)

    def sweep(self, days: float, *, dry_run: bool) -> Swept:
        """Remove what jobs that ended so long ago left, and assets that no job needs."""
        storage = self._account.storage
        return garbage.sweep(storage, living=self._is_living, older_than=timedelta(days=days), dry_run=dry_run)

    def _is_living(self, container: str) -> bool:
        """Whether a container's job is not over, on any pool; of another account's jobs nobody knows here."""
        with contextlib.suppress(BlobMissingError, RecordError):
            if not self._account.is_ours(self._account.record_in(container)):
                return True
        names = (marks(job.metadata).get(OURS) for job in self._account.batch.open_jobs())
        return any(name and self._account.container(name) == container for name in names)

    def close(self) -> None:
        """Let go of connections."""
        self._account.close()
