"""Input and surroundings that are no good: a clear error, the right exit code, and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from farm_runs import (
    Farm,
    card,
    names,
    one_sentence_with_a_next_step,
    pixels,
    stamps,
    wait_until_none_is_left,
)
from povray_scenes import make_broken_scene, make_scene

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
STRANGE = {
    "punctuation": ' it\'s "quoted"  100%04d [a-z]*?{x};$HOME `c` & \\ 雪☃ ',
    "leading-dash": "-o",
    "newline": "two\nlines",
    "dots": "..shot..",
    "colon": "file:shot",
}


PLANTED = (
    *("shot.mp4", ".shot.unfinished.mp4", "contact-sheet.jpg", ".contact-sheet.unfinished.jpg"),
    *("job.json", "report.html", "logs/farm.log", "frames/shot.0001.png", ".renderfarm/film/parts.txt"),
    *(".renderfarm/made.json", ".renderfarm/film.mp4", ".renderfarm/.film.mp4", ".renderfarm/writable"),
)
"""names in an output folder that anybody can know beforehand"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and write."""
    folder = Path(tempfile.mkdtemp(prefix="renderfarm-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def unprivileged() -> tuple[str, ...]:
    """The prefix that takes root's rights away; skips where there is no such user."""
    if os.geteuid() != 0:
        return ()
    trial = [*NOBODY, sys.executable, "-c", "import renderfarm"]
    package = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    if subprocess.run(trial, env=package, capture_output=True, check=False).returncode:
        pytest.skip("no other user can run Python here")
    return NOBODY


def refused(farm: Farm, scene: Path | str, *more: object, **environment: str) -> str:
    """What is said about a submit that must be refused as bad input, leaving no job behind."""
    done = farm.run("submit", "-o", farm.folder / "out", *more, "--", scene, **environment)
    assert done.code == 2, done.err
    assert done.out == ""
    assert one_sentence_with_a_next_step(done.err), done.err
    assert jobs_in(farm) == 0
    wait_until_none_is_left(farm.folder)
    return done.err


def jobs_in(farm: Farm) -> int:
    """How many jobs the farm knows."""
    return len(list((farm.home / "jobs").glob("*.json")))


# Scenes


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"faults": {"1": {"what": "levitate"}}}'])
def test_a_test_card_that_is_none(farm: Farm, content: bytes) -> None:
    (farm.folder / "shot.testcard").write_bytes(content)
    refused(farm, farm.folder / "shot.testcard")


@pytest.mark.parametrize(
    "content",
    [b"", b"BLENDER-v300REND", b"no Blender file at all", b"\x28\xb5\x2f\xfd torn"],
    ids=["empty", "torn", "garbage", "torn-zstd"],
)
def test_a_blend_file_that_is_none(farm: Farm, content: bytes) -> None:
    if shutil.which("blender") is None:
        pytest.skip("no Blender here")
    (farm.folder / "shot.blend").write_bytes(content)
    refused(farm, farm.folder / "shot.blend")


def test_a_scene_that_may_not_be_read(open_folder: Path) -> None:
    prefix = unprivileged()
    scene = card(open_folder / "shot.testcard")
    scene.chmod(0)
    farm = Farm(open_folder, open_folder / "home")
    done = farm.run("submit", scene, prefix=prefix, HOME=str(open_folder))
    assert done.code == 2
    assert "permission denied" in done.err
    assert one_sentence_with_a_next_step(done.err)


def test_a_missing_asset_is_named_before_anything_is_rendered(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", assets=["here.png", "gone.png"])
    (farm.folder / "here.png").write_bytes(b"x")
    said = refused(farm, scene)
    assert str(farm.folder / "gone.png") in said
    assert "here.png" not in said
    assert "--allow-missing" in said
    assert not list((farm.folder / "out/frames").iterdir())


@pytest.mark.parametrize(
    "override", [("--camera", "Left"), ("--option", "a=b")], ids=lambda override: override[0]
)
def test_an_override_that_the_renderer_cannot_honour(farm: Farm, override: tuple[str, str]) -> None:
    said = refused(farm, card(farm.folder / "shot.testcard"), *override)
    assert override[0].lstrip("-") in said or override[1] in said


def test_a_povray_scene_with_a_syntax_error_says_where_and_is_not_tried_again(farm: Farm) -> None:
    if shutil.which("povray") is None:
        pytest.skip("no POV-Ray here")
    done = farm.run("submit", "-o", farm.folder / "out", make_broken_scene(farm.folder))
    assert done.code in (1, 2)
    assert "broken.pov" in done.err + done.out
    assert "line 7" in done.err + done.out
    assert "column 15" in done.err + done.out
    assert not list((farm.folder / "out/frames").iterdir())


# Strange names


@pytest.mark.parametrize("name", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_name_works_for_scene_and_output_folder(farm: Farm, name: str) -> None:
    scene = card(farm.folder / name / f"{name}.testcard", "1-2")
    out = Path(name) / "out"
    done = farm.run("submit", "--json", "-o", out, "--", scene.relative_to(farm.folder))
    assert done.code == 0, done.err
    assert list(pixels(farm.folder / out / "frames")) == names(name, range(1, 3))
    assert Path(done.json["video"]) == farm.folder / out / f"{name}.mp4"
    assert Path(done.json["video"]).stat().st_size > 0


def test_a_name_that_is_no_text_is_refused(farm: Farm) -> None:
    scene = card(farm.folder / os.fsdecode(b"caf\xe9.testcard"))
    assert "is not UTF-8" in refused(farm, scene)


def test_frames_outside_the_scenes_range_are_rendered_with_a_note(farm: Farm) -> None:
    done = farm.submit(card(farm.folder / "shot.testcard", "1-4"), "--frames", "-1-6", "--no-video")
    assert done.code == 0
    assert "frames outside the scene's own range 1-4: -1-0, 5-6" in done.json["notes"]
    assert done.json["frames"]["succeeded"] == 8
    assert (farm.folder / "out/frames/shot.-0001.png").exists()


# A process's peak counts that of whoever forked it (getrusage(2)): a small one in between measures.
MEASURE = """
import pathlib, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def test_ten_million_frames_are_planned_in_little_memory(farm: Farm) -> None:
    scene, peak = card(farm.folder / "shot.testcard"), farm.folder / "peak"
    measured = (sys.executable, "-c", MEASURE, str(peak))
    planned = farm.run("submit", "--dry-run", "--json", "--frames", "1-10000000", scene, prefix=measured)
    assert planned.code == 0
    assert planned.json["frames"] == 10_000_000
    assert int(peak.read_text()) < 500 << 10  # KiB


# The output folder


def test_an_output_folder_that_is_a_file(farm: Farm) -> None:
    (farm.folder / "out").write_text("keep me")
    said = refused(farm, card(farm.folder / "shot.testcard"))
    assert "can't be written" in said
    assert (farm.folder / "out").read_text() == "keep me"


def test_an_output_folder_below_a_file(farm: Farm) -> None:
    (farm.folder / "file").write_text("keep me")
    refused(farm, card(farm.folder / "shot.testcard"), "-o", farm.folder / "file/out")


def test_a_link_where_the_farm_keeps_its_own_is_told(farm: Farm) -> None:
    (farm.folder / "elsewhere").mkdir()
    (farm.folder / "out").mkdir()
    (farm.folder / "out/.renderfarm").symlink_to(farm.folder / "elsewhere")
    assert "is a link" in refused(farm, card(farm.folder / "shot.testcard"))


def test_an_output_folder_that_may_not_be_written(open_folder: Path) -> None:
    prefix = unprivileged()
    scene = card(open_folder / "shot.testcard")
    out = open_folder / "out"
    out.mkdir(mode=0o555)
    done = Farm(open_folder).run("submit", "-o", out, scene, prefix=prefix, HOME=str(open_folder))
    assert done.code == 2
    assert "can't be written: Permission denied" in done.err
    assert one_sentence_with_a_next_step(done.err)
    assert not list(out.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("can't mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_job_and_loses_nothing(farm: Farm, small_disk: Path) -> None:
    scene = card(farm.folder / "shot.testcard", "1-40", size=[1280, 720])
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_750_000))
    done = farm.submit(scene, "-o", small_disk / "out", "--no-video")
    assert done.code == 1, done.err
    assert "full" in done.err
    job = farm.only_job()
    assert f"renderfarm resume {job}" in done.err
    kept = stamps(small_disk / "out/frames")
    assert 0 < len(kept) < 40
    assert farm.status(job)["frames"]["succeeded"] == len(kept)
    pixels(small_disk / "out/frames")
    ballast.unlink()
    resumed = farm.run("resume", job)
    assert resumed.code == 0, resumed.err
    after = stamps(small_disk / "out/frames")
    assert list(after) == names("shot", range(1, 41))
    assert {name: after[name] for name in kept} == kept


def test_a_farm_home_that_fills_up_is_an_error_and_not_a_crash(tmp_path: Path, small_disk: Path) -> None:
    farm = Farm(tmp_path / "farm", small_disk / "home")
    (small_disk / "ballast").write_bytes(bytes(3_090_000))
    done = farm.submit(card(farm.folder / "shot.testcard"), "--no-video")
    assert done.code in (1, 2, 3)
    assert one_sentence_with_a_next_step(done.err), done.err


# Renderers, ffmpeg and the farm's memory


@pytest.mark.parametrize(("suffix", "option"), [("blend", "--blender"), ("pov", "--povray")])
def test_no_renderer_for_the_scene(farm: Farm, suffix: str, option: str) -> None:
    (farm.folder / f"shot.{suffix}").write_bytes(b"BLENDER-v300")
    done = farm.run("submit", option, farm.folder / "nothing", farm.folder / f"shot.{suffix}")
    assert done.code == 3
    assert "nothing is not a" in done.err
    assert "renderfarm doctor" in done.err
    assert one_sentence_with_a_next_step(done.err)


def test_without_ffmpeg_the_frames_are_delivered_and_the_video_is_missed(farm: Farm) -> None:
    done = farm.submit(card(farm.folder / "shot.testcard"), PATH=str(farm.folder))
    assert done.code == 1
    assert (done.json["state"], done.json["video"]) == ("succeeded", None)
    assert any("ffmpeg" in problem for problem in done.json["problems"])
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 13))


def test_an_unwanted_povray_option_is_refused(farm: Farm) -> None:
    if shutil.which("povray") is None:
        pytest.skip("no POV-Ray here")
    refused(farm, make_scene(farm.folder), "--camera", "Left")


def test_a_file_where_the_cache_should_be_is_named(farm: Farm) -> None:
    farm.home.mkdir()
    (farm.home / "cache").write_text("keep me")
    done = farm.submit(card(farm.folder / "shot.testcard"))
    assert done.code == 1
    assert f"{farm.home / 'cache'}" in done.err


# What surrounds a command


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ('exec "$@" <&- >&- 2>&-', 0, ""),
        ('exec "$@" >/dev/full', 3, "room"),
        ('ulimit -n 10; exec "$@"', 3, "ulimit -n"),
    ],
    ids=["closed", "full", "few files"],
)
def test_standard_files_and_limits_are_no_crash(farm: Farm, how: str, code: int, said: str) -> None:
    done = farm.submit(card(farm.folder / "shot.testcard", "1"), prefix=("sh", "-c", how, "sh"))
    assert (done.code, said in done.err) == (code, True), done.err


@pytest.mark.skipif(os.geteuid() != 0, reason="another disk can be mounted only by root")
def test_frames_may_lie_on_another_disk(farm: Farm, tiny_disk: Path) -> None:
    (farm.folder / "out").mkdir()
    (farm.folder / "out/frames").symlink_to(tiny_disk)
    scene = card(farm.folder / "shot.testcard", "1-3")
    assert farm.submit(scene, "--no-video").code == 0
    assert list(pixels(tiny_disk)) == names("shot", range(1, 4))
    assert farm.submit(scene, "--no-video").json["frames"]["reused"] == 3


def test_links_in_an_output_folder_that_came_with_a_project_lead_nowhere(farm: Farm, tmp_path: Path) -> None:
    for number, name in enumerate(PLANTED):
        (tmp_path / f"own{number}").write_text("mine")
        link = farm.folder / "out" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / f"own{number}")
    scene = card(tmp_path / "shot.testcard", "1-6")
    assert farm.submit(scene).code == 0
    assert "farm.log can't be used" in farm.submit(scene, "--detach").err
    assert {path.read_text() for path in tmp_path.glob("own*")} == {"mine"}
