"""One task of a queue: rendered, tried again, delivered, told.

The ledger that the farm folds decides here about another try, too: what it decides is the same on both sides,
so nobody needs to be there while the nodes work. A task that begins anew goes on where it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from renderfarm.depots import Depot, frame_name
from renderfarm.depots.folder import FolderDepot
from renderfarm.job import events
from renderfarm.job.fold import fold
from renderfarm.job.journal import FOLDER, Journal, entry, line
from renderfarm.job.ledger import Ledger
from renderfarm.node import sandbox
from renderfarm.node.delivery import Delivery
from renderfarm.node.lanes import Lanes, Stopped, stopped_by_sigterm
from renderfarm.node.program import Event
from renderfarm.renderers import SessionFailure, renderer
from renderfarm.renderers.scratch import is_own
from renderfarm.words import stamps
from renderfarm.words.as_json import read_json
from renderfarm.words.request import SUFFIXES, Sandbox
from renderfarm.words.scene import pictures
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.temporary import Temporary
from renderfarm.words.updates import Failed, Rendered, Started, Trouble
from renderfarm.words.work import Build, Input, Task, Work

LOOKS_AT_ONCE = 8


@dataclass(frozen=True)
class Order:
    """What a queue leaves for its nodes: tasks, found by their place, and all that rendering them takes."""

    name: str
    """what the queue calls them together"""
    work: Work
    tasks: tuple[Task, ...]
    retries: int
    """tries after a frame's first one"""


@dataclass(frozen=True)
class Machine:
    """The machine that a task came to, and how much of it is the task's."""

    name: str
    share: float = 1.0
    """of its cores"""
    memory_bytes: int | None = None


class Writer(Protocol):
    """A journal that a task writes to."""

    def add(self, *events: object) -> None:
        """Add events."""


def render_task(file: Path, number: int, node: Machine) -> int:
    """Render one task of an order that lies in the job's folder; the exit code.

    0: every frame has an outcome that was told. Others: some have none, and the queue's word stands for them.
    """
    order = read_json(Order, file.read_bytes())
    folder = file.parent.parent
    journal = Journal(folder / FOLDER, f"{node.name}-{order.name}.{number}-{os.getpid()}")
    scratch = Temporary()
    code, name = 1, f"{order.name}.{number}"
    journal.add(events.Taken(name, node.name))
    try:
        run = Run(order.tasks[number], order.retries, node, FolderDepot(folder), journal)
        code = _rendered(run, replace(order.work, scratch=str(scratch.path), memory_bytes=node.memory_bytes))
    except SessionFailure as failure:
        journal.add(Trouble(failure.reason, failure.message, node.name))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        journal.add(Trouble(Reason.DISK_FULL, f"The disk is full: {error.strerror}", node.name))
    except Stopped:
        code = 143
    finally:
        scratch.remove()  # first, as the last word may find no room
        journal.add(events.Ended(name, node.name, code))
        journal.close()
    return code


def _rendered(run: Run, work: Work) -> int:
    chosen, path = renderer(work.renderer), work.build.path
    build = build_for(work, chosen.builds(path if Path(path).exists() else None) or chosen.builds())
    if run.take_up(SUFFIXES[work.settings.format]):
        run.render(replace(work, inputs=(*work.inputs, *_uncovered(work))), build)
    return 0


def _uncovered(work: Work) -> Iterator[Input]:
    """Files that no sandbox of this machine covers with their copies: they have to be the same."""
    if not sandbox.wanted(work.sandbox) and not renderer(work.renderer).opens_copies:
        for path, copy in work.copies.items():
            yield Input(path, stamps.sha256(copy), stamps.stamp(copy))


