"""The local Batch service takes what any client sends, and refuses what Azure does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.batch import BatchClient

from tests.batch_service.client import (
    API,
    BatchService,
    finished,
    make_job,
    make_pool,
    run,
    shell,
    states,
    unique,
    until,
)
from tests.batch_service.spec import Exchange

pytest_plugins = ["tests.batch_service.fixtures"]

IMAGE = {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
AGENT = "batch.node.ubuntu 24.04"


def body(**changes: Any) -> dict[str, Any]:
    """A pool of no nodes as clients send it."""
    machine = {"imageReference": dict(IMAGE), "nodeAgentSKUId": AGENT}
    pool = {"id": unique("sent"), "vmSize": "Standard_D2s_v3", "virtualMachineConfiguration": machine}
    return {key: value for key, value in {**pool, **changes}.items() if value is not None}


def said(answer: Exchange) -> Any:
    return json.loads(answer.body or b"{}")


def created(service: BatchService, **changes: Any) -> tuple[int, str, str]:
    """Status, code, and id of a pool that was asked for."""
    asked = body(**changes)
    answer = service.call("POST", f"/pools?{API}", asked)
    return answer.status, said(answer).get("code", ""), asked["id"]


def test_numbers_and_truth_may_be_written_as_text(service: BatchService) -> None:
    status, _, name = created(
        service, targetDedicatedNodes="0", taskSlotsPerNode="2", enableInterNodeCommunication="false"
    )
    assert status == 201
    found = said(service.call("GET", f"/pools/{name}?{API}"))
    assert (found["targetDedicatedNodes"], found["taskSlotsPerNode"]) == (0, 2)
    assert found["enableInterNodeCommunication"] is False


def test_text_that_is_no_number_is_refused(service: BatchService) -> None:
    assert created(service, targetDedicatedNodes="two")[:2] == (400, "InvalidRequestBody")


def test_a_pool_without_nodes_is_steady_when_it_is_made(service: BatchService) -> None:
    _, _, name = created(service)
    assert said(service.call("GET", f"/pools/{name}?{API}"))["allocationState"] == "steady"


@pytest.mark.parametrize(
    "changes",
    [
        {"vmSize": "Standard_Nonsense"},
        {"vmSize": "Standard_Q4_v3"},
        {"vmSize": "Standard_D17s_v3"},
        {"vmSize": "Standard_D2s_v12"},
        {"taskSlotsPerNode": 9},
        {"startTask": {"commandLine": " "}},
        {"virtualMachineConfiguration": {"imageReference": IMAGE, "nodeAgentSKUId": "batch.node.ubuntu 22.04"}},
        {"virtualMachineConfiguration": {"imageReference": IMAGE, "nodeAgentSKUId": "batch.node.beos 5"}},
        {
            "virtualMachineConfiguration": {
                "imageReference": {**IMAGE, "publisher": "nobody"},
                "nodeAgentSKUId": AGENT,
            }
        },
    ],
)
def test_what_azure_does_not_have_is_refused(service: BatchService, changes: dict[str, Any]) -> None:
    assert created(service, **changes)[:2] == (400, "InvalidPropertyValue")


@pytest.mark.parametrize(
    "size", ["standard_d2_v2", "Standard_D8ads_v6", "Standard_NC4as_T4_v3", "STANDARD_A1_v2"]
)
def test_sizes_of_azure_are_known(service: BatchService, size: str) -> None:
    assert created(service, vmSize=size)[0] == 201


def test_a_patched_start_task_replaces_the_old_one_whole(service: BatchService) -> None:
    before = {"commandLine": "/bin/true", "maxTaskRetryCount": 3, "waitForSuccess": False}
    _, _, name = created(service, startTask=before)
    patch = {"startTask": {"commandLine": "/bin/false"}}
    assert service.call("PATCH", f"/pools/{name}?{API}", patch).status == 200
    found = said(service.call("GET", f"/pools/{name}?{API}"))["startTask"]
    assert (found["maxTaskRetryCount"], found["waitForSuccess"]) == (0, True)


@pytest.mark.parametrize(
    "patch", [{"displayName": "another"}, {"taskSchedulingPolicy": {"nodeFillType": "pack"}}]
)
def test_what_a_filled_pool_is_can_not_be_changed(
    service: BatchService, batch: BatchClient, pool: str, patch: dict[str, Any]
) -> None:
    answer = service.call("PATCH", f"/pools/{pool}?{API}", patch)
    assert (answer.status, said(answer)["code"]) == (409, "OperationInvalidForCurrentState")
    _, _, empty = created(service)
    assert service.call("PATCH", f"/pools/{empty}?{API}", patch).status == 200


def test_a_task_ended_by_hand_leaves_its_job_alone(batch: BatchClient, pool: str) -> None:
    job = make_job(batch, pool, task_failure_mode="performexitoptionsjobaction")
    batch.create_task(job, {"id": "long", "commandLine": shell("sleep 60")})  # type: ignore[arg-type]
    until(lambda: batch.get_task(job, "long").state == "running")
    batch.terminate_task(job, "long")
    assert finished(batch, job, "long").execution_info.result == "failure"  # type: ignore[union-attr]
    assert run(batch, job, "true").execution_info.result == "success"  # type: ignore[union-attr]


def test_nodes_of_a_network_with_ipv6_have_such_addresses(service: BatchService, batch: BatchClient) -> None:
    both = {"publicIPAddressConfiguration": {"ipFamilies": ["IPv4", "IPv6"]}}
    _, _, name = created(service, targetDedicatedNodes=1, networkConfiguration=both)
    until(lambda: states(batch, name) == ["idle"])
    (node,) = batch.list_nodes(name)
    assert node.ipv6_address
    login = batch.get_node_remote_login_settings(name, node.id or "")
    assert (login.ipv6_remote_login_ip_address, login.ipv6_remote_login_port) == (
        "::1",
        login.remote_login_port,
    )
    plain = unique("plain")
    make_pool(batch, plain, dedicated=1)
    (other,) = batch.list_nodes(plain)
    assert other.ipv6_address is None


def test_an_unknown_api_version_is_told_which_ones_there_are(service: BatchService) -> None:
    answer = service.call("GET", "/pools?api-version=2031-01-01")
    reasons = [item["value"] for item in said(answer)["values"] if item["key"] == "Reason"]
    assert answer.status == 400
    assert "2026-10-01" in reasons[0]


def test_what_earlier_api_versions_have_is_there(service: BatchService, pool: str) -> None:
    old, place = (
        "?api-version=2022-10-01.16.0",
        f"/certificates(thumbprintAlgorithm=sha1,thumbprint={'a' * 40})",
    )
    made = {"thumbprint": "A" * 40, "thumbprintAlgorithm": "sha1", "data": "MA=="}
    assert [service.send("POST", f"/certificates{old}", made).status for _ in "12"] == [201, 409]
    assert said(service.send("GET", place + old))["state"] == "active"
    assert said(service.send("POST", f"{place}/canceldelete{old}"))["code"] == "CertificateStateActive"
    service.control("slow_nodes", seconds=1e6)
    assert [service.send("DELETE", place + old).status for _ in "12"] == [202, 409]
    assert "usageStats" in said(service.send("GET", f"/lifetimepoolstats{old}"))
    (node, *_) = said(service.send("GET", f"/pools/{pool}/nodes{old}"))["value"]
    desktop = service.send("GET", f"/pools/{pool}/nodes/{node['id']}/rdp{old}")
    assert said(desktop)["code"] == "OperationNotValidOnNode"


def test_earlier_api_versions_change_how_nodes_are_reached_and_todays_know_nothing_of_it(
    service: BatchService,
) -> None:
    old, mode = "api-version=2024-07-01.20.0", "targetNodeCommunicationMode"
    asked = body(targetNodeCommunicationMode="classic")
    assert service.call("POST", f"/pools?{old}", asked).status == 201
    place = f"/pools/{asked['id']}"
    assert said(service.call("GET", f"{place}?{old}"))[mode] == "classic"
    service.send("PATCH", f"{place}?{old}", {mode: "simplified"})
    assert said(service.call("GET", f"{place}?{old}"))[mode] == "simplified"
    assert mode not in said(service.call("GET", f"{place}?{API}"))


def test_a_resize_that_is_stopped_keeps_its_targets_and_says_which_nodes_are_missed(
    service: BatchService,
) -> None:
    _, _, name = created(service, targetDedicatedNodes=0)
    service.control("slow_nodes", seconds=1e6)
    wanted = {"targetDedicatedNodes": 0, "targetLowPriorityNodes": 3}
    assert service.call("POST", f"/pools/{name}/resize?{API}", wanted).status == 202
    assert service.call("POST", f"/pools/{name}/stopresize?{API}").status == 202
    service.control("slow_nodes", seconds=0)

    def steady() -> dict[str, Any] | None:
        found = said(service.call("GET", f"/pools/{name}?{API}"))
        return found if found["allocationState"] == "steady" else None

    found = until(steady)
    assert (found["targetLowPriorityNodes"], found["currentLowPriorityNodes"]) == (3, 0)
    assert [(each["code"], "low priority" in each["message"]) for each in found["resizeErrors"]] == [
        ("ResizeStopped", True)
    ]


def test_no_secret_comes_back(service: BatchService) -> None:
    machine = body()["virtualMachineConfiguration"]
    machine["extensions"] = [{"name": "e", "publisher": "p", "type": "t", "protectedSettings": {"k": "hush"}}]
    registry = {"registryServer": "r", "username": "u", "password": "hush"}
    machine["containerConfiguration"] = {"type": "dockerCompatible", "containerRegistries": [registry]}
    mount = {"accountName": "a", "containerName": "c", "relativeMountPath": "m", "accountKey": "hush"}
    linux = {"uid": 1001, "gid": 1001, "sshPrivateKey": "hush"}
    secrets = {
        "virtualMachineConfiguration": machine,
        "mountConfiguration": [{"azureBlobFileSystemConfiguration": mount}],
        "userAccounts": [{"name": "n", "password": "hush", "linuxUserConfiguration": linux}],
    }
    _, _, name = created(service, **secrets)
    pool = {key: value for key, value in body(**secrets).items() if key != "id"}
    automatic = {"poolLifetimeOption": "job", "pool": pool}
    job = {"id": unique("hush"), "poolInfo": {"autoPoolSpecification": automatic}}
    assert service.send("POST", f"/jobs?{API}", job).status == 201
    for place in (f"/pools/{name}", f"/jobs/{job['id']}"):
        assert b"hush" not in (service.send("GET", f"{place}?{API}").body or b"").replace(
            str(job["id"]).encode(), b""
        )
    (user,) = said(service.send("GET", f"/pools/{name}?{API}"))["userAccounts"]
    assert (user["elevationLevel"], user["linuxUserConfiguration"]) == ("nonadmin", {"uid": 1001, "gid": 1001})


def test_a_job_is_enabled_while_it_is_being_disabled(service: BatchService, pool: str) -> None:
    name = unique("blink")
    service.call("POST", f"/jobs?{API}", {"id": name, "poolInfo": {"poolId": pool}})
    assert service.call("POST", f"/jobs/{name}/disable?{API}", {"disableTasks": "requeue"}).status == 202
    assert service.call("POST", f"/jobs/{name}/enable?{API}").status == 202
    until(lambda: said(service.call("GET", f"/jobs/{name}?{API}"))["state"] == "active")
