from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipapp
from pathlib import Path

import numpy as np
import pytest
from blender_runs import (
    animated_by_hand,
    build_named,
    by_hand,
    describe,
    one,
    opened,
    opened_for,
    pixels,
    render,
)
from blender_scenes import has_blender, has_bpy, make_scene, write_png
from farm_runs import wait_for

from renderfarm import renderers
from renderfarm.node import sandbox
from renderfarm.node.launch import ProcessLauncher
from renderfarm.pictures.colour import concern
from renderfarm.renderers import SessionFailure
from renderfarm.renderers.blender import logs
from renderfarm.renderers.blender.renderer import RENDERER
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.scene import Scene
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Work

needs_any = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")
needs_bpy = pytest.mark.skipif(not has_bpy(), reason="bpy is not installed")
needs_34 = pytest.mark.skipif(not has_blender(), reason="no blender executable on PATH")
pytestmark = needs_any

TWO_CAMERAS = """
other = bpy.data.objects.new("Side", camera.data)
other.location, other.rotation_euler = (7, 0, 2), (1.3, 0, 1.57)
scene.collection.objects.link(other)
"""
MARKERS = (
    TWO_CAMERAS
    + """
scene.timeline_markers.new("front", frame=1).camera = camera
scene.timeline_markers.new("side", frame=4).camera = other
"""
)
PARTICLES = """
cube.modifiers.new("P", "PARTICLE_SYSTEM")
settings = cube.particle_systems[0].settings
settings.count, settings.frame_start, settings.frame_end = 50, -20, 4
"""
SEQUENCE = """
made, node = textured("T", "//seq_0001.png", "SEQUENCE")
cube.data.materials[0] = made
node.image_user.frame_duration = 8
node.image_user.use_auto_refresh = True
"""
DISPLACED = """
paint = cube.data.materials[0]
(paint if hasattr(paint, "displacement_method") else paint.cycles).displacement_method = "BOTH"
tree = paint.node_tree
place, bend = tree.nodes.new("ShaderNodeNewGeometry"), tree.nodes.new("ShaderNodeDisplacement")
tree.links.new(place.outputs["Position"], bend.inputs["Height"])
tree.links.new(bend.outputs[0], tree.nodes["Material Output"].inputs["Displacement"])
"""
SIMPLIFIED = """
scene.render.keyframe_insert("simplify_subdivision_render", frame=1)
"""


@pytest.fixture(scope="module")
def newest() -> Build:
    return RENDERER.builds()[0]


@pytest.fixture(scope="module")
def blender34() -> Build:
    return RENDERER.builds("blender")[0]


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene(tmp_path_factory.mktemp("cube") / "cube.blend")


def refusal(build: Build, path: Path, scratch: Path, **settings: object) -> str:
    with pytest.raises(SessionFailure) as caught, opened(build, path, scratch, **settings):
        pass
    assert caught.value.reason is Reason.BAD_SETTING
    return caught.value.message


# Pixels


@needs_34
@pytest.mark.parametrize("script", [MARKERS, SEQUENCE, PARTICLES], ids=["markers", "sequence", "particles"])
def test_warm_frames_out_of_order_are_what_blender_renders_by_hand(
    tmp_path: Path, blender34: Build, script: str
) -> None:
    for number in range(1, 9):
        write_png(tmp_path / f"seq_{number:04d}.png", (number * 30, 255 - number * 20, number * 50 % 256))
    scene = make_scene(tmp_path / "s.blend", samples=2, script=script)
    frames = (5, 2, 7)
    done = render(blender34, scene, tmp_path / "farm", *frames, threads=2, allow_unbaked=True)
    assert [picture.frame for picture in done] == list(frames)
    for picture, expected in zip(done, by_hand(scene, tmp_path, frames), strict=True):
        assert isinstance(picture, Rendered)
        assert np.array_equal(pixels(picture.path), expected)


def test_neither_a_description_nor_the_number_of_threads_changes_pixels(
    tmp_path: Path, newest: Build, cube: Path
) -> None:
    with opened(newest, cube, tmp_path) as session:
        (single,) = session.render([3], 1, tmp_path, tmp_path / "log")
        assert isinstance(single, Rendered)
        before = pixels(single.path)
        session.describe()
        (double,) = session.render([3], 2, tmp_path, tmp_path / "log")
    assert isinstance(double, Rendered)
    assert (single.threads, double.threads) == (1, 2)
    assert np.array_equal(pixels(double.path), before)


def test_a_negative_frame_is_that_frame(tmp_path: Path, newest: Build) -> None:
    """The cube is in the same place at -4 and at 4, and elsewhere at 0."""
    keys = 'insert(cube, "location", {-4: -1.5, 0: 0.0, 4: -1.5}, index=0)'
    scene = make_scene(tmp_path / "s.blend", script=keys, moving=False)
    negative, nought, positive = render(newest, scene, tmp_path / "r", -4, 0, 4)
    assert isinstance(negative, Rendered)
    assert isinstance(nought, Rendered)
    assert isinstance(positive, Rendered)
    assert np.array_equal(pixels(negative.path), pixels(positive.path))
    assert not np.array_equal(pixels(negative.path), pixels(nought.path))


@pytest.mark.slow
def test_persistent_data_gives_the_same_pixels_as_none(tmp_path: Path, newest: Build, cube: Path) -> None:
    warm = render(newest, cube, tmp_path / "on", 1, 6, 3, options={"persistent": "on"})
    cold = render(newest, cube, tmp_path / "off", 1, 6, 3, options={"persistent": "off"})
    for one_, other in zip(warm, cold, strict=True):
        assert isinstance(one_, Rendered)
        assert isinstance(other, Rendered)
        assert np.array_equal(pixels(one_.path), pixels(other.path))


