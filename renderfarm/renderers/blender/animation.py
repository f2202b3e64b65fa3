"""One frame of a scene, rendered as `-a` renders it. Runs inside Blender.

The operator for stills is not the one for animations: it freezes a scene that is not the active one, keeps a
sub-frame that was saved, and gives other particles. So a frame is an animation of one frame.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import bpy

from renderfarm.renderers.blender import views
from renderfarm.renderers.blender.overrides import camera_at

_TAKES_A_RANGE = "frame_start" in bpy.ops.render.render.get_rna_type().properties
"""Since 5.0 the operator can be told which frames, negative ones too."""


def render_to(scene: bpy.types.Scene, frame: int, stem: Path) -> list[Path]:
    """Render one frame to the stem with its number behind it; the picture of each view. Raises RuntimeError."""
    scene.render.filepath = _escaped(str(stem))
    path, written = Path(scene.render.frame_path(frame=frame)), views.files(scene, frame)
    for picture in written:
        picture.unlink(missing_ok=True)
    if not _animate(scene, frame, frame):
        _render_still(scene, frame, path)
    return views.gathered(written)


def run_through(
    scene: bpy.types.Scene, wanted: Collection[int], stem: Path, tell: Callable[[int, list[Path]], None]
) -> None:
    """Animate up to the last wanted frame as `-a` does; the engine renders these, `tell` hears of each of them.

    One operator for all: after each, Blender evaluates the frame that was saved, and that moves particles.
    Raises RuntimeError.
    """

    def written(*_: object) -> None:
        found = views.gathered(views.files(scene, scene.frame_current))
        if scene.frame_current in wanted:
            tell(scene.frame_current, found)
            return
        for path in found:
            path.unlink(missing_ok=True)

    scene.render.filepath = _escaped(str(stem))
    first = min(scene.frame_start, *wanted)
    if any((frame - first) % scene.frame_step for frame in wanted):
        scene.frame_step = 1
    bpy.app.handlers.render_write.append(written)
    try:
        with _only(scene.render.engine, wanted):
            if not _animate(scene, first, max(wanted)):
                raise RuntimeError(f"Blender can't animate the frames {first} to {max(wanted)}.")
    finally:
        bpy.app.handlers.render_write.remove(written)


@contextlib.contextmanager
def _only(engine: str, wanted: Collection[int]) -> Iterator[None]:
    """Keep all other frames from an engine that is written in Python, as Cycles is; others render them all."""
    kinds = bpy.types.RenderEngine.__subclasses__()
    kind = next((kind for kind in kinds if getattr(kind, "bl_idname", "") == engine), None)
    if kind is None:
        yield
        return
    saved = kind.update, kind.render

    def update(self: object, data: object, depsgraph: bpy.types.Depsgraph) -> None:
        if depsgraph.scene_eval.frame_current in wanted:
            saved[0](self, data, depsgraph)

    def render(self: object, depsgraph: bpy.types.Depsgraph) -> None:
        if depsgraph.scene_eval.frame_current in wanted:
            saved[1](self, depsgraph)

    kind.update, kind.render = update, render
    try:
        yield
    finally:
        kind.update, kind.render = saved


def _escaped(path: str) -> str:
    """The path as it must be written since 5.0, where braces in an output path are templates."""
    return path.replace("{", "{{").replace("}", "}}") if bpy.app.version >= (5, 0, 0) else path


def _animate(scene: bpy.types.Scene, first: int, last: int) -> bool:
    """Animate some frames; False when no range of this Blender holds them."""
    if _TAKES_A_RANGE:
        bpy.ops.render.render(animation=True, scene=scene.name, frame_start=first, frame_end=last)
        return True
    with _range(scene, first, last):
        if (scene.frame_start, scene.frame_end) != (first, last):
            return False
        bpy.ops.render.render(animation=True, scene=scene.name)
    return True


@contextlib.contextmanager
def _range(scene: bpy.types.Scene, first: int, last: int) -> Iterator[None]:
    """Make other frames the scene's range until the operator has read it; drivers see the true one."""
    saved = scene.frame_start, scene.frame_end

    def restore(*_: object) -> None:
        scene.frame_start, scene.frame_end = saved

    bpy.app.handlers.render_init.insert(0, restore)
    scene.frame_start, scene.frame_end = first, last
    try:
        yield
    finally:
        bpy.app.handlers.render_init.remove(restore)
        restore()


def _render_still(scene: bpy.types.Scene, frame: int, path: Path) -> None:
    """Render a frame that the old operators can't animate: a negative or a huge one."""
    scene.frame_current, scene.frame_subframe = frame, 0.0
    scene.camera = camera_at(scene, frame) or scene.camera
    scene.render.filepath = str(path.with_suffix(""))
    bpy.ops.render.render(write_still=True, scene=scene.name)
