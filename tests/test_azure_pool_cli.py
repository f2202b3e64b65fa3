"""`renderfarm pool` and `doctor` for a pool in the cloud, on a Batch service and an Azurite of this machine."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from renderfarm import cli
from tests.azurite import Azurite
from tests.batch_service.client import KEY, BatchService, unique, until
from tests.cloud import Cloud

pytest_plugins = ["tests.batch_service.fixtures"]


@pytest.fixture
def own(
    tmp_path: Path, service: BatchService, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cloud]:
    """A table of a pool that is not there yet; the working directory is its folder."""
    monkeypatch.setenv("RENDERFARM_BATCH_KEY", KEY)
    monkeypatch.setenv("RENDERFARM_STORAGE_KEY", azurite.key)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "desk" / "xdg"))
    cloud = Cloud(
        tmp_path / "desk", service, azurite, pool_id=unique("own"), autoscale=True, dedicated_nodes=None
    )
    monkeypatch.chdir(cloud.folder)
    yield cloud
    cloud.delete_pool()
    cloud.close()


def run(*argv: str, code: int = 0) -> str:
    """What a command line prints, which must end with this code."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        ended = cli.main(argv)
    assert ended == code, out.getvalue() + err.getvalue()
    assert "sig=" not in out.getvalue() + err.getvalue()
    return out.getvalue() if code == 0 else err.getvalue()


def answer(*argv: str) -> Any:
    return json.loads(run(*argv, "--json"))


def standing() -> Any:
    return answer("pool", "show", "cloud")["standing"]


def test_a_pool_is_made_shown_listed_resized_and_deleted(own: Cloud) -> None:
    assert "renderfarm pool create cloud" in run("pool", "show", "cloud")
    assert "is not there" in run("pool", "delete", "cloud")
    assert f"made pool '{own.pool}'" in run("pool", "create", "cloud", "--nodes", "1")
    until(lambda: standing()["nodes"] == {"idle": 1})
    assert "1 of 1 spot" in run("pool", "show", "cloud")
    assert [standing()[key] for key in ("state", "autoscale", "maximum")] == ["active", True, 3]
    assert "as it should be" in run("pool", "create", "cloud")
    listed = {found["pool"]: found for found in answer("pool", "list", "cloud")["pools"]}
    assert listed[own.pool]["ours"]
    assert own.pool in run("pool", "list", "cloud")
    assert "up to 0 nodes" in run("pool", "resize", "cloud", "0")
    until(lambda: standing()["nodes"] == {})
    assert "is gone" in run("pool", "delete", "cloud", "--wait")
    assert standing()["state"] == "missing"


def test_a_pool_of_fixed_size_begins_with_as_many_nodes_as_asked_for(own: Cloud) -> None:
    own.configure(autoscale=False)
    assert "has 0 nodes" in run("pool", "create", "cloud", "--nodes", "0")
    assert own.get(f"/pools/{own.pool}")["targetLowPriorityNodes"] == 0


def test_a_start_task_that_fails_is_shown_with_its_last_words(own: Cloud) -> None:
    script = own.folder / "setup.sh"
    script.write_text("exit 1\n")
    own.configure(start_task=str(script), nodes=1)
    run("pool", "create", "cloud", "--nodes", "1")
    until(lambda: "own start script ended with 1" in run("pool", "show", "cloud"))


@pytest.mark.parametrize(
    ("rows", "argv", "code", "told"),
    [
        ({"renderer": "blender-4.5.3"}, "create cloud", 2, "blender-4.5.3"),
        ({"start_task": "setup.sh"}, "create cloud", 2, "'start_task' in [pools.cloud]"),
        ({"batch_url": "http://127.0.0.1:9"}, "show cloud", 3, "can't be reached"),
        ({}, "create local", 2, "nothing to manage"),
        ({"nodes": "many"}, "show cloud", 2, "'nodes' in [pools.cloud]"),
    ],
)
def test_what_can_not_be_is_told(own: Cloud, rows: Any, argv: str, code: int, told: str) -> None:
    own.configure(**rows)
    assert told in run("pool", *argv.split(), code=code)


def test_doctor_looks_at_what_the_pool_stands_on(own: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(own.folder))  # no renderer is asked what it can do
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.main(["doctor", "--pool", "cloud", "--json"])
    items = {item["name"]: item for item in json.loads(out.getvalue())["items"]}
    names = ["Batch account", "storage account", "image", "pool", "renderers"]
    assert [items[f"cloud: {name}"]["ok"] for name in names] == [True] * 5