def test_a_scene_that_warmth_would_spoil_is_rendered_cold_and_says_so(tmp_path: Path, newest: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", script=PARTICLES)
    with opened(newest, scene, tmp_path / "auto") as session:
        notes = session.describe().notes
        done = list(session.render([7, 4], 1, tmp_path / "auto", tmp_path / "log"))
    assert any("rendered from cold" in note and "'P' of 'Cube'" in note for note in notes)
    for picture in done:
        assert isinstance(picture, Rendered)
        alone = one(newest, scene, tmp_path / f"alone{picture.frame}", picture.frame)
        assert np.array_equal(pixels(picture.path), pixels(alone.path))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (SEQUENCE.replace("True", "False"), "'T', which is not refreshed"),
        (SIMPLIFIED, "simplification"),
        ('insert(scene, "cycles.samples", {1: 4, 8: 1})', "a number of samples"),
        ('scene.view_layers[0].keyframe_insert("samples", frame=1)', "a view layer that changes"),
        (DISPLACED, "the displacement of 'Paint'"),
    ],
    ids=["sequence", "simplification", "samples", "layer", "displacement"],
)
def test_a_change_that_warm_data_would_miss_is_rendered_cold_and_says_so(
    tmp_path: Path, newest: Build, script: str, reason: str
) -> None:
    scene = make_scene(tmp_path / "s.blend", script=script)
    (note,) = (note for note in describe(newest, scene, tmp_path / "d").notes if "rendered from cold" in note)
    assert reason in note


def test_a_first_warm_frame_that_differs_is_replaced_by_the_cold_one(tmp_path: Path, newest: Build) -> None:
    """A handler paints the cube differently whenever data was kept: what a bug in persistence would do."""
    code = """
import bpy
def spoil(scene, *rest):
    count[0] += 1
    warm = scene.render.use_persistent_data and count[0] == 2
    bpy.data.worlds[0].node_tree.nodes["Background"].inputs[1].default_value = 9.0 if warm else 1.0
count = [0]
bpy.app.handlers.render_pre.append(spoil)
"""
    script = f"text = bpy.data.texts.new('h.py'); text.use_module = True; text.write({code!r})\n"
    script += 'insert(cube.data.materials[0], "roughness", {1: 0.1, 8: 0.9})'
    scene = make_scene(tmp_path / "s.blend", script=script)
    first, second, third = render(newest, scene, tmp_path / "warm", 1, 2, 3, trust_scripts=True)
    assert isinstance(first, Rendered)
    assert isinstance(second, Rendered)
    assert isinstance(third, Rendered)
    assert "rendered from cold" in Path(third.log).read_text()
    plain = one(newest, scene, tmp_path / "cold", 2)
    assert np.array_equal(pixels(second.path), pixels(plain.path))


# Overrides


@pytest.mark.parametrize(("more", "size"), [({"scale": 50}, (20, 10)), ({}, (40, 20))])
def test_resolution_and_scale_set_the_size_whatever_the_scenes_percentage(
    tmp_path: Path, newest: Build, more: dict[str, int], size: tuple[int, int]
) -> None:
    scene = make_scene(tmp_path / "s.blend", script="scene.render.resolution_percentage = 25")
    with opened(newest, scene, tmp_path, resolution=(40, 20), **more) as session:
        assert session.describe().resolution == size
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Rendered)
    assert pixels(done.path).shape[1::-1] == size


def test_samples_win_over_keyed_ones_and_those_of_a_view_layer(tmp_path: Path, newest: Build) -> None:
    script = 'insert(scene, "cycles.samples", {1: 1, 8: 9})\nscene.view_layers[0].samples = 7'
    scene, plain = make_scene(tmp_path / "s.blend", script=script), make_scene(tmp_path / "p.blend", samples=3)
    with opened(newest, scene, tmp_path / "a", samples=3) as session:
        (done,) = session.render([8], 1, tmp_path, tmp_path / "log")
        assert session.describe().samples == 3
    assert isinstance(done, Rendered)
    assert np.array_equal(pixels(done.path), pixels(one(newest, plain, tmp_path / "b", 8).path))


def test_a_camera_wins_over_markers(tmp_path: Path, newest: Build) -> None:
    marked = make_scene(tmp_path / "m.blend", script=MARKERS, moving=False)
    by_marker = render(newest, marked, tmp_path / "a", 1, 6)
    by_name = render(newest, marked, tmp_path / "b", 1, 6, camera="Camera")
    assert all(isinstance(done, Rendered) for done in by_marker + by_name)
    one_, six = (pixels(done.path) for done in by_marker if isinstance(done, Rendered))
    also_one, also_six = (pixels(done.path) for done in by_name if isinstance(done, Rendered))
    assert not np.array_equal(one_, six)
    assert np.array_equal(also_one, also_six)
    assert np.array_equal(also_six, one_)


def test_another_scene_of_the_file_is_rendered(tmp_path: Path, newest: Build) -> None:
    script = """
other = bpy.data.scenes.new("Wide")
for item in scene.objects: other.collection.objects.link(item)
other.camera = camera
other.render.engine, other.cycles.samples, other.cycles.use_denoising = "CYCLES", 1, False
other.render.resolution_x, other.render.resolution_y = 48, 32
other.frame_start, other.frame_end, other.frame_step = 10, 20, 2
"""
    path = make_scene(tmp_path / "s.blend", script=script)
    with opened(newest, path, tmp_path, scene="Wide") as session:
        described = session.describe()
        (done,) = session.render([10], 1, tmp_path, tmp_path / "log")
    assert (described.resolution, described.frames) == ((48, 32), "10-20x2")
    assert set(described.scenes) == {"Scene", "Wide"}
    assert isinstance(done, Rendered)
    assert pixels(done.path).shape[:2] == (32, 48)


