"""Copies of files that share their blocks (reflinks) where the file system can: those take no time, no room."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from renderfarm.words import stamps

FICLONE = 0x40049409
"""ioctl_ficlone(2)"""


@functools.cache
def can_clone(folder: Path) -> bool:
    """Whether files in this folder can share blocks."""
    try:
        with tempfile.TemporaryFile(dir=folder) as source, tempfile.TemporaryFile(dir=folder) as target:
            source.write(b"blocks")
            source.flush()
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


def copy(source: Path, target: Path) -> None:
    """Make target a new file like source, with its time; a full disk is not left fuller by half a copy."""
    try:
        if not _clone(source, target):
            shutil.copyfile(source, target)
        shutil.copystat(source, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def hashed(source: Path, target: Path) -> str:
    """Make target a new file like source; the SHA-256 of what is in target."""
    if _clone(source, target):
        return stamps.sha256(target)
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, target.open("wb") as write:
            while data := read.read(stamps.CHUNK_BYTES):
                digest.update(data)
                write.write(data)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def _clone(source: Path, target: Path) -> bool:
    if not can_clone(target.parent):
        return False
    with source.open("rb") as read, target.open("wb") as write:
        try:
            fcntl.ioctl(write.fileno(), FICLONE, read.fileno())
        except OSError:  # another file system
            return False
    return True


def linked(source: Path, target: Path) -> bool:
    """Give a file another name, where that can be.

    Nobody may write to it any more, as that would change it under both names; putting another file in its place
    does not, and still works.
    """
    try:
        os.link(source, target)
        target.chmod(target.stat().st_mode & 0o7555)
    except OSError:
        return False
    return True
