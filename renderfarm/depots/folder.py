"""A depot that is a folder: of this machine, or of a file system that nodes share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from renderfarm.words import files

_RECEIPT = ".receipt"


class FolderDepot:
    """Files below a folder (see `renderfarm.depots.Depot`). Standard library only: nodes use it too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where a file is, or would be."""
        return self.folder / name

    def put(self, name: str, source: bytes | Path, receipt: str = "") -> None:
        """Write it under another name first; the receipt is there before the file is."""
        target = self.path(name)
        if receipt:
            _appear(target.with_name(target.name + _RECEIPT), receipt.encode())
        _appear(target, source)

    def receipt(self, name: str) -> str | None:
        """The line that came with a file; None when there is no such file."""
        target = self.path(name)
        try:
            receipt = target.with_name(target.name + _RECEIPT)
            return receipt.read_text("utf-8", errors="replace") if target.exists() else None
        except FileNotFoundError:
            return ""

    def get(self, name: str, target: Path) -> None:
        """A second name of the same file; a copy where the file system has no such thing."""
        try:
            os.link(self.path(name), target)
        except FileExistsError:
            target.unlink()
            self.get(name, target)
        except FileNotFoundError:
            raise
        except OSError:
            _appear(target, self.path(name))

    def read(self, name: str, start: int = 0) -> bytes:
        """A file's bytes from there on."""
        with self.path(name).open("rb") as file:
            file.seek(start)
            return file.read()

    def list(self, beginning: str) -> Iterator[tuple[str, int]]:
        """Names that begin so, sorted, with their sizes; drafts and receipts are none."""
        folder = self.path(beginning if beginning.endswith("/") else beginning.rpartition("/")[0])
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            name = path.relative_to(self.folder).as_posix()
            if name.startswith(beginning) and path.name[0] != "." and path.suffix != _RECEIPT:
                yield name, path.stat().st_size

    def append(self, name: str, data: bytes) -> None:
        """Add to a file in one write."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab", buffering=0) as file:
            file.write(data)

    def remove(self, beginning: str) -> None:
        """Take a folder away, or the files whose names begin so."""
        if beginning.endswith("/"):
            shutil.rmtree(self.path(beginning), ignore_errors=True)
            return
        for name, _ in self.list(beginning):
            for path in (self.path(name), self.path(name + _RECEIPT)):
                path.unlink(missing_ok=True)


def _appear(target: Path, source: bytes | Path) -> None:
    """Write a file that appears when it is whole."""
    with files.draft(target) as made:
        if isinstance(source, bytes):
            made.write_bytes(source)
        else:
            shutil.copyfile(source, made)