def test_only_the_view_layer_asked_for_is_rendered(tmp_path: Path, newest: Build) -> None:
    script = """
empty = scene.view_layers.new("Empty")
empty.layer_collection.exclude = True
for child in empty.layer_collection.children: child.exclude = True
collection = bpy.data.collections.new("C")
scene.collection.children.link(collection)
scene.collection.objects.unlink(cube)
collection.objects.link(cube)
empty.layer_collection.children["C"].exclude = True
"""
    path = make_scene(tmp_path / "s.blend", script=script)
    full = one(newest, path, tmp_path / "a", view_layer="ViewLayer")
    bare = one(newest, path, tmp_path / "b", view_layer="Empty")
    assert pixels(full.path).std() > pixels(bare.path).std()


def test_an_engine_is_taken_as_people_type_it(tmp_path: Path, newest: Build, cube: Path) -> None:
    assert describe(newest, cube, tmp_path / "c", engine="workbench").engine == "BLENDER_WORKBENCH"


def test_the_seed_option_changes_the_noise(tmp_path: Path, newest: Build, cube: Path) -> None:
    before = pixels(one(newest, cube, tmp_path / "a").path)
    after = pixels(one(newest, cube, tmp_path / "b", options={"seed": "7", "denoise": "off"}).path)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("name", ["bpy", "blender"])
def test_a_scene_for_a_gpu_is_rendered_on_the_cpu_where_there_is_none(
    tmp_path: Path, home: Path, name: str
) -> None:
    scene = make_scene(tmp_path / "s.blend", script='scene.cycles.device = "GPU"')
    with opened(build_named(name), scene, tmp_path) as session:
        if not any("GPU" in note for note in session.describe().notes):
            pytest.skip("there is a GPU")
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Rendered)
    assert "GPU" in refusal(build_named(name), scene, tmp_path / "g", options={"device": "gpu"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"camera": "Nope"}, "Known: Camera"),
        ({"view_layer": "Nope"}, "Known: ViewLayer"),
        ({"engine": "luxcore"}, "CYCLES"),
        ({"samples": 4, "engine": "workbench"}, "no samples"),
        ({"resolution": (1, 70000)}, "Known: 4x4"),
        ({"options": {"sed": "1"}}, "persistent, device, denoise, seed"),
        ({"options": {"seed": "abc"}}, "whole number"),
        ({"options": {"seed": "1"}, "engine": "workbench"}, "for Cycles"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_honoured_is_refused(
    tmp_path: Path, newest: Build, cube: Path, settings: dict[str, object], said: str
) -> None:
    assert said in refusal(newest, cube, tmp_path, **settings)


NO_CARD = not any(Path(card).exists() for card in ("/dev/dri", "/dev/kfd", "/dev/nvidia0", "/dev/dxg"))
COMPOSITED = """
tree = bpy.data.node_groups.new("C", "CompositorNodeTree")
tree.interface.new_socket(name="Image", in_out="OUTPUT", socket_type="NodeSocketColor")
layers, out = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("NodeGroupOutput")
layers.scene = scene
tree.links.new(layers.outputs[0], out.inputs[0])
scene.compositing_node_group, scene.render.compositor_device = tree, "GPU"
"""


@pytest.mark.skipif(not NO_CARD, reason="there is a graphics card")
def test_eevee_without_a_graphics_card_is_told_before(tmp_path: Path, newest: Build, cube: Path) -> None:
    told = describe(newest, cube, tmp_path / "eevee", engine="eevee")
    assert told.engine.startswith("BLENDER_EEVEE")
    assert any("EEVEE runs on the processor" in note for note in told.notes)
    assert not any("EEVEE" in note for note in describe(newest, cube, tmp_path / "cycles").notes)


@pytest.mark.slow
@pytest.mark.skipif(not NO_CARD, reason="there is a graphics card")
def test_a_compositor_without_a_graphics_card_starts_no_opengl(tmp_path: Path, home: Path) -> None:
    scene = make_scene(tmp_path / "s.blend", script=COMPOSITED, saver="bpy")
    one(build_named("bpy"), scene, tmp_path / "r")
    assert "EGL" not in (tmp_path / "r" / "render.log").read_text()


# Pictures


@pytest.mark.parametrize(("wanted", "magic"), [("jpeg", b"\xff\xd8"), ("tiff", b"II*")])
def test_each_format_is_written(tmp_path: Path, newest: Build, cube: Path, wanted: str, magic: bytes) -> None:
    done = one(newest, cube, tmp_path, format=wanted)
    assert Path(done.path).read_bytes().startswith(magic)


@pytest.mark.parametrize(
    ("name", "mode"), [("bpy", "RGBA"), ("bpy", "BW"), ("blender", "RGBA"), ("blender", "RGB")]
)
def test_pictures_of_a_transparent_film_have_the_channels_that_the_scene_says(
    tmp_path: Path, home: Path, name: str, mode: str
) -> None:
    script = "scene.render.film_transparent = True\n"
    script += f"scene.render.image_settings.color_mode = {mode!r}"
    scene = make_scene(tmp_path / "s.blend", script=script)
    build = build_named(name)
    with opened(build, scene, tmp_path) as session:
        assert session.describe().alpha is (mode == "RGBA")
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Rendered)
    (theirs,) = animated_by_hand(build, scene, tmp_path / "hand", (1, 1))
    assert np.array_equal(pixels(done.path), theirs)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_scenes_colour_depth_is_kept(tmp_path: Path, newest: Build, kind: str) -> None:
    script = f"image = scene.render.image_settings\nimage.file_format, image.color_depth = {kind!r}, '16'"
    scene = make_scene(tmp_path / "s.blend", script=script)
    assert Path(one(newest, scene, tmp_path / "r").path).read_bytes()[24] == 16


