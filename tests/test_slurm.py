"""The Slurm pool against a real slurmctld with two nodes on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from povray_scenes import make_still

from renderfarm.queues import open_remote_side
from renderfarm.settings.pool import PoolConfig
from tests.farm_runs import (
    PATIENCE_SECONDS,
    Farm,
    card,
    ended,
    fault,
    frames_there,
    pixels,
    stamps,
    wait_for,
)
from tests.slurm_cluster import Cluster, cluster

TABLE = {"type": "slurm", "cpus": 1, "poll_seconds": 0.2, "lost_seconds": 1}


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """Two nodes of four cores; arrays hold at most five tasks, so that jobs need several."""
    with cluster(array=5) as made:
        yield made


@pytest.fixture
def farm(slurm: Cluster, tmp_path: Path) -> Iterator[Farm]:
    """A farm on a machine of the cluster."""
    made = Farm(tmp_path / "farm")
    made.environment |= slurm.environment
    pool(made)
    yield made
    for node in slurm.nodes:
        slurm.run("scontrol", "update", f"nodename={node}", "state=resume")


def pool(farm: Farm, **more: object) -> None:
    """The user's own table of the pool `cluster`."""
    file = farm.folder / "xdg" / "renderfarm" / "renderfarm.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{key} = {json.dumps(value)}" for key, value in {**TABLE, **more}.items())
    file.write_text(f"[pools.cluster]\n{rows}\n")


def attempts(farm: Farm, job: str) -> list[tuple[int, int]]:
    """Frame and attempt of every picture that a node rendered."""
    said = []
    for path in (farm.folder / "out" / ".renderfarm" / job / "journal").glob("n*.jsonl"):
        said += [json.loads(line) for line in path.read_text().splitlines()]
    return sorted((value["frame"], value["attempt"]) for kind, value, _ in said if kind == "Rendered")


