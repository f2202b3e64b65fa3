"""Copies of files, sharing their blocks (reflinks) where the file system can: those take no time and no room.

Among them the scene's own files as they were when its job was submitted: people go on saving. Those lie in the
output folder, as `<sha256>/<name>`, for as long as frames of their job are left.
"""

from __future__ import annotations

import fcntl
import functools
import glob
import os
import shutil
import tempfile
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.job.fingerprinting import file_hash
from renderfarm.job.store import Store
from renderfarm.words import files, stamps

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
    """Make target a new file like source, with its time; not every disk takes its permissions."""
    if not _clone(source, target):
        shutil.copyfile(source, target)
    found = source.stat()
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


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


@dataclass(frozen=True)
class Keep:
    """Where a job's copies are, and the hashes of those that an earlier run of it made."""

    folder: Path
    wanted: Container[str] = ()


@dataclass(frozen=True)
class Sources:
    """The scene's own files: what they hold, and the copies that were made so far."""

    hashes: Mapping[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def copied(self) -> dict[str, str]:
        """A copy of each file; raises InputError for one that was saved since it was hashed, OSError."""
        left = {path: held for path, held in self.hashes.items() if path not in self.copies}
        made = {path: _copy(Path(path), held, self.folder) for path, held in left.items()}
        return {**self.copies, **made}


def sources(paths: Iterable[str], keep: Keep, store: Store) -> Sources:
    """What the files hold; what an earlier run of the job kept stands for what was saved since."""
    found = {path: copy for path in paths if (copy := _earlier(Path(path).name, keep, store))}
    hashes = {path: found[path].parent.name if path in found else file_hash(path, store) for path in paths}
    return Sources(hashes, {path: str(copy) for path, copy in found.items()}, keep.folder)


def _earlier(name: str, keep: Keep, store: Store) -> Path | None:
    """The copy of an earlier run, if nobody changed it."""
    for path in keep.folder.glob(f"*/{glob.escape(name)}"):
        if path.parent.name in keep.wanted and file_hash(str(path), store) == path.parent.name:
            return path
    return None


def _copy(path: Path, sha256: str, folder: Path) -> str:
    """Copy the file, as long as it holds what is wanted."""
    target = folder / sha256 / path.name
    try:
        with files.draft(target) as made:
            copy(path, made)
            found = stamps.sha256(made)
            made.chmod(0o444)
    except OSError as error:
        message = f"{path.name}, which jobs render a copy of, can't be copied to {folder}: {error.strerror}."
        raise InputError(message, "Make room there, or choose another --output.") from error
    if found != sha256:
        target.unlink()
        raise InputError(f"{path} was saved while its job was being submitted.", "Submit it again.")
    return str(target)
