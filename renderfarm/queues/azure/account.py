"""The services behind one `[pools.NAME]` table, each made when it is first needed, and the jobs in them."""

from __future__ import annotations

import hashlib
from functools import cached_property

from renderfarm.depots.blobs import BlobClient, BlobMissingError
from renderfarm.errors import PoolError
from renderfarm.job.record import Record
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.batch import Batch, marks
from renderfarm.queues.azure.credentials import storage_key
from renderfarm.queues.azure.jobs import RECORD, Access
from renderfarm.queues.azure.nodepool import NodePool
from renderfarm.queues.azure.packages import Packages
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.start_task import stored_program
from renderfarm.queues.azure.storage import Storage
from renderfarm.words.as_json import read_json

SLACK_SECONDS = 1800.0
"""what a token outlives its Batch job by, for the last uploads"""


class RecordError(PoolError):
    """What should be a job's record can't be read as one."""


class Account:
    """Batch and storage, as one pool table names them."""

    def __init__(self, settings: CloudSettings) -> None:
        self.settings = settings

    @cached_property
    def batch(self) -> Batch:
        """The Batch account."""
        return Batch(self.settings)

    @cached_property
    def storage(self) -> Storage:
        """The storage account."""
        return Storage(self.settings, storage_key())

    @cached_property
    def nodes(self) -> NodePool:
        """The pool of nodes."""
        return NodePool(self.batch, self.settings)

    @cached_property
    def packages(self) -> Packages:
        """Renderers that nodes can install."""
        return Packages(self.storage)

    def container(self, job: str) -> str:
        """The container of a job."""
        return layout.container(self.settings.prefix, job)

    def depot(self, job: str) -> BlobClient:
        """What is in it."""
        return self.storage.at(self.container(job))

    def access(self, job: str) -> Access:
        """What the nodes of a Batch job may reach, for as long as it may last."""
        storage = self.storage
        return Access(
            self._for_nodes(storage.assets, "r"),
            self._for_nodes(self.container(job), "rl"),
            self.outputs(job),
            self._for_nodes(storage.packages, "r", stored_program(storage)),
            record=self._digest(job),
        )

    def outputs(self, job: str) -> str:
        """Where the nodes of a job may write."""
        return self._for_nodes(self.container(job), "cw")

    def _for_nodes(self, container: str, rights: str, blob: str | None = None) -> str:
        seconds = self.settings.job_hours * 3600 + SLACK_SECONDS
        return self.storage.for_nodes(container, rights, seconds, blob)

    def _digest(self, job: str) -> str:
        return hashlib.sha256(self.depot(job).read(layout.RECORD)).hexdigest()

    def record(self, job: str) -> Record | None:
        """A job's record, by its whole id; None when the cloud has none.

        Raises PoolError when it is not the one that its first Batch job was made with.
        """
        try:
            found = self.record_in(self.container(job))
        except BlobMissingError:
            return None
        if found.job != job:
            return None
        if not self.is_ours(found):
            message = f"{job} runs in {found.service}, not in the batch_url of [pools.{self.settings.name}]."
            raise PoolError(message, "Ask from where the pool's table names that account.")
        first = self.batch.get_job(layout.batch_id(job))
        if marks(first and first.metadata).get(RECORD, "") not in ("", self._digest(job)):
            message = f"The record of {job} in storage is not the one that was submitted."
            raise PoolError(message, "A node or a person changed it. Cancel the job and submit it again.")
        return found

    def is_ours(self, record: Record) -> bool:
        """Whether a job whose record is in this storage has its tasks in this Batch account."""
        return record.service in ("", self.settings.batch_url)

    def record_in(self, container: str) -> Record:
        """The record of the job that has this container; raises BlobMissingError, and RecordError."""
        text = self.storage.at(container).read(layout.RECORD)
        try:
            return read_json(Record, text)
        except (ValueError, RecursionError) as error:
            message = f"{container}/{layout.RECORD} is no job's record ({error})."
            raise RecordError(message, "A node or a person changed it. Submit the scene again.") from error

    def close(self) -> None:
        """Let go of the connections that were made."""
        for service in ("batch", "storage"):
            if opened := self.__dict__.get(service):
                opened.close()
