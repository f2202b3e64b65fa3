"""Where what nodes and farm hand each other lies: a folder that both see, or Blob storage.

Names are relative, with slashes. A file is there whole or not at all, and what is there is not written over by
another try: each has a name of its own. A picture comes with its receipt, so that one that stands in no
journal, because its node died in between, is found all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from renderfarm.job import journal

JOURNALS = f"{journal.FOLDER}/"
FRAMES = "frames/"


class Depot(Protocol):
    """One job's part of it.

    Methods raise PoolError when it can't be used, FileNotFoundError for a name that is not there.
    """

    def put(self, name: str, source: bytes | Path, receipt: str = "") -> object:
        """Write bytes or a file, with a line that says what it is."""

    def receipt(self, name: str) -> str | None:
        """The line that came with a file; None when there is no such file."""

    def get(self, name: str, target: Path) -> None:
        """Bring a file to a place on this machine, where it may be renamed away."""

    def read(self, name: str, start: int = 0) -> bytes:
        """A file's bytes from there on."""

    def list(self, beginning: str) -> Iterator[tuple[str, int]]:
        """Names that begin so, with their sizes in bytes."""

    def append(self, name: str, data: bytes) -> None:
        """Add whole lines to a file that has one writer."""

    def remove(self, beginning: str) -> None:
        """Take away what has such names, if it is there."""


def frame_name(frame: int, attempt: int, suffix: str) -> str:
    """`frames/0001.1.png`: a second attempt never overwrites the first one's picture."""
    return f"{FRAMES}{frame:04d}.{attempt}.{suffix}"
