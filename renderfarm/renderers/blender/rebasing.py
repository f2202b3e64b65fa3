"""Moves a scene's absolute paths to where the project is on this machine. Runs inside Blender.

Relative paths need nothing: the project keeps its shape. Libraries are loaded anew from their new place, and
may bring libraries of their own, so they are gone through until none is left in the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy

from renderfarm.renderers.blender import physics
from renderfarm.renderers.blender.sequences import strips

MOST_ROUNDS = 32
"""libraries in libraries in libraries"""
_NODES = ("ShaderNodeScript", "ShaderNodeTexIES")
_MODIFIER_PATHS = ("filepath", "bake_directory", "simulation_bake_directory")


def rebase(old: str, new: str) -> int:
    """Rewrite every absolute path below `old` whose folder is below `new`; how many there were."""
    count = 0
    for _ in range(MOST_ROUNDS):
        moves = {
            library: path for library in bpy.data.libraries if (path := _moved(library.filepath, old, new))
        }
        if not moves:
            break
        for library, path in moves.items():
            library.filepath = path
            library.reload()
        count += len(moves)
    for owner, name in _places():
        if path := _moved(getattr(owner, name, ""), old, new):
            setattr(owner, name, path)
            count += 1
    return count


def _moved(path: object, old: str, new: str) -> str:
    """Where a path is now; empty for one that stays."""
    before, after = (f"{folder.rstrip('/')}/" for folder in (old, new))
    if not isinstance(path, str) or not path.startswith(before) or path.startswith((after, "//")):
        return ""  # two slashes begin what is relative to the scene, or to its library
    here = after + path[len(before) :]
    return here if Path(here.rstrip("/")).parent.is_dir() else ""


def _places() -> Iterator[tuple[bpy.types.bpy_struct, str]]:
    """Whatever holds a path, and the property that it is in."""
    for item in bpy.data.user_map():
        if not isinstance(item, bpy.types.Library):
            yield item, "filepath"
            yield from ((layer, "filepath") for layer in getattr(item, "layers", ()))  # of Alembic
        tree = item if isinstance(item, bpy.types.NodeTree) else getattr(item, "node_tree", None)
        for node in tree.nodes if tree else ():
            yield from _of_node(node)
    for item in bpy.data.objects:
        for modifier in item.modifiers:
            yield from _of_modifier(modifier)
    for scene in bpy.data.scenes:
        yield from ((cache, "filepath") for _, cache in physics.caches(scene))
        for strip in strips(scene):
            yield from ((strip, name) for name in ("directory", "filepath"))


def _of_node(node: bpy.types.Node) -> Iterator[tuple[bpy.types.bpy_struct, str]]:
    if node.bl_idname in _NODES:
        yield node, "filepath"
    elif node.bl_idname == "FunctionNodeInputString":
        yield node, "string"
    elif node.bl_idname.startswith("GeometryNodeImport"):
        yield from ((socket, "default_value") for socket in node.inputs if not socket.is_linked)


def _of_modifier(modifier: bpy.types.Modifier) -> Iterator[tuple[bpy.types.bpy_struct, str]]:
    yield from ((modifier, name) for name in _MODIFIER_PATHS)
    if modifier.type == "FLUID" and modifier.domain_settings:
        yield modifier.domain_settings, "cache_directory"
    yield from ((bake, "directory") for bake in getattr(modifier, "bakes", ()))
