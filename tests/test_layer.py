"""Scenes that write beside themselves: the project stays as it was, and each node sees what it wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_povray import by_hand, pixels

from renderfarm.node import sandbox, trace
from renderfarm.node.launch import ProcessLauncher
from renderfarm.node.layer import Layer, layer_over
from renderfarm.renderers.povray.renderer import RENDERER
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Work
from tests import povray_scenes
from tests.farm_runs import Farm

pytestmark = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no bubblewrap: {sandbox.obstacle()}")
needs_povray = pytest.mark.skipif(shutil.which("povray") is None, reason="needs povray")
CACHE = """
#if (!file_exists("cache.inc"))
  #fopen H "cache.inc" write #write (H, "sphere { y, 0.4 pigment { rgb 1 } }") #fclose H
#end
#include "cache.inc"
"""
FORGIVING = """
#if (file_exists("state.txt")) #fopen F "state.txt" read #read (F, P) #fclose F #else #declare P = 0; #end
#declare P = P + 0.3;
#fopen G "state.txt" write #write (G, P, ",") #fclose G
sphere { <P - 1, 0, 0>, 0.3 pigment { rgb 1 } }
"""
STATE = """
#if (frame_number = initial_frame) #declare P = 0; #else #fopen F "state.txt" read #read (F, P) #fclose F #end
#declare P = P + 0.3;
#fopen G "state.txt" write #write (G, P, ",") #fclose G
sphere { <P - 1, 0.5, -1>, 0.3 pigment { rgb y } }
"""


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    project = tmp_path / "project, of: mine"
    project.mkdir()
    (project / "own").write_text("own")
    (tmp_path / "work" / "w1").mkdir(parents=True)
    made = layer_over(project, tmp_path / "work" / "w1")
    if made is None:
        pytest.skip("no overlay can be mounted here")
    return made


def run(layer: Layer, script: str) -> str:
    argv = layer.inside(["sh", "-c", f"cd {layer.view} && {script}"])
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_what_is_written_stays_for_the_next_process_and_never_reaches_the_folder(
    layer: Layer, tmp_path: Path
) -> None:
    run(layer, "echo new >made; echo more >>own; mkdir deep; echo x >deep/file; ln -s /etc/passwd link")
    assert run(layer, "cat own made") == "ownmore\nnew\n"
    assert (tmp_path / "project, of: mine" / "own").read_text() == "own"
    layer.keep(tmp_path / "kept")
    kept = sorted(str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*"))
    assert kept == ["deep", "deep/file", "made", "own"]


def test_what_is_kept_is_written_through_no_link_of_a_stranger(layer: Layer, tmp_path: Path) -> None:
    (tmp_path / "own" / "deep").mkdir(parents=True)
    (tmp_path / "own" / "file").write_text("mine")
    (tmp_path / "out" / "written" / "w1").mkdir(parents=True)
    (tmp_path / "out" / "written" / "w1" / "made").symlink_to(tmp_path / "own" / "file")
    (tmp_path / "out" / "written" / "w1" / "deep").symlink_to(tmp_path / "own" / "deep")
    (tmp_path / "out" / "written" / "w2").symlink_to(tmp_path / "own" / "deep")
    run(layer, "echo new >made; mkdir deep; echo x >deep/file")
    for name in ("w1", "w2"):
        layer.keep(tmp_path / "out" / "written" / name)
    assert (tmp_path / "own" / "file").read_text() == "mine"
    assert list((tmp_path / "own" / "deep").glob("*")) in ([], [tmp_path / "own" / "deep" / "deep"])
    assert not list((tmp_path / "own").rglob("deep/file"))
    assert (tmp_path / "out" / "written" / "w1" / "made").read_text() == "new\n"


def test_a_cleared_layer_shows_the_folder_alone(layer: Layer) -> None:
    run(layer, "echo new >made")
    layer.clear()
    assert run(layer, "ls") == "own\n"


def test_who_is_mapped_to_root_for_a_layer_has_no_rights_in_the_sandbox(layer: Layer) -> None:
    shown = ["--ro-bind", "/", "/", "--proc", "/proc"]
    argv = layer.inside(sandbox.command(["grep", "CapEff", "/proc/self/status"], shown, Path("/")))
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert int(said.split()[1], 16) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, who may give files away")
def test_a_file_of_somebody_else_is_added_to_in_the_layer(layer: Layer, tmp_path: Path) -> None:
    deep = tmp_path / "shared" / "deep"
    deep.mkdir(parents=True)
    for path in (deep / "theirs", deep.parent / "own", deep):
        path.is_dir() or path.write_text("theirs")
        os.chown(path, 4321, 4321)
    layer = layer_over(deep.parent, tmp_path / "work" / "w1") or layer
    run(layer, "echo more >>deep/theirs; echo more >>own; echo new >deep/new")
    assert (deep / "theirs").read_text() == "theirs"
    layer.keep(tmp_path / "kept")
    kept = {str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*")}
    assert kept == {"deep", "deep/theirs", "deep/new", "own"}


def test_where_no_overlay_can_be_mounted_a_small_folder_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "own").write_text("own")
    monkeypatch.setattr("renderfarm.node.layer._UNSHARE", ("false",))
    (tmp_path / "out").mkdir()
    layer = layer_over(tmp_path / "project", tmp_path / "out" / "w1")
    assert layer is not None
    assert run(layer, "echo new >made; echo more >>own; cat own") == "ownmore\n"
    assert (tmp_path / "project" / "own").read_text() == "own"
    layer.keep(tmp_path / "kept")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["made", "own"]
    layer.clear()
    assert run(layer, "ls; cat own") == "own\nown"
    monkeypatch.setattr("renderfarm.node.layer.MOST_COPIED_BYTES", 1)
    assert layer_over(tmp_path / "project", tmp_path / "out" / "w2") is None
    layer.remove()


def test_a_layer_over_the_folder_that_its_scratch_lies_in_lies_elsewhere(tmp_path: Path) -> None:
    scratch = tmp_path / "out" / "work" / "w1"
    scratch.mkdir(parents=True)
    made = layer_over(tmp_path, scratch)
    if made is None:
        pytest.skip("no overlay can be mounted here")
    assert tmp_path not in made.view.parents
    assert "out" in run(made, "ls")
    made.remove()
    assert not made.view.parent.exists()


@needs_povray
def test_a_scene_that_writes_a_file_and_includes_it_renders_and_the_project_stays_clean(tmp_path: Path) -> None:
    farm = Farm(tmp_path / "farm")
    ini = povray_scenes.make_scene(tmp_path / "project", frames=2, extra=CACHE)
    before = {path.name for path in ini.parent.iterdir()}
    done = farm.submit(ini, "--no-video", "--workers", 1)
    assert done.code == 0, done.err
    assert {path.name for path in ini.parent.iterdir()} == before
    assert (farm.folder / "out/written/w1/cache.inc").read_text().startswith("sphere")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[int, np.ndarray]:
    """The frames of the scene that keeps a state, by POV-Ray itself."""
    hand = tmp_path_factory.mktemp("hand")
    return by_hand(povray_scenes.make_scene(hand, frames=4, extra=STATE), hand / "pictures")


@needs_povray
@pytest.mark.parametrize("choice", ["require", "off"])
def test_frames_that_read_what_those_before_them_wrote_are_those_of_povray(
    tmp_path: Path, clean: dict[int, np.ndarray], choice: str
) -> None:
    farm = Farm(tmp_path / "farm")
    ini = povray_scenes.make_scene(tmp_path / "project", frames=4, extra=STATE)
    done = farm.submit(ini, "--no-video", "--workers", 2, "--chunk", 2, "--sandbox", choice)
    assert done.code == 0, done.err
    notes = farm.status(farm.only_job())["notes"]
    assert any("frames read files that the scene writes" in note for note in notes)
    if choice == "require":  # else the scene's own file is now there, and it is another scene
        again = farm.run("retry", farm.only_job(), "--frames", "3")
        assert again.code == 0, again.err
    for frame, picture in clean.items():
        ours = pixels(farm.folder / f"out/frames/tiny.{frame:04d}.png")
        assert (ours == picture).all(), f"frame {frame} differs"


@needs_povray
def test_a_session_runs_through_the_frames_before_its_own(tmp_path: Path, clean: dict[int, np.ndarray]) -> None:
    ini = povray_scenes.make_scene(tmp_path / "project", frames=4, extra=STATE)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    work = Work("povray", RENDERER.builds()[0], str(ini), Settings(), str(scratch), sandbox=Sandbox.REQUIRE)
    work = replace(work, ordered=True)
    launcher = ProcessLauncher(work)
    session = RENDERER.open(work, launcher)
    try:
        for outcome in session.render([3, 4, 2], 1, scratch, scratch / "log"):
            assert isinstance(outcome, Rendered), outcome
            assert (pixels(Path(outcome.path)) == clean[outcome.frame]).all(), outcome.frame
    finally:
        session.close()
        launcher.put_away()
    assert sorted(path.name for path in ini.parent.iterdir()) == ["tiny.ini", "tiny.pov"]


@pytest.mark.slow
@needs_povray
@pytest.mark.skipif(bool(trace.obstacle()), reason=trace.obstacle() or "it is there")
def test_frames_that_turn_out_to_read_what_others_wrote_are_rendered_again_in_order(tmp_path: Path) -> None:
    hidden = '#include concat("sta", "te.inc")'
    for folder in ("project", "hand"):
        ini = povray_scenes.make_scene(tmp_path / folder, frames=6, extra=hidden)
        (tmp_path / folder / "state.inc").write_text(FORGIVING)
    clean = by_hand(ini, tmp_path / "pictures")
    scene = tmp_path / "project" / ini.name
    done = Farm(tmp_path / "farm").submit(scene, "--no-video", "--workers", 3, "--chunk", 1)
    assert done.code == 0, done.err
    assert any("frames read state.txt, which the scene writes" in note for note in done.json["notes"])
    ours = {frame: pixels(path) for frame, path in enumerate(frames(tmp_path / "farm" / "out"), 1)}
    assert all((ours[frame] == clean[frame]).all() for frame in clean)
    again = Farm(tmp_path / "farm").submit(scene, "--no-video", "-o", tmp_path / "again")
    assert again.json["frames"]["reused"] == 6


def frames(output: Path) -> list[Path]:
    return sorted((output / "frames").glob("*.png"))
