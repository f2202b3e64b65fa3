"""What a project consists of: which bytes lie at which path, as the submitting machine saw it.

Written where a scene is submitted and read on every node. Nodes run foreign scenes and could write into it, so
it is checked: nothing in it leads out of the project folder, or the store. Standard library only.
"""

from __future__ import annotations

import re
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
    """The manifest itself; raises ValueError when a path leaves the project folder, or a hash is none."""
    for file in manifest.files:
        if "\0" in file.path or any(part in ("", ".", "..") for part in file.path.split("/")):
            raise ValueError(f"{file.path!r} is no path inside the project folder")
        if not _HASH.fullmatch(file.sha256):
            raise ValueError(f"{file.path!r} has no SHA-256 but {file.sha256!r}")
    if manifest.scene not in {file.path for file in manifest.files}:
        raise ValueError(f"the scene {manifest.scene!r} is not among the files")
    return manifest
