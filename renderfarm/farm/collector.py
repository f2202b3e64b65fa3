"""Takes rendered frames from a pool into the output folder: whole, looked at, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from renderfarm.errors import RenderfarmError
from renderfarm.farm.cache import FrameCache, Shelf, recorded
from renderfarm.job.origin import Origin
from renderfarm.pictures.look import SIGNATURE_BYTES, Look, look
from renderfarm.words.scene import pictures
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build


class OutputFullError(RenderfarmError):
    """The output folder can't take another frame."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A frame that is in the output folder."""

    receipt: Rendered
    looks: tuple[Look, ...]
    """of each view"""
    size: int
    mtime: int
    """nanoseconds; see `cache.recorded`"""

    @property
    def mark(self) -> bytes:
        """Its looks, as the cache keeps them."""
        return b"".join(map(mark, self.looks))


class Collector:
    """Delivers one job's frames."""

    def __init__(
        self,
        output: Path,
        places: Callable[[int], list[Path]],
        size: tuple[int, int] | None,
        cache: FrameCache,
        origin: Origin,
    ) -> None:
        """`places` tells where a frame's pictures are delivered, in `frames/`."""
        self.folder = output / "frames"
        self.folder.mkdir(parents=True, exist_ok=True)
        for half in self.folder.glob(".*.part"):  # of a farm that was killed
            half.unlink(missing_ok=True)
        self.paths = places
        self._views = len(places(0))
        self._suffix = places(0)[0].suffix[1:]
        self._size = size
        self._cache = cache
        self._origin = origin
        self._shelves: dict[str, Shelf | None] = {}

    def collect(self, receipt: Rendered, file: Path) -> Delivered | Failed:
        """Look at a fetched frame, keep it in the cache and deliver it; `file` is its first view's picture.

        Returns Failed when a picture is not good. Raises OutputFullError when it can't be stored.
        """
        found = [file, *map(Path, islice(pictures(str(file), self._views), 1, None))]
        targets, looks = self.paths(receipt.frame), list[Look]()
        for path, target in zip(found, targets, strict=True):
            seen = look(path, receipt.frame, size=self._size)
            looks += (seen, *seen.views)
            if seen.finding is not None:
                for each in found:
                    each.unlink(missing_ok=True)
                which = f"{target.name}: " if self._views > 1 else ""
                return failure(receipt, Reason.BAD_PICTURE, f"{seen.finding}: {which}{seen.detail}")
        try:
            size, mtime = recorded(found)
            # Cache first: a farm that dies between the two lines finds the frame there.
            if shelf := self._shelf(receipt.build):
                shelf.keep(receipt.frame, found)
            for path, target in zip(found, targets, strict=True):
                os.replace(path, target)  # noqa: PTH105 - pathlib would cost more than the rename
        except OSError as error:
            raise _explained(error, targets[0]) from error
        return Delivered(receipt, tuple(looks), size, mtime)

    def looks(self, frame: int) -> tuple[Look, ...]:
        """Look at a delivered frame once more."""
        seen = [look(path, frame, size=self._size) for path in self.paths(frame)]
        return tuple(each for first in seen for each in (first, *first.views))

    def discard(self, frame: int) -> None:
        """Take a delivered frame back, here and from the cache's folder."""
        shelves = (
            self._cache.shelf(fingerprints, self._suffix, self._views) for fingerprints in self._origin.all()
        )
        for path in (*self.paths(frame), *(path for shelf in shelves for path in shelf.paths(frame))):
            path.unlink(missing_ok=True)

    def _shelf(self, build: Build | None) -> Shelf | None:
        """Where frames of a build are kept; None where nobody knows which build it was."""
        name = build.identity if build else ""
        if name not in self._shelves:
            fingerprints = self._origin.of(build)
            self._shelves[name] = (
                self._cache.shelf(fingerprints, self._suffix, self._views) if fingerprints else None
            )
        return self._shelves[name]


def mark(seen: Look) -> bytes:
    """A look as the few bytes that the store keeps: what a frame must tell when its neighbours are judged."""
    return f"{seen.magenta:.5f}|{seen.blank or ''}|".encode() + seen.signature


def looks_from(frame: int, size: tuple[int, int], kept: bytes) -> Iterator[Look]:
    """The inverse of `Delivered.mark`."""
    while kept:
        magenta, blank, rest = kept.split(b"|", 2)
        signature, kept = rest[:SIGNATURE_BYTES], rest[SIGNATURE_BYTES:]
        yield Look(frame, None, "", size, blank.decode() or None, float(magenta), signature)


def failure(receipt: Rendered, reason: Reason, message: str) -> Failed:
    """An attempt that gave no picture to deliver."""
    return Failed(
        receipt.frame,
        reason,
        message,
        receipt.seconds,
        receipt.task,
        receipt.attempt,
        receipt.node,
        receipt.log,
    )


def _explained(error: OSError, target: Path) -> OutputFullError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = Path(error.filename2 or error.filename or target).parent
        free = shutil.disk_usage(folder).free
        message = f"The disk of {folder} is full ({free >> 20} MiB left)."
        return OutputFullError(message, "Make room, then resume: every finished frame is kept.")
    return OutputFullError(f"{target} can't be written: {error.strerror}.", "Mend that, then resume.")
