"""What a project consists of: which bytes lie at which path, as the submitting machine saw it.

Written where a scene is submitted and read on every node. Scenes are foreign input, so a manifest is checked
on both sides: no path in it leads out of the project folder. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from renderfarm.words.as_json import read_json

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ManifestFile:
    """One file of a project."""

    path: str
    """relative to the manifest's root, with slashes; may hold surrogates where the name is no UTF-8"""
    sha256: str
    """64 hex digits; also the name of the blob that holds the bytes"""
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """All files of a project."""

    root: str
    """absolute folder on the submitting machine that all paths start from"""
    scene: str
    """path of the scene file, one of `files`"""
    files: tuple[ManifestFile, ...]
    needs: tuple[int, ...] = ()
    """the oldest renderer that opens the scene, which a node can't always read from the file"""


def from_json(text: str | bytes) -> Manifest:
    """A checked manifest; raises ValueError for anything that is none."""
    return checked(read_json(Manifest, text))


def checked(manifest: Manifest) -> Manifest:
    """The manifest itself; raises ValueError when a path leaves the project folder or two files collide."""
    for problem in _problems(manifest):
        raise ValueError(problem)
    return manifest


def _problems(manifest: Manifest) -> Iterator[str]:
    root, files = manifest.root, manifest.files
    if not root.startswith("/") or (root.strip("/") and _is_odd(root.strip("/"))):
        yield f"the project folder {root!r} is no absolute path"
    for file in files:
        if _is_odd(file.path):
            yield f"{file.path!r} is no path inside the project folder"
        if not _HASH.fullmatch(file.sha256):
            yield f"{file.path!r} has no SHA-256 but {file.sha256!r}"
        if file.bytes < 0:
            yield f"{file.path!r} has no size but {file.bytes!r}"
    paths = {file.path for file in files}
    if len(paths) < len(files):
        yield "two files have the same path"
    for path in sorted(paths & {folder for each in paths for folder in _folders(each)}):
        yield f"{path!r} is a file and a folder"
    if manifest.scene not in paths:
        yield f"the scene {manifest.scene!r} is not among the files"
    if len({(f.sha256, f.bytes) for f in files}) > len({f.sha256 for f in files}):
        yield "two sizes for the same hash"


def _is_odd(path: str) -> bool:
    return "\0" in path or any(part in ("", ".", "..") for part in path.split("/"))


def _folders(path: str) -> Iterator[str]:
    """Every folder above a path: `a/b` and `a` for `a/b/c`."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
