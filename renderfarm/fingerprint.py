"""What a frame's pixels depend on, as a hash.

A *take* is the SHA-256 of everything but the frame number: the bytes of the scene and of its assets, the
settings, the renderer build. Two frames with the same take and number have the same pixels, so the second one
is never rendered.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from renderfarm.model import Build, Scene, Settings, encode
from renderfarm.store import Store

SCHEME = 1
"""changes whenever the meaning of a take does"""


def take(scene: Scene, build: Build, settings: Settings, store: Store) -> str:
    """The fingerprint that all frames of a job share, 64 hex digits. Raises OSError."""
    base = Path(scene.path).parent
    paths = [Path(scene.path), *(Path(asset.path) for asset in scene.assets if asset.exists)]
    hashes = file_hashes(paths, store)
    inputs = sorted((os.path.relpath(path, base), hashes[path]) for path in set(paths))
    # The range that was asked for matters only where it became the scene's own: then its clock runs over it.
    asked = encode(dataclasses.replace(settings, frames=None))
    missing = sorted(os.path.relpath(asset.path, base) for asset in scene.missing)
    facts = [SCHEME, scene.renderer, scene.frames, build.identity, asked, inputs, missing]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_hashes(paths: Iterable[Path], store: Store) -> dict[Path, str]:
    """SHA-256 of each file (of the listing, for a folder of cache files), remembered by path, size and time."""
    found: dict[Path, str] = {}
    fresh: list[tuple[str, int, int, str]] = []
    for path in set(paths):
        status = path.stat()
        if path.is_dir():
            found[path] = _folder_hash(path)
            continue
        name = os.fsencode(path).decode(errors="backslashreplace")
        known = store.hash_of(name, status.st_size, status.st_mtime_ns)
        if known is None:
            known = file_hash(path)
            fresh.append((name, status.st_size, status.st_mtime_ns, known))
        found[path] = known
    if fresh:
        with store.transaction():
            store.add_hashes(fresh)
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_hash(folder: Path) -> str:
    """Names, sizes and times of all files in a folder: simulation caches are too large to read each time."""
    facts = sorted(
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