def test_denoise_on_denoises_view_layers_that_the_scene_leaves_out(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "s.blend", script="scene.view_layers[0].cycles.use_denoising = False")
    assert describe(build_named("bpy"), scene, tmp_path / "d", options={"denoise": "on"}).denoised


def test_a_video_format_is_replaced_by_pictures_and_noted(tmp_path: Path, newest: Build) -> None:
    script = """
image = scene.render.image_settings
if hasattr(image, "media_type"): image.media_type = "VIDEO"
image.file_format = "FFMPEG"
"""
    scene = make_scene(tmp_path / "s.blend", script=script)
    with opened(newest, scene, tmp_path) as session:
        described = session.describe()
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert any("FFMPEG" in note and "PNG" in note for note in described.notes)
    assert any("FFMPEG" in output for output in described.outputs)
    assert isinstance(done, Rendered)
    assert pixels(done.path).shape == (32, 32, 3)


@needs_34
def test_file_output_nodes_write_nothing_and_are_named(tmp_path: Path, newest: Build) -> None:
    script = """
scene.use_nodes = True
node = scene.node_tree.nodes.new("CompositorNodeOutputFile")
node.base_path = os.path.join(folder, "elsewhere")
scene.node_tree.links.new(scene.node_tree.nodes["Render Layers"].outputs[0], node.inputs[0])
"""
    scene = make_scene(tmp_path / "s.blend", script=script, saver="blender")
    with opened(newest, scene, tmp_path / "r") as session:
        described = session.describe()
        list(session.render([1], 1, tmp_path / "r", tmp_path / "r" / "log"))
    assert any("elsewhere" in output for output in described.outputs)
    assert any("File Output" in note and "muted" in note for note in described.notes)
    assert not (tmp_path / "elsewhere").exists()


def test_any_file_name_renders(tmp_path: Path, newest: Build, cube: Path) -> None:
    name = '-it\'s "quoted" a{b}#%d, new\nline ünï 日本.blend'
    scene = tmp_path / name
    shutil.copy(cube, scene)
    folder = tmp_path / f"out {name}"
    with opened(newest, scene, folder) as session:
        assert session.describe().path == str(scene)
        (done,) = session.render([1], 1, folder, folder / "log")
    assert isinstance(done, Rendered)
    assert Path(done.path).parent == folder
    assert pixels(done.path).shape[:2] == (32, 32)


REGION = """
render = scene.render
render.use_border = render.use_crop_to_border = True
render.border_min_x, render.border_max_x, render.border_min_y, render.border_max_y = {}, {}, {}, {}
"""


@pytest.mark.parametrize(
    ("name", "size", "region", "expected"),
    [
        ("bpy", (32, 32), (0.13, 0.77, 0.31, 0.9), (20, 19)),
        ("bpy", (33, 49), (17 / 33, 1, 1 / 49, 25 / 49), (16, 24)),
        ("bpy", (100, 47), (0, 13 / 100, 6 / 47, 28 / 47), (13, 22)),
        ("blender", (100, 47), (0, 13 / 100, 6 / 47, 28 / 47), (13, 22)),
    ],
)
def test_a_cropped_render_region_has_the_size_that_was_announced(
    tmp_path: Path,
    home: Path,
    name: str,
    size: tuple[int, int],
    region: tuple[float, ...],
    expected: tuple[int, int],
) -> None:
    """In 64-bit floats the last two come out a pixel larger or smaller."""
    scene = make_scene(tmp_path / "s.blend", size=size, script=REGION.format(*region))
    with opened(build_named(name), scene, tmp_path) as session:
        announced = session.describe().resolution
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Rendered)
    assert pixels(done.path).shape[1::-1] == announced == expected


def test_a_region_without_a_pixel_is_a_scene_error(tmp_path: Path, newest: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", script=REGION.format(0.5, 0.51, 0.5, 0.9))
    (failed,) = render(newest, scene, tmp_path / "r", 1)
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.message) == (Reason.SCENE_ERROR, "Image too small")


# Inspection


def test_a_scene_is_described(tmp_path: Path, newest: Build) -> None:
    script = (
        MARKERS
        + """
scene.frame_step = 2
scene.render.fps, scene.render.fps_base = 30, 1.001
scene.view_settings.exposure = 0.5
scene.view_settings.use_curve_mapping = True
scene.view_settings.keyframe_insert("exposure", frame=1)
scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 40, 33
"""
    )
    described = describe(newest, make_scene(tmp_path / "s.blend", script=script, samples=3), tmp_path)
    assert described.frames == "1-8x2"
    assert described.fps == pytest.approx(29.97, abs=0.001)
    assert described.resolution == (32, 32)
    assert described.pixel_aspect == pytest.approx(40 / 33)
    assert described.camera == "Camera"
    assert described.cameras == ("Camera", "Side")
    assert described.markers == {"1": "Camera", "4": "Side"}
    assert (described.engine, described.samples) == ("CYCLES", 3)
    assert {"CYCLES", "BLENDER_WORKBENCH"} <= set(described.engines)
    assert described.colour.exposure == pytest.approx(0.5)
    assert "curves and keys of the scene's view are left out" in concern(described.colour)
    assert Path(described.colour.config).name == "config.ocio"
    assert Path(described.colour.config).is_file()
    assert not described.assets
    assert not described.blocked_scripts


def test_a_scene_without_a_camera_has_none_and_fails_as_a_scene_error(tmp_path: Path, newest: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", camera=False)
    with opened(newest, scene, tmp_path) as session:
        assert session.describe().camera is None
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Failed)
    assert done.reason is Reason.SCENE_ERROR
    assert "camera" in done.message


