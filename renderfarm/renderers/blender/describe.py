"""What the open scene contains, as `Scene`. Runs inside Blender, and leaves the scene as it was."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import bpy
from mathutils import Color

from renderfarm.renderers.blender import (
    assets,
    compositor,
    drivers,
    layers,
    obstacles,
    overrides,
    physics,
    sequences,
    sounds,
    views,
)
from renderfarm.words.request import Settings
from renderfarm.words.scene import Asset, Colour, Scene


def output(scene: bpy.types.Scene) -> str:
    """The scene's own output, which overrides hide."""
    return f"{overrides.absolute(scene.render.filepath)} ({scene.render.image_settings.file_format})"


def describe(
    scene: bpy.types.Scene, settings: Settings, before: str, notes: list[str], stopped: list[str]
) -> Scene:
    """Everything that can be said before a frame is rendered."""
    render = scene.render
    owner, samples = overrides.sample_setting(scene)
    needed, wild = assets.assets(scene, trusted=settings.trust_scripts)
    return Scene(
        path=bpy.data.filepath,
        renderer="blender",
        saved_with=".".join(map(str, bpy.data.version[:2])),
        frames=_frames(scene),
        fps=render.fps / render.fps_base,
        resolution=_resolution(scene),
        camera=_camera(scene),
        cameras=tuple(sorted(item.name for item in scene.objects if item.type == "CAMERA")),
        engine=render.engine,
        engines=overrides.engines(scene),
        scenes=tuple(item.name for item in bpy.data.scenes),
        view_layers=tuple(layer.name for layer in scene.view_layers),
        samples=getattr(getattr(scene, owner), samples) if owner else None,
        outputs=(before, *_node_outputs(scene)),
        markers={str(m.frame): m.camera.name for m in _by_frame(scene) if m.camera},
        assets=tuple(needed),
        wild=tuple(wild),
        colour=_colour(scene),
        sounds=tuple(sounds.sounds(scene)),
        pixel_aspect=render.pixel_aspect_x / render.pixel_aspect_y,
        views=_views(scene),
        views_inside=views.inside(scene),
        layered=render.image_settings.file_format == "OPEN_EXR_MULTILAYER",
        alpha=bool(render.film_transparent and render.image_settings.color_mode == "RGBA"),
        denoised=obstacles.is_denoised(scene),
        blocked_scripts=() if settings.trust_scripts else tuple(drivers.blocked_scripts(stopped)),
        notes=(*notes, *_notes(scene, needed), *drivers.notes(trusted=settings.trust_scripts)),
        unbaked=physics.unbaked(scene),
        newer=next(_newer(), ""),
        **layers.parting(scene),
    )


def _newer() -> Iterator[str]:
    """Files of newer minor versions, in Blender's own words, which not every version says of all of them."""
    for path, version in ((item.filepath, item.version) for item in (bpy.data, *bpy.data.libraries)):
        if tuple(version[:2]) > bpy.app.version[:2]:
            words = (
                f"File written by newer Blender binary ({'.'.join(map(str, version))}), expect loss of data!"
            )
            yield f"{Path(path).name}: {words}"


def _frames(scene: bpy.types.Scene) -> str:
    step = f"x{scene.frame_step}" if scene.frame_step > 1 else ""
    if scene.frame_start == scene.frame_end:
        return str(scene.frame_start)
    return f"{scene.frame_start}-{scene.frame_end}{step}"


def _resolution(scene: bpy.types.Scene) -> tuple[int, int]:
    """Pixels of the picture, which may hold two views."""
    image, (width, height) = scene.render.image_settings, _view_resolution(scene.render)
    stereo = image.stereo_3d_format
    if image.views_format != "STEREO_3D" or stereo.use_squeezed_frame or not views.used(scene):
        return width, height
    across, down = {"SIDEBYSIDE": (2, 1), "TOPBOTTOM": (1, 2)}.get(stereo.display_mode, (1, 1))
    return width * across, height * down


