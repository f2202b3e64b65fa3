"""Physics whose frames depend on the frames before: which, and whether they are baked. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

HISTORY_MODIFIERS = {"CLOTH", "SOFT_BODY", "FLUID", "DYNAMIC_PAINT", "PARTICLE_SYSTEM", "PARTICLE_INSTANCE"}
_SIMULATION = "GeometryNodeSimulationOutput"


def history_dependent(scene: bpy.types.Scene, *, baked: bool = True) -> Iterator[str]:
    """What makes a frame depend on the frames rendered before it, in words; `baked` counts baked fluids too."""
    if scene.rigidbody_world:
        yield "its rigid bodies"
    for item in _objects():
        for modifier in item.modifiers:
            if modifier.type in HISTORY_MODIFIERS and (baked or not is_baked_fluid(modifier)):
                yield f"the modifier {modifier.name!r} of {item.name!r}"
    for group in bpy.data.node_groups:
        if any(node.bl_idname == _SIMULATION for node in group.nodes):
            yield f"the simulation in the node group {group.name!r}"


def is_baked_fluid(modifier: bpy.types.Modifier) -> bool:
    """Whether a fluid is read from files alone, or only says how another one was made."""
    if modifier.type != "FLUID" or modifier.fluid_type != "DOMAIN":
        return bool(modifier.type == "FLUID")
    domain = modifier.domain_settings
    return bool(domain.cache_type != "REPLAY" and domain.has_cache_baked_data)


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


def notes(scene: bpy.types.Scene) -> Iterator[str]:
    """One sentence about physics that is not baked, if there is any."""
    unbaked = [name for name, cache in caches(scene) if not cache.is_baked and not cache.use_external]
    if unbaked:
        named = ", ".join(unbaked[:3]) + (", …" if len(unbaked) > 3 else "")
        yield f"Not baked, so frames rendered alone may differ from a full run: {named}."