def asset_states(scene: Scene) -> dict[str, tuple[str, bool]]:
    return {Path(asset.path).name: (asset.kind, asset.exists) for asset in scene.assets}


FILES_OF_ALL_KINDS = """
for name in ("here", "gone"):
    cube.data.materials.append(textured(name, f"//{name}.png")[0])
made, _ = textured("idle", "//idle.png")
made.use_fake_user = True
made, node = textured("tiles", "//skin.<UDIM>.png", "TILED")
node.image.tiles.new(tile_number=1012)
cube.data.materials.append(made)
m = cube.modifiers.new("M", "MESH_CACHE")
m.filepath = "//walk.mdd"
volume = bpy.data.volumes.new("V")
volume.filepath, volume.is_sequence, volume.frame_duration = "//smoke_0001.vdb", True, 2
scene.collection.objects.link(bpy.data.objects.new("V", volume))
node = cube.data.materials["Paint"].node_tree.nodes.new("ShaderNodeTexIES")
node.mode, node.filepath = "EXTERNAL", "//lamp.ies"
editor = scene.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
strips.new_image(name="I", filepath="//strip.png", channel=1, frame_start=1)
made, node = textured("T", "//seq_0001.png", "SEQUENCE")
cube.data.materials.append(made)
node.image_user.frame_duration = 8
node.image_user.use_auto_refresh = True
"""


def test_files_of_all_kinds_are_listed_as_far_as_they_are_needed(tmp_path: Path, newest: Build) -> None:
    for name in ("here", "skin.1001", "seq_0001", "seq_0002", "seq_0004", "seq_0009"):
        write_png(tmp_path / f"{name}.png")
    scene = make_scene(tmp_path / "s.blend", script=FILES_OF_ALL_KINDS, frames=(1, 4))
    described = describe(newest, scene, tmp_path)
    assert asset_states(described) == {
        "here.png": ("image", True),
        "gone.png": ("image", False),
        "skin.1001.png": ("tiles", True),
        "skin.1012.png": ("tiles", False),
        "walk.mdd": ("cache", False),
        "smoke_0001.vdb": ("volume", False),
        "smoke_0002.vdb": ("volume", False),
        "lamp.ies": ("light", False),
        "strip.png": ("sequence", False),
        **{f"seq_{number:04d}.png": ("sequence", number != 3) for number in (1, 2, 3, 4)},
    }
    sizes = {asset.bytes for asset in described.assets if asset.exists and asset.kind == "image"}
    assert sizes == {(tmp_path / "here.png").stat().st_size}
    assert str(tmp_path / "gone.png") in [asset.path for asset in described.missing]


def test_missing_libraries_are_listed(tmp_path: Path, newest: Build) -> None:
    library = make_scene(tmp_path / "lib" / "props.blend")
    scene = make_scene(tmp_path / "s.blend", script=linking(library))
    library.unlink()
    described = describe(newest, scene, tmp_path)
    assert asset_states(described) == {"props.blend": ("library", False)}
    assert described.missing[0].path == str(library)


def linking(library: Path) -> str:
    return f"""
with bpy.data.libraries.load({str(library)!r}, link=True, relative=True) as (there, here):
    here.objects = ["Cube"]
scene.collection.objects.link(here.objects[0])
"""


@needs_bpy
def test_what_lies_over_an_alembic_file_is_listed_unless_it_is_hidden(tmp_path: Path, newest: Build) -> None:
    script = """
bpy.ops.wm.alembic_export(filepath=folder + "/geo.abc", start=1, end=2)
bpy.ops.wm.alembic_import(filepath=folder + "/geo.abc", always_add_cache_reader=True)
for name in ("shown.abc", "hidden.abc"):
    bpy.data.cache_files[0].layers.new(filepath=folder + "/" + name)
bpy.data.cache_files[0].layers[1].hide_layer = True
scene.camera = next(item for item in scene.objects if item.type == "CAMERA")
"""
    scene = make_scene(tmp_path / "s.blend", saver="bpy", script=script)
    assert asset_states(describe(newest, scene, tmp_path / "d")) == {
        "geo.abc": ("cache", True),
        "shown.abc": ("cache", False),
    }


@needs_bpy
def test_a_file_that_a_geometry_node_imports_by_a_string_is_listed(tmp_path: Path, newest: Build) -> None:
    script = """
group = cube.modifiers.new("N", "NODES").node_group = bpy.data.node_groups.new("G", "GeometryNodeTree")
name, read = group.nodes.new("FunctionNodeInputString"), group.nodes.new("GeometryNodeImportCSV")
name.string = folder + "/data.csv"
group.links.new(name.outputs[0], read.inputs[0])
"""
    scene = make_scene(tmp_path / "s.blend", saver="bpy", script=script)
    assert asset_states(describe(newest, scene, tmp_path / "d")) == {"data.csv": ("cache", False)}


@needs_34
def test_adaptive_subdivision_of_old_blenders_is_rendered_cold(tmp_path: Path, blender34: Build) -> None:
    script = 'cube.modifiers.new("S", "SUBSURF")\ncube.cycles.use_adaptive_subdivision = True'
    notes = describe(blender34, make_scene(tmp_path / "s.blend", script=script), tmp_path / "d").notes
    assert any("because of adaptive subdivision" in note for note in notes)


