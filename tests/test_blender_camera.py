"""A camera is needed where Blender needs one, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from blender_runs import animated_by_hand, build_named, describe, opened, pixels, with_both
from blender_scenes import has_blender, has_bpy, make_scene

from renderfarm.renderers import SessionFailure
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build

pytestmark = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")

EDITING = """
editor = scene.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
def colour(**where):
    length = {"length": 2} if bpy.app.version >= (5, 0, 0) else {"frame_end": 3}
    made = strips.new_effect(name="C", type="COLOR", channel=1, frame_start=1, **length)
    made.color = (0.8, 0.3, 0.1)
    return made
"""
COLOUR_STRIP = EDITING + "colour()"
COMPOSITING = """
if bpy.app.version >= (5, 0, 0):
    tree = bpy.data.node_groups.new("C", "CompositorNodeTree")
    tree.interface.new_socket(name="Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    scene.compositing_node_group, result = tree, tree.nodes.new("NodeGroupOutput")
else:
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    result = tree.nodes.new("CompositorNodeComposite")
def show(kind, shown=None):
    node = tree.nodes.new(kind)
    if shown: node.scene = shown
    tree.links.new(node.outputs[0], result.inputs[0])
other = bpy.data.scenes.new("Other")
other.render.engine, other.cycles.samples, other.cycles.use_denoising = "CYCLES", 1, False
other.render.resolution_x, other.render.resolution_y = 32, 32
for item in scene.objects: other.collection.objects.link(item)
"""
OTHERS_CAMERA = """
other.camera = bpy.data.objects.new("There", bpy.data.cameras.new("There"))
other.camera.location, other.camera.rotation_euler = (0, -7, 2), (1.3, 0, 0)
other.collection.objects.link(other.camera)
"""
PAINT = COMPOSITING + 'show("CompositorNodeRGB")'
OWN_LAYERS = COMPOSITING + 'show("CompositorNodeRLayers", scene)'
OTHER_SCENE = COMPOSITING + OTHERS_CAMERA + 'show("CompositorNodeRLayers", other)'
OTHER_SCENE_WITHOUT = COMPOSITING + 'show("CompositorNodeRLayers", other)'


def saver(build: Build) -> str:
    return "blender" if build.version < (5, 0) else "bpy"


@pytest.mark.parametrize(
    ("name", "script", "denoise"),
    with_both((PAINT, True), (PAINT, False), (COLOUR_STRIP, True), (OTHER_SCENE, True)),
)
def test_what_renders_without_a_camera_by_hand_renders_here(
    tmp_path: Path, home: Path, name: str, script: str, denoise: bool
) -> None:
    """Nor does it need a denoiser, which Debian's Blender lacks."""
    build = build_named(name)
    path = tmp_path / "s.blend"
    make_scene(path, frames=(1, 2), camera=False, denoise=denoise, script=script, saver=saver(build))
    with opened(build, path, tmp_path) as session:
        assert (session.describe().camera, session.describe().obstacle) == (None, "")
        done = list(session.render([1, 2], 1, tmp_path, tmp_path / "log"))
    ours = [pixels(one.path) for one in done if isinstance(one, Rendered)]
    theirs = animated_by_hand(build, path, tmp_path / "hand")
    assert [np.array_equal(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("name", "script", "said"),
    with_both(
        ("", "no active camera: add one to it"),
        (OWN_LAYERS, "no active camera: add one to it"),
        (OWN_LAYERS + "\nscene.render.use_compositing = False", "no active camera: add one to it"),
        (PAINT + "\nscene.render.use_compositing = False", "no active camera: add one to it"),
        (COLOUR_STRIP + "\nscene.render.use_sequencer = False", "no active camera: add one to it"),
        (OTHER_SCENE_WITHOUT, "shows the scene 'Other', which has no active camera"),
    ),
)
def test_what_renders_nothing_by_hand_is_told_at_once(
    tmp_path: Path, home: Path, name: str, script: str, said: str
) -> None:
    build = build_named(name)
    path = make_scene(tmp_path / "s.blend", camera=False, script=script, saver=saver(build))
    with opened(build, path, tmp_path) as session:
        assert said in session.describe().obstacle
        (failed,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(failed, Failed)
    assert said in failed.message


def test_what_changes_nothing_in_a_video_sequence_is_refused(tmp_path: Path) -> None:
    build, path = build_named("bpy"), make_scene(tmp_path / "s.blend", script=COLOUR_STRIP)
    with pytest.raises(SessionFailure, match="in which --samples changes nothing"):
        describe(build, path, tmp_path / "d", samples=3)
    assert describe(build, path, tmp_path / "e", scale=50).resolution == (16, 16)


@pytest.mark.slow
def test_muted_strips_are_no_picture_where_blender_renders_the_scene(tmp_path: Path, build: Build) -> None:
    path = make_scene(tmp_path / "s.blend", script=EDITING + "colour().mute = True", saver=saver(build))
    with opened(build, path, tmp_path) as session:
        notes = session.describe().notes
        (done,) = session.render([1], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Rendered)
    (theirs,) = animated_by_hand(build, path, tmp_path / "hand", (1, 1))
    assert np.array_equal(pixels(done.path), theirs)
    assert any("video sequence" in note for note in notes) is bool(theirs.max() < 5)


@pytest.mark.parametrize("node", ["", "CompositorNodeViewer"])
def test_a_compositor_that_shows_nothing_is_told(tmp_path: Path, node: str) -> None:
    """Blender 5 renders it, says that it is finished, and leaves no file."""
    script = f"""
scene.use_nodes = True
scene.compositing_node_group = bpy.data.node_groups.new("Nothing", "CompositorNodeTree")
if {node!r}:
    scene.compositing_node_group.nodes.new({node!r})
"""
    scene = make_scene(tmp_path / "s.blend", script=script, saver="bpy", frames=(1, 1))
    build = build_named("bpy")
    assert "shows nothing" in describe(build, scene, tmp_path / "d").obstacle
    assert animated_by_hand(build, scene, tmp_path / "hand") == []
