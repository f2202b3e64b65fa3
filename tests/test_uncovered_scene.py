"""A cluster's node without bubblewrap: no copy takes the place of a .blend that is edited meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blender_scenes import has_bpy, make_scene

from renderfarm.node.task import Order
from renderfarm.renderers import renderer
from renderfarm.words.as_json import encode
from renderfarm.words.request import Settings
from renderfarm.words.work import Task, Work


def said(order: Path, nothing: Path) -> dict[str, str]:
    """What the node says of an order's first task: each kind, with the reason where there is one."""
    argv = [sys.executable, "-m", "renderfarm.node", "task", str(order), "0", "n1", "1", "0"]
    subprocess.run(argv, check=True, env={"PATH": str(nothing), "PYTHONPATH": str(Path(__file__).parents[1])})
    lines = [
        line for path in (order.parents[1] / "journal").iterdir() for line in path.read_text().splitlines()
    ]
    return {kind: value.get("reason", "") for kind, value, _ in map(json.loads, lines)}


@pytest.mark.skipif(not has_bpy(), reason="no bpy here")
@pytest.mark.parametrize("edited", [True, False])
def test_a_scene_that_no_copy_covers_has_to_be_as_it_was_submitted(tmp_path: Path, edited: bool) -> None:
    scene = make_scene(tmp_path / "shot.blend")
    copy = tmp_path / "kept" / "shot.blend"
    copy.parent.mkdir()
    shutil.copyfile(scene, copy)
    scene.write_bytes(scene.read_bytes() + b" " * edited)
    build = renderer("blender").builds()[0]
    work = Work("blender", build, str(scene), Settings(), "", copies={str(scene): str(copy)})
    order = tmp_path / "job" / "queue" / "x.json"
    order.parent.mkdir(parents=True)
    order.write_text(json.dumps(encode(Order("x", work, (Task((1,)),), 0))))
    told = said(order, copy.parent)
    assert (told.get("Failed"), "Rendered" in told) == (("input-changed", False) if edited else (None, True))
    assert "Noted" in told
