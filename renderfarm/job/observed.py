"""What frames were seen to be rendered from, and whether that is so now: the manifests of a compiler's cache.

Before a frame is rendered only its key is known: the scene's bytes, settings and build. With it stand the sets
of files that frames opened, each with the hash that it had, or that it was not there. A frame is known again
when one of its sets holds.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping

from renderfarm.errors import InputError
from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.fingerprinting import ABSENT, relative, stamped_hashes
from renderfarm.job.store import Store
from renderfarm.words import stamps
from renderfarm.words.stamps import Stamp
from renderfarm.words.updates import Observed
from renderfarm.words.work import Input

Files = Mapping[str, str]
"""names relative to the scene's folder, and what they held"""


def now(store: Store, folder: str) -> Callable[[str], str]:
    """What tells what a file holds at this moment, by its name in a set; each is looked at once."""

    @functools.cache
    def held(name: str) -> str:
        path = os.path.join(folder, name)  # noqa: PTH118
        if not os.path.exists(path):  # noqa: PTH110
            return ABSENT
        try:
            return _held(path, store)[1]
        except (OSError, InputError):
            return ""

    return held


def holds(files: Files, held: Callable[[str], str]) -> bool:
    """Whether all files of a set are as they were."""
    return all(held(name) == content for name, content in files.items())


def files(
    seen: Observed, folder: str, known: Mapping[str, Input], since: float, store: Store
) -> dict[str, str] | None:
    """What a frame was rendered from, by what it opened; None when that is not certain any more."""
    try:
        if any(map(os.path.exists, seen.absent)) or stamps.are_rerouted(seen.opened, since):
            return None
    except (OSError, ValueError):
        return None
    found = {relative(path, folder): ABSENT for path in seen.absent}
    for path in seen.opened:
        try:
            stamp, content = _held(path, store)
        except (OSError, ValueError, InputError):
            return None
        before = known.get(path)
        same = (
            content == before.content or stamp == before.stamp if before else not stamps.is_newer(stamp, since)
        )
        if not same:
            return None
        found[relative(path, folder)] = content
    return found


def _held(path: str, store: Store) -> tuple[Stamp, str]:
    """Stamp and content of a file; of a folder that was listed (its name ends in a slash) the names in it."""
    if path.endswith("/"):
        names = "\0".join(sorted(os.listdir(path)))  # noqa: PTH208
        return stamps.settled(path), hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()
    if not os.path.isfile(path):  # noqa: PTH113
        raise FileNotFoundError(path)
    return stamped_hashes([path], store)[path]


def together(sets: Iterable[Files | None]) -> Files | None:
    """What several frames were rendered from together; None for several states, or where one is unknown."""
    found: dict[str, str] = {}
    known = list(sets)
    for each in known:
        if each is None or any(found.get(name, held) != held for name, held in each.items()):
            return None
        found.update(each)
    return found if known else None


def fingerprint(key: str, found: Files) -> str:
    """The fingerprint of frames with this key that were rendered from these files."""
    return hashlib.sha256(json.dumps([key, sorted(found.items())]).encode()).hexdigest()


def recall(fingerprints: Fingerprints, folder: str, store: Store, lacking: Iterable[str] = ()) -> None:
    """Learn which frames are known whose files are now what they were rendered from, none `lacking` one."""
    held, unwanted = now(store, folder), {(relative(path, folder), ABSENT) for path in lacking}
    for key in {fingerprints.base, *fingerprints.keys.values()}:
        for known, found in store.frames.sets(key):
            if not unwanted & found.items() and holds(found, held):
                fingerprints.own.update(
                    {str(f): known for f in store.frames.of(known) if fingerprints.key(f) == key}
                )
