"""Frames of a cloud pool are reused by what rendered them: the build that its nodes name, not ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renderfarm.renderers import renderer
from renderfarm.words.as_json import encode
from tests.cloud import Cloud
from tests.farm_runs import Farm, card

pytestmark = pytest.mark.slow  # a cloud, nodes and a farm for each: with `make test-cloud`

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

NOTHING = "nothing is reused"


@pytest.fixture
def cloud(new_cloud: Callable[..., Cloud]) -> Cloud:
    """A pool of one node, whose renderer may be exchanged."""
    return new_cloud(pool_id=None, nodes=1, dedicated_nodes=1)


def exchange(cloud: Cloud, job: str, identity: str) -> None:
    """From now on the node of a job has this build, as if it had been set up with another one."""
    (own,) = renderer("testcard").builds()
    build = encode(replace(own, identity=identity, label=f"test card {identity}"))
    (folder,) = cloud.service.root.glob(f"nodes/*/workitems/{job}")
    found = folder.parents[1] / "shared/renderfarm/node.json"
    found.write_text(json.dumps([build]))


def submitted(farm: Farm, scene: Path, frames: str, *more: object) -> Any:
    """A job in a folder of its own."""
    output = farm.folder / f"out{len(list(farm.folder.iterdir()))}"
    done = farm.submit(scene, "-f", frames, "--chunk", 1, "-o", output, *more)
    assert done.code == 0, done.err
    return done.json


def reused(said: Any) -> tuple[int, bool]:
    """How many frames, and whether the job says that none can be."""
    return said["frames"]["reused"], any(NOTHING in note for note in said["notes"])


def test_nothing_is_reused_until_the_nodes_have_said_what_they_render_with(cloud: Cloud) -> None:
    farm, scene = cloud.farm(), card(cloud.folder / "shot.testcard", "1-3")
    assert reused(submitted(farm, scene, "1-3")) == (0, True)
    assert reused(submitted(farm, scene, "1-3")) == (3, False)
    dry = farm.submit(scene, "--dry-run").json
    assert (dry["reused"], [note for note in dry["notes"] if NOTHING in note]) == (3, [])


def test_frames_of_another_build_are_not_reused_and_not_remembered_under_the_last_one(cloud: Cloud) -> None:
    farm, scene = cloud.farm(), card(cloud.folder / "shot.testcard", "1-6")
    job = submitted(farm, scene, "1-4")["job"]
    exchange(cloud, job, "2")
    assert reused(submitted(farm, scene, "1-6")) == (4, False), "until the nodes have named the new one"
    assert reused(submitted(farm, scene, "1-6")) == (2, False), "only those that it rendered"
    exchange(cloud, job, "testcard-1")
    submitted(farm, scene, "1-6", "--no-reuse")
    assert reused(submitted(farm, scene, "1-6")) == (6, False)


@pytest.mark.parametrize("change", [{"pool_id": "another-pool"}, {"container_image": "some/image:2"}])
def test_what_other_nodes_would_render_with_is_not_known(cloud: Cloud, change: dict[str, object]) -> None:
    farm, scene = cloud.farm(), card(cloud.folder / "shot.testcard", "1-3")
    submitted(farm, scene, "1-3")
    cloud.configure(**change)
    dry = farm.submit(scene, "--dry-run")
    assert (dry.json["reused"], any(NOTHING in note for note in dry.json["notes"])) == (0, True)


@pytest.mark.slow
def test_a_retried_frame_is_rendered_anew_whichever_build_rendered_it(cloud: Cloud) -> None:
    farm, scene = cloud.farm(), card(cloud.folder / "shot.testcard", "1-3")
    job = submitted(farm, scene, "1-3")["job"]
    assert farm.run("retry", job, "--frames", "2").code == 0
    assert cloud.submissions(job)[2, 2] == 1
    assert reused(submitted(farm, scene, "1-3")) == (3, False)
