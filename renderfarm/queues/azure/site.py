"""All that a pool in Azure offers besides rendering: its jobs, its nodes, its renderers, its storage."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from renderfarm.depots.blobs import BlobMissingError
from renderfarm.errors import ConfigError, PoolError, RenderfarmError
from renderfarm.queues.azure import garbage, packages, prices
from renderfarm.queues.azure.account import RecordError
from renderfarm.queues.azure.batch import OURS
from renderfarm.queues.azure.images import choose_image
from renderfarm.queues.azure.remote import RemoteJobs
from renderfarm.queues.azure.start_task import start_task
from renderfarm.queues.site import Check, Package, PoolStanding, PoolSummary, Swept
from renderfarm.renderers import renderers as known_renderers
from renderfarm.words.model import Build, Scene


class Site(RemoteJobs):
    """The remote side of a pool (see `renderfarm.queues.Site`)."""

    # Nodes

    def create(self, nodes: int | None = None) -> tuple[str, ...]:
        """Make the pool before any job needs it, or bring it up to date; `nodes` come at once. Notes."""
        account = self._account
        if account.settings.auto_pool:
            message = f"[pools.{account.settings.name}] has auto_pool = true: each job brings its own pool."
            raise PoolError(message, "Take auto_pool out of the table to have a pool that stays.")
        chosen = tuple(self._wanted())
        renderers = {package.renderer for package in chosen if isinstance(package, Package)}
        if packages.DISTRIBUTION in chosen:
            renderers.update(each.name for each in known_renderers() if each.equipment.distribution)
        start = start_task(account.storage, account.settings, chosen, {"renderers": sorted(renderers)})
        return account.nodes.ensure(start, nodes=nodes or 0)

    def _wanted(self) -> Iterator[Package | str]:
        """What nodes install when no scene says which: as configured, or the newest of all that is kept."""
        settings, storage = self._settings, self._account.storage
        if settings.renderer or settings.container_image:
            for name in settings.renderer or (packages.IMAGE,):
                own = name in (packages.IMAGE, packages.DISTRIBUTION)
                yield name if own else packages.find(storage, name)
            return
        newest = {package.renderer: package for package in reversed(packages.packages(storage))}
        yield from newest.values() or (packages.DISTRIBUTION,)

    def show(self) -> PoolStanding:
        """Where the pool stands."""
        return self._account.nodes.show()

    def list(self) -> tuple[PoolSummary, ...]:
        """All pools of the Batch account."""
        return tuple(self._account.nodes.list())

    def resize(self, nodes: int) -> str:
        """Another size until the next submit; a note."""
        return self._account.nodes.resize(nodes)

    def delete(self, *, wait: bool = False) -> bool:
        """Delete the pool with its nodes; False when there is none. Jobs wait for the next one."""
        return self._account.nodes.delete(wait=wait)

    def jobs_under_way(self) -> tuple[str, ...]:
        """Jobs of ours that are not over on this pool."""
        return tuple(self._active())

    def doctor(self) -> Iterator[Check]:
        """Look at everything that a job needs, in the order in which to mend it."""
        yield self._checked("Batch account", self._batch_account)
        yield self._checked("storage account", self._storage_account)
        yield self._checked("image", self._image)
        yield self._checked("pool", self._pool)
        yield self._checked("renderers", self._renderers)
        if self._settings.start_task is not None:
            yield self._checked("start task", self._start_task)

    def _checked(self, name: str, look: Callable[[], str]) -> Check:
        try:
            return Check(name, True, look())
        except RenderfarmError as error:
            return Check(name, False, error.message, error.hint)

    def _batch_account(self) -> str:
        is_there = self._account.batch.pool_exists(self._settings.pool_id)
        how = "is there" if is_there else "is made by submit"
        return f"{self._settings.batch_url}, pool {self._settings.pool_id!r} {how}"

    def _storage_account(self) -> str:
        names = sum(1 for _ in self._account.storage.containers())
        return f"{self._settings.storage_url}, {names} containers of {self._settings.prefix!r}"

    def _image(self) -> str:
        images = self._account.batch.supported_images()
        found = choose_image(images, self._settings, datetime.now(UTC))
        return "; ".join((found.name, *found.notes))

    def _pool(self) -> str:
        """Size and price; raises PoolError for what keeps all nodes from working."""
        standing = self.show()
        for trouble in standing.troubles:
            if trouble.fatal and standing.state != "missing":
                raise PoolError(trouble.message, trouble.hint)
        hour = prices.estimate(3600, self._settings)
        cost = prices.unpriced(self._settings) or f"about {hour.amount:.3g} {hour.currency} an hour each"
        nodes = standing.current_spot + standing.current_dedicated
        told = [
            f"{self._settings.vm_size}, {cost}",
            f"{nodes} nodes now",
            prices.retiring(self._settings.vm_size),
        ]
        return "; ".join(filter(None, told))

    def _start_task(self) -> str:
        path = Path(self._settings.start_task or "")
        if path.is_file():
            return str(path)
        hint = "start_task in the pool's table is the path of a shell script on this machine."
        raise ConfigError(f"There is no file {path}.", hint)

    def _renderers(self) -> str:
        """What is kept; raises InputError when the table names a renderer that isn't."""
        for name in self._settings.renderer or ():
            if name not in (packages.IMAGE, packages.DISTRIBUTION):
                packages.find(self._account.storage, name)
        kept = packages.packages(self._account.storage)
        return ", ".join(package.name for package in kept) or "none kept in storage (renderfarm renderer add)"

    # Renderers and storage

    def equipment(self, scene: Scene, build: Build) -> str:
        """The pool, its image and the packages that the scene gets."""
        settings, known = self._settings, packages.packages(self._account.storage)
        chosen: Sequence[Package | str] = settings.renderer
        with contextlib.suppress(PoolError):  # a package that is missing is told by who needs it
            chosen = packages.choose(known, packages.wanted(settings), scene, build)
        own = [package if isinstance(package, str) else package.sha256 for package in chosen]
        place = [settings.batch_url, settings.pool_id, settings.image, settings.container_image]
        return json.dumps([*place, own, scene.renderer, build.version])

    def packages(self) -> Sequence[Package]:
        """Renderers that nodes can install."""
        return packages.packages(self._account.storage)

    def add_package(self, file: Path, name: str | None, progress: Callable[[str], None]) -> Package:
        """Keep a renderer for nodes."""
        return packages.add(self._account.storage, file, name, progress)

    def remove_package(self, name: str) -> None:
        """Take a renderer away."""
        packages.remove(self._account.storage, name)

    def sweep(self, days: float, *, dry_run: bool) -> Swept:
        """Remove what jobs that ended so long ago left, and assets that no job needs."""
        storage = self._account.storage
        found = garbage.sweep(storage, living=self._is_living, older_than=timedelta(days=days), dry_run=dry_run)
        return Swept(found.containers, found.assets, found.bytes)

    def _is_living(self, container: str) -> bool:
        """Whether a container's job is not over, on any pool; of another account's jobs nobody knows here."""
        with contextlib.suppress(BlobMissingError, RecordError):
            if not self._account.is_ours(self._account.record_in(container)):
                return True
        for job in self._account.batch.list_jobs("state ne 'completed'", ("id", "state", "metadata")):
            names = (item.value for item in job.metadata or () if item.name == OURS)
            if any(self._account.container(name) == container for name in names):
                return True
        return False
