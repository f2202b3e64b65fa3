"""Files in a scratch folder, opened with care: a scene's own code may have put links there.

What runs in the sandbox writes nowhere else, but what runs outside must not follow it out.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

_CAREFUL = os.O_NOFOLLOW | os.O_NONBLOCK
"""no links; and a pipe that nobody serves does not stop us"""


def appending(path: Path) -> BinaryIO:
    """A file to add to, made when it is not there; raises OSError for a link."""
    return _opened(path, "ab", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def reading(path: Path) -> BinaryIO:
    """A file to read; raises OSError for a link."""
    return _opened(path, "rb", os.O_RDONLY)


def _opened(path: Path, mode: str, flags: int) -> BinaryIO:
    opened = open(path, mode, opener=lambda name, _: os.open(name, flags | _CAREFUL, 0o666))  # noqa: SIM115
    return cast("BinaryIO", opened)


def is_own(path: Path, folder: Path) -> bool:
    """Whether it is a file, no link, and really in the folder; raises FileNotFoundError."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    above = path.parent
    if above.parent == folder and above.name != ".." and stat.S_ISDIR(above.lstat().st_mode):
        return True  # as nearly all are: nothing needs to be asked of the folders above
    return path.resolve().is_relative_to(folder.resolve())
