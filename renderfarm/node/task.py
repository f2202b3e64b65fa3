"""One task of a queue whose nodes share a folder with the farm: rendered, tried again, delivered, told.

The ledger that the farm folds decides here about another try, too: what it decides is the same on both sides,
so nobody needs to be there while the nodes work. A task that begins anew goes on where it was.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.depots import frame_name
from renderfarm.depots.folder import FolderDepot
from renderfarm.job import events
from renderfarm.job.journal import Journal
from renderfarm.job.ledger import Ledger
from renderfarm.node import sandbox
from renderfarm.node.lanes import Lanes, Stopped, stopped_by_sigterm
from renderfarm.node.program import Event
from renderfarm.renderers import SessionFailure, renderer
from renderfarm.renderers.scratch import is_own
from renderfarm.words.model import (
    SUFFIXES,
    Build,
    Failed,
    FrameState,
    Reason,
    Rendered,
    Task,
    Trouble,
    Work,
    decode,
    to_json,
)


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


def render_task(file: Path, number: int, node: Machine) -> int:
    """Render one task of an order that lies in the job's folder; the exit code.

    0: every frame has an outcome that was told. Others: some have none, and the queue's word stands for them.
    """
    order = decode(Order, json.loads(file.read_bytes()))
    folder = file.parent.parent
    journal = Journal(folder / "journal", f"{node.name}-{order.name}.{number}-{os.getpid()}")
    scratch = Path(tempfile.mkdtemp(prefix="renderfarm-"))
    code, name = 1, f"{order.name}.{number}"
    journal.add(events.Taken(name, node.name))
    try:
        task = order.tasks[number]
        run = _Run(task, order, node, FolderDepot(folder), journal, scratch / "leaving")
        code = run.render(replace(order.work, scratch=str(scratch / "work"), memory_bytes=node.memory_bytes))
    finally:
        journal.add(events.Ended(name, node.name, code))
        journal.close()
        shutil.rmtree(scratch, ignore_errors=True)
    return code


class _Run:
    """A task in progress: hears what its sessions say, and passes it on."""

    def __init__(
        self, task: Task, order: Order, node: Machine, depot: FolderDepot, journal: Journal, leaving: Path
    ) -> None:
        self._task = task
        self._node = node
        self._depot = depot
        self._journal = journal
        self._leaving = leaving
        self._ledger = Ledger(task.frames, max(0, order.retries - task.attempt + 1))
        self._build: Build | None = None
        self._lock = threading.Lock()

    def render(self, work: Work) -> int:
        """Until every frame has an outcome; the exit code."""
        try:
            self._build = _build_for(work)
            self._take_up(SUFFIXES[work.settings.format])
            if any(self._left()):
                self._render(replace(work, build=self._build))
        except SessionFailure as failure:
            self._journal.add(Trouble(failure.reason, failure.message, self._node.name))
            return 1
        except Stopped:
            return 143
        return 0

    def _take_up(self, suffix: str) -> None:
        """Tell again of the frames that an earlier run of this task delivered."""
        for frame in self._task.frames:
            line = self._depot.receipt(frame_name(frame, self._task.attempt, suffix))
            if line:
                self._delivered(decode(Rendered, json.loads(line)))

    def _left(self) -> Iterator[Task]:
        """The frames without an outcome, those of one attempt together."""
        attempts: dict[int, list[int]] = {}
        for frame in self._task.frames:
            if self._ledger.state(frame) not in (FrameState.SUCCEEDED, FrameState.FAILED):
                known = self._ledger.frames.get(frame)
                attempts.setdefault(max(self._task.attempt, (known.attempts if known else 0) + 1), []).append(
                    frame
                )
        return (Task(tuple(frames), attempt) for attempt, frames in sorted(attempts.items()))

    def _render(self, work: Work) -> None:
        if sandbox.wanted(work.sandbox) and sandbox.obstacle():
            self._journal.add(
                events.Noted(f"renderers are not shut in on {self._node.name}: {sandbox.obstacle()}")
            )
        self._leaving.mkdir(parents=True, exist_ok=True)
        lanes = Lanes(work, len(self._task.frames), self.hear, self._node.name, self._node.share)
        try:
            with stopped_by_sigterm(lanes):
                lanes.open()
                while task := next(self._left(), None):
                    lanes.render(task)
        finally:
            lanes.close()

    def hear(self, event: Event) -> None:
        """Take one event of a session; called by several threads."""
        with self._lock:
            if isinstance(event, Rendered):
                self._deliver(replace(event, build=self._build))
                return
            self._ledger.fold(event, 0.0)
            if isinstance(event, Failed):
                event = replace(event, final=self._ledger.state(event.frame) is FrameState.FAILED)
            self._journal.add(event)

    def _deliver(self, receipt: Rendered) -> None:
        """Out of the scratch folder, where what runs in the sandbox can't put a link in its place any more."""
        picture = Path(receipt.path)
        name = frame_name(receipt.frame, receipt.attempt, picture.suffix[1:])
        taken = picture.replace(self._leaving / Path(name).name)
        if not is_own(taken, self._leaving):
            taken.unlink()
            message = "The renderer put a link in the place of its picture."
            raise SessionFailure(Reason.BAD_PICTURE, message)
        told = replace(receipt, path=name)
        self._depot.put(name, taken, to_json(told))
        taken.unlink()
        self._delivered(told)

    def _delivered(self, receipt: Rendered) -> None:
        self._journal.add(receipt)
        self._ledger.fold(receipt, 0.0)
        self._ledger.fold(events.Delivered(receipt.frame, receipt.attempt, 0, 0), 0.0)


def _build_for(work: Work) -> Build:
    """The build on this machine that is most like the one that the job was looked at with.

    Raises SessionFailure when there is none that opens the scene.
    """
    chosen, wanted = renderer(work.renderer), work.build
    builds = chosen.builds(wanted.path if Path(wanted.path).exists() else None) or chosen.builds()
    if not builds:
        raise SessionFailure(Reason.BAD_SETTING, f"no {work.renderer} is installed there")
    told = chosen.preread(Path(work.scene))
    refusals = {build: chosen.accepts(build, told) for build in builds}
    fit = [build for build in builds if not refusals[build]]
    if not fit:
        raise SessionFailure(Reason.SCENE_ERROR, " ".join(dict.fromkeys(refusals.values())))
    return max(fit, key=lambda build: likeness(build, wanted))


def likeness(build: Build, wanted: Build) -> tuple[bool, bool, bool, tuple[int, ...]]:
    """Sorts builds by how much they are like the wanted one, the most last."""
    same = build.identity == wanted.identity
    return same, build.version == wanted.version, build.version[:2] == wanted.version[:2], build.version
