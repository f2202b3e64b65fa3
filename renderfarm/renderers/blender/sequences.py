"""Which files of a sequence each frame needs, by Blender's own rules. Runs inside Blender.

A file that is wrongly kept from a frame means that an old picture is taken for a new one. So a sequence is
given out by frame only where nothing but the frame number decides which file is shown; else all of it belongs
to every frame, with all files of its folder that could be meant.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import bpy

from renderfarm.renderers import wildcards
from renderfarm.renderers.blender import physics
from renderfarm.renderers.blender.overrides import absolute, moving, owners
from renderfarm.words.scene import Wild

_DIGITS = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)
_TIMED = ("frame_start", "frame_offset", "frame_duration", "frame_current", "use_cyclic", "sequence_mode")
"""properties that decide about the file besides the frame number"""
_OWNERS = {
    "Material", "World", "Light", "Scene", "Camera", "Object", "ImageTexture", "ShaderNodeTree",
    "CompositorNodeTree",
}  # fmt: skip
"""data-blocks that show a sequence only through the image users that `image_users` finds"""
_IDLE_OWNERS = {"Brush", "Screen", "WindowManager", "Palette"}
_OTHER_TIMES = {"SCENE", "MOVIECLIP"}
"""strips that show other scenes or clips at times of their own"""
_SHIFTING = {"META", "SPEED", "MULTICAM"}
"""strips that show other strips at times of their own"""

Number = Callable[[int], "int | None"]
"""frame to the number of the file that it shows"""


class Found(NamedTuple):
    """A file that the scene names."""

    path: Path
    kind: str
    name: str
    """the scene's own name for it"""
    frames: Collection[int] | None = None
    """those that need it; None: every frame may"""


@dataclass(frozen=True)
class Timing:
    """How a scene's frame numbers and its files belong together."""

    frames: range
    margin: int
    """neighbours on each side that a frame is made of too: motion blur"""
    steady: bool
    """a frame shows what its own number says"""
    physics: bool
    """something may remember what it saw in earlier frames"""
    animated: frozenset[bpy.types.ID]
    """owners of animated settings that choose files"""


def timing(scene: bpy.types.Scene, used: set[bpy.types.ID], *, trusted: bool) -> Timing:
    """How the scene tells time. Scripts that may run can change anything in any frame."""
    scenes = [scene, *of(used, "Scene")]
    scripted = trusted and (len(bpy.data.texts) > 0 or any(each.render.use_freestyle for each in scenes))
    mapped = any((each.render.frame_map_old, each.render.frame_map_new) != (100, 100) for each in scenes)
    edited = scene.render.use_sequencer and any(strip.type in _OTHER_TIMES for strip in strips(scene))
    return Timing(
        frames=range(scene.frame_start, scene.frame_end + 1, scene.frame_step),
        margin=max(map(_margin, scenes)),
        steady=not (scripted or mapped or edited),
        physics=bool(physics.unbaked(scene) or bpy.data.particles),
        animated=frozenset(each for each, _ in owners() if _is_timed(each)),
    )


def _is_timed(owner: bpy.types.ID) -> bool:
    return any(curve.data_path.endswith(_TIMED) for curve in moving(owner))


def _margin(scene: bpy.types.Scene) -> int:
    owners = [owner for owner in (scene.render, getattr(scene, "eevee", None)) if owner is not None]
    blurred = any(getattr(owner, "use_motion_blur", False) for owner in owners)
    if not blurred and not any(layer.use_pass_vector for layer in scene.view_layers):
        return 0
    return max(1, *(math.ceil(getattr(owner, "motion_blur_shutter", 1)) for owner in owners))


def of(used: Iterable[bpy.types.ID], kind: str) -> list[bpy.types.ID]:
    """The data-blocks of one kind."""
    return [item for item in used if item.bl_rna.identifier == kind]


def trees(used: set[bpy.types.ID]) -> Iterator[bpy.types.NodeTree]:
    """Node trees in use: groups are data-blocks themselves, the others live in their owner."""
    for item in used:
        tree = item if isinstance(item, bpy.types.NodeTree) else getattr(item, "node_tree", None)
        if tree is not None:
            yield tree


def numbered(path: Path, number: int) -> Path:
    """The file of a sequence with another number, padded like the one given; a suffix is left alone."""
    match = _DIGITS.match(path.stem)
    if match is None:
        return path
    digits = f"{'-' if number < 0 else ''}{abs(number):0{len(match[2])}d}"
    return path.with_name(f"{match[1]}{digits}{match[3]}{path.suffix}")


def first_number(path: Path) -> int | None:
    """The number in a file's name."""
    match = _DIGITS.match(path.stem)
    return int(match[2]) if match else None


def _wild(path: Path) -> Wild:
    match = _DIGITS.match(path.stem)
    head, tail = (match[1], match[3]) if match else (path.stem, "")
    pattern = f"{glob.escape(head)}*{glob.escape(tail + path.suffix)}"
    return Wild(str(path.parent), pattern, by_frame=True)


