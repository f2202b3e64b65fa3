"""The words of nightly jobs as types: a list of shots, what a night did to each, what looks different.

Data only and frozen; `Night` travels as JSON through `words.as_json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path

from renderfarm.words.scene import Colour
from renderfarm.words.states import Word
from renderfarm.words.status import FrameFailure, Suspect

KEEP_NIGHTS = 14


class ShotState(Word):
    """How a shot came out of a night."""

    SUCCEEDED = "succeeded"
    """every frame is there and was looked at"""
    FAILED = "failed"
    """some frames failed, or the shot could not start"""
    LIMITED = "limited"
    """stopped at a limit of time or money with frames left"""
    CANCELED = "canceled"
    """stopped by the user"""
    RUNNING = "running"
    """its pool goes on with it; `nightly report` collects"""


@dataclass(frozen=True)
class Shot:
    """One scene of the list, with the defaults filled in; `options` are those of `renderfarm.request`."""

    name: str
    scene: Path
    frames: str | None = None
    """None: the scene's own range"""
    pool: str | None = None
    """None: the default pool"""
    priority: int = 0
    """higher first"""
    keep: int = KEEP_NIGHTS
    """nights whose frames are kept"""
    options: Mapping[str, object] = field(default_factory=dict)
    line: int = 0
    """of its table in the list, for messages"""


@dataclass(frozen=True)
class ShotList:
    """A checked list of shots."""

    path: Path
    output: Path
    """the folder `nights`"""
    shots: tuple[Shot, ...]
    together: int | None = None
    """shots at once; None: one on this machine, all on a remote pool"""
    notify: str | None = None
    notify_url: str | None = None
    price_per_hour: float | None = None
    """of this machine, for budgets"""
    currency: str = "USD"
    """of that price"""

    @property
    def keep(self) -> dict[str, int]:
        """Nights whose frames are kept, of each shot."""
        return {shot.name: shot.keep for shot in self.shots}


@dataclass(frozen=True)
class ShotCounts:
    """Frames of one shot in one night: `rendered` and `reused` are good, `left` were not tried for good."""

    total: int = 0
    rendered: int = 0
    reused: int = 0
    failed: int = 0
    left: int = 0

    @property
    def good(self) -> int:
        """Frames that are in the output folder."""
        return self.rendered + self.reused


@dataclass(frozen=True)
class ShotFailure(FrameFailure):
    """A frame that failed for good, with the lines that matter of its log; a night's folder may hold that."""

    signs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShotNight:
    """What one night did to one shot. Paths are relative to the night's folder where nothing else is said."""

    name: str
    scene: str
    """absolute path, or as the list has it when it was not found"""
    state: ShotState
    job: str | None = None
    """None: it never became a job"""
    pool: str = "local"
    priority: int = 0
    frames: ShotCounts = field(default_factory=ShotCounts)
    seconds: float = 0.0
    """wall clock"""
    seconds_per_frame: float | None = None
    """of the frames rendered this night; None when none was"""
    why: tuple[str, ...] = ()
    """why frames were rendered: `new`, `scene changed`, `asset tex.png changed`, …"""
    failures: tuple[ShotFailure, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    error: str | None = None
    """why the shot could not start, or was given up as a whole"""
    hint: str = ""
    """what to do about the error"""
    advice: str = ""
    """what to do about frames that failed"""
    retry: str | None = None
    """the command in that, if another try is the advice"""
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """what went wrong besides frames: no video, …"""
    cost: float | None = None
    currency: str | None = None
    output: str = ""
    """the job's output folder: `<shot>`"""
    video: str | None = None
    contact_sheet: str | None = None
    report: str | None = None
    fps: float | None = None
    resolution: tuple[int, int] | None = None
    stem: str = ""
    """frames are `<output>/frames/<stem>.0001.<suffix>`"""
    view: str = ""
    """behind the stem, where a frame has several pictures"""
    suffix: str = "png"
    frame_files: str = ""
    """range text of the frames that are good and in the folder; empty when there is none"""
    colour: Colour | None = None
    """the scene's view transform, for EXR frames"""

    @property
    def is_bad(self) -> bool:
        """Whether somebody has to do something about it: what makes the night's exit code 1."""
        bad = (ShotState.FAILED, ShotState.CANCELED)
        return self.state in bad or bool(self.frames.failed or self.problems)


@dataclass(frozen=True)
class Limits:
    """Where a night was told to stop."""

    finish_by: str | None = None
    """ISO 8601, UTC"""
    budget: float | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Night:
    """One run of a list, as it is kept in `night.json` and shown in the morning report."""

    night: str
    """the local date of its start, YYYY-MM-DD; also its folder's name"""
    started: str
    """ISO 8601, UTC"""
    ended: str | None = None
    """None while it runs"""
    shots: tuple[ShotNight, ...] = ()
    removed: tuple[str, ...] = ()
    """shots of the last night that are no longer in the list"""
    limits: Limits = field(default_factory=Limits)
    exit_code: int = 0
    problems: tuple[str, ...] = ()
    """what went wrong around the shots: a notification that did not get out, …"""
    title: str = ""
    """the list's name"""
    begun: str = ""
    """when its newest run began, ISO 8601, UTC; empty in records of older versions: as it started"""

    @property
    def limited(self) -> bool:
        """Whether it was told to stop somewhere."""
        return self.limits != Limits()

    @property
    def frames(self) -> ShotCounts:
        """Those of all shots."""
        counts = (astuple(shot.frames) for shot in self.shots)
        return ShotCounts(*map(sum, zip(*counts, strict=True)))


@dataclass(frozen=True)
class FrameDifference:
    """How far one frame looks from the same frame of an earlier night: 0 alike, 1 nothing in common."""

    frame: int
    difference: float
    changed: bool
    """beyond what noise and encoding explain"""
