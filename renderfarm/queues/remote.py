"""A pool of a queue and a depot: what the farm's loop sees of nodes that go on without it.

Nodes write journals and put pictures into the depot; the queue only says which tasks are over. Whoever follows
a job reads the journals from their beginning, so it may come and go, and be another machine.
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

from renderfarm.depots import Depot, frame_name
from renderfarm.errors import InputError, PoolError
from renderfarm.job.events import Ended, Event, Taken
from renderfarm.job.job import Job
from renderfarm.job.journal import FARM, FOLDER, Reader, entry
from renderfarm.queues import Over, Queue
from renderfarm.queues.held import Given, Held
from renderfarm.queues.pool_job import PoolJob
from renderfarm.words.request import SUFFIXES
from renderfarm.words.scene import pictures
from renderfarm.words.states import JobState, Phase, Reason
from renderfarm.words.status import NodeStatus, Status
from renderfarm.words.updates import Failed, Notice, Rendered, Started, Trouble, Update
from renderfarm.words.work import Task

DOWNLOADS = 8
"""pictures that come at once"""
SLOWER, SLOWEST = 1.3, 6
"""while nothing moves, looks get rarer by that factor, until they are so many times as far apart"""
PATIENCE_SECONDS = 900.0
"""how long a queue or depot may be out of reach"""
MOST_LOGS = 20
"""logs of failed frames that come by themselves; `renderfarm logs` reads all"""


class RemotePool:
    """Nodes of a queue, and the depot between them and here (see `renderfarm.queues.Pool`)."""

    def __init__(self, queue: Queue, poll_seconds: float, lost_seconds: float) -> None:
        self._queue = queue
        self._lost_seconds = lost_seconds
        self._avoid: dict[str, str] = {}
        """nodes that can't render the job, and why"""
        self._changes: list[Update | Event] = []
        self._noticed: set[str] = set()
        self._arrivals = _Arrivals()
        self._clock = _Clock(poll_seconds)

    # The four verbs

    def prepare(self, job: PoolJob) -> None:
        """Get the queue ready, or find the tasks that an earlier submit gave it."""
        if job.workers and not job.scene.ordered:
            message = "--workers is about this machine, and this pool is not."
            raise InputError(message, "Set nodes in the pool's table, or --chunk.")
        self._job = job
        self._queue.prepare(job)
        self._held = Held(job.good, self._spent(job).items())
        self._reader = Reader(job.folder / FOLDER, without=FARM)
        for name, task in self._queue.known():
            self._held.take(name, task)
        for frame, attempt in job.failed.items():
            self._held.told(frame, attempt, final=False)

    def _spent(self, job: PoolJob) -> dict[int, int]:
        """The last attempts of frames; not those after which their task tries again by itself."""
        said = (line.event for line in Reader(job.folder / FOLDER, without=FARM).news())
        goes_on = {(e.frame, e.attempt) for e in said if isinstance(e, Failed) and not e.final}
        spent = dict(job.failed)
        for frame in spent:
            while (frame, spent[frame]) in goes_on:
                spent[frame] -= 1
        return spent

    def submit(self, tasks: Iterable[Task]) -> None:
        """Hand all tasks over at once, for this machine may go away; what the queue has stays with it.

        Frames to be tried again wait where it is out of reach for a while.
        """
        try:
            self._send(tasks)
        except PoolError as error:
            if error.transient and isinstance(tasks, Sequence) and tasks:
                self._held.late += tasks
                self._bear(error)
            elif not self._avoid:
                raise
            else:
                why = "; ".join(self._unfit())
                self._changes.append(Trouble(Reason.SCENE_ERROR, f"No node is left: {why}. {error.message}"))
        else:
            for told in self._unfit():  # others go on
                self._notice(f"not fit for this: {told}")
        self._clock.now()

    def _send(self, tasks: Iterable[Task]) -> None:
        for name, task in self._queue.submit(self._held.new(tasks), tuple(self._avoid)):
            self._held.take(name, task)

    def _unfit(self) -> Iterator[str]:
        """The nodes that can't render the job, those of one reason together."""
        for why in dict.fromkeys(self._avoid.values()):
            yield f"{', '.join(node for node in self._avoid if self._avoid[node] == why)}: {why.rstrip('.')}"

    def updates(self, timeout: float) -> Sequence[Update | Event]:
        """What changed; looks at queue and journals when it is time to."""
        if not self._clock.left:
            self._look()
        if not self._changes:
            self._changes += self._arrivals.wait(min(timeout, self._clock.left))
        self._changes += self._arrivals.wait(0)
        changes, self._changes = self._changes, []
        return changes

    def cancel(self) -> None:
        """End all tasks; what is rendered stays in the depot."""
        with contextlib.suppress(PoolError):
            self._held.are_over(self._queue.look())
        self._hear()  # before the queue kills renderers: their deaths are no failures
        self._queue.cancel()
        for name, given in self._held.tasks.items():
            self._lose(name, given, "The job was stopped.")

    def close(self) -> None:
        """Let go of this machine's side: the tasks go on."""
        self._arrivals.close()
        self._queue.close()

    def caught_up(self) -> bool:
        """Whether a look has been had, and all that it found is here."""
        return self._clock.looks > 0 and not self._arrivals.coming and not self._changes

    # Looking

    def _look(self) -> None:
        before = len(self._changes) + self._arrivals.coming
        try:
            self._held.are_over(self._queue.look())
            self._hear()
            for name, given in self._held.ending():
                self._settle(name, given)
            if self._held.late:
                self._send(self._held.late)
            self._held.late = []
            self._clock.reached()
        except PoolError as error:
            self._bear(error)
        for found in self._queue.notices():
            self._notice(found) if isinstance(found, str) else self._changes.append(found)
        if trouble := self._queue.trouble():
            told = "; ".join(dict.fromkeys(self._avoid.values()))
            reason = Reason.SCENE_ERROR if told else Reason.NODE_LOST
            self._changes.append(Trouble(reason, told or trouble))
        self._clock.looked(moved=len(self._changes) + self._arrivals.coming > before)

    def _hear(self) -> None:
        """Take in what nodes said since the last time."""
        for line in self._reader.news():
            said = line.event
            if isinstance(said, Taken | Ended):
                self._held.said(said)
                self._changes.append(said)
            elif isinstance(said, Trouble):
                self._avoid[said.node] = said.message
            elif not isinstance(said, Started | Rendered | Failed):
                self._changes.append(said)
            elif self._held.awaits(said.frame, said.attempt):
                self._frame(said)

    def _bear(self, error: PoolError) -> None:
        """Go on without the queue for a while; raises the error where that is too long, or of no use."""
        self._clock.missed(error)
        self._notice(f"the pool was out of reach for a while: {error.message}")

    def _notice(self, message: str) -> None:
        if message not in self._noticed:
            self._noticed.add(message)
            self._changes.append(Notice(message))

    def _frame(self, said: Started | Rendered | Failed) -> None:
        if isinstance(said, Rendered):
            self._held.told(said.frame, said.attempt)
            receipt = replace(said, views=len(self._job.scene.views) or 1)
            self._arrivals.bring(self._queue.depot, receipt, self._folder(), self._suffix)
            return
        if isinstance(said, Failed):
            self._held.told(said.frame, said.attempt, final=said.final)
            if said.final and said.log:
                logs = Path(self._job.work.logs or self._folder())
                self._arrivals.bring_log(self._queue.depot, logs / Path(said.log).name)
        self._changes.append(said)

    def _settle(self, name: str, given: Given) -> None:
        """A task is over: none of its frames is left behind."""
        if given.is_silent(self._lost_seconds):
            over = given.over or Over()
            if over.node and over.why and not given.taken:
                self._avoid[over.node] = over.why
            self._lose(name, given, over.why)

    def _lose(self, name: str, given: Given, why: str) -> None:
        """The frames that a task left undone; those whose receipt was not told are looked for."""
        frames, lines = sorted(given.frames), dict[int, str | None]()
        if given.taken or not why:  # where no node began, there is nothing
            for frame in frames:
                picture = frame_name(frame, self._held.next_attempt(frame), self._suffix)
                lines[frame] = self._queue.depot.receipt(picture)
        for frame in frames:
            attempt = self._held.next_attempt(frame)
            if receipt := _told(lines.get(frame) or ""):
                self._frame(replace(receipt, frame=frame, attempt=attempt))
                continue
            self._held.told(frame, attempt)
            message = why or "Its task ended without a word of it."
            self._changes.append(Failed(frame, Reason.NODE_LOST, message, task=name, attempt=attempt))

    @property
    def _suffix(self) -> str:
        return SUFFIXES[self._job.work.settings.format]

    def _folder(self) -> Path:
        folder = Path(self._job.work.scratch) / "collected"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class _Arrivals:
    """Pictures on their way from a depot, by threads of their own; handed over once they are here."""

    def __init__(self) -> None:
        self.coming = 0
        self._logs = 0
        self._arrived: queue.SimpleQueue[Rendered | Failed] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="collect")
        self._closing = threading.Event()

    def bring(self, depot: Depot, receipt: Rendered, folder: Path, suffix: str) -> None:
        """Begin with one frame's. Nodes choose no names: these follow from frame, attempt and view."""
        self.coming += 1
        name = frame_name(receipt.frame, receipt.attempt, suffix)
        self._threads.submit(self._bring, depot, receipt, name, folder / Path(name).name)

    def _bring(self, depot: Depot, receipt: Rendered, name: str, target: Path) -> None:
        deadline, views = time.monotonic() + PATIENCE_SECONDS, receipt.views
        while not self._closing.is_set():
            try:
                for each, place in zip(pictures(name, views), pictures(str(target), views), strict=True):
                    depot.get(each, Path(place))
            except (OSError, PoolError) as error:
                transient = isinstance(error, PoolError) and error.transient
                if transient and time.monotonic() < deadline:
                    self._closing.wait(1.0)
                    continue
                self._arrived.put(_lost(receipt, error))
            else:
                self._arrived.put(replace(receipt, path=str(target)))
            return

    def bring_log(self, depot: Depot, target: Path) -> None:
        """A renderer's log, where nodes don't write it into the output folder themselves."""
        if self._logs < MOST_LOGS and not target.exists():
            with contextlib.suppress(OSError, PoolError):
                target.parent.mkdir(parents=True, exist_ok=True)
                depot.get(f"logs/{target.name}", target)
                self._logs += 1

    def wait(self, seconds: float) -> list[Rendered | Failed]:
        """What is here, waiting for the first one."""
        found: list[Rendered | Failed] = []
        with contextlib.suppress(queue.Empty):
            if seconds > 0:
                found.append(self._arrived.get(timeout=seconds))
            while True:
                found.append(self._arrived.get_nowait())
        self.coming -= len(found)
        return found

    def close(self) -> None:
        """Wait for what is on its way, begin nothing more."""
        self._closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)


