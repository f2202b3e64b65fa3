"""Several jobs and several terminals at once."""

from __future__ import annotations

import json
from collections.abc import Iterator

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
    wait_until_none_is_left,
)

from renderfarm.queues import turns
from renderfarm.queues.turns import Turn


def test_two_jobs_at_once_both_finish_with_their_own_frames(farm: Farm) -> None:
    one = card(farm.folder / "one.testcard", "1-40", seconds=0.02)
    two = card(farm.folder / "two.testcard", "5-44", seconds=0.02, size=[20, 10])
    runs = [farm.start("submit", "--no-video", "-o", farm.folder / scene.stem, scene) for scene in (one, two)]
    assert [ended(run).code for run in runs] == [0, 0]
    assert list(pixels(farm.folder / "one/frames")) == names("one", range(1, 41))
    assert list(pixels(farm.folder / "two/frames")) == names("two", range(5, 45))


def test_jobs_of_the_same_scene_at_once_spoil_nothing(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-40", seconds=0.005)
    folders = [farm.folder / f"out{number}" for number in range(3)]
    runs = [farm.start("submit", "--no-video", "-o", folder, scene) for folder in folders]
    assert [ended(run).code for run in runs] == [0, 0, 0]
    first, *others = [pixels(folder / "frames") for folder in folders]
    assert list(first) == names("shot", range(1, 41))
    assert others == [first, first]
    assert not list(farm.folder.rglob("*.part"))


@pytest.fixture
def busy(farm: Farm) -> Iterator[Turn]:
    """Somebody who renders on the machine until he leaves."""
    farm.home.mkdir()
    turn = Turn(farm.home, "busy-0000")
    yield turn
    turn.leave()


def test_a_second_job_into_one_output_folder_is_refused_and_does_no_harm(farm: Farm, busy: Turn) -> None:
    scene = card(farm.folder / "shot.testcard", "1-40")
    first = farm.start("submit", "--no-video", "-o", farm.folder / "out", scene)
    wait_for(lambda: len(turns.line(farm.home)) == 2, "a job that has its folder")
    second = farm.submit(card(farm.folder / "other.testcard", "1-3"))
    assert second.code == 2
    assert "Another job is writing into" in second.err
    assert one_sentence_with_a_next_step(second.err)
    busy.leave()
    assert ended(first).code == 0
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 41))


def test_detach_returns_while_the_job_goes_on_and_finishes(farm: Farm, busy: Turn) -> None:
    scene = card(farm.folder / "shot.testcard", "1-40")
    started = farm.submit(scene, "--no-video", "--detach")
    assert started.code == 0, started.err
    assert (started.json["state"], started.json["frames"]["succeeded"]) == ("queued", 0)
    busy.leave()
    watched = farm.run("status", started.json["job"], "--watch", "--json")
    assert watched.code == 0, watched.err
    lines = [json.loads(line) for line in watched.out.splitlines()]
    assert {line["job"] for line in lines} == {started.json["job"]}
    assert lines[-1]["state"] == "succeeded"
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 41))
    wait_until_none_is_left(farm.folder)


@pytest.mark.slow
def test_a_detached_job_is_canceled_from_another_terminal_and_resumed(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-60", seconds=0.3)
    job = farm.submit(scene, "--no-video", "--detach").json["job"]
    wait_for(lambda: frames_there(farm.folder / "out") > 2, "the first frames")
    canceled = farm.run("cancel", job, "--json")
    assert (canceled.code, canceled.json["state"]) == (0, "canceled")
    assert canceled.json["frames"]["running"] == 0
    wait_until_none_is_left(farm.folder)
    before = stamps(farm.folder / "out/frames")
    assert farm.run("resume", job).code == 0
    after = stamps(farm.folder / "out/frames")
    assert list(after) == names("shot", range(1, 61))
    assert {name: after[name] for name in before} == before


def test_a_detached_job_can_be_canceled_before_its_first_frame(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-500", seconds=0.1)
    job = farm.submit(scene, "--no-video", "--detach").json["job"]
    canceled = farm.run("cancel", job, "--json")
    assert (canceled.code, canceled.json["state"]) == (0, "canceled")
    wait_until_none_is_left(farm.folder)


def test_cancel_ends_a_job_in_another_terminal_with_exit_code_1(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-500", seconds=0.05)
    process = farm.start("submit", "--json", "--no-video", "-o", farm.folder / "out", scene)
    wait_for(lambda: frames_there(farm.folder / "out") > 2, "the first frames")
    assert farm.run("cancel", farm.only_job()).code == 0
    done = ended(process)
    assert (done.code, done.json["state"]) == (1, "canceled")


def test_status_says_what_the_nodes_of_a_running_job_do_and_of_a_killed_one_that_nobody_works_on_it(
    farm: Farm,
) -> None:
    scene = card(farm.folder / "shot.testcard", "1-600", seconds=0.1)
    process = farm.start("submit", "--no-video", "-o", farm.folder / "out", scene)
    wait_for(lambda: frames_there(farm.folder / "out") > 12, "a second of work")
    job = farm.only_job()
    status = farm.status(job)
    process.kill()
    ended(process)
    assert (status["state"], status["phase"]) == ("running", "rendering")
    assert status["frames"]["succeeded"] >= 1
    assert status["eta_seconds"] > 0
    assert any(node["frame"] for node in status["nodes"])
    status = farm.status(job)
    assert (status["state"], status["phase"], status["nodes"]) == ("queued", "interrupted", [])
    assert f"renderfarm resume {job}" in farm.run("status", job).out


def test_polling_the_status_never_gets_in_the_way_of_a_resume(farm: Farm) -> None:
    job = farm.submit(card(farm.folder / "shot.testcard", "1-3"), "--no-video").json["job"]
    pollers = [farm.start("status", job, "--watch") for _ in range(2)]
    resumes = [farm.run("resume", job) for _ in range(3)]
    assert [resume.code for resume in resumes] == [0, 0, 0]
    assert [ended(poller).code for poller in pollers] == [0, 0]
