"""Whether Blender may keep its render data from one frame to the next. Runs inside Blender.

Cycles' persistent data halves the time of heavy frames. Measured with 3.4.1, 4.2.23, 4.5.15 and 5.0.1 to 5.3.0
on some fifty kinds of animation (benchmarks/warmth.py), it changes pixels only where a frame depends on the
frames before it (particles, physics), and where Blender misses a change: such scenes never use it. A scene with
anything not measured is proven once in each session: its first warm frame is rendered again from cold, and the
pixels must be the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path

import bpy

from renderfarm.renderers.blender import animation, overrides, physics, sequences

_MEASURED_BUILDS = {(3, 4), (4, 2), (4, 5), (5, 0), (5, 1), (5, 2), (5, 3)}
_MEASURED_OBJECTS = {"MESH", "CURVE", "FONT", "META", "ARMATURE", "LATTICE", "EMPTY", "CAMERA", "LIGHT"}
_MEASURED_MODIFIERS = {
    "ARMATURE", "ARRAY", "BOOLEAN", "BUILD", "DISPLACE", "HOOK", "LATTICE", "NODES", "SUBSURF", "WAVE",
    "BEVEL", "EDGE_SPLIT", "MIRROR", "SMOOTH", "SOLIDIFY", "TRIANGULATE", "WEIGHTED_NORMAL",
}  # fmt: skip
_MOVING = {"SEQUENCE", "MOVIE"}
"""images that change from frame to frame"""
_KEPT = {
    "render.use_simplify": "simplification that changes",
    "render.simplify": "simplification that changes",
    "cycles.samples": "a number of samples that changes",  # to fewer, in 4.5 and 5.3
    "view_layers": "a view layer that changes",  # its samples in 4.5, its Surfaces in 3.4
}
"""the beginnings of what is keyed in vain"""


class Persistence:
    """Renders frames of one scene, warm where that is known to give the same pixels."""

    def __init__(self, scene: bpy.types.Scene, options: dict[str, str], say: Callable[[str], None]) -> None:
        self.scene, self._say = scene, say
        self.notes: list[str] = []
        self.frames_warm = 0
        wanted = options.get("persistent", "auto")
        history = next((name for name, _ in physics.memories(scene)), None) or _lingering() or _unproved(scene)
        self.warm = scene.render.engine == "CYCLES" and (
            wanted == "on" or (wanted == "auto" and history is None)
        )
        self.unproven = self.warm and wanted == "auto" and not _proven()
        if history and scene.render.engine == "CYCLES" and wanted == "auto":
            self.notes.append(f"Each frame is rendered from cold, because of {history}.")
        scene.render.use_persistent_data = self.warm

    def render(self, frame: int, folder: Path) -> list[Path]:
        """Render one frame; returns its pictures. Raises RuntimeError."""
        paths = animation.render_to(self.scene, frame, folder / "frame_")
        self.frames_warm += self.warm
        if not self.unproven or self.frames_warm < 2:
            return paths
        self._forget()
        cold = animation.render_to(self.scene, frame, folder / "cold_")
        self.unproven = False
        same = all(map(_same_pixels, paths, cold))
        for path, other in zip(paths, cold):  # noqa: B905 - Blender's Python may be older
            other.replace(path)
        if not same:
            self._give_up()
        return paths

    def render_part(self, frame: int, stem: Path) -> list[Path]:
        """Render what is set of one frame; warm where the last one was of the same frame, or proven."""
        if self.unproven and self.frames_warm and frame != self.scene.frame_current:
            self._forget()
        self.frames_warm += self.warm
        return animation.render_to(self.scene, frame, stem)

    def _forget(self) -> None:
        """Drop what Blender kept; the next frame is a cold one."""
        self.scene.render.use_persistent_data = False
        self.scene.render.use_persistent_data = True

    def _give_up(self) -> None:
        """From now on every frame is rendered from cold, and its log says why."""
        self.warm = False
        self.scene.render.use_persistent_data = False
        self._say("Persistent data changed the pixels of this scene; frames are rendered from cold.")


def _same_pixels(one: Path, other: Path) -> bool:
    return _pixels(one) == _pixels(other)


def _pixels(path: Path) -> bytes:
    image = bpy.data.images.load(str(path))
    try:
        pixels = array("f", bytes(4 * len(image.pixels)))
        image.pixels.foreach_get(pixels)
        return pixels.tobytes()
    finally:
        bpy.data.images.remove(image)


def _lingering() -> str | None:
    """What Blender goes on showing where it should change (measured with 3.4, 4.5, 5.0 and 5.3)."""
    for volume in bpy.data.volumes:
        if volume.is_sequence and volume.users:
            return f"the volume sequence {volume.name!r}"
    moving = [image for image in bpy.data.images if image.source in _MOVING]
    everything = set(bpy.data.user_map()) if moving else set()
    for image in moving:
        users = sequences.image_users(image, everything)
        if not all(getattr(user, "use_auto_refresh", True) for user in users):
            return f"the sequence {image.name!r}, which is not refreshed by itself"
    if displaced := next((each.name for each in bpy.data.materials if each.users and _displaces(each)), ""):
        return f"the displacement of {displaced!r}, which may follow what moves"
    if bpy.app.version < (4, 5, 0) and any(each.cycles.use_adaptive_subdivision for each in bpy.data.objects):
        return "adaptive subdivision, which may follow the camera"
    paths = [curve.data_path for scene in bpy.data.scenes for curve in overrides.moving(scene)]
    return next((what for path in paths for start, what in _KEPT.items() if path.startswith(start)), None)


def _displaces(material: bpy.types.Material) -> bool:
    """Whether a material moves vertices: Cycles keeps them where they were though the object moves."""
    owner = material if hasattr(material, "displacement_method") else material.cycles
    nodes = material.node_tree.nodes if material.node_tree else ()
    ends = (node.inputs["Displacement"] for node in nodes if node.type == "OUTPUT_MATERIAL")
    return owner.displacement_method != "BUMP" and any(end.is_linked for end in ends)


def _unproved(scene: bpy.types.Scene) -> str | None:
    """Pictures that Blender can't read again, of a scene that calls for a proof."""
    image = scene.render.image_settings
    several = image.file_format == "OPEN_EXR_MULTILAYER" or image.views_format == "MULTIVIEW"
    return "pictures of several layers, which can't be compared" if several and not _proven() else None


def _proven() -> bool:
    """The scene has nothing but what was measured to be the same warm and cold."""
    if any(text.use_module for text in bpy.data.texts):
        return False
    if any(image.source in _MOVING for image in bpy.data.images):
        return False
    return bpy.app.version[:2] in _MEASURED_BUILDS and all(
        item.type in _MEASURED_OBJECTS
        and all(modifier.type in _MEASURED_MODIFIERS for modifier in item.modifiers)
        for item in bpy.data.objects
    )
