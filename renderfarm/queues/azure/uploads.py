"""Brings what a scene needs into Blob storage, by content: the same bytes travel once, whoever sends them.

A blob's name is the SHA-256 of its bytes, so nothing may ever be published under a wrong one: a file is hashed
once more while it is sent, and a blob appears only when that hash is the name.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO

from renderfarm.depots.blobs import BlobClient, BlobMissingError
from renderfarm.depots.listing import Blob
from renderfarm.errors import InputError
from renderfarm.job.fingerprinting import stamped_hashes
from renderfarm.job.store import Store
from renderfarm.node.guard import Guard
from renderfarm.queues.azure.at_once import at_once
from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile, checked
from renderfarm.queues.azure.storage import Storage
from renderfarm.renderers import renderer
from renderfarm.words import stamps
from renderfarm.words.scene import Asset, Scene
from renderfarm.words.work import Work

CONCURRENCY = 8
"""requests under way at once"""
BLOCK_BYTES = 8 << 20
"""files up to this size are one request; memory needed is this times CONCURRENCY"""
MOST_BLOCKS = 50_000
GRACE = timedelta(days=7)
"""what was uploaded or renewed since is not garbage, whatever no manifest says"""
SHOWN_NAMES = 5

_FEW = 256
"""with so few, asking for each takes less than finding out how many assets there are"""
_LISTED_PER_LOOK = 2
"""blobs that can be listed in the time of one request for one blob (measured: 0.2 ms and 0.4 ms of CPU)"""


def collect(scene: Scene, store: Store, work: Work | None = None) -> Manifest:
    """Everything the scene needs, hashed, and nothing else; raises InputError.

    Links are followed. Folders of caches become their files. With the `work` that a job was fingerprinted for,
    nothing may be another file than it was then.
    """
    there = list(dict.fromkeys(_files(scene)))
    real = {path: work.copies.get(str(path), str(path)) if work else str(path) for path in there}
    try:
        for path in there:
            if not stat.S_ISREG(path.stat().st_mode):
                raise InputError(f"{path} is no file, so it can't be uploaded.", "Choose a file in the scene.")
        hashes = stamped_hashes(real.values(), store)
    except OSError as error:
        raise _unreadable(error) from error
    known = {each.path: each.content for each in work.inputs} if work else {}
    root, files = os.path.commonpath([path.parent for path in there]), []
    for path, name in real.items():
        stamp, sha256 = hashes[name]
        if known.get(str(path), sha256) not in (sha256, stamps.text(stamp)):
            raise _changed(path)
        files.append(ManifestFile(path.relative_to(root).as_posix(), sha256, stamp[2]))
    files.sort(key=lambda file: file.path)
    manifest = checked(Manifest(root, _plain(scene.path).relative_to(root).as_posix(), tuple(files)))
    if wrong := unmovable(scene, manifest):
        names = "".join(f"\n  {name}" for name in wrong[:SHOWN_NAMES])
        message = f"The scene names files by paths that no other machine has:{names}"
        raise InputError(message, "Name them relative to the scene.")
    return manifest


def unmovable(scene: Scene, manifest: Manifest) -> tuple[str, ...]:
    """Names by which a scene refers to files of this machine, where its renderer can't be told of others."""
    if not renderer(scene.renderer).names_stay:
        return ()
    known = {f"{manifest.root.rstrip('/')}/{file.path}" for file in manifest.files}
    names = (asset.used_by for asset in scene.assets if asset.path in known)
    return tuple(dict.fromkeys(name for name in names if PurePath(name).is_absolute()))


