"""What a node tells while it works."""

from __future__ import annotations

from dataclasses import dataclass

from renderfarm.words.states import Reason
from renderfarm.words.work import Build


@dataclass(frozen=True)
class Observed:
    """What a frame's renderer did with files, by their absolute paths."""

    name: str
    """equal lists have equal names; a node tells the lists once, then the name alone"""
    opened: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    """looked for in vain"""
    written: tuple[str, ...] = ()
    """or tried to be"""
    hidden: tuple[str, ...] = ()
    """looked for in vain although it is there: the sandbox does not show it"""


@dataclass(frozen=True)
class Rendered:
    """The receipt of one frame: a renderer says it is done and the file has the right structure."""

    frame: int
    path: str
    """of the picture, the first of several `views` (see `pictures`)"""
    seconds: float
    """wall clock"""
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """largest resident memory of the session so far"""
    threads: int = 0
    task: str = ""
    attempt: int = 1
    node: str = ""
    log: str = ""
    lacking: bool = False
    """the renderer said that a file was not there"""
    build: Build | None = None
    """what rendered it, where nodes have builds of their own"""
    observed: Observed | None = None
    """what it was rendered from, where that was seen"""
    views: int = 1
    device: str = ""
    """the kind of graphics card that it was rendered on; empty: the processor"""
    instead: str = ""
    """why the processor rendered it, where a card was to"""


@dataclass(frozen=True)
class Failed:
    """One frame's attempt that gave no picture."""

    frame: int
    reason: Reason
    message: str
    """one line: what happened, in the renderer's own words where they help"""
    seconds: float = 0.0
    task: str = ""
    attempt: int = 1
    node: str = ""
    log: str = ""
    final: bool = False
    """the pool has tried it as often as the job allows"""
    lacks: str = ""
    """the file that is missing, as the scene names it"""
    observed: Observed | None = None
    """what was looked at until then, where that was seen"""


@dataclass(frozen=True)
class Started:
    """A node began a frame."""

    frame: int
    task: str
    attempt: int
    node: str


@dataclass(frozen=True)
class NodeChange:
    """A node came, went, or was told to stop taking work; `what` is for people."""

    node: str
    state: str
    """starting, loading, idle, working, gone or refused"""
    what: str = ""


@dataclass(frozen=True)
class Trouble:
    """A node could not start rendering at all, so no frame can be rendered there."""

    reason: Reason
    message: str
    node: str = ""
    log: str = ""


@dataclass(frozen=True)
class Notice:
    """Something that the user should know and that stops nothing."""

    message: str


Update = Started | Rendered | Failed | NodeChange | Notice | Trouble
