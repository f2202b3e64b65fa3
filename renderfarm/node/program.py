"""What a node does: opens a session, renders tasks with it, and says what happened, one event at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from renderfarm.node import sandbox
from renderfarm.node.inputs import Inputs
from renderfarm.node.pictures import defect
from renderfarm.node.warm import MOST_OPENINGS, WarmSession
from renderfarm.renderers import Session, SessionFailure
from renderfarm.renderers.scratch import is_own
from renderfarm.words import files
from renderfarm.words.request import Sandbox
from renderfarm.words.scene import Scene, pictures
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Observed, Rendered, Started, Trouble
from renderfarm.words.work import Input, Task, Work

MOST_TOLD = 200_000
"""names of files, by a session that keeps what it opened"""
FAILED_BEFORE = "the try before failed"
MOST_NEW = 100
"""files that its frames may open beyond those of its first: it is opened anew, or lists would grow and grow"""

Event = Started | Rendered | Failed | Trouble


class Opened:
    """What sessions were seen to open, and how it is told: a list once, then its name."""

    def __init__(self) -> None:
        self.kept: Observed | None = None
        """what this session has opened, where that counts for all its frames"""
        self.has_grown = False
        self._first: int | None = None
        """length of the first list of this session"""
        self._told: set[str] = set()
        self._count = 0

    def anew(self) -> None:
        """Another session begins."""
        self.kept, self.has_grown, self._first = None, False, None

    def shortened(self, seen: Observed | None) -> Observed | None:
        """What was told before by its name alone; None where that is too much."""
        if seen is None or seen.name in self._told:
            return seen and Observed(seen.name)
        length = len(seen.opened) + len(seen.absent)
        self._count += length
        self._first = length if self._first is None else self._first
        self.has_grown = self.kept is not None and length > self._first + MOST_NEW
        if self.kept and self._count > MOST_TOLD:
            return None
        self._told.add(seen.name)
        return seen


class Node:
    """One session and the tasks it renders. A session that dies is opened again for the next frame."""

    def __init__(self, work: Work, name: str, say: Callable[[Event], None]) -> None:
        self._work = work
        self._name = name
        self._say = say
        self._warm = WarmSession(work)
        self._scratch = Path(work.scratch)
        self._inputs = Inputs(work.inputs, work.since)
        self._opened = Opened()
        self._device = ""
        """the kind of graphics card that sessions render on"""
        self._unsure: Counter[int] = Counter()
        """times that a frame was rendered for nothing, because files moved under it"""

    def expect(self, inputs: Sequence[Input], since: float = 0.0) -> None:
        """Say what frames are to be rendered from; a session that may have opened something older is closed."""
        self._inputs = Inputs(inputs, since)
        if self._warm.session:
            self._inputs.open()
            if self._inputs.newer(self._warm.began):
                self.drop()

    @property
    def sandboxed(self) -> str:
        """Empty when the renderer runs in bubblewrap, else why it does not."""
        if self._work.sandbox is Sandbox.OFF:
            return "switched off"
        return sandbox.obstacle()

    def open(self) -> Session:
        """The warm session, started if there is none; raises SessionFailure."""
        if self._warm.session is None:
            self._inputs.open()
        return self._warm.open()

    def _opened_for(self, task: Task) -> Session:
        """A session that renders on the processor what failed on a graphics card."""
        session = self.open()
        self._device = session.device or self._device
        if self._device and self._work.processor != bool(task.spent):
            self.drop()
            self._work = replace(self._work, processor=bool(task.spent))
            self._warm = WarmSession(self._work)
            session = self.open()
        return session

    def describe(self) -> Scene:
        """What the scene contains; raises SessionFailure."""
        self.open()
        return self._warm.describe()

    def drop(self) -> None:
        """Close the session; nothing of it is left."""
        self._warm.drop()
        self._opened.anew()

    def kill(self) -> None:
        """Kill the renderer now; safe from another thread."""
        self._warm.kill()

    def render(self, task: Task, threads: int) -> None:
        """Render a task's frames, saying Started and Rendered or Failed for each of them."""
        folder = self._scratch / f"{task.id}.{task.attempt}"
        log = self._scratch / f"{task.id}.{task.attempt}.log"
        shelf = Path(self._work.logs or self._scratch) / log.name
        left = list(task.frames)
        if self._opened.has_grown:
            self.drop()
        while left:
            for outcome in self._results(task, left, threads, folder, log):
                left.remove(outcome.frame)
                if not left:  # before the last word: the farm may stop the node as soon as it has heard it
                    self._put_away(log, shelf)
                seen = self._opened.shortened(outcome.observed)
                name, attempt, at = self._name, task.attempt, str(shelf)
                self._say(replace(outcome, observed=seen, task=task.id, attempt=attempt, node=name, log=at))

    def _results(
        self, task: Task, frames: list[int], threads: int, folder: Path, log: Path
    ) -> Iterator[Rendered | Failed]:
        """Outcomes of the frames up to the first one that kills the session."""
        undecided = list(frames)
        began = time.monotonic()
        try:
            session = self._opened_for(task)
            folder.mkdir(exist_ok=True)
            for frame in [frame for frame in frames if self._inputs.changed(frame, self._opened.kept)]:
                self._begin(task, [frame])
                undecided.remove(frame)
                yield self._changed(frame, 0.0, self._opened.kept)
            self._begin(task, undecided)
            for told in session.render(list(undecided), threads, folder, log) if undecided else ():
                self._warm.clock(running=False)  # handing it over may take long
                outcome = self._observed(told)
                if self._is_unsure(outcome.frame, outcome.observed):
                    self.drop()
                    yield from self._given_up(outcome.frame)
                    return
                looked_at = self._looked_at(outcome)
                undecided.remove(outcome.frame)
                yield looked_at
                began = time.monotonic()
                self._begin(task, undecided)
        except BrokenPipeError:
            raise  # the farm is gone
        except (SessionFailure, OSError) as failure:
            failed = self._warm.explained(failure)
            self.drop()
            if undecided and self._is_unsure(undecided[0]):
                yield from self._given_up(undecided[0])
            elif undecided:
                outcome = Failed(undecided[0], failed.reason, failed.message, time.monotonic() - began)
                yield self._looked_at(outcome)

    def _observed(self, outcome: Rendered | Failed) -> Rendered | Failed:
        """The outcome with what the renderer opened for it."""
        picture = outcome.path if isinstance(outcome, Rendered) else None
        seen = self._warm.seen(picture, self._inputs.sure)
        self._opened.kept = seen if self._warm.keeps else None
        return replace(outcome, observed=seen) if seen else outcome

    def _is_unsure(self, frame: int, seen: Observed | None = None) -> bool:
        """Whether nobody knows what the frame was rendered from, so that it must be rendered again."""
        return self._inputs.moved(frame, seen) and not self._inputs.changed(frame, seen)

    def _given_up(self, frame: int) -> Iterator[Failed]:
        """Nothing, until a frame was rendered for nothing too often."""
        self._unsure[frame] += 1
        if self._unsure[frame] >= MOST_OPENINGS:
            yield Failed(frame, Reason.INPUT_CHANGED, "Its files are touched again and again while it renders.")

    def _changed(self, frame: int, seconds: float, seen: Observed | None = None) -> Failed:
        name = self._named(self._inputs.changed(frame, seen))
        return Failed(frame, Reason.INPUT_CHANGED, f"{name} changed while rendering", seconds)

    def _named(self, path: str) -> str:
        """A file as people know it: below the scene's folder by the rest of its name."""
        folder = os.path.dirname(self._work.scene)  # noqa: PTH120
        return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else path

    def _begin(self, task: Task, undecided: list[int]) -> None:
        if undecided:
            self._say(Started(undecided[0], task.id, task.attempt, self._name))
        self._warm.clock(running=bool(undecided))

    def _looked_at(self, outcome: Rendered | Failed) -> Rendered | Failed:
        if self._inputs.changed(outcome.frame, outcome.observed):
            return self._changed(outcome.frame, outcome.seconds, outcome.observed)
        if isinstance(outcome, Failed):
            why = self._warm.explained(SessionFailure(outcome.reason, outcome.message))
            return replace(outcome, reason=why.reason, message=why.message)
        found = [Path(path) for path in pictures(outcome.path, outcome.views)]
        try:
            if not all(is_own(path, self._scratch) for path in found):
                message = "The renderer named a picture that is a link, or not in its own folder."
                return Failed(outcome.frame, Reason.BAD_PICTURE, message, outcome.seconds)
            wrong = next(filter(None, map(defect, found)), "")
        except FileNotFoundError:
            message = "The renderer said it was done, but left no picture."
            return Failed(outcome.frame, Reason.NO_PICTURE, message, outcome.seconds)
        if not wrong:
            return replace(outcome, instead=FAILED_BEFORE) if self._work.processor else outcome
        for path in found:
            path.unlink()
        if self._warm.disk_full():
            message = f"The disk is full: {wrong}."
            return Failed(outcome.frame, Reason.DISK_FULL, message, outcome.seconds)
        return Failed(outcome.frame, Reason.BAD_PICTURE, f"Not a whole picture: {wrong}.", outcome.seconds)

    def _put_away(self, log: Path, shelf: Path) -> None:
        if log.exists() and log != shelf and is_own(log, self._scratch):
            # A log that can't be kept must not cost the frame.
            with contextlib.suppress(OSError), files.draft(shelf) as made:
                shutil.move(log, made)
