"""How long the frames of nights are kept.

Frames of a night go when the shot has newer ones enough, or when time or room says so; records, reports, videos
and contact sheets stay. For each frame of a shot, the newest night that has it keeps it, whatever was asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from renderfarm.job.record import SCRATCH
from renderfarm.nightly import nights
from renderfarm.nightly.model import KEEP_NIGHTS
from renderfarm.words import files

Inode = tuple[int, int]


@dataclass(frozen=True)
class Gone:
    """What was removed, or would be."""

    night: str
    shot: str
    frames: int
    kept: int
    """frames that stay because no newer night has them"""


@dataclass(frozen=True)
class Folder:
    """The frames of one shot in one night that may go."""

    gone: Gone
    path: Path
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Pruned:
    """What pruning removed, or would remove."""

    gone: tuple[Gone, ...]
    frames: int
    bytes: int
    """room that is free afterwards: frames that are hard links of others free none"""


def prune(
    output: Path,
    keep: Mapping[str, int],
    *,
    before: date | None = None,
    limit: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove frames of nights beyond the newest `keep` of each shot, of nights before a day, and then of the
    oldest nights until all frames together take no more than `limit` bytes. Raises OSError."""
    folders = list(_removable(output))
    chosen = [each for each in folders if _is_old(each.gone, folders, keep, before)]
    if limit is not None:
        chosen = _to_fit(output, folders, chosen, limit)
    freed = _freed(path for each in chosen for path in each.files)
    if not dry_run:
        for each in chosen:
            _remove(each)
    return Pruned(tuple(each.gone for each in chosen), sum(len(each.files) for each in chosen), freed)


def _removable(output: Path) -> Iterator[Folder]:
    """Frames that a newer night has too, newest night first."""
    seen: dict[str, set[str]] = {}
    for folder in reversed(nights.all_nights(output)):
        for frames in sorted(folder.glob("*/frames")):
            shot = frames.parent.name
            names = {path.name: path for path in frames.iterdir() if not path.name.startswith(".")}
            newer = seen.setdefault(shot, set())
            files = tuple(path for name, path in sorted(names.items()) if name in newer)
            if files:
                gone = Gone(folder.name, shot, len(files), kept=len(names) - len(files))
                yield Folder(gone, frames, files)
            newer.update(names)


def _is_old(found: Gone, folders: Sequence[Folder], keep: Mapping[str, int], before: date | None) -> bool:
    # The newest night of a shot is never removable, so `keep` nights are kept when keep - 1 of these are.
    newer = sum(each.gone.shot == found.shot and each.gone.night > found.night for each in folders)
    is_beyond = newer >= keep.get(found.shot, KEEP_NIGHTS) - 1
    return is_beyond or (before is not None and date.fromisoformat(found.night) < before)


def _to_fit(output: Path, folders: Sequence[Folder], chosen: list[Folder], limit: int) -> list[Folder]:
    """More folders, oldest first, until the rest fits."""
    there = [path for night in nights.all_nights(output) for path in night.glob("*/frames/*")]
    oldest_first = [*chosen, *(each for each in reversed(folders) if each not in chosen)]
    sizes = {_inode(path): path.stat().st_size for path in there}
    links = Counter(_inode(path) for path in there)
    excess = sum(sizes.values()) - limit
    found: list[Folder] = []
    for each in oldest_first:
        if excess <= 0 and each not in chosen:
            break
        found.append(each)
        for path in each.files:
            inode = _inode(path)
            links[inode] -= 1
            excess -= 0 if links[inode] else sizes[inode]
    return found


def _freed(paths: Iterable[Path]) -> int:
    """Bytes of the files of which every link goes."""
    several = list(paths)
    links = Counter(_inode(path) for path in several)
    status = {_inode(path): path.stat() for path in several}
    return sum(status[inode].st_size for inode, count in links.items() if status[inode].st_nlink <= count)


def _inode(path: Path) -> Inode:
    status = path.stat()
    return status.st_dev, status.st_ino


def _remove(folder: Folder) -> None:
    for path in folder.files:
        path.unlink(missing_ok=True)
    if not folder.gone.kept:
        folder.path.rmdir()
        files.remove(folder.path.parent / SCRATCH)
