"""The add-on for Blender, in real Blenders without a window: installed, switched on, and submitting."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from renderfarm.farm import addon
from renderfarm.renderers.blender import builds
from renderfarm.words.work import Build
from tests.farm_runs import Farm

INSIDE = Path(__file__).with_name("addon_inside.py")
BUILDS = builds.builds()
MODULES = [build for build in BUILDS if builds.is_module(build)]
OLDEST = [build for build in BUILDS if build.version < (4, 2)]


def inside(farm: Farm, build: Build, step: str) -> Any:
    """What a step of the program inside Blender finds out, with preferences of the test's own."""
    archive = addon.write(farm.folder / "addon.zip")
    found = farm.folder / "found.json"
    arguments = ["--", step, str(archive), str(farm.folder / "a.blend"), str(found)]
    start = (
        [build.path]
        if builds.is_module(build)
        else [build.path, "--background", "--python-exit-code", "3", "--python"]
    )
    browser = farm.folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n')
    browser.chmod(0o755)
    folders = {name: str(farm.folder / name) for name in ("BLENDER_USER_RESOURCES", "BLENDER_USER_SCRIPTS")}
    for folder in folders.values():
        Path(folder).mkdir(exist_ok=True)
    done = subprocess.run(
        [*start, str(INSIDE), *arguments],
        env={**farm.environment, **folders, "BROWSER": str(browser)},
        cwd=farm.folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(found.read_text())


def test_the_archive_has_one_folder_at_its_top_and_no_wheels(tmp_path: Path) -> None:
    with zipfile.ZipFile(addon.write(tmp_path / "a.zip")) as archive:
        names = archive.namelist()
        program = json.loads(archive.read(f"{addon.NAME}/program.json"))
    assert {name.split("/")[0] for name in names} == {addon.NAME}
    assert {Path(name).suffix for name in names} == {".py", ".toml", ".json", ""}
    assert program == [sys.executable, "-P", "-m", "renderfarm"]


def test_manifest_and_bl_info_say_the_same() -> None:
    manifest = tomllib.loads((addon.FOLDER / "blender_manifest.toml").read_text())
    (said,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((addon.FOLDER / "__init__.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "bl_info"
    )
    assert [manifest["id"], manifest["name"]] == [addon.NAME, said["name"]]
    assert manifest["version"] == ".".join(map(str, said["version"]))
    assert (manifest["tagline"], manifest["license"]) == (said["description"], ["SPDX:GPL-3.0-or-later"])


@pytest.mark.skipif(not MODULES, reason="no Blender with extensions here")
def test_blenders_own_tool_finds_nothing_wrong(tmp_path: Path) -> None:
    (folder,) = Path(MODULES[0].path).parents[1].glob("lib/python3*/site-packages/bpy")
    (tool,) = folder.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    command = [sys.executable, str(tool), "validate", str(addon.write(tmp_path / "a.zip"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, "error" in done.stdout.lower()) == (0, False), done.stdout + done.stderr


@pytest.mark.parametrize("build", MODULES[:1] + OLDEST[:1], ids=lambda build: build.label)
def test_a_refusal_reaches_the_panel_in_the_same_words_and_the_file_is_left_alone(
    build: Build, farm: Farm
) -> None:
    found = inside(farm, build, "refused")
    said = farm.run("submit", farm.folder / "a.blend", "--frames", "7-x").err
    assert f"Error: {found['error']}" in said
    assert found["note"] == "Rendered as last saved: later changes are not in it."
    assert [found["dirty"], found["same"], found["panel"]] == [True, True, True]
    assert found["argv"] == [[], ["--frames=1-9"]], "what was typed is rendered, whatever was saved"
    assert found["asked"] == [[], [], ["local"]], "pools are asked for beside Blender, again after a failure"


@pytest.mark.slow
@pytest.mark.parametrize("build", MODULES[:1] + OLDEST[:1], ids=lambda build: build.label)
def test_a_job_is_followed_to_its_end_from_inside(build: Build, farm: Farm) -> None:
    found = inside(farm, build, "rendered")
    assert (found["error"], found.get("state")) == ("", "succeeded")
    assert Path(found["last_frame"]).is_relative_to(farm.folder / "renders" / "a" / "frames")
    assert found["again"] == found["job"], "the panel finds the job again by the file's output folder"
    assert f"/jobs/{found['job']}?token=" in (farm.folder / "opened").read_text()


@pytest.mark.skipif(not OLDEST, reason="no Blender with a window here")
def test_installing_switches_it_on_in_the_users_blender(farm: Farm) -> None:
    folders = {f"BLENDER_USER_{name}": str(farm.folder / name.lower()) for name in ("CONFIG", "SCRIPTS")}
    (farm.folder / "config").mkdir()
    done = farm.run("addon", "install", "--json", "--blender", OLDEST[0].path, **folders)
    assert (done.code, [each["ok"] for each in done.json["installed"]]) == (0, [True])
    assert (farm.folder / "scripts" / "addons" / addon.NAME / "LICENSE").is_file()
    asked = f"import bpy; assert {addon.NAME!r} in bpy.context.preferences.addons"
    argv = [OLDEST[0].path, "--background", "--python-exit-code", "3", "--python-expr", asked]
    assert subprocess.run(argv, env={**farm.environment, **folders}, capture_output=True).returncode == 0
