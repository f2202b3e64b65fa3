"""Rendered frames, kept by fingerprint so that none is rendered twice.

Files live in `<home>/cache/<take>/<frame>.<suffix>`, hard-linked with the output folder where both are on one
file system. A cached file whose size or time is not what was recorded was changed by somebody and is dropped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from renderfarm.errors import ConfigError
from renderfarm.store import Store

LIMIT_BYTES = 20 << 30
"""unless `RENDERFARM_CACHE_GB` says otherwise"""


@dataclass(frozen=True)
class Take:
    """The cached frames of one scene with one set of inputs, settings and build."""

    take: str
    scene: str
    used: float
    """seconds since the epoch"""
    frames: int
    bytes: int


@dataclass(frozen=True)
class Usage:
    """What the cache holds; takes are least recently used first."""

    path: str
    bytes: int
    limit: int
    frames: int
    takes: tuple[Take, ...]


@dataclass(frozen=True)
class Pruned:
    """What pruning removed, or would remove."""

    frames: int
    bytes: int
    takes: tuple[Take, ...]


@dataclass(frozen=True)
class Restored:
    """A frame that was brought back into an output folder."""

    frame: int
    size: int
    mtime: int
    signature: bytes | None


def limit_bytes() -> int:
    """How large the cache may grow; raises ConfigError for what is no size."""
    chosen = os.environ.get("RENDERFARM_CACHE_GB")
    try:
        limit = int(float(chosen) * (1 << 30)) if chosen else LIMIT_BYTES
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise ConfigError(f"RENDERFARM_CACHE_GB is {chosen!r}.", "It must be a number of gigabytes.")
    return limit


class Shelf:
    """The cached files of one take. On the path of every frame, so it works on plain strings."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = str(folder)
        self._suffix = suffix

    def path(self, frame: int) -> Path:
        """Where a frame is kept."""
        return Path(f"{self._folder}/{frame}.{self._suffix}")

    def keep(self, frame: int, picture: str) -> None:
        """Put a finished picture here; the caller records it. Raises OSError."""
        target = f"{self._folder}/{frame}.{self._suffix}"
        try:
            os.link(picture, target)
        except OSError:
            Path(self._folder).mkdir(parents=True, exist_ok=True)
            place(Path(picture), Path(target))


class FrameCache:
    """The cache of one farm home."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root = store.home / "cache"

    def shelf(self, take: str, suffix: str) -> Shelf:
        """Where the frames of a take are kept."""
        return Shelf(self._root / take, suffix)

    def restore(self, take: str, wanted: Iterable[int], targets: Iterable[Path]) -> Iterator[Restored]:
        """Bring frames back, each to its target; those that are not whole any more are forgotten instead."""
        known = self._store.cached(take)
        gone: list[int] = []
        for frame, target in zip(wanted, targets, strict=True):
            if frame not in known:
                continue
            size, mtime, signature = known[frame]
            source = self.shelf(take, target.suffix[1:]).path(frame)
            if not is_as_recorded(source, size, mtime):
                gone.append(frame)
                continue
            if not is_as_recorded(target, size, mtime):
                place(source, target)
            yield Restored(frame, size, mtime, signature)
        if gone:
            self._store.forget_cached(take, gone)

    def usage(self) -> Usage:
        """What is there."""
        takes = tuple(Take(*row) for row in self._store.takes())
        total = sum(take.bytes for take in takes)
        return Usage(str(self._root), total, limit_bytes(), sum(take.frames for take in takes), takes)

    def prune(self, limit: int | None = None, dry_run: bool = False, spare: str = "") -> Pruned:
        """Remove the least recently used takes, but not `spare`, until the rest fits into `limit` bytes."""
        usage = self.usage()
        target = usage.limit if limit is None else limit
        excess = usage.bytes - target
        removed: list[Take] = []
        for take in usage.takes:
            if take.take == spare:
                continue
            if excess <= 0 and (take.frames or target):
                break
            removed.append(take)
            excess -= take.bytes
        if not dry_run:
            for take in removed:
                self._store.forget_cached(take.take)
                shutil.rmtree(self._root / take.take, ignore_errors=True)
        return Pruned(sum(t.frames for t in removed), sum(t.bytes for t in removed), tuple(removed))


def is_as_recorded(path: Path, size: int, mtime: int) -> bool:
    """Whether a file is there with just this size and time."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return status.st_size == size and status.st_mtime_ns == mtime


def place(source: Path, target: Path) -> None:
    """Make target the same file as source, whole or not at all: a hard link, else a copy. Raises OSError."""
    # Two jobs of one take may place the same frame at once: a shared name would let one write into the other's.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        _copy(source, temporary)
    temporary.replace(target)
    # Renaming one hard link over another of the same file is no rename at all, and leaves both (rename(2)).
    temporary.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its time; a full disk is not left fuller by half a copy."""
    try:
        shutil.copy2(source, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
