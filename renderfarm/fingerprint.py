"""What a frame's pixels depend on, as a hash.

A *take* is the SHA-256 of everything but the frame number: the bytes of the scene and of the assets that the
frame needs, the settings, the renderer build. Two frames with the same take and number have the same pixels, so
the second one is never rendered. Most frames of a scene share one take; those that need a file which others
don't (one picture of a sequence) have their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from renderfarm.frames import parse
from renderfarm.model import Build, Scene, Settings, encode
from renderfarm.renderers import wildcards
from renderfarm.store import Store
from renderfarm.takes import Parts, Takes, explain

__all__ = ["SCHEME", "Parts", "Takes", "explain", "file_hash", "file_hashes", "parts", "takes", "takes_of"]

SCHEME = 3
"""changes whenever the meaning of a take does"""
ABSENT = "absent"
"""stands for the hash of a file that is not there"""


def takes(
    scene: Scene, build: Build, settings: Settings, store: Store, frames: Iterable[int] | None = None
) -> Takes:
    """The fingerprints of some frames, of the scene's own when `frames` is None. Raises OSError."""
    return takes_of(parts(scene, build, settings, store), scene, store, frames)


def parts(scene: Scene, build: Build, settings: Settings, store: Store) -> Parts:
    """What the scene's takes are made of. Raises OSError."""
    folder = os.path.dirname(scene.path)  # noqa: PTH120 - there may be very many assets
    there = {asset.path: asset for asset in scene.assets if asset.exists}
    stamped = {path for path, asset in there.items() if asset.kind == "simulation" and os.path.isfile(path)}  # noqa: PTH113
    hashes = file_hashes([Path(scene.path), *(Path(path) for path in there if path not in stamped)], store)
    known = {path: _stamp(path) if path in stamped else hashes[Path(path)] for path in there}
    # The range that was asked for matters only where it became the scene's own: then its clock runs over it.
    asked = dataclasses.replace(settings, frames=None).overridden()
    return Parts(
        scheme=SCHEME,
        scene=Path(scene.path).name,
        sha256=hashes[Path(scene.path)],
        frames=scene.frames,
        identity=build.identity,
        label=build.label,
        settings=encode(asked),
        assets={_relative(path, folder): sha256 for path, sha256 in sorted(known.items())},
        missing=tuple(sorted({_relative(asset.path, folder) for asset in scene.missing})),
    )


def takes_of(parts: Parts, scene: Scene, store: Store, frames: Iterable[int] | None = None) -> Takes:
    """The takes that are made of these parts. Raises OSError."""
    single = _by_frame(scene)
    shared = sorted(item for item in parts.assets.items() if item[0] not in single)
    missing = [name for name in parts.missing if name not in single]
    about = [parts.scheme, scene.renderer, parts.frames, parts.identity, parts.settings]
    base = _hash([*about, parts.scene, parts.sha256, shared, missing])
    if not single and not any(wild.by_frame for wild in scene.wild):
        return Takes(base)
    facts = {name: (name, parts.assets.get(name, ABSENT)) for name in single}
    described = set(parse(scene.frames))
    wanted = described if frames is None else set(frames)
    needed: dict[int, list[tuple[str, str]]] = {}
    for name, numbers in single.items():
        for frame in numbers & wanted:
            needed.setdefault(frame, []).append(facts[name])
    own = {str(frame): _hash([base, sorted(found)]) for frame, found in needed.items()}
    if beyond := wanted - described:
        own |= dict.fromkeys(map(str, beyond), _hash([base, sorted(facts.values()), _possible(scene, store)]))
    return Takes(base, own)


def _by_frame(scene: Scene) -> dict[str, set[int]]:
    """Assets that only some frames need, by their names below the scene's folder, and those frames."""
    folder = os.path.dirname(scene.path)  # noqa: PTH120
    always = {asset.path for asset in scene.assets if asset.frames is None}
    found: dict[str, set[int]] = {}
    for asset in scene.assets:
        if asset.path not in always:
            found.setdefault(_relative(asset.path, folder), set()).update(_numbers(asset.frames))
    return found


def _numbers(text: str | None) -> Iterable[int]:
    if not text:
        return ()
    return (int(text),) if text.isdecimal() else parse(text)


def _possible(scene: Scene, store: Store) -> list[tuple[str, str]]:
    """What frames may need that the scene was not described for: every file that could be theirs."""
    folder = os.path.dirname(scene.path)  # noqa: PTH120
    paths = {path for wild in scene.wild if wild.by_frame for path in wildcards.files(wild)}
    return sorted((_relative(str(path), folder), sha256) for path, sha256 in file_hashes(paths, store).items())


def _relative(path: str, folder: str) -> str:
    """Relative to the scene's folder: projects may move."""
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else os.path.relpath(path, folder)


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stamp(path: str) -> str:
    """Size and time of a file of a simulation cache: those are too large to read each time."""
    status = Path(path).stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def file_hashes(paths: Iterable[Path], store: Store) -> dict[Path, str]:
    """SHA-256 of each file (of the listing, for a folder of cache files), remembered by path, size and time."""
    found: dict[Path, str] = {}
    fresh: list[tuple[str, int, int, str]] = []
    for path in set(paths):
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
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
