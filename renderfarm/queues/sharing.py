"""Two jobs at once share a machine: each pool knows how many are working and takes its part.

A pool holds a lock on a file of its own in `<home>/machine`; who dies lets go of it, so counting the locked
files counts the living. No service, nothing to clean up.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import IO

LOOK_SECONDS = 2.0


class Seat:
    """One pool's presence on this machine."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "machine"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / f"{os.getpid()}-{time.monotonic_ns()}"
        self._file = self._take()
        self._looked = 0.0
        self._others = 0

    def _take(self) -> IO[str]:
        """Lock the file; again when somebody tidied it up before it was locked."""
        while True:
            file = self._path.open("w")
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._path.exists():
                return file
            file.close()

    def others(self) -> int:
        """How many other pools are at work here; looked up every few seconds."""
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._others = sum(_alive(path) for path in self._folder.iterdir() if path != self._path)
        return self._others

    def leave(self) -> None:
        """Give the machine back."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def _alive(path: Path) -> bool:
    """Whether somebody holds the file; a file that nobody holds is removed."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
