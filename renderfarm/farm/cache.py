"""Rendered frames, kept by fingerprint so that none is rendered twice.

Files live in `<home>/cache/<fingerprint>/<frame>.<suffix>` and take no room of their own where the output
folder is on the same file system. A cached file whose size or time is not what was recorded was changed by
somebody and is dropped: that time was taken to the nanosecond when the frame was written, so no other frame has
it by chance.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import ConfigError
from renderfarm.farm import copies
from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.store import Store
from renderfarm.words import files
from renderfarm.words.as_json import read_json, to_json
from renderfarm.words.scene import pictures
from renderfarm.words.work import Build

CACHE = "cache"
"""folder in the farm home"""
NOTE = "take.json"
LIMIT_BYTES = 20 << 30
"""unless `RENDERFARM_CACHE_GB` says otherwise"""


@dataclass(frozen=True)
class Entry:
    """The cached frames of one scene with one set of inputs, settings and build."""

    fingerprint: str = field(metadata={"json": "take"})
    scene: str
    used: float
    """seconds since the epoch"""
    frames: int
    bytes: int


@dataclass(frozen=True)
class Usage:
    """What the cache holds; entries are least recently used first."""

    path: str
    bytes: int
    limit: int
    frames: int
    entries: tuple[Entry, ...] = field(metadata={"json": "takes"})


@dataclass(frozen=True)
class Pruned:
    """What pruning removed, or would remove."""

    frames: int
    bytes: int
    entries: tuple[Entry, ...] = field(metadata={"json": "takes"})


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


@dataclass(frozen=True)
class _Note:
    """What stands beside the frames of a fingerprint, so that they are found without the farm's memory."""

    scene: str
    sets: tuple[tuple[str, dict[str, str]], ...] = ()
    """what they were seen to be rendered from, each set with its key"""


Known = Mapping[int, tuple[int, int, bytes | None]]
"""frame to size, time and signature, as recorded"""


@dataclass(frozen=True)
class Builds:
    """Identity and label of what nodes of a remote pool rendered with, named last first."""

    named: tuple[tuple[str, str], ...] = ()


class Origin:
    """What rendered, or would render, the frames of one job, and so under which fingerprints they are kept.

    On this machine that is known before. Nodes of a remote pool say with each frame which build rendered it:
    their frames are kept under that, and looked up with what the same nodes named last.
    """

    def __init__(self, store: Store, fingerprints: Fingerprints, nodes: str | None = None) -> None:
        """`nodes` stands for a remote pool and what its nodes install; their fingerprints hold no build."""
        self._store = store
        self._fingerprints = fingerprints
        self._nodes = nodes
        self._rendered_by = functools.cache(fingerprints.by)

    @property
    def known(self) -> tuple[str, str] | None:
        """Identity and label of the build that remote nodes named last; None while they have named none."""
        return next(iter(self._builds), None)

    @property
    def _builds(self) -> tuple[tuple[str, str], ...]:
        return (self._store.recall(Builds, self._nodes) or Builds()).named if self._nodes else ()

    @property
    def expected(self) -> Fingerprints | None:
        """What frames are looked up with; None when nobody knows what would render them."""
        if self._nodes is None:
            return self._fingerprints
        return self._rendered_by(self.known[0]) if self.known else None

    def all(self) -> Iterator[Fingerprints]:
        """Everything that frames of this job may have been kept under."""
        if self._nodes is None:
            yield self._fingerprints
            return
        yield from (self._rendered_by(identity) for identity, _ in self._builds)

    def of(self, build: Build | None) -> Fingerprints | None:
        """What a frame is kept under that this build rendered; None for one of nobody knows which."""
        if self._nodes is None:
            return self._fingerprints
        return self._rendered_by(build.identity) if build else None

    def learn(self, build: Build | None) -> bool:
        """Remember which build a frame names; whether another one was expected."""
        if self._nodes is None or build is None or (self.known or ("",))[0] == build.identity:
            return False
        now = build.identity, build.label
        self._store.keep(self._nodes, Builds((now, *(each for each in self._builds if each[0] != now[0]))))
        return True


