"""Brings what a scene needs into Blob storage, by content: the same bytes travel once, whoever sends them.

A blob's name is the SHA-256 of its bytes, so nothing may ever be published under a wrong one: a file is hashed
once more while it is sent, and a blob appears only when that hash is the name.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from renderfarm.depots.blobs import BlobMissingError
from renderfarm.depots.listing import Blob
from renderfarm.errors import InputError, PoolError
from renderfarm.job.fingerprint import stamped_hashes
from renderfarm.job.store import Store
from renderfarm.node.guard import Guard
from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile, checked
from renderfarm.queues.azure.storage import Storage
from renderfarm.renderers import renderer
from renderfarm.words import stamps
from renderfarm.words.model import Asset, Scene, Work

CONCURRENCY = 8
"""requests under way at once; the SDK keeps ten connections"""
BLOCK_BYTES = 8 << 20
"""files up to this size are one request; memory needed is this times CONCURRENCY"""
MOST_BLOCKS = 50_000
GRACE = timedelta(days=7)
"""what was uploaded or renewed since is not garbage, whatever no manifest says"""

_FEW = 256
"""with so few, asking for each takes less than finding out how many assets there are"""
_LISTED_PER_LOOK = 2
"""blobs that can be listed in the time of one request for one blob (measured: 0.2 ms and 0.4 ms of CPU)"""
_HEX = "0123456789abcdef"


@dataclass(frozen=True)
class UploadPlan:
    """What must be sent; equal contents count once."""

    files: int
    bytes: int
    present_files: int
    present_bytes: int
    missing: tuple[ManifestFile, ...]

    @property
    def missing_bytes(self) -> int:
        """How much is to be sent."""
        return self.bytes - self.present_bytes


@dataclass(frozen=True)
class Progress:
    """How far an upload is, of what had to be sent."""

    files: int
    bytes: int
    total_files: int
    total_bytes: int


def collect(scene: Scene, store: Store, work: Work | None = None) -> Manifest:
    """Everything the scene needs, hashed, and nothing else; raises InputError.

    Links are followed. Folders of caches become their files. With the `work` that a job was fingerprinted for,
    nothing may be another file than it was then.
    """
    there = list(dict.fromkeys(_files(scene)))
    for path in there:
        _refuse_unreadable(path)
    real = {path: work.copies.get(str(path), str(path)) if work else str(path) for path in there}
    try:
        hashes = stamped_hashes(real.values(), store)
    except OSError as error:
        raise _unreadable(error) from error
    known = {each.path: each.content for each in work.inputs} if work else {}
    for path in there:
        stamp, sha256 = hashes[real[path]]
        if known.get(str(path), sha256) not in (sha256, stamps.text(stamp)):
            raise _changed(path)
    root = os.path.commonpath([path.parent for path in there])
    files = [
        ManifestFile(path.relative_to(root).as_posix(), sha256, stamp[2])
        for path, name in real.items()
        for stamp, sha256 in [hashes[name]]
    ]
    files.sort(key=lambda file: file.path)
    scene_path = _plain(scene.path).relative_to(root).as_posix()
    return checked(Manifest(root, scene_path, tuple(files)))


def _files(scene: Scene) -> Iterator[Path]:
    """The scene file and all that its assets are, folders taken apart."""
    yield _plain(scene.path)
    guard = Guard(_plain(scene.path))
    shared = renderer(scene.renderer).equipment.shared
    for asset in scene.assets:
        path = _plain(asset.path)
        if not asset.exists or _is_below(path, shared):
            continue
        for file in _inside(path, asset, guard) if path.is_dir() else (path,):
            _refuse_private(file, guard)
            yield file


def _plain(path: str) -> Path:
    return Path(os.path.normpath(path))


def _inside(folder: Path, asset: Asset, guard: Guard) -> Iterator[Path]:
    """The files in a folder, links followed but not in circles."""
    if guard.is_wide(folder):
        message = f"The scene names {folder} as {asset.kind} ({asset.used_by}), which is no folder of its own."
        raise InputError(message, "Choose another folder in the scene.")
    for place, folders, names in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not _leads_back(here, here / name))
        yield from (here / name for name in sorted(names))


def _leads_back(here: Path, folder: Path) -> bool:
    return folder.is_symlink() and here.resolve().is_relative_to(folder.resolve())


def _refuse_private(path: Path, guard: Guard) -> None:
    """A scene is foreign input: it may not name, or link, its way to keys and settings."""
    if why := guard.objection(path):
        message = f"The scene names {path}, which {why}, so it is not uploaded."
        raise InputError(message, "Copy the file into the scene's folder if it belongs to the scene.")


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    """Compared as text: pathlib takes several times as long, and there may be very many files."""
    return str(path).startswith(tuple(f"{folder}/" for folder in folders))


def _refuse_unreadable(path: Path) -> None:
    """Raise InputError where there is no file."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise _unreadable(error) from error
    if not is_file:
        raise InputError(f"{path} is no file, so it can't be uploaded.", "Choose a file in the scene.")


