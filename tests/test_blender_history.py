"""What makes frames depend on the frames before them is told by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from blender_runs import animated_by_hand, build_named, describe, one, opened, pixels, with_both
from blender_scenes import has_blender, has_bpy, make_scene
from farm_runs import Farm, frames_there, wait_for

from renderfarm.node import sandbox
from renderfarm.node.program import Event, Node
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build, Task, Work

pytestmark = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")

FLUID = """
domain = cube.modifiers.new("Smoke", "FLUID")
domain.fluid_type = "DOMAIN"
domain.domain_settings.cache_type = "REPLAY"
"""
PAINT = """
cube.modifiers.new("Wet", "DYNAMIC_PAINT").ui_type = "CANVAS"
bpy.context.view_layer.objects.active = cube
bpy.ops.dpaint.type_toggle(type="CANVAS")
"""
RIGID_BODIES = "bpy.ops.rigidbody.world_add(); bpy.ops.rigidbody.object_add()"
CLOTH = 'cube.modifiers.new("Flag", "CLOTH")'
PARTICLES = 'cube.modifiers.new("P", "PARTICLE_SYSTEM").particle_system.name = "Dust"'
DUST = """
mote = bpy.data.objects.new("Mote", cube.data)
scene.collection.objects.link(mote)
mote.location, mote.scale = (50, 0, 0), (0.2, 0.2, 0.2)
cube.modifiers.new("P", "PARTICLE_SYSTEM").particle_system.name = "Dust"
dust = cube.particle_systems[0].settings
dust.count, dust.frame_start, dust.frame_end, dust.brownian_factor = 40, 1, 6, 9
dust.render_type, dust.instance_object, dust.particle_size, dust.display_percentage = "OBJECT", mote, 0.5, 20
scene.frame_set(3)
"""
FLAG = """
bpy.ops.mesh.primitive_grid_add(size=3, location=(0, 0, 2), x_subdivisions=8, y_subdivisions=8)
flag = bpy.context.object
flag.modifiers.new("Fine", "SUBSURF").levels = 0
flag.modifiers.new("Flag", "CLOTH")
scene.frame_set(5)
"""
SIMULATION = """
def group(name):
    made = bpy.data.node_groups.new(name, "GeometryNodeTree")
    made.interface.new_socket(name="G", in_out="INPUT", socket_type="NodeSocketGeometry")
    made.interface.new_socket(name="G", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    return made
inner = group("Inner")
into, out = inner.nodes.new("GeometryNodeSimulationInput"), inner.nodes.new("GeometryNodeSimulationOutput")
into.pair_with_output(out)
outer = group("Outer")
outer.nodes.new("GeometryNodeGroup").node_tree = inner
cube.modifiers.new("Drift", "NODES").node_group = outer
"""
BAKED = (
    SIMULATION
    + """
def ends(tree):
    return tree.nodes.new("NodeGroupInput").outputs[0], tree.nodes.new("NodeGroupOutput").inputs[0]
(begin, end), (first, last) = ends(inner), ends(outer)
nested = outer.nodes["Group"]
inner.links.new(begin, into.inputs["Geometry"])
inner.links.new(into.outputs["Geometry"], out.inputs["Geometry"])
inner.links.new(out.outputs["Geometry"], end)
outer.links.new(first, nested.inputs[0])
outer.links.new(nested.outputs[0], last)
bpy.ops.object.simulation_nodes_cache_bake(selected=True)
"""
)


@pytest.mark.parametrize(
    ("name", "script", "named"),
    with_both(
        (FLUID, "'Smoke' of 'Cube'"),
        (PAINT, "'Wet' of 'Cube'"),
        (RIGID_BODIES, "the rigid bodies"),
        (CLOTH, "'Flag' of 'Cube'"),
        (PARTICLES, "the particles 'Dust' of 'Cube'"),
    ),
)
def test_what_is_not_baked_is_named(tmp_path: Path, home: Path, name: str, script: str, named: str) -> None:
    found = describe(build_named(name), make_scene(tmp_path / "s.blend", script=script), tmp_path / "d")
    assert (found.unbaked, found.ordered) == (named, True)


def test_simulation_nodes_are_named_with_their_object(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "s.blend", script=SIMULATION, saver="bpy")
    assert describe(build_named("bpy"), scene, tmp_path / "d").unbaked == "'Drift' of 'Cube'"


def test_a_simulation_that_was_baked_into_the_file_has_no_order(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "s.blend", script=BAKED, saver="bpy")
    found = describe(build_named("bpy"), scene, tmp_path / "d")
    assert (found.unbaked, found.ordered) == ("", False)


@pytest.mark.skipif(bool(sandbox.obstacle()), reason=sandbox.obstacle() or "it works")
def test_what_was_baked_into_a_folder_is_seen_from_the_sandbox(tmp_path: Path) -> None:
    script = f"bpy.ops.wm.save_as_mainfile(filepath=folder + '/s.blend')\n{BAKED}"
    to_disk = (
        "cube.modifiers[0].bake_target, cube.modifiers[0].bake_directory = 'DISK', '//bake'\nbpy.ops.object.sim"
    )
    script = script.replace("bpy.ops.object.sim", to_disk)
    scene, build = make_scene(tmp_path / "p" / "s.blend", script=script, saver="bpy"), build_named("bpy")
    assert list((tmp_path / "p" / "bake").glob("*/meta/*.json"))
    heard: list[Event] = []
    work = Work("blender", build, str(scene), Settings(), str(tmp_path / "scratch"), sandbox=Sandbox.REQUIRE)
    node = Node(work, "node", heard.append)
    try:
        node.render(Task((4,)), 1)
        (done,) = (event for event in heard if isinstance(event, Rendered))
        assert (pixels(done.path) == animated_by_hand(build, scene, tmp_path / "hand", (4, 4))[0]).all()
    finally:
        node.drop()


def test_a_scene_without_memory_has_no_order(tmp_path: Path, build: Build) -> None:
    found = describe(build, make_scene(tmp_path / "s.blend"), tmp_path / "d")
    assert (found.unbaked, found.ordered) == ("", False)


@pytest.mark.parametrize("script", [DUST, FLAG], ids=["particles", "cloth"])
def test_frames_in_the_middle_are_those_of_a_full_run(tmp_path: Path, build: Build, script: str) -> None:
    """Also where the file was saved in the middle, which makes single animations of each frame differ."""
    scene = make_scene(tmp_path / "s.blend", script=script)
    whole = animated_by_hand(build, scene, tmp_path / "hand")
    (tmp_path / "first").mkdir()
    with opened(build, scene, tmp_path / "farm") as session:
        for frames in ((5, 6, 8), (3,)):
            for done in session.render(frames, 1, tmp_path / "farm", tmp_path / "log"):
                assert isinstance(done, Rendered), done
                assert (pixels(done.path) == whole[done.frame - 1]).all()


def test_an_engine_without_python_renders_what_it_runs_through(tmp_path: Path, build: Build) -> None:
    script = DUST + 'scene.render.engine = "BLENDER_WORKBENCH"'
    scene = make_scene(tmp_path / "s.blend", script=script)
    whole = animated_by_hand(build, scene, tmp_path / "hand")
    assert (pixels(one(build, scene, tmp_path / "farm", 6).path) == whole[5]).all()
    assert [path.name for path in (tmp_path / "farm").glob("frame_*")] == ["frame_0006.png"]


@pytest.mark.slow
def test_frames_that_are_split_need_none_before_them(tmp_path: Path, build: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", script=DUST)
    assert not describe(build, scene, tmp_path / "d", allow_unbaked=True).ordered
    alone = one(build, scene, tmp_path / "farm", 6, allow_unbaked=True)
    assert (pixels(alone.path) == animated_by_hand(build, scene, tmp_path / "hand", (6, 6))[0]).all()


@pytest.mark.slow
def test_a_killed_job_goes_on_as_a_full_run_would_have(tmp_path: Path) -> None:
    build = build_named("bpy")
    path = make_scene(tmp_path / "s.blend", script=DUST, size=(64, 64), samples=64)
    whole = animated_by_hand(build, path, tmp_path / "hand")
    farm = Farm(tmp_path / "farm")
    job = farm.start("submit", path, "-o", tmp_path / "out", "--blender", build.path, "--no-video")
    wait_for(lambda: frames_there(tmp_path / "out") >= 3, "three frames")
    job.kill()
    job.communicate()
    assert frames_there(tmp_path / "out") < len(whole)
    resumed = farm.run("resume", farm.only_job())
    assert resumed.code == 0, resumed
    frames = sorted((tmp_path / "out" / "frames").glob("*.png"))
    assert len(frames) == len(whole)
    assert all((pixels(each) == right).all() for each, right in zip(frames, whole, strict=True))


def test_the_cost_of_the_order_is_told_before(tmp_path: Path) -> None:
    path = make_scene(tmp_path / "s.blend", script=DUST)
    told = Farm(tmp_path / "farm").run("submit", path, "-o", tmp_path / "out", "-f", "6-8", "--dry-run").out
    assert "not baked: the particles 'Dust' of 'Cube'" in told
    assert "one worker renders the frames in order, after running through 5 before them" in told
