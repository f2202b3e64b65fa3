"""What became of a job's frames, as its journals add up to it: `fold` takes events in, `retry` decides.

The same lines give the same ledger, whoever reads them, wherever and whenever; so status, report and loop
agree, and a farm that dies leaves nothing behind that the next one has to guess. A frame that nothing was said
about is queued, so ten million untouched frames are a range and no memory.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import operator
import pickle
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields, replace

from renderfarm.job.events import Made
from renderfarm.job.pace import Pace
from renderfarm.words.states import FrameState, JobState, Reason
from renderfarm.words.status import Counts, FrameFailure, Suspect
from renderfarm.words.updates import Failed

LISTED = 10_000
"""frames of a job that was given up, which are told one by one"""
PIECE = 5000
"""frames of a snapshot that are packed together"""
OTHERS = frozenset(FrameState) - {FrameState.SUCCEEDED}
DECIDED = frozenset({FrameState.SUCCEEDED, FrameState.FAILED, FrameState.CANCELED})


@dataclass(slots=True)
class Frame:
    """One frame that something was said about."""

    frame: int
    state: FrameState = FrameState.QUEUED
    attempts: int = 0
    """number of the last attempt that ended"""
    rendered: int = 0
    """number of the last attempt of which a node told how it went"""
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
    seconds: float | None = None
    reused: bool = False
    size: int | None = None
    mtime: int | None = None
    doubted: bool = False
    """it was rendered again because of its neighbours"""
    fingerprint: str = ""
    """of what it was seen to be rendered from"""


@dataclass
class Tally:
    """How many frames are in which state, kept as they change."""

    good: int = 0
    """frames that succeeded"""
    reused: int = 0
    """of these, frames that an earlier job rendered"""
    others: dict[FrameState, set[int]] = field(default_factory=lambda: {state: set() for state in OTHERS})
    """frames of which something was said, by their state"""
    waiting: set[int] = field(default_factory=set)
    """frames that are rendered, and that nobody has looked at"""

    @property
    def decided(self) -> int:
        """Frames with an outcome."""
        return self.good + len(self.others[FrameState.FAILED]) + len(self.others[FrameState.CANCELED])

    def move(self, frame: Frame, state: FrameState) -> None:
        """A frame is in another state now."""
        self.reused -= frame.reused and frame.state is FrameState.SUCCEEDED
        for each, change in ((frame.state, -1), (state, 1)):
            if each is FrameState.SUCCEEDED:
                self.good += change
            elif change < 0:
                self.others[each].discard(frame.frame)
            else:
                self.others[each].add(frame.frame)
        if state in DECIDED:
            self.waiting.discard(frame.frame)
        frame.state = state
        self.reused += frame.reused and state is FrameState.SUCCEEDED


@dataclass
class Run:
    """The farm's work on a job, whether it goes on or is over."""

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
    newest: int | None = None
    """frame that was delivered last"""


@dataclass
class Remarks:
    """What was said of a job besides its frames."""

    notes: list[str] = field(default_factory=list)
    builds: list[str] = field(default_factory=list)
    """labels of the renderers that nodes elsewhere rendered with"""
    troubles: list[str] = field(default_factory=list)
    """what went wrong besides frames, since the job was taken up last"""
    made: Made = field(default_factory=Made)
    suspected: dict[int, Suspect] = field(default_factory=dict)
    """frames that somebody should look at"""


@dataclass
class Nodes:
    """What the nodes of a job do."""

    pace: Pace = field(default_factory=Pace)
    states: dict[str, str] = field(default_factory=dict)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """node to when it was heard of first and last"""


