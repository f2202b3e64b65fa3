"""The default pool: worker processes on this machine, each a node program with a warm session."""

from __future__ import annotations

import itertools
import selectors
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from renderfarm.errors import ConfigError, PoolError, SessionError
from renderfarm.node import strays
from renderfarm.node.process import NodeProcess, close_all
from renderfarm.queues import capacity
from renderfarm.queues.capacity import Layout, Sample
from renderfarm.queues.order import PoolJob
from renderfarm.renderers import Concurrency, renderer
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.model import (
    Failed,
    NodeChange,
    Reason,
    Rendered,
    Started,
    Task,
    Trouble,
    Update,
    Work,
    decode,
)

REFUSED_AFTER = 3
"""failures in a row after which a worker gets no more work"""
DEATHS_PER_SESSION = 3
"""workers that may be lost in a row, per session, before the pool gives up"""
SHORT_SECONDS = 0.2
"""tasks shorter than this are handed out two at a time, so that a worker never waits for the farm"""
SAMPLE_FRAME = 2
"""the frame of the first session that is measured: the first one also warms up"""
NOT_THE_WORKERS_FAULT = frozenset(
    {Reason.SCENE_ERROR, Reason.MISSING_FILE, Reason.BAD_SETTING, Reason.TIMEOUT, Reason.INPUT_CHANGED}
)
OPTIONS = frozenset({"workers", "memory_gb"})


class _Worker:
    """One node and what it has in hand."""

    def __init__(self, node: NodeProcess) -> None:
        self.node = node
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
        return len(self.tasks) < (2 if self.last_seconds < SHORT_SECONDS and self.rendered else 1)


