"""What the cloud pool lets out of its hands: no key, no signature, no more rights than a node needs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.azurite import Azurite
from tests.batch_service.client import BatchService
from tests.cloud import Cloud, leaks, leaks_in
from tests.farm_runs import Farm, card, fault, wait_for

pytest_plugins = ["tests.batch_service.fixtures", "tests.cloud_fixtures"]

HOURS = 6.0


@dataclass(frozen=True)
class Open:
    """A job that goes on, with one frame that failed."""

    cloud: Cloud
    farm: Farm
    job: str
    said: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """What its tasks get from Batch."""
        (only,) = self.cloud.batch_jobs(self.job)
        settings = self.cloud.get(f"/jobs/{only}")["commonEnvironmentSettings"]
        return {item["name"]: item["value"] for item in settings}


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, service: BatchService, azurite: Azurite
) -> Iterator[Open]:
    service.control("reset")
    cloud = Cloud(tmp_path_factory.mktemp("open"), service, azurite, job_hours=HOURS, pool_id="watched")
    farm = cloud.farm()
    scene = card(cloud.folder / "shot.testcard", "1-6", faults=fault("crash", 2) | fault("hang", 6))
    done = farm.submit(scene, "--detach", "--chunk", 1, "--retries", 0, RENDERFARM_DEBUG="1")
    job = done.json["job"]
    wait_for(lambda: len(cloud.blobs(job, "frames/")) == 4, "four frames", 60)
    wait_for(lambda: any("f0002" in name for name in cloud.blobs(job, "logs/")), "the log of the crash", 60)
    yield Open(cloud, farm, job, (done.out, done.err))
    farm.run("cancel", job)
    cloud.close()


@pytest.mark.slow
def test_no_command_prints_a_key_or_a_signature(running: Open) -> None:
    other = running.cloud.farm("laptop")
    words = (
        ("status", running.job, "--json"),
        ("collect", running.job, "--json"),
        ("logs", running.job),
        ("pool", "show", "cloud"),
        ("gc", "--dry-run"),
        ("submit", "--dry-run", "--json", running.cloud.folder / "shot.testcard"),
    )
    done = [other.run(*argv, RENDERFARM_DEBUG="1") for argv in words]
    assert leaks_in(*running.said, *(text for each in done for text in (each.out, each.err))) == []
    assert "frame 1: done" in done[2].out


def test_nothing_that_the_farm_wrote_here_holds_a_key_or_a_signature(running: Open) -> None:
    assert (running.farm.home / "farm.sqlite").exists()
    assert leaks(running.cloud.folder) == []


def test_nothing_that_the_farm_wrote_on_nodes_or_into_storage_holds_one(running: Open) -> None:
    folders = [Path(node["folder"]) for node in running.cloud.nodes().values()]
    assert any(path.name == "stdout.txt" for folder in folders for path in folder.rglob("*"))
    assert leaks(*folders) == []
    container = running.cloud.storage.get_container_client(f"{running.cloud.prefix}-{running.job}")
    for name in running.cloud.blobs(running.job):
        if not name.endswith(".pyz"):
            assert leaks_in(container.download_blob(name).readall().decode(errors="replace")) == [], name


def test_nodes_get_no_account_key_and_only_the_start_task_is_elevated(running: Open) -> None:
    (only,) = running.cloud.batch_jobs(running.job)
    job, pool = running.cloud.get(f"/jobs/{only}"), running.cloud.get(f"/pools/{running.cloud.pool}")
    rows = running.cloud.rows(running.job)
    text = json.dumps([job, pool, *rows])
    assert (running.cloud.azurite.key in text, "AccountKey" in text) == (False, False)
    users = [body["userIdentity"]["autoUser"] for body in (job["jobPreparationTask"], *rows)]
    assert {user["elevationLevel"].lower() for user in users} == {"nonadmin"}
    assert pool["startTask"]["userIdentity"]["autoUser"]["elevationLevel"].lower() == "admin"


@pytest.mark.parametrize(
    ("variable", "rights"),
    [("RENDERFARM_ASSETS", "r"), ("RENDERFARM_INPUTS", "rl"), ("RENDERFARM_OUTPUTS", "cw")],
)
def test_a_nodes_tokens_say_what_it_may_do_and_until_when(running: Open, variable: str, rights: str) -> None:
    token = parse_qs(urlsplit(running.environment()[variable]).query)
    assert (token["sp"], token["sr"]) == ([rights], ["c"])
    left = datetime.fromisoformat(token["se"][0]).timestamp() - time.time()
    assert (HOURS - 1) * 3600 < left < (HOURS + 1) * 3600


def answer(method: str, url: str, name: str = "", query: str = "", body: bytes | None = None) -> int:
    """The status of a request with a node's token."""
    parts = urlsplit(url)
    path = f"{parts.path}/{name}" if name else parts.path
    whole = parts._replace(path=path, query=f"{parts.query}&{query}" if query else parts.query)
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}
    try:
        with urlopen(Request(whole.geturl(), body, headers, method=method), timeout=10) as found:
            return int(found.status)
    except HTTPError as error:
        return error.code


def test_a_node_can_neither_read_what_others_rendered_nor_spoil_assets_or_inputs(running: Open) -> None:
    urls = running.environment()
    listing = "restype=container&comp=list"
    asset = next(iter(running.cloud.assets()))
    assert answer("GET", urls["RENDERFARM_ASSETS"], asset) == 200
    assert answer("GET", urls["RENDERFARM_INPUTS"], "in/job.json") == 200
    refused: list[tuple[Any, ...]] = [
        ("GET", urls["RENDERFARM_ASSETS"], "", listing),
        ("PUT", urls["RENDERFARM_ASSETS"], asset, "", b"spoilt"),
        ("DELETE", urls["RENDERFARM_ASSETS"], asset),
        ("PUT", urls["RENDERFARM_INPUTS"], "in/job.json", "", b"spoilt"),
        ("DELETE", urls["RENDERFARM_INPUTS"], "in/job.json"),
        ("GET", urls["RENDERFARM_OUTPUTS"], "in/job.json"),
        ("GET", urls["RENDERFARM_OUTPUTS"], "", listing),
        ("DELETE", urls["RENDERFARM_OUTPUTS"], "frames/0001.1.png"),
    ]
    assert {arguments[:3:2]: answer(*arguments) for arguments in refused if answer(*arguments) != 403} == {}


@pytest.mark.slow
def test_a_manifest_that_was_tampered_with_writes_nothing_outside_the_project(cloud: Cloud) -> None:
    cloud.settings["pool_id"] = "tampered"
    cloud.configure()
    cloud.control("slow_nodes", seconds=10_000)
    farm = cloud.farm()
    scene = card(cloud.folder / "shot.testcard", "1-2")
    job = farm.submit(scene, "--detach").json["job"]
    container = cloud.storage.get_container_client(f"{cloud.prefix}-{job}")
    manifest = json.loads(container.download_blob("in/manifest.json").readall())
    manifest["files"].append({**manifest["files"][0], "path": "../../escaped.testcard"})
    container.upload_blob("in/manifest.json", json.dumps(manifest).encode(), overwrite=True)
    done = farm.run("resume", job)
    assert done.code in (1, 3)
    assert not list(cloud.service.root.rglob("escaped.testcard"))