@dataclass
class Ledger:
    """A job's frames, as far as its journals tell."""

    range: Collection[int]
    retries: int
    """tries after the first one"""
    tally: Tally = field(default_factory=Tally)
    tries: dict[int, list[Failed]] = field(default_factory=dict)
    """failed attempts of each frame, oldest first"""
    sets: dict[str, dict[str, str]] = field(default_factory=dict)
    """fingerprint to the files that it was seen to be rendered from, and their hashes"""
    run: Run = field(default_factory=Run)
    remarks: Remarks = field(default_factory=Remarks)
    nodes: Nodes = field(default_factory=Nodes)
    kept: tuple[bytes, ...] = ()
    """frames of a snapshot, by columns: objects take five times as long and as much memory"""

    @functools.cached_property
    def frames(self) -> dict[int, Frame]:
        """Frames that something was said about; who only counts never unpacks those of a snapshot."""
        pieces = map(pickle.loads, self.kept)  # of the user's own farm home
        with undisturbed():
            return {row[0]: Frame(*row) for columns in pieces for row in zip(*columns, strict=True)}

    def packed(self) -> Ledger:
        """The same for a snapshot, without the range, which the record has."""
        rows = map(_ROW, self.frames.values())
        pieces = iter(lambda: [*itertools.islice(rows, PIECE)], [])
        kept = tuple(pickle.dumps([*zip(*piece, strict=True)]) for piece in pieces)
        return replace(self, range=(), kept=kept)

    @property
    def undecided(self) -> int:
        """Frames that are still to be rendered."""
        over = self.run.canceled or self.run.given_up is not None
        return 0 if over else len(self.range) - self.tally.decided

    def state(self, frame: int) -> FrameState:
        """What became of one frame."""
        known = self.frames.get(frame)
        state = known.state if known else FrameState.QUEUED
        if state in DECIDED:
            return state
        if self.run.given_up is not None:
            return FrameState.FAILED
        return FrameState.CANCELED if self.run.canceled else state

    def seen(self, frame: int) -> dict[str, str] | None:
        """The files that a frame was seen to be rendered from; None where that is not certain."""
        known = self.frames.get(frame)
        return self.sets.get(known.fingerprint) if known else None

    def counts(self, alive: bool = True) -> Counts:
        """Frames by state; nothing runs where nobody works on the job."""
        others = {state: len(frames) for state, frames in self.tally.others.items()}
        failed, canceled = others[FrameState.FAILED], others[FrameState.CANCELED]
        left = len(self.range) - self.tally.decided
        running = others[FrameState.RUNNING] if alive else 0
        if self.run.given_up is not None:
            failed, left, running = failed + left, 0, 0
        elif self.run.canceled:
            canceled, left, running = canceled + left, 0, 0
        good, reused = self.tally.good, self.tally.reused
        return Counts(len(self.range), good, failed, left - running, running, canceled, reused)

    def job_state(self, alive: bool) -> JobState:
        """A job's state from its frames' states, and from whether somebody works on it."""
        counts = self.counts(alive)
        if counts.queued or counts.running:
            works = alive and not self.run.in_line and (self.frames or counts.running)
            return JobState.RUNNING if works else JobState.QUEUED
        if alive:
            return JobState.RUNNING
        if counts.failed:
            return JobState.FAILED
        return JobState.CANCELED if counts.canceled else JobState.SUCCEEDED

    def of(self, *states: FrameState) -> Iterator[Frame]:
        """Frames in some of the states of which something was said, ascending."""
        few = set[int]().union(*(self.tally.others[state] for state in states if state in OTHERS))
        for frame in sorted(self.frames if FrameState.SUCCEEDED in states else few):
            if self.frames[frame].state in states:
                yield self.frames[frame]

    def failures(self) -> Iterator[FrameFailure]:
        """Frames that failed for good, ascending; of those that were not tried, the first so many."""
        tried = (
            FrameFailure(f.frame, f.reason or "unknown", f.message or "", f.attempts, f.log)
            for f in self.of(FrameState.FAILED)
        )
        found = (*tried, *itertools.islice(self._untried(), LISTED))
        return iter(sorted(found, key=lambda each: each.frame))

    def _untried(self) -> Iterator[FrameFailure]:
        """Frames that were given up; ten million of them are walked only as far as somebody asks."""
        for frame in self.range if self.run.given_up is not None else ():
            if self.frames.get(frame, _UNTOUCHED).state not in DECIDED:
                yield FrameFailure(frame, Reason.GIVEN_UP.value, f"Not tried: {self.run.given_up}", 0, None)

    def suspects(self) -> list[Suspect]:
        """Delivered frames that somebody should look at."""
        found = sorted(self.remarks.suspected.items())
        return [each for number, each in found if self.state(number) is FrameState.SUCCEEDED]

    def logs(self, frame: int | None = None) -> list[str]:
        """Paths of the logs of all attempts, failed ones first; of one frame when given."""
        tries = [
            failure.log for number, kept in self.tries.items() if frame in (None, number) for failure in kept
        ]
        last = [known.log for number, known in self.frames.items() if frame in (None, number)]
        return [log for log in dict.fromkeys((*tries, *last)) if log]

    # For whoever folds events into it

    def touched(self, number: int) -> Frame | None:
        """A frame of the job that something is said about; None for any other."""
        known = self.frames.get(number)
        if known is None and number in self.range:
            known = self.frames[number] = Frame(number)
            self.tally.others[FrameState.QUEUED].add(number)
        return known

    def open(self, number: int, attempt: int) -> Frame | None:
        """A frame of the job whose attempt has no outcome yet; None for any other."""
        frame = self.touched(number)
        return frame if frame and frame.state not in DECIDED and attempt > frame.attempts else None

    def unexplained(self, number: int, attempt: int) -> Frame | None:
        """A frame that this attempt delivered, as the farm's clock has it before the node's word; else None."""
        frame = self.frames.get(number)
        delivered = frame and frame.state is FrameState.SUCCEEDED and not frame.reused
        return frame if frame and delivered and frame.rendered < attempt == frame.attempts else None

    def reopen(self, number: int) -> None:
        """A decided frame is open again, as if it had never been tried; its attempts are numbered on."""
        if frame := self.touched(number):
            frame.spent = frame.lost = 0
            frame.reason = frame.message = None
            self.remarks.suspected.pop(number, None)
            self.tally.move(frame, FrameState.QUEUED)

    def rest(self) -> None:
        """Nothing runs any more."""
        for frame in list(self.of(FrameState.RUNNING)):
            self.tally.move(frame, FrameState.QUEUED)
        self.nodes.pace = Pace()
        self.nodes.states.clear()


_UNTOUCHED = Frame(0)
_ROW = operator.attrgetter(*(each.name for each in fields(Frame)))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Without looks for garbage: among very many new objects that are kept they take a third of the time."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looks:
            gc.enable()
