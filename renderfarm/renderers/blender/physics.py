"""Physics whose frames depend on the frames before: which, and whether they are baked. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy

from renderfarm.renderers.blender.overrides import absolute

_HAIRY = {"PARTICLE_SYSTEM", "PARTICLE_INSTANCE"}
_SIMULATION = "GeometryNodeSimulationOutput"
_SHOWN = 3


def memories(scene: bpy.types.Scene) -> Iterator[tuple[str, bool]]:
    """What may make a frame depend on the frames before it, by name, and whether its frames are fixed."""
    for name, cache in caches(scene):
        yield name, cache.is_baked or cache.use_external
    for item in _objects():
        for modifier in item.modifiers:
            fixed = _is_fixed(modifier, item.library)
            if fixed is not None:
                yield f"{modifier.name!r} of {item.name!r}", fixed


def _is_fixed(modifier: bpy.types.Modifier, library: bpy.types.Library | None) -> bool | None:
    """Whether what a modifier remembers is in files or baked; None for one that remembers nothing."""
    if modifier.type == "FLUID":
        return bool(modifier.fluid_type != "DOMAIN" or modifier.domain_settings.cache_type != "REPLAY")
    if modifier.type == "DYNAMIC_PAINT":
        canvas = modifier.canvas_settings
        return all(surface.point_cache.is_baked for surface in (canvas.canvas_surfaces if canvas else ()))
    if modifier.type == "NODES" and _simulates(modifier.node_group, set()):
        return any(folder.exists() for folder in bake_folders(modifier, library))
    return True if modifier.type in _HAIRY else None


def bake_folders(modifier: bpy.types.NodesModifier, library: bpy.types.Library | None) -> Iterator[Path]:
    """Folders that simulations and bakes of geometry nodes are written to."""
    for bake in getattr(modifier, "bakes", ()):
        own = bake.directory if bake.use_custom_path else ""
        common = getattr(modifier, "bake_directory", "") or getattr(modifier, "simulation_bake_directory", "")
        if own or common:
            yield absolute(own or common, library)


def _simulates(group: bpy.types.NodeTree | None, seen: set[bpy.types.NodeTree]) -> bool:
    if group is None or group in seen:
        return False
    seen.add(group)
    inner = (getattr(node, "node_tree", None) for node in group.nodes)
    return any(node.bl_idname == _SIMULATION for node in group.nodes) or any(
        _simulates(each, seen) for each in inner
    )


def _objects() -> list[bpy.types.Object]:
    """Objects in use; those that only collection instances show are in no scene."""
    return [item for item in bpy.data.objects if item.users]


def caches(scene: bpy.types.Scene) -> Iterator[tuple[str, bpy.types.PointCache]]:
    """The point caches of the scene with the names of what they belong to."""
    if scene.rigidbody_world:
        yield "the rigid bodies", scene.rigidbody_world.point_cache
    for item in _objects():
        for modifier in item.modifiers:
            if modifier.type in {"CLOTH", "SOFT_BODY"}:
                yield f"{modifier.name!r} of {item.name!r}", modifier.point_cache
        for system in item.particle_systems:
            if system.settings.type != "HAIR" or system.use_hair_dynamics:
                yield f"the particles {system.name!r} of {item.name!r}", system.point_cache


def unbaked(scene: bpy.types.Scene) -> str:
    """What makes frames depend on those before them, by name; empty when nothing does."""
    names = [name for name, fixed in memories(scene) if not fixed]
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
