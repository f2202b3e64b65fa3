"""The default pool: worker processes on this machine, each a node program with a warm session."""

from __future__ import annotations

import itertools
import selectors
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from renderfarm.errors import SessionError
from renderfarm.node.process import NodeProcess, close_all
from renderfarm.queues import capacity
from renderfarm.queues.capacity import Layout, Sample, Stretch
from renderfarm.queues.pool_job import PoolJob
from renderfarm.renderers import renderer
from renderfarm.settings.pool import PoolConfig, read
from renderfarm.words.as_json import decode
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, NodeChange, Rendered, Started, Trouble, Update
from renderfarm.words.work import Task

REFUSED_AFTER = 3
"""failures in a row after which a worker gets no more work"""
DEATHS_PER_SESSION = 3
"""workers that may be lost in a row, per session, before the pool gives up"""
SHORT_SECONDS = 0.3
"""tasks shorter than this are handed out two at a time, so that a worker never waits for the farm"""
SAMPLE_FRAME = 2
"""the frame of the first session that is measured: the first one also warms up"""
NOT_THE_WORKERS_FAULT = frozenset(
    {Reason.SCENE_ERROR, Reason.MISSING_FILE, Reason.BAD_SETTING, Reason.TIMEOUT, Reason.INPUT_CHANGED}
)


@dataclass(frozen=True)
class LocalSettings:
    """A `[pools.NAME]` table of type "local"."""

    workers: int | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")


class _Worker:
    """One node and what it has in hand."""

    def __init__(self, node: NodeProcess, card: int) -> None:
        self.node = node
        self.card = card
        self.tasks: deque[Task] = deque()
        self.undecided: set[int] = set()
        """frames of the first task that have no outcome yet"""
        self.running: int | None = None
        self.failures = 0
        self.rendered = 0
        self.last_seconds = SHORT_SECONDS
        self.refused = False

    def give(self, task: Task, threads: int) -> None:
        """Queue a task on the node."""
        if not self.tasks:
            self.undecided = set(task.frames)
        self.tasks.append(task)
        self.node.render(task, threads)

    def finish_task(self) -> None:
        """The first task has ended."""
        self.tasks.popleft()
        self.undecided = set(self.tasks[0].frames) if self.tasks else set()

    def left(self) -> Iterator[tuple[Task, tuple[int, ...]]]:
        """The tasks in hand, each with its frames that have no outcome."""
        for place, task in enumerate(self.tasks):
            if frames := tuple(frame for frame in task.frames if place or frame in self.undecided):
                yield task, frames

    @property
    def hungry(self) -> bool:
        """Whether it should get another task now."""
        if self.refused:
            return False
        if not self.tasks or not self.rendered:
            return not self.tasks
        return len(self.tasks) < 2 and self.last_seconds * len(self.tasks[0].frames) < SHORT_SECONDS


class _Tasks:
    """Tasks that no worker has: those of sequences come before those that are walked as workers ask."""

    def __init__(self) -> None:
        self.urgent: deque[Task] = deque()
        self._lazy: Iterator[Task] = iter(())

    def add(self, tasks: Iterable[Task]) -> None:
        """Later ones come first, but after those of sequences."""
        if isinstance(tasks, Sequence):
            self.urgent.extend(tasks)
        else:
            self._lazy = itertools.chain(tasks, self._lazy)

    def next(self) -> Task | None:
        """The one that is to be rendered now."""
        return self.urgent.popleft() if self.urgent else next(self._lazy, None)

    def drop(self) -> list[Task]:
        """Nothing is to be rendered any more; the tasks of sequences that were not begun."""
        left = list(self.urgent)
        self.urgent.clear()
        self._lazy = iter(())
        return left


