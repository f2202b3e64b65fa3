"""The graphics cards that a scene is rendered on, and what changes where there is none. Runs inside Blender."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import bpy

from renderfarm.renderers.blender import obstacles
from renderfarm.renderers.blender.overrides import Refused
from renderfarm.words.devices import chosen, devices

_KINDS = ("OPTIX", "CUDA", "HIP", "ONEAPI", "METAL")


@dataclass(frozen=True)
class Cards:
    """What frames are rendered on; empty: the processor."""

    kind: str = ""
    """part of what pixels depend on"""
    names: tuple[str, ...] = ()
    """the cards among which sessions may be shared out"""


def choose(
    scene: bpy.types.Scene, wanted: str, place: int | None, notes: list[str], *, processor: bool
) -> Cards:
    """Render on the cards that are wanted, or on that one which a session's place falls to. Raises Refused."""
    _do_without(scene, notes)
    if scene.render.engine != "CYCLES":
        return _of_others(scene, wanted)
    auto = wanted == "auto"
    if processor or wanted == "cpu" or (auto and scene.cycles.device != "GPU"):
        scene.cycles.device = "CPU"
        return Cards()
    preferences = bpy.context.preferences.addons["cycles"].preferences
    kind, found = _found(preferences)
    picked = chosen(found, wanted)
    if not picked and not auto:
        names = ", ".join(f"{number}: {card.name}" for number, card in enumerate(found))
        raise Refused(
            f"This Blender finds no GPU {wanted.removeprefix('gpu')} here. Known: cpu {names}".strip()
        )
    if not picked:
        scene.cycles.device = "CPU"
        notes.append("The scene asks for a GPU and none was found: it is rendered on the CPU.")
        return Cards()
    used = picked if place is None else [picked[place % len(picked)]]
    preferences.compute_device_type, scene.cycles.device = kind, "GPU"
    for device in preferences.devices:
        device.use = any(device == card for card in used)
    return Cards(kind, tuple(card.name for card in picked))


def _found(preferences: bpy.types.bpy_struct) -> tuple[str, list[bpy.types.bpy_struct]]:
    """The first kind of device that there are cards of, and these."""
    known = {item[0] for item in preferences.get_device_types(bpy.context)}
    for kind in (kind for kind in _KINDS if kind in known):
        if cards := [each for each in preferences.get_devices_for_type(kind) if each.type == kind]:
            return kind, cards
    return "", []


def _of_others(scene: bpy.types.Scene, wanted: str) -> Cards:
    """EEVEE and Workbench take the card that the driver gives them."""
    there = bool(devices())
    if wanted not in ("auto", "gpu" if there else "cpu"):
        raise Refused(f"{scene.render.engine} can't be told to render on {wanted} here. Leave the device out.")
    return Cards("GPU" if there else "")


@contextlib.contextmanager
def spared(scene: bpy.types.Scene) -> Iterator[None]:
    """Render on the processor meanwhile."""
    scene.cycles.device = "CPU"
    try:
        yield
    finally:
        scene.cycles.device = "GPU"


def _do_without(scene: bpy.types.Scene, notes: list[str]) -> None:
    """Composite on the processor (the same within 2e-7); say that EEVEE has to run there too."""
    if devices():
        return
    for each in bpy.data.scenes:
        if getattr(each.render, "compositor_device", "CPU") == "GPU":
            each.render.compositor_device = "CPU"
    if any(each.render.engine.startswith("BLENDER_EEVEE") for each in obstacles.rendered(scene)):
        notes.append("There is no graphics card: EEVEE runs on the processor, where a frame may take minutes.")