def _views(scene: bpy.types.Scene) -> tuple[str, ...]:
    """What tells a frame's pictures apart; a single one is called as any other frame."""
    names = tuple(views.named(scene))
    return names if len(names) > 1 else ()


def _view_resolution(render: bpy.types.RenderSettings) -> tuple[int, int]:
    """Pixels of a view, as Blender rounds them; a cropped render region is smaller than the frame."""
    width, height = layers.size(render)
    if not (render.use_border and render.use_crop_to_border):
        return width, height
    return (
        _edge(render.border_max_x, width) - _edge(render.border_min_x, width),
        _edge(render.border_max_y, height) - _edge(render.border_min_y, height),
    )


def _edge(border: float, pixels: int) -> int:
    """Where a render region ends: Blender multiplies in 32-bit floats, and cuts off."""
    return int(ctypes.c_float(border * pixels).value)


def _camera(scene: bpy.types.Scene) -> str | None:
    camera = overrides.camera_at(scene, scene.frame_start) or scene.camera
    return camera.name if camera else None


def _by_frame(scene: bpy.types.Scene) -> list[bpy.types.TimelineMarker]:
    return sorted(scene.timeline_markers, key=lambda marker: int(marker.frame))


def _node_outputs(scene: bpy.types.Scene) -> Iterator[str]:
    for node in compositor.output_nodes(scene):
        target = str(getattr(node, "base_path", ""))
        if hasattr(node, "directory"):
            target = str(Path(node.directory) / node.file_name)
        yield f"{overrides.absolute(target)} (File Output node {node.name!r}, muted)"


def _colour(scene: bpy.types.Scene) -> Colour:
    image = scene.render.image_settings
    own = getattr(image, "color_management", "") == "OVERRIDE"
    view = image.view_settings if own else scene.view_settings
    display = image.display_settings if own else scene.display_settings
    shipped = Path(bpy.utils.system_resource("DATAFILES"), "colormanagement", "config.ocio")
    config = assets.project_colours() or shipped
    return Colour(
        config=str(config) if config.is_file() else "",
        display=display.display_device,
        view=view.view_transform,
        look="" if view.look == "None" else view.look,
        exposure=view.exposure,
        gamma=view.gamma,
        working=_working_space(image if own else None),
        white=_white(view),
        curves=view.use_curve_mapping,
        keyed=any("view_settings." in curve.data_path for curve in overrides.moving(scene)),
    )


def _white(view: bpy.types.ColorManagedViewSettings) -> tuple[float, float, float]:
    if not getattr(view, "use_white_balance", False):
        return 1.0, 1.0, 1.0
    red, green, blue = Color(view.white_balance_whitepoint).from_scene_linear_to_rec709_linear()
    return red, green, blue


def _working_space(image: bpy.types.ImageFormatSettings | None) -> str:
    """The space of the numbers in EXR frames: a format of its own may have another than the file's."""
    if image is not None and image.has_linear_colorspace:
        return str(image.linear_colorspace_settings.name)
    return str(bpy.data.colorspace.working_space) if hasattr(bpy.data, "colorspace") else ""


def _notes(scene: bpy.types.Scene, assets: list[Asset]) -> Iterator[str]:
    if sequences.shows_strips(scene):
        yield "The scene has a video sequence: its picture is rendered, not the 3D scene's."
    if scene.render.use_border:
        yield "Only the scene's render region is rendered."
    if len(shown := views.used(scene)) > 1:
        each = f"has a picture of each, and the film shows {shown[0]}"
        what = each if views.named(scene) else "is one picture of all"
        yield f"The scene has several views ({', '.join(shown)}): a frame {what}."
    if getattr(scene.render, "use_auto_generate_texture_cache", False) and scene.render.use_texture_cache:
        yield "Texture caches are not generated here, which may change pixels: generate them before."
    if any(asset.kind == "simulation" and not asset.exists for asset in assets):
        yield "A simulation is not baked: bake it, then submit the scene again."
