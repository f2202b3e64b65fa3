"""The farm's own checks notice a Batch service that is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from renderfarm.queues.azure.batch import Batch
from renderfarm.queues.azure.jobs import task_of
from renderfarm.queues.azure.settings import read
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.work import Task
from tests.batch_service.client import KEY
from tests.cloud import Cloud, Json
from tests.farm_runs import card, fault, wait_for

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

pytestmark = pytest.mark.slow


def adapter(cloud: Cloud) -> Batch:
    """The farm's way to the service."""
    return Batch(read(PoolConfig("cloud", "azure-batch", dict(cloud.settings))))


def submitted(cloud: Cloud, *more: object, frames: str = "1-6", **fields: object) -> str:
    """A job's id, left to the cloud."""
    scene = card(cloud.folder / "shot.testcard", frames, **fields)
    done = cloud.farm().submit(scene, "--detach", "--chunk", 1, *more)
    assert done.code == 0, done.err
    return str(done.json["job"])


def settled(cloud: Cloud, job: str) -> list[Json]:
    """A job's tasks once all have ended."""
    wait_for(lambda: all(row["state"] == "completed" for row in cloud.rows(job)), "the end of all tasks")
    return cloud.rows(job)


def check_outcomes(cloud: Cloud) -> None:
    """All tasks leave their logs, well or not."""
    job = submitted(cloud, "--retries", 0, frames="1-3", faults=fault("error", 1))
    rows = settled(cloud, job)
    told = {name.split("/")[1] for name in cloud.blobs(job, "logs/") if name.endswith("stdout.txt")}
    assert told == {row["id"] for row in rows}


def check_listing(cloud: Cloud) -> None:
    """Every task is found again from the listing, and nothing is sent that was not asked for."""
    job = submitted(cloud)
    cloud.control("page_size", size=2)
    batch = adapter(cloud)
    rows = list(batch.tasks(job, ("id", "environmentSettings")))
    batch.close()
    assert {task_of(row) for row in rows} == {Task((frame,)) for frame in range(1, 7)}
    assert {key for row in rows for key in row} == {"id", "environmentSettings"}


def check_cancel(cloud: Cloud) -> None:
    """What was queued when a job was canceled is still queued, not failed."""
    job = submitted(cloud, faults=fault("hang", *range(1, 7)))
    wait_for(lambda: "running" in [row["state"] for row in cloud.rows(job)], "a task at work")
    assert cloud.farm().run("cancel", job).code == 0
    (only,) = cloud.batch_jobs(job)
    wait_for(lambda: cloud.get(f"/jobs/{only}")["state"] == "completed", "the end of the job")
    assert "active" in [row["state"] for row in cloud.rows(job)]


def check_login(cloud: Cloud) -> None:
    """A wrong key is refused."""
    done = cloud.farm().run("pool", "show", "cloud", RENDERFARM_BATCH_KEY="d3Jvbmcga2V5")
    assert done.code == 3


CAUGHT_BY = {
    "outputs_lost": check_outcomes,
    "select_ignored": check_listing,
    "page_loses_items": check_listing,
    "terminate_ends_queued": check_cancel,
    "no_auth": check_login,
}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, cloud: Cloud) -> Iterator[Cloud]:
    monkeypatch.setenv("RENDERFARM_BATCH_KEY", KEY)
    monkeypatch.setenv("RENDERFARM_STORAGE_KEY", cloud.azurite.key)
    return cloud


@pytest.mark.parametrize("check", dict.fromkeys(CAUGHT_BY.values()), ids=lambda check: check.__name__)
def test_a_sound_service_passes(check: Callable[[Cloud], None], keys: Cloud) -> None:
    check(keys)


@pytest.mark.parametrize("defect", CAUGHT_BY)
def test_a_defect_of_the_service_is_noticed(defect: str, keys: Cloud) -> None:
    keys.control("defect", name=defect)
    with pytest.raises(AssertionError):
        CAUGHT_BY[defect](keys)
