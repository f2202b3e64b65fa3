"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

SHOWN_CHARACTERS = 40
"""of the name, in that of the draft: two long names together are none"""


@contextlib.contextmanager
def draft(path: Path, suffix: str = ".part") -> Iterator[Path]:
    """What is to take a file's place once it is whole, and goes where that fails; nobody else writes there.

    `suffix` is for libraries that go by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f"{os.uname().nodename}-{os.getpid()}-{threading.get_ident()}"
    made = path.with_name(f".{path.name[:SHOWN_CHARACTERS]}.{own}{suffix}")
    made.unlink(missing_ok=True)  # nor does a link that lies there lead anywhere
    try:
        yield made
        made.replace(path)
    finally:
        # Renaming one hard link over another of the same file is no rename at all, and leaves both (rename(2)).
        made.unlink(missing_ok=True)


def write(path: Path, content: str | bytes, *, lasting: bool = False) -> None:
    """Write a file that nobody ever sees half of, not even on another machine; raises OSError.

    One that is `lasting` is whole after a power cut, too: names reach disks before what is in the files.
    """
    with draft(path) as made, made.open("wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode(errors="replace"))
        if lasting:
            file.flush()
            os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Take away what is there as far as that goes: a folder with all in it, but no other at the end of a link.

    `shutil.rmtree` alone would open a pipe, and wait.
    """
    import shutil  # a node that starts has no need of it

    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """A file that a stranger may have made, open for reading; raises OSError, for pipes and devices at once."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(file).st_mode):
        return os.fdopen(file, "rb")
    os.close(file)
    raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))


def whole(path: str | os.PathLike[str], most: int = -1) -> bytes:
    """The same, read; raises OSError, and ValueError for what has more bytes than that."""
    with opened(path) as file:
        found = file.read(most + 1 if most >= 0 else -1)
    if 0 <= most < len(found):
        raise ValueError(f"it has more than {most >> 20} MiB")
    return found


def piece(path: Path, start: int, most: int) -> tuple[bytes, int, int]:
    """Some bytes of a file that a stranger may have made, where they begin, and how many there are in all.

    From its end where `start` is negative. Links, pipes and devices have none. Raises OSError.
    """
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        begin = max(0, size + start) if start < 0 else start
        return os.pread(file, most, begin) if size > begin else b"", begin, size
    finally:
        os.close(file)