def test_a_librarys_physics_lies_beside_it(tmp_path: Path, newest: Build) -> None:
    """Where it says so itself; its paths begin there, too."""
    baked = """
bpy.ops.wm.save_as_mainfile(filepath=folder + "/props.blend")
own, beside = (cube.modifiers.new(kind, kind).point_cache for kind in ("SOFT_BODY", "CLOTH"))
own.use_external, own.filepath, beside.frame_end, beside.use_disk_cache = True, "//own/", 2, True
bpy.ops.ptcache.bake_all(bake=True)
"""
    library = make_scene(tmp_path / "lib" / "props.blend", script=baked)
    scene = make_scene(tmp_path / "shots" / "s.blend", script=linking(library))
    states = {asset.path: asset.exists for asset in describe(newest, scene, tmp_path).assets}
    folder = library.parent
    assert states == {str(library): True, f"{folder}/blendcache_props": True, f"{folder}/own": False}


@pytest.mark.parametrize("build_name", ["bpy", "blender"])
def test_what_libraries_link_in_turn_is_listed(tmp_path: Path, build_name: str) -> None:
    write_png(tmp_path / "deep" / "wood.png")
    paint = 'made, _ = textured("T", "//wood.png"); cube.data.materials[0] = made'
    deep = make_scene(tmp_path / "deep" / "deep.blend", script=paint)
    linked = f"""
with bpy.data.libraries.load({str(deep)!r}, link=True, relative=True) as (there, here):
    here.materials = ["T"]
cube.data.materials[0] = here.materials[0]
"""
    props = make_scene(tmp_path / "lib" / "props.blend", script=linked)
    scene = make_scene(tmp_path / "s.blend", script=linking(props))
    (tmp_path / "deep" / "wood.png").unlink()
    described = describe(build_named(build_name), scene, tmp_path)
    paths = {asset.path: asset.exists for asset in described.assets}
    assert paths == {str(props): True, str(deep): True, str(tmp_path / "deep" / "wood.png"): False}


def test_a_missing_library_of_a_library_is_listed(tmp_path: Path, newest: Build) -> None:
    deep = make_scene(tmp_path / "deep" / "deep.blend")
    parent = linking(deep) + "cube.parent = here.objects[0]"
    props = make_scene(tmp_path / "lib" / "props.blend", script=parent)
    scene = make_scene(tmp_path / "s.blend", script=linking(props))
    deep.unlink()
    assert str(deep) in [asset.path for asset in describe(newest, scene, tmp_path).missing]


def test_a_data_block_gone_from_its_library_is_missing(tmp_path: Path, newest: Build) -> None:
    library = make_scene(tmp_path / "props.blend")
    scene = make_scene(tmp_path / "s.blend", script=linking(library))
    make_scene(library, script='cube.name = "Renamed"')
    work = Work("blender", newest, str(scene), Settings(), str(tmp_path / "d"), traced=True)
    with opened_for(work) as session:
        (missing,) = session.describe().missing
    assert "Cube" in missing.used_by
    assert missing.certain


# Scripts

DRIVER = """
curve = cube.driver_add("scale", 0)
curve.driver.expression = "len(bpy.data.objects)"
"""


