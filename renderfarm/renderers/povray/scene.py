"""A POV-Ray scene as its options are: frames, clock, size, and where its files are looked for.

Runs on nodes: Python 3.10, standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.renderers.povray.options import LOST, Options

DEFAULT_SIZE = (800, 600)
"""what the ini of the distributions says; POV-Ray without any ini renders a random size"""
INSTALLED = (
    Path("/usr/share/povray-3.7"),
    Path("/usr/local/share/povray-3.7"),
    Path("/usr/share/povray-3.8"),
    Path("/usr/local/share/povray-3.8"),
    Path("/usr/share/povray"),
)
_SPAN = re.compile(r"(-?\d+)(?:-(-?\d+))?(?:[xy:]\d+)?")
_WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|[^\s"'=;])+""", re.ASCII)
_SECTION = re.compile(r"\[[^]]*\]$")
_INPUT = re.compile(r"^[ \t]*(?:input_file_name[ \t]*=[ \t]*|\+i)(.+?)[ \t]*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Animation:
    """Which frames there are and what the clock says in each of them."""

    first: int
    last: int
    start: int
    """first frame that the scene itself would render"""
    end: int
    step: int = 1
    clock_first: float = 0.0
    clock_last: float = 1.0
    cyclic: bool = False
    own: bool = True
    """the scene says so itself"""
    alone: bool = False
    """each frame has a process of its own: pictures follow from those before them in it"""

    @property
    def still(self) -> bool:
        """POV-Ray doesn't animate frames 0-0 and 1-1."""
        return self.first == self.last and self.first in (0, 1)

    @property
    def frames(self) -> str:
        """The range as people write it."""
        if self.still:
            return "1-1"
        return f"{self.start}-{self.end}" + (f"x{self.step}" if self.step > 1 else "")

    def switches(self, first: int, last: int, step: int = 1) -> list[str]:
        """Command line switches that render these frames with the clock of the whole animation.

        POV-Ray renders its first frame instead of one before it, and divides by zero when there is only one;
        both are cured by a range that gives the same clock.
        """
        if self.still:
            return []
        initial, final = self.first, max(self.last, self.first + 1)
        if first >= initial:
            switches = [f"+KFI{initial}", f"+KFF{final}"]
        else:
            switches = [f"+KFI{first}", f"+KFF{final}", f"+KI{self._clock(first):.15g}"]
            switches.append(f"+KF{self.clock_last:.15g}")
        switches += [f"+SF{first}", f"+EF{last}"]
        return [*switches, f"+STP{step}"] if step > 1 else switches

    def _clock(self, frame: int) -> float:
        steps = max(self.last - self.first, 1) + self.cyclic
        return self.clock_first + (self.clock_last - self.clock_first) * (frame - self.first) / steps


@dataclass(frozen=True)
class Sheet:
    """A scene and its options."""

    scene: Path
    options: Options

    @property
    def folder(self) -> Path:
        """The working directory of a run: relative names start here."""
        return self.scene.parent

    @property
    def source(self) -> Path | None:
        """The .pov, if it is found."""
        if self.scene.suffix.lower() != ".ini":
            return self.scene
        name = self.options.text("input_file_name")
        if LOST in name:
            return hinted_source(self.scene)
        places = (
            folder / (name + end) for folder in (self.folder, *self.library) for end in ("", ".pov", ".POV")
        )
        return next((place for place in places if name and place.is_file()), None)

    @property
    def library(self) -> tuple[Path, ...]:
        """Folders of the project that files are looked for in, after the working directory."""
        named = (self.folder / name for name in self.options.all("library_path") if name)
        return tuple(path for path in named if not _is_installed(path))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width, height = DEFAULT_SIZE
        return int(self.options.number("width", width)), int(self.options.number("height", height))

    @property
    def bits(self) -> int:
        """Bits per colour of a PNG."""
        return int(self.options.number("bits_per_color", 8))

    def animation(self, wanted: str | None = None) -> Animation:
        """The frames and the clock; `wanted` is the whole range where the scene has none of its own."""
        number = self.options.number
        first = max(0, int(number("initial_frame", 1)))
        last = max(first, int(number("final_frame", 1)))
        own = first != last or first > 1
        if not own and wanted:
            first, last = span(wanted)
            first, last = max(0, first), max(0, last)
        start = max(first, _subset(number("subset_start_frame", first), first, last)) if own else first
        end = _subset(number("subset_end_frame", last), first, last) if own else last
        return Animation(
            first=first,
            last=last,
            start=min(start, last),
            end=min(max(end, start), last),
            step=max(1, int(number("frame_step", 1))),
            clock_first=number("initial_clock", 0.0),
            clock_last=number("final_clock", 1.0),
            cyclic=self.options.flag("cyclic_animation"),
            own=own,
        )


def _is_installed(path: Path) -> bool:
    return any(path == base or base in path.parents for base in INSTALLED)


def _subset(value: float, first: int, last: int) -> int:
    """A frame of a subset; a number between 0 and 1 is POV-Ray's share of how many there are, as a frame."""
    return int((last - first + 1) * value) if 0 < value < 1 else int(value)


def span(text: str) -> tuple[int, int]:
    """Lowest and highest frame number that a frame range mentions: `1-500x5` spans 1 to 500."""
    numbers = [int(n) for found in _SPAN.finditer(text) for n in found.groups() if n is not None]
    return min(numbers), max(numbers)


def hinted_source(scene: Path, *, certain: bool = False) -> Path | None:
    """The .pov of a scene before POV-Ray is asked, or where it can't say its name.

    None where that must be `certain` and the ini names more than one.
    """
    if scene.suffix.lower() != ".ini":
        return scene
    found = _INPUT.findall(_hinting_text(scene))
    if certain and len(set(found)) > 1:
        return None
    name = decoded(found[-1].strip("\"'")) if found else ""
    places = (scene.parent / (name + end) for end in ("", ".pov", ".POV"))
    return next((place for place in places if is_name(name) and place.is_file()), None)


def hinted_inis(scene: Path) -> list[Path]:
    """The inis that a scene's own may pull in: words in it that are names of files. POV-Ray decides."""
    found: list[Path] = []
    left = [scene.parent / "povray.ini", *([scene] if scene.suffix.lower() == ".ini" else ())]
    while left:
        ini = left.pop()
        if ini in found or not ini.is_file():
            continue
        found.append(ini)
        for word in _WORD.findall(_hinting_text(ini)):
            name = _SECTION.sub("", decoded(word.strip("\"'")))
            ends = ("",) if name.lower().endswith(".ini") else (".ini",)
            left += [scene.parent / (name + end) for end in ends if is_name(name)]
    return [ini for ini in found if ini != scene]


def is_name(name: str) -> bool:
    """Whether a file can have that name."""
    return bool(name) and "\0" not in name and all(len(os.fsencode(part)) < 256 for part in name.split("/"))


def _hinting_text(path: Path) -> str:
    try:
        return read_text(path)
    except SceneError:
        return ""


def read_text(path: Path) -> str:
    """The text of a scene file, in Latin-1 as POV-Ray takes bytes for what they are; raises SceneError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}."
        raise SceneError(message, "Check the file's permissions.") from error
    text = data.decode("latin-1").removeprefix("\xef\xbb\xbf")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(name: str) -> str:
    """A file name out of text that was read as Latin-1, as the file system spells it."""
    return name.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def same_but_case(path: Path) -> Path | None:
    """A file whose name differs only in case (or in which slashes it uses)."""
    folder, *rest = path.parent, path.name
    parts = "/".join(rest).replace("\\", "/").split("/")
    for part in parts:
        try:
            names: Iterable[Path] = sorted(folder.iterdir())
        except OSError:
            return None
        exact = folder / part
        match = exact if exact.exists() else next((p for p in names if p.name.lower() == part.lower()), None)
        if match is None:
            return None
        folder = match
    return folder if folder.is_file() else None
