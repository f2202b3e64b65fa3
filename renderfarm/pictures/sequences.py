"""Which pictures in a folder are the frames of one animation, and which frames should be there.

fileseq reads ranges, but not folders: it splits `s.-0005.png` off from `s.0000.png`, loses names with
newlines, and takes the hyphen of `shot-0001.png` for a minus.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from renderfarm.errors import InputError
from renderfarm.words.as_json import read_json
from renderfarm.words.frames import FrameRange, parse
from renderfarm.words.scene import Colour, Sound

_KINDS = ("png", "jpg", "jpeg", "exr", "tif", "tiff", "bmp", "tga", "webp", "hdr", "dpx")
_SELDOM = ("ppm", "pgm", "sgi", "rgb", "jp2")
SUFFIXES = frozenset(f".{kind}" for kind in (*_KINDS, *_SELDOM))
"""Files that count as frames, with a dot"""
NUMBERED = re.compile(
    r"(?P<stem>.*?)"
    r"(?P<number>(?:(?<=[._])-|^-)?(?<!\d)(?:(?<![._-][vV])\d+|\d{4,}))"
    r"(?P<tail>(?:[._-](?:[A-Za-z]+|[vV]\d{1,3}))*)"
    r"(?P<suffix>\.[^.]+)",
    re.DOTALL,
)
"""A view (`0001_L.png`) or a version (`0001_v2.png`) may follow the number, and `final_v1.png` has none.

A minus belongs to the number after a dot or underscore: in `shot-0001.png` it is a hyphen, unless there is
`shot0000.png` as well.
"""
LEFT, RIGHT = ("l", "left"), ("r", "right")
_SIDE = re.compile(r"[._-](?:l|left|r|right)$", re.IGNORECASE)


@dataclass(frozen=True)
class PictureSequence:
    """Pictures that belong together, ascending by frame; one without a number is a sequence of its own."""

    name: str
    """`shot.####.png`, or the file's name"""
    stem: str
    """the name without number, separators and suffix"""
    files: dict[int, Path]
    numbered: bool = True
    view: str = ""
    """what each name has behind the number, or the stem: `_L`"""

    @property
    def base(self) -> str:
        """The stem that all views of the same frames have."""
        return self.stem.removesuffix(self.view)

    def gaps(self, wanted: FrameRange | None = None) -> Iterator[Run]:
        """What is missing of the frames wanted, else of the range that is there, in its own step."""
        there, apart = list(self.files), step(list(self.files))
        if wanted and (plain := wanted.plain):
            apart = plain.step
            there = [plain[0] - apart, *(frame for frame in there if frame in plain), plain[-1] + apart]
        elif wanted:
            yield from _runs(frame for frame in wanted.ascending() if frame not in self.files)
            return
        for one, other in pairwise(there):
            if other - one > apart:
                yield Run(one + apart, other - apart, apart)


@dataclass(frozen=True)
class Run:
    """Frames at equal distances, however many: numbers in file names may be dates."""

    first: int
    last: int
    step: int = 1

    @property
    def count(self) -> int:
        """How many; `len` ends at 2⁶³."""
        return (self.last - self.first) // self.step + 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1, self.step))


@dataclass(frozen=True)
class Submitted:
    """What the job.json beside a `frames` folder tells; None where it doesn't."""

    frames: FrameRange | None
    fps: float | None
    late: int
    """frames of its scene that come before them"""
    scene: Told
    """what its scene is"""


@dataclass(frozen=True)
class Told:
    """What is read of an object in a job.json: the record itself, its request, its scene."""

    frames: str | None = None
    fps: float | None = None
    colour: Colour | None = None
    pixel_aspect: float | None = None
    sounds: tuple[Sound, ...] = ()
    """of its timeline"""
    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Record(Told):
    request: Told = field(default_factory=Told)
    scene: Told = field(default_factory=Told)


