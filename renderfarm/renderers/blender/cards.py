"""What changes on a machine without a graphics card. Runs inside Blender."""

from __future__ import annotations

from pathlib import Path

import bpy

from renderfarm.renderers.blender import obstacles

_CARDS = ("/dev/dri", "/dev/kfd", "/dev/nvidia0", "/dev/dxg")


def do_without(scene: bpy.types.Scene, notes: list[str]) -> None:
    """Composite on the processor (the same within 2e-7); say that EEVEE has to run there too."""
    if any(Path(card).exists() for card in _CARDS):
        return
    for each in bpy.data.scenes:
        if getattr(each.render, "compositor_device", "CPU") == "GPU":
            each.render.compositor_device = "CPU"
    if any(each.render.engine.startswith("BLENDER_EEVEE") for each in obstacles.rendered(scene)):
        notes.append("There is no graphics card: EEVEE runs on the processor, where a frame may take minutes.")
