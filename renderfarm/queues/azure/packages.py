"""Renderers that users keep in their own storage, and which of them a scene is rendered with.

A package is a file as its makers publish it (`renderers.Published`). It lies in
the packages' container under its name, with `package.json` beside it, which is written last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from renderfarm.depots.blobs import BlobMissingError
from renderfarm.errors import InputError, PoolError
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.storage import Storage
from renderfarm.queues.azure.uploads import Upload, send
from renderfarm.renderers import renderer, renderers
from renderfarm.settings.options import nearest
from renderfarm.words import stamps
from renderfarm.words.as_json import encode, read_json
from renderfarm.words.renderers import RENDERERS
from renderfarm.words.scene import Scene
from renderfarm.words.work import Build, Package

DISTRIBUTION, IMAGE = "distribution", "image"
"""no files: what the distribution has, and what the image brings along"""
RECORD = "package.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}")
_RESERVED = (DISTRIBUTION, IMAGE, "node", "start")


class Packages:
    """The packages in one storage account."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._container = storage.at(storage.packages)

    def add(
        self, file: Path, name: str | None = None, progress: Callable[[str], None] = lambda words: None
    ) -> Package:
        """Keep a renderer for nodes; a file that is there already is not sent again. Raises InputError."""
        package = _described(file, name)
        self._storage.ensure(self._storage.packages)
        if self._kept(package.name) == package:
            return package
        blob, done = blob_name(package), 0
        self._container.delete(blob)
        for size in send([Upload(file, blob, package.sha256, package.bytes)], self._container):
            done += size
            progress(f"sending {file.name}: {done >> 20:,} of {max(package.bytes >> 20, 1):,} MiB")
        record = {**encode(package), "added": datetime.now(UTC).isoformat(timespec="seconds")}
        self._container.put(f"{package.name}/{RECORD}", json.dumps(record).encode())
        return package

    def all(self) -> list[Package]:
        """All that are kept, newest version first."""
        try:
            names = [blob.name for blob in self._container.blobs() if blob.name.endswith(f"/{RECORD}")]
        except BlobMissingError:
            return []
        found = filter(None, (self._kept(name.rpartition("/")[0]) for name in names))
        return sorted(found, key=lambda package: (_numbers(package.version), package.name), reverse=True)

    def named(self, name: str) -> Package:
        """What a pool's table names; raises InputError with the nearest package."""
        return without_file(name) if name in (DISTRIBUTION, IMAGE) else self.find(name)

    def find(self, name: str) -> Package:
        """The package of that name; raises InputError with the nearest one."""
        if package := self._kept(name):
            return package
        raise InputError(f"There is no renderer {name!r} in storage.", _known(name, self.all()))

    def unasked(self, settings: CloudSettings) -> tuple[Package, ...]:
        """What nodes install when no scene says which: as configured, or the newest of all that is kept."""
        if names := wanted(settings):
            return tuple(map(self.named, names))
        newest = {package.renderer: package for package in reversed(self.all())}
        return tuple(newest.values()) or (without_file(DISTRIBUTION),)

    def remove(self, name: str) -> None:
        """Take a package away; raises InputError when it is not there."""
        for blob in (f"{name}/{RECORD}", blob_name(self.find(name))):
            self._container.delete(blob)

    def _kept(self, name: str) -> Package | None:
        try:
            return read_json(Package, self._container.read(f"{name}/{RECORD}"))
        except (BlobMissingError, ValueError):
            return None


def without_file(name: str) -> Package:
    """What nodes have anyway, or get by its name."""
    return Package(name, "", "", "", "", 0, name)


def blob_name(package: Package) -> str:
    """Where the package's file is in the container."""
    return f"{package.name}/{package.file}"


def wanted(settings: CloudSettings) -> tuple[str, ...]:
    """What a pool's table wants its nodes to install; nothing: what the scene needs."""
    return settings.renderer or ((IMAGE,) if settings.container_image else ())