def _unreadable(error: OSError) -> InputError:
    return InputError(f"{error.filename} can't be read: {error.strerror}.", "The scene needs it.")


def _raise_unreadable(error: OSError) -> None:
    raise _unreadable(error)


def _changed(path: Path) -> InputError:
    message = f"{path} changed while it was being uploaded."
    return InputError(message, "Save it once more when nothing writes it any longer, then submit again.")


def plan(
    manifest: Manifest, storage: Storage, *, grace: timedelta = GRACE, concurrency: int = CONCURRENCY
) -> UploadPlan:
    """What of a project is not in the account yet. No sweep takes what is, for half the grace at least."""
    wanted = {file.sha256: file for file in manifest.files}
    with ThreadPoolExecutor(concurrency) as pool:
        found = _present(wanted, storage, pool)
        present = _renewed(found, storage, pool, grace)
    missing = tuple(file for name, file in wanted.items() if name not in present)
    size = sum(file.bytes for file in wanted.values())
    missing_size = sum(file.bytes for file in missing)
    return UploadPlan(len(wanted), size, len(present), size - missing_size, missing)


def _present(wanted: Mapping[str, ManifestFile], storage: Storage, pool: ThreadPoolExecutor) -> dict[str, Blob]:
    """The blobs that are there: by listing, or one by one where few are wanted of very many."""
    try:
        if len(wanted) > _FEW and _estimated(storage, wanted) <= _LISTED_PER_LOOK * len(wanted):
            parts = pool.map(lambda start: list(storage.at(storage.assets).list(start)), _HEX)
            blobs = [blob for part in parts for blob in part if blob.name in wanted]
        else:
            looks = pool.map(lambda name: storage.at(storage.assets).stat(name), wanted)
            blobs = [blob for blob in looks if blob]
    except BlobMissingError:
        return {}
    for blob in blobs:
        if blob.size != wanted[blob.name].bytes:
            raise _spoilt(blob.name, storage)
    return {blob.name: blob for blob in blobs}


def _estimated(storage: Storage, wanted: Iterable[str]) -> int:
    """How many assets there are, from a 256th of them: hashes are evenly spread."""
    start = next(iter(wanted))[:2]
    return 256 * sum(1 for _ in storage.at(storage.assets).list(start))


def _renewed(
    found: Mapping[str, Blob], storage: Storage, pool: ThreadPoolExecutor, grace: timedelta
) -> set[str]:
    """Names of the blobs that are there to stay: those that a sweep may soon take are made young again."""
    if not found:
        return set()
    limit = storage.at(storage.assets).now() - grace / 2
    old = [name for name, blob in found.items() if blob.modified < limit]
    kept = pool.map(lambda name: storage.at(storage.assets).touch(name), old)
    return found.keys() - {name for name, there in zip(old, kept, strict=True) if not there}


def _spoilt(name: str, storage: Storage) -> PoolError:
    message = f"The blob {storage.assets}/{name} has another size than the file it was made of."
    return PoolError(message, "Delete that blob, then submit again.")


