"""Brings a job into the cloud: the nodes, the assets, and the record that any machine can follow it by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from renderfarm.errors import PoolError
from renderfarm.job.record import Record
from renderfarm.job.store import Store
from renderfarm.queues.azure import jobs, layout, packages, uploads
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.batch import Json
from renderfarm.queues.azure.on_node.manifest import Manifest
from renderfarm.queues.azure.start_task import StartTask, needs, start_task
from renderfarm.queues.pool_job import PoolJob
from renderfarm.renderers import renderer
from renderfarm.words.as_json import to_json
from renderfarm.words.work import Task


class Submission:
    """One job on its way up, or found there."""

    def __init__(self, account: Account, job: PoolJob) -> None:
        self._account = account
        self._job = job
        if job.record is None:
            raise PoolError("A job for the cloud came without its record.")
        self._record: Record = job.record
        self._has_nodes = False

    def is_whole(self) -> bool:
        """Whether an earlier submit brought all of this job up; raises PoolError for another job of its id."""
        found = self._account.record(self._job.id)
        if found and (found.fingerprint, found.frames) != (self._record.fingerprint, self._record.frames):
            message = f"The cloud has another job {self._job.id} already."
            raise PoolError(message, "Submit again for a new id.")
        return found is not None

    def bring_up(self) -> Iterator[str]:
        """Everything that nodes need, the record last; yields what the user should know."""
        account, storage = self._account, self._account.storage
        container = storage.at(account.container(self._job.id))
        storage.ensure(storage.assets, storage.packages, container.name)
        manifest = self._manifest()
        # First of all, so that a sweep knows what this job is about to need.
        container.put(layout.MANIFEST, to_json(manifest).encode())
        yield from self._nodes()
        self._upload(manifest)
        record = replace(self._record, service=account.settings.batch_url)
        container.put(layout.RECORD, to_json(record).encode())
        if account.settings.auto_pool:
            yield "the pool lives as long as the job"

    def _manifest(self) -> Manifest:
        """What goes up; raises InputError for a scene that no other machine can read."""
        self._say("hashing files")
        with contextlib.closing(Store(self._job.home)) as store:
            manifest = uploads.collect(self._job.scene, store, self._job.work)
        needs = renderer(self._job.scene.renderer).preread(Path(self._job.scene.path)).needs
        return replace(manifest, needs=needs)

    def _nodes(self) -> Iterator[str]:
        """Let nodes come up while assets go up."""
        self._say("getting nodes")
        self._has_nodes = True
        if not self._account.settings.auto_pool:
            yield from self._account.nodes.ensure(self._start_task(), nodes=self._wanted())

    def _upload(self, manifest: Manifest) -> None:
        """Send what is missing, saying how far that is."""
        storage = self._account.storage
        missing = uploads.missing(manifest, storage)
        files = uploads.uploads(manifest, missing, self._job.work.copies)
        done, total = 0, sum(file.bytes for file in missing)
        for size in uploads.send(files, storage.at(storage.assets)):
            if (done + size) >> 20 > done >> 20:
                self._say(f"uploading {(done + size) >> 20:,} of {total >> 20:,} MiB")
            done += size

    def _start_task(self) -> StartTask:
        """What makes a machine render this job; raises PoolError when storage has no renderer for it."""
        account, scene, work = self._account, self._job.scene, self._job.work
        wanted = packages.wanted(account.settings)
        chosen = packages.choose(account.packages.all(), wanted, scene, work.build)
        return start_task(account.storage, account.settings, chosen, needs(scene, work.settings.on))

    def _pool_info(self) -> Json:
        """Where the job's tasks run."""
        settings, nodes = self._account.settings, self._account.nodes
        if settings.auto_pool:
            return {"autoPoolSpecification": nodes.auto_pool(self._start_task(), self._wanted())}
        if not self._has_nodes:
            list(self._nodes())
        return {"poolId": settings.pool_id}

    def job_body(self, generation: int) -> Json:
        """A further Batch job for it, with tokens of its own."""
        job, access, request = self._job.id, self._account.access(self._job.id), self._record.request
        return jobs.job_body(self._account.settings, job, generation, request, access, self._pool_info())

    def task_bodies(self, tasks: Iterable[Task]) -> Iterator[Json]:
        """Tasks of it."""
        settings, outputs = self._account.settings, self._account.outputs(self._job.id)
        return (jobs.task_body(task, self._record.request, outputs, settings) for task in tasks)

    def _wanted(self) -> int:
        """Nodes that have something to do."""
        settings = self._account.settings
        return max(1, min(settings.nodes, -(-self._job.frame_count // settings.slots_per_node)))

    def _say(self, words: str) -> None:
        if self._job.progress:
            self._job.progress(words)
