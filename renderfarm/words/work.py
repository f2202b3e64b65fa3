"""What a node is given: the work of a job, and tasks of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from renderfarm.words.request import Sandbox, Settings


@dataclass(frozen=True)
class Build:
    """One installed renderer."""

    renderer: str
    path: str
    """the executable; for bpy the Python interpreter that can import it"""
    version: tuple[int, ...]
    label: str
    """what people read: `Blender 5.0.1 (bpy)`"""
    identity: str
    """changes whenever the build's pictures may: part of every fingerprint"""


@dataclass(frozen=True)
class Package:
    """A renderer that is kept for nodes to install."""

    name: str
    renderer: str
    version: str
    file: str
    sha256: str
    bytes: int
    kind: str = ""
    """how it is installed: tarball, wheel, deb; of what has no file, its name"""


@dataclass(frozen=True)
class Input:
    """A file that frames are rendered from, as it was before any renderer opened it."""

    path: str
    content: str
    """the SHA-256 of its bytes; of folders and simulations, which are too large to read, of their stamps"""
    stamp: tuple[int, ...]
    """see `renderfarm.stamps`; empty: there was no such file"""
    frames: str | None = None
    """frames that need it, as spans; None: every frame may"""
    perhaps: bool = False
    """it counts for the frames that are seen to open it, or to look for it"""


@dataclass(frozen=True)
class Part:
    """A tile of one frame, in pixels from the picture's upper left corner; right and bottom are outside.

    Or a range of its samples: then it is as large as the picture.
    """

    frame: int
    left: int
    top: int
    right: int
    bottom: int
    margin: int = 0
    """pixels around it that are rendered too, as far as the picture has them"""
    first: int = 0
    samples: int = 0
    """so many from the first one; 0: all"""

    def reach(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is rendered of a picture of that size."""
        return (
            max(0, self.left - self.margin),
            max(0, self.top - self.margin),
            min(size[0], self.right + self.margin),
            min(size[1], self.bottom + self.margin),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top

    def __str__(self) -> str:
        """As people name it."""
        if self.samples:
            return f"samples {self.first} to {self.first + self.samples - 1} of frame {self.frame}"
        return f"tile {self.left},{self.top} to {self.right},{self.bottom} of frame {self.frame}"


@dataclass(frozen=True)
class Work:
    """All that a node must know to render frames of a job; its task description."""

    renderer: str
    build: Build
    scene: str
    """absolute path of the scene file"""
    settings: Settings
    scratch: str
    """absolute path of the folder that frames, logs and temporary files go to"""
    readable: tuple[str, ...] = ()
    """files and folders outside the scene's own that the scene names, shown where the guard allows it"""
    sandbox: Sandbox = Sandbox.AUTO
    frame_seconds: float | None = None
    """wall-clock limit per frame"""
    memory_bytes: int | None = None
    """resident memory that one session may take; None: nine tenths of the machine's"""
    logs: str = ""
    """absolute path of the folder that the log of a finished task moves to; empty: it stays in scratch"""
    journal: str = ""
    """absolute path of the folder that the node keeps a journal in; empty: it only tells"""
    rebase: tuple[str, str] | None = None
    """the project's folder where the scene was saved, and where it is here; absolute paths in it are moved"""
    named: tuple[str, ...] = ()
    """files and folders that the user named, shown whatever they are"""
    copies: dict[str, str] = field(default_factory=dict)
    """files of the scene itself, and what is rendered in their place, so that they may be saved meanwhile"""
    inputs: tuple[Input, ...] = ()
    """all other files that frames are rendered from: none may change meanwhile"""
    since: float = 0.0
    """when they were listed, in seconds since the epoch"""
    ordered: bool = False
    """frames are rendered in order, each after those before it"""
    traced: bool = False
    """see which files the frames' renderers open"""
    rehearsal: bool = False
    """only what frames open is wanted: the smallest picture will do"""
    parts: tuple[Part, ...] = ()
    """what the numbers of its frames stand for, from 0; empty: for frames"""
    size: tuple[int, int] = (0, 0)
    """of the whole picture that parts are of"""
    card: int | None = None
    """which of the graphics cards a session of this machine takes; None: all of them"""
    processor: bool = False
    """render on the processor, whatever was asked for"""
    merged: dict[str, str] = field(default_factory=dict)
    """frames (as text) whose parts are rendered, and the file that those were merged into"""


@dataclass(frozen=True)
class Task:
    """Frames handed to a node in one go. Same frames, same id: submitting twice never harms."""

    frames: tuple[int, ...]
    attempt: int = 1
    spent: int = 0
    """attempts before it that count against its frames; lost ones and those before a retry don't"""

    @property
    def id(self) -> str:
        """`f0001` or `f0001-0004` (`f0001-0009n5` when frames are missing between)."""
        first, last, count = self.frames[0], self.frames[-1], len(self.frames)
        if count == 1:
            return f"f{first:04d}"
        return f"f{first:04d}-{last:04d}" + ("" if abs(last - first) + 1 == count else f"n{count}")