def test_a_driver_that_is_not_trusted_is_said_to_be_blocked(tmp_path: Path, build: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", script=DRIVER)
    (blocked,) = describe(build, scene, tmp_path).blocked_scripts
    assert "len(bpy.data.objects)" in blocked
    assert describe(build, scene, tmp_path, trust_scripts=True).blocked_scripts == ()


MISSING_FUNCTION = """
cube.driver_add("location", 1).driver.expression = "addon_wave(frame)"
"""
MISSING_PROPERTY = """
driver = cube.driver_add("location", 2).driver
driver.type = "AVERAGE"
variable = driver.variables.new()
variable.targets[0].id_type, variable.targets[0].id = "SCENE", scene
variable.targets[0].data_path = "addon.strength"
"""


@pytest.mark.parametrize("build_name", ["bpy", "blender"])
@pytest.mark.parametrize(
    ("trust", "said"),
    [(False, ["average of addon.strength"]), (True, ["addon_wave(frame)", "average of addon.strength"])],
    ids=["not trusted", "trusted"],
)
def test_a_driver_that_lacks_its_add_on_is_said_trusted_or_not(
    tmp_path: Path, home: Path, build_name: str, trust: bool, said: list[str]
) -> None:
    script = MISSING_PROPERTY + (MISSING_FUNCTION if trust else "")
    scene = make_scene(tmp_path / "s.blend", script=script)
    described = describe(build_named(build_name), scene, tmp_path, trust_scripts=trust)
    assert described.blocked_scripts == ()
    (told,) = (note for note in described.notes if "Drivers" in note)
    assert all(what in told for what in said)


@pytest.mark.parametrize("trust", [False, True])
def test_a_registered_text_runs_only_when_trusted(tmp_path: Path, newest: Build, trust: bool) -> None:
    proof = tmp_path / "proof"
    code = f"import pathlib; pathlib.Path({str(proof)!r}).touch()"
    script = f'text = bpy.data.texts.new("run.py"); text.use_module = True; text.write({code!r})'
    described = describe(newest, make_scene(tmp_path / "s.blend", script=script), tmp_path, trust_scripts=trust)
    assert proof.exists() is trust
    assert bool(described.blocked_scripts) is not trust


def test_a_freestyle_script_does_not_run_unless_trusted(tmp_path: Path, newest: Build) -> None:
    proof = tmp_path / "proof"
    code = f"import pathlib; pathlib.Path({str(proof)!r}).touch()"
    script = f"""
scene.render.use_freestyle = True
settings = scene.view_layers[0].freestyle_settings
settings.mode = "SCRIPT"
text = bpy.data.texts.new("style.py")
text.write({code!r})
settings.modules.new().script = text
"""
    scene = make_scene(tmp_path / "s.blend", script=script)
    with opened(newest, scene, tmp_path / "r") as session:
        assert any("style.py" in what for what in session.describe().blocked_scripts)
        list(session.render([1], 1, tmp_path / "r", tmp_path / "r" / "log"))
    assert not proof.exists()


# Builds


@needs_bpy
@needs_34
def test_builds_are_found_newest_first(home: Path) -> None:
    found = RENDERER.builds()
    assert [build.version for build in found] == sorted((build.version for build in found), reverse=True)
    assert {build.path for build in found} >= {sys.executable, shutil.which("blender")}
    assert len({build.identity for build in found}) == len(found)


@needs_bpy
def test_a_python_with_bpy_may_be_chosen(home: Path, cube: Path, tmp_path: Path) -> None:
    python = str(Path(sys.executable).parent / "python3")
    (build,) = RENDERER.builds(python)
    assert build.path == python
    assert "bpy" in build.label
    assert pixels(one(build, cube, tmp_path).path).shape[:2] == (32, 32)


def test_what_is_no_blender_is_no_build(home: Path, tmp_path: Path) -> None:
    assert RENDERER.builds(str(tmp_path / "nowhere")) == []
    assert RENDERER.builds("true") == []


def pretend(path: Path, version: str) -> Path:
    """An executable that counts how often it is asked for its version."""
    path.write_text(
        f'#!/bin/sh\necho asked >> "{path}.asked"\necho "Blender {version}"\necho "\tbuild hash: abc"\n'
    )
    path.chmod(0o755)
    return path


def test_an_executable_is_asked_for_its_version_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDERFARM_HOME", str(tmp_path / "home"))
    fake = pretend(tmp_path / "blender", "4.2.3 LTS")
    first, second = (RENDERER.builds(str(fake), confined=False) for _ in range(2))  # it counts in a file
    assert first == second
    assert first[0].version == (4, 2, 3)
    assert Path(f"{fake}.asked").read_text() == "asked\n"


def test_a_replaced_executable_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDERFARM_HOME", str(tmp_path / "home"))
    before = RENDERER.builds(str(pretend(tmp_path / "blender", "4.2.3 LTS")))
    after = RENDERER.builds(str(pretend(tmp_path / "blender", "4.2.10 LTS")))
    assert before[0].identity != after[0].identity
    assert after[0].version == (4, 2, 10)


def test_a_farm_home_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RENDERFARM_HOME", str(tmp_path / "file" / "home"))
    assert RENDERER.builds(str(pretend(tmp_path / "blender", "4.2.3")))[0].version == (4, 2, 3)


@needs_bpy
@needs_34
def test_a_scene_of_blender_5_is_refused_for_3_4_before_any_start(tmp_path: Path, blender34: Build) -> None:
    scene = make_scene(tmp_path / "new.blend", saver="bpy")
    refused = RENDERER.accepts(blender34, RENDERER.preread(scene))
    assert "too old" in refused
    assert "4.5" in refused
    assert RENDERER.accepts(RENDERER.builds(sys.executable)[0], RENDERER.preread(scene)) == ""


@needs_34
def test_a_denoised_scene_on_a_build_without_denoiser_says_so_before_and_while_rendering(
    tmp_path: Path, blender34: Build
) -> None:
    scene = make_scene(tmp_path / "s.blend", denoise=True, saver="blender")
    with opened(blender34, scene, tmp_path) as session:
        notes = session.describe().notes
        if not notes:
            pytest.skip("this Blender has a denoiser")
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert any("denoise=off" in note for note in notes)
    assert isinstance(done, Failed)
    assert done.reason is Reason.SCENE_ERROR
    assert "denoise=off" in done.message
    assert one(blender34, scene, tmp_path / "off", options={"denoise": "off"}).frame == 1


@pytest.mark.parametrize("saver", ["bpy", "blender"])
def test_a_scene_for_an_engine_that_is_not_here_says_so_and_renders_with_another_when_told(
    tmp_path: Path, newest: Build, saver: str
) -> None:
    build_named(saver)
    scene = make_scene(tmp_path / "s.blend", saver=saver)
    scene.write_bytes(scene.read_bytes().replace(b"CYCLES\0", b"LUXCOR\0"))
    with opened(newest, scene, tmp_path / "a") as session:
        notes = session.describe().notes
        (failed,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert any("LUXCOR" in note for note in notes)
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.SCENE_ERROR
    assert one(newest, scene, tmp_path / "b", engine="cycles", options={"denoise": "off"}).frame == 1


def test_the_node_program_as_one_file_can_unpack_what_runs_inside_blender(tmp_path: Path) -> None:
    package = Path(renderers.__file__).parent.parent
    shutil.copytree(package, tmp_path / "app" / "renderfarm")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = f"""
from pathlib import Path
from renderfarm.renderers.blender import renderer
renderer._unpack(Path({str(scratch)!r}))
"""
    (tmp_path / "app" / "__main__.py").write_text(program)
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    subprocess.run([sys.executable, "-I", "-S", str(tmp_path / "app.pyz")], check=True, cwd=scratch)
    inside = Path("renderers") / "blender" / "inside.py"
    assert (scratch / "renderfarm" / inside).read_bytes() == (package / inside).read_bytes()


# Failures


def test_a_session_killed_between_frames_is_a_crash(tmp_path: Path, newest: Build, cube: Path) -> None:
    with opened(newest, cube, tmp_path) as session:
        frames = session.render([1, 2], 1, tmp_path, tmp_path / "log")
        assert isinstance(next(frames), Rendered)
        os.killpg(session._process.pid, signal.SIGKILL)
        session._process.wait()
        with pytest.raises(SessionFailure) as caught:
            list(session.render([3], 1, tmp_path, tmp_path / "log"))
    assert caught.value.reason is Reason.CRASH
    assert "SIGKILL" in caught.value.message


def test_a_crash_inside_blender_names_the_signal(tmp_path: Path, newest: Build) -> None:
    code = "import bpy, os, signal; die = lambda *rest: os.kill(os.getpid(), signal.SIGSEGV)\n"
    code += "bpy.app.handlers.render_pre.append(die)"
    script = f'text = bpy.data.texts.new("h.py"); text.use_module = True; text.write({code!r})'
    scene = make_scene(tmp_path / "s.blend", script=script)
    with pytest.raises(SessionFailure) as caught:
        render(newest, scene, tmp_path, 1, trust_scripts=True)
    assert caught.value.reason is Reason.CRASH
    assert "SIGSEGV" in caught.value.message


def test_a_file_that_blender_cannot_open_is_a_scene_error(tmp_path: Path, newest: Build) -> None:
    scene = tmp_path / "bad.blend"
    scene.write_bytes(b"BLENDER-v304" + b"\0" * 500)
    with pytest.raises(SessionFailure) as caught, opened(newest, scene, tmp_path / "s"):
        pass
    assert caught.value.reason is Reason.SCENE_ERROR
    assert "bad.blend" in caught.value.message


def test_a_missing_texture_is_a_warning_of_each_frame_that_shows_it_however_late_it_is_asked_for(
    tmp_path: Path, newest: Build
) -> None:
    if newest.version < (4, 0):
        pytest.skip("this Blender doesn't tell")
    script = 'cube.data.materials[0] = textured("T", "//gone.png")[0]'
    scene, log = make_scene(tmp_path / "s.blend", script=script), tmp_path / "log"
    with opened(newest, scene, tmp_path, options={"persistent": "off"}) as session:
        frames = session.render([1, 2], 1, tmp_path, log)
        first = next(frames)
        wait_for((tmp_path / "frame_0002.png").exists, "the second frame")
        wait_for(lambda: log.read_text().count("gone.png") >= 2, "its warning")
        done = [first, *frames]
    assert [isinstance(each, Rendered) and each.lacking for each in done] == [True, True]


def test_a_frame_that_fails_leaves_the_session_alive(tmp_path: Path, newest: Build, cube: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.touch()
    with opened(newest, cube, tmp_path) as session:
        (failed,) = session.render([1], 1, blocked, tmp_path / "log")
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(failed, Failed)
    assert isinstance(done, Rendered)


@needs_bpy
def test_closing_leaves_no_process_and_no_files(tmp_path: Path, newest: Build, cube: Path) -> None:
    with opened(newest, cube, tmp_path) as session:
        group = session._process.pid
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
    assert not list(tmp_path.glob("blender-*"))


@pytest.mark.parametrize(
    ("exit_code", "log", "reason"),
    [
        (-11, "", Reason.CRASH),
        (139, "Writing: /tmp/crash.txt", Reason.CRASH),
        (134, "Couldn't open libEGL.so.1", Reason.CRASH),
        (1, "Malloc returns null: len=123 in Image", Reason.OUT_OF_MEMORY),
        (1, "Error: Cannot render, no camera", Reason.SCENE_ERROR),
        (1, "OSError: [Errno 28] No space left on device", Reason.DISK_FULL),
        (1, "Error: Failed to read blend file, created by a newer version", Reason.SCENE_ERROR),
        (3, "", Reason.UNKNOWN),
    ],
)
def test_the_end_of_a_process_is_classified(exit_code: int, log: str, reason: Reason) -> None:
    why, message = logs.death(exit_code, logs.signs(log), 0)
    assert why is reason
    assert message


def test_a_kill_while_the_kernel_killed_for_memory_is_out_of_memory() -> None:
    assert logs.death(137, (), 1)[0] is Reason.OUT_OF_MEMORY
    assert logs.death(137, (), 0)[0] is Reason.CRASH


def test_signs_put_errors_before_warnings_and_leave_chatter_out() -> None:
    log = """
00:00.563  cycles           | WARNING CUEW initialization failed: Error opening the library
EGL Error (0x3009): EGL_BAD_MATCH
Fra:1 Mem:8.98M (Peak 8.98M) | Time:00:00.00 | Sample 1/1
Warning: 1 libraries and 1 linked data-blocks are missing
00:00.601  cycles           | ERROR Image file '/x/gone.png' does not exist.
Error: Cannot render, no camera
Error: Cannot render, no camera
"""
    assert RENDERER.signs(log) == (
        "Error: Cannot render, no camera",
        "cycles: ERROR Image file '/x/gone.png' does not exist.",
        "Warning: 1 libraries and 1 linked data-blocks are missing",
    )


@pytest.mark.skipif(bool(sandbox.obstacle()), reason="bubblewrap doesn't work here")
@pytest.mark.parametrize("name", ["bpy", "blender"])
def test_it_renders_inside_the_sandbox_with_assets_from_elsewhere(
    tmp_path: Path, home: Path, name: str
) -> None:
    build = build_named(name)
    write_png(tmp_path / "shared" / "wood.png")
    script = 'cube.data.materials[0] = textured("T", "//../shared/wood.png")[0]'
    scene = make_scene(tmp_path / "shot" / "s.blend", script=script)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    paths = RENDERER.preread(scene).paths
    work = Work("blender", build, str(scene), Settings(), str(scratch), paths, Sandbox.REQUIRE)
    session = RENDERER.open(work, ProcessLauncher(work))
    try:
        described = session.describe()
        (done,) = session.render([3], 1, scratch, scratch / "log")
    finally:
        session.close()
    assert asset_states(described) == {"wood.png": ("image", True)}
    assert isinstance(done, Rendered), done
    assert np.array_equal(pixels(done.path), pixels(one(build, scene, tmp_path / "bare", 3).path))
