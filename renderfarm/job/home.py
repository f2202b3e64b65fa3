"""Where the farm keeps its memory on this machine, and the locks that say who works on what."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from renderfarm.errors import JobBusyError, StoreError

BUSY_SECONDS = 0.2
"""how long a claim is tried while somebody else has one: it may be just ending"""
PEEKS_SECONDS = 10.0
"""… and while nobody has, but `is_claimed` shares the file for a moment, which is long on a busy machine"""


def home_folder() -> Path:
    """The user's home; raises StoreError where nobody can tell."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise StoreError("Your home folder can't be found.", "Set HOME to it.") from error


def farm_home() -> Path:
    """The farm home: `RENDERFARM_HOME`, else `renderfarm` in the user's data folder; made when missing."""
    chosen = os.environ.get("RENDERFARM_HOME")
    home = Path(chosen).absolute() if chosen else _of_user("XDG_DATA_HOME", ".local/share")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"The farm home {home} can't be made: {error.strerror}."
        raise StoreError(message, "Set RENDERFARM_HOME to a folder that you can write to.") from error
    return home


def user_folder() -> Path:
    """The user's own configuration folder, which may not be there."""
    return _of_user("XDG_CONFIG_HOME", ".config")


def _of_user(variable: str, place: str) -> Path:
    # What is relative would be found in a stranger's folder; XDG's specification ignores it, too.
    root = Path(os.environ.get(variable) or "")
    return (root if root.is_absolute() else home_folder() / place) / "renderfarm"


@contextlib.contextmanager
def claim(path: Path, message: str, hint: str = "", busy: type[JobBusyError] = JobBusyError) -> Iterator[None]:
    """Claim a file for oneself while inside; the kernel drops that when the holder dies.

    Raises the error `busy` when somebody else holds it, StoreError where nobody can.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666))
    except OSError as error:
        raise _unusable(path, error) from error
    with file:
        began = time.monotonic()
        while not _locked(file, fcntl.LOCK_EX):
            patience = PEEKS_SECONDS if _locked(file, fcntl.LOCK_SH) else BUSY_SECONDS
            fcntl.flock(file, fcntl.LOCK_UN)
            if time.monotonic() - began > patience:
                raise busy(message, hint)
            time.sleep(BUSY_SECONDS / 20)
        yield


def _locked(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_claimed(path: Path) -> bool:
    """Whether somebody holds a claim on the file now, which may be another user's; raises StoreError.

    Not blocking: in a folder of others the name may be a pipe's.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _unusable(path: Path, error: OSError) -> StoreError:
    """What can't be a lock, or may not be opened, is the user's to mend."""
    message = f"{path}, which says who works on what, can't be opened: {error.strerror}."
    return StoreError(message, "Make it readable, or remove it while nobody works there.")