def choose(known: Sequence[Package], wanted: Sequence[str], scene: Scene, build: Build) -> tuple[Package, ...]:
    """What nodes install: packages, `distribution`, or `image` for nothing at all.

    `wanted` is what the configuration says; left out, the package that renders the scene like `build`, which
    looked at it, or else the oldest that is new enough. Raises PoolError with the command that adds one.
    """
    if wanted:
        return tuple(_named(name, known) for name in wanted)
    equipment = renderer(scene.renderer).equipment
    if not equipment.published:
        return (without_file(IMAGE),)
    oldest = _numbers(scene.saved_with)[:2]
    of_scene = [each for each in known if each.renderer == scene.renderer]
    fitting = [each for each in of_scene if _numbers(each.version)[:2] >= oldest]
    if fitting:
        return (min(fitting, key=lambda each: _unlikeness(_numbers(each.version), build.version)),)
    if equipment.suffices:
        return (without_file(DISTRIBUTION),)
    raise _none_fits(known, scene, build)


def _unlikeness(version: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, list[int] | tuple[int, ...]]:
    """Sorts: the same version, then the newest of the same series, then the oldest."""
    for digits in (3, 2):
        if version[:digits] == wanted[:digits]:
            return -digits, [-number for number in version]
    return 0, version


def _named(name: str, known: Sequence[Package]) -> Package:
    for package in (*known, without_file(DISTRIBUTION), without_file(IMAGE)):
        if package.name == name:
            return package
    hint = f"{_known(name, known)} Add it with: renderfarm renderer add FILE --name {name}"
    raise PoolError(f"The pool wants the renderer {name!r}, which is not in storage.", hint)


def _none_fits(known: Sequence[Package], scene: Scene, build: Build) -> PoolError:
    version = ".".join(map(str, build.version)) if build.version else scene.saved_with
    title = RENDERERS[scene.renderer].title
    source = renderer(scene.renderer).equipment.source
    url = source.format(version=version, series=".".join(version.split(".")[:2]))
    there = ", ".join(package.name for package in known) or "none"
    hint = (
        f"Get {url} and run: renderfarm renderer add {url.rpartition('/')[2]}\n"
        f'Or write renderer = "{DISTRIBUTION}" (the system\'s own) or "{IMAGE}" into the pool\'s table. '
        f"In storage: {there}."
    )
    saved = f", which {title} {scene.saved_with} saved" if scene.saved_with else ""
    return PoolError(f"Nodes have no {title} that opens {scene.path}{saved}.", hint)


def _known(name: str, known: Sequence[Package]) -> str:
    names = [package.name for package in known]
    return nearest(name, names) or (f"There are: {', '.join(names)}." if names else "There are none yet.")


def _described(file: Path, name: str | None) -> Package:
    kind, of, version = _recognised(file.name)
    chosen = name or f"{of}-{version}"
    if not _NAME.fullmatch(chosen) or chosen in _RESERVED:
        hint = "Names are a-z, 0-9, dots and hyphens, such as blender-4.5.3."
        raise InputError(f"A renderer can't be called {chosen!r}.", hint)
    try:
        _refuse_impostor(file)
        sha256 = stamps.sha256(file)
        size = file.stat().st_size
    except OSError as error:
        raise InputError(f"{file} can't be read: {error.strerror}.", "Check the path.") from error
    return Package(chosen, of, version, file.name, sha256, size, kind)


def _recognised(file: str) -> tuple[str, str, str]:
    """Kind, renderer and version, as the file's name says; raises InputError."""
    known = [(each.name, published) for each in renderers() for published in each.equipment.published]
    for name, published in known:
        if match := re.fullmatch(published.pattern, file):
            return published.kind, name, match[1]
    examples = ", ".join(published.example for _, published in known)
    raise InputError(f"{file} is no renderer that nodes can install.", f"Known are files such as {examples}.")


_BEGINNINGS = {
    ".xz": b"\xfd7zXZ\0",
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".whl": b"PK\x03\x04",
    ".deb": b"!<arch>\n",
}
"""what the formats' files begin with"""


def _refuse_impostor(file: Path) -> None:
    """Raise InputError for a file that is not what its name says: a node would find out much later."""
    wanted = _BEGINNINGS[file.suffix]
    with file.open("rb") as opened:
        if opened.read(len(wanted)) != wanted:
            why = f"its first bytes are not those of a {file.suffix} file"
            raise InputError(f"{file} is not what its name says: {why}.", "Download it again.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
