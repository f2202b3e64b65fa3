"""Scenes of a Blender that is newer than the one that renders them."""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from blender_runs import animated_by_hand, build_named, describe, one, pixels
from blender_scenes import has_bpy, make_scene, warm
from farm_runs import Farm

from renderfarm.renderers.blender.builds import is_module
from renderfarm.renderers.blender.renderer import RENDERER
from renderfarm.words.work import Build

VERSION = tuple(map(int, metadata.version("bpy").split(".")[:2])) if has_bpy() else (0, 0)


@pytest.fixture(scope="module", params=["bpy", "blender"])
def build(request: pytest.FixtureRequest) -> Build:
    return build_named(request.param)


def newer_scene(path: Path, build: Build) -> Path:
    """A scene that says that the last minor version of its Blender's series saved it."""
    make_scene(path, saver="bpy" if is_module(build) else "blender", frames=(1, 1))
    path.write_bytes(re.sub(rb"\A(BLENDER\S*v\d*)\d\d", rb"\g<1>99", path.read_bytes(), count=1))
    return path


def test_a_scene_of_a_newer_blender_is_told_in_blenders_own_words(tmp_path: Path, build: Build) -> None:
    told = describe(build, newer_scene(tmp_path / "s.blend", build), tmp_path / "d").newer
    assert re.fullmatch(
        r"s.blend: File written by newer Blender binary \(\d\.99\.\d+\), expect loss of data!", told
    )


