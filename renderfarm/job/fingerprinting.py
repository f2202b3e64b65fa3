"""What a frame's pixels depend on, as a hash.

A *fingerprint* is the SHA-256 of everything but the frame number: the bytes of the scene and of the assets that
the frame needs, the settings, the renderer build. Two frames with the same fingerprint and number have the same
pixels, so the second one is never rendered. Most frames of a scene share one; those that need a file which
others don't (one picture of a sequence) have their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.job.fingerprint import Fingerprints, Ingredients
from renderfarm.job.store import Store
from renderfarm.renderers import wildcards
from renderfarm.words import stamps
from renderfarm.words.as_json import encode
from renderfarm.words.frames import FrameRange, parse
from renderfarm.words.request import Settings
from renderfarm.words.scene import Asset, Needs, Scene, Wild
from renderfarm.words.stamps import Stamp
from renderfarm.words.work import Build, Input

SCHEME = 5
"""changes whenever the meaning of a fingerprint does"""
SEEN_SCHEME = 6
"""of fingerprints that hold what frames were seen to open"""
HASHED_BYTES = 256 << 20
"""of files that may be opened; larger ones beyond it are known by their stamps until they are"""
ABSENT = "absent"
"""stands for the hash of a file that is not there"""


def inputs(scene: Scene, store: Store, copied: Mapping[str, str] | None = None) -> dict[str, Input]:
    """What the scene is rendered from, each file once: its hash, and the stamp under which that holds.

    Of files that are `copied` the hash is known. Raises OSError, InputError for a file that is being written.
    """
    found = {path: Input(path, sha256, ()) for path, sha256 in (copied or {}).items()}
    there = {asset.path: asset.kind for asset in scene.assets if asset.exists}
    folders = {path for path in there if os.path.isdir(path)}  # noqa: PTH112
    unread = {path for path, kind in there.items() if kind == "simulation"} - folders
    read = stamped_hashes({scene.path, *there} - folders - unread - found.keys(), store)
    found |= {path: Input(path, sha256, stamp) for path, (stamp, sha256) in read.items()}
    found |= {path: _unread(path) for path in (*unread, *itertools.chain(*map(stamps.below, folders)))}
    found |= {path: Input(path, stamps.listing(path), stamps.settled(path)) for path in folders}
    absent = {asset.path for asset in scene.missing if not asset.withheld} - found.keys()
    found |= {path: Input(path, ABSENT, ()) for path in absent}
    if scene.needs is Needs.OPENED:
        found |= _openable({*map(str, shown(scene))} - found.keys(), store)
    return found


def shown(scene: Scene) -> Iterator[Path]:
    """The files of the folders that a scene's renderer is shown."""
    for folder in scene.folders:
        yield from wildcards.files(Wild(folder, "*", deep=True))


def _openable(paths: Iterable[str], store: Store) -> dict[str, Input]:
    """Files that frames may open: small ones are read, so that one that is only touched is known again."""
    found, left = {}, HASHED_BYTES
    for stamp, path in sorted((stamps.stamp(path), path) for path in paths):
        left -= stamp[2] if stamp else 0
        if stamp and left > 0:
            with contextlib.suppress(OSError, InputError):
                found[path] = Input(path, file_hash(path, store), stamp)
        elif stamp:
            found[path] = _unread(path)
    return found


def _unread(path: str) -> Input:
    """A file of a simulation cache: those are too large to read each time, so another time is another file."""
    found = stamps.settled(path)
    return Input(path, stamps.text(found), found)


def guarded(
    found: Mapping[str, Input], scene: Scene, frames: FrameRange, copied: Container[str]
) -> tuple[Input, ...]:
    """The inputs that may not change while some frames are rendered, each with the frames that need it."""
    described = next(frames.beyond(parse(scene.frames)), None) is None
    single = _by_frame(scene) if described else {}
    needed = {path: wildcards.spans(sorted(numbers)) for path, numbers in single.items()}
    sure = found if scene.needs is not Needs.OPENED else {asset.path for asset in _told(scene)} | {scene.path}
    return tuple(
        replace(each, frames=needed.get(path), perhaps=path not in sure)
        for path, each in found.items()
        if path not in copied
    )


def _told(scene: Scene) -> list[Asset]:
    """The assets that are known to be needed before a frame is rendered."""
    return [asset for asset in scene.assets if asset.certain or scene.needs is not Needs.OPENED]