def find(folder: Path, views: Sequence[str] = ()) -> list[PictureSequence]:
    """The sequences of pictures in a folder, by name; raises InputError when it can't be read.

    `views` is what a job's stems may end in; else what follows the number, or a left and right.
    """
    groups: dict[_Name, dict[int, Path]] = {}
    single: list[PictureSequence] = []
    for name in _picture_names(folder):
        match = NUMBERED.fullmatch(name)
        if match is None:
            single.append(_single(folder / name))
            continue
        files, frame = groups.setdefault(match.group("stem", "tail", "suffix"), {}), int(match["number"])
        if frame in files:
            message = f"{folder} has frame {frame} twice: {files[frame].name} and {name}."
            raise InputError(message, "Move one of them away.")
        files[frame] = folder / name
    _join_negative(groups)
    return [*(_sequence(name, files, views) for name, files in groups.items()), *single]


_Name: TypeAlias = "tuple[str | Any, ...]"
"""What stands before the number, after it, and the suffix."""


def shown(found: Sequence[PictureSequence], views: Sequence[str] = ()) -> PictureSequence | None:
    """The left one of two views of the same frames, or a job's first; None for anything else."""
    named = {sequence.view if views else sequence.view.lstrip("._-").lower(): sequence for sequence in found}
    orders = [tuple(views)] if views else zip(LEFT, RIGHT, strict=True)
    order = next((order for order in orders if set(order) == set(named)), None)
    alike = {sequence.base for sequence in found}
    return named[order[0]] if order and len(found) == len(named) and len(alike) == 1 else None


def _sequence(name: _Name, files: dict[int, Path], views: Sequence[str]) -> PictureSequence:
    """One picture whose number is in the middle is no sequence: `logo_2_dark.png`."""
    stem, tail, suffix = name
    if tail and len(files) == 1:
        return _single(*files.values())
    known = f"{stem.rstrip('._-')}{tail}"
    own = max((view for view in views if known.endswith(view)), key=len, default="")
    view = own if views else tail or (_SIDE.search(known) or [""])[0]
    return PictureSequence(f"{stem}####{tail}{suffix}", known, dict(sorted(files.items())), view=view)


def _single(path: Path) -> PictureSequence:
    return PictureSequence(path.name, path.stem, {0: path}, numbered=False)


def _join_negative(groups: dict[_Name, dict[int, Path]]) -> None:
    """`shot-0001.png` beside `shot0000.png` is frame -1, as Blender names it; -0000 would be a hyphen's."""
    for stem, *rest in list(groups):
        files, others = groups[(stem, *rest)], groups.get((stem[:-1], *rest))
        if stem.endswith("-") and others and 0 not in files:
            others |= {-frame: path for frame, path in groups.pop((stem, *rest)).items()}


def _runs(frames: Iterable[int]) -> Iterator[Run]:
    """Ascending numbers as stretches of equal distances."""
    run: Run | None = None
    for frame in frames:
        if run and (frame - run.last == run.step or run.first == run.last):
            run = Run(run.first, frame, frame - run.last)
            continue
        if run:
            yield run
        run = Run(frame, frame)
    if run:
        yield run


def _picture_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found if _is_file(entry))
    except OSError as error:
        raise InputError(f"{folder} can't be read: {error.strerror}.", "Give a folder of frames.") from error
    return [name for name in names if name[0] != "." and Path(name).suffix.lower() in SUFFIXES]


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether there is a file; a link that leads to itself is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def step(frames: Sequence[int]) -> int:
    """The step of ascending frames: 2 if only every second one is there, and so on."""
    return math.gcd(*(later - earlier for earlier, later in pairwise(frames))) if len(frames) > 2 else 1


def submitted(folder: Path) -> Submitted | None:
    """What a job's output folder says about its frames; None for any other folder."""
    record = folder / "job.json"
    if not (record.is_file() and (folder / "frames").is_dir()):
        return None
    try:
        job = read_json(_Record, record.read_text(encoding="utf-8"))
        frames = parse(text) if (text := job.frames or job.request.frames) else None
        late = frames.first - parse(job.scene.frames).first if frames and job.scene.frames else 0
        return Submitted(frames, job.fps or job.request.fps or job.scene.fps, late, job.scene)
    except (OSError, ValueError, RecursionError, InputError) as error:
        raise InputError(f"{record} can't be read: {error}", "Move it away to use the frames alone.") from error
