"""The sessions that render one task: one that uses all cores, or several of a renderer that can't."""

from __future__ import annotations

import contextlib
import queue
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from renderfarm.node import machine
from renderfarm.node.program import Event, Node
from renderfarm.renderers import renderer
from renderfarm.words.work import Task, Work

MOST_PER_CORE = 2
"""sessions of a renderer that idles; more of them only cost memory"""
MEMORY_TENTHS = 9


class Stopped(Exception):  # noqa: N818 - wanted, by whoever says stop
    """Rendering ends here; nobody waits for the rest."""


class Lanes:
    """Renders a task's frames and says what happened; `stop` is safe from a signal handler."""

    def __init__(
        self, work: Work, frames: int, say: Callable[[Event], None], name: str, share: float = 1.0
    ) -> None:
        """`share` of this machine's cores and memory is the task's; `name` is the node's."""
        self._say = say
        self._stopping = False
        speed = renderer(work.renderer).concurrency
        cores = max(1, int(machine.cores() * share))
        count = 1 if speed.threads_scale else min(frames, cores * MOST_PER_CORE)
        self._threads = cores if speed.threads_scale else 1
        self._run = speed.frames_per_run
        part = share / count
        self._nodes = [Node(_lane(work, number, part), name, self._hear) for number in range(count)]

    def open(self) -> None:
        """Start the first session; raises SessionFailure."""
        self._nodes[0].open()

    def render(self, task: Task) -> None:
        """Render all frames; raises Stopped, and whatever `say` raises."""
        if len(self._nodes) == 1:
            self._nodes[0].render(task, self._threads)
            return
        runs: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for run in _runs(task, self._run):
            runs.put(run)
        with ThreadPoolExecutor(len(self._nodes), thread_name_prefix="lane") as threads:
            lanes = [threads.submit(self._lane, node, runs) for node in self._nodes]
        troubles = [error for lane in lanes if (error := lane.exception())]
        if troubles:  # the others stopped for it
            raise min(troubles, key=lambda error: isinstance(error, Stopped))

    def _lane(self, node: Node, runs: queue.SimpleQueue[Task]) -> None:
        try:
            while not self._stopping:
                node.render(runs.get_nowait(), self._threads)
        except queue.Empty:
            return
        except BaseException:
            self.stop()
            raise

    def _hear(self, event: Event) -> None:
        if self._stopping:
            raise Stopped
        self._say(event)

    def stop(self) -> None:
        """Kill the renderers; the frames in hand are lost."""
        self._stopping = True
        for node in self._nodes:
            node.kill()

    def close(self) -> None:
        """Close the sessions."""
        for node in self._nodes:
            node.drop()


@contextlib.contextmanager
def stopped_by_sigterm(lanes: Lanes) -> Iterator[None]:
    """Let a task that is told to stop end its renderers first."""
    before = signal.signal(signal.SIGTERM, lambda *_: lanes.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _lane(work: Work, number: int, part: float) -> Work:
    """The work of one session: a scratch folder of its own, its part of the machine's memory."""
    total, _ = machine.memory()
    limit = work.memory_bytes or int(total * MEMORY_TENTHS / 10 * part) or None
    return replace(work, scratch=str(Path(work.scratch) / str(number)), memory_bytes=limit)


def _runs(task: Task, length: int) -> Iterator[Task]:
    for start in range(0, len(task.frames), length):
        yield replace(task, frames=task.frames[start : start + length])