def _told(receipt: str) -> Rendered | None:
    """What a node said with a picture, read like what it says in its journal."""
    told = entry(f'["Rendered",{receipt},0]'.encode())
    return told.event if told and isinstance(told.event, Rendered) else None


def _lost(receipt: Rendered, error: Exception) -> Failed:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = Reason.DISK_FULL if full else Reason.NODE_LOST
    message = f"The picture can't be fetched: {error}."
    return Failed(receipt.frame, reason, message, task=receipt.task, attempt=receipt.attempt)


class _Clock:
    """When to look next, and how long the queue has been out of reach."""

    def __init__(self, seconds: float) -> None:
        self.looks = 0
        self._seconds = self._pause = seconds
        self._next = 0.0
        self._away_since: float | None = None

    @property
    def left(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._next - time.monotonic())

    def now(self) -> None:
        """Look as soon as possible."""
        self._next = 0.0

    def looked(self, *, moved: bool) -> None:
        """The next look is later when there was nothing new."""
        self._pause = self._seconds if moved else min(self._pause * SLOWER, self._seconds * SLOWEST)
        self._next = time.monotonic() + self._pause
        self.looks += 1

    def reached(self) -> None:
        """The queue answered."""
        self._away_since = None

    def missed(self, error: PoolError) -> None:
        """Bear with a queue that is away for a while; raises the error after that, and any other one."""
        now = time.monotonic()
        self._away_since = self._away_since or now
        if not error.transient or now - self._away_since > PATIENCE_SECONDS:
            raise error


def unattended(job: Job, status: Status, living: int) -> Status:
    """The status of a job that nobody follows, while `living` of its tasks wait or run.

    Frames that are finished and wait count as running: nobody has looked at them yet.
    """
    undecided = status.frames.queued + status.frames.running
    ledger = job.refresh().ledger
    waiting = min(len(ledger.tally.waiting), undecided)
    if not undecided or not (living or waiting):
        return status
    busy = min(ledger.counts().running, undecided - waiting) if living else 0
    frames = replace(status.frames, running=waiting + busy, queued=undecided - waiting - busy)
    told = f"{waiting:,} frames are finished and wait for: renderfarm collect {job.id}"
    busy_nodes = [each for each in ledger.nodes.pace.nodes() if each[1] is not None]
    return replace(
        status,
        frames=frames,
        state=JobState.RUNNING,
        phase=Phase.REMOTE if living else Phase.UNCOLLECTED,
        ended=not living,
        nodes=tuple(NodeStatus(name, "working", frame) for name, frame, _ in busy_nodes) if living else (),
        notes=(*status.notes, told) if waiting else status.notes,
    )
