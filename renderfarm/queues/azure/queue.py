"""The queue: a job's tasks in Batch, and the mirror of what its nodes write into Blob storage.

A look is one listing of the tasks that ended since the last one. It may be closed at any time: the cloud goes
on. Where a Batch job ends before its tasks, as its time is up, these are lost, and are handed over once more.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from renderfarm.depots import JOURNALS
from renderfarm.depots.blobs import BlobClient, BlobMissingError
from renderfarm.errors import PoolError
from renderfarm.job.journal import FARM, FOLDER, PIECE_BYTES
from renderfarm.queues import Over
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.batch import Json
from renderfarm.queues.azure.cloudjob import CloudJob
from renderfarm.queues.azure.jobs import task_of
from renderfarm.queues.azure.on_node import exits
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.submission import Submission
from renderfarm.queues.azure.troubles import Troubles, pool_of
from renderfarm.queues.pool_job import PoolJob
from renderfarm.words.updates import NodeChange
from renderfarm.words.work import Task

TROUBLE_LOOKS = 3
"""looks at the tasks between two at the job, the pool and its nodes"""
TASK_ENDED = "TaskEnded"
"""why Batch says that a task has failed which was stopped from outside"""
RENEWED = "renewed"
"""why we end a Batch job whose tokens storage does not take any more"""
BY_NOBODY = ("AllTasksComplete", "JobNotFound", "MaxWallClockTimeExpiry", RENEWED)
"""ends of a Batch job after which what is left of it may go on in another one"""
_JOURNAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.jsonl")


class BatchQueue:
    """One job's tasks (see `renderfarm.queues.Queue`)."""

    def __init__(self, settings: CloudSettings) -> None:
        self._account = Account(settings)
        self._living: set[str] = set()
        """tasks that may still come to run, as far as is known"""
        self._over: dict[str, Over] = {}
        """those that are over, until that is told"""
        self._refused = False
        """storage let a task not in: its tokens have run out"""
        self._looks = 0
        self._notices: list[str | NodeChange] = []
        self._trouble = ""

    @functools.cached_property
    def _nodes(self) -> Troubles:
        return Troubles(self._account.batch, self._account.settings)

    @property
    def depot(self) -> BlobClient:
        """The job's container."""
        return self._account.depot(self._job.id)

    def prepare(self, job: PoolJob) -> None:
        """Bring the assets up and the nodes into being; or find the job that an earlier submit left there."""
        self._job = job
        self._submission = Submission(self._account, job)
        self._cloud = CloudJob(self._account.batch, job.id)
        if not self._submission.is_whole():
            self._notices += self._submission.bring_up()

    def known(self) -> Iterator[tuple[str, Task]]:
        """The tasks of all Batch jobs; what one that has ended never ran is over."""
        for row, is_open in self._cloud.tasks():
            if task := task_of(row):
                name = str(row["id"])
                self._living.add(name)
                self._over.pop(name, None)
                if not is_open or (row.get("executionInfo") or {}).get("result"):
                    self._ended(row)
                yield name, task

    def submit(self, tasks: Iterable[Task], avoid: Sequence[str]) -> Iterator[tuple[str, Task]]:
        """Hand all over at once; what is there already counts as handed over."""
        if avoid:
            raise PoolError("All nodes of a pool are alike.", "Look at what they have: renderfarm pool show")
        waiting, added = iter(tasks), list[Task]()
        first = None if self._trouble else next(waiting, None)
        if first is not None:
            added = self._cloud.add(chain([first], waiting), self._submission)
        if self._cloud.is_there and not self._trouble:
            self._cloud.seal()
        names = {layout.task_id(task): task for task in added}
        self._living.update(names)
        return iter(names.items())

    def look(self) -> Mapping[str, Over]:
        """The tasks that ended since the last call; also what stands in the way of the others, and journals."""
        cloud = self._cloud
        if cloud.is_there:
            for row in cloud.changes():
                self._refused |= self._is_refused(row)
                self._ended(row)
            self._care(cloud)
        mirror(self.depot, self._job.folder / FOLDER)
        told, self._over = self._over, {}
        return told

    def _is_refused(self, row: Json) -> bool:
        """Whether a task's signature has run out: so have those of all tasks of its Batch job."""
        code = (row.get("executionInfo") or {}).get("exitCode")
        return code == exits.REFUSED and not self._account.settings.identity

    def _ended(self, row: Json) -> None:
        name = str(row["id"])
        if name not in self._living:
            return
        self._living.remove(name)
        info = row.get("executionInfo") or {}
        code, failure = info.get("exitCode"), info.get("failureInfo") or {}
        said = " ".join(str(failure.get(key)) for key in ("code", "message") if failure.get(key))
        good = code == exits.GOOD or str(info.get("result")).lower() == "success"
        why = "" if good else said or f"Its task ended with exit code {code}."
        self._over[name] = Over(why=why)
        # Without an exit code nothing of ours ran: the node's fault, unless somebody stopped the task.
        is_nodes = code in (None, exits.DISK_FULL, exits.REFUSED) and not self._is_refused(row) and bool(info)
        if not good and is_nodes and failure.get("code") != TASK_ENDED and (told := self._nodes.cure(row)):
            self._notices.append(told)

    def _care(self, cloud: CloudJob) -> None:
        """Notice a job or nodes that will never get anywhere."""
        if self._refused:  # until all of it is done: a service that is away now is asked again
            cloud.end(RENEWED)
            self._has_ended(cloud, RENEWED)
        self._refused = False
        self._looks += 1
        if self._looks % TROUBLE_LOOKS or not cloud.is_open:
            return
        pool = pool_of(self._account.batch, self._account.settings, cloud.id)
        troubles = self._nodes.of(pool, cloud.id) if pool else ()
        if reason := cloud.ending():  # asked after its pool, which may go with it
            self._has_ended(cloud, reason)
            return
        for trouble in troubles:
            if trouble.fatal:
                self._trouble = f"{trouble.message} {trouble.hint}".strip()
            self._notices.append(trouble.message)
        self._notices += self._nodes.changes(pool) if pool else ()

    def _has_ended(self, cloud: CloudJob, reason: str) -> None:
        """The Batch job is over: so are its tasks, and if somebody ended it, all that is left."""
        for row in cloud.changes() if reason != "JobNotFound" else ():
            self._ended(row)
        why = f"The job was ended in Azure Batch ({reason})."
        if self._living and reason not in BY_NOBODY:
            self._trouble = why
        self._over |= dict.fromkeys(self._living, Over(why=why))
        self._living.clear()
        cloud.is_open = False

    def notices(self) -> Iterator[str | NodeChange]:
        """What was found since the last call."""
        found, self._notices = self._notices, []
        return iter(found)

    def trouble(self) -> str:
        """Why no task will ever run; empty when they will."""
        return self._trouble

    def cancel(self) -> None:
        """End all tasks."""
        self._cloud.end("canceled")

    def close(self) -> None:
        """Let go of the connections."""
        self._account.close()


def mirror(depot: BlobClient, folder: Path) -> None:
    """Add to each journal in a folder what its blob has beyond it, in whole lines.

    Bytes go where they belong, so processes that do this at once write the same. Nodes choose names, but no
    paths, and none of them is the farm's own journal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for name, size in depot.list(JOURNALS):
            plain = name.removeprefix(JOURNALS)
            if _JOURNAL.fullmatch(plain) and plain != f"{FARM}.jsonl":
                _bring(depot, name, size, folder / plain)
    except BlobMissingError:
        return  # the job was removed from the cloud


def _bring(depot: BlobClient, name: str, size: int, target: Path) -> None:
    file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        start = os.fstat(file).st_size
        while start < size:
            data = depot.read(name, start, PIECE_BYTES)
            # What is longer than a piece is no line of ours.
            whole = data[: data.rfind(b"\n") + 1] or (data if len(data) >= PIECE_BYTES else b"")
            if not whole:
                return
            start += os.pwrite(file, whole, start)
    finally:
        os.close(file)
