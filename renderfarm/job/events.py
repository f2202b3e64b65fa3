"""What can happen to a job, as journals have it: said by the node that did it, or the farm that decided it.

An event that this version does not know is skipped; one whose fields have the wrong types is none.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import dataclass, field

from renderfarm.words.status import Suspect
from renderfarm.words.updates import Failed, NodeChange, Rendered, Started, Trouble


@dataclass(frozen=True, slots=True)
class Begun:
    """A farm took the job up: what ran for the one before it is queued again."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Others render on this machine: the job waits for its turn."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Its turn has come."""


@dataclass(frozen=True, slots=True)
class Left:
    """A farm let go of the job."""

    seconds: float
    """wall clock that it worked"""


@dataclass(frozen=True, slots=True)
class Saw:
    """Frames are rendered from these files, told once before the first of them."""

    fingerprint: str = field(metadata={"json": "take"})
    files: dict[str, str]
    """names relative to the scene's folder, and hashes"""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A rendered frame was looked at, found good, and is in the output folder."""

    frame: int
    attempt: int
    size: int
    mtime: int
    """nanoseconds"""
    fingerprint: str = field(default="", metadata={"json": "take"})
    """of what was seen; empty where it was known before"""


@dataclass(frozen=True, slots=True)
class Reused:
    """A frame that an earlier job rendered is in the output folder."""

    frame: int
    size: int
    mtime: int
    """nanoseconds"""
    fingerprint: str = field(default="", metadata={"json": "take"})


@dataclass(frozen=True, slots=True)
class Missed:
    """A delivered frame is not there any more, or not as it was delivered."""

    frame: int


@dataclass(frozen=True, slots=True)
class Doubted:
    """A delivered frame can't be right among its neighbours: that counts as a failed attempt."""

    frame: int
    finding: str
    detail: str


@dataclass(frozen=True, slots=True)
class Suspected:
    """All delivered frames that somebody should look at; takes the place of what was suspected before."""

    frames: tuple[int, ...]
    findings: tuple[str, ...]
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retried:
    """Somebody wants frames again, whatever became of them; their tries count anew."""

    frames: str = ""
    """a range; empty: those that failed"""


@dataclass(frozen=True, slots=True)
class Canceled:
    """Frames that are not decided will not be, until somebody resumes the job."""


@dataclass(frozen=True, slots=True)
class Paused:
    """No other frame is begun, until somebody resumes the job."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Frames that are not decided fail, because those before them all did."""

    message: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A node began with a queue's task."""

    task: str
    """as the queue calls it"""
    node: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A queue's task is over on its node, however it went."""

    task: str
    """as the queue calls it"""
    node: str
    code: int
    """0: every frame of it has an outcome"""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know and that stops nothing."""

    note: str


@dataclass(frozen=True, slots=True)
class Troubled:
    """Something went wrong besides frames."""

    problem: str


@dataclass(frozen=True, slots=True)
class Made:
    """What followed from the frames, by names in the output folder; None for what was not made."""

    video: str | None = None
    contact_sheet: str | None = None
    report: str | None = None
    problems: tuple[str, ...] = ()


OfNodes = Started | Rendered | Failed | NodeChange | Trouble | Taken | Ended | Noted
"""what nodes say; all else only the farm decides, and only its own journal tells"""
OfFrames = Saw | Delivered | Reused | Missed | Doubted | Suspected | Retried
OfJobs = Begun | Queued | Admitted | Left | Canceled | Paused | GivenUp | Troubled | Made
Event = OfNodes | OfFrames | OfJobs

KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in typing.get_args(Event)}
"""by the name that stands in a journal's line"""
OF_NODES = frozenset(kind.__name__ for kind in typing.get_args(OfNodes))


def suspected(suspects: Iterable[Suspect]) -> Suspected:
    """What is suspected, as one event."""
    found = [(suspect.frame, suspect.finding.value, suspect.detail) for suspect in suspects]
    frames, findings, details = zip(*found, strict=True) if found else ((), (), ())
    return Suspected(frames, findings, details)
