"""Files that are saved while a job renders them: no frame is of a state that nobody submitted."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import moving
import pytest
from farm_runs import Farm, card, ended, frames_there, wait_for

from renderfarm.errors import InputError
from renderfarm.farm import background, copies, verbs
from renderfarm.farm.copies import Keep
from renderfarm.job.store import Store
from renderfarm.node import sandbox
from renderfarm.words import stamps
from renderfarm.words.request import Request, Settings

needs_sandbox = pytest.mark.skipif(bool(sandbox.obstacle()), reason=sandbox.obstacle() or "it is there")
KINDS = [pytest.param(kind, marks=needs_sandbox if kind == "a .blend" else ()) for kind in moving.KINDS]


def pictures(folder: Path, frames: int = 6) -> Path:
    """An animation in which each frame shows a picture of its own."""
    names = [f"map{number:04d}.bmp" for number in range(1, frames + 1)]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        moving.blender_scenes.write_png(folder / name.replace("bmp", "png"), (250, 0, 0))
    wall = 'image_map { png concat("map", str(frame_number, -4, 0), ".png") }'
    (folder / "s.pov").write_text(
        "#version 3.7; #declare i = 0; #while (i < 150000) #declare i = i + 1; #end\n"
        "camera { orthographic location <.5,.5,-5> look_at <.5,.5,0> right x up y }\n"
        f"box {{ 0, 1 pigment {{ {wall} }} finish {{ ambient 1 diffuse 0 }} }}"
    )
    return folder / "s.pov"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_whenever_somebody_edits_no_frame_is_wrong(tmp_path: Path, kind: str, seed: int) -> None:
    assert moving.wrong_frames(tmp_path, kind, seed) == []


@pytest.mark.parametrize("way", ["written, time kept", "replaced"])
def test_an_include_edited_and_put_back_leaves_no_trace(tmp_path: Path, farm: Farm, way: str) -> None:
    scene = moving.povray_include(tmp_path / "project")
    job = farm.start("submit", "--json", *moving.options(tmp_path / "a"), "--", scene.scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 2, "two frames")
    scene.put(scene.blue, way)
    time.sleep(0.1)
    scene.put(scene.red, way)
    ended(job)
    assert set(moving.colours(tmp_path / "a").values()) == {"red"}
    again = farm.submit(scene.scene, *moving.options(tmp_path / "b"))
    assert again.code == 0
    assert set(moving.colours(tmp_path / "b").values()) == {"red"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a .pov", "an .ini", pytest.param("a .blend", marks=needs_sandbox)])
def test_the_scene_may_be_saved_while_it_renders(tmp_path: Path, farm: Farm, kind: str) -> None:
    scene = moving.KINDS[kind](tmp_path / "project")
    job = farm.start("submit", "--json", "--workers", 2, *moving.options(tmp_path / "a"), "--", scene.scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 1, "a frame")
    scene.put(scene.blue, "replaced")
    done = ended(job)
    assert done.code == 0, done
    assert list(moving.colours(tmp_path / "a").values()) == ["red"] * moving.FRAMES
    assert farm.submit(scene.scene, *moving.options(tmp_path / "b")).json["frames"]["reused"] == 0
    assert list(moving.colours(tmp_path / "b").values()) == ["blue"] * moving.FRAMES


def test_an_interrupted_job_goes_on_with_the_scene_that_was_submitted(tmp_path: Path, farm: Farm) -> None:
    scene = moving.povray_scene(tmp_path / "project")
    job = farm.start("submit", "--json", *moving.options(tmp_path / "a"), "--", scene.scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 2, "two frames")
    job.send_signal(signal.SIGINT)
    assert ended(job).code == 130
    scene.put(scene.blue)
    assert farm.run("resume", farm.only_job(), "--json").code == 0
    assert list(moving.colours(tmp_path / "a").values()) == ["red"] * moving.FRAMES
    assert not (tmp_path / "a/.renderfarm/scene").exists()


@pytest.mark.slow
def test_a_detached_job_renders_what_was_submitted(tmp_path: Path, home: Path) -> None:
    scene = moving.povray_scene(tmp_path / "project")
    small = Settings(resolution=(16, 12))
    asked = Request(str(scene.scene), str(tmp_path / "a"), f"1-{moving.FRAMES}", settings=small, no_video=True)
    asked = replace(asked, reuse=False)
    verbs.submit(replace(asked, output=str(tmp_path / "known")))  # so that no renderer looks again
    job = background.detach(asked).job
    scene.put(scene.blue)
    wait_for(lambda: verbs.status(job).phase == "done" or verbs.status(job).problems, "the end of the job")
    assert (verbs.status(job).state, verbs.status(job).problems) == ("succeeded", ())
    assert list(moving.colours(tmp_path / "a").values()) == ["red"] * moving.FRAMES


def test_frames_that_need_a_changed_file_fail_the_others_are_rendered_and_resume_renders_them_as_it_is(
    tmp_path: Path, farm: Farm
) -> None:
    scene = pictures(tmp_path / "project")
    job = farm.start("submit", "--json", "--workers", 1, *options(tmp_path / "a"), "--", scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 1, "a frame")
    moving.blender_scenes.write_png(tmp_path / "project/map0005.png", (0, 0, 250))
    done = ended(job)
    failures = [(each["frame"], each["reason"], each["message"]) for each in done.json["failures"]]
    assert failures == [(5, "input-changed", "map0005.png changed while rendering")]
    assert (done.code, done.json["frames"]["succeeded"]) == (1, 5)
    resumed = farm.run("resume", done.json["job"], "--json")
    assert resumed.code == 0
    assert moving.colours(tmp_path / "a") == {**dict.fromkeys(range(1, 7), "red"), 5: "blue"}
    assert farm.submit(scene, *options(tmp_path / "b")).json["frames"]["reused"] == 6


def options(output: Path) -> tuple[object, ...]:
    return ("-f", "1-6", "--resolution", "16x12", "--no-video", "-o", output)


@pytest.mark.slow
def test_what_was_delivered_from_another_state_is_named_by_resume(tmp_path: Path, farm: Farm) -> None:
    scene = moving.povray_include(tmp_path / "project")
    job = farm.start("submit", "--json", *moving.options(tmp_path / "a"), "--", scene.scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 2, "two frames")
    scene.put(scene.blue)
    before = ended(job).json
    resumed = farm.run("resume", before["job"], "--json")
    assert (resumed.code, resumed.json["frames"]["succeeded"]) == (0, moving.FRAMES)
    assert any("asset part.inc changed" in note and "of before this" in note for note in resumed.json["notes"])
    assert set(moving.colours(tmp_path / "a").values()) == {"red", "blue"}


@pytest.mark.slow
def test_a_file_that_is_only_linked_or_touched_costs_no_frame(tmp_path: Path, farm: Farm) -> None:
    scene = moving.povray_include(tmp_path / "project")
    job = farm.start("submit", "--json", *moving.options(tmp_path / "a"), "--", scene.scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 1, "a frame")
    os.link(scene.file, tmp_path / "linked")
    time.sleep(0.2)
    scene.file.touch()
    assert ended(job).code == 0


def test_without_a_sandbox_a_blend_is_watched_like_any_other_file(tmp_path: Path, farm: Farm) -> None:
    scene = moving.blender_scene(tmp_path / "project")
    argv = ("submit", "--json", "--sandbox", "off", *moving.options(tmp_path / "a"), "-f", "1-200")
    job = farm.start(*argv, "--", scene.scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 1, "a frame")
    scene.put(scene.blue, "replaced, time kept")
    done = ended(job)
    assert done.code == 1
    assert {each["message"] for each in done.json["failures"]} == {"shot.blend changed while rendering"}
    assert "no sandbox: switched off" in done.json["notes"]
    assert set(moving.colours(tmp_path / "a").values()) == {"red"}


def test_a_file_that_comes_during_the_job_is_a_change(tmp_path: Path, farm: Farm) -> None:
    scene = card(tmp_path / "shot.testcard", "1-200", seconds=0.1, assets=["late.png"])
    job = farm.start("submit", "--json", "--allow-missing", "--no-video", "-o", tmp_path / "a", "--", scene)
    wait_for(lambda: frames_there(tmp_path / "a") >= 2, "two frames")
    (tmp_path / "late.png").write_bytes(b"late")
    assert "late.png changed while rendering" in {each["message"] for each in ended(job).json["failures"]}


@pytest.mark.slow
def test_what_two_output_folders_share_nobody_may_write_to(tmp_path: Path, farm: Farm) -> None:
    scene = card(tmp_path / "shot.testcard", "1-3")
    for name in ("a", "b"):
        assert farm.submit(scene, "-o", tmp_path / name).code == 0
    first, second = (tmp_path / name / "frames/shot.0002.png" for name in ("a", "b"))
    assert not first.samefile(second) or not stat.S_IMODE(first.stat().st_mode) & 0o222
    before = second.read_bytes()
    painted = first.with_name("painted.png")
    painted.write_bytes(b"painted over")
    painted.replace(first)
    assert second.read_bytes() == before
    assert farm.submit(scene, "-o", tmp_path / "a").json["frames"]["reused"] == 3
    assert first.read_bytes() == before
    assert farm.run("retry", farm.run("jobs", "--json").json["jobs"][-1]["job"], "--frames", "2").code == 0


# Copies of the scene


def test_a_copy_that_has_no_room_is_told_before_anything_is_rendered(
    tmp_path: Path, home: Path, tiny_disk: Path
) -> None:
    scene = tmp_path / "large.pov"
    scene.write_bytes(os.urandom(3 << 20))
    with closing(Store(home)) as store, pytest.raises(InputError, match="can't be copied"):
        copies.sources([str(scene)], Keep(tiny_disk), store).copied()


def test_a_copy_that_somebody_changed_is_not_taken_again(tmp_path: Path, home: Path) -> None:
    scene = tmp_path / "s.pov"
    scene.write_text("sphere")
    with closing(Store(home)) as store:
        first = copies.sources([str(scene)], Keep(tmp_path / "kept"), store)
        copy, wanted = Path(first.copied()[str(scene)]), [first.hashes[str(scene)]]
        scene.write_text("saved since")
        again = copies.sources([str(scene)], Keep(tmp_path / "kept", wanted), store)
        assert again.copied() == {str(scene): str(copy)}
        copy.chmod(0o644)
        copy.write_text("painted")
        changed = copies.sources([str(scene)], Keep(tmp_path / "kept", wanted), store)
        assert (changed.copies, Path(changed.copied()[str(scene)]).read_text()) == ({}, "saved since")


# Stamps


def test_a_stamp_has_settled_when_the_next_edit_gives_another_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    seen = set()
    for number in range(50):
        path.write_bytes(bytes([number]))
        seen.add(stamps.settled(path))
    assert len(seen) == 50


def test_same_size_and_same_time_is_another_stamp_with_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"red")
    before = stamps.settled(path)
    path.write_bytes(b"sea")
    os.utime(path, ns=(0, before[3]))
    after = stamps.stamp(path)
    assert (after[:4], after[4] > before[4]) == (before[:4], True)


def test_a_hash_of_a_file_that_is_written_all_the_time_is_refused(tmp_path: Path) -> None:
    path, begun, done = tmp_path / "f", threading.Event(), threading.Event()
    path.touch()
    os.truncate(path, 32 << 20)

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            while not done.is_set():
                file.write(b"more")
                begun.set()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(write)
        begun.wait()
        try:
            with pytest.raises(InputError, match="is being written"):
                stamps.read(path)
        finally:
            done.set()
