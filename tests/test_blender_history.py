"""What makes frames depend on the frames before them is told by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blender_runs import build_named, describe
from blender_scenes import has_blender, has_bpy, make_scene

from renderfarm.words.model import Build

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


@pytest.mark.parametrize(
    ("script", "named"),
    [
        (FLUID, "Not baked.*'Smoke' of 'Cube'"),
        (PAINT, "Not baked.*'Wet' of 'Cube'"),
        (RIGID_BODIES, "Not baked.*the rigid bodies"),
        (CLOTH, "Not baked.*'Flag' of 'Cube'"),
        (PARTICLES, "Not baked.*the particles 'Dust' of 'Cube'"),
    ],
    ids=["fluid", "paint", "rigid bodies", "cloth", "particles"],
)
def test_what_is_not_baked_is_named(tmp_path: Path, build: Build, script: str, named: str) -> None:
    notes = describe(build, make_scene(tmp_path / "s.blend", script=script), tmp_path / "d").notes
    assert any(re.search(named, note) for note in notes), notes


def test_simulation_nodes_are_named_with_their_object(tmp_path: Path) -> None:
    scene = make_scene(tmp_path / "s.blend", script=SIMULATION, saver="bpy")
    notes = describe(build_named("bpy"), scene, tmp_path / "d").notes
    assert any("'Drift' of 'Cube'" in note and "unless they are baked" in note for note in notes), notes


def test_a_scene_without_memory_has_no_such_note(tmp_path: Path, build: Build) -> None:
    notes = describe(build, make_scene(tmp_path / "s.blend"), tmp_path / "d").notes
    assert not any("rendered alone" in note for note in notes)
