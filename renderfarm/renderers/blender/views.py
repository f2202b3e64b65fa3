"""The views of a stereoscopic scene, and the pictures that they get. Runs inside Blender."""

from __future__ import annotations

from pathlib import Path

import bpy

from renderfarm.words.scene import pictures


def used(scene: bpy.types.Scene) -> list[str]:
    """The views that pictures are told apart by; the left one first, as it is shown."""
    render = scene.render
    stereo = render.views_format == "STEREO_3D"
    names = [view.name for view in render.views if view.use]
    known = [name for name in names if not stereo or name in ("left", "right")]
    few = len(known) == 1 and bpy.app.version < (4, 5, 0)  # a single view counts since then
    return sorted(known, key=lambda name: name != "left") if render.use_multiview and not few else []


def named(scene: bpy.types.Scene) -> dict[str, str]:
    """What tells a frame's files apart, and a view for each; empty where one file has all.

    Views that share it write over each other, as by hand.
    """
    apart = scene.render.image_settings.views_format == "INDIVIDUAL"
    suffixes = {name: scene.render.views[name].file_suffix.replace("/", "_") for name in used(scene)}
    return {suffix: name for name, suffix in suffixes.items()} if apart else {}


def inside(scene: bpy.types.Scene) -> tuple[str, ...]:
    """The views that one file holds as layers."""
    return tuple(used(scene)) if scene.render.image_settings.views_format == "MULTIVIEW" else ()


def files(scene: bpy.types.Scene, frame: int) -> list[Path]:
    """Where Blender writes a frame's pictures."""
    return [Path(scene.render.frame_path(frame=frame, view=name)) for name in [*named(scene).values()] or [""]]


def gathered(written: list[Path]) -> list[Path]:
    """A frame's pictures, under names that follow from the first one's."""
    found = [Path(path) for path in pictures(str(written[0]), len(written))]
    for path, picture in zip(written, found):  # noqa: B905 - Blender's Python may be older
        if path.exists():
            path.replace(picture)
    return found
