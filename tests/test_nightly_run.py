"""Nights as their users meet them: what is rendered, what is told, what a night that dies leaves."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests import blender_scenes, povray_scenes
from tests.farm_runs import fault, one_sentence_with_a_next_step, wait_for, wait_until_none_is_left
from tests.nights import Project, ended, names, pixels, without_times


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# Only what changed


def texture(path: Path, level: int) -> None:
    blender_scenes.write_png(path, (level, level, level))


@pytest.mark.slow
@pytest.mark.skipif(not blender_scenes.has_bpy(), reason="needs bpy")
@pytest.mark.skipif(shutil.which("povray") is None, reason="needs povray")
def test_three_nights_render_exactly_the_frames_that_depend_on_what_changed(project: Project) -> None:
    lay_out_eight_shots(project)
    assert project.run().code == 0, project.record()["problems"]
    first = project.rendered()
    assert first == {
        "cards": 4,
        "cube": 3,
        "include": 3,
        "moved": 3,
        "plain": 3,
        "sequence": 4,
        "textured": 3,
        "tile": 3,
    }

    assert project.run(day=1).code == 0
    assert project.rendered() == {}
    assert not list(project.nights[1].glob("*/logs/*")), "nothing was started"
    assert all(shot["frames"]["left"] == 0 for shot in project.shots().values())
    assert project.shots()["plain"]["video"]

    texture(project.folder / "paint.png", 200)
    include = project.folder / "box/parts/box.inc"
    include.write_text(f"{include.read_text()}// changed\n")
    texture(project.folder / "seq/pic.0002.png", 90)
    camera_moved(project)
    assert project.run(day=2).code == 0
    assert project.rendered() == {"textured": 3, "include": 3, "sequence": 1, "moved": 3}
    why = {name: " ".join(shot["why"]) for name, shot in project.shots().items()}
    assert "paint.png changed" in why["textured"]
    assert "box.inc changed" in why["include"]
    assert "pic.0002.png changed" in why["sequence"]
    assert "scene moved.blend changed" in why["moved"]
    assert why["cube"] == ""


def lay_out_eight_shots(project: Project) -> None:
    here = project.folder
    texture(here / "paint.png", 30)
    for frame in range(1, 5):
        texture(here / "seq" / f"pic.{frame:04d}.png", frame * 20)
    use = "made, node = textured('Skin', '//{}'{})\ncube.data.materials[0] = made\n"
    frames = (
        "user = node.image_user\nuser.frame_duration, user.frame_start, user.use_auto_refresh = 4, 1, True\n"
    )
    blender_scenes.make_scene(here / "cube.blend", frames=(1, 3))
    blender_scenes.make_scene(here / "textured.blend", frames=(1, 3), script=use.format("paint.png", ""))
    sequence = use.format("seq/pic.0001.png", ", 'SEQUENCE'") + frames
    blender_scenes.make_scene(here / "sequence.blend", frames=(1, 4), script=sequence)
    camera_moved(project, 0)
    povray_scenes.make_scene(here / "plain", frames=3, name="plain")
    box = povray_scenes.make_textured_scene(here / "box", frames=3)
    project.card("cards", "1-4")
    project.write(
        defaults={"resolution": "32x24"},
        cube={"scene": "cube.blend"},
        textured={"scene": "textured.blend"},
        sequence={"scene": "sequence.blend"},
        moved={"scene": "moved.blend"},
        plain={"scene": "plain/plain.ini", "video": True},
        include={"scene": str(box.relative_to(here))},
        tile={"scene": "plain/plain.ini", "resolution": "16x12"},
        cards={"scene": "cards.testcard", "priority": 5},
    )


def camera_moved(project: Project, places: int = 1) -> None:
    script = f"camera.location.x += {places}"
    blender_scenes.make_scene(project.folder / "moved.blend", frames=(1, 3), script=script)


def test_a_second_night_links_what_is_known_first_and_leaves_the_first_one_as_it_was(project: Project) -> None:
    for name in ("known", "left", "lost", "new"):
        project.card(name)
    shots = {name: {"scene": f"{name}.testcard"} for name in ("left", "lost", "new")}
    known = {"scene": "known.testcard", "video": True}
    project.write(known=known, left=shots["left"], lost=shots["lost"])
    project.run()
    (project.folder / "lost.testcard").unlink()
    files = [path for name in ("known", "lost") for path in (project.nights[0] / name).rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in files if path.is_file()}
    project.write(new={**shots["new"], "priority": 9}, known=known, lost=shots["lost"])
    done = project.run(day=1)
    assert (done.code, project.shots()["lost"]["state"]) == (1, "failed")
    assert project.record()["removed"] == ["left"]
    assert done.err.index("known succeeded: 4 reused") < done.err.index("new succeeded: 4 rendered")
    first, second = (project.nights[n] / "known" for n in (0, 1))
    for name in (*(f"frames/{name}" for name in names("known", range(1, 5))), "known.mp4", "contact-sheet.jpg"):
        assert (first / name).samefile(second / name)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_what_is_made_anew_leaves_the_night_before_alone(project: Project) -> None:
    project.films = True
    project.card("a")
    project.write(a={"scene": "a.testcard"})
    project.run()
    before = pixels(project.nights[0] / "a/frames")
    project.card("a", size=[48, 18])
    project.run(day=1)
    assert pixels(project.nights[0] / "a/frames") == before
    assert not (project.nights[0] / "a/a.mp4").samefile(project.nights[1] / "a/a.mp4")


@pytest.mark.slow
def test_all_renders_everything_again_and_says_why(project: Project) -> None:
    project.card("a")
    project.write(a={"scene": "a.testcard"})
    project.run()
    assert project.run("--all", day=1).code == 0
    assert project.rendered() == {"a": 4}
    assert project.shots()["a"]["why"] == ["asked for with --all"]


def test_a_second_run_on_the_same_day_goes_on_with_the_same_night(project: Project) -> None:
    project.card("a", "1-4", faults=fault("crash", 2, times=3))
    project.write(a={"scene": "a.testcard"})
    assert project.run().code == 1
    project.card("b")
    project.write(a={"scene": "a.testcard"}, b={"scene": "b.testcard"})
    assert project.run().code == 0
    assert len(project.nights) == 1
    assert project.rendered() == {"a": 4, "b": 4}


def test_several_shots_render_at_once_if_the_list_says_so(project: Project) -> None:
    for name in "abc":
        project.card(name, "1-6", seconds=0.1)
    project.write(top={"together": 3}, **{name: {"scene": f"{name}.testcard"} for name in "abc"})
    done = project.run()
    assert done.code == 0, done.err
    assert project.rendered() == {"a": 6, "b": 6, "c": 6}
    assert done.err.index("c-") < done.err.index("a succeeded")


# One bad shot


def test_bad_shots_are_told_and_the_others_are_delivered(project: Project) -> None:
    project.films = True
    project.card("good")
    project.card("crash", "1-5", faults=fault("crash", 3))
    project.card("textured", assets=["nowhere.png"])
    (project.folder / "broken.testcard").write_text("no JSON")
    shots = {
        name: {"scene": f"{name}.testcard", "priority": 5}
        for name in ("crash", "textured", "broken", "deleted")
    }
    project.write(**shots, good={"scene": "good.testcard"})
    said = project.run("--json", "--quiet")
    assert (said.code, said.json["exit_code"]) == (1, 1)
    assert {key: said.json["shots"][key] for key in ("total", "failed")} == {"total": 5, "failed": 4}
    assert said.json["frames"] == {"total": 9, "rendered": 8, "reused": 0, "failed": 1, "left": 0}
    assert sorted(failed["shot"] for failed in said.json["failed"]) == sorted(shots)
    assert Path(said.json["report"]).is_file()
    found = project.shots()
    assert {name: shot["state"] for name, shot in found.items()} == {
        **dict.fromkeys(("crash", "textured", "broken", "deleted"), "failed"),
        "good": "succeeded",
    }
    assert "deleted.testcard" in found["deleted"]["error"]
    assert "nowhere.png" in found["textured"]["error"]
    assert "can't be read as a test card" in found["broken"]["error"]
    assert [(f["frame"], f["reason"]) for f in found["crash"]["failures"]] == [(3, "crash")]
    assert found["crash"]["retry"] == f"renderfarm retry {found['crash']['job']}"
    assert project.frames("crash") == names("crash", [1, 2, 4, 5])
    assert found["crash"]["video"], "its gap is held"


# Killed, stopped, already running


def slow_project(folder: Path) -> Project:
    project = Project(folder)
    project.card("first", "1-12", seconds=0.05)
    project.card("crash", "1-8", seconds=0.05, faults=fault("crash", 4))
    project.card("last", "1-12", seconds=0.05)
    shots = {name: {"scene": f"{name}.testcard", "workers": 1} for name in ("first", "crash", "gone", "last")}
    project.write(**shots)
    return project


def is_over(project: Project) -> bool:
    """Whether a night was recorded to its end."""
    records = list(project.folder.glob("nights/*/night.json"))
    return bool(records) and project.record()["ended"] is not None


@pytest.mark.slow
def test_a_night_that_is_killed_and_started_again_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    calm = slow_project(tmp_path / "calm")
    assert calm.run().code == 1
    project, dice, killed = slow_project(tmp_path / "killed"), random.Random(5), 0
    while not is_over(project) and killed < 4:
        process = project.start("run", project.list)
        time.sleep(dice.uniform(0.4, 1.6))
        process.kill()
        killed += ended(process).code == -signal.SIGKILL
    assert killed >= 1
    if not is_over(project):
        assert project.run().code == 1
    wait_until_none_is_left(project.folder)
    assert without_times(project.record(), project.folder) == without_times(calm.record(), calm.folder)
    for shot in ("first", "crash", "last"):
        assert pixels(project.nights[0] / shot / "frames") == pixels(calm.nights[0] / shot / "frames")


def rendering(project: Project, shot: str = "a", *more: object) -> subprocess.Popen[str]:
    process = project.start("run", project.list, *more)
    folder = project.folder / "nights"
    wait_for(lambda: list(folder.glob(f"*/{shot}/frames/*.png")), "the first frames")
    return process


@pytest.mark.parametrize("together", [1, 2])
def test_ctrl_c_stops_the_night_and_the_next_run_goes_on_with_it(project: Project, together: int) -> None:
    for name in "ab":
        project.card(name, "1-200", seconds=0.05)
    project.write(top={"together": together}, a={"scene": "a.testcard"}, b={"scene": "b.testcard"})
    process = rendering(project)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130
    assert f"renderfarm nightly run {project.list}" in done.err
    wait_until_none_is_left(project.folder)
    assert project.record()["ended"] is None


def test_a_run_that_finds_another_one_at_work_says_so_and_leaves(project: Project) -> None:
    project.card("a", "1-100", seconds=0.05)
    project.write(a={"scene": "a.testcard"})
    process = rendering(project)
    second = project.run()
    assert second.code == 3
    assert "still at work" in second.err
    assert one_sentence_with_a_next_step(second.err)
    process.kill()
    ended(process)
    assert project.nightly("report", project.list).code == 1, "a night that was cut short is not all good"


# Limits


def soon_enough() -> str:
    """When a night has begun and made its videos, on a machine as busy as this; no shot is finished by then."""
    seconds = min(40.0, 11 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
    return f"{datetime.now().astimezone() + timedelta(seconds=seconds):%H:%M:%S}"


@pytest.mark.slow
def test_a_night_stops_in_time_with_something_of_each_shot_and_goes_on_the_next_night(project: Project) -> None:
    project.films = True
    for name in ("small", "large"):
        project.card(name, "1-120", seconds=0.4)
    project.write(
        defaults={"workers": 1},
        large={"scene": "large.testcard"},
        small={"scene": "small.testcard", "priority": 3},
    )
    done = project.run("--finish-by", soon_enough())
    assert done.code == 4, done.err
    assert "frames that are left fit until" in done.err
    found = project.shots()
    for name in ("small", "large"):
        assert found[name]["state"] == "limited"
        assert 3 <= found[name]["frames"]["rendered"] < 120
        assert found[name]["video"]
        assert {f"{name}.0001.png", f"{name}.0120.png"} <= set(project.frames(name))
    before = {name: shot["frames"]["rendered"] for name, shot in found.items()}
    for name in ("small", "large"):
        os.utime(project.card(name, "1-120", seconds=0.4), ns=(0, 0))
    done = project.run("--finish-by", "2s", day=1)
    assert done.code == 4, done.err
    assert all(shot["frames"]["reused"] >= before[name] for name, shot in project.shots().items())


def test_a_night_whose_limit_comes_before_the_first_frame_has_a_report(project: Project) -> None:
    project.card("slow", seconds=60)
    project.write(slow={"scene": "slow.testcard"})
    done = project.run("--finish-by", "4s")
    assert done.code == 4, done.err
    assert project.shots()["slow"]["frames"]["left"] == 4
    assert (project.nights[0] / "index.html").is_file()


def test_a_budget_stops_the_night_and_is_not_overrun(project: Project) -> None:
    project.films = True
    project.card("a", "1-400", seconds=0.2)
    project.write(defaults={"price_per_hour": 36.0, "currency": "EUR", "workers": 1}, a={"scene": "a.testcard"})
    done = project.run("--budget", "0.04")
    assert done.code == 4, done.err
    shot = project.shots()["a"]
    assert 3 <= shot["frames"]["rendered"] <= 20
    assert shot["currency"] == "EUR"
    assert shot["video"]
    assert project.record()["limits"]["budget"] == 0.04


def test_a_night_that_fits_is_finished_within_its_limits(project: Project) -> None:
    project.card("a", "1-9")
    project.write(a={"scene": "a.testcard", "video": True})
    done = project.run("--finish-by", "2h")
    assert (done.code, project.rendered()) == (0, {"a": 9}), done.err
    assert project.shots()["a"]["video"]


# Nothing is rendered


def test_what_can_not_be_run_is_refused_and_renders_nothing(project: Project) -> None:
    project.films = True
    project.card("a")
    project.write(a={"scene": "a.testcard", "frmes": "1-3"})
    done = project.run()
    assert (done.code, "line 4: 'frmes' in [shots.a]" in done.err) == (2, True)
    project.write(a={"scene": "a.testcard"})
    done = project.run("--budget", "5")
    assert (done.code, "price_per_hour" in done.err) == (2, True)
    done = project.nightly("report", project.list)
    assert (done.code, "no night" in done.err) == (2, True)
    assert not list(project.folder.glob("nights/2*"))


def test_a_dry_run_says_what_would_be_rendered_and_writes_nothing(project: Project) -> None:
    project.card("a")
    project.write(a={"scene": "a.testcard"}, gone={"scene": "gone.testcard"})
    found = project.run("--dry-run", "--json").json["shots"]
    assert [(each["name"], each["frames"], each["reused"]) for each in found] == [("a", 4, 0), ("gone", 0, 0)]
    assert "gone.testcard" in found[1]["error"]
    assert not (project.folder / "nights").exists()


@pytest.mark.slow
def test_a_frame_that_was_retried_by_hand_is_good_in_the_next_report(project: Project) -> None:
    project.card("a", "1-4", faults=fault("crash", 2, times=3))
    project.write(a={"scene": "a.testcard"})
    assert project.run().code == 1
    assert project.farm.run("retry", project.shots()["a"]["job"]).code == 0
    assert project.nightly("report", project.list).code == 0
    assert project.shots()["a"]["state"] == "succeeded"
