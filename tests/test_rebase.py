"""Scenes that name their files by absolute paths render on a machine where the project lies elsewhere."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blender_scenes import has_blender, has_bpy, make_scene, write_png
from PIL import Image

from renderfarm.node.program import Event, Node
from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile
from renderfarm.queues.azure.uploads import unmovable
from renderfarm.renderers import renderer
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build, Task, Work

needs_blender = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")
needs_povray = pytest.mark.skipif(shutil.which("povray") is None, reason="povray is not installed")

TEXTURED = """
made, node = textured("Wood", folder + "/../maps/wood.png")
cube.data.materials[0] = made
"""
THREE = """
def seen(place, made):
    twin = cube.copy()
    twin.data = cube.data.copy()
    twin.data.materials[0] = made
    twin.location.x = place
    scene.collection.objects.link(twin)
cube.scale = (0.6, 0.6, 0.6)
seen(-1.6, textured("Wood", folder + "/../maps/wood.png")[0])
made, node = textured("Seq", folder + "/../maps/seq_0001.png", "SEQUENCE")
node.image_user.frame_duration = 8
node.image_user.use_auto_refresh = True
seen(1.6, made)
with bpy.data.libraries.load(os.path.abspath(folder + "/../lib/middle.blend"), link=True) as (there, wanted):
    wanted.materials = ["Wood"]
cube.data.materials[0] = wanted.materials[0]
"""
"""a texture to the left, a library's material in the middle, and a sequence to the right"""
JOINED = """
group = bpy.data.node_groups.new("G", "GeometryNodeTree")
group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
new = group.nodes.new
start, end, join = new("FunctionNodeInputString"), new("FunctionNodeInputString"), new("GeometryNodeStringJoin")
start.string, end.string = folder + "/../maps/p", ".obj"
read, out = new("GeometryNodeImportOBJ"), new("NodeGroupOutput")
for node in (end, start):
    group.links.new(node.outputs[0], join.inputs["Strings"])
group.links.new(join.outputs[0], read.inputs["Path"])
group.links.new(read.outputs[0], out.inputs[0])
cube.modifiers.new("N", "NODES").node_group = group
"""


def builds() -> list[Build]:
    return renderer("blender").builds() if has_bpy() or has_blender() else []


def rendered(work: Work, frame: int = 2) -> np.ndarray:
    """The pixels of one frame."""
    heard: list[Event] = []
    node = Node(work, "node", heard.append)
    node.render(Task((frame,)), 1)
    receipts = [event for event in heard if isinstance(event, Rendered)]
    try:
        assert receipts, heard
        with Image.open(receipts[0].path) as picture:
            return np.asarray(picture.convert("RGB"))
    finally:
        node.drop()


def work(build: Build, scene: Path, scratch: Path) -> Work:
    scratch.mkdir()
    kept = str(scene.parents[1])
    return Work(
        build.renderer, build, str(scene), Settings(), str(scratch), readable=(kept,), sandbox=Sandbox.AUTO
    )


def moved(here: Work, root: Path, there: Path, scratch: Path) -> Work:
    """The work after the project was moved away."""
    root.rename(there)
    scratch.mkdir()
    scene = there / Path(here.scene).relative_to(root)
    return replace(
        here, scene=str(scene), scratch=str(scratch), readable=(str(there),), rebase=(str(root), str(there))
    )


@needs_blender
@pytest.mark.parametrize("build", builds(), ids=lambda build: build.label)
def test_a_scene_with_absolute_paths_renders_the_same_elsewhere_which_it_does_not_of_itself(
    tmp_path: Path, build: Build
) -> None:
    root = tmp_path / "here"
    for number in range(1, 9):
        write_png(root / "maps" / f"seq_{number:04d}.png", (20 * number, 120, 0))
    write_png(root / "maps" / "wood.png", (0, 90, 200))
    saver = "blender" if has_blender() else "bpy"
    make_scene(root / "lib" / "middle.blend", script=TEXTURED, saver=saver)
    scene = make_scene(root / "shots" / "scene.blend", script=THREE, saver=saver)
    here = work(build, scene, tmp_path / "scratch-1")
    before = rendered(here)
    there = moved(here, root, tmp_path / "there", tmp_path / "scratch-2")
    assert np.array_equal(rendered(there), before)
    (tmp_path / "scratch-3").mkdir()
    lost = rendered(replace(there, rebase=None, scratch=str(tmp_path / "scratch-3"))) != before
    assert [lost[:, columns].any() for columns in (slice(10), slice(13, 19), slice(22, 32))] == [True] * 3


