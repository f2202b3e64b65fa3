"""What happens to a frame that fails: how often it is tried, and what is said about it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from farm_runs import (
    Done,
    Farm,
    card,
    ended,
    fault,
    frames_there,
    names,
    pixels,
    stamps,
    wait_for,
    wait_until_none_is_left,
)

from renderfarm.farm import verbs
from renderfarm.job.job import Job
from renderfarm.job.record import folder_of
from renderfarm.words.request import Request
from tests.trusting import trusted


def render(farm: Farm, *more: object, frames: str = "1-5", **scene: Any) -> Done:
    """Submit a test card without a video."""
    path = card(farm.folder / "shot.testcard", frames, **scene)
    done = farm.submit(path, "--no-video", *more)
    wait_until_none_is_left(farm.folder)
    return done


HANGS = "1.5"
"""seconds after which a frame does, on a busy machine too: others take a hundredth of one"""
FAULTS = ("crash", "error", "hang", "nothing", "garbage", "truncated", "wrong-size")
"""each spoils one frame of three, beginning with frame 2"""


def spoiled(times: int | None) -> dict[str, object]:
    faults: dict[str, object] = {}
    for place, what in enumerate(FAULTS):
        faults.update(fault(what, 3 * place + 2, times=times))
    return faults


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Farm, Done]:
    """A job in which every third frame fails for good, each in another way."""
    farm = Farm(tmp_path_factory.mktemp("troubled"))
    return farm, render(farm, "--timeout", HANGS, frames="1-22", faults=spoiled(None))


@pytest.mark.parametrize(
    ("what", "reason", "attempts", "message"),
    [
        ("crash", "crash", 3, "died"),
        ("error", "unknown", 3, "the scene asked for an error"),
        ("hang", "timeout", 3, "longer than 1.5 s"),
        ("nothing", "no-picture", 3, "left no picture"),
        ("garbage", "bad-picture", 2, "not a PNG"),
        ("truncated", "bad-picture", 2, "no end"),
        ("wrong-size", "bad-picture", 2, "wrong-size"),
    ],
)
def test_a_frame_that_always_fails_is_tried_as_often_as_makes_sense_and_says_why(
    troubled: tuple[Farm, Done], what: str, reason: str, attempts: int, message: str
) -> None:
    frame = 3 * FAULTS.index(what) + 2
    (failure,) = [failure for failure in troubled[1].json["failures"] if failure["frame"] == frame]
    assert (failure["reason"], failure["attempts"]) == (reason, attempts)
    assert message in failure["message"]


def test_the_frames_around_those_that_fail_are_delivered(troubled: tuple[Farm, Done]) -> None:
    farm, done = troubled
    good = [f"shot.{frame:04d}.png" for frame in range(1, 23) if frame % 3 != 2]
    assert done.code == 1
    assert list(pixels(farm.folder / "out/frames")) == good


def test_frames_that_fail_once_are_rendered_again_and_right(farm: Farm) -> None:
    faults = {**spoiled(1), **fault("blank", 25, times=1)}
    done = render(farm, "--timeout", HANGS, frames="1-28", faults=faults)
    calm = Farm(farm.folder / "calm")
    assert calm.submit(card(calm.folder / "shot.testcard", "1-28"), "--no-video").code == 0
    assert (done.code, done.json["failures"], done.json["suspects"]) == (0, [], [])
    assert pixels(farm.folder / "out/frames") == pixels(calm.folder / "out/frames")


def test_a_frame_that_hangs_first_on_a_new_session_is_timed_out_too(farm: Farm) -> None:
    done = render(farm, "--timeout", HANGS, "--retries", "0", frames="1-2", faults=fault("hang", 1))
    assert [failure["frame"] for failure in done.json["failures"]] == [1]


def test_a_renderer_that_eats_memory_is_stopped_and_named(farm: Farm) -> None:
    (farm.folder / "renderfarm.toml").write_text('[pools.local]\ntype = "local"\nmemory_gb = 0.2\n')
    trusted(farm.folder / "renderfarm.toml", farm.folder / "xdg")
    done = render(farm, "--retries", "0", faults=fault("memory", 3))
    (failure,) = done.json["failures"]
    assert (done.code, failure["reason"]) == (1, "out-of-memory")
    assert "more than its 204 MiB" in failure["message"]


def test_a_blank_frame_among_others_is_rendered_twice_then_pointed_out_and_left_alone(farm: Farm) -> None:
    done = render(farm, faults=fault("blank", 4), frames="1-7")
    (suspect,) = done.json["suspects"]
    assert (done.code, suspect["frame"], suspect["finding"]) == (0, 4, "blank")
    assert "rendered twice, the same" in suspect["detail"]
    before = (farm.folder / "out/frames/shot.0004.png").stat().st_mtime_ns
    assert farm.run("resume", done.json["job"], "--json").code == 0
    assert (farm.folder / "out/frames/shot.0004.png").stat().st_mtime_ns == before


def test_a_job_whose_frames_all_fail_alike_is_given_up_early(farm: Farm) -> None:
    done = render(farm, frames="1-40", faults=fault("crash", *range(1, 41)))
    reasons = [failure["reason"] for failure in done.json["failures"]]
    assert done.code == 1
    assert reasons.count("given-up") > 30
    given_up = next(f for f in done.json["failures"] if f["reason"] == "given-up")
    assert given_up["message"].startswith("Not tried: the frames before it failed: The test card process died")
    assert given_up["attempts"] == 0


@pytest.mark.slow
def test_a_good_frame_keeps_a_job_going_through_a_long_run_of_bad_ones(farm: Farm) -> None:
    done = render(farm, "--retries", "1", frames="1-16", faults=fault("error", *range(2, 16)))
    assert done.json["frames"]["succeeded"] == 2
    assert {failure["reason"] for failure in done.json["failures"]} == {"unknown"}
    assert frames_there(farm.folder / "out") == 2


@pytest.mark.slow
def test_frames_that_all_fail_in_different_ways_are_all_tried_once(farm: Farm) -> None:
    faults = {
        **fault("crash", *range(1, 22, 3)),
        **fault("error", *range(2, 22, 3)),
        **fault("nothing", *range(3, 22, 3)),
    }
    done = render(farm, "--retries", "0", frames="1-21", faults=faults)
    failures = done.json["failures"]
    assert done.code == 1
    assert [failure["frame"] for failure in failures] == list(range(1, 22))
    assert {failure["attempts"] for failure in failures} == {1}


def test_retry_goes_on_counting_attempts_so_a_passing_fault_is_overcome(farm: Farm) -> None:
    job = render(farm, faults=fault("crash", 3, times=4)).json["job"]
    again = farm.run("retry", job, "--json")
    assert (again.code, again.json["state"]) == (0, "succeeded")
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 6))


def test_retry_renders_only_the_frame_that_failed_at_the_one_attempt_it_had(farm: Farm) -> None:
    done = render(farm, "--retries", "0", faults=fault("crash", 3, times=1))
    (failure,) = done.json["failures"]
    assert (done.code, failure["frame"], failure["attempts"]) == (1, 3, 1)
    before = stamps(farm.folder / "out/frames")
    assert farm.run("retry", done.json["job"], "--json").code == 0
    after = stamps(farm.folder / "out/frames")
    assert {name for name in after if after[name] != before.get(name)} == {"shot.0003.png"}


def test_retry_of_named_frames_renders_good_ones_again_and_only_those_of_the_job(farm: Farm) -> None:
    job = render(farm).json["job"]
    before = stamps(farm.folder / "out/frames")
    assert farm.run("retry", job, "--frames", "2,4", "--json").code == 0
    after = stamps(farm.folder / "out/frames")
    assert {name for name in after if after[name] != before[name]} == {"shot.0002.png", "shot.0004.png"}
    refused = farm.run("retry", job, "--frames", "4-7")
    assert refused.code == 2
    assert "has no frames 6-7. It has 1-5." in " ".join(refused.err.split())


def test_retry_after_the_scene_was_mended_is_an_error_that_says_to_submit_it_again(farm: Farm) -> None:
    job = render(farm, faults=fault("error", 3)).json["job"]
    card(farm.folder / "shot.testcard", "1-5")
    done = farm.run("retry", job)
    assert done.code == 2
    assert "changed since" in done.err
    assert "Submit it again" in done.err


def test_every_attempt_has_its_own_log_and_a_failure_names_the_last(troubled: tuple[Farm, Done]) -> None:
    (failure,) = (each for each in troubled[1].json["failures"] if each["frame"] == 5)
    assert "the scene asked for an error" in Path(failure["log"]).read_text()
    shown = troubled[0].run("logs", troubled[1].json["job"], "--frame", "5").out
    assert shown.count("==>") == shown.count("frame 5: the scene asked for an error") == 3


def test_a_retry_that_a_job_at_its_end_did_not_hear_is_carried_out(tmp_path: Path) -> None:
    scene = card(tmp_path / "shot.testcard", "1-2")
    job = Job.at(folder_of(tmp_path / "out", verbs.submit(Request(str(scene), str(tmp_path / "out"))).job))
    before = stamps(tmp_path / "out/frames")
    with ThreadPoolExecutor() as threads:
        with job.claimed("", ""):
            asked = threads.submit(verbs.retry, job.id, "2")
            wait_for(lambda: any(job.orders.glob("[0-9]*")), "the order")
        assert asked.result().frames.succeeded == 2
    now = stamps(tmp_path / "out/frames")
    assert [name for name in now if now[name] != before[name]] == names("shot", [2])


@pytest.mark.slow
def test_a_retry_on_a_running_job_is_taken_up_by_it(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-70", seconds=0.2, faults=fault("error", 2, times=1))
    process = farm.start("submit", "--json", "--no-video", "--retries", "0", "-o", farm.folder / "out", scene)
    wait_for(lambda: frames_there(farm.folder / "out") > 4, "the failed frame to be passed")
    ordered = farm.run("retry", farm.only_job())
    done = ended(process)
    assert ordered.code == 0, ordered.err
    assert done.code == 0, done
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 71))