def sequence(
    path: Path,
    kind: str,
    name: str,
    when: Timing,
    numbers: Collection[Number],
    *,
    steady: bool = True,
    optional: bool = False,
) -> Iterator[Found | Wild]:
    """The files of a sequence that is shown in these ways, each with the frames that need it.

    Files that aren't there are left out where they are `optional`, or only blur another one's frame.
    """
    if first_number(path) is None:
        yield Found(path, kind, name)
        return
    needed, shown = _needed(when, numbers)
    wild = _wild(path)
    yield wild
    for number in sorted(needed):
        file = numbered(path, number)
        if (number in shown and not optional) or file.exists():
            yield Found(file, kind, name, needed[number] if steady and when.steady else None)
    if not (steady and when.steady):
        yield from (Found(file, kind, name) for file in wildcards.files(wild))


def _needed(when: Timing, numbers: Collection[Number]) -> tuple[dict[int, set[int]], set[int]]:
    """Frames by the number of the file that they read, and the numbers that are shown sharp."""
    needed: dict[int, set[int]] = {}
    shown: set[int] = set()
    for frame in when.frames:
        for near in range(frame - when.margin, frame + when.margin + 1):
            for number_of in numbers:
                number = number_of(near)
                if number is not None:
                    needed.setdefault(number, set()).add(frame)
                    if near == frame:
                        shown.add(number)
    return needed, shown


def image_sequence(
    image: bpy.types.Image, path: Path, used: set[bpy.types.ID], when: Timing
) -> Iterator[Found | Wild]:
    """The files of an image sequence."""
    owners = {item for item in bpy.data.user_map(subset={image})[image] if item in used}
    owners = {item for item in owners if item.bl_rna.identifier not in _IDLE_OWNERS}
    users = image_users(image, used)
    certain = when.steady and not any(_is_animated(item, when) for item in owners)
    steady = certain and users and not image.use_multiview and all(_is_plain(item, when) for item in owners)
    if not users:
        yield Found(path, "sequence", image.name)
    numbers = [_image_number(user) for user in users]
    yield from sequence(path, "sequence", image.name, when, numbers, steady=bool(steady), optional=not certain)


def _is_plain(owner: bpy.types.ID, when: Timing) -> bool:
    """Whether the frame number alone decides which file the owner shows."""
    kind = owner.bl_rna.identifier
    if kind not in _OWNERS or (kind == "Object" and owner.type != "EMPTY"):
        return False
    return not (kind == "ImageTexture" and when.physics)


def _is_animated(owner: bpy.types.ID, when: Timing) -> bool:
    return owner in when.animated or getattr(owner, "node_tree", None) in when.animated


def image_users(image: bpy.types.Image, used: set[bpy.types.ID]) -> list[bpy.types.bpy_struct]:
    """What decides which file is shown: nodes, textures, empties, camera backgrounds."""
    holders: list[bpy.types.bpy_struct] = [node for tree in trees(used) for node in tree.nodes]
    holders += [item for item in used if hasattr(item, "image_user")]
    holders += [shown for camera in of(used, "Camera") for shown in camera.background_images]
    users = []
    for holder in holders:
        shown = getattr(holder, "image", None) or getattr(holder, "data", None)
        user = getattr(holder, "image_user", holder)
        if shown == image and hasattr(user, "frame_duration"):
            users.append(user)
    return users


def _image_number(user: bpy.types.bpy_struct) -> Number:
    """Cycled into 1..duration or clamped to 0..duration, then offset (BKE_image_user_frame_get)."""
    length, offset, cyclic = int(user.frame_duration), int(user.frame_offset), bool(user.use_cyclic)
    start = int(user.frame_start)

    def number(frame: int) -> int:
        count = frame - start + 1
        if not length:
            return 0
        count = (count - 1) % length + 1 if cyclic else min(max(count, 0), length)
        return max(0, count + offset)

    return number


def clip_sequence(clip: bpy.types.MovieClip, path: Path, when: Timing) -> Iterator[Found | Wild]:
    """The pictures of a movie clip: its own, and those around them, which Blender shows all the same."""
    first = first_number(path) or 0
    last, offset = first + clip.frame_duration - 1, int(clip.frame_offset - clip.frame_start)

    def number(frame: int) -> int:
        return max(0, first + frame + offset)

    steady = clip not in when.animated
    yield from sequence(path, "movie", clip.name, when, [number], steady=steady, optional=True)
    yield from (Found(numbered(path, each), "movie", clip.name, ()) for each in range(first, last + 1))


def volume_sequence(volume: bpy.types.Volume, path: Path, when: Timing) -> Iterator[Found | Wild]:
    """The files of a volume."""
    steady = volume not in when.animated and not when.physics
    yield from sequence(path, "volume", volume.name, when, [_volume_number(volume)], steady=steady)


