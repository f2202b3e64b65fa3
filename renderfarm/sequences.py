"""Which pictures in a folder are the frames of one animation, and which frames should be there.

fileseq reads ranges, but not folders: it splits `s.-0005.png` off from `s.0000.png`, loses names with
newlines, and takes the hyphen of `shot-0001.png` for a minus.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.frames import FrameRange, parse
from renderfarm.model import Colour, decode

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".exr", ".tif", ".tiff", ".bmp", ".tga", ".webp", ".hdr", ".dpx")
)
"""Files that count as frames, with a dot"""
NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>(?:(?<=[._])-|^-)?\d+)(?P<suffix>\.[^.]+)", re.DOTALL)
"""A minus belongs to the number after a dot or underscore only: in `shot-0001.png` it is a hyphen."""


@dataclass(frozen=True)
class PictureSequence:
    """Pictures that belong together, ascending by frame; one without a number is a sequence of its own."""

    name: str
    """`shot.####.png`, or the file's name"""
    stem: str
    """the name without number, separators and suffix"""
    files: dict[int, Path]
    numbered: bool = True

    def should_be(self) -> range:
        """The whole range that its frames span, in their own step."""
        frames = list(self.files)
        return range(frames[0], frames[-1] + 1, step(frames))


@dataclass(frozen=True)
class Submitted:
    """What the job.json beside a `frames` folder tells; None where it doesn't."""

    frames: FrameRange | None = None
    fps: float | None = None
    colour: Colour | None = None
    pixel_aspect: float | None = None


def find(folder: Path) -> list[PictureSequence]:
    """The sequences of pictures in a folder, by name; raises InputError when it can't be read."""
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    single: list[PictureSequence] = []
    for name in _picture_names(folder):
        match = NUMBERED.fullmatch(name)
        if match is None:
            single.append(PictureSequence(name, Path(name).stem, {0: folder / name}, numbered=False))
            continue
        files, frame = groups.setdefault((match["stem"], match["suffix"]), {}), int(match["number"])
        if frame in files:
            message = f"{folder} has frame {frame} twice: {files[frame].name} and {name}."
            raise InputError(message, "Move one of them away.")
        files[frame] = folder / name
    return [*_numbered(groups), *single]


def _numbered(groups: dict[tuple[str, str], dict[int, Path]]) -> Iterator[PictureSequence]:
    for (stem, suffix), files in groups.items():
        yield PictureSequence(f"{stem}####{suffix}", stem.rstrip("._-"), dict(sorted(files.items())))


def _picture_names(folder: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise InputError(f"{folder} can't be read: {error.strerror}.", "Give a folder of frames.") from error
    return [name for name in names if name[0] != "." and Path(name).suffix.lower() in SUFFIXES]


def step(frames: Sequence[int]) -> int:
    """The step of ascending frames: 2 if only every second one is there, and so on."""
    return math.gcd(*(later - earlier for earlier, later in pairwise(frames))) if len(frames) > 2 else 1


def submitted(folder: Path) -> Submitted | None:
    """What a job's output folder says about its frames; None for any other folder."""
    record = folder / "job.json"
    if not (record.is_file() and (folder / "frames").is_dir()):
        return None
    try:
        job = json.loads(record.read_text(encoding="utf-8"))
        scene, request = job.get("scene") or {}, job.get("request") or {}
        view = scene.get("colour")
        return Submitted(
            frames=parse(text) if (text := job.get("frames") or request.get("frames")) else None,
            fps=job.get("fps") or request.get("fps") or scene.get("fps"),
            colour=decode(Colour, view) if view else None,
            pixel_aspect=scene.get("pixel_aspect"),
        )
    except (OSError, ValueError, AttributeError, TypeError, InputError) as error:
        raise InputError(f"{record} can't be read: {error}", "Move it away to use the frames alone.") from error
