"""What a remote pool keeps in mind: which frames are with which task, and what was said of tasks and nodes.

Pure bookkeeping: nothing is asked and nothing is written here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from renderfarm.job.events import Ended, Taken
from renderfarm.queues import Over
from renderfarm.words.updates import Failed
from renderfarm.words.work import Task


class Held:
    """Which frames are with which task, and which attempts of them have ended."""

    def __init__(self, good: Iterable[int] = (), spent: Iterable[tuple[int, int]] = ()) -> None:
        self._good = set(good)
        self._spent = dict(spent)
        self._holder: dict[int, str] = {}
        self.tasks: dict[str, set[int]] = {}
        """task, as the queue calls it, to its frames without an outcome"""
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
        self.tasks.setdefault(name, set()).update(frames)

    def awaits(self, frame: int, attempt: int) -> bool:
        """Whether what is said of this attempt is news."""
        return frame in self._holder and attempt > self._spent.get(frame, 0)

    def next_attempt(self, frame: int) -> int:
        """The attempt that is under way, or was when its task ended."""
        return self._spent.get(frame, 0) + 1

    def ended(self, attempts: Mapping[int, int]) -> None:
        """Of these attempts of frames there are no more news."""
        self._spent |= attempts

    def failed(self, failure: Failed) -> None:
        """An attempt has ended; with the last one the frame is free."""
        self._spent[failure.frame] = failure.attempt
        if failure.final:
            self._release(failure.frame)

    def rendered(self, frame: int, attempt: int) -> None:
        """An attempt has given a picture: of this one there are no more news."""
        self.ended({frame: attempt})
        self._release(frame)

    def lost(self, frame: int) -> None:
        """A frame's task is over, and its attempt came to nothing."""
        self._spent[frame] = self.next_attempt(frame)
        self._release(frame)

    def _release(self, frame: int) -> None:
        name = self._holder.pop(frame, None)
        if name in self.tasks:
            self.tasks[name].discard(frame)

    def over(self, name: str) -> tuple[int, ...]:
        """A task is over: the frames that it still held."""
        return tuple(sorted(self.tasks.pop(name, ())))


class Said:
    """What nodes and their queue said of tasks, and of nodes that can't render the job."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        """tasks whose node said that they are over"""
        self.taken: set[str] = set()
        """tasks that a node began with"""
        self._over: dict[str, Over] = {}
        """tasks that the queue calls over, and how they ended"""
        self._ending: dict[str, None] = {}
        """tasks that are over, and may hold frames yet"""
        self._missed: dict[str, float] = {}
        """tasks that the queue calls over, and since when, while their node has not said so"""
        self.avoid: dict[str, str] = {}
        """nodes that can't render the job, and why"""

    def task(self, event: Taken | Ended) -> None:
        """A node began with a task, or is done with it."""
        if isinstance(event, Taken):
            self.taken.add(event.task)
            return
        self.ended.add(event.task)
        self._ending[event.task] = None

    def are_over(self, told: Mapping[str, Over]) -> None:
        """The queue calls tasks over."""
        self._over |= told
        self._ending |= dict.fromkeys(told)

    def given(self, task: str) -> None:
        """The queue has a task, of which that may have been said before."""
        if task in self._over or task in self.ended:
            self._ending[task] = None

    def ending(self) -> list[tuple[str, Over]]:
        """Tasks that are over, however long the list of all is, until they are settled."""
        return [(task, self._over.get(task, Over())) for task in self._ending]

    def settled(self, task: str) -> None:
        """No frame is with it any more."""
        del self._ending[task]

    def is_over(self, task: str, patience: float) -> bool:
        """Whether a task that its queue calls over says nothing more.

        A file system that several machines share may show its last words so many seconds late.
        """
        since = self._missed.setdefault(task, time.monotonic())
        return task in self.ended or time.monotonic() - since >= patience

    def why_none_fits(self) -> str:
        """Why the nodes that were tried can't render the job, each reason once."""
        return "; ".join(dict.fromkeys(self.avoid.values()))

    def unfit(self) -> Iterator[str]:
        """The nodes that can't render the job, those of one reason together."""
        for why in dict.fromkeys(self.avoid.values()):
            yield f"{', '.join(node for node in self.avoid if self.avoid[node] == why)}: {why.rstrip('.')}"