def _volume_number(volume: bpy.types.Volume) -> Number:
    length, mode = max(1, int(volume.frame_duration)), str(volume.sequence_mode)
    start, offset = int(volume.frame_start), int(volume.frame_offset)

    def number(frame: int) -> int | None:
        count = frame - start + 1
        if mode == "CLIP" and not 1 <= count <= length:
            return None
        if mode == "REPEAT":
            count = (count - 1) % length + 1
        elif mode == "PING_PONG" and length > 1:
            there = (count - 1) % (2 * length - 2)
            count = min(there, 2 * length - 2 - there) + 1
        return min(max(count, 1), length) + offset

    return number


def cache_sequence(cache: bpy.types.CacheFile, path: Path, when: Timing) -> Iterator[Found | Wild]:
    """One Alembic or USD file per frame."""
    plain = not cache.override_frame and not cache.frame_offset and not cache.animation_data
    yield from sequence(path, "cache", cache.name, when, [int], steady=plain and not when.physics)


def gas(item: bpy.types.Object, modifier: bpy.types.FluidModifier, when: Timing) -> Iterator[Found | Wild]:
    """The files of baked smoke or fire: each frame reads those with its own number (measured)."""
    domain, name = modifier.domain_settings, f"{modifier.name} of {item.name}"
    folder = absolute(domain.cache_directory, item.library)
    steady = when.steady and not when.physics and not domain.cache_frame_offset and not item.animation_data
    wild = Wild(str(folder), "*", deep=True, by_frame=True)
    groups: dict[tuple[Path, str], dict[int, Path]] = {}
    yield wild
    for file in wildcards.files(wild):
        number, match = first_number(file), _DIGITS.match(file.stem)
        if number is None or match is None or not steady:
            yield Found(file, "simulation", name)
        else:
            groups.setdefault((file.parent, f"{match[1]} {match[3]}{file.suffix}"), {})[number] = file
    for files in groups.values():
        for number, frames in _nearest(sorted(files), when):
            yield Found(files[number], "simulation", name, frames)


def _nearest(numbers: list[int], when: Timing) -> Iterator[tuple[int, set[int]]]:
    """Frames that may read each file: its own, and those between it and its neighbours that have none."""
    lows = [when.frames.start - when.margin, *(number + 1 for number in numbers[:-1])]
    highs = [*(number - 1 for number in numbers[1:]), when.frames.stop + when.margin]
    for number, low, high in zip(numbers, lows, highs):  # noqa: B905 - Python 3.10
        read = range(low - when.margin, high + when.margin + 1)
        yield number, {frame for frame in when.frames if frame in read}


def strips(scene: bpy.types.Scene, *, top: bool = False) -> list[bpy.types.bpy_struct]:
    """The strips of the scene's video sequence, those in metas included unless only the `top` ones are meant.

    The names changed in 4.4.
    """
    editor, names = scene.sequence_editor, ("strips", "sequences") if top else ("strips_all", "sequences_all")
    return next((list(getattr(editor, name)) for name in names if hasattr(editor, name)), [])


def shows_strips(scene: bpy.types.Scene) -> bool:
    """Whether a frame is the video sequence's picture; before 4.5 muted strips make it so too."""
    if not scene.render.use_sequencer or scene.sequence_editor is None:
        return False
    editor = scene.sequence_editor
    muted = bpy.app.version < (4, 5, 0)
    return any(
        strip.type != "SOUND" and (muted or not (strip.mute or editor.channels[strip.channel].mute))
        for strip in strips(scene, top=True)
    )


def strip_files(scene: bpy.types.Scene, when: Timing) -> Iterator[Found]:
    """The files of the strips that are not muted."""
    everything = strips(scene)
    plain = when.steady and not any(strip.type in _SHIFTING for strip in everything)
    inputs = {getattr(strip, f"input_{number}", None) for strip in everything for number in (1, 2)}
    for strip in everything:
        if strip.mute:
            continue
        if strip.type == "MOVIE":
            yield Found(absolute(strip.filepath), "movie", strip.name)
        if strip.type == "IMAGE":
            shown = (
                _shown_elements(strip, when, always=strip in inputs) if plain and _is_simple(strip) else None
            )
            for index, element in enumerate(strip.elements):
                frames = None if shown is None else shown.get(index, ())
                yield Found(absolute(strip.directory) / element.filename, "sequence", strip.name, frames)


def _is_simple(strip: bpy.types.bpy_struct) -> bool:
    unusual = (
        strip.use_reverse_frames, strip.strobe > 1, len(getattr(strip, "retiming_keys", ())),
        getattr(strip, "speed_factor", 1) != 1, not hasattr(strip, "frame_final_start"),
    )  # fmt: skip
    return not any(unusual)


def _shown_elements(strip: bpy.types.bpy_struct, when: Timing, *, always: bool) -> dict[int, set[int]]:
    """Frames by the index of the picture that they show; effects may look at a strip beyond its ends."""
    start, length = round(strip.frame_start), strip.frame_duration
    shown: dict[int, set[int]] = {}
    for frame in when.frames:
        if always or strip.frame_final_start <= frame < strip.frame_final_end:
            index = min(max(frame - start, 0), length - 1) + strip.animation_offset_start
            shown.setdefault(index, set()).add(frame)
    return shown
