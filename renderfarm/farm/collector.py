"""Takes rendered frames from a pool into the output folder: whole, looked at, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from renderfarm.errors import RenderfarmError
from renderfarm.farm.cache import FrameCache, Shelf
from renderfarm.job.origin import Origin
from renderfarm.pictures.look import Look, look
from renderfarm.words import frames as frame_ranges
from renderfarm.words.model import SUFFIXES, Build, Failed, Finding, Reason, Rendered


class OutputFullError(RenderfarmError):
    """The output folder can't take another frame."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A frame that is in the output folder."""

    receipt: Rendered
    look: Look
    size: int
    mtime: int
    """nanoseconds"""

    @property
    def mark(self) -> bytes:
        """Its look, as the cache keeps it."""
        return mark(self.look)


class Collector:
    """Delivers one job's frames."""

    def __init__(
        self,
        output: Path,
        stem: str,
        picture_format: str,
        size: tuple[int, int],
        cache: FrameCache,
        origin: Origin,
    ) -> None:
        self.folder = output / "frames"
        self.folder.mkdir(parents=True, exist_ok=True)
        for half in self.folder.glob(".*.part"):  # of a farm that was killed
            half.unlink(missing_ok=True)
        self._stem = stem
        self._suffix = SUFFIXES[picture_format]
        self._size = size
        self._cache = cache
        self._origin = origin
        self._shelves: dict[str, Shelf | None] = {}

    def path(self, frame: int) -> Path:
        """Where a frame is delivered."""
        return Path(self._place(frame))

    def _place(self, frame: int) -> str:
        return f"{self.folder}/{frame_ranges.frame_name(self._stem, frame, self._suffix)}"

    def collect(self, receipt: Rendered, file: Path) -> Delivered | Failed:
        """Look at a fetched frame, keep it in the cache and deliver it.

        Returns Failed when the picture is not good. Raises OutputFullError when it can't be stored.
        """
        seen = look(file, receipt.frame, size=self._size)
        if seen.finding is not None:
            file.unlink(missing_ok=True)
            return failure(receipt, seen.finding, seen.detail)
        target = self._place(receipt.frame)
        try:
            status = file.stat()
            # Cache first: a farm that dies between the two lines finds the frame there.
            if shelf := self._shelf(receipt.build):
                shelf.keep(receipt.frame, str(file))
            os.replace(file, target)  # noqa: PTH105 - pathlib would cost more than the rename
        except OSError as error:
            raise _explained(error, Path(target)) from error
        return Delivered(receipt, seen, status.st_size, status.st_mtime_ns)

    def look(self, frame: int) -> Look:
        """Look at a delivered frame once more."""
        return look(self.path(frame), frame, size=self._size)

    def discard(self, frame: int) -> None:
        """Take a delivered frame back, here and from the cache's folder."""
        self.path(frame).unlink(missing_ok=True)
        for takes in self._origin.all():
            self._cache.shelf(takes, self._suffix).path(frame).unlink(missing_ok=True)

    def _shelf(self, build: Build | None) -> Shelf | None:
        """Where frames of a build are kept; None where nobody knows which build it was."""
        name = build.identity if build else ""
        if name not in self._shelves:
            takes = self._origin.of(build)
            self._shelves[name] = self._cache.shelf(takes, self._suffix) if takes else None
        return self._shelves[name]


def mark(seen: Look) -> bytes:
    """A look as the few bytes that the store keeps: what a frame must tell when its neighbours are judged."""
    return f"{seen.magenta:.5f}|{seen.blank or ''}|".encode() + seen.signature


def look_from(frame: int, size: tuple[int, int], kept: bytes) -> Look:
    """The inverse of `mark`."""
    magenta, blank, signature = kept.split(b"|", 2)
    return Look(frame, None, "", size, blank.decode() or None, float(magenta), signature)


def failure(receipt: Rendered, finding: Finding, detail: str) -> Failed:
    """An attempt that gave a bad picture."""
    return Failed(
        receipt.frame,
        Reason.BAD_PICTURE,
        f"{finding}: {detail}",
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
