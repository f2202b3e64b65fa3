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


def test_a_pool_that_is_not_there_is_shown_with_the_command_that_makes_it(own: Cloud) -> None:
    assert "renderfarm pool create cloud" in run("pool", "show", "cloud")


def test_a_pool_is_made(own: Cloud) -> None:
    assert f"made pool '{own.pool}'" in run("pool", "create", "cloud")
    standing = answer("pool", "show", "cloud")["standing"]
    assert (standing["state"], standing["autoscale"], standing["maximum"]) == ("active", True, 3)


def test_making_it_again_says_that_all_is_well(own: Cloud) -> None:
    run("pool", "create", "cloud")
    assert "as it should be" in run("pool", "create", "cloud")


def test_nodes_that_are_asked_for_come_at_once(own: Cloud) -> None:
    run("pool", "create", "cloud", "--nodes", "1")
    until(lambda: answer("pool", "show", "cloud")["standing"]["nodes"] == {"idle": 1})
    assert "1 of 1 spot" in run("pool", "show", "cloud")


def test_a_pool_of_fixed_size_begins_with_as_many_nodes_as_asked_for(own: Cloud) -> None:
    own.configure(autoscale=False)
    assert "has 0 nodes" in run("pool", "create", "cloud", "--nodes", "0")
    assert own.get(f"/pools/{own.pool}")["targetLowPriorityNodes"] == 0


def test_a_pool_is_resized(own: Cloud) -> None:
    run("pool", "create", "cloud", "--nodes", "1")
    assert "up to 0 nodes" in run("pool", "resize", "cloud", "0")
    until(lambda: answer("pool", "show", "cloud")["standing"]["nodes"] == {})


def test_a_pool_is_deleted(own: Cloud) -> None:
    run("pool", "create", "cloud")
    assert "is gone" in run("pool", "delete", "cloud", "--wait")
    assert answer("pool", "show", "cloud")["standing"]["state"] == "missing"


def test_deleting_a_pool_that_is_not_there_says_so(own: Cloud) -> None:
    assert "is not there" in run("pool", "delete", "cloud")


def test_all_pools_of_the_account_are_listed(own: Cloud) -> None:
    run("pool", "create", "cloud")
    listed = {found["pool"]: found for found in answer("pool", "list", "cloud")["pools"]}
    assert listed[own.pool]["ours"]
    assert own.pool in run("pool", "list", "cloud")


def test_a_renderer_that_is_not_in_storage_is_told(own: Cloud) -> None:
    own.configure(renderer="blender-4.5.3")
    assert "blender-4.5.3" in run("pool", "create", "cloud", code=2)


def test_a_start_script_of_the_users_own_that_is_not_there_is_told(own: Cloud) -> None:
    own.configure(start_task="setup.sh")
    assert "'start_task' in [pools.cloud]" in run("pool", "create", "cloud", code=2)


def test_a_start_task_that_fails_is_shown_with_its_last_words(own: Cloud) -> None:
    script = own.folder / "setup.sh"
    script.write_text("exit 1\n")
    own.configure(start_task=str(script), nodes=1)
    run("pool", "create", "cloud", "--nodes", "1")
    told = until(lambda: failure(run("pool", "show", "cloud")))
    assert "own start script ended with 1" in told


def failure(shown: str) -> str:
    return next((line for line in shown.splitlines() if "start task failed" in line), "")


def test_a_service_that_is_not_there_is_exit_code_3(own: Cloud) -> None:
    own.configure(batch_url="http://127.0.0.1:9")
    assert "can't be reached" in run("pool", "show", "cloud", code=3)


def test_this_machine_is_no_pool_to_manage(own: Cloud) -> None:
    assert "nothing to manage" in run("pool", "create", "local", code=2)


def test_a_wrong_key_in_the_table_is_exit_code_2(own: Cloud) -> None:
    own.configure(nodes="many")
    assert "'nodes' in [pools.cloud]" in run("pool", "show", "cloud", code=2)


def test_doctor_looks_at_what_the_pool_stands_on(own: Cloud) -> None:
    items = {item["name"]: item for item in answer("doctor", "--pool", "cloud")["items"]}
    names = ["Batch account", "storage account", "image", "pool", "renderers"]
    assert [items[f"cloud: {name}"]["ok"] for name in names] == [True] * 5