class FrameCache:
    """The cache of one farm home."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._root = store.home / CACHE
        self._noted: set[str] = set()
        if not store.frames.any():
            self._find_again()

    def _find_again(self) -> None:
        """The farm's memory may have been deleted: take in what notes and files say."""
        with self._store.transaction():
            for path in self._root.glob(f"*/{NOTE}"):
                try:
                    note = read_json(_Note, files.whole(path))
                except (OSError, ValueError):
                    continue
                for key, found in note.sets:
                    self._store.frames.add_set(key, path.parent.name, found)
                self._store.frames.add(path.parent.name, note.scene, _pictures(path.parent))

    def _note(self, fingerprint: str, scene: str) -> None:
        """Say beside the frames what they are of, once."""
        path = self._root / fingerprint / NOTE
        if fingerprint not in self._noted and not path.exists():
            with contextlib.suppress(OSError):  # where there is no room the farm's memory alone knows
                files.write(path, to_json(_Note(scene, tuple(self._store.frames.sets_of(fingerprint)))))
        self._noted.add(fingerprint)

    def places(self, fingerprints: Fingerprints, frame: int, like: Sequence[Path]) -> list[Path]:
        """Where a frame's pictures are kept, as many as these, and of their kind."""
        return places(self._store.home, fingerprints.of(frame), frame, like)

    def put(self, fingerprints: Fingerprints, frame: int, found: Sequence[Path]) -> None:
        """Put finished pictures where they are kept; `keep` records them. Raises OSError."""
        for source, target in zip(found, self.places(fingerprints, frame, found), strict=True):
            try:
                place(source, target)
            except FileNotFoundError:  # the fingerprint's first frame
                target.parent.mkdir(parents=True, exist_ok=True)
                place(source, target)

    def known(self, fingerprints: Fingerprints) -> Known:
        """The frames that were rendered before, as recorded."""
        found = {} if fingerprints.observed else self._store.frames.of(fingerprints.base)
        if fingerprints.own:
            found = {frame: row for frame, row in found.items() if str(frame) not in fingerprints.own}
            for frame, fingerprint in fingerprints.own.items():
                if row := self._store.frames.one(fingerprint, int(frame)):
                    found[int(frame)] = row
        return found

    def expected(self, origin: Origin) -> Known:
        """The frames of a job that were rendered before by what would render them now."""
        return self.known(origin.expected) if origin.expected else {}

    def mark(self, fingerprints: Fingerprints, frame: int) -> bytes | None:
        """How a frame looks, as it was recorded."""
        row = self._store.frames.one(fingerprints.of(frame), frame)
        return row[2] if row else None

    def restore(
        self, fingerprints: Fingerprints, known: Known, targets: Mapping[int, Sequence[Path]]
    ) -> list[int]:
        """Bring known frames back, each to its targets; those that are not whole are forgotten instead."""
        back = [
            frame
            for frame, paths in targets.items()
            if self._is_back(paths, self.places(fingerprints, frame, paths), *known[frame][:2])
        ]
        self.forget(fingerprints, targets.keys() - back)
        return back

    def _is_back(self, paths: Sequence[Path], kept: Sequence[Path], size: int, mtime: int) -> bool:
        if is_as_recorded(paths, size, mtime):
            return True
        if not is_as_recorded(kept, size, mtime):
            return False
        try:
            for source, target in zip(kept, paths, strict=True):
                place(source, target)
        except FileNotFoundError:  # somebody else's job has pruned it just now
            return False
        return True

    def keep(
        self, fingerprints: Fingerprints, scene: str, rows: Iterable[tuple[int, int, int, bytes | None]]
    ) -> None:
        """Record frames that were put here: (frame, size, mtime in ns, signature)."""
        by_frame = {row[0]: row for row in rows}
        for fingerprint, frames in fingerprints.apart(by_frame).items():
            self._store.frames.add(fingerprint, scene, map(by_frame.__getitem__, frames))
            self._note(fingerprint, scene)

    def forget(self, fingerprints: Fingerprints, frames: Iterable[int]) -> None:
        """Frames are not to be reused any more."""
        for fingerprint, those in fingerprints.apart(frames).items():
            self._store.frames.forget(fingerprint, those)

    def touch(self, fingerprints: Fingerprints, scene: str, frames: Iterable[int]) -> None:
        """Frames were used now: their fingerprints are the last to be pruned."""
        for fingerprint in fingerprints.apart(frames):
            self._store.frames.touch(fingerprint, scene)

    def usage(self) -> Usage:
        """What is there."""
        found = tuple(Entry(*row) for row in self._store.frames.fingerprints())
        total, frames = sum(entry.bytes for entry in found), sum(entry.frames for entry in found)
        return Usage(str(self._root), total, limit_bytes(), frames, found)

    def prune(self, limit: int | None = None, dry_run: bool = False, spare: Container[str] = ()) -> Pruned:
        """Remove the least recently used entries, but not `spare`, until the rest fits into `limit` bytes."""
        usage = self.usage()
        target = usage.limit if limit is None else limit
        excess = usage.bytes - target
        removed: list[Entry] = []
        for entry in usage.entries:
            if entry.fingerprint in spare:
                continue
            if excess <= 0 and (entry.frames or target):
                break
            removed.append(entry)
            excess -= entry.bytes
        if not dry_run:
            for entry in removed:
                files.remove(self._root / entry.fingerprint)  # first, or who dies leaves what nobody knows of
                self._store.frames.forget(entry.fingerprint)
        return Pruned(
            sum(entry.frames for entry in removed), sum(entry.bytes for entry in removed), tuple(removed)
        )


def places(home: Path, fingerprint: str, frame: int, like: Sequence[Path]) -> list[Path]:
    """The same in a farm home, for one fingerprint."""
    # On the path of every frame, so it works on plain strings.
    first = f"{home}/{CACHE}/{fingerprint}/{frame}{like[0].suffix}"
    return [Path(path) for path in pictures(first, len(like))]


def _pictures(folder: Path) -> Iterator[tuple[int, int, int, None]]:
    """Frame, size and time of what is kept in a fingerprint's folder; how it looks is found out again."""
    found: dict[int, list[Path]] = {}
    for path in folder.iterdir():
        if path.name != NOTE and (name := re.fullmatch(r"(-?\d+)(-\d+)?", path.stem)):
            found.setdefault(int(name[1]), []).append(path)
    for frame, paths in found.items():
        yield frame, *recorded(paths), None


def recorded(paths: Iterable[Path]) -> tuple[int, int]:
    """What is remembered of a frame's files: their size and time, of several the sum and the exclusive or.

    Raises FileNotFoundError.
    """
    size = mtime = 0
    for path in paths:
        status = path.stat()
        size, mtime = size + status.st_size, mtime ^ status.st_mtime_ns
    return size, mtime


def is_as_recorded(paths: Iterable[Path], size: int, mtime: int) -> bool:
    """Whether files are there with just this size and time."""
    try:
        return recorded(paths) == (size, mtime)
    except OSError:
        return False


def place(source: Path, target: Path) -> None:
    """Put source's bytes and time at target, whole or not at all. Raises OSError.

    Who paints over one of them does not change the other: they share blocks, or are one file without permission
    to write, or the one is a copy.
    """
    links = not copies.can_clone(target.parent)
    if links and copies.linked(source, target):
        return
    with files.draft(target) as made:
        if not (links and copies.linked(source, made)):
            copies.copy(source, made)
