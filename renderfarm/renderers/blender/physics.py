"""Physics whose frames depend on the frames before: which, and whether they are baked. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

HISTORY_MODIFIERS = {"CLOTH", "SOFT_BODY", "FLUID", "DYNAMIC_PAINT", "PARTICLE_SYSTEM", "PARTICLE_INSTANCE"}
_SIMULATION = "GeometryNodeSimulationOutput"
_SHOWN = 3


def history_dependent(scene: bpy.types.Scene, *, baked: bool = True) -> Iterator[str]:
    """What makes a frame depend on the frames rendered before it, in words; `baked` counts baked fluids too."""
    if scene.rigidbody_world:
        yield "its rigid bodies"
    for item in _objects():
        for modifier in item.modifiers:
            if modifier.type in HISTORY_MODIFIERS and (baked or not is_baked_fluid(modifier)):
                yield f"the modifier {modifier.name!r} of {item.name!r}"
    yield from (f"the simulation nodes {name}" for name in _simulations())


def _simulations() -> Iterator[str]:
    """Modifiers whose node groups simulate, nested ones too."""
    for item in _objects():
        for modifier in item.modifiers:
            if modifier.type == "NODES" and _simulates(modifier.node_group, set()):
                yield f"{modifier.name!r} of {item.name!r}"


def _simulates(group: bpy.types.NodeTree | None, seen: set[bpy.types.NodeTree]) -> bool:
    if group is None or group in seen:
        return False
    seen.add(group)
    inner = (getattr(node, "node_tree", None) for node in group.nodes)
    return any(node.bl_idname == _SIMULATION for node in group.nodes) or any(
        _simulates(each, seen) for each in inner
    )


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
    """What a frame rendered alone may show otherwise than a full run, by name."""
    if unbaked := [*_unbaked_caches(scene), *_unbaked_modifiers()]:
        yield f"Not baked, so frames rendered alone may differ from a full run: {_named(unbaked)}."
    if simulations := [*_simulations()]:
        named = _named(simulations)  # Blender does not tell whether they are
        yield f"Frames rendered alone start simulation nodes anew, unless they are baked: {named}."


def _unbaked_caches(scene: bpy.types.Scene) -> Iterator[str]:
    for name, cache in caches(scene):
        if not cache.is_baked and not cache.use_external:
            yield name


def _unbaked_modifiers() -> Iterator[str]:
    """Fluids that run while the timeline plays, and paint."""
    for item in _objects():
        for modifier in item.modifiers:
            domain = modifier.domain_settings if modifier.type == "FLUID" else None
            canvas = modifier.canvas_settings if modifier.type == "DYNAMIC_PAINT" else None
            surfaces = [surface.point_cache for surface in canvas.canvas_surfaces] if canvas else []
            if (domain and domain.cache_type == "REPLAY") or any(not cache.is_baked for cache in surfaces):
                yield f"{modifier.name!r} of {item.name!r}"


def _named(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
