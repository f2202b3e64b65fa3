"""One frame of a scene, rendered as `-a` renders it. Runs inside Blender.

The operator for stills is not the one for animations: it freezes a scene that is not the active one, keeps a
sub-frame that was saved, and gives other particles. So a frame is an animation of one frame.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import bpy

from renderfarm.renderers.blender.overrides import camera_at

_TAKES_A_RANGE = "frame_start" in bpy.ops.render.render.get_rna_type().properties
"""Since 5.0 the operator can be told which frames, negative ones too."""


def render_to(scene: bpy.types.Scene, frame: int, stem: Path) -> Path:
    """Render one frame to the stem with the frame's number behind it; returns the path. Raises RuntimeError."""
    scene.render.filepath = _escaped(str(stem))
    path = Path(scene.render.frame_path(frame=frame))
    path.unlink(missing_ok=True)
    if _TAKES_A_RANGE:
        bpy.ops.render.render(animation=True, scene=scene.name, frame_start=frame, frame_end=frame)
    elif not _animate(scene, frame):
        _render_still(scene, frame, path)
    return path


def _escaped(path: str) -> str:
    """The path as it must be written since 5.0, where braces in an output path are templates."""
    return path.replace("{", "{{").replace("}", "}}") if bpy.app.version >= (5, 0, 0) else path


def _animate(scene: bpy.types.Scene, frame: int) -> bool:
    """Animate the frame as the scene's range; False when no range of this Blender holds it."""
    with _range(scene, frame):
        if not scene.frame_start == scene.frame_end == frame:
            return False
        bpy.ops.render.render(animation=True, scene=scene.name)
    return True


@contextlib.contextmanager
def _range(scene: bpy.types.Scene, frame: int) -> Iterator[None]:
    """Make the scene's range one frame until the operator has read it; drivers see the true one."""
    saved = scene.frame_start, scene.frame_end

    def restore(*_: object) -> None:
        scene.frame_start, scene.frame_end = saved

    bpy.app.handlers.render_init.insert(0, restore)
    scene.frame_start = scene.frame_end = frame
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
