"""What stands in a job's way for a while, in the pool or on a node: waited for, mended, or told and gone on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import blender_scenes
from tests.cloud import Cloud
from tests.farm_runs import Done, Farm, card, ended, one_sentence_with_a_next_step, wait_for

pytestmark = pytest.mark.slow  # a cloud, nodes and a farm for each: with `make test-cloud`

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

NewCloud = Callable[..., Cloud]


def troubled(cloud: Cloud, farm: Farm, trouble: str = "disk_full", **more: object) -> Done:
    """A job of which one node has no room left, or another trouble."""
    scene = card(cloud.folder / "shot.testcard", "1-12", seconds=0.2)
    process = farm.start("submit", "--json", "--chunk", 1, "-o", farm.folder / "out", "--", scene)
    wait_for(lambda: "running" in [node["state"] for node in cloud.nodes().values()], "a node at work", 60)
    cloud.control(trouble, pool=cloud.pool, **more)
    return ended(process)


def test_a_node_that_becomes_unusable_costs_no_frame(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None)
    done = troubled(cloud, cloud.farm(), "node_state", state="unusable")
    assert (done.code, done.json["frames"]["succeeded"]) == (0, 12), done.err


def refuse(cloud: Cloud, match: str) -> None:
    """The service refuses to mend a node in these ways."""
    refusal = {"status": 409, "code": "OperationNotValidOnNode", "count": None}
    cloud.control("server_error", match=match, **refusal)


@pytest.mark.parametrize(
    ("refused", "told", "rendered"),
    [
        ("", "could not begin its tasks: it is restarted", 12),
        ("/reboot", "it is given back", 12),
        ("/reboot|/removenodes", "it gets no more tasks", 12),
        ("/reboot|/removenodes|/disablescheduling", "it stays as it is", 1),
    ],
)
def test_a_node_that_can_not_begin_its_tasks_is_mended_as_far_as_the_service_lets_one(
    new_cloud: NewCloud, refused: str, told: str, rendered: int
) -> None:
    cloud = new_cloud(pool_id=None)
    if refused:
        refuse(cloud, refused)
    done = troubled(cloud, cloud.farm())
    assert done.code in (0, 1), done.err
    assert any(told in note for note in done.json["notes"])
    assert done.json["frames"]["succeeded"] >= rendered
    wait_for(lambda: refused != "/reboot" or len(cloud.nodes()) == 2, "the node's leave")


def test_a_job_whose_last_node_can_not_be_mended_ends_and_is_resumed_later(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None, nodes=1, dedicated_nodes=0)
    refuse(cloud, "/reboot|/removenodes")
    done = troubled(cloud, cloud.farm())
    assert done.code == 3
    assert "None of the 1 nodes" in done.err
    assert one_sentence_with_a_next_step(done.err)


def test_a_submit_while_the_pool_still_shrinks_wakes_it(new_cloud: NewCloud) -> None:
    cloud = new_cloud(pool_id=None)
    farm = cloud.farm()
    assert farm.submit(card(cloud.folder / "shot.testcard", "1-4")).code == 0
    cloud.control("slow_nodes", seconds=30_000)
    assert farm.run("pool", "resize", "cloud", 0).code == 0
    assert cloud.get(f"/pools/{cloud.pool}")["allocationState"] == "resizing"
    cloud.control("slow_nodes", seconds=0)
    done = farm.submit(card(cloud.folder / "next.testcard", "1-4"))
    assert done.code == 0, done.err


@pytest.mark.parametrize("route", ["POST /pools/.*/resize", "PATCH /pools", "POST /jobs$", "PATCH /jobs"])
def test_what_is_being_done_is_waited_for(new_cloud: NewCloud, route: str) -> None:
    cloud = new_cloud(pool_id=None)
    farm = cloud.farm()
    assert farm.submit(card(cloud.folder / "shot.testcard", "1-2")).code == 0
    assert farm.run("pool", "resize", "cloud", 0).code == 0
    wait_for(lambda: not cloud.nodes(), "the last node's leave")
    kind = "JobBeingDeleted" if "jobs" in route else "PoolBeingResized"
    cloud.control("server_error", match=route, status=409, code=kind, count=2)
    done = farm.submit(card(cloud.folder / "next.testcard", "1-2"))
    assert done.code == 0, done.err


def has_old_blender() -> bool:
    """Whether nodes have a Blender that is older than ours."""
    if not shutil.which("blender"):
        return False
    told = subprocess.run(["blender", "--version"], capture_output=True, text=True, check=False).stdout
    return told.startswith(("Blender 3.", "Blender 4.0", "Blender 4.1", "Blender 4.2"))


@pytest.mark.skipif(not has_old_blender(), reason="needs a Blender on PATH that is older than 4.5")
@pytest.mark.parametrize("compressed", [False, True])
def test_nodes_whose_blender_is_too_old_say_so_once(cloud: Cloud, tmp_path: Path, compressed: bool) -> None:
    scene = blender_scenes.make_scene(
        cloud.folder / "new.blend", frames=(1, 6), compress=compressed, saver="bpy"
    )
    done = cloud.farm().submit(scene, "--chunk", 2)
    assert done.code == 3, done.err
    assert done.err.count("too old") == 1
    assert "renderer add" in done.err
    assert one_sentence_with_a_next_step(done.err)
