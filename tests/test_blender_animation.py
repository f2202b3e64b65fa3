"""A frame is what Blender's own animation of the scene shows at that frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from blender_runs import animated_by_hand, opened, pixels, render
from blender_scenes import has_blender, has_bpy, make_scene

from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build

pytestmark = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")

OTHER_SCENE = """
other = bpy.data.scenes.new("Other")
other.render.engine, other.cycles.samples, other.cycles.use_denoising = "CYCLES", 1, False
other.render.resolution_x, other.render.resolution_y = 32, 32
other.frame_start, other.frame_end = 1, 4
other.camera = camera
twin = cube.copy()
for item in (camera, sun, twin): other.collection.objects.link(item)
insert(twin, "location", {-4: -1.5, 0: 0.0, 4: 1.5, 1199999: 0.0, 1200000: 1.5}, index=0)
other.frame_set(3)
"""
SAVED_BETWEEN_FRAMES = "scene.frame_set(3, subframe=0.5)"
RANGE_IN_A_DRIVER = """
for index, name in ((0, "frame_start"), (2, "frame_end")):
    driver = cube.driver_add("scale", index).driver
    variable = driver.variables.new()
    variable.name = "v"
    variable.targets[0].id_type, variable.targets[0].id, variable.targets[0].data_path = "SCENE", scene, name
    driver.expression = "v / 4"
"""
PARTICLES = """
cube.modifiers.new("P", "PARTICLE_SYSTEM")
settings = cube.particle_systems[0].settings
settings.count, settings.frame_start, settings.frame_end = 50, -20, 4
"""


def rendered(build: Build, path: Path, scratch: Path, *frames: int, **settings: object) -> list[np.ndarray]:
    """The pictures of frames that one warm session renders in the order given."""
    done = render(build, path, scratch, *frames, **settings)
    assert all(isinstance(one, Rendered) for one in done), done
    return [pixels(one.path) for one in done if isinstance(one, Rendered)]


def assert_same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    assert [np.array_equal(*pair) for pair in zip(ours, theirs, strict=True)] == [True] * len(theirs)


def test_a_scene_that_is_not_the_active_one_moves(tmp_path: Path, build: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", script=OTHER_SCENE)
    four, two, three, one = rendered(build, scene, tmp_path / "r", 4, 2, 3, 1, scene="Other")
    assert_same([one, two, three, four], animated_by_hand(build, scene, tmp_path / "hand", name="Other"))


@pytest.mark.parametrize(
    "script", [SAVED_BETWEEN_FRAMES, RANGE_IN_A_DRIVER], ids=["sub-frame", "range in a driver"]
)
def test_frames_are_those_of_the_whole_animation(tmp_path: Path, build: Build, script: str) -> None:
    scene = make_scene(tmp_path / "s.blend", frames=(2, 4), script=script)
    three, two, four = rendered(build, scene, tmp_path / "r", 3, 2, 4)
    assert_same([two, three, four], animated_by_hand(build, scene, tmp_path / "hand"))


def test_unbaked_particles_are_those_of_an_animation_of_one_frame(tmp_path: Path, build: Build) -> None:
    scene = make_scene(tmp_path / "s.blend", script=PARTICLES)
    ours = rendered(build, scene, tmp_path / "r", 3)
    assert_same(ours, animated_by_hand(build, scene, tmp_path / "hand", (3, 3)))


def test_a_frame_that_no_range_holds_is_that_frame(tmp_path: Path, build: Build) -> None:
    """The twin is in the middle at 0 and 1199999, to the right at 4 and 1200000, and to the left at -4."""
    scene = make_scene(tmp_path / "s.blend", script=OTHER_SCENE, moving=False)
    frames = (-4, 0, 1200000, 4, 1199999)
    left, middle, right, *same = rendered(build, scene, tmp_path / "r", *frames, scene="Other")
    assert_same(same, [right, middle])
    assert not np.array_equal(left, middle)
    assert not np.array_equal(left, right)


def test_the_scenes_own_range_is_there_after_a_frame(tmp_path: Path, build: Build) -> None:
    with opened(build, make_scene(tmp_path / "s.blend", frames=(2, 9)), tmp_path) as session:
        list(session.render([5], 1, tmp_path, tmp_path / "log"))
        assert session.describe().frames == "2-9"
