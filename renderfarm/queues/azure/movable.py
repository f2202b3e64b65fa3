"""Which of a scene's files can't be found on another machine, whatever is done there."""

from __future__ import annotations

from pathlib import PurePath

from renderfarm.errors import InputError
from renderfarm.queues.azure.on_node.manifest import Manifest
from renderfarm.renderers import renderer
from renderfarm.words.model import Scene

SHOWN_NAMES = 5


def require_movable(scene: Scene, manifest: Manifest) -> None:
    """Raise InputError for a scene that no other machine can read."""
    if wrong := unmovable(scene, manifest):
        names = "".join(f"\n  {name}" for name in wrong[:SHOWN_NAMES])
        message = f"The scene names files by paths that no other machine has:{names}"
        raise InputError(message, "Name them relative to the scene.")


def unmovable(scene: Scene, manifest: Manifest) -> tuple[str, ...]:
    """Names by which a scene refers to files of this machine, where its renderer can't be told of others."""
    if not renderer(scene.renderer).names_stay:
        return ()
    known = {f"{manifest.root.rstrip('/')}/{file.path}" for file in manifest.files}
    names = (asset.used_by for asset in scene.assets if asset.path in known)
    return tuple(dict.fromkeys(name for name in names if PurePath(name).is_absolute()))
