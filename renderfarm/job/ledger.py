"""What became of a job's frames: a pure fold over its journals, and the one place that decides on another try.

The same lines give the same ledger, whoever reads them, wherever and whenever; so status, report and loop
agree, and a farm that dies leaves nothing behind that the next one has to guess. A frame that nothing was said
about is queued, so ten million untouched frames are a range and no memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from renderfarm.job.events import (
    Admitted,
    Begun,
    Canceled,
    Delivered,
    Doubted,
    Ended,
    GivenUp,
    Left,
    Made,
    Missed,
    Noted,
    Paused,
    Queued,
    Retried,
    Reused,
    Saw,
    Suspected,
    Taken,
    Troubled,
)
from renderfarm.job.pace import Pace
from renderfarm.words.model import (
    RETRYABLE,
    Counts,
    Failed,
    Finding,
    FrameFailure,
    FrameState,
    JobState,
    NodeChange,
    Reason,
    Rendered,
    Started,
    Suspect,
)

LISTED = 10_000
"""frames of a job that was given up, which are told one by one"""
LOST_LIMIT = 10
"""times that a frame may lose its node before that counts against the frame"""
OTHERS = frozenset(FrameState) - {FrameState.SUCCEEDED}
DECIDED = frozenset({FrameState.SUCCEEDED, FrameState.FAILED, FrameState.CANCELED})


@dataclass(slots=True)
class Frame:
    """One frame that something was said about."""

    frame: int
    state: FrameState = FrameState.QUEUED
    attempts: int = 0
    """number of the last attempt that ended"""
    spent: int = 0
    """attempts that count against the frame"""
    lost: int = 0
    """attempts that ended with their node"""
    reason: str | None = None
    message: str | None = None
    lacking: bool = False
    """the renderer said that a file was not there"""
    log: str | None = None
    node: str | None = None
    started: float | None = None
    """seconds since the epoch"""
    waiting: bool = False
    """it is rendered, and nobody has looked at it"""
    seconds: float | None = None
    reused: bool = False
    size: int | None = None
    mtime: int | None = None
    doubted: bool = False
    """it was rendered again because of its neighbours"""
    finding: str | None = None
    detail: str | None = None
    take: str = ""
    """of what it was seen to be rendered from"""


@dataclass
class Ledger:
    """A job's frames, as far as its journals tell."""

    range: Collection[int]
    retries: int
    """tries after the first one"""
    frames: dict[int, Frame] = field(default_factory=dict)
    tries: dict[int, list[Failed]] = field(default_factory=dict)
    """failed attempts of each frame, oldest first"""
    notes: list[str] = field(default_factory=list)
    builds: list[str] = field(default_factory=list)
    """labels of the renderers that nodes elsewhere rendered with"""
    troubles: list[str] = field(default_factory=list)
    """what went wrong besides frames, since the job was taken up last"""
    made: Made = field(default_factory=Made)
    canceled: bool = False
    in_line: bool = False
    """for its turn on this machine"""
    paused: bool = False
    """no other frame is begun"""
    given_up: str | None = None
    """why frames that are not decided were not tried"""
    begun: float | None = None
    """when the farm that works on the job, or did last, took it up; seconds since the epoch"""
    seconds: float = 0.0
    """wall clock that farms worked before that"""
    sets: dict[str, dict[str, str]] = field(default_factory=dict)
    """take to the files that it was seen to be rendered from, and their hashes"""
    pace: Pace = field(default_factory=Pace)
    nodes: dict[str, str] = field(default_factory=dict)
    """node to what it does"""
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """node to when it was heard of first and last"""
    _good: int = 0
    """frames that succeeded"""
    _others: dict[FrameState, set[int]] = field(default_factory=lambda: {state: set() for state in OTHERS})
    """frames of which something was said, by their state"""
    _reused: int = 0

    # What it says

    @property
    def total(self) -> int:
        """Frames that the job has."""
        return len(self.range)

    @property
    def undecided(self) -> int:
        """Frames that are still to be rendered."""
        if self.canceled or self.given_up is not None:
            return 0
        decided = sum(len(self._others[state]) for state in DECIDED - {FrameState.SUCCEEDED})
        return self.total - self._good - decided

    def state(self, frame: int) -> FrameState:
        """What became of one frame."""
        known = self.frames.get(frame)
        state = known.state if known else FrameState.QUEUED
        if state in DECIDED:
            return state
        if self.given_up is not None:
            return FrameState.FAILED
        return FrameState.CANCELED if self.canceled else state

    def counts(self, alive: bool = True) -> Counts:
        """Frames by state; nothing runs where nobody works on the job."""
        failed, canceled = len(self._others[FrameState.FAILED]), len(self._others[FrameState.CANCELED])
        left = self.total - self._good - failed - canceled
        running = len(self._others[FrameState.RUNNING]) if alive else 0
        if self.given_up is not None:
            failed, left, running = failed + left, 0, 0
        elif self.canceled:
            canceled, left, running = canceled + left, 0, 0
        return Counts(self.total, self._good, failed, left - running, running, canceled, self._reused)

    def job_state(self, alive: bool) -> JobState:
        """A job's state from its frames' states, and from whether somebody works on it."""
        counts = self.counts(alive)
        if counts.queued or counts.running:
            works = alive and not self.in_line and (self.frames or counts.running)
            return JobState.RUNNING if works else JobState.QUEUED
        if alive:
            return JobState.RUNNING
        if counts.failed:
            return JobState.FAILED
        return JobState.CANCELED if counts.canceled else JobState.SUCCEEDED

    @property
    def waiting(self) -> int:
        """Frames that are rendered, and that nobody has looked at."""
        return sum(frame.waiting and frame.state not in DECIDED for frame in self.frames.values())

    def of(self, *states: FrameState) -> Iterator[Frame]:
        """Frames in some of the states of which something was said, ascending."""
        few = set[int]().union(*(self._others[state] for state in states if state in OTHERS))
        for frame in sorted(self.frames if FrameState.SUCCEEDED in states else few):
            if self.frames[frame].state in states:
                yield self.frames[frame]

    def failures(self) -> Iterator[FrameFailure]:
        """Frames that failed for good, ascending; of those that were not tried, the first so many."""
        found = (*map(_failure, self.of(FrameState.FAILED)), *itertools.islice(self._untried(), LISTED))
        return iter(sorted(found, key=lambda each: each.frame))

    def _untried(self) -> Iterator[FrameFailure]:
        """Frames that were given up; ten million of them are walked only as far as somebody asks."""
        for frame in self.range if self.given_up is not None else ():
            if self.frames.get(frame, _UNTOUCHED).state not in DECIDED:
                yield FrameFailure(frame, Reason.GIVEN_UP.value, f"Not tried: {self.given_up}", 0, None)

    def suspects(self) -> list[Suspect]:
        """Delivered frames that somebody should look at."""
        delivered = self.of(FrameState.SUCCEEDED)
        return [Suspect(f.frame, Finding(f.finding), f.detail or "") for f in delivered if f.finding]

    def logs(self, frame: int | None = None) -> list[str]:
        """Paths of the logs of all attempts, failed ones first; of one frame when given."""
        tries = [
            failure.log for number, kept in self.tries.items() if frame in (None, number) for failure in kept
        ]
        last = [known.log for number, known in self.frames.items() if frame in (None, number)]
        return [log for log in dict.fromkeys((*tries, *last)) if log]

    # What is said to it

    def fold(self, event: object, time: float) -> None:
        """Take one event in, said at a time in seconds since the epoch.

        Events may come twice: what is said of an attempt that has ended already changes nothing, and neither
        does what has no handler.
        """
        if handler := _HANDLERS.get(type(event)):
            handler(self, event, time)
            if node := getattr(event, "node", ""):
                self.spans[node] = (self.spans.get(node, (time, time))[0], time)

    def _on_started(self, event: Started, time: float) -> None:
        if frame := self._open(event.frame, event.attempt):
            frame.node, frame.started = event.node, time
            self._to(frame, FrameState.RUNNING)
            self.nodes[event.node] = "working"
            self.pace.started(event.node, event.frame, time)

    def _on_rendered(self, event: Rendered, time: float) -> None:
        if frame := self._open(event.frame, event.attempt):
            self.pace.finished(event.node, event.seconds, time)
            frame.node, frame.log, frame.seconds = intern(event.node), event.log, event.seconds
            frame.started, frame.waiting = time - event.seconds, True
            frame.lacking = event.lacking
            if event.build and event.build.label not in self.builds:
                self.builds.append(event.build.label)

    def _on_delivered(self, event: Delivered, time: float) -> None:
        if frame := self._open(event.frame, event.attempt):
            frame.attempts, frame.reason, frame.message = event.attempt, None, None
            frame.waiting = False
            frame.size, frame.mtime, frame.reused, frame.take = event.size, event.mtime, False, event.take
            self._to(frame, FrameState.SUCCEEDED)

    def _on_failed(self, event: Failed, time: float) -> None:
        if frame := self._open(event.frame, event.attempt):
            self._tried(frame, event)

    def _on_reused(self, event: Reused, time: float) -> None:
        frame = self._frame(event.frame)
        frame.size, frame.mtime, frame.reused, frame.take = event.size, event.mtime, True, event.take
        self._to(frame, FrameState.SUCCEEDED)

    def _on_saw(self, event: Saw, time: float) -> None:
        self.sets[event.take] = event.files

    def _on_missed(self, event: Missed, time: float) -> None:
        self._again(event.frame)

    def _on_doubted(self, event: Doubted, time: float) -> None:
        frame = self._frame(event.frame)
        message = f"{event.finding}: {event.detail}"
        self._to(frame, FrameState.QUEUED)
        frame.doubted, frame.spent = True, 0
        self._keep(Failed(event.frame, Reason.BAD_PICTURE, message, attempt=frame.attempts))

    def _on_suspected(self, event: Suspected, time: float) -> None:
        for frame in self.frames.values():
            frame.finding = frame.detail = None
        for number, finding, detail in zip(event.frames, event.findings, event.details, strict=False):
            self._frame(number).finding, self._frame(number).detail = finding, detail

    def _on_retried(self, event: Retried, time: float) -> None:
        from renderfarm.words.frames import parse  # nodes fold, too, and have no fileseq

        self.given_up, self.canceled = None, False
        wanted = parse(event.frames) if event.frames else None
        for frame in list(self.of(*DECIDED) if wanted else self.of(FrameState.FAILED)):
            if wanted is None or frame.frame in wanted:
                self._again(frame.frame)

    def _on_begun(self, event: Begun, time: float) -> None:
        self.rest()
        self.canceled = self.in_line = self.paused = False
        self.begun, self.made = time, Made()
        self.troubles.clear()
        for frame in list(self.of(FrameState.CANCELED)):
            self._to(frame, FrameState.QUEUED)

    def _on_queued(self, event: Queued, time: float) -> None:
        self.in_line, self.begun = True, None

    def _on_admitted(self, event: Admitted, time: float) -> None:
        self.in_line, self.begun = False, time

    def _on_left(self, event: Left, time: float) -> None:
        self.rest()
        self.seconds += event.seconds
        self.in_line, self.begun = False, None

    def _on_canceled(self, event: Canceled, time: float) -> None:
        self.rest()
        self.canceled = True

    def _on_paused(self, event: Paused, time: float) -> None:
        self.paused = True

    def _on_given_up(self, event: GivenUp, time: float) -> None:
        self.rest()
        self.given_up = event.message

    def _on_taken(self, event: Taken, time: float) -> None:
        self.pace.coming(event.node)
        self.nodes.setdefault(event.node, "loading")

    def _on_ended(self, event: Ended, time: float) -> None:
        self.pace.left(event.node)
        self.nodes.pop(event.node, None)

    def _on_noted(self, event: Noted, time: float) -> None:
        if event.note not in self.notes:
            self.notes.append(event.note)

    def _on_troubled(self, event: Troubled, time: float) -> None:
        self.troubles.append(event.problem)

    def _on_made(self, event: Made, time: float) -> None:
        self.made = event

    def _on_node_change(self, event: NodeChange, time: float) -> None:
        self.nodes[event.node] = event.state
        if event.state == "loading":
            self.pace.coming(event.node)
        if event.state == "gone":
            self.pace.left(event.node)
            del self.nodes[event.node]

    # How

    def _tried(self, frame: Frame, failure: Failed) -> None:
        """Decide about another try; what failed the same way twice in its pixels won't get better."""
        same = (frame.reason, frame.message) == (failure.reason.value, failure.message)
        hopeless = failure.final or (same and failure.reason is Reason.BAD_PICTURE)
        frame.attempts, frame.reason, frame.message = failure.attempt, failure.reason.value, failure.message
        frame.log, frame.node, frame.seconds = failure.log, failure.node, failure.seconds
        frame.waiting = False
        if failure.reason is Reason.NODE_LOST:
            frame.lost += 1
        else:
            frame.spent += 1
        again = failure.reason in RETRYABLE and frame.spent <= self.retries and frame.lost <= LOST_LIMIT
        self._keep(failure)
        self._to(frame, FrameState.QUEUED if again and not hopeless else FrameState.FAILED)

    def _keep(self, failure: Failed) -> None:
        self.tries.setdefault(failure.frame, []).append(failure)

    def _again(self, number: int) -> None:
        """A decided frame is open again, as if it had never been tried; its attempts are numbered on."""
        frame = self._frame(number)
        frame.spent = frame.lost = 0
        frame.reason = frame.message = frame.finding = frame.detail = None
        self._to(frame, FrameState.QUEUED)

    def _frame(self, number: int) -> Frame:
        if number not in self.frames:
            self.frames[number] = Frame(number)
            self._others[FrameState.QUEUED].add(number)
        return self.frames[number]

    def _open(self, number: int, attempt: int) -> Frame | None:
        """A frame of the job whose attempt has no outcome yet; None for any other."""
        known = self.frames.get(number)
        if known is None and number not in self.range:
            return None
        frame = known or self._frame(number)
        return None if frame.state in DECIDED or attempt <= frame.attempts else frame

    def rest(self) -> None:
        """Nothing runs any more."""
        for frame in list(self.of(FrameState.RUNNING)):
            self._to(frame, FrameState.QUEUED)
        self.pace = Pace()
        self.nodes.clear()

    def _to(self, frame: Frame, state: FrameState) -> None:
        self._reused -= frame.reused and frame.state is FrameState.SUCCEEDED
        for each, change in ((frame.state, -1), (state, 1)):
            if each is FrameState.SUCCEEDED:
                self._good += change
            elif change < 0:
                self._others[each].discard(frame.frame)
            else:
                self._others[each].add(frame.frame)
        frame.state = state
        self._reused += frame.reused and state is FrameState.SUCCEEDED


_HANDLERS: dict[type, Callable[[Ledger, Any, float], None]] = {
    Started: Ledger._on_started,
    Rendered: Ledger._on_rendered,
    Delivered: Ledger._on_delivered,
    Failed: Ledger._on_failed,
    Reused: Ledger._on_reused,
    Saw: Ledger._on_saw,
    Missed: Ledger._on_missed,
    Doubted: Ledger._on_doubted,
    Suspected: Ledger._on_suspected,
    Retried: Ledger._on_retried,
    Begun: Ledger._on_begun,
    Queued: Ledger._on_queued,
    Admitted: Ledger._on_admitted,
    Left: Ledger._on_left,
    Canceled: Ledger._on_canceled,
    Paused: Ledger._on_paused,
    GivenUp: Ledger._on_given_up,
    Taken: Ledger._on_taken,
    Ended: Ledger._on_ended,
    Noted: Ledger._on_noted,
    Troubled: Ledger._on_troubled,
    Made: Ledger._on_made,
    NodeChange: Ledger._on_node_change,
}


def _failure(frame: Frame) -> FrameFailure:
    return FrameFailure(frame.frame, frame.reason or "unknown", frame.message or "", frame.attempts, frame.log)


_UNTOUCHED = Frame(0)