class _Sizing:
    """How many sessions render a job, with how many threads each; planned anew once a frame is measured."""

    def __init__(self, job: PoolJob, workers: int | None, memory_bytes: int | None) -> None:
        self._machine = capacity.this_machine()
        if memory_bytes:
            self._machine = replace(self._machine, memory_bytes=memory_bytes)
        self._job = job
        self._traits = renderer(job.work.renderer).concurrency
        self._asked = job.workers or workers or len(job.scene.cards) or None
        self._left = job.frame_count
        self._first_seconds = self._first_idle = 0.0
        self._more: Stretch | None = None
        """what is rendered with more sessions than one"""
        self.layout = capacity.first_layout(self._machine, self._traits, job.frame_count, self._asked)

    def _others(self) -> int:
        return self._job.turn.others() if self._job.turn else 0

    def now(self) -> Layout:
        """Sessions and threads, with room for the other jobs that render here."""
        rivals, layout = self._others(), self.layout
        sessions, threads = max(1, -(-layout.sessions // (1 + rivals))), layout.threads
        if layout.sessions == 1 and self._traits.threads_scale:
            threads = max(1, threads // (1 + rivals))
        return Layout(sessions, threads)

    def rendered(self, frame: Rendered, worker: _Worker, workers: int) -> None:
        """Take in what a frame took."""
        self._left -= 1
        if worker.rendered == 1:
            self._first_seconds = time.monotonic() - worker.node.born
            self._first_idle = capacity.idle_seconds()
        alone = worker.rendered == SAMPLE_FRAME and workers == 1
        if self._more:
            self._more.rendered(frame.cpu_seconds)
        elif alone and self._traits.threads_scale and not (self._asked or self._others()):
            self._choose(self._sample(frame))

    def _choose(self, sample: Sample) -> None:
        if self._job.unpaid and capacity.is_like(self._job.unpaid, sample.cpu_seconds):
            return
        self.layout = capacity.best_layout(self._machine, sample, self._left)
        if self.layout.sessions > 1:
            self._more = Stretch(self._machine, sample, self.layout.sessions)

    def conclude(self) -> None:
        """Say that more sessions were no faster than one, if they weren't."""
        if self._more and self._more.was_in_vain():
            self._job.learn_unpaid(self._more.sample.cpu_seconds)

    def _sample(self, frame: Rendered) -> Sample:
        start = max(0.0, self._first_seconds - frame.seconds)
        measurable = frame.seconds > capacity.SHORTEST_MEASURED_SECONDS
        idle = (capacity.idle_seconds() - self._first_idle) / frame.seconds if measurable else 1.0
        return Sample(frame.seconds, frame.cpu_seconds, frame.threads, frame.peak_bytes, start, min(1.0, idle))


class LocalPool:
    """Workers on this machine (see `renderfarm.queues.Pool`)."""

    def __init__(self, workers: int | None = None, memory_bytes: int | None = None) -> None:
        self._limits = workers, memory_bytes
        self._workers: list[_Worker] = []
        self._tasks = _Tasks()
        self._selector = selectors.DefaultSelector()
        self._changes: list[Update] = []
        self._hired = 0
        self._deaths = 0
        self._draining = False

    def prepare(self, job: PoolJob) -> None:
        """Start (or take over) the first worker; the others start with the first tasks."""
        self._work, self._sizing = job.work, _Sizing(job, *self._limits)
        if job.frame_count:
            self._hire(job.warm)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Tasks are walked as workers ask for them, later ones first; those of a sequence before all others."""
        self._tasks.add(tasks)
        self._feed()

    def updates(self, timeout: float) -> Sequence[Update]:
        """What the workers said since the last call."""
        if not self._changes and self._workers:
            for key, _ in self._selector.select(timeout):
                self._listen(key.data)
        elif not self._workers:
            time.sleep(0 if self._changes else timeout)
        self._feed()
        changes, self._changes = self._changes, []
        return changes

    def caught_up(self) -> bool:
        """Workers are heard as they speak."""
        return not self._changes

    def cancel(self) -> None:
        """Kill the workers; what they had in hand is lost."""
        self._abandon("The job was stopped.")

    def drain(self) -> None:
        """Begin no other frame; workers go when those that they have in hand have an outcome."""
        self._draining = True
        self._dismiss([worker for worker in self._workers if worker.running is None])

    def close(self) -> None:
        """End all workers."""
        if self._workers:
            self._sizing.conclude()
        self._dismiss(self._workers)
        self._selector.close()

    def _abandon(self, message: str) -> None:
        """Let all workers go; frames that were taken and have no outcome are lost."""
        lost = [left for worker in self._workers for left in worker.left()]
        lost += [(task, task.frames) for task in self._tasks.drop()]
        self._dismiss(self._workers)
        for task, frames in lost:
            self._changes += [_lost(frame, task, message) for frame in frames]

    def _dismiss(self, workers: Sequence[_Worker]) -> None:
        self._workers = [worker for worker in self._workers if worker not in workers]
        for worker in workers:
            self._selector.unregister(worker.node)
        close_all([worker.node for worker in workers])

    def _hire(self, node: NodeProcess | None = None) -> None:
        self._hired += 1
        taken = {worker.card for worker in self._workers}
        card = next(card for card in itertools.count() if card not in taken)
        worker = _Worker(node or NodeProcess(f"w{self._hired}"), card)
        worker.node.taken = True
        self._selector.register(worker.node, selectors.EVENT_READ, worker)
        scratch = str(Path(self._work.scratch) / worker.node.name)
        worker.node.open(replace(self._work, scratch=scratch, memory_bytes=self._limits[1], card=card))
        self._workers.append(worker)
        self._changes.append(NodeChange(worker.node.name, "loading", "loads the scene"))

    def _feed(self) -> None:
        """Hand out tasks to the workers that should have one, hiring as the layout allows."""
        if not self._draining and self._deaths > DEATHS_PER_SESSION * self._sizing.layout.sessions:
            self._give_up()
        if self._draining:
            return
        layout = self._sizing.now()
        able = [worker for worker in self._workers if not worker.refused]
        for worker in able[: layout.sessions]:
            while worker.hungry and (task := self._next_task()):
                worker.give(task, layout.threads)
        if len(able) < layout.sessions and (task := self._next_task()):
            self._tasks.urgent.appendleft(task)
            self._hire()
            self._feed()

    def _next_task(self) -> Task | None:
        """The next task that no worker has in hand: what is submitted twice is not rendered twice at once."""
        while task := self._tasks.next():
            if not any(task in worker.tasks for worker in self._workers):
                return task
        return None

    def _give_up(self) -> None:
        message = "Worker after worker died; there is none left to use."
        self._draining = True
        self._abandon(message)
        self._changes.append(Trouble(Reason.NODE_LOST, message))

    def _listen(self, worker: _Worker) -> None:
        try:
            for kind, value in worker.node.read():
                self._hear(worker, kind, value)
                if self._draining and worker.running is None and worker in self._workers:
                    self._dismiss([worker])
                    return
        except SessionError as error:
            self._bury(worker, error.message)

    def _hear(self, worker: _Worker, kind: str, value: Any) -> None:
        if kind == "Started":
            worker.running = value["frame"]
            self._changes.append(Started(**value))
        elif kind == "Rendered":
            self._rendered(worker, decode(Rendered, value))
        elif kind == "Failed":
            self._failed(worker, decode(Failed, value))
        elif kind == "Ended":
            worker.finish_task()
            if worker.refused and not worker.tasks:
                self._dismiss([worker])
                self._changes.append(NodeChange(worker.node.name, "gone", "was let go"))
            elif not worker.tasks:
                self._changes.append(NodeChange(worker.node.name, "idle"))

    def _rendered(self, worker: _Worker, frame: Rendered) -> None:
        worker.undecided.discard(frame.frame)
        worker.running = None
        worker.rendered += 1
        worker.failures = self._deaths = 0
        worker.last_seconds = frame.seconds
        self._changes.append(frame)
        self._sizing.rendered(frame, worker, len(self._workers))

    def _failed(self, worker: _Worker, failure: Failed) -> None:
        worker.undecided.discard(failure.frame)
        worker.running = None
        self._changes.append(failure)
        if failure.reason in NOT_THE_WORKERS_FAULT:
            return
        worker.failures += 1
        if worker.failures >= REFUSED_AFTER and not worker.refused:
            worker.refused = True
            what = f"gets no more work after {worker.failures} failures in a row"
            self._changes.append(NodeChange(worker.node.name, "refused", what))

    def _bury(self, worker: _Worker, message: str) -> None:
        """A node died: the frame it was rendering is lost, the rest of its work goes to others."""
        self._dismiss([worker])
        self._deaths += 1
        self._changes.append(NodeChange(worker.node.name, "gone", message))
        for task, frames in worker.left():
            if worker.running in frames:
                self._changes.append(_lost(worker.running, task, message, worker.node.name))
            if left := tuple(frame for frame in frames if frame != worker.running):
                self._tasks.urgent.append(replace(task, frames=left))


def _lost(frame: int, task: Task, message: str, node: str = "") -> Failed:
    return Failed(frame, Reason.NODE_LOST, message, task=task.id, attempt=task.attempt, node=node)


def open_pool(config: PoolConfig) -> LocalPool:
    """A local pool from its configuration table; raises ConfigError for unknown keys or values."""
    settings = read(config, LocalSettings)
    return LocalPool(settings.workers, int(settings.memory_gb * (1 << 30)) if settings.memory_gb else None)
