"""What a scene's compositor reads and writes. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

from renderfarm.renderers.blender.overrides import with_groups


def trees(scene: bpy.types.Scene) -> list[bpy.types.NodeTree]:
    """The node trees that run over a frame: one, or since 5.3 a stack of effects."""
    if not scene.render.use_compositing or (bpy.app.version < (5, 0, 0) and not scene.use_nodes):
        return []
    return _all_trees(scene, idle=False)


def _all_trees(scene: bpy.types.Scene, *, idle: bool) -> list[bpy.types.NodeTree]:
    if hasattr(scene, "compositor_effects"):
        effects = [each for each in scene.compositor_effects if idle or each.enable_for_render]
        return [each.node_group for each in effects if each.node_group]
    tree = getattr(scene, "compositing_node_group", None) or getattr(scene, "node_tree", None)
    return [tree] if tree else []


def shown_scenes(tree: bpy.types.NodeTree) -> Iterator[bpy.types.Scene]:
    """The scenes that are rendered for a tree; its Render Layers nodes ask for them, linked or not."""
    for node in tree.nodes:
        if node.bl_idname == "CompositorNodeRLayers" and node.scene and not node.mute:
            yield node.scene


def shows_something(tree: bpy.types.NodeTree) -> bool:
    """Whether a frame may come of a tree: since 5.0 one with neither inputs nor outputs leaves no file."""
    kinds = {node.bl_idname for node in tree.nodes}
    return bpy.app.version < (5, 0, 0) or bool(kinds - {"CompositorNodeViewer", "NodeFrame", "NodeReroute"})


def guard_outputs(scene: bpy.types.Scene, notes: list[str]) -> None:
    """Mute nodes that would write files of their own, over the scene's folder or anywhere else."""
    for node in output_nodes(scene):
        if not node.mute:
            node.mute = True
            notes.append(f"The File Output node {node.name!r} is muted: its files are not written.")


def output_nodes(scene: bpy.types.Scene) -> list[bpy.types.Node]:
    """The compositor's File Output nodes, those inside groups included."""
    nodes = (node for tree in with_groups(*_all_trees(scene, idle=True)) for node in tree.nodes)
    return [node for node in nodes if node.bl_idname == "CompositorNodeOutputFile"]
