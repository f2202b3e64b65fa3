"""Files that a scene may need and whose names are known only in part, and the frames that need them.

Runs on nodes and inside Blender.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from renderfarm.words.scene import Wild

_SPAN = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_MAGIC = re.compile(r"[*?\[]")
_MARK = ".renderfarm"
"""folder that makes the one around it an output folder of the farm"""
_KINDS = {
    "include": ("inc", "pov", "ini", "mcr"),
    "image": (
        *("bmp", "gif", "tga", "iff", "ppm", "pgm", "png"),
        *("jpeg", "jpg", "tiff", "tif", "exr", "hdr", "pot"),
    ),
    "font": ("ttf", "otf", "ttc"),
    "volume": ("df3",),
}


def files(wild: Wild) -> Iterator[Path]:
    """The files that are there, in no order; neither hidden ones nor those that the farm rendered."""
    if not _MAGIC.search(wild.pattern):
        path = Path(wild.folder, wild.pattern)
        return iter((path,) if path.is_file() else ())
    matches = re.compile(fnmatch.translate(wild.pattern)).match
    if wild.deep:
        names = _below(wild.folder)
    else:
        names = (name for name, is_folder in _entries(wild.folder) if not is_folder)
    return (Path(wild.folder, name) for name in names if matches(name))


def _below(folder: str, inside: str = "") -> Iterator[str]:
    entries = _entries(os.path.join(folder, inside))  # noqa: PTH118 - very many of them
    if inside and (_MARK, True) in entries:
        return
    for name, is_folder in entries:
        if is_folder and not name.startswith("."):
            yield from _below(folder, f"{inside}{name}/")
        elif not is_folder:
            yield inside + name


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Names of files and folders in a folder, and whether they are folders; none where it can't be read."""
    try:
        with os.scandir(folder) as found:
            return [(e.name, e.is_dir(follow_symlinks=False)) for e in found if _is_either(e)]
    except OSError:
        return []


def _is_either(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file or a folder, or leads to one: who opens a pipe may wait for ever."""
    try:
        return entry.is_file() or entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def spans(numbers: Iterable[int]) -> str:
    """Frame numbers in their order as a range text: [1, 2, 3, 9, -5] reads 1-3,9,-5."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def ranges(text: str) -> list[range]:
    """The inverse of `spans`; raises ValueError."""
    found = {part: _SPAN.fullmatch(part) for part in text.split(",") if part}
    if wrong := next((part for part, match in found.items() if match is None), ""):
        raise ValueError(f"{wrong!r} is no span of frames")
    return [range(int(match[1]), int(match[2] or match[1]) + 1) for match in found.values() if match]


def kind(path: str) -> str:
    """What a file seems to be, by the end of its name."""
    end = path.rpartition(".")[2].lower()
    return next((kind for kind, ends in _KINDS.items() if end in ends), "text")
