"""Why a Blender can render no frame of the open scene. Runs inside Blender.

Only what is certain: a timeline of strips, or a compositor that shows another scene, needs neither camera nor
denoiser of its own, and what is doubtful is left for Blender to say.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import bpy

from renderfarm.renderers.blender import compositor, overrides, sequences

_FORMER_ENGINES = ("BLENDER_RENDER", "BLENDER_GAME", "BLENDER_CLAY")
"""Engines of old Blenders, whose scenes newer ones convert."""


def obstacle(scene: bpy.types.Scene, saved_engine: str) -> str:
    """The first obstacle, with the remedy; empty when there is none."""
    return next(_obstacles(scene, saved_engine), "")


def _obstacles(scene: bpy.types.Scene, saved_engine: str) -> Iterator[str]:
    known = (*overrides.engines(scene), *overrides.EEVEE, *_FORMER_ENGINES)
    scenes = rendered(scene)
    if saved_engine and saved_engine not in known and scene in scenes:
        remedy = "use --engine cycles or --engine eevee"
        yield f"The scene is made for {saved_engine}, which this Blender doesn't have: {remedy}."
    if (trees := compositor.trees(scene)) and not any(map(compositor.shows_something, trees)):
        yield "The scene's compositor shows nothing, so Blender writes no picture: mend it, or switch it off."
    for each in scenes:
        if not (each.camera or overrides.camera_at(each, each.frame_start)):
            yield _no_camera(each, each == scene)
    if is_denoised(scene) and not _has_denoiser():
        version = ".".join(map(str, bpy.app.version))
        yield (
            f"The scene is denoised and this Blender {version} was built without a denoiser: "
            "use --option denoise=off, or another Blender (pip install bpy)."
        )


def rendered(scene: bpy.types.Scene) -> list[bpy.types.Scene]:
    """The scenes that are certainly rendered in 3D for a frame of this one."""
    if sequences.shows_strips(scene):
        return []
    trees = compositor.trees(scene)
    shown = [each for tree in trees for each in compositor.shown_scenes(tree)]
    return list(dict.fromkeys(shown)) if trees else [scene]


def _no_camera(scene: bpy.types.Scene, own: bool) -> str:
    if not own:
        return f"The compositor shows the scene {scene.name!r}, which has no active camera: give it one."
    names = ", ".join(sorted(item.name for item in scene.objects if item.type == "CAMERA"))
    remedy = f"choose one with --camera: {names}" if names else "add one to it"
    return f"The scene has no active camera: {remedy}."


def is_denoised(scene: bpy.types.Scene) -> bool:
    """Whether a frame needs a denoiser."""
    return any(map(_denoises, rendered(scene)))


def _denoises(scene: bpy.types.Scene) -> bool:
    """Whether Cycles denoises what it renders of the scene."""
    layers = [layer for layer in scene.view_layers if layer.use]
    cycles = scene.render.engine == "CYCLES"
    return cycles and bool(scene.cycles.use_denoising) and any(layer.cycles.use_denoising for layer in layers)


def _has_denoiser() -> bool:
    return bool(getattr(importlib.import_module("_cycles"), "with_openimagedenoise", True))