class Run:
    """A task in progress: hears what its sessions say, and passes it on."""

    def __init__(
        self, task: Task, retries: int, node: Machine, depot: Depot, journal: Writer, *, rented: bool = False
    ) -> None:
        """A `rented` machine vanishes: what the task's next run and people need of it goes to the depot."""
        self._task = task
        self._node = node
        self._depot = depot
        self._journal = journal
        self._rented = rented
        self.ledger = Ledger(task.frames, max(0, retries - task.spent))
        self._lock = threading.Lock()

    def take_up(self, suffix: str) -> bool:
        """Tell again what an earlier run of this task came to; whether anything is left to do."""
        if self._rented:
            with contextlib.suppress(FileNotFoundError):
                for text in self._depot.read(self._tries).splitlines():
                    if told := entry(text):
                        self._journal.add(told.event)
                        fold(self.ledger, told.event, told.time)
        names = [frame_name(frame, self._next(frame), suffix) for frame in self._task.frames]
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
            for line in filter(None, threads.map(self._depot.receipt, names)):
                with contextlib.suppress(ValueError):
                    receipt = read_json(Rendered, line)
                    self._journal.add(receipt)
                    self._is_good(receipt)
        return any(self._left())

    @property
    def _tries(self) -> str:
        return f"tries/{self._task.id}.{self._task.attempt}.jsonl"

    def _next(self, frame: int) -> int:
        known = self.ledger.frames.get(frame)
        return max(self._task.attempt, (known.attempts if known else 0) + 1)

    def _left(self) -> Iterator[Task]:
        """The frames without an outcome, those of one attempt together."""
        attempts: dict[int, list[int]] = {}
        for frame in self._task.frames:
            if self.ledger.state(frame) not in (FrameState.SUCCEEDED, FrameState.FAILED):
                attempts.setdefault(self._next(frame), []).append(frame)
        first = self._task.attempt - self._task.spent
        return (Task(tuple(frames), each, each - first) for each, frames in sorted(attempts.items()))

    def render(self, work: Work, build: Build) -> None:
        """Until every frame has an outcome; raises SessionFailure, Stopped, what depot and journal raise."""
        if work.sandbox is not Sandbox.OFF and sandbox.obstacle():
            told = f"renderers are not shut in on {self._node.name}: {sandbox.obstacle()}"
            self._journal.add(events.Noted(told))
        self._build, self._scratch = build, Path(work.scratch)
        self._leaving.mkdir(parents=True, exist_ok=True)
        inside = replace(work, build=build, scratch=str(self._scratch / "work"))
        lanes = Lanes(inside, len(self._task.frames), self.hear, self._node.name, self._node.share)
        with Delivery(self._depot, self._journal.add) as self._delivery:
            try:
                with stopped_by_sigterm(lanes):
                    lanes.open()
                    while task := next(self._left(), None):
                        lanes.render(task)
            finally:
                lanes.close()

    @property
    def _leaving(self) -> Path:
        """Where no renderer can put anything."""
        return self._scratch / "leaving"

    def hear(self, event: Event) -> None:
        """Take one event of a session; called by several threads."""
        with self._lock:
            if isinstance(event, Started | Rendered | Failed):
                event = replace(event, task=self._task.id)
            if isinstance(event, Rendered):
                # told apart by what computes: pixels of a graphics card are not those of a processor
                identity = f"{self._build.identity} {event.device}".rstrip()
                self._deliver(replace(event, build=replace(self._build, identity=identity)))
            elif isinstance(event, Failed):
                self._failed(event)
            else:
                fold(self.ledger, event, 0.0)
                self._journal.add(event)

    def _failed(self, event: Failed) -> None:
        if event.reason is Reason.DISK_FULL:  # of this machine: another one may have room
            raise OSError(errno.ENOSPC, event.message)
        fold(self.ledger, event, 0.0)
        final = self.ledger.state(event.frame) is FrameState.FAILED
        told = replace(event, final=final)
        if self._rented:
            self._depot.append(self._tries, line(told, 0.0))
            if final and event.log:
                self._send_log(Path(event.log))
        self._journal.add(told)

    def _send_log(self, log: Path) -> None:
        """What a renderer said of a frame that failed for good; a link is none of its logs."""
        for path in (log, *self._scratch.glob(f"work/*/{log.name}")):
            if path.is_file() and is_own(path, path.parent):
                self._depot.put(f"logs/{log.name}", path)
                return

    def _deliver(self, receipt: Rendered) -> None:
        """Out of the scratch folder, where what runs in the sandbox can't put a link in its place any more."""
        name = frame_name(receipt.frame, receipt.attempt, Path(receipt.path).suffix[1:])
        targets = pictures(str(self._leaving / Path(name).name), receipt.views)
        sources = map(Path, pictures(receipt.path, receipt.views))
        taken = [source.replace(target) for source, target in zip(sources, targets, strict=True)]
        if not all(is_own(each, self._leaving) for each in taken):
            for each in taken:
                each.unlink()
            message = "The renderer put a link in the place of its picture."
            raise SessionFailure(Reason.BAD_PICTURE, message)
        told = replace(receipt, path=name)
        self._is_good(told)
        self._delivery.hand_over(taken, told)

    def _is_good(self, receipt: Rendered) -> None:
        fold(self.ledger, receipt, 0.0)
        fold(self.ledger, events.Delivered(receipt.frame, receipt.attempt, 0, 0), 0.0)


def build_for(work: Work, builds: Sequence[Build], needs: tuple[int, ...] = ()) -> Build:
    """Of builds the one that opens the scene and is most like the one that the job was looked at with.

    `needs` is the oldest version that will do, where more is known of it than the file says. Raises
    SessionFailure when there is none, SceneError for what is no scene.
    """
    if not builds:
        raise SessionFailure(Reason.BAD_SETTING, f"no {work.renderer} is installed there")
    chosen = renderer(work.renderer)
    told = chosen.preread(Path(work.scene))
    told = replace(told, needs=max(told.needs, needs))
    refusals = {build: chosen.accepts(build, told) for build in builds}
    fit = [build for build in builds if not refusals[build]]
    if not fit:
        raise SessionFailure(Reason.SCENE_ERROR, " ".join(dict.fromkeys(refusals.values())))
    return max(fit, key=lambda build: _likeness(build, work.build))


def _likeness(build: Build, wanted: Build) -> tuple[bool, bool, bool, tuple[int, ...]]:
    """Sorts builds by how much they are like the wanted one, the most last."""
    same = build.identity == wanted.identity
    return same, build.version == wanted.version, build.version[:2] == wanted.version[:2], build.version