@pytest.mark.skipif(not has_bpy(), reason="no Blender that imports by nodes")
def test_a_name_that_nodes_put_together_is_found_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "here"
    scene = make_scene(root / "shots" / "scene.blend", script=JOINED, saver="bpy")
    (root / "maps").mkdir()
    (root / "maps" / "p.obj").write_text("v -2 0 0\nv 2 0 0\nv 0 0 3\nf 1 2 3\n")
    here = work(builds()[0], scene, tmp_path / "scratch-1")
    before = rendered(here)
    there = rendered(moved(here, root, tmp_path / "there", tmp_path / "scratch-2"))
    assert np.array_equal(there, before)
    assert before.max() > before.min()


@needs_blender
def test_relative_paths_stay_where_all_that_a_scene_needs_spans_the_root(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    write_png(root / "shots" / "wood.png", (0, 90, 200))
    elsewhere.mkdir()
    script = TEXTURED.replace('folder + "/../maps/', '"//')
    scene = make_scene(root / "shots" / "scene.blend", script=script)
    here = work(builds()[0], scene, tmp_path / "scratch-1")
    before = rendered(here)
    (tmp_path / "scratch-2").mkdir()
    shown = (*here.readable, str(elsewhere))
    there = replace(here, rebase=("/", str(elsewhere)), readable=shown, scratch=str(tmp_path / "scratch-2"))
    assert np.array_equal(rendered(there), before)


@needs_povray
def test_an_ini_with_absolute_paths_renders_the_same_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "here"
    scene = ball(root, '#include "paint.inc"')
    (root / "shots" / "scene.ini").write_text(
        f"Input_File_Name={scene}\nLibrary_Path={root}/lib\nWidth=16\nHeight=16\nFinal_Frame=3\n"
    )
    (build, *_) = renderer("povray").builds()
    here = work(build, root / "shots" / "scene.ini", tmp_path / "scratch-1")
    before = rendered(here)
    there = moved(here, root, tmp_path / "there", tmp_path / "scratch-2")
    assert np.array_equal(rendered(there), before)


@needs_povray
def test_what_a_pov_names_by_an_absolute_path_can_t_move(tmp_path: Path) -> None:
    scene = ball(tmp_path, f'#include "{tmp_path}/lib/paint.inc"')
    assert unmovable_of(tmp_path, scene) == (f"{tmp_path}/lib/paint.inc",)


@needs_povray
def test_what_a_pov_names_by_a_relative_path_can_move(tmp_path: Path) -> None:
    assert unmovable_of(tmp_path, ball(tmp_path, '#include "../lib/paint.inc"')) == ()


def unmovable_of(root: Path, scene: Path) -> tuple[str, ...]:
    (build, *_) = renderer("povray").builds()
    node = Node(work(build, scene, root / "scratch"), "node", print)
    described = node.describe()
    node.drop()
    paths = {scene, *(Path(asset.path) for asset in described.assets)}
    files = tuple(
        ManifestFile(path.resolve().relative_to(root).as_posix(), "0" * 64, path.stat().st_size)
        for path in paths
    )
    return unmovable(described, Manifest(str(root), scene.relative_to(root).as_posix(), files))


def ball(root: Path, include: str) -> Path:
    (root / "lib").mkdir(parents=True)
    (root / "shots").mkdir()
    (root / "lib" / "paint.inc").write_text("#declare Paint = pigment { rgb <1, clock, 0> };\n")
    scene = root / "shots" / "scene.pov"
    scene.write_text(
        f"#version 3.7;\n{include}\ncamera {{ location -3*z look_at 0 }} light_source {{ <3, 3, -3> rgb 1 }}\n"
        "sphere { 0, 1 pigment { Paint } }\n"
    )
    return scene
