"""Scenes of a Blender that is newer than the one that renders them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from blender_runs import build_named, describe
from blender_scenes import make_scene
from farm_runs import Farm

from renderfarm.renderers.blender.builds import is_module
from renderfarm.words.model import Build


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
