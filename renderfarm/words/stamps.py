"""Whether a file is still what it was, without reading it: its stamp, and the hash that belongs to it.

A stamp holds the time of the last change of the inode (ctime), which no program can set: same stamp, same
bytes. Two exceptions: a file that is written twice within one tick of its file system's clock (so stamps are
taken when they have settled), and pages that a program keeps mapped for writing. Runs on nodes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator

from renderfarm.errors import InputError
from renderfarm.words import files

Stamp = tuple[int, ...]
"""device, inode, size, time of the last write and of the last change (nanoseconds); empty: there is no file"""

TICK_SECONDS = 0.02
"""longer than any kernel's own tick"""
COARSE_SECONDS = 2.0
"""the tick of file systems that know whole seconds only"""
TRIES = 5
CHUNK_BYTES = 1 << 20
MOST_LINKS = 40
"""that the kernel follows (path_resolution(7))"""


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """What can be known of a file without opening it."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # no name at all: it holds a NUL
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def text(found: Stamp) -> str:
    """A stamp as one word of text after the other."""
    return " ".join(map(str, found))


def is_newer(found: Stamp, seconds: float) -> bool:
    """Whether the file may have been changed after that moment (seconds since the epoch)."""
    return bool(found) and found[-1] / 1e9 + _tick(found) > seconds


def settled(path: str | os.PathLike[str]) -> Stamp:
    """The stamp, once every later change gives another one; of a clock that is ahead it is taken as it is."""
    deadline = time.monotonic() + COARSE_SECONDS
    while True:
        found, now = stamp(path), time.time()
        if not is_newer(found, now) or found[-1] / 1e9 > now or time.monotonic() > deadline:
            return found
        time.sleep(TICK_SECONDS / 4)


def _tick(found: Stamp) -> float:
    return TICK_SECONDS if found[-1] % 1_000_000_000 else COARSE_SECONDS


def read(path: str | os.PathLike[str]) -> tuple[Stamp, str]:
    """A file's SHA-256 and the stamp under which it holds.

    Raises OSError, or InputError for a file that is being written.
    """
    for _ in range(TRIES):
        before = settled(path)
        found = sha256(path)
        if stamp(path) == before:
            return before, found
    raise being_written(path)


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; raises OSError, also for what is no file."""
    digest = hashlib.sha256()
    with files.opened(path) as file:
        while data := file.read(CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def listing(folder: str | os.PathLike[str]) -> str:
    """One hash over the stamps of all files in a folder: caches of simulations are too large to be read."""
    facts = sorted(f"{os.path.relpath(path, folder)} {stamp(path)[1:]}\n" for path in below(folder))
    return hashlib.sha256("".join(facts).encode(errors="surrogateescape")).hexdigest()


def below(folder: str | os.PathLike[str]) -> Iterator[str]:
    """The files in a folder and in those below it."""
    for place, _, names in os.walk(folder):
        yield from (f"{place}/{name}" for name in names)


def ways(path: str | os.PathLike[str], is_link: Callable[[str], bool] = os.path.islink) -> Iterator[str]:
    """The names of a file, from link to link; the last one is its own."""
    name = os.path.abspath(path)
    for _ in range(MOST_LINKS):
        yield name
        link = next((place for place in [*reversed(list(parents(name))), name] if is_link(place)), None)
        if link is None:
            return
        rest = os.path.relpath(name, link)
        name = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link), rest))
    yield os.path.realpath(path)


def parents(name: str) -> Iterator[str]:
    """The folders that a file is in, the nearest first."""
    while (folder := os.path.dirname(name)) != name:
        yield folder
        name = folder


def are_rerouted(paths: Iterable[str], seconds: float) -> bool:
    """Whether a link or a folder on the way to one of these files may have been swapped since that moment.

    Who moves a folder changes the folder, not what it holds: only then its two times differ. Raises OSError for
    a file that is gone.
    """
    is_link, places = functools.cache(os.path.islink), set[str]()
    for path in paths:
        for way in (path, *ways(path, is_link)):
            if way not in places:
                places.update((way, *parents(way)))
    for name in places:
        found = os.lstat(name)
        swapped = stat.S_ISLNK(found.st_mode) or (
            stat.S_ISDIR(found.st_mode) and found.st_ctime_ns > found.st_mtime_ns
        )
        if swapped and is_newer((found.st_ctime_ns,), seconds):
            return True
    return False


def being_written(path: str | os.PathLike[str]) -> InputError:
    """The error for a file that does not come to rest."""
    message = f"{os.fspath(path)} is being written just now."
    return InputError(message, "Submit again when nothing writes it any more.")