def test_a_scene_of_this_blender_loses_nothing(tmp_path: Path, build: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", saver="bpy" if is_module(build) else "blender")
    assert describe(build, scene, tmp_path / "d").newer == ""


def test_a_scene_of_a_newer_blender_is_rendered_only_when_that_is_allowed(tmp_path: Path) -> None:
    farm, build = Farm(tmp_path), build_named("bpy")
    scene = newer_scene(tmp_path / "s.blend", build)
    refused = farm.submit(scene, "--blender", build.path)
    assert refused.code == 2
    assert "says: s.blend: File written by newer Blender binary" in refused.err
    assert "--allow-older" in refused.err
    assert farm.submit(scene, "--blender", build.path, "--allow-older").code == 0


@pytest.mark.skipif(VERSION < (5, 3), reason="needs Blender 5.3 as a module")
def test_the_project_that_a_scene_is_in_chooses_its_colours(tmp_path: Path) -> None:
    """No data-block names it; a frame of before it was there is not taken for one of now."""
    project, shot = tmp_path / "show" / ".blender_project", tmp_path / "show" / "shot"
    farm, build = Farm(tmp_path / "farm"), build_named("bpy")
    scene = make_scene(shot / "s.blend", frames=(1, 1), saver="bpy")
    plain = animated_by_hand(build, scene, tmp_path / "plain")[0]
    project.mkdir()
    config = "ocio://studio-config-v2.2.0_aces-v1.3_ocio-v2.4"
    (project / "project.toml").write_text(f'schema_version = 1\nname = "show"\nocio_config = "{config}"\n')
    chosen = animated_by_hand(build, scene, tmp_path / "chosen")[0]
    assert (plain != chosen).any()
    assert farm.submit(scene, "--blender", build.path).code == 0
    assert (pixels(farm.folder / "out" / "frames" / "s.0001.png") == chosen).all()
    shutil.rmtree(project)
    assert farm.submit(scene, "--blender", build.path).code == 0
    assert (pixels(farm.folder / "out" / "frames" / "s.0001.png") == plain).all()


COLOURS = """
ocio_profile_version: 2
search_path: luts
roles: {default: raw, scene_linear: lin, default_byte: lin}
displays: {D: [!<View> {name: V, colorspace: film}]}
colorspaces:
  - !<ColorSpace> {name: lin}
  - !<ColorSpace> {name: raw, isdata: true}
  - !<ColorSpace> {name: film, from_scene_reference: !<FileTransform> {src: film.spi1d}}
"""
TABLE = "Version 1\nFrom 0 1\nLength 2\nComponents 1\n{{\n0\n{}\n}}\n"


@pytest.mark.skipif(VERSION < (5, 3), reason="needs Blender 5.3 as a module")
def test_the_tables_that_a_projects_colours_look_up_count(tmp_path: Path) -> None:
    """They lie beside the configuration, which no scene needs to lie below."""
    show, build, farm = tmp_path / "show", build_named("bpy"), Farm(tmp_path / "farm")
    table, config = show / "colour" / "luts" / "film.spi1d", show / "colour" / "config.ocio"
    for path, text in (
        (show / ".blender_project" / "project.toml", f'schema_version = 1\nocio_config = "{config}"\n'),
        (config, COLOURS),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    table.parent.mkdir()
    scene = make_scene(show / "shot" / "s.blend", frames=(1, 1), saver="bpy")
    for end in ("0.5", "0.9"):
        table.write_text(TABLE.format(end))
        (right,) = animated_by_hand(build, scene, tmp_path / end)
        assert farm.submit(scene, "--blender", build.path).code == 0
        assert (pixels(farm.folder / "out" / "frames" / "s.0001.png") == right).all()


TEXTURED = """
import numpy
noise = bpy.data.images.new("noise", 256, 256)
noise.pixels.foreach_set(numpy.random.default_rng(1).random(256 * 256 * 4).astype("f"))
noise.filepath_raw, noise.file_format = folder + "/noise.png", "PNG"
noise.save()
cube.data.materials[0] = textured("T", "//noise.png")[0]
scene.render.use_texture_cache = True
"""
GENERATE = """
def do(order):
    bpy.ops.wm.open_mainfile(filepath=order["path"])
    bpy.ops.render.generate_texture_cache()
"""


@pytest.mark.skipif(VERSION < (5, 2), reason="needs Blender 5.2 or newer as a module")
def test_texture_caches_beside_pictures_count(tmp_path: Path) -> None:
    """No data-block names them; a frame of before they were there is not taken for one of now."""
    farm, build = Farm(tmp_path / "farm"), build_named("bpy")
    scene = make_scene(tmp_path / "shot" / "s.blend", frames=(1, 1), saver="bpy", script=TEXTURED)
    plain = animated_by_hand(build, scene, tmp_path / "plain")[0]
    assert farm.submit(scene, "--blender", build.path).code == 0
    assert (pixels(farm.folder / "out" / "frames" / "s.0001.png") == plain).all()
    warm(build.path, module=True).do(GENERATE, path=str(scene))
    assert any((tmp_path / "shot" / "blender_tx").iterdir())
    cached = animated_by_hand(build, scene, tmp_path / "cached")[0]
    assert (plain != cached).any()
    assert farm.submit(scene, "--blender", build.path).code == 0
    assert (pixels(farm.folder / "out" / "frames" / "s.0001.png") == cached).all()


STACKED = """
for name in ("First", "Second"):
    tree = bpy.data.node_groups.new(name, "CompositorNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Image", in_out=way, socket_type="NodeSocketColor")
    start, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    change, output = tree.nodes.new("CompositorNodeInvert"), tree.nodes.new("CompositorNodeOutputFile")
    change.inputs["Factor"].default_value = 0.3
    output.name, output.directory, output.file_name = name, "//files/", name
    output.file_output_items.new("RGBA", "Image")
    tree.links.new(start.outputs[0], change.inputs["Color"])
    tree.links.new(change.outputs[0], end.inputs[0])
    tree.links.new(change.outputs[0], output.inputs[0])
    scene.compositor_effects.new(name).node_group = tree
"""


@pytest.mark.skipif(VERSION < (5, 3), reason="needs Blender 5.3 as a module")
def test_every_effect_of_a_stack_is_in_the_picture_and_none_writes_files(tmp_path: Path) -> None:
    farm, build = Farm(tmp_path / "farm"), build_named("bpy")
    scene = make_scene(tmp_path / "shot" / "s.blend", frames=(1, 1), saver="bpy", script=STACKED)
    done = farm.submit(scene, "--blender", build.path)
    assert done.code == 0, done.err
    assert sum("is muted: its files are not written" in note for note in done.json["notes"]) == 2
    assert not (tmp_path / "shot" / "files").exists()
    by_hand = animated_by_hand(build, scene, tmp_path / "hand")[0]
    assert (pixels(farm.folder / "out" / "frames" / "s.0001.png") == by_hand).all()
    assert len(list((tmp_path / "shot" / "files").iterdir())) == 2


def test_blenders_that_set_up_put_into_environments_of_their_own_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "blenders" / "9.9"
    (place / "lib" / "python3.13" / "site-packages" / "bpy-9.9.1.dist-info").mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    newest = RENDERER.builds()[0]
    assert (newest.path, newest.version) == (str(place / "bin" / "python"), (9, 9, 1))


@pytest.mark.skipif(VERSION < (5, 3), reason="needs Blender 5.3 as a module")
def test_a_scene_that_leaves_its_files_to_output_nodes_is_rendered_all_the_same(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "s.blend", saver="bpy", script="scene.render.save_output = False")
    assert Path(one(build_named("bpy"), scene, tmp_path / "r").path).exists()
