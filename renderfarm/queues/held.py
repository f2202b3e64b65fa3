"""What a remote pool keeps in mind: which frames are with which task, and what was said of tasks.

Pure bookkeeping: nothing is asked and nothing is written here.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from renderfarm.job.events import Ended, Taken
from renderfarm.queues import Over
from renderfarm.words.work import Task


@dataclass(slots=True)
class Given:
    """A task of the queue, and what was said of it, in whatever order that comes."""

    frames: set[int] = field(default_factory=set)
    """those without an outcome"""
    taken: bool = False
    """a node began with it"""
    ended: bool = False
    """its node said that it is over"""
    over: Over | None = None
    """how it ended, where the queue calls it over"""
    missed: float = 0.0
    """since when it does, while the node has not said so"""

    def is_silent(self, patience: float) -> bool:
        """Whether a task that is over says nothing more.

        A file system that several machines share may show its last words so many seconds late.
        """
        self.missed = self.missed or time.monotonic()
        return self.ended or time.monotonic() - self.missed >= patience


class Held:
    """Which frames are with which task, and which attempts of them have ended."""

    def __init__(self, good: Iterable[int] = (), spent: Iterable[tuple[int, int]] = ()) -> None:
        self._good = set(good)
        self._spent = dict(spent)
        self._holder: dict[int, str] = {}
        self.tasks: defaultdict[str, Given] = defaultdict(Given)
        """all of which something was said, as the queue calls them"""
        self._over: dict[str, None] = {}
        """those that are over, and may hold frames yet"""
        self.late: list[Task] = []
        """tasks that could not be handed over yet"""

    def new(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks, without frames that are with one already, or were tried so often before.

        A frame that was good is wanted again where its picture did not come, or is not what it should be.
        """
        for task in tasks:
            frames = tuple(frame for frame in task.frames if self._wants(frame, task.attempt))
            if frames:
                self._good.difference_update(frames)
                self._spent |= dict.fromkeys(frames, task.attempt - 1)
                yield replace(task, frames=frames)

    def _wants(self, frame: int, attempt: int) -> bool:
        return frame not in self._holder and attempt > self._spent.get(frame, 0)

    def take(self, name: str, task: Task) -> None:
        """A task is with the queue."""
        wanted = (frame for frame in task.frames if frame not in self._good)
        frames = [frame for frame in wanted if self._wants(frame, task.attempt)]
        self._holder |= dict.fromkeys(frames, name)
        given = self.tasks[name]
        given.frames.update(frames)
        if given.over or given.ended:
            self._over[name] = None

    def said(self, event: Taken | Ended) -> None:
        """A node began with a task, or is done with it."""
        given = self.tasks[event.task]
        given.taken |= isinstance(event, Taken)
        if isinstance(event, Ended):
            given.ended = True
            self._over[event.task] = None

    def are_over(self, told: Mapping[str, Over]) -> None:
        """The queue calls tasks over."""
        self._over |= dict.fromkeys(told)
        for name, over in told.items():
            self.tasks[name].over = over

    def ending(self) -> list[tuple[str, Given]]:
        """Tasks that are over and hold frames, however long the list of all is."""
        self._over = {name: None for name in self._over if self.tasks[name].frames}
        return [(name, self.tasks[name]) for name in self._over]

    def awaits(self, frame: int, attempt: int) -> bool:
        """Whether what is said of this attempt is news."""
        return frame in self._holder and attempt > self._spent.get(frame, 0)

    def next_attempt(self, frame: int) -> int:
        """The attempt that is under way, or was when its task ended."""
        return self._spent.get(frame, 0) + 1

    def told(self, frame: int, attempt: int, *, final: bool = True) -> None:
        """Of an attempt there are no more news; after the last one the frame is free."""
        self._spent[frame] = attempt
        if final and (name := self._holder.pop(frame, None)):
            self.tasks[name].frames.discard(frame)
