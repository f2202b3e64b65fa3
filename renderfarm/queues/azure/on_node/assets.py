"""The node's store of assets: files named by the SHA-256 of their bytes, shared by all jobs and all slots.

A task has a view of its project: the files at their paths, read-only, gone when the task ends.

A file is there whole or not at all. Nothing is counted or registered: a task's view holds hard links, so what
has one link is in nobody's use and may go when the disk gets short.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from renderfarm.depots.blobs import BlobClient, BlobError, BlobMissingError
from renderfarm.depots.folder import FolderDepot
from renderfarm.queues.azure.on_node.exits import DISK_FULL, FAILED, HOPELESS, Exit, ending
from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile

AT_ONCE = 8
RESERVE_BYTES = 128 << 20
"""left free for frames and logs"""
_READ_ONLY = 0o444
_FOLDER_OPEN, _FOLDER_CLOSED = 0o755, 0o555
_TRIES = 5
_LOG = logging.getLogger(__name__)


class Store:
    """The files below one folder."""

    def __init__(self, folder: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.folder = folder
        self._reserve = reserve_bytes

    def path(self, sha256: str) -> Path:
        """Where the file with these bytes is, or would be."""
        return self.folder / sha256

    def has(self, file: ManifestFile) -> bool:
        """Whether the file is there; its hash was checked when it came, so its size must do now."""
        try:
            return self.path(file.sha256).stat().st_size == file.bytes
        except FileNotFoundError:
            return False

    def bring(self, manifest: Manifest, client: BlobClient) -> int:
        """Bring what is missing, several files at a time; how many came. Raises Exit."""
        wanted = {file.sha256: file for file in manifest.files}
        self._use(wanted)
        missing = [file for file in wanted.values() if not self.has(file)]
        if not missing:
            return 0
        self._make_room(sum(file.bytes for file in missing), keep=wanted)
        _LOG.info("Bringing %d of %d files.", len(missing), len(wanted))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            try:
                return sum(1 for _ in threads.map(self._bring, missing, itertools.repeat(client)))
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def _bring(self, file: ManifestFile, client: BlobClient) -> None:
        target = self.path(file.sha256)
        try:
            client.get(file.sha256, target, file.sha256)
        except BlobMissingError as error:
            message = f"{file.path} is not in storage any more ({file.sha256})."
            hint = "Submit the job again: that uploads what is missing."
            raise Exit(HOPELESS, message, hint) from error
        except (BlobError, OSError) as error:
            raise ending(error, f"{file.path} could not be brought.") from error
        target.chmod(_READ_ONLY)

    def _use(self, wanted: Iterable[str]) -> None:
        """Note that files are used: those that were not for the longest time go first."""
        for sha256 in wanted:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                os.utime(self.path(sha256))

    def _make_room(self, needed: int, keep: Iterable[str]) -> None:
        """Let old files go until `needed` bytes fit; raises Exit with the numbers when they don't."""
        idle = iter(self._idle(frozenset(keep)) if self._free() < needed else ())
        while (free := self._free()) < needed:
            path = next(idle, None)
            if path is None:
                short = f"{_size(free)} free and the job's files need {_size(needed)} more"
                hint = "Choose a vm_size with a larger disk."
                raise Exit(DISK_FULL, f"The node's disk has {short}.", hint)
            with contextlib.suppress(FileNotFoundError, PermissionError):
                path.unlink()

    def _free(self) -> int:
        return max(0, shutil.disk_usage(self.folder).free - self._reserve)

    def _idle(self, keep: frozenset[str]) -> list[Path]:
        """Files that no task uses, longest unused first."""
        found = []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                state = entry.stat()
                if entry.name not in keep and state.st_nlink == 1 and not entry.name.startswith("."):
                    found.append((state.st_mtime, entry.path))
        return [Path(path) for _, path in sorted(found)]


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


@contextlib.contextmanager
def view(manifest: Manifest, store: Store, folder: Path, bring: Callable[[], object]) -> Iterator[Path]:
    """The project below `folder`. `bring` is called when a file has left the store. Raises Exit."""
    remove(folder)
    try:
        for attempt in range(_TRIES):
            try:
                _link(manifest, store, folder)
                break
            except FileNotFoundError as error:
                if attempt == _TRIES - 1:
                    raise Exit(FAILED, f"Files leave the node's store while they are used: {error}.") from error
                bring()
            except OSError as error:
                raise ending(error, "The project can't be laid out on this node.") from error
        _close(folder)
        yield folder
    finally:
        remove(folder)


def _link(manifest: Manifest, store: Store, folder: Path) -> None:
    """Put every file at its path: a link, or a copy where there can be none, as of another user's file."""
    made, kept = {folder}, FolderDepot(store.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in manifest.files:
        target = folder / file.path
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        kept.get(file.sha256, target)


def _close(folder: Path) -> None:
    for name, _, _ in os.walk(folder):
        Path(name).chmod(_FOLDER_CLOSED)


def remove(folder: Path) -> None:
    """Take a view away, whatever is left of it."""
    if not folder.exists():
        return
    for name, _, _ in os.walk(folder):
        Path(name).chmod(_FOLDER_OPEN)
    shutil.rmtree(folder, ignore_errors=True)
