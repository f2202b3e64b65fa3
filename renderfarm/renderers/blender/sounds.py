"""The sound strips of a scene, as `Sound`. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

from renderfarm.renderers.blender import sequences
from renderfarm.renderers.blender.overrides import absolute, moving
from renderfarm.words.scene import Sound

_PLAIN = {"pan": 0.0, "pitch": 1.0, "speed_factor": 1.0}
"""What a strip may have besides volume, and the values that change nothing; names differ by version."""


def sounds(scene: bpy.types.Scene) -> Iterator[Sound]:
    """The strips that are heard, in the order of their start."""
    rate = scene.render.fps / scene.render.fps_base
    heard = [strip for strip in sequences.strips(scene) if _is_heard(scene, strip)]
    for strip in sorted(heard, key=lambda strip: float(strip.frame_final_start)):
        if strip.type == "SCENE":
            yield Sound(strip.name, "", strip.frame_final_start, strip.frame_final_end, 0.0, plain=False)
            continue
        yield Sound(
            name=strip.name,
            path=_path(strip.sound),
            start=float(strip.frame_final_start),
            end=float(strip.frame_final_end),
            skipped=_skipped(strip, rate),
            volume=float(strip.volume) * float(scene.audio_volume),
            plain=_is_plain(scene, strip),
        )
    for item in scene.objects:
        if item.type == "SPEAKER" and item.data.sound and not item.data.muted:
            yield _speaker(scene, item)


def _speaker(scene: bpy.types.Scene, item: bpy.types.Object) -> Sound:
    """A sound in space, which only Blender can mix: how loud it is depends on where the camera is."""
    path = _path(item.data.sound)
    return Sound(item.name, path, float(scene.frame_start), float(scene.frame_end + 1), 0.0, plain=False)


def _path(sound: bpy.types.Sound) -> str:
    return "" if sound.packed_file else str(absolute(sound.filepath, sound.library))


def _is_heard(scene: bpy.types.Scene, strip: bpy.types.bpy_struct) -> bool:
    """A sound, or another scene's timeline that has some."""
    channels = getattr(scene.sequence_editor, "channels", None)
    if not scene.render.use_sequencer or strip.mute or (channels and channels[strip.channel].mute):
        return False
    if strip.type == "SCENE" and strip.scene and strip.scene_input == "SEQUENCER":
        return any(inner.type == "SOUND" for inner in sequences.strips(strip.scene))
    return bool(strip.type == "SOUND" and strip.sound)


def _skipped(strip: bpy.types.bpy_struct, rate: float) -> float:
    frames = strip.frame_final_start - strip.frame_start + strip.animation_offset_start
    return float(frames / rate + getattr(strip, "sound_offset", 0.0))


def _is_plain(scene: bpy.types.Scene, strip: bpy.types.bpy_struct) -> bool:
    changed = any(getattr(strip, name, value) != value for name, value in _PLAIN.items())
    path = strip.path_from_id()
    animated = any(curve.data_path.startswith(path) for curve in moving(scene))
    inside = strip not in sequences.strips(scene, top=True)  # a meta strip may cut it
    return not (
        changed or animated or inside or len(strip.modifiers) or len(getattr(strip, "retiming_keys", ()))
    )
