"""Folders among the machine's temporary files: what the killed left of them goes when the next one is made.

Its maker holds the folder's lock, which the kernel lets go of however the maker dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "renderfarm-held-"
_NEW_SECONDS = 60.0
"""within which a folder may not be locked yet"""


class Temporary:
    """A folder that lasts as long as its context, or until it is removed, and never longer than its maker."""

    def __init__(self, place: Path | None = None) -> None:
        """Among the machine's temporary files, or in another place."""
        place = place or Path(tempfile.gettempdir())
        _sweep(place)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        self._lock: int | None = _opened(self.path)
        with contextlib.suppress(OSError):  # where nothing can be locked, nothing is swept
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Take it away with all that is in it, once: a signal may have done so in the middle of that."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __enter__(self) -> Path:
        """Where it is."""
        return self.path

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        self.remove()


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _sweep(place: Path) -> None:
    for path in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _NEW_SECONDS:
                _remove_left(path)


def _remove_left(folder: Path) -> None:
    """Remove one that nobody holds; raises OSError where somebody does."""
    lock = _opened(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
