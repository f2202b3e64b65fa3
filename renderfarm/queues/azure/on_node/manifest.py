"""What a project consists of: which bytes lie at which path, as the submitting machine saw it.

Written where a scene is submitted and read on every node. Scenes are foreign input, so a manifest is checked
on both sides: no path in it leads out of the project folder. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from renderfarm.words.model import decode, encode

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


def to_json(manifest: Manifest) -> str:
    """One line of ASCII; the same manifest gives the same text."""
    return json.dumps(encode(manifest), separators=(",", ":"))


def from_json(text: str | bytes) -> Manifest:
    """A checked manifest; raises ValueError for anything that is none."""
    try:
        manifest = decode(Manifest, json.loads(text))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error}") from error
    return checked(manifest)


def checked(manifest: Manifest) -> Manifest:
    """The manifest itself; raises ValueError when a path leaves the project folder or two files collide."""
    if not isinstance(manifest.files, tuple) or not all(isinstance(f, ManifestFile) for f in manifest.files):
        raise ValueError("not a manifest: no list of files")
    for problem in _problems(manifest):
        raise ValueError(problem)
    return manifest


def _problems(manifest: Manifest) -> Iterator[str]:
    root, scene = manifest.root, manifest.scene
    if not (isinstance(root, str) and root.startswith("/")) or _odd(root.strip("/"), empty=True):
        yield f"the project folder {root!r} is no absolute path"
    for file in manifest.files:
        yield from _file_problems(file)
    paths = {file.path for file in manifest.files}
    if len(paths) < len(manifest.files):
        yield "two files have the same path"
    folders = {folder for path in paths for folder in _folders(path)}
    for path in sorted(paths & folders):
        yield f"{path!r} is a file and a folder"
    if scene not in paths:
        yield f"the scene {scene!r} is not among the files"
    if len({(f.sha256, f.bytes) for f in manifest.files}) > len({f.sha256 for f in manifest.files}):
        yield "two sizes for the same hash"


def _file_problems(file: ManifestFile) -> Iterator[str]:
    if not isinstance(file.path, str) or file.path.startswith("/") or _odd(file.path):
        yield f"{file.path!r} is no path inside the project folder"
    if not isinstance(file.sha256, str) or not _HASH.fullmatch(file.sha256):
        yield f"{file.path!r} has no SHA-256 but {file.sha256!r}"
    if not isinstance(file.bytes, int) or isinstance(file.bytes, bool) or file.bytes < 0:
        yield f"{file.path!r} has no size but {file.bytes!r}"


def _odd(path: str, *, empty: bool = False) -> bool:
    if empty and not path:
        return False
    return "\0" in path or any(part in ("", ".", "..") for part in path.split("/"))


def _folders(path: str) -> Iterator[str]:
    """Every folder above a path: `a/b` and `a` for `a/b/c`."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
