"""What can't work is refused before a frame is rendered, with what to do instead."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from blender_scenes import has_blender, make_scene
from farm_runs import Farm, frames_there

needs_blender = pytest.mark.skipif(not has_blender(), reason="the distribution's Blender is not installed")


@needs_blender
def test_a_renderer_without_the_scenes_denoiser_is_refused_and_the_remedy_that_is_named_works(
    tmp_path: Path,
) -> None:
    farm = Farm(tmp_path / "farm")
    scene = make_scene(farm.folder / "shot.blend", frames=(1, 2), denoise=True)
    blender = str(shutil.which("blender"))
    done = farm.submit(scene, "--no-video", "--blender", blender)
    assert done.code == 2
    assert "without a denoiser" in done.err
    assert "--option denoise=off" in done.err
    assert frames_there(farm.folder / "out") == 0
    done = farm.submit(scene, "--no-video", "--blender", blender, "--option", "denoise=off")
    assert (done.code, done.json["frames"]["succeeded"]) == (0, 2)


def test_a_scene_without_a_camera_is_refused_and_its_cameras_are_named(tmp_path: Path) -> None:
    farm = Farm(tmp_path / "farm")
    scene = make_scene(farm.folder / "shot.blend", frames=(1, 2), camera=False)
    done = farm.submit(scene, "--no-video")
    assert done.code == 2
    assert "has no active camera" in done.err


@pytest.mark.skipif(shutil.which("povray") is None, reason="POV-Ray is not installed")
def test_a_variable_that_its_renderer_would_read_by_hand_is_said_not_to_count(farm: Farm) -> None:
    scene = farm.folder / "s.pov"
    scene.write_text("camera { location -3*z look_at 0 } light_source { -9*z 1 } sphere { 0, 1 }")
    done = farm.submit(scene, "--resolution", "32x18", POVINI="/my.ini")
    assert [note for note in done.json["notes"] if "POVINI (/my.ini) does not count" in note]
