"""The cloud pool as its users meet it: command lines against local services."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import povray_scenes
from tests.azurite import Azurite
from tests.batch_service.client import BatchService
from tests.cloud import Cloud, video_frames
from tests.farm_runs import (
    Done,
    Farm,
    card,
    ended,
    fault,
    frames_there,
    names,
    one_sentence_with_a_next_step,
    pixels,
    wait_for,
)

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

NewCloud = Callable[..., Cloud]


@dataclass(frozen=True)
class Finished:
    """A job that went well."""

    cloud: Cloud
    farm: Farm
    scene: Path
    done: Done

    @property
    def job(self) -> str:
        return str(self.done.json["job"])


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, service: BatchService, azurite: Azurite
) -> Iterator[Finished]:
    """A scene with files beside it, below it and above it, submitted."""
    service.control("reset")
    cloud = Cloud(tmp_path_factory.mktemp("finished"), service, azurite, films=True, price_per_node_hour=0.25)
    scene = textured(cloud.folder / "project")
    farm = cloud.farm()
    yield Finished(cloud, farm, scene, farm.submit(scene))
    cloud.close()


def textured(root: Path, **fields: object) -> Path:
    """A scene in `root/shots` with four files that it needs."""
    places = ("shots/beside.png", "shots/maps/below.png", "above.png", "library/across.png")
    for place in places:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"the picture {place}".encode() * 50)
    assets = ["beside.png", "maps/below.png", "../above.png", "../library/across.png"]
    return card(root / "shots" / "shot.testcard", assets=assets, **fields)


def detached(farm: Farm, scene: Path, *more: object) -> str:
    """The id of a job that was left to the cloud."""
    done = farm.submit(scene, "--detach", *more)
    assert done.code == 0, done.err
    return str(done.json["job"])


# A job from the first word to the video


def test_a_submit_renders_every_frame_and_exits_with_0(finished: Finished) -> None:
    assert finished.done.code == 0, finished.done.err
    said = finished.done.json
    assert (said["state"], said["pool"], said["failures"]) == ("succeeded", "cloud", [])
    assert {key: count for key, count in said["frames"].items() if count} == {"total": 12, "succeeded": 12}
    assert finished.cloud.submissions(finished.job) == {(frame, 1): 1 for frame in range(1, 13)}
    assert len(finished.cloud.assets()) == 5, "each file of the scene goes up, and nothing else does"


def test_every_frame_is_equal_to_one_of_a_local_render(finished: Finished, tmp_path: Path) -> None:
    local = Farm(tmp_path / "local")
    assert local.submit(finished.scene, "--pool", "local", "--no-video").code == 0
    assert pixels(finished.farm.folder / "out/frames") == pixels(local.folder / "out/frames")


def test_the_output_folder_holds_what_a_local_job_leaves(finished: Finished) -> None:
    out, said = finished.farm.folder / "out", finished.done.json
    assert [path.name for path in sorted((out / "frames").iterdir())] == names("shot", range(1, 13))
    assert all(Path(said[key]).is_file() for key in ("video", "contact_sheet", "report"))
    assert video_frames(said["video"]) == 12
    assert json.loads((out / "job.json").read_text())
    assert not (out / ".renderfarm/work").exists()


def test_a_second_submit_reuses_every_frame_and_asks_batch_for_nothing(finished: Finished) -> None:
    assets, before = finished.cloud.assets(), finished.cloud.requests()
    done = finished.farm.submit(finished.scene, "-o", finished.farm.folder / "again")
    assert done.code == 0, done.err
    assert done.json["frames"]["reused"] == 12
    asked = finished.cloud.requests() - before
    assert not [route for route in asked if route.startswith("POST /jobs")], asked
    assert finished.cloud.assets() == assets


@pytest.mark.slow
def test_a_submit_from_another_machine_sends_no_file_again(finished: Finished) -> None:
    assets = finished.cloud.assets()
    done = finished.cloud.farm("laptop").submit(finished.scene)
    assert done.code == 0, done.err
    assert done.json["frames"]["reused"] == 0
    assert finished.cloud.assets() == assets


def test_logs_and_costs_of_a_finished_job_can_be_read_on_another_machine(finished: Finished) -> None:
    reader = finished.cloud.farm("reader")
    text = reader.run("logs", finished.job).out
    assert all(f"frame {frame}: done" in text for frame in range(1, 13))
    text = reader.run("logs", finished.job, "--frame", 7).out
    assert ("frame 7: done" in text, "frame 1: done" in text) == (True, False)
    said = reader.status(finished.job)
    assert (said["node_hours"] > 0, said["currency"]) == (True, "USD")


@pytest.mark.slow
def test_a_changed_texture_alone_is_sent_and_all_is_rendered_again(cloud: Cloud) -> None:
    farm, scene = cloud.farm(), textured(cloud.folder / "project", frames="1-4")
    assert farm.submit(scene).code == 0
    before = cloud.assets()
    (cloud.folder / "project/library/across.png").write_bytes(b"painted over")
    done = farm.submit(scene)
    assert done.code == 0, done.err
    assert done.json["frames"]["reused"] == 0
    after = cloud.assets()
    assert len(after.keys() - before.keys()) == 1
    assert before.items() <= after.items()


# Before a submit


def test_a_dry_run_lists_what_would_be_sent_and_changes_nothing(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None, price_per_node_hour=0.25)
    farm, scene = cloud.farm(), textured(cloud.folder / "project")
    before = cloud.requests()
    done = farm.submit(scene, "--dry-run")
    assert done.code == 0, done.err
    sent = {Path(path).name: size for path, size in done.json["bill"]["upload"]}
    assert sent.keys() == {"shot.testcard", "beside.png", "below.png", "above.png", "across.png"}
    assert sent["shot.testcard"] == scene.stat().st_size
    asked = cloud.requests() - before
    assert not [route for route in asked if not route.startswith("GET")], asked
    assert not list(cloud.storage.list_containers(name_starts_with=cloud.prefix))
    assert not (farm.folder / "out").exists()


def test_a_dry_run_after_a_submit_sends_nothing_and_knows_the_price(finished: Finished) -> None:
    done = finished.farm.submit(finished.scene, "--dry-run", "--no-reuse")
    bill = done.json["bill"]
    assert (bill["upload"], bill["present"]) == ([], 5)
    assert bill["node_hours"] > 0
    people = finished.farm.run("submit", "--dry-run", "--no-reuse", "--", finished.scene)
    assert "USD" in people.out


# From elsewhere


def test_ctrl_c_leaves_the_job_to_the_cloud_and_another_machine_takes_it_up(new_cloud: NewCloud) -> None:
    cloud = new_cloud(films=True)
    farm, scene = cloud.farm(), card(cloud.folder / "shot.testcard", "1-12", seconds=0.2)
    process = farm.start("submit", "-o", farm.folder / "out", "--chunk", 2, "--", scene)
    wait_for(lambda: frames_there(farm.folder / "out"), "the first frames", 60)
    process.send_signal(signal.SIGINT)
    stopped = ended(process)
    job = farm.only_job()
    assert stopped.code == 130
    assert {f"renderfarm {verb} {job}" in stopped.err for verb in ("resume", "cancel")} == {True}
    other = cloud.farm("laptop")
    said = other.status(job[:-1])
    assert (said["job"], said["frames"]["total"]) == (job, 12), "the beginning of its id will do"
    assert said["phase"] in ("rendering remotely", "waits to be collected")
    done = other.run("resume", job[:-1], "--json")
    assert done.code == 0, done.err
    output = Path(done.json["output"])
    assert output.is_relative_to(cloud.folder)
    assert list(pixels(output / "frames")) == names("shot", range(1, 13))
    assert video_frames(done.json["video"]) == 12
    assert cloud.submissions(job) == {(frame, 1): 1 for frame in range(1, 13)}


def test_collect_fetches_what_is_finished_and_leaves_the_rest_to_the_cloud(cloud: Cloud) -> None:
    scene = card(cloud.folder / "shot.testcard", "1-6", faults=fault("hang", 6))
    job = detached(cloud.farm(), scene, "--chunk", 1, "--timeout", "60s")
    other = cloud.farm("laptop")
    wait_for(lambda: len(cloud.blobs(job, "frames/")) == 5, "five frames in storage")
    wait_for(lambda: other.run("collect", job, "--json").json["frames"]["succeeded"] == 5, "five frames here")
    said = other.status(job)
    assert said["state"] == "running"
    assert list(pixels(Path(said["frames_dir"]))) == names("shot", range(1, 6))
    assert other.run("cancel", job).code == 0


@pytest.mark.slow
def test_logs_can_be_followed_from_elsewhere_until_the_job_has_ended(cloud: Cloud) -> None:
    job = detached(cloud.farm(), card(cloud.folder / "shot.testcard", "1-6", seconds=0.3), "--chunk", 2)
    done = cloud.farm("laptop").run("logs", job, "--follow")
    assert done.code == 0, done.err
    assert all(f"frame {frame}: done" in done.out for frame in range(1, 7))


def test_cancel_from_elsewhere_ends_the_job_in_the_cloud(cloud: Cloud) -> None:
    job = detached(cloud.farm(), card(cloud.folder / "shot.testcard", "1-6", faults=fault("hang", 1, 2, 3, 4)))
    done = cloud.farm("laptop").run("cancel", job, "--json")
    assert done.code == 0, done.err
    assert done.json["state"] == "canceled"
    (only,) = cloud.batch_jobs(job)
    wait_for(lambda: cloud.get(f"/jobs/{only}")["state"] == "completed", "the end of the Batch job")


# What goes wrong


def test_a_frame_that_crashes_once_is_tried_again_by_its_node(cloud: Cloud) -> None:
    scene = card(cloud.folder / "shot.testcard", "1-4", faults=fault("crash", 3, times=1))
    done = cloud.farm().submit(scene)
    assert done.code == 0, done.err
    assert not any(row["executionInfo"]["retryCount"] for row in cloud.rows(done.json["job"]))
    assert set(cloud.submissions(done.json["job"]).values()) == {1}
    assert "frames/0003.2.png" in cloud.blobs(done.json["job"], "frames/")


@pytest.mark.slow
def test_a_bad_frame_fails_after_its_retries_and_is_retried_by_a_machine_that_forgot_it(cloud: Cloud) -> None:
    farm, scene = cloud.farm(), card(cloud.folder / "shot.testcard", "1-4", faults=fault("crash", 3, times=2))
    done = farm.submit(scene, "--retries", 1)
    assert done.code == 1
    said = done.json
    assert (said["frames"]["succeeded"], said["frames"]["failed"]) == (3, 1)
    (failure,) = said["failures"]
    assert (failure["frame"], failure["reason"]) == (3, "crash")
    assert Path(failure["log"]).exists()
    assert list(pixels(farm.folder / "out/frames")) == [f"shot.000{n}.png" for n in (1, 2, 4)]
    cloud.forget(farm)
    again = farm.run("retry", said["job"], "--json")
    assert again.code == 0, again.err
    assert len(cloud.batch_jobs(said["job"])) == 2
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 5))


def test_a_scene_whose_every_frame_fails_alike_is_given_up(cloud: Cloud) -> None:
    scene = card(cloud.folder / "shot.testcard", "1-30", faults=fault("error", *range(1, 31)))
    done = cloud.farm().submit(scene, "--retries", 0, "--chunk", 3)
    assert done.code == 1
    assert done.json["frames"]["failed"] == 30


@pytest.mark.slow
def test_an_asset_that_is_gone_from_storage_ends_the_job_with_its_name(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None)
    cloud.control("slow_nodes", seconds=10_000)
    farm = cloud.farm()
    job = detached(farm, textured(cloud.folder / "project", frames="1-6"))
    lost = b"the picture above.png" * 50
    cloud.storage.get_blob_client(f"{cloud.prefix}-assets", hashlib.sha256(lost).hexdigest()).delete_blob()
    done = farm.run("resume", job)
    assert done.code in (1, 3)
    assert "above.png" in done.err + done.out


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("povray"), reason="needs povray on PATH")
def test_a_file_that_is_missing_on_the_nodes_stops_the_job(cloud: Cloud) -> None:
    picture = 'image_map { png concat("map", str(frame_number, 0, 0), ".png") }'
    extra = f"sphere {{ <0, 1, 0>, 0.3 pigment {{ {picture} }} }}"
    scene = povray_scenes.make_scene(cloud.folder / "project", frames=30, extra=extra)
    told = cloud.farm().submit(scene)
    assert told.code == 2
    assert "A file that the scene needs is missing" in told.err
    assert re.search(r"map\d+\.png", told.err)
    done = cloud.farm().submit(scene, "--retries", 0, "--chunk", 1, "--allow-missing")
    assert done.code == 1
    reasons = Counter(failure["reason"] for failure in done.json["failures"])
    assert reasons.keys() == {"missing-file", "given-up"}
    (only,) = cloud.batch_jobs(done.json["job"])
    assert cloud.get(f"/jobs/{only}")["executionInfo"]["terminateReason"] in ("TaskFailed", "canceled")


def test_a_start_task_that_fails_ends_the_job_with_its_own_words(new_cloud: NewCloud, tmp_path: Path) -> None:
    script = tmp_path / "mine.sh"
    script.write_text("echo 'the licence server says no' >&2\nexit 7\n")
    cloud = new_cloud(pool_id=None, start_task=str(script))
    done = cloud.farm().submit(card(cloud.folder / "shot.testcard"))
    assert (done.code, "start task failed" in done.err, "7" in done.err) == (3, True, True)


def test_a_quota_of_zero_is_told_with_the_way_out(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None)
    cloud.control("quota", dedicated_cores=0, spot_cores=0)
    done = cloud.farm().submit(card(cloud.folder / "shot.testcard"))
    assert done.code == 3
    assert "quota" in done.err.lower()
    assert one_sentence_with_a_next_step(done.err)


def test_a_wrong_key_is_told_without_the_key(cloud: Cloud) -> None:
    wrong = "d3Jvbmcga2V5IHdyb25nIGtleQ=="
    for name in ("RENDERFARM_BATCH_KEY", "RENDERFARM_STORAGE_KEY"):
        done = cloud.farm().submit(card(cloud.folder / "shot.testcard"), **{name: wrong})
        assert done.code == 3, done.err
        assert wrong not in done.out + done.err
        assert one_sentence_with_a_next_step(done.err)


# Shapes of jobs


def test_names_never_reach_a_shell_and_frames_below_zero_come_home(cloud: Cloud) -> None:
    stem = "a'b\"c $(touch x);`touch y`&|<>*"
    odd = [f"{stem}.png", "-rf --help.png", "Überraschung.png", "per%20cent+plus #1?.png", "new\nline.png"]
    root = cloud.folder / "project" / stem
    root.mkdir(parents=True)
    for name in odd:
        (root / name).write_text(name)
    scene = card(root / f"{stem}.testcard", "-3-4", assets=odd)
    farm = cloud.farm()
    done = farm.submit(scene, "--order", "progressive", "--chunk", 3)
    assert done.code == 0, done.err
    wanted = [f"{stem}.{n:04d}.png" if n >= 0 else f"{stem}.-{-n:04d}.png" for n in range(-3, 5)]
    assert sorted(pixels(farm.folder / "out/frames")) == sorted(wanted)
    assert sorted(len(task.frames) for task in cloud.tasks(done.json["job"])) == [2, 3, 3]
    assert not [path for path in cloud.service.root.rglob("*") if path.name in ("x", "y")]


@pytest.mark.slow
def test_several_tasks_share_a_node_with_several_slots(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None, nodes=1, dedicated_nodes=1, slots_per_node=4)
    done = cloud.farm().submit(card(cloud.folder / "shot.testcard", "1-8", seconds=0.2), "--chunk", 1)
    assert done.code == 0, done.err
    rows = cloud.rows(done.json["job"])
    assert len({row["nodeInfo"]["nodeId"] for row in rows}) == 1
    spans = [(row["executionInfo"]["startTime"], row["executionInfo"]["endTime"]) for row in rows]
    assert any(a[0] < b[0] < a[1] for a in spans for b in spans)


# Pools that come and go


def test_an_auto_pool_lives_as_long_as_its_job(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None, auto_pool=True)
    done = cloud.farm().submit(card(cloud.folder / "shot.testcard", "1-4"))
    assert done.code == 0, done.err
    (only,) = cloud.batch_jobs(done.json["job"])
    pool = cloud.get(f"/jobs/{only}")["executionInfo"]["poolId"]
    wait_for(lambda: pool not in cloud.state()["pools"], "the end of the auto pool")


def test_a_pool_that_follows_its_tasks_renders_a_job(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None, autoscale=True)
    done = cloud.farm().submit(card(cloud.folder / "shot.testcard", "1-4"))
    assert done.code == 0, done.err
    assert cloud.get(f"/pools/{cloud.pool}")["enableAutoScale"]
    assert any("made pool" in note for note in done.json["notes"])


@pytest.mark.slow
def test_after_resize_0_the_pool_is_left_without_nodes_and_the_next_submit_wakes_it(
    new_cloud: NewCloud,
) -> None:
    cloud = new_cloud(pool_id=None, after="resize-0")
    farm = cloud.farm()
    assert farm.submit(card(cloud.folder / "shot.testcard", "1-4")).code == 0
    wait_for(lambda: not cloud.nodes(), "the last node's leave")
    done = farm.submit(card(cloud.folder / "next.testcard", "1-4"))
    assert done.code == 0, done.err


def test_a_submit_may_say_what_becomes_of_the_pool_and_how_urgent_it_is(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None)
    scene = card(cloud.folder / "shot.testcard", "1-4")
    done = cloud.farm().submit(scene, "--after", "delete-pool", "--priority", "-7")
    assert done.code == 0, done.err
    assert any("deleted" in note for note in done.json["notes"])
    assert [cloud.get(f"/jobs/{job}")["priority"] for job in cloud.batch_jobs(done.json["job"])] == [-7]
    wait_for(lambda: cloud.pool not in cloud.state()["pools"], "the end of the pool")


# What is left over


@pytest.mark.slow
def test_gc_says_first_what_would_go_and_spares_what_a_living_job_needs(cloud: Cloud) -> None:
    farm = cloud.farm()
    over = farm.submit(card(cloud.folder / "over.testcard", "1-2")).json["job"]
    scene = textured(cloud.folder / "project", faults=fault("hang", *range(1, 13)))
    living = detached(farm, scene, "--timeout", "100s")
    assets = cloud.assets()
    plan = farm.run("gc", "--older-than", 0, "--dry-run", "--json").json
    assert [name for name in plan["jobs"] if over in name]
    assert not [name for name in plan["jobs"] if living in name]
    assert cloud.blobs(over)
    assert farm.run("gc", "--older-than", 0, "--json").json["jobs"] == plan["jobs"]
    assert not cloud.blobs(over)
    assert cloud.blobs(living)
    assert cloud.assets() == assets
    assert farm.run("cancel", living).code == 0
