"""Applies what the user asked for to the open scene, or says why it can't be. Runs inside Blender."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import bpy

from renderfarm.words.request import Settings
from renderfarm.words.states import Reason

_FORMATS = {"png": "PNG", "exr": "OPEN_EXR", "jpeg": "JPEG", "tiff": "TIFF"}
EEVEE = ("BLENDER_EEVEE", "BLENDER_EEVEE_NEXT")
_ENGINES = {"cycles": ("CYCLES",), "workbench": ("BLENDER_WORKBENCH",)} | dict.fromkeys(
    ("eevee", "blender_eevee", "eevee_next", "blender_eevee_next"), EEVEE
)
OPTIONS = {
    "persistent": ("on", "off", "auto"),
    "device": ("auto", "cpu", "gpu"),
    "denoise": ("on", "off"),
    "seed": ("a whole number",),
}
"""What `--option` understands, and the values."""
MOST_BYTES = 4096
"""of a scene's render settings, as far as their engine's name; it was found at 2,452 to 2,516"""


class Refused(Exception):  # noqa: N818 - an answer to the caller, not a defect
    """A setting or scene that can't be honoured; becomes the session's failure."""

    def __init__(self, message: str, reason: Reason = Reason.BAD_SETTING) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


def apply(settings: Settings) -> tuple[bpy.types.Scene, list[str]]:
    """Apply settings; returns the scene to render and notes. Raises Refused."""
    notes: list[str] = []
    scene = bpy.context.scene
    if settings.scene is not None:
        scene = _pick("scene", settings.scene, bpy.data.scenes)
        _make_active(scene)
    if settings.view_layer is not None:
        _only_layer(scene, settings.view_layer)
    if settings.engine is not None:
        scene.render.engine = _engine(scene, settings.engine)
    if settings.camera is not None:
        _use_camera(scene, settings.camera)
    _apply_size(scene, settings)
    if settings.samples is not None:
        _apply_samples(scene, settings.samples)
    _apply_options(scene, settings.options)
    _apply_format(scene, settings.format, notes)
    return scene, notes


def _make_active(scene: bpy.types.Scene) -> None:
    """As `-S` does: some drivers and the operator for stills follow the active scene."""
    if bpy.context.window:
        bpy.context.window.scene = scene


def _pick(kind: str, name: str, known: Iterable[bpy.types.bpy_struct]) -> bpy.types.bpy_struct:
    by_name = {item.name: item for item in known}
    if name not in by_name:
        names = ", ".join(sorted(by_name)) or "none"
        raise Refused(f"The scene has no {kind} {name!r}. Known: {names}.")
    return by_name[name]


def _only_layer(scene: bpy.types.Scene, name: str) -> None:
    chosen = _pick("view layer", name, scene.view_layers)
    for layer in scene.view_layers:
        layer.use = layer == chosen


def engines(scene: bpy.types.Scene) -> tuple[str, ...]:
    """The ids of the engines in this build, taken from the error that an unknown one raises."""
    try:
        scene.render.engine = "?"
    except TypeError as error:
        return tuple(str(error).split("not found in")[1].strip(" ()").replace("'", "").split(", "))
    return (scene.render.engine,)


def engine_of_file(scene: bpy.types.Scene) -> str:
    """The engine that the file names; Blender's own property shows another one where it doesn't have that.

    It lies as far behind the settings' address as that of a scene whose engine is known; empty if it doesn't.
    """
    known, name = bpy.data.scenes.new("known"), b"BLENDER_WORKBENCH\0"
    known.render.engine = name[:-1].decode()
    places = range(known.render.as_pointer(), known.render.as_pointer() + MOST_BYTES)
    place = next((place for place in places if ctypes.string_at(place, len(name)) == name), 0)
    found = ctypes.string_at(scene.render.as_pointer() + place - places.start) if place else b""
    bpy.data.scenes.remove(known)
    return found.decode("utf-8", "replace")


def _engine(scene: bpy.types.Scene, name: str) -> str:
    known = engines(scene)
    for wanted in (name, *_ENGINES.get(name.lower(), ())):
        for engine in known:
            if engine.lower() == wanted.lower():
                return engine
    raise Refused(f"This Blender has no engine {name!r}. Known: {', '.join(known)}.")


def _use_camera(scene: bpy.types.Scene, name: str) -> None:
    """The camera is set last: unbinding a marker makes Blender switch to what the others say."""
    chosen = _pick("camera", name, (item for item in scene.objects if item.type == "CAMERA"))
    for marker in scene.timeline_markers:
        marker.camera = None
    scene.camera = chosen


def camera_at(scene: bpy.types.Scene, frame: int) -> bpy.types.Object | None:
    """The camera that markers bind to a frame: the last one up to it, else the first; None without."""
    bound = [m for m in scene.timeline_markers if m.camera and not m.camera.hide_render]
    if not bound:
        return None
    before = [marker for marker in bound if marker.frame <= frame]
    marker = max(before, key=_when) if before else min(bound, key=_when)
    return marker.camera


def _when(marker: bpy.types.TimelineMarker) -> int:
    return int(marker.frame)


def _apply_size(scene: bpy.types.Scene, settings: Settings) -> None:
    if settings.resolution is not None:
        scene.render.resolution_x, scene.render.resolution_y = settings.resolution
        scene.render.resolution_percentage = 100
        if (scene.render.resolution_x, scene.render.resolution_y) != tuple(settings.resolution):
            wanted = "x".join(map(str, settings.resolution))
            raise Refused(f"Blender can't render a picture of {wanted}. Known: 4x4 to 65536x65536.")
    if settings.scale is not None:
        scene.render.resolution_percentage = settings.scale


def _apply_samples(scene: bpy.types.Scene, samples: int) -> None:
    owner, name = sample_setting(scene)
    if not owner:
        raise Refused(f"The engine {scene.render.engine} has no samples; leave --samples out.")
    setattr(getattr(scene, owner), name, samples)
    for layer in scene.view_layers:
        layer.samples = 0  # a number of its own would count in place of the scene's
    _drop_animation(scene, f"{owner}.{name}")


def sample_setting(scene: bpy.types.Scene) -> tuple[str, str]:
    """Where the engine keeps its number of samples; empty names when it has none."""
    engine = scene.render.engine
    if engine == "CYCLES":
        return "cycles", "samples"
    return ("eevee", "taa_render_samples") if engine.startswith("BLENDER_EEVEE") else ("", "")


def _apply_options(scene: bpy.types.Scene, options: dict[str, str]) -> None:
    for name, value in options.items():
        if name not in OPTIONS:
            raise Refused(f"There is no Blender option {name!r}. Known: {', '.join(OPTIONS)}.")
        if name != "seed" and value not in OPTIONS[name]:
            raise Refused(f"The option {name} can't be {value!r}. Known: {', '.join(OPTIONS[name])}.")
    cycles = scene.render.engine == "CYCLES"
    for name in ("seed", "denoise"):
        if name in options and not cycles:
            raise Refused(f"The option {name} is for Cycles; this scene is rendered by {scene.render.engine}.")
    if cycles:
        _apply_cycles(scene, options)


def _apply_cycles(scene: bpy.types.Scene, options: dict[str, str]) -> None:
    if "seed" in options:
        if not options["seed"].removeprefix("-").isdecimal():
            raise Refused(f"The seed {options['seed']!r} is not a whole number.")
        scene.cycles.seed = int(options["seed"])
        _drop_animation(scene, "cycles.seed")
    if "denoise" in options:
        scene.cycles.use_denoising = options["denoise"] == "on"
        _drop_animation(scene, "cycles.use_denoising")
        for layer in scene.view_layers if options["denoise"] == "on" else ():
            layer.cycles.use_denoising = True


def _apply_format(scene: bpy.types.Scene, wanted: str, notes: list[str]) -> None:
    image = scene.render.image_settings
    before, channels = image.file_format, image.color_mode
    _keep_to_one_picture(scene)
    if before == _FORMATS[wanted] or (before == "OPEN_EXR_MULTILAYER" and wanted == "exr"):
        return  # setting it to what it is would take its colour space away
    if scene.render.is_movie_format:
        notes.append(f"The scene's output is a video ({before}): frames are written as {wanted.upper()}.")
    if before == "OPEN_EXR_MULTILAYER":
        notes.append(
            f"The scene's output is a multilayer EXR: only the combined picture is written, as {wanted}."
        )
    if hasattr(image, "media_type"):
        image.media_type = "IMAGE"
    image.file_format = _FORMATS[wanted]
    if wanted == "exr":
        image.color_depth = "16"
    _set_if_known(image, "color_mode", channels)
    if not image.views_format:  # one file for all views, which only EXR can be
        image.views_format = "INDIVIDUAL"


def _set_if_known(owner: bpy.types.bpy_struct, name: str, value: str) -> None:
    """Set an enum whose values depend on the format; JPEG has no alpha, for example."""
    try:
        setattr(owner, name, value)
    except TypeError:
        return


def _keep_to_one_picture(scene: bpy.types.Scene) -> None:
    scene.render.use_file_extension = True
    scene.render.use_overwrite = True
    scene.render.use_placeholder = False
    scene.render.use_render_cache = False
    if hasattr(scene.render, "save_output"):  # newer than 5.0; off, an animation leaves no file
        scene.render.save_output = True


def set_threads(scene: bpy.types.Scene, threads: int) -> None:
    """Render with that many threads; 0 takes all cores."""
    scene.render.threads_mode = "FIXED" if threads else "AUTO"
    if threads:
        scene.render.threads = threads


def stop_freestyle(scene: bpy.types.Scene) -> list[str]:
    """Switch off Freestyle's Python modules, which run even where scripts are not allowed to."""
    stopped = []
    for layer in scene.view_layers:
        settings = layer.freestyle_settings
        for module in settings.modules if settings and settings.mode == "SCRIPT" else ():
            if module.use and module.script:
                module.use = False
                stopped.append(f"the Freestyle script {module.script.name!r}")
    return stopped