def ingredients(scene: Scene, build: Build, settings: Settings, found: Mapping[str, Input]) -> Ingredients:
    """What the scene's fingerprints are made of."""
    folder = os.path.dirname(scene.path)  # noqa: PTH120 - there may be very many assets
    told = _told(scene)
    there = {asset.path: found[asset.path].content for asset in told if asset.exists}
    # The range that was asked for matters only where it became the scene's own: then its clock runs over it.
    asked = replace(settings, frames=None, device=None).overridden()
    return Ingredients(
        scheme=SEEN_SCHEME if scene.needs is Needs.OPENED else SCHEME,
        scene=Path(scene.path).name,
        sha256=found[scene.path].content,
        frames=scene.frames,
        identity=" ".join(filter(None, (build.identity, build.identity and scene.device))),
        label=build.label,
        settings=encode(asked),
        assets={relative(path, folder): content for path, content in sorted(there.items())},
        missing=tuple(sorted({relative(asset.path, folder) for asset in told if not asset.exists})),
    )


def fingerprints_of(
    made_of: Ingredients, scene: Scene, store: Store, frames: FrameRange | None = None
) -> Fingerprints:
    """The fingerprints of some frames, of the scene's own when `frames` is None. Raises OSError."""
    folder = os.path.dirname(scene.path)  # noqa: PTH120
    single = {relative(path, folder): numbers for path, numbers in _by_frame(scene).items()}
    shared = sorted(item for item in made_of.assets.items() if item[0] not in single)
    missing = [name for name in made_of.missing if name not in single]
    about = [made_of.scheme, scene.renderer, made_of.frames, made_of.identity, made_of.settings]
    in_order = ["in order"] if scene.unbaked and scene.ordered else []
    written = [list(scene.views), scene.layered] if scene.views or scene.layered else []
    base = _hash([*about, made_of.scene, made_of.sha256, shared, missing, *in_order, *written])
    seen = scene.needs is Needs.OPENED
    if not single and not any(wild.by_frame for wild in scene.wild):
        return Fingerprints(base, observed=seen)
    facts = {name: (name, made_of.assets.get(name, ABSENT)) for name in single}
    described = parse(scene.frames)
    wanted = frames or described
    needed: dict[int, list[tuple[str, str]]] = {}
    for name, numbers in single.items():
        for frame in filter(wanted.__contains__, numbers):
            needed.setdefault(frame, []).append(facts[name])
    own = {str(frame): _hash([base, sorted(found)]) for frame, found in needed.items()}
    if beyond := set(wanted.beyond(described)):
        own |= dict.fromkeys(map(str, beyond), _hash([base, sorted(facts.values()), _possible(scene, store)]))
    return Fingerprints(base, keys=own, observed=True) if seen else Fingerprints(base, own)


def _by_frame(scene: Scene) -> dict[str, set[int]]:
    """Assets that only some frames need, by their paths, and those frames."""
    always = {asset.path for asset in scene.assets if asset.frames is None}
    found: dict[str, set[int]] = {}
    for asset in scene.assets:
        if asset.path not in always:
            found.setdefault(asset.path, set()).update(_numbers(asset.frames))
    return found


def _numbers(text: str | None) -> Iterable[int]:
    if not text:
        return ()
    return (int(text),) if text.isdecimal() else parse(text)


def _possible(scene: Scene, store: Store) -> list[tuple[str, str]]:
    """What frames may need that the scene was not described for: every file that could be theirs."""
    folder = os.path.dirname(scene.path)  # noqa: PTH120
    paths = {str(path) for wild in scene.wild if wild.by_frame for path in wildcards.files(wild)}
    return sorted(
        (relative(path, folder), sha256) for path, (_, sha256) in stamped_hashes(paths, store).items()
    )


def relative(path: str, folder: str) -> str:
    """Relative to the scene's folder: projects may move."""
    if path.startswith(f"{folder}/"):
        return path[len(folder) + 1 :]
    return path if "/../" in path else os.path.relpath(path, folder) + "/" * path.endswith("/")


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_hash(path: str, store: Store) -> str:
    """SHA-256 of a file, remembered under its stamp. Raises OSError, InputError."""
    return stamped_hashes([path], store)[path][1]


def stamped_hashes(paths: Iterable[str], store: Store) -> dict[str, tuple[Stamp, str]]:
    """Stamp and SHA-256 of each file, remembered under that stamp. Raises OSError, InputError."""
    found = {path: stamps.settled(path) for path in set(paths)}
    known = {path: (stamp, sha256) for path, stamp in found.items() if (sha256 := store.sha256(path, stamp))}
    fresh = {path: stamps.read(path) for path in found.keys() - known.keys()}
    if fresh:
        with store.transaction():
            for path, (stamp, sha256) in fresh.items():
                store.keep(path, sha256, stamps.text(stamp))
    return {**known, **fresh}
