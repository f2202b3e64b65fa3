"""Physics whose frames depend on the frames before: which, and whether they are baked. Runs inside Blender."""

from __future__ import annotations

import ctypes
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bpy

from renderfarm.renderers.blender.overrides import absolute, with_groups

_HAIRY = {"PARTICLE_SYSTEM", "PARTICLE_INSTANCE"}
_SIMULATION = "GeometryNodeSimulationOutput"
_BAKE = struct.Struct("=i20xiii4x8xQ")
"""number, first and last frame, how many data-blocks, where what is packed begins"""
_SHOWN = 3
_MOVED: dict[Path, Path] = {}
"""where the folder of a bake is in truth"""


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
    if modifier.type == "NODES" and _simulates(modifier):
        found = [each for each in bakes(modifier, library) if _is_simulation(each[0])]
        return bool(found) and all(folder.exists() or _is_packed(bake) for bake, folder in found)
    return True if modifier.type in _HAIRY else None


def _simulates(modifier: bpy.types.NodesModifier) -> bool:
    trees = with_groups(modifier.node_group) if modifier.node_group else []
    return any(node.bl_idname == _SIMULATION for tree in trees for node in tree.nodes)


def _is_simulation(bake: bpy.types.NodesModifierBake) -> bool:
    return bake.node is None or bake.node.bl_idname == _SIMULATION


def _is_packed(bake: bpy.types.NodesModifierBake) -> bool:
    """Whether the .blend has what was baked, which is so by default since 4.3 and which no property tells.

    The pointer lies behind values that properties do tell (DNA_modifier_types.h); no where they differ.
    """
    if not hasattr(bake, "bake_target"):
        return False
    found = _BAKE.unpack(ctypes.string_at(bake.as_pointer(), _BAKE.size))
    told = (bake.bake_id, bake.frame_start, bake.frame_end, len(bake.data_blocks))
    return found[:-1] == told and bool(found[-1])


def bakes(
    modifier: bpy.types.NodesModifier, library: bpy.types.Library | None
) -> Iterator[tuple[bpy.types.NodesModifierBake, Path]]:
    """Each simulation and bake of geometry nodes with the folder that it is written to unless it is packed."""
    common = getattr(modifier, "bake_directory", "") or getattr(modifier, "simulation_bake_directory", "")
    for bake in getattr(modifier, "bakes", ()):
        own = bake.directory if bake.use_custom_path else ""
        folder = absolute(own, library) if own else absolute(common, library) / str(bake.bake_id)
        yield bake, _MOVED.get(folder, folder)


def make_readable(*_: object) -> None:
    """Give what was baked to a folder that can't be written another one, with a link to the large files.

    Blender opens the small ones for writing too and shows nothing where it can't. It looks for them once, after
    those who wait for a file to be loaded were told.
    """
    _MOVED.clear()
    every = [
        (each, item.library) for item in bpy.data.objects for each in item.modifiers if each.type == "NODES"
    ]
    for bake, folder in [found for each in every for found in bakes(*each)]:
        if any(not os.access(path, os.W_OK) for path in (folder / "meta").glob("*")):
            copy = Path(tempfile.mkdtemp(prefix="bake-", dir=Path.cwd()))
            (copy / "blobs").symlink_to(folder / "blobs")
            (copy / "meta").mkdir()
            for path in (folder / "meta").iterdir():
                (copy / "meta" / path.name).write_bytes(path.read_bytes())
            bake.directory, bake.use_custom_path = str(copy), True
            _MOVED[copy] = folder


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
