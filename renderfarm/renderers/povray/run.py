"""One start of POV-Ray: the frames it renders, its folder, and its pictures as they get whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.renderers.povray.scene import Animation
from renderfarm.renderers.scratch import PEEK_BYTES
from renderfarm.words.request import SUFFIXES
from renderfarm.words.states import Reason
from renderfarm.words.work import Part

STOPPED = frozenset(
    {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGKILL, 128 + signal.SIGTERM, 2}
)
"""Exit codes of a run that somebody else ended; 2 is POV-Ray's own for SIGTERM and SIGINT."""
SHORTEST_RUN = 2
"""short frames that a start is worth where several processes run at once"""
IDLE_SECONDS = 0.3
"""that it sleeps in each frame"""
MOST_AT_ONCE = 4
_PLAIN = re.compile(r"[\x20-\x7e]+")
_OPEN_FOLDER = 'exec 9<"$1"; shift; exec "$@"'
_OPENED = Path("/proc/self/fd/9")


@dataclass(frozen=True)
class Run:
    """Frames that one start of POV-Ray renders: first, first + step, …"""

    frames: tuple[int, ...]
    part: Part | None = None
    """all of it that is wanted"""

    @property
    def step(self) -> int:
        """The distance between two frames."""
        return self.frames[1] - self.frames[0] if len(self.frames) > 1 else 1


@dataclass
class Place:
    """The folder of one run, with names that POV-Ray understands: it knows neither ö nor line ends nor [ ]."""

    folder: Path
    opened: bool
    """the folder's own name is not plain, so the run sees it as a file descriptor"""
    links: dict[str, str] = field(default_factory=dict)

    def seen(self, name: str) -> str:
        """The path of a file in the folder as the run sees it."""
        return str((_OPENED if self.opened else self.folder) / name)

    def plain(self, path: str) -> str:
        """The path itself, or that of a link to it."""
        if is_plain(path):
            return path
        name = f"link-{len(self.links)}{Path(path).suffix if is_plain(Path(path).suffix) else ''}"
        (self.folder / name).symlink_to(path)
        self.links[self.seen(name)] = path
        return self.seen(name)

    def under_its_name(self, path: str, original: str) -> str:
        """The path of a link to a copy, with the original's name where that is plain: scenes may read it."""
        name = Path(original).name
        name = name if is_plain(name) else f"scene{Path(name).suffix}"
        (self.folder / name).symlink_to(path)
        self.links[self.seen(name)] = original
        return self.seen(name)

    def argv(self, command: list[str]) -> list[str]:
        """The command, started so that the folder is open where it can't be named."""
        return ["/bin/sh", "-c", _OPEN_FOLDER, "sh", str(self.folder), *command] if self.opened else command

    def clean(self) -> None:
        """Remove everything but pictures; the folder too when none is left."""
        for path in self.folder.iterdir():
            if path.is_symlink() or path.suffix in (".ini", ".txt", ".pov-state") or path.is_dir():
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def first_run(
    frames: Sequence[int], animation: Animation, parts: Sequence[Part] = (), *, gapless: bool = False
) -> Run | None:
    """The longest start of the list that one process can render; None for a negative frame.

    With `parts` the list has their numbers: a process renders one of them.

    A gapless one leaves out none of the animation's own frames between its first and its last.
    """
    if parts and parts[frames[0]].frame >= 0:
        return Run((parts[frames[0]].frame,), parts[frames[0]])
    if parts or frames[0] < 0:
        return None
    single = animation.still or animation.alone or len(frames) == 1
    if single or frames[0] < animation.first or frames[1] <= frames[0]:
        return Run((frames[0],))
    step, count = frames[1] - frames[0], 2
    if gapless and step != animation.step:
        return Run((frames[0],))
    while count < len(frames) and frames[count] - frames[count - 1] == step:
        count += 1
    return Run(tuple(frames[:count]))


def at_once(cost: float) -> int:
    """How many processes fill a core with frames of so many CPU seconds; one where that is not known (0)."""
    return min(MOST_AT_ONCE, 1 + round(IDLE_SECONDS / cost)) if cost else 1


@contextlib.contextmanager
def new_place(folder: Path) -> Iterator[Place]:
    """An empty folder for one run; in the end only pictures are left in it."""
    path = Path(tempfile.mkdtemp(prefix="run-", dir=folder)).absolute()
    place = Place(path, opened=not is_plain(str(path)))
    try:
        yield place
    finally:
        place.clean()


def is_plain(text: str) -> bool:
    """Whether POV-Ray understands a path on its command line, given quotes around it."""
    return bool(_PLAIN.fullmatch(text)) and not set(text) & set("\\[]") and not {"'", '"'} <= set(text)


def quoted(path: str) -> str:
    """A plain path as POV-Ray wants it among options."""
    return f"'{path}'" if '"' in path else f'"{path}"'


def picture(folder: Path, frame: int | None) -> Path | None:
    """The picture of a frame, found by the number at the end of its name; None as frame: the only one."""
    for path in folder.iterdir():
        if path.suffix[1:] in SUFFIXES.values() and not path.is_symlink():
            number = re.search(r"\d+$", path.stem)
            if frame is None or (number and int(number[0]) == frame):
                return path
    return None


def is_whole(path: Path) -> bool:
    """Whether the picture has its end: PNG and JPEG say so in their last bytes, EXR in its table of lines."""
    with path.open("rb") as file:
        if path.suffix == ".exr":
            return _has_line_table(file.read(PEEK_BYTES))
        file.seek(max(0, file.seek(0, os.SEEK_END) - 12))
        tail = file.read()
    return tail.endswith(b"\xff\xd9") if path.suffix == ".jpg" else tail[4:8] == b"IEND"


def _has_line_table(data: bytes) -> bool:
    """Whether the first line offset after an EXR header is filled in, which is done last."""
    place = 8
    while place < len(data) and data[place] != 0:
        kind = data.find(b"\0", place) + 1
        size = data.find(b"\0", kind) + 1
        if not kind or not size:
            return False
        place = size + 4 + int.from_bytes(data[size : size + 4], "little")
    return any(data[place + 1 : place + 9])


def stopped(code: int, memory_kills: int) -> tuple[Reason, str]:
    """Why a run that somebody else ended ended: the kernel kills those that eat the memory."""
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL) and memory_kills:
        return Reason.OUT_OF_MEMORY, "POV-Ray was killed because memory ran out."
    return Reason.CRASH, "POV-Ray was stopped from outside."