def upload(
    manifest: Manifest,
    plan: UploadPlan,
    storage: Storage,
    progress: Callable[[Progress], None] | None = None,
    concurrency: int = CONCURRENCY,
    copies: Mapping[str, str] | None = None,
) -> None:
    """Send what is missing; raises InputError for a file that changed, PoolError.

    Whatever was sent before an interruption is not sent again, blocks of large files included. `progress` is
    called from several threads, but never twice at once. `copies` are sent in place of files.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        sending = _Sending(Path(manifest.root), plan, storage, progress, pool, concurrency, copies or {})
        try:
            for file in sorted(plan.missing, key=lambda file: -file.bytes):
                sending.send(file)
        except BaseException:
            # What is in hand is finished, so that it need not be sent again.
            pool.shutdown(cancel_futures=True)
            raise
    sending.raise_failure()


class _Sending:
    """One upload. `send` is called by one thread and blocks while enough is under way."""

    def __init__(
        self,
        root: Path,
        plan: UploadPlan,
        storage: Storage,
        progress: Callable[[Progress], None] | None,
        pool: ThreadPoolExecutor,
        concurrency: int,
        copies: Mapping[str, str],
    ) -> None:
        self._root = root
        self._copies = copies
        self._storage = storage
        self._report = progress
        self._progress = Progress(0, 0, len(plan.missing), plan.missing_bytes)
        self._pool = pool
        self._room = threading.Semaphore(concurrency + 1)
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def send(self, file: ManifestFile) -> None:
        """Begin with one file; raises what went wrong with an earlier one."""
        if file.bytes <= BLOCK_BYTES:
            self._begin(self._send_whole, file)
        else:
            self._send_blocks(file)

    def raise_failure(self) -> None:
        """Raise the first thing that went wrong, if any did."""
        if self._failure is not None:
            raise self._failure

    def _begin(self, work: Callable[..., None], *arguments: object) -> Future[None]:
        self._room.acquire()
        self.raise_failure()
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        self._failure = self._failure or error
        self._room.release()

    def _path(self, file: ManifestFile) -> Path:
        path = str(self._root / file.path)
        return Path(self._copies.get(path, path))

    def _send_whole(self, file: ManifestFile) -> None:
        path = self._path(file)
        with _opened(path) as opened:
            data = opened.read(file.bytes + 1)
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise _changed(path)
        if not self._storage.at(self._storage.assets).put(file.sha256, data, new=True):
            self._look_at(file)
        self._advance(1, file.bytes)

    def _send_blocks(self, file: ManifestFile) -> None:
        """Hash and send a large file block by block; it appears when all of it had the right hash.

        A block's id tells its content, so one that was staged before an interruption is as good as sent.
        """
        path, size = self._path(file), max(BLOCK_BYTES, math.ceil(file.bytes / MOST_BLOCKS))
        staged = self._storage.at(self._storage.assets).staged(file.sha256)
        whole, blocks, under_way = hashlib.sha256(), list[str](), list[Future[None]]()
        with _opened(path) as opened:
            while (data := opened.read(size)) and opened.tell() <= file.bytes:
                whole.update(data)
                block = f"{len(blocks):05d}-{hashlib.sha256(data).hexdigest()[:40]}"
                blocks.append(block)
                if block in staged:
                    self._advance(0, len(data))
                else:
                    under_way.append(self._begin(self._send_block, file, block, data))
        if data or whole.hexdigest() != file.sha256:
            raise _changed(path)
        self._begin(self._commit, file, blocks, under_way)

    def _send_block(self, file: ManifestFile, block: str, data: bytes) -> None:
        self._storage.at(self._storage.assets).stage(file.sha256, block, data)
        self._advance(0, len(data))

    def _commit(self, file: ManifestFile, blocks: Sequence[str], under_way: Iterable[Future[None]]) -> None:
        # The blocks were begun before this, so no worker waits for one that has not begun.
        for future in under_way:
            future.result()
        if not self._storage.at(self._storage.assets).commit(file.sha256, blocks):
            self._look_at(file)
        self._advance(1, 0)

    def _look_at(self, file: ManifestFile) -> None:
        """Somebody else sent it at the same time: then it is there, and whole."""
        blob = self._storage.at(self._storage.assets).stat(file.sha256)
        if blob is None or blob.size != file.bytes:
            raise _spoilt(file.sha256, self._storage)

    def _advance(self, files: int, size: int) -> None:
        with self._lock:
            done = self._progress
            self._progress = replace(done, files=done.files + files, bytes=done.bytes + size)
            if self._report is not None:
                self._report(self._progress)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(error) from error