def owners() -> Iterator[tuple[bpy.types.ID, bpy.types.ID]]:
    """All data-blocks, and their node trees, each with the data-block that people know it by."""
    for owner in bpy.data.user_map():
        yield owner, owner
        if tree := getattr(owner, "node_tree", None):
            yield tree, owner


def with_groups(*trees: bpy.types.NodeTree) -> list[bpy.types.NodeTree]:
    """Node trees and the groups in them, each once."""
    found: dict[bpy.types.NodeTree, None] = {}
    ahead = list(trees)
    while ahead:
        tree = ahead.pop(0)
        if tree not in found:
            found[tree] = None
            ahead += [inner for node in tree.nodes if (inner := getattr(node, "node_tree", None))]
    return list(found)


def moving(owner: bpy.types.ID) -> list[bpy.types.FCurve]:
    """All curves that change an animated thing: of its action (in layers since 4.4), NLA strips and drivers."""
    data = getattr(owner, "animation_data", None)
    if data is None:
        return []
    actions = [data.action, *(strip.action for track in data.nla_tracks for strip in track.strips)]
    return [*(curve for action in actions if action for _, curve in _curves_of(action)), *data.drivers]


def _curves_of(
    action: bpy.types.Action,
) -> list[tuple[Callable[[bpy.types.FCurve], None], bpy.types.FCurve]]:
    if hasattr(action, "fcurves"):
        return [(action.fcurves.remove, curve) for curve in action.fcurves]
    bags = [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]
    return [(bag.fcurves.remove, curve) for bag in bags for curve in bag.fcurves]


def _drop_animation(scene: bpy.types.Scene, data_path: str) -> None:
    """Unkey a property that the user set, so that the scene's animation doesn't set it back."""
    data = scene.animation_data
    if data is None:
        return
    for remove, curve in _curves_of(data.action) if data.action else ():
        if curve.data_path == data_path:
            remove(curve)
    scene.driver_remove(data_path)


def absolute(path: str, library: bpy.types.Library | None = None) -> Path:
    """A path of the scene as the file system knows it."""
    return Path(os.path.normpath(bpy.path.abspath(path, library=library)))
