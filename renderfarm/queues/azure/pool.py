"""The pool: five verbs over Batch and Blob storage. It may be closed at any time; the cloud goes on.

A look at the cloud is one listing of the tasks that changed, one of the journals, and the new bytes of those.
Frames come down in threads of their own while that goes on, and are handed over once they are here and whole.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from renderfarm.errors import InputError, PoolError
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.batch import Json
from renderfarm.queues.azure.cloudjob import CloudJob
from renderfarm.queues.azure.journals import Journals
from renderfarm.queues.azure.ledger import (
    Ledger,
    Outcome,
    Picture,
    has_ended,
    is_unfit,
    picture,
    was_refused,
    was_stopped,
)
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.submission import Submission, task_of
from renderfarm.queues.order import PoolJob
from renderfarm.words.model import Failed, Notice, Reason, Rendered, Task, Trouble, Update

DOWNLOADS = 8
"""frames that come down at once"""
SLOWEST = 6
"""looks get that many times rarer while nothing moves"""
SLOWER = 1.3
TROUBLE_LOOKS = 3
"""looks at the job between two at the pool and its nodes"""
MOST_LOGS = 20
"""logs of failed frames that come down by themselves; `renderfarm logs` reads all"""
PATIENCE_SECONDS = 900.0
"""how long the service may be out of reach"""


class AzurePool:
    """Nodes of Azure Batch (see `renderfarm.queues.Pool`)."""

    writes_journals = False

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._account = Account(settings)
        self._ledger = Ledger()
        self._job: PoolJob | None = None
        self._cloud: CloudJob | None = None
        self._journals: Journals | None = None
        self._changes: list[Update] = []
        self._coming = 0
        self._arrived: queue.SimpleQueue[Update] = queue.SimpleQueue()
        self._downloads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="collect")
        self._closing = threading.Event()
        self._pause = settings.poll_seconds
        self._next_look = 0.0
        self._looks = 0
        self._lost_since: float | None = None
        self._told: set[str] = set()
        self._silent: list[tuple[str, int, int]] = []
        """frames of tasks that ended well without a word, still to be asked for"""
        self._logs = 0

    # The five verbs

    def prepare(self, job: PoolJob) -> None:
        """Bring the assets up and the nodes into being; or find the job that an earlier submit left there."""
        if job.workers:
            name = self._settings.name
            hint = f"Set nodes and slots_per_node in [pools.{name}], or --chunk."
            raise InputError(f"--workers is about this machine, and pool {name!r} is not.", hint)
        self._job = job
        self._submission = Submission(self._account, job)
        self._container = self._account.container(job.id)
        self._cloud = self._submission.cloud()
        self._cloud.attach()
        if not self._submission.is_whole():
            for message in self._submission.bring_up():
                self._changes.append(Notice(message))
        self._journals = Journals(self._account.storage, self._container)
        if self._cloud.is_there:
            self._recall(self._cloud, job)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Hand all tasks over at once, for this machine may go away; frames that are there stay there."""
        fresh = self._ledger.new(tasks)
        first = next(fresh, None)
        if first is not None:
            self._working().add(_chained(first, fresh), self._ledger.submitted)
        if self._working().is_there:
            self._working().seal()
        self._next_look = 0.0

    def updates(self, timeout: float) -> Sequence[Update]:
        """What changed; looks at the cloud when it is time to."""
        if time.monotonic() >= self._next_look:
            self._look()
        if not self._changes and self._arrived.empty():
            self._wait(min(timeout, max(0.0, self._next_look - time.monotonic())))
        while not self._arrived.empty():
            self._take(self._arrived.get())
        changes, self._changes = self._changes, []
        return changes

    def fetch(self, frame: Rendered) -> Path:
        """The file came down before its receipt was handed over."""
        return Path(frame.path)

    def cancel(self) -> None:
        """End the job in the cloud; frames that are on their way down still arrive."""
        self._working().end("canceled")
        self._changes += self._ledger.give_up(Reason.NODE_LOST, "The job was stopped.")

    def close(self) -> None:
        """Let go of this machine's side. The job goes on, unless nothing of it is left to do."""
        self._closing.set()
        self._downloads.shutdown(wait=True, cancel_futures=True)
        with contextlib.suppress(PoolError):
            if self._cloud and self._cloud.is_there and not self._ledger.open_frames and self._job:
                self._cloud.end("every frame is decided")
        self._account.close()

    def caught_up(self) -> bool:
        """Whether a look has been had, and all that it found is here."""
        return self._looks > 0 and not self._coming and not self._changes

    def _recall(self, cloud: CloudJob, job: PoolJob) -> None:
        """Take over what Batch has got before; what an ended Batch job never ran may be handed over anew."""
        over: dict[str, Json] = {}
        outcome = Outcome()
        for row, is_open in cloud.tasks():
            if task := task_of(row):
                self._ledger.submitted(task)
                over.pop(row["id"], None)
                if not is_open:
                    over[row["id"]] = row
        for frame in job.good:
            self._ledger.decided(frame)
        for frame, attempt in job.failed.items():
            self._ledger.decided(frame, attempt)
        self._hear(outcome)
        for row in over.values():
            if has_ended(row) and not (was_stopped(row) or was_refused(row) or is_unfit(row)):
                self._ledger.ended(row, outcome)
            else:
                self._ledger.dropped(row["id"])
        self._carry_out(outcome)

    # Looking

    def _working(self) -> CloudJob:
        if self._cloud is None:
            raise PoolError("The Azure pool was not prepared.", "Call prepare() before submit().")
        return self._cloud

    def _wait(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._take(self._arrived.get(timeout=max(seconds, 0.01)))

    def _look(self) -> None:
        """One look; the next one is later when there was nothing new."""
        before = len(self._changes) + self._coming
        try:
            self._news()
            self._lost_since = None
        except PoolError as error:
            self._bear(error)
        moved = len(self._changes) + self._coming > before
        most = self._settings.poll_seconds * SLOWEST
        self._pause = self._settings.poll_seconds if moved else min(self._pause * SLOWER, most)
        self._next_look = time.monotonic() + self._pause
        self._looks += 1

    def _bear(self, error: PoolError) -> None:
        """Wait for a service that is away for a while; everything else ends the job here, not in the cloud."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        if not error.transient or now - self._lost_since > PATIENCE_SECONDS:
            raise error
        self._notice(f"the cloud was out of reach for a while: {error.message}")

    def _news(self) -> None:
        cloud, outcome = self._working(), Outcome()
        if cloud.is_there:
            rows = cloud.changes()
            self._hear(outcome)
            # Tasks that were stopped with their job say nothing of their frames: those are given up with it.
            is_over = any(was_stopped(row) for row in rows) and cloud.ending()
            for row in rows:
                if not (is_over and was_stopped(row)):
                    self._ledger.ended(row, outcome)
        self._carry_out(outcome)
        if self._ledger.open_frames:
            self._care(outcome.refused)

    def _hear(self, outcome: Outcome) -> None:
        """Take in what nodes said since the last time."""
        for entry in self._journals.news() if self._journals else ():
            self._ledger.heard(entry.kind, entry.value, outcome)

    def _carry_out(self, outcome: Outcome) -> None:
        """Hand over what is known, bring down what is finished, and ask on, which may fail."""
        self._changes += (self._with_log(update) for update in outcome.updates)
        for each in outcome.pictures:
            self._bring(each)
        self._silent += outcome.silent
        while self._silent:
            self._seek(*self._silent[-1])
            self._silent.pop()
        for task in outcome.unfit:
            if told := self._account.cure(self._working().id, task):
                self._notice(told)

    def _bring(self, found: Picture) -> None:
        self._coming += 1
        self._downloads.submit(self._download, found)

    def _with_log(self, update: Update) -> Update:
        """A frame that failed for good, with its renderer's log on this machine."""
        if not (isinstance(update, Failed) and update.final and update.log) or self._logs >= MOST_LOGS:
            return update
        target = Path(self._submission.logs) / update.log.removeprefix(layout.LOGS).replace("/", ".")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._account.storage.at(self._container).get(update.log, target)
        except (PoolError, OSError):
            return replace(update, log="")
        self._logs += 1
        return replace(update, log=str(target))

    def _seek(self, task: str, frame: int, attempt: int) -> None:
        """A frame of a task that ended well, but whose receipt never came: ask storage for it."""
        blob = layout.frame_blob(frame, attempt, self._submission.suffix)
        receipt = self._account.receipt(self._container, blob)
        found = picture(receipt) if receipt else None
        if found and found.blob == blob:
            self._ledger.decided(frame)
            self._bring(found)
        else:
            message = "The task ended well, but left no picture."
            self._changes.append(self._ledger.failed(frame, Reason.NODE_LOST, message, task))

    def _care(self, refused: bool) -> None:
        """Renew tokens, and notice a job or nodes that will never get anywhere."""
        cloud = self._working()
        if refused or cloud.expires_soon:
            self._notice("the tokens for storage were renewed")
            cloud.renew(self._ledger.again())
        if self._looks % TROUBLE_LOOKS:
            return
        reason = cloud.ending() if cloud.is_there else None
        if reason == "JobNotFound":
            self._changes += self._ledger.give_up(Reason.NODE_LOST, "The job was deleted in Azure Batch.")
        elif reason:
            self._ended_early(reason)
        else:
            self._pool_troubles()

    def _ended_early(self, reason: str) -> None:
        """The job is over, and frames are open: take in what was said last, then give the others up."""
        outcome = Outcome()
        self._hear(outcome)
        for row in self._working().ended():
            if not was_stopped(row):
                self._ledger.ended(row, outcome)
        self._carry_out(outcome)
        if any(isinstance(change, Trouble) for change in self._changes):
            return  # which says why, and once
        message = f"The job was ended in Azure Batch ({reason})."
        stopped = [failure for failure in outcome.updates if isinstance(failure, Failed) and failure.final]
        if stopped:
            message = f"Not tried: {stopped[0].message}"
        self._changes += self._ledger.give_up(Reason.GIVEN_UP, message)

    def _pool_troubles(self) -> None:
        for trouble in self._account.troubles(self._working().id):
            if trouble.fatal:
                message = f"{trouble.message} {trouble.hint}".strip()
                self._changes.append(Trouble(Reason.NODE_LOST, message))
                return
            self._notice(trouble.message)
        self._changes += self._account.node_changes(self._working().id)

    def _notice(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._changes.append(Notice(message))

    # Bringing frames down

    def _download(self, found: Picture) -> None:
        """Runs in a thread, as long as it takes; says what came of it."""
        receipt = found.receipt
        target = self._submission.folder / Path(found.blob).name
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._closing.is_set():
            try:
                self._account.storage.at(self._container).get(found.blob, target, found.sha256)
            except PoolError as error:
                if error.transient and time.monotonic() < deadline:
                    self._closing.wait(self._settings.poll_seconds)
                    continue
                self._arrived.put(
                    _lost(receipt, Reason.UNKNOWN, f"The picture can't be fetched: {error.message}")
                )
            except OSError as error:
                reason = Reason.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Reason.UNKNOWN
                self._arrived.put(_lost(receipt, reason, f"The picture can't be stored: {error}."))
            else:
                self._arrived.put(replace(receipt, path=str(target)))
            return

    def _take(self, update: Update) -> None:
        self._coming -= 1
        self._changes.append(update)


def _lost(receipt: Rendered, reason: Reason, message: str) -> Failed:
    return Failed(
        receipt.frame,
        reason,
        message,
        receipt.seconds,
        receipt.task,
        receipt.attempt,
        receipt.node,
        receipt.log,
    )


def _chained(first: Task, rest: Iterator[Task]) -> Iterator[Task]:
    yield first
    yield from rest
