"""Brings a job into the cloud: the nodes, the assets, and the record that any machine can follow it by."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from renderfarm.errors import PoolError
from renderfarm.job.record import Record
from renderfarm.job.store import Store
from renderfarm.queues.azure import jobs, layout, uploads
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.batch import Json
from renderfarm.queues.azure.cloudjob import CloudJob
from renderfarm.queues.azure.movable import require_movable
from renderfarm.queues.azure.on_node import spans
from renderfarm.queues.azure.on_node.manifest import Manifest, to_json
from renderfarm.queues.azure.start_task import StartTask, prepare
from renderfarm.queues.azure.uploads import Progress, UploadPlan
from renderfarm.queues.order import PoolJob
from renderfarm.renderers import renderer
from renderfarm.words import model
from renderfarm.words.model import Task

TELL_SECONDS = 0.25


class Submission:
    """One job on its way up, or found there."""

    def __init__(self, account: Account, job: PoolJob) -> None:
        self._account = account
        self._job = job
        if job.record is None:
            raise PoolError("A job for the cloud came without its record.")
        self._record: Record = job.record
        self._container = account.container(job.id)
        self._has_nodes = False

    def cloud(self) -> CloudJob:
        """The job's side in Batch."""
        return CloudJob(
            self._account.batch,
            self._account.settings,
            self._job.id,
            self._record.request,
            self._pool_info,
            lambda: self._account.access(self._job.id),
        )

    def is_whole(self) -> bool:
        """Whether an earlier submit brought all of this job up; raises PoolError for another job of its id."""
        found = self._account.record(self._job.id)
        if found is None:
            return False
        if (found.take, found.frames) != (self._record.take, self._record.frames):
            message = f"The cloud has another job {self._job.id} already."
            raise PoolError(message, "Submit again for a new id.")
        return True

    def bring_up(self) -> Iterator[str]:
        """Everything that nodes need, the record last; yields what the user should know."""
        account, storage = self._account, self._account.storage
        storage.ensure(storage.assets, storage.packages, self._container)
        with self._storing() as store:
            manifest = self._manifest(store)
            # First of all, so that a sweep knows what this job is about to need.
            storage.at(self._container).put(layout.MANIFEST, to_json(manifest).encode())
            yield from self._nodes()
            self._upload(manifest, uploads.plan(manifest, storage))
        record = replace(self._record, service=account.settings.batch_url)
        storage.at(self._container).put(layout.RECORD, model.to_json(record).encode())
        if account.settings.auto_pool:
            yield "the pool lives as long as the job"

    def _nodes(self) -> Iterator[str]:
        """Let nodes come up while assets go up."""
        self._say("getting nodes")
        self._has_nodes = True
        if not self._account.settings.auto_pool:
            yield from self._account.nodes.ensure(self.start_task(), nodes=self._wanted())

    def start_task(self) -> StartTask:
        """What makes a machine render this job."""
        device = self._job.work.settings.options.get("device", "")
        account, work = self._account, self._job.work
        return prepare(account.storage, account.settings, self._job.scene, work.build, device)

    def _manifest(self, store: Store) -> Manifest:
        """What goes up; raises InputError for a scene that no other machine can read."""
        self._say("hashing files")
        manifest = uploads.collect(self._job.scene, store, self._job.work)
        require_movable(self._job.scene, manifest)
        needs = renderer(self._job.scene.renderer).preread(Path(self._job.scene.path)).needs
        return replace(manifest, needs=needs)

    def _upload(self, manifest: Manifest, plan: UploadPlan) -> None:
        """Send what is missing, saying how far that is."""
        if not plan.missing:
            return
        so_far: list[Progress] = [Progress(0, 0, len(plan.missing), plan.missing_bytes)]

        def keep(progress: Progress) -> None:
            so_far[0] = progress

        with ThreadPoolExecutor(1) as thread:
            storage, copies = self._account.storage, self._job.work.copies
            sending = thread.submit(uploads.upload, manifest, plan, storage, keep, copies=copies)
            while not wait([sending], TELL_SECONDS).done:
                done = so_far[0]
                self._say(f"uploading {done.bytes >> 20:,} of {done.total_bytes >> 20:,} MiB")
        sending.result()

    def _say(self, words: str) -> None:
        if self._job.progress:
            self._job.progress(words)

    @contextlib.contextmanager
    def _storing(self) -> Iterator[Store]:
        with contextlib.closing(Store(self._job.home)) as store:
            yield store

    def _pool_info(self) -> Json:
        """Where the job's tasks run."""
        settings = self._account.settings
        if not settings.auto_pool:
            if not self._has_nodes:
                list(self._nodes())
            return {"poolId": settings.pool_id}
        specification, _ = self._account.nodes.auto_pool_specification(self.start_task(), nodes=self._wanted())
        return {"autoPoolSpecification": specification}

    def _wanted(self) -> int:
        """Nodes that have something to do."""
        settings = self._account.settings
        return max(1, min(settings.nodes, -(-self._job.frame_count // settings.slots_per_node)))


def task_of(row: Json) -> Task | None:
    """The task that a row of Batch's listing is of; None for a task of somebody else."""
    said = {item["name"]: item.get("value", "") for item in row.get("environmentSettings") or ()}
    try:
        asked = json.loads(said[jobs.TASK_VARIABLE])
        return Task(spans.read(asked["frames"]), int(asked["attempt"]))
    except (KeyError, ValueError, TypeError):
        return None
