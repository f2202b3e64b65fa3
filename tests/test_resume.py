"""Going on with a job: only what is missing or bad is rendered, and nothing is rendered twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from farm_runs import (
    Farm,
    card,
    ended,
    frames_there,
    names,
    one_sentence_with_a_next_step,
    pixels,
    stamps,
    wait_for,
)


@pytest.fixture
def job(farm: Farm) -> str:
    """A finished job of five frames."""
    done = farm.submit(card(farm.folder / "shot.testcard", "1-5"), "--no-video")
    assert done.code == 0, done.err
    return str(done.json["job"])


def changed(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> set[str]:
    return {name for name in after if after[name] != before.get(name)}


def test_resume_of_a_finished_job_touches_no_picture(farm: Farm, job: str) -> None:
    before = stamps(farm.folder / "out/frames")
    done = farm.run("resume", job, "--json")
    assert (done.code, done.json["state"]) == (0, "succeeded")
    assert stamps(farm.folder / "out/frames") == before


def test_resume_brings_back_pictures_that_are_gone_or_were_changed_in_place(farm: Farm, job: str) -> None:
    folder = farm.folder / "out/frames"
    right, before = pixels(folder), stamps(folder)
    (folder / "shot.0001.png").unlink()
    (folder / "shot.0002.png").write_bytes(b"")
    (folder / "shot.0003.png").write_bytes(b"no picture")
    with (folder / "shot.0004.png").open("r+b") as file:
        file.seek(60)
        file.write(b"xyz")
    assert farm.run("resume", job).code == 0
    assert pixels(folder) == right
    assert changed(before, stamps(folder)) - {"shot.0001.png"} == set(names("shot", range(2, 5)))


def test_an_edited_picture_is_not_reused_by_the_next_job(farm: Farm, job: str) -> None:
    right = pixels(farm.folder / "out/frames")
    with (farm.folder / "out/frames/shot.0003.png").open("r+b") as file:
        file.write(b"spoiled")
    done = farm.submit(farm.folder / "shot.testcard", "--no-video", "-o", farm.folder / "other")
    assert (done.code, done.json["frames"]["reused"]) == (0, 4)
    assert pixels(farm.folder / "other/frames") == right


def test_a_job_whose_output_folder_is_gone_is_called_gone(farm: Farm, job: str) -> None:
    (farm.folder / "out").rename(farm.folder / "moved")
    assert "gone" in farm.run("jobs").out
    done = farm.run("resume", job)
    assert done.code == 2
    assert f"The folder of {job}, {farm.folder}/out" in done.err


def test_a_moved_output_folder_is_its_job_still(farm: Farm, job: str) -> None:
    right = pixels(farm.folder / "out/frames")
    (farm.folder / "out").rename(farm.folder / "moved")
    (farm.folder / "moved/frames/shot.0005.png").unlink()
    done = farm.run("resume", "moved", "--json")
    assert done.code == 0, done.err
    assert done.json["job"] == job
    assert done.json["frames_dir"] == str(farm.folder / "moved/frames")
    assert pixels(farm.folder / "moved/frames") == right
    assert not (farm.folder / "out").exists()


def test_a_lost_database_loses_no_job(farm: Farm, job: str) -> None:
    before = farm.status(job)
    for path in farm.home.glob("farm.sqlite*"):
        path.unlink()
    assert farm.status(job) == before
    assert farm.run("resume", job).code == 0


def test_another_farm_home_goes_on_with_an_output_folder(farm: Farm, job: str) -> None:
    other = Farm(farm.folder, farm.folder / "other home")
    (farm.folder / "out/frames/shot.0005.png").unlink()
    assert other.run("status", "out", "--json").json["job"] == job
    assert other.run("resume", "out").code == 0
    assert (farm.folder / "out/frames/shot.0005.png").exists()


def test_resume_after_the_scene_changed_is_an_error_and_keeps_the_pictures(farm: Farm, job: str) -> None:
    before = stamps(farm.folder / "out/frames")
    card(farm.folder / "shot.testcard", "1-5", size=[16, 16])
    done = farm.run("resume", job)
    assert done.code == 2
    assert f"changed since {job} was submitted: scene shot.testcard changed" in " ".join(done.err.split())
    assert one_sentence_with_a_next_step(done.err)
    assert stamps(farm.folder / "out/frames") == before


def test_resume_after_the_scene_is_gone_is_an_error(farm: Farm, job: str) -> None:
    (farm.folder / "shot.testcard").unlink()
    done = farm.run("resume", job)
    assert done.code == 2
    assert "There is no file" in done.err


@pytest.mark.slow
def test_the_second_of_two_resumes_at_once_is_told_and_does_no_harm(farm: Farm, tmp_path: Path) -> None:
    scene = card(farm.folder / "shot.testcard", "1-40", seconds=0.3)
    first = farm.start("submit", "--no-video", "-o", farm.folder / "out", scene)
    wait_for(lambda: frames_there(farm.folder / "out") > 2, "the first frames")
    job = farm.only_job()
    second = farm.run("resume", job)
    assert second.code == 2
    assert f"Somebody else is working on {job}." in second.err
    assert f"renderfarm status {job} --watch" in second.err
    assert ended(first).code == 0
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 41))


def test_a_longer_range_renders_only_what_is_new(farm: Farm, job: str) -> None:
    before = stamps(farm.folder / "out/frames")
    done = farm.submit(farm.folder / "shot.testcard", "-f", "1-7", "--no-video")
    assert (done.code, done.json["frames"]["reused"]) == (0, 5)
    assert changed(before, stamps(farm.folder / "out/frames")) == set(names("shot", range(6, 8)))


def test_no_reuse_renders_everything_again(farm: Farm, job: str) -> None:
    before = stamps(farm.folder / "out/frames")
    done = farm.submit(farm.folder / "shot.testcard", "--no-video", "--no-reuse")
    assert (done.code, done.json["frames"]["reused"]) == (0, 0)
    assert changed(before, stamps(farm.folder / "out/frames")) == set(before)


def test_job_json_says_enough_to_submit_the_job_again(farm: Farm, job: str) -> None:
    record = json.loads((farm.folder / "out/job.json").read_text())
    assert record["job"] == job
    assert record["frames"] == "1-5"
    assert record["request"]["scene"] == str(farm.folder / "shot.testcard")
    assert record["renderer"]["label"] == "test card"


def test_a_folder_of_a_stranger_starts_no_program_of_its_choice(farm: Farm, job: str) -> None:
    tool = farm.folder / "tool"
    tool.write_text(f"#!/bin/sh\ntouch {farm.folder}/started\n")
    tool.chmod(0o755)
    path = next((farm.folder / "out/.renderfarm").glob("*/job.json"))
    record = json.loads(path.read_text())
    record["request"] |= {"povray": str(tool), "blender": str(tool), "sandbox": "off"}
    path.write_text(json.dumps(record))
    (farm.folder / "out/frames/shot.0005.png").unlink()
    Farm(farm.folder, farm.folder / "other home").run("resume", "out")
    assert not (farm.folder / "started").exists()