class LocalPool:
    """Workers on this machine (see `renderfarm.queues.Pool`)."""

    writes_journals = True

    def __init__(self, workers: int | None = None, memory_bytes: int | None = None) -> None:
        self._wanted = workers
        self._memory_bytes = memory_bytes
        self._machine = capacity.this_machine()
        if memory_bytes:
            self._machine = replace(self._machine, memory_bytes=memory_bytes)
        self._workers: list[_Worker] = []
        self._urgent: deque[Task] = deque()
        self._tasks: Iterator[Task] = iter(())
        self._selector = selectors.DefaultSelector()
        self._changes: list[Update] = []
        self._job: PoolJob | None = None
        self._traits = Concurrency()
        self._layout = Layout(1, 1)
        self._hired = 0
        self._deaths = 0
        self._over = self._draining = False
        self._frames_left = 0
        self._first_seconds = self._first_idle = 0.0

    def prepare(self, job: PoolJob) -> None:
        """Start (or take over) the first worker; the others start with the first tasks."""
        self._job = job
        self._traits = renderer(job.work.renderer).concurrency
        self._frames_left = job.frame_count
        self._layout = capacity.first_layout(
            self._machine, self._traits, job.frame_count, job.workers or self._wanted
        )
        if job.frame_count:
            self._hire(job.warm)

    def submit(self, tasks: Iterable[Task]) -> None:
        """Tasks are walked as workers ask for them, later ones first; those of a sequence before all others."""
        if isinstance(tasks, Sequence):
            self._urgent.extend(tasks)
        else:
            self._tasks = itertools.chain(tasks, self._tasks)
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

    def fetch(self, frame: Rendered) -> Path:
        """The file is here already."""
        return Path(frame.path)

    def cancel(self) -> None:
        """Kill the workers; what they had in hand is lost."""
        self._tasks = iter(())
        self._abandon("The job was stopped.")

    def drain(self) -> None:
        """Begin no other frame; workers go when those that they have in hand have an outcome."""
        self._draining = True
        self._dismiss([worker for worker in self._workers if worker.running is None])

    def close(self) -> None:
        """End all workers."""
        self._dismiss(self._workers)
        self._selector.close()

    def _abandon(self, message: str) -> None:
        """Let all workers go; frames that were taken and have no outcome are lost."""
        lost = [left for worker in self._workers for left in worker.left()]
        lost += [(task, task.frames) for task in self._urgent]
        self._urgent.clear()
        self._dismiss(self._workers)
        for task, frames in lost:
            self._changes += [_lost(frame, task, message) for frame in frames]

    def _dismiss(self, workers: Sequence[_Worker]) -> None:
        self._workers = [worker for worker in self._workers if worker not in workers]
        for worker in workers:
            self._selector.unregister(worker.node)
        close_all([worker.node for worker in workers])

    def _hire(self, node: NodeProcess | None = None) -> None:
        if self._job is None:
            raise PoolError("The local pool was not prepared.", "Call prepare() before submit().")
        self._hired += 1
        worker = _Worker(node or NodeProcess(f"w{self._hired}"))
        worker.node.taken = True
        self._selector.register(worker.node, selectors.EVENT_READ, worker)
        worker.node.open(self._work_for(worker.node.name))
        self._workers.append(worker)
        self._changes.append(NodeChange(worker.node.name, "loading", "loads the scene"))

    def _work_for(self, name: str) -> Work:
        if self._job is None:
            raise PoolError("The local pool was not prepared.", "Call prepare() before submit().")
        return replace(
            self._job.work, scratch=str(Path(self._job.work.scratch) / name), memory_bytes=self._memory_bytes
        )

    def _others(self) -> int:
        return self._job.turn.others() if self._job and self._job.turn else 0

    def _feed(self) -> None:
        """Hand out tasks to the workers that should have one, hiring as the layout allows."""
        if self._draining or self._gave_up():
            return
        rivals = self._others()
        sessions = max(1, -(-self._layout.sessions // (1 + rivals)))
        threads = self._layout.threads
        if self._layout.sessions == 1 and self._traits.threads_scale:
            threads = max(1, threads // (1 + rivals))
        able = [worker for worker in self._workers if not worker.refused]
        for worker in able[:sessions]:
            while worker.hungry and (task := self._next_task()):
                worker.give(task, threads)
        if len(able) < sessions and (task := self._next_task()):
            self._urgent.appendleft(task)
            self._hire()
            self._feed()

    def _next_task(self) -> Task | None:
        """The next task that no worker has in hand: what is submitted twice is not rendered twice at once."""
        while task := self._urgent.popleft() if self._urgent else next(self._tasks, None):
            if not any(task in worker.tasks for worker in self._workers):
                return task
        return None

    def _gave_up(self) -> bool:
        if self._deaths <= DEATHS_PER_SESSION * self._layout.sessions:
            return False
        if not self._over:
            self._over = True
            message = "Worker after worker died; there is none left to use."
            self._abandon(message)
            self._changes.append(Trouble(Reason.NODE_LOST, message))
        return True

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
        self._frames_left -= 1
        self._changes.append(frame)
        if worker.rendered == 1:
            self._first_seconds = time.monotonic() - worker.node.born
            self._first_idle = capacity.idle_seconds()
        if worker.rendered == SAMPLE_FRAME and len(self._workers) == 1:
            self._plan(frame)

    def _plan(self, frame: Rendered) -> None:
        """Decide about more sessions, now that a warm frame is measured."""
        asked_for = self._job and (self._job.workers or self._wanted)
        if asked_for or not self._traits.threads_scale or self._others():
            return
        start = max(0.0, self._first_seconds - frame.seconds)
        measurable = frame.seconds > capacity.SHORTEST_MEASURED_SECONDS
        idle = (capacity.idle_seconds() - self._first_idle) / frame.seconds if measurable else 1.0
        sample = Sample(
            frame.seconds, frame.cpu_seconds, frame.threads, frame.peak_bytes, start, min(1.0, idle)
        )
        self._layout = capacity.best_layout(self._machine, sample, self._frames_left)

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
        strays.kill([worker.node.mark])
        self._deaths += 1
        self._changes.append(NodeChange(worker.node.name, "gone", message))
        for task, frames in worker.left():
            if worker.running in frames:
                self._changes.append(_lost(worker.running, task, message, worker.node.name))
            if left := tuple(frame for frame in frames if frame != worker.running):
                self._urgent.append(Task(left, task.attempt))


def _lost(frame: int, task: Task, message: str, node: str = "") -> Failed:
    return Failed(frame, Reason.NODE_LOST, message, task=task.id, attempt=task.attempt, node=node)


def open_pool(config: PoolConfig) -> LocalPool:
    """A local pool from its configuration table; raises ConfigError for unknown keys or values."""
    unknown = set(config.options) - OPTIONS
    if unknown:
        message = f"Pool {config.name!r} has the unknown key {sorted(unknown)[0]!r}."
        raise ConfigError(message, f"Known keys: {', '.join(sorted(OPTIONS))}.")
    workers, memory = config.options.get("workers"), config.options.get("memory_gb")
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ConfigError(f"Pool {config.name!r}: workers must be a whole number above 0, not {workers!r}.")
    if memory is not None and (not isinstance(memory, int | float) or isinstance(memory, bool) or memory <= 0):
        raise ConfigError(f"Pool {config.name!r}: memory_gb must be a number above 0, not {memory!r}.")
    return LocalPool(workers, None if memory is None else int(memory * (1 << 30)))