@pytest.mark.slow
def test_a_cluster_renders_the_same_pictures_as_this_machine(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-12", faults=fault("crash", 7, times=1))
    done = farm.submit(scene, "--pool", "cluster", "--chunk", 1)
    assert (done.code, done.json["frames"]["succeeded"]) == (0, 12), done.err
    farm.submit(scene, "-o", farm.folder / "here", "--no-reuse")
    assert pixels(farm.folder / "out" / "frames") == pixels(farm.folder / "here" / "frames")
    assert attempts(farm, done.json["job"]) == [(frame, 2 if frame == 7 else 1) for frame in range(1, 13)]


def test_a_detached_job_goes_on_tries_again_what_fails_and_is_collected(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-6", faults=fault("crash", 2, times=1))
    job = farm.submit(scene, "--pool", "cluster", "--chunk", 3, "--detach").json["job"]
    wait_for(lambda: farm.status(job)["phase"] == "waits to be collected", "all frames rendered")
    seen = farm.status(job)
    assert (seen["state"], seen["ended"], seen["frames"]["running"]) == ("running", True, 6)
    assert farm.run("collect", job).code == 0
    assert frames_there(farm.folder / "out") == 6
    assert not (farm.folder / "out" / ".renderfarm" / job / "frames").exists()


@pytest.mark.slow
def test_the_parts_of_a_frame_go_to_nodes_and_make_the_same_picture(farm: Farm) -> None:
    scene = make_still(farm.folder)
    size = ("--resolution", "107x75")
    done = farm.submit(scene, *size, "--pool", "cluster", "--split", "tiles=3x2", "--detach")
    assert done.code == 0, done.err
    job = done.json["job"]
    wait_for(lambda: farm.status(job)["phase"] == "waits to be collected", "all parts rendered", 45)
    assert farm.status(job)["parts"]["running"] == 6
    collected = farm.run("collect", job, "--json")
    assert collected.code == 0, collected.err
    assert farm.status(job)["parts"]["succeeded"] == 6
    farm.submit(scene, *size, "-o", farm.folder / "here", "--no-reuse")
    assert pixels(farm.folder / "out" / "frames") == pixels(farm.folder / "here" / "frames")


@pytest.mark.slow
def test_what_was_rendered_before_a_cancel_is_not_rendered_again(farm: Farm, slurm: Cluster) -> None:
    scene = card(farm.folder / "shot.testcard", "1-10", seconds=0.4)
    job = farm.submit(scene, "--pool", "cluster", "--chunk", 5, "--detach").json["job"]
    wait_for(lambda: len(attempts(farm, job)) >= 2, "pictures that nobody collected")
    assert farm.run("cancel", job).code == 0
    wait_for(lambda: not slurm.run("squeue", "-h"), "no task left")
    assert farm.run("resume", job).code == 0
    assert frames_there(farm.folder / "out") == 10
    assert len(attempts(farm, job)) == 10


@pytest.mark.slow
def test_frames_are_retried_while_their_job_goes_on(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-4", seconds=1.5)
    client = farm.start("submit", "--json", "-o", "out", "--pool", "cluster", "--chunk", "4", scene)
    wait_for(lambda: frames_there(farm.folder / "out") >= 1, "a first frame")
    assert farm.run("retry", farm.only_job(), "--frames", "1").code == 0
    assert ended(client).json["frames"]["succeeded"] == 4
    assert (1, 2) in attempts(farm, farm.only_job())


@pytest.mark.slow
def test_a_client_that_is_killed_resumes_and_no_frame_is_rendered_twice(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-8", seconds=0.4)
    client = farm.start("submit", "--json", "-o", "out", "--pool", "cluster", "--chunk", "1", scene)
    wait_for(lambda: frames_there(farm.folder / "out") >= 1, "a first frame")
    os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
    before = stamps(farm.folder / "out" / "frames")
    job = farm.only_job()
    assert farm.run("resume", job).code == 0
    after = stamps(farm.folder / "out" / "frames")
    assert len(after) == 8
    assert before.items() <= after.items()
    assert attempts(farm, job) == [(frame, 1) for frame in range(1, 9)]


def test_a_node_that_goes_away_costs_the_frames_in_its_hands(farm: Farm, slurm: Cluster) -> None:
    scene = card(farm.folder / "shot.testcard", "1-8", seconds=0.5)
    client = farm.start("submit", "--json", "-o", "out", "--pool", "cluster", "--chunk", "2", scene)
    wait_for(lambda: frames_there(farm.folder / "out") >= 1, "a first frame")
    slurm.lose("n1")
    done = ended(client)
    assert (done.code, done.json["frames"]["succeeded"]) == (0, 8), done.err


def test_cancel_ends_the_tasks(farm: Farm, slurm: Cluster) -> None:
    scene = card(farm.folder / "shot.testcard", "1-40", seconds=5)
    job = farm.submit(scene, "--pool", "cluster", "--chunk", "1", "--detach").json["job"]
    wait_for(lambda: "RUNNING" in slurm.run("squeue", "-h", "-o", "%T"), "a task that runs")
    assert farm.run("cancel", job).code == 0
    wait_for(lambda: not slurm.run("squeue", "-h"), "no task left")
    assert farm.status(job)["state"] == "canceled"


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("cpus", 99, "PartitionConfig"),
        ("time", "30:00", "Partition"),
        ("partition", "nowhere", "invalid partition"),
        ("gres", "tpu:1", "Invalid generic resource"),
    ],
)
def test_what_slurm_never_runs_is_told_in_its_words(farm: Farm, key: str, value: object, word: str) -> None:
    pool(farm, **{"partition": "short", key: value})
    done = farm.submit(card(farm.folder / "shot.testcard", "1-2"), "--pool", "cluster")
    assert done.code == 3
    assert word in done.err


@pytest.mark.slow
def test_a_node_without_what_is_needed_is_named_and_gets_no_more(farm: Farm) -> None:
    pool(farm, setup='test "$SLURMD_NODENAME" = n1 && { echo no renderer module; exit 1; }')
    done = farm.submit(
        card(farm.folder / "shot.testcard", "1-6", seconds=0.2), "--pool", "cluster", "--chunk", 1
    )
    assert (done.code, done.json["frames"]["succeeded"]) == (0, 6), done.err
    assert any("n1" in note and "no renderer module" in note for note in done.json["notes"])


def test_a_cluster_where_no_node_can_render_ends_with_the_reason(farm: Farm) -> None:
    pool(farm, setup="echo module not found; exit 1")
    done = farm.submit(card(farm.folder / "shot.testcard", "1-4"), "--pool", "cluster", "--chunk", 1)
    assert done.code == 3
    assert "module not found" in done.err


@pytest.mark.slow
def test_a_controller_that_is_away_for_a_while_is_no_end(farm: Farm, slurm: Cluster) -> None:
    scene = card(farm.folder / "shot.testcard", "1-6", seconds=0.5)
    client = farm.start("submit", "--json", "-o", "out", "--pool", "cluster", "--chunk", "3", scene)
    wait_for(lambda: frames_there(farm.folder / "out") >= 1, "a first frame")
    time.sleep(7)  # what a controller has not written down yet is lost with it
    slurm.kill("slurmctld")
    time.sleep(2)
    slurm.start("slurmctld")
    done = ended(client, 2 * PATIENCE_SECONDS)
    assert (done.code, done.json["frames"]["succeeded"]) == (0, 6), done.err


def test_what_a_task_takes_is_in_the_table(farm: Farm, slurm: Cluster) -> None:
    pool(farm, cpus=2, nodes=1, time="10", constraint="")
    scene = card(farm.folder / "shot.testcard", "1-4", seconds=3)
    job = farm.submit(scene, "--pool", "cluster", "--chunk", "1", "--priority", "-7", "--detach").json["job"]
    told = slurm.run("scontrol", "-o", "show", "job")
    row = next(line for line in told.splitlines() if job in line)
    assert {"Nice=7", "CPUs/Task=2", "TimeLimit=00:10:00", "ArrayTaskThrottle=1"} <= set(row.split())
    assert farm.run("cancel", job).code == 0


def test_doctor_says_what_nodes_there_are(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    with contextlib.closing(open_remote_side(PoolConfig("cluster", "slurm", {}))) as side:
        wait_for(
            lambda: any("2 idle" in check.detail for check in side.doctor()), "the end of earlier tasks", 60
        )


@pytest.mark.parametrize(
    ("rows", "more", "told"), [({}, ("--priority", "5"), "qos"), ({"cpus": "two"}, (), "docs/slurm.md")]
)
def test_what_can_not_be_wished_for_is_refused(farm: Farm, rows: Any, more: Any, told: str) -> None:
    pool(farm, **rows)
    done = farm.submit(card(farm.folder / "shot.testcard"), "--pool", "cluster", *more)
    assert (done.code, told in done.err) == (2, True)


POVRAY = Path(__file__).parent.parent / "scenes" / "povray" / "balloons.ini"
BLENDER = Path(__file__).parent.parent / "scenes" / "blender" / "harbour.blend"


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("scene", "frames", "scale"), [(BLENDER, "1-48", "10"), (POVRAY, "1-100", "10")], ids=["Blender", "POV-Ray"]
)
def test_everything_that_goes_wrong_at_once_leaves_the_same_pixels(
    farm: Farm, slurm: Cluster, scene: Path, frames: str, scale: str
) -> None:
    """A node drained, another node's daemon killed, tasks canceled from outside, the client killed with -9."""
    more = ("--pool", "cluster", "--frames", frames, "--scale", scale, "--no-video")
    client = farm.start("submit", "--json", "-o", "out", *more, "--chunk", "3", scene)
    wait_for(lambda: frames_there(farm.folder / "out") >= 3, "first frames", 600)
    slurm.run("scontrol", "update", "nodename=n1", "state=drain", "reason=test")
    wait_for(lambda: frames_there(farm.folder / "out") >= 8, "more frames", 600)
    slurm.run("scontrol", "update", "nodename=n1", "state=resume")
    slurm.kill("n2")
    wait_for(lambda: frames_there(farm.folder / "out") >= 14, "more frames", 600)
    slurm.start("n2")
    slurm.run("scancel", "--state=RUNNING", "-u", pwd.getpwuid(os.getuid()).pw_name)
    wait_for(lambda: frames_there(farm.folder / "out") >= 20, "more frames", 600)
    os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
    done = ended(farm.start("resume", "--json", farm.only_job()), 1500)
    assert done.code == 0, done.err
    here = ended(farm.start("submit", "--json", "-o", "here", "--no-reuse", *more[2:], scene), 1500)
    assert here.code == 0, here.err
    assert pixels(farm.folder / "out" / "frames") == pixels(farm.folder / "here" / "frames")


@pytest.mark.slow
def test_frames_of_a_finished_job_are_rendered_again(farm: Farm) -> None:
    scene = farm.folder / "ball.pov"
    scene.write_text(
        "camera { location -3*z } light_source { -9*z, 1 } sphere { 0, 0.5+clock pigment { rgb 1 } }"
    )
    job = farm.submit(scene, "--pool", "cluster", "--frames", "1-3", "--resolution", "32x18").json["job"]
    again = farm.run("retry", job, "--frames", "2", "--json")
    assert (again.code, attempts(farm, job)) == (0, [(1, 1), (2, 1), (2, 2), (3, 1)]), again.out + again.err