def _files(scene: Scene) -> Iterator[Path]:
    """The scene file and all that its assets are, folders taken apart."""
    yield _plain(scene.path)
    guard = Guard(_plain(scene.path))
    # Compared as text: pathlib takes several times as long, and there may be very many files.
    shared = tuple(f"{folder}/" for folder in renderer(scene.renderer).equipment.shared)
    for asset in scene.assets:
        path = _plain(asset.path)
        if not asset.exists or str(path).startswith(shared):
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
    """Whether a link is one way round in a circle, which may have several links in it."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    return any(place.resolve().is_relative_to(target) for place in (here, *here.parents))


def _refuse_private(path: Path, guard: Guard) -> None:
    """A scene is foreign input: it may not name, or link, its way to keys and settings."""
    if why := guard.objection(path):
        message = f"The scene names {path}, which {why}, so it is not uploaded."
        raise InputError(message, "Copy the file into the scene's folder if it belongs to the scene.")


def _unreadable(error: OSError) -> InputError:
    return InputError(f"{error.filename} can't be read: {error.strerror}.", "The scene needs it.")


def _raise_unreadable(error: OSError) -> None:
    raise _unreadable(error)


def _changed(path: Path) -> InputError:
    message = f"{path} changed while it was being uploaded."
    return InputError(message, "Save it once more when nothing writes it any longer, then submit again.")


def missing(manifest: Manifest, storage: Storage, *, grace: timedelta = GRACE) -> tuple[ManifestFile, ...]:
    """What of a project is not in the account yet, equal contents once.

    No sweep takes what is there, for half the grace at least.
    """
    wanted = {file.sha256: file for file in manifest.files}
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        there = _renewed(_present(wanted, storage, pool), storage.at(storage.assets), pool, grace)
    return tuple(file for name, file in wanted.items() if name not in there)


def _present(wanted: Mapping[str, ManifestFile], storage: Storage, pool: ThreadPoolExecutor) -> list[Blob]:
    """The blobs that are there: by listing, or one by one where few are wanted of very many."""
    assets = storage.at(storage.assets)
    try:
        if len(wanted) > _FEW and _estimated(assets, wanted) <= _LISTED_PER_LOOK * len(wanted):
            parts = pool.map(lambda start: list(assets.blobs(start)), "0123456789abcdef")
            return [blob for part in parts for blob in part if blob.name in wanted]
        return [blob for blob in pool.map(assets.stat, wanted) if blob]
    except BlobMissingError:
        return []


def _estimated(assets: BlobClient, wanted: Iterable[str]) -> int:
    """How many assets there are, from a 256th of them: hashes are evenly spread."""
    return 256 * sum(1 for _ in assets.blobs(next(iter(wanted))[:2]))


def _renewed(found: list[Blob], assets: BlobClient, pool: ThreadPoolExecutor, grace: timedelta) -> set[str]:
    """Names of the blobs that are there to stay: those that a sweep may soon take are made young again."""
    if not found:
        return set()
    limit = assets.now() - grace / 2
    old = [blob.name for blob in found if blob.modified < limit]
    gone = {name for name, there in zip(old, pool.map(assets.touch, old), strict=True) if not there}
    return {blob.name for blob in found} - gone


@dataclass(frozen=True)
class Upload:
    """A file, and the blob that it is to be."""

    path: Path
    blob: str
    sha256: str
    bytes: int


def uploads(
    manifest: Manifest, files: Iterable[ManifestFile], copies: Mapping[str, str] | None = None
) -> Iterator[Upload]:
    """What to send of a project, the largest first; `copies` in place of files."""
    for file in sorted(files, key=lambda file: -file.bytes):
        path = str(Path(manifest.root) / file.path)
        yield Upload(Path((copies or {}).get(path, path)), file.sha256, file.sha256, file.bytes)


def send(files: Iterable[Upload], container: BlobClient, concurrency: int = CONCURRENCY) -> Iterator[int]:
    """Send files; yields bytes as they have arrived. Raises InputError for a file that changed, PoolError.

    Whatever was sent before an interruption is not sent again, blocks of large files included.
    """
    return at_once((part for file in files for part in _parts(file, container)), concurrency)


def _parts(file: Upload, container: BlobClient) -> Iterator[Callable[[], int] | None]:
    """The requests that a file takes.

    A block's id tells its content, so one that was staged before an interruption is as good as sent. The blob
    appears when all of it had the right hash.
    """
    if file.bytes <= BLOCK_BYTES:
        yield partial(_whole, file, container)
        return
    size, staged = max(BLOCK_BYTES, math.ceil(file.bytes / MOST_BLOCKS)), container.staged(file.blob)
    whole, blocks = hashlib.sha256(), list[str]()
    with _opened(file.path) as opened:
        while (data := opened.read(size)) and opened.tell() <= file.bytes:
            whole.update(data)
            blocks.append(f"{len(blocks):05d}-{hashlib.sha256(data).hexdigest()[:40]}")
            yield partial(_block, file, container, blocks[-1], data, blocks[-1] in staged)
    if data or whole.hexdigest() != file.sha256:
        raise _changed(file.path)
    yield None
    yield partial(_committed, file, container, blocks)


def _whole(file: Upload, container: BlobClient) -> int:
    with _opened(file.path) as opened:
        data = opened.read(file.bytes + 1)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _changed(file.path)
    container.put(file.blob, data, new=True)
    return file.bytes


def _block(file: Upload, container: BlobClient, block: str, data: bytes, is_there: bool) -> int:
    if not is_there:
        container.stage(file.blob, block, data)
    return len(data)


def _committed(file: Upload, container: BlobClient, blocks: list[str]) -> int:
    container.commit(file.blob, blocks)
    return 0


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(error) from error
