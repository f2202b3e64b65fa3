"""One job as people and scripts see it."""

from __future__ import annotations

from dataclasses import dataclass

from renderfarm.words.states import Finding, JobState, Phase


@dataclass(frozen=True)
class Counts:
    """Frames of a job by state; `reused` of the succeeded ones were not rendered for this job."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    queued: int = 0
    running: int = 0
    canceled: int = 0
    reused: int = 0


@dataclass(frozen=True)
class FrameFailure:
    """A frame that failed for good, with its last attempt's reason and log."""

    frame: int
    reason: str
    message: str
    attempts: int
    log: str | None = None


@dataclass(frozen=True)
class Suspect:
    """A delivered frame that somebody should look at."""

    frame: int
    finding: Finding
    detail: str


@dataclass(frozen=True)
class NodeStatus:
    """What one node does now."""

    node: str
    state: str
    frame: int | None = None
    seconds: float = 0.0
    """how long it has been doing it"""


@dataclass(frozen=True)
class Status:
    """One job as people and scripts see it; its JSON is part of the contract."""

    job: str
    state: JobState
    scene: str
    pool: str
    frames: Counts
    failures: tuple[FrameFailure, ...]
    output: str
    frames_dir: str
    video: str | None
    contact_sheet: str | None
    report: str | None
    seconds: float
    """wall clock spent working on it"""
    eta_seconds: float | None
    phase: Phase = Phase.UNTOLD
    doing: str = ""
    """how far a phase is, for people"""
    place: int | None = None
    """in this machine's line: 1 is next"""
    behind: str | None = None
    """the job directly ahead in it"""
    frames_per_minute: float | None = None
    suspects: tuple[Suspect, ...] = ()
    nodes: tuple[NodeStatus, ...] = ()
    notes: tuple[str, ...] = ()
    """what the user should know: which renderer was taken, assets missing, gaps held, no sandbox, …"""
    problems: tuple[str, ...] = ()
    """what went wrong besides frames: no video, report not written"""
    node_hours: float | None = None
    """of a pool that is paid for"""
    cost: float | None = None
    currency: str | None = None
    submitted: str = ""
    """ISO 8601, UTC"""
    ended: bool = False
    """nobody works on it any more, here or elsewhere; with frames left, `resume` goes on"""
    parts: Counts | None = None
    """of frames that are split, as far as they were begun"""
    last_frame: str | None = None
    """path of the picture that was delivered last"""

    @property
    def pieces(self) -> Counts:
        """What fills up: parts, as long as frames are left that are rendered in such; else frames."""
        return self.parts if self.parts and self.frames.succeeded < self.frames.total else self.frames
