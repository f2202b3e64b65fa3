"""A frame in parts in the cloud: each is a task like any other, and who collects makes the picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cloud import Cloud
from tests.farm_runs import pixels, wait_for
from tests.povray_scenes import make_still

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

SLOW = "light_source { <-3, 5, -3> 1 area_light x*2, z*2, 25, 25 }"


@pytest.mark.slow
def test_parts_in_the_cloud_are_the_whole_picture_and_a_node_that_is_lost_costs_its_part(
    new_cloud: Callable[..., Cloud],
) -> None:
    cloud = new_cloud(pool_id=None, nodes=2, price_per_node_hour=0.25)
    farm, size = cloud.farm(), ("--resolution", "107x75")
    scene = make_still(farm.folder, extra=SLOW)
    done = farm.submit(scene, *size, "--split", "tiles=6", "--detach")
    assert done.code == 0, done.err
    job = str(done.json["job"])
    wait_for(lambda: [row for row in cloud.rows(job) if row["state"] == "running"], "a part at work", 60)
    victim = next(row["nodeInfo"]["nodeId"] for row in cloud.rows(job) if "nodeInfo" in row)
    cloud.control("preempt", pool=cloud.pool, node=victim, restore_after=0.3)
    wait_for(lambda: farm.status(job)["phase"] == "waits to be collected", "all parts rendered", 90)
    assert farm.status(job)["cost"] > 0
    assert farm.run("logs", job, "--frame", "1").out.count("+SC") >= 3
    (farm.folder / "out").rename(farm.folder / "lost")
    other = cloud.farm("laptop")
    collected = other.run("collect", job, "--json")
    assert collected.code == 0, collected.err
    parts = collected.json["parts"]
    assert parts["succeeded"] == parts["total"] > 3
    farm.submit(scene, *size, "-o", farm.folder / "here", "-p", "local", "--no-reuse")
    assert pixels(other.folder / "renders/tiny/frames") == pixels(farm.folder / "here/frames")
