"""What a POV-Ray job sheet says before POV-Ray starts: options, frames, clock and size.

An .ini is a list of options in which later ones win; it may pull in other inis. The sheet keeps each option
as POV-Ray would read it, so that a run can be given all of them but those that the farm owns (frame numbers,
output, display, shell commands). Runs on nodes: Python 3.10, standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.model import Settings
from renderfarm.renderers.povray_options import COMMANDS, SIZE, Option, override, parse_line, parse_options

DEFAULT_SIZE = (800, 600)
"""what the ini of the distributions says; POV-Ray without any ini renders a random size"""
PEEK_BYTES = 65536
SYSTEM_INIS = (
    Path("/etc/povray/3.7/povray.ini"),
    Path("/usr/local/etc/povray/3.7/povray.ini"),
    Path("/etc/povray/3.8/povray.ini"),
    Path("/usr/local/etc/povray/3.8/povray.ini"),
)

_PATHS = frozenset({"include_header", "include_ini", "input_file_name", "library_path"})
_SPAN = re.compile(r"(-?\d+)(?:-(-?\d+))?(?:[xy:]\d+)?")


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

    def moment(self, frame: int) -> Fraction:
        """The clock, before it is rounded to a double."""
        steps = max(self.last - self.first, 1) + self.cyclic
        first, last = Fraction(self.clock_first), Fraction(self.clock_last)
        return first + (last - first) * (frame - self.first) / steps

    def _clock(self, frame: int) -> float:
        steps = max(self.last - self.first, 1) + self.cyclic
        return self.clock_first + (self.clock_last - self.clock_first) * (frame - self.first) / steps


@dataclass(frozen=True)
class Sheet:
    """All that the scene file, the inis that it includes and the user's options say."""

    scene: Path
    source: Path
    """the .pov"""
    options: tuple[Option, ...] = ()
    files: tuple[Path, ...] = ()
    """inis that were read besides the scene file"""
    system_library: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    defaults: tuple[Option, ...] = field(default=(), repr=False)
    """options of the system's own ini"""

    @property
    def folder(self) -> Path:
        """The working directory of a run: relative names start here."""
        return self.scene.parent

    def last(self, key: str) -> Option | None:
        """The option of that name that wins."""
        return next((option for option in reversed(self.options) if option.key == key), None)

    def flag(self, key: str) -> bool:
        """Whether a switch is on."""
        option = self.last(key)
        return option is not None and option.value.lower() in ("on", "yes", "true", "y", "t", "1")

    def number(self, key: str, default: float) -> float:
        """A number among the options."""
        option = self.last(key)
        value = option.number if option else None
        return default if value is None else value

    @property
    def library(self) -> tuple[Path, ...]:
        """Folders of the project that files are looked for in, after the working directory."""
        return tuple(
            self.folder / decoded(o.value) for o in self.options if o.key == "library_path" and o.value
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that the scene asks for."""
        known = {o.key: int(o.number) for o in (*self.defaults, *self.options) if o.key in SIZE and o.number}
        return known.get("width", DEFAULT_SIZE[0]), known.get("height", DEFAULT_SIZE[1])

    @property
    def bits(self) -> int:
        """Bits per colour of a PNG."""
        return int(self.number("bits_per_color", 8))

    def animation(self, wanted: str | None = None) -> Animation:
        """The frames and the clock; `wanted` is the whole range where the scene has none of its own."""
        first = max(0, int(self.number("initial_frame", 1)))
        last = max(first, int(self.number("final_frame", 1)))
        own = first != last or first > 1
        if not own and wanted:
            first, last = span(wanted)
            first, last = max(0, first), max(0, last)
        start = _subset(self.number("subset_start_frame", first), first, last)
        end = _subset(self.number("subset_end_frame", last), first, last)
        return Animation(
            first=first,
            last=last,
            start=max(first, start) if own else first,
            end=max(first, end) if own else last,
            step=max(1, int(self.number("frame_step", 1))),
            clock_first=self.number("initial_clock", 0.0),
            clock_last=self.number("final_clock", 1.0),
            cyclic=self.flag("cyclic_animation"),
            own=own,
        )


def _subset(value: float, first: int, last: int) -> int:
    """A frame of a subset; POV-Ray takes numbers between 0 and 1 as parts of the whole."""
    return first + round((last - first) * value) if 0 < value < 1 else int(value)


def span(text: str) -> tuple[int, int]:
    """Lowest and highest frame number that a frame range mentions: `1-500x5` spans 1 to 500."""
    numbers = [int(n) for found in _SPAN.finditer(text) for n in found.groups() if n is not None]
    if not numbers:
        raise SceneError(f"{text!r} is not a frame range.", "Ranges read like 1-500 or 1,5,10-20.")
    return min(numbers), max(numbers)


def read_sheet(scene: Path, settings: Settings | None = None, rebase: tuple[str, str] | None = None) -> Sheet:
    """Read a .pov or .ini with all that it includes; raises SceneError with file and line.

    With `rebase`, absolute paths of the inis that begin with the first folder begin with the second.
    """
    scene = scene.absolute()
    text = read_text(scene)
    reader = _Reader(scene.parent, rebase)
    local = scene.parent / "povray.ini"
    system = next((path for path in SYSTEM_INIS if path.is_file()), None)
    defaults = tuple(parse_options(read_text(system))) if system else ()
    if local.is_file() and local != scene:
        defaults = ()
        reader.read(local, read_text(local))
        reader.files.append(local)
    if scene.suffix.lower() == ".ini":
        reader.read(scene, text)
    reader.options += override(settings.options if settings else {})
    source = _source(scene, reader)
    return Sheet(
        scene=scene,
        source=source,
        options=tuple(reader.options),
        files=tuple(reader.files),
        system_library=tuple(Path(o.value) for o in defaults if o.key == "library_path"),
        notes=tuple(_notes(reader)),
        defaults=defaults,
    )


def read_text(path: Path) -> str:
    """The text of a scene file, in Latin-1 as POV-Ray takes bytes for what they are; raises SceneError."""
    if path.is_dir():
        raise SceneError(f"{path} is a folder.", "Give the .pov or .ini file in it.")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SceneError(f"There is no file {path}.", _case_hint(path) or "Check the path.") from error
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}."
        raise SceneError(message, "Check the file's permissions.") from error
    if not data.strip():
        raise SceneError(f"{path} is empty.", "Save the scene again, or fetch the file again.")
    if b"\0" in data[:PEEK_BYTES]:
        raise SceneError(
            f"{path} is not a text file, so it is no POV-Ray scene.", "Scenes are .pov or .ini files."
        )
    text = data.decode("latin-1").removeprefix("\xef\xbb\xbf")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass
class _Reader:
    """Collects the options of an ini and of the inis in it."""

    folder: Path
    rebase: tuple[str, str] | None = None
    options: list[Option] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    stack: list[Path] = field(default_factory=list)
    sections: bool = False

    def read(self, path: Path, text: str) -> None:
        """Read the options up to the first [section]; none is ever chosen."""
        if path in self.stack:
            raise SceneError(f"{path} includes itself.", "Take the line out that names it.")
        self.stack.append(path)
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip().startswith("["):
                self.sections = True
                break
            for option in parse_line(line):
                self._take(self._moved(option), f"{path.name}, line {number}")
        self.stack.pop()

    def _moved(self, option: Option) -> Option:
        """The option with its file where the project is on this machine."""
        if self.rebase is None or option.key not in _PATHS:
            return option
        old, new = (folder.rstrip("/") + "/" for folder in self.rebase)
        name = decoded(option.value)
        if not name.startswith(old) or not Path(new + name[len(old) :]).parent.is_dir():
            return option
        here = (new + name[len(old) :]).encode("utf-8", "surrogateescape").decode("latin-1")
        return Option(option.key, here, f'{option.key}="{here}"')

    def _take(self, option: Option, where: str) -> None:
        if option.key != "include_ini":
            self.options.append(option)
            return
        found = next((p for p in self._places(option.value) if p.is_file()), None)
        if found is None:
            hint = _case_hint(self.folder / option.value) or "Options read like Width=320 or +W320 +H240."
            raise SceneError(f"{where}: {option.value!r} is neither an option nor an ini that is there.", hint)
        self.files.append(found)
        self.read(found, read_text(found))

    def _places(self, name: str) -> Iterator[Path]:
        folders = [self.folder, *(self.folder / o.value for o in self.options if o.key == "library_path")]
        return (folder / (name + suffix) for folder in folders for suffix in ("", ".ini"))


def _source(scene: Path, reader: _Reader) -> Path:
    if scene.suffix.lower() != ".ini":
        return scene
    names = [option.value for option in reader.options if option.key == "input_file_name"]
    if not names:
        beside = scene.with_suffix(".pov")
        line = beside.name if beside.is_file() else "scene.pov"
        raise SceneError(f"{scene} names no scene.", f"Add a line Input_File_Name={line}.")
    name = names[-1]
    for folder in (scene.parent, *(scene.parent / o.value for o in reader.options if o.key == "library_path")):
        for suffix in ("", ".pov", ".POV"):
            if (folder / (decoded(name) + suffix)).is_file():
                return folder / (decoded(name) + suffix)
    missing = scene.parent / decoded(name)
    hint = _case_hint(missing) or f"Put it into {scene.parent}, or correct Input_File_Name."
    raise SceneError(f"{scene} names the scene {decoded(name)!r}, which is not there.", hint)


def decoded(name: str) -> str:
    """A file name out of text that was read as Latin-1, as the file system spells it."""
    return name.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def _case_hint(path: Path) -> str:
    found = same_but_case(path)
    return f"There is {found.name!r}: upper and lower case make a difference here." if found else ""


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


def _notes(reader: _Reader) -> Iterator[str]:
    commands = sorted(
        {o.key for o in reader.options if o.key in COMMANDS and o.key.endswith("command") and o.value}
    )
    if commands:
        yield f"Shell commands of the ini do not run: {', '.join(commands)}."
    if reader.sections:
        yield "The ini has [sections]; only the options before the first one are used."
