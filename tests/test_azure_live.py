"""A smoke test against a real Batch account. It was never run against Azure: nobody here had an account.

It runs when RENDERFARM_LIVE_BATCH_ENDPOINT and RENDERFARM_LIVE_STORAGE_URL name the account, and signs in with
the default credential. It makes a pool, a job and containers of its own, takes them away again, needs no node,
and costs nothing, unless RENDERFARM_LIVE_RENDER=1 asks for three frames on one spot node.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from renderfarm.queues.azure.batch import Batch, Json, is_word
from renderfarm.queues.azure.credentials import storage_key
from renderfarm.queues.azure.images import supported
from renderfarm.queues.azure.nodepool import NodePool
from renderfarm.queues.azure.poolbody import formula
from renderfarm.queues.azure.settings import CloudSettings, read
from renderfarm.queues.azure.storage import Storage
from renderfarm.settings.pool import PoolConfig
from tests.batch_service.client import shell, until
from tests.farm_runs import Farm, ended
from tests.povray_scenes import make_scene
from tests.test_azure_batch import delete, end_task
from tests.test_azure_nodepool import evaluated, start_of
from tests.trusting import trusted

ENDPOINT, STORAGE = "RENDERFARM_LIVE_BATCH_ENDPOINT", "RENDERFARM_LIVE_STORAGE_URL"
GONE_SECONDS = 900.0
RENDER_SECONDS = 1800.0

pytestmark = [
    pytest.mark.skipif(ENDPOINT not in os.environ, reason=f"{ENDPOINT} names no Batch account"),
    pytest.mark.timeout(3600),
]


@pytest.fixture
def settings() -> CloudSettings:
    """A table with names that nobody else uses."""
    name = f"smoke-{secrets.token_hex(3)}"
    table: dict[str, object] = {
        "batch_url": os.environ[ENDPOINT],
        "storage_url": os.environ[STORAGE],
        "vm_size": os.environ.get("RENDERFARM_LIVE_VM_SIZE", "Standard_D2ads_v6"),
        "pool_id": name,
        "prefix": name,
        "nodes": 1,
    }
    if account := os.environ.get("RENDERFARM_LIVE_BATCH_ACCOUNT"):
        table["batch_account"] = account
    return read(PoolConfig("live", "azure-batch", table))


@pytest.fixture
def batch(settings: CloudSettings) -> Iterator[Batch]:
    adapter = Batch(settings)
    yield adapter
    NodePool(adapter, settings).delete()
    adapter.close()


def test_a_pool_is_made_of_an_image_that_is_there_shown_and_deleted(
    batch: Batch, settings: CloudSettings
) -> None:
    assert "ubuntu-24_04-lts" in [found.image_reference.offer for found in supported(batch)]
    nodes = NodePool(batch, replace(settings, poll_seconds=2))
    assert "made pool" in nodes.ensure(start_of(), nodes=0)[0]
    assert NodePool(batch, settings).show().state == "active"
    assert "$TargetLowPriorityNodes=" in evaluated(batch, settings.pool_id, formula(1, 0))
    assert nodes.delete()
    until(lambda: batch.get_pool(settings.pool_id) is None, GONE_SECONDS)


def test_tasks_are_added_in_bulk_and_listed_by_what_changed(batch: Batch, settings: CloudSettings) -> None:
    job = settings.pool_id
    batch.create_job({"id": job, "poolInfo": {"poolId": "no-such-pool"}})
    try:
        tasks: list[Json] = [{"id": f"t{n:03}", "commandLine": shell("true")} for n in range(250)]
        assert batch.add_tasks(job, tasks) == 250
        assert batch.add_tasks(job, tasks) == 250
        rows = list(batch.tasks(job, ("id", "stateTransitionTime"), since="2020-01-01T00:00:00Z"))
        assert sorted(row["id"] for row in rows) == [task["id"] for task in tasks]
        later = max(row["stateTransitionTime"] for row in rows)
        assert end_task(batch, job, "t007")
        assert "t007" in [row["id"] for row in batch.tasks(job, ("id",), since=later)]
        assert batch.terminate_job(job, "smoke")
        until(lambda: (found := batch.get_job(job)) is None or is_word(found.state, "completed"), GONE_SECONDS)
    finally:
        delete(batch, "jobs", job)


def test_storage_takes_and_gives(settings: CloudSettings) -> None:
    storage = Storage(settings, storage_key())
    container = f"{settings.prefix}-x"
    storage.ensure(container)
    try:
        storage.at(container).put("hello", b"hello")
        assert storage.at(container).read("hello") == b"hello"
        assert "sig=" in storage.sas_url(container, "r", 600)
    finally:
        storage.delete_container(container)
        storage.close()


@pytest.mark.skipif("RENDERFARM_LIVE_RENDER" not in os.environ, reason="RENDERFARM_LIVE_RENDER is not set")
def test_three_frames_come_back(batch: Batch, settings: CloudSettings, tmp_path: Path) -> None:
    keys = ("batch_url", "batch_account", "storage_url", "vm_size", "pool_id", "prefix")
    lines = [f'{key} = "{getattr(settings, key)}"' for key in keys]
    text = '[pools.live]\ntype = "azure-batch"\nnodes = 1\nafter = "delete-pool"\n' + "\n".join(lines)
    farm = Farm(tmp_path)
    (tmp_path / "renderfarm.toml").write_text(text)
    trusted(tmp_path / "renderfarm.toml", tmp_path / "xdg")
    scene = make_scene(tmp_path / "scene", frames=3)
    farm.environment |= {key: value for key, value in os.environ.items() if key.startswith("RENDERFARM_")}
    farm.environment["RENDERFARM_HOME"] = str(farm.home)
    done = ended(farm.start("submit", scene, "--pool", "live", "--json"), RENDER_SECONDS)
    assert done.json["frames"]["succeeded"] == 3
