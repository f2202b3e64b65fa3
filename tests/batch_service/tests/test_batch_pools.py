"""Pools and nodes of the local Batch service, through the Azure SDK."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.batch import BatchClient, models
from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)

from tests.batch_service.client import (
    API,
    MACHINE,
    QUICK,
    VM_SIZE,
    BatchService,
    add_task,
    code_of,
    finished,
    make_job,
    make_pool,
    run,
    shell,
    states,
    text_of,
    unique,
    until,
)

pytest_plugins = ["tests.batch_service.fixtures"]
pytestmark = pytest.mark.service


NOWHERE = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/test/providers"

# azure-batch 15.1 raises ValueError when the options are left out.
REBOOT: Any = {"nodeRebootOption": "requeue"}
REIMAGE: Any = {"nodeReimageOption": "requeue"}
DEALLOCATE: Any = {"nodeDeallocateOption": "requeue"}
OFFLINE = models.BatchNodeDisableSchedulingOptions(node_disable_scheduling_option="requeue")


@pytest.fixture
def own(batch: BatchClient) -> str:
    """The id of a pool without nodes that the test may treat as it likes."""
    name = unique("own")
    make_pool(batch, name)
    return name


def definition(name: str, **options: Any) -> models.BatchPoolCreateOptions:
    return models.BatchPoolCreateOptions(
        id=name, vm_size=VM_SIZE, virtual_machine_configuration=MACHINE, **options
    )


# Life of a pool


def test_a_new_pool_has_the_services_defaults(batch: BatchClient, own: str) -> None:
    found = batch.get_pool(own)
    assert (found.id, found.state, found.allocation_state) == (own, "active", "steady")
    assert (found.vm_size.lower(), found.task_slots_per_node) == (VM_SIZE.lower(), 1)
    assert found.resize_timeout == timedelta(minutes=15)
    assert (found.enable_auto_scale, found.enable_inter_node_communication) == (False, False)
    assert (found.current_dedicated_nodes, found.current_low_priority_nodes) == (0, 0)
    assert (found.target_dedicated_nodes, found.target_low_priority_nodes) == (0, 0)
    assert found.task_scheduling_policy is not None
    assert str(found.task_scheduling_policy.node_fill_type).lower().endswith("spread")
    assert found.creation_time is not None
    assert abs(datetime.now(UTC) - found.creation_time) < timedelta(minutes=1)
    assert found.url is not None
    assert found.url.endswith(f"/pools/{own}")


def test_a_pool_keeps_what_it_was_made_with(batch: BatchClient) -> None:
    name = unique("rich")
    start_task = models.BatchStartTask(
        command_line="/bin/true",
        environment_settings=[models.EnvironmentSetting(name="A", value="1")],
        user_identity=models.UserIdentity(
            auto_user=models.AutoUserSpecification(scope="pool", elevation_level="admin")
        ),
        max_task_retry_count=2,
    )
    batch.create_pool(
        definition(
            name,
            display_name="Größe 3",
            metadata=[models.BatchMetadataItem(name="team", value="light")],
            start_task=start_task,
            task_slots_per_node=4,
            task_scheduling_policy=models.BatchTaskSchedulingPolicy(node_fill_type="pack"),
            user_accounts=[
                models.UserAccount(name="farm", password="Secret-of-the-pool-1", elevation_level="admin")
            ],
        )
    )
    found = batch.get_pool(name)
    assert found.display_name == "Größe 3"
    assert found.metadata == [models.BatchMetadataItem(name="team", value="light")]
    assert found.start_task is not None
    assert (found.start_task.command_line, found.start_task.max_task_retry_count) == ("/bin/true", 2)
    assert found.task_slots_per_node == 4
    assert found.virtual_machine_configuration is not None
    assert found.virtual_machine_configuration.node_agent_sku_id == "batch.node.ubuntu 24.04"
    assert "Secret-of-the-pool-1" not in str(found.as_dict())


def test_pool_ids_differ_by_more_than_case_and_keep_theirs(batch: BatchClient) -> None:
    name = unique("MixedCase")
    batch.create_pool(definition(name))
    with pytest.raises(ResourceExistsError) as error:
        batch.create_pool(definition(name.lower()))
    assert code_of(error) == "PoolExists"
    assert batch.get_pool(name.upper()).id == name


def test_a_pool_grows_and_shrinks(batch: BatchClient, own: str) -> None:
    size = models.BatchPoolResizeOptions(target_dedicated_nodes=2, target_low_priority_nodes=1)
    batch.begin_resize_pool(own, size, polling_interval=QUICK).wait()
    until(lambda: states(batch, own) == ["idle"] * 3)
    nodes = list(batch.list_nodes(own))
    assert Counter(node.is_dedicated for node in nodes) == {True: 2, False: 1}
    assert all(node.id and node.id.startswith("tvmps_") for node in nodes)
    assert {node.id[-2:] for node in nodes if node.id} == {"_d", "_p"}
    down = models.BatchPoolResizeOptions(target_dedicated_nodes=0, target_low_priority_nodes=1)
    batch.begin_resize_pool(own, down, polling_interval=QUICK).wait()
    until(lambda: [node.is_dedicated for node in batch.list_nodes(own)] == [False])
    found = batch.get_pool(own)
    assert (found.current_dedicated_nodes, found.current_low_priority_nodes) == (0, 1)


def test_a_pool_that_is_being_resized_is_not_resized_again(service: BatchService, batch: BatchClient) -> None:
    name = unique("busy")
    make_pool(batch, name, dedicated=1)
    job = make_job(batch, name)
    task = add_task(batch, job, "sleep 60")
    until(lambda: batch.get_task(job, task).state == "running")
    shrink = {"targetDedicatedNodes": 0, "nodeDeallocationOption": "taskcompletion"}
    assert service.call("POST", f"/pools/{name}/resize?{API}", shrink).status == 202
    again = service.call("POST", f"/pools/{name}/resize?{API}", {"targetDedicatedNodes": 2})
    assert (again.status, json.loads(again.body or b"")["code"]) == (409, "PoolBeingResized")
    assert service.call("POST", f"/pools/{name}/stopresize?{API}").status == 202
    until(lambda: batch.get_pool(name).allocation_state == "steady")


def test_a_deleted_pool_is_gone(batch: BatchClient) -> None:
    name = unique("short")
    make_pool(batch, name, dedicated=1)
    batch.begin_delete_pool(name, polling_interval=QUICK).wait()
    with pytest.raises(ResourceNotFoundError) as error:
        batch.get_pool(name)
    assert code_of(error) == "PoolNotFound"
    assert name not in [found.id for found in batch.list_pools()]


def test_a_pool_exists_or_not(service: BatchService, batch: BatchClient, own: str) -> None:
    assert batch.pool_exists(own)
    answer = service.call("HEAD", f"/pools/{unique('none')}?api-version=2025-06-01")
    assert (answer.status, answer.body) == (404, b"")


def test_patching_a_pool_changes_only_what_was_sent(batch: BatchClient, own: str) -> None:
    before = batch.get_pool(own)
    metadata = [models.BatchMetadataItem(name="a", value="b")]
    batch.update_pool(own, models.BatchPoolUpdateOptions(metadata=metadata))
    after = batch.get_pool(own)
    assert after.metadata == metadata
    assert after.vm_size == before.vm_size
    assert after.etag != before.etag


def test_replacing_properties_of_a_pool_removes_what_was_not_sent(batch: BatchClient, own: str) -> None:
    start_task = models.BatchStartTask(command_line="/bin/true")
    batch.update_pool(own, models.BatchPoolUpdateOptions(start_task=start_task))
    metadata = [models.BatchMetadataItem(name="a", value="b")]
    batch.replace_pool_properties(
        own, models.BatchPoolReplaceOptions(application_package_references=[], metadata=metadata)
    )
    found = batch.get_pool(own)
    assert (found.metadata, found.start_task) == (metadata, None)


def test_a_pool_has_the_disks_and_extensions_it_was_made_with(batch: BatchClient) -> None:
    name = unique("equipped")
    extension = models.VMExtension(
        name="gpu", publisher="Microsoft.HpcCompute", type="NvidiaGpuDriverLinux", type_handler_version="1.9"
    )
    machine = models.VirtualMachineConfiguration(
        image_reference=MACHINE.image_reference,
        node_agent_sku_id=MACHINE.node_agent_sku_id,
        data_disks=[models.DataDisk(logical_unit_number=1, disk_size_gb=50)],
        extensions=[extension],
        container_configuration=models.BatchContainerConfiguration(
            type="dockerCompatible", container_image_names=["ubuntu"]
        ),
    )
    batch.create_pool(
        models.BatchPoolCreateOptions(
            id=name, vm_size=VM_SIZE, virtual_machine_configuration=machine, target_dedicated_nodes=1
        )
    )
    until(lambda: states(batch, name) == ["idle"])
    found = batch.get_pool(name).virtual_machine_configuration
    assert found is not None
    assert [(disk.logical_unit_number, disk.disk_size_gb) for disk in found.data_disks or []] == [(1, 50)]
    (node,) = batch.list_nodes(name)
    own, installed = batch.list_node_extensions(name, node.id or "")
    assert own.vm_extension is not None
    assert own.vm_extension.name == "batchNodeExtension"
    assert installed.vm_extension is not None
    assert installed.vm_extension.name == "gpu"
    assert batch.get_node_extension(name, node.id or "", "gpu").vm_extension == installed.vm_extension


def test_the_endpoints_of_a_pool_are_on_its_nodes(batch: BatchClient) -> None:
    name = unique("open")
    rule = models.NetworkSecurityGroupRule(priority=150, access="allow", source_address_prefix="*")
    nat = models.BatchInboundNatPool(
        name="ssh-ish",
        protocol="tcp",
        backend_port=64444,
        frontend_port_range_start=60000,
        frontend_port_range_end=61000,
        network_security_group_rules=[rule],
    )
    network = models.NetworkConfiguration(
        endpoint_configuration=models.BatchPoolEndpointConfiguration(inbound_nat_pools=[nat])
    )
    make_pool(batch, name, dedicated=1, network_configuration=network)
    (node,) = batch.list_nodes(name)
    assert node.endpoint_configuration is not None
    own, ssh = node.endpoint_configuration.inbound_endpoints
    assert (own.name, own.protocol, own.backend_port) == ("ssh-ish.0", "tcp", 64444)
    assert 60000 <= own.frontend_port <= 61000
    assert (ssh.name, ssh.backend_port) == ("SSHRule.0", 22)
    login = batch.get_node_remote_login_settings(name, node.id or "")
    assert (login.remote_login_ip_address, login.remote_login_port) == (
        ssh.public_ip_address,
        ssh.frontend_port,
    )


def test_statistics_of_a_pool_come_only_when_asked_for(batch: BatchClient, own: str) -> None:
    assert batch.get_pool(own).pool_statistics is None
    assert batch.get_pool(own, expand=["stats"]).pool_statistics is not None


def test_a_pool_that_is_being_deleted_says_so(batch: BatchClient, service: BatchService) -> None:
    name = unique("going")
    make_pool(batch, name, dedicated=1)
    assert service.call("DELETE", f"/pools/{name}?{API}").status == 202
    answer = service.call("DELETE", f"/pools/{name}?{API}")
    assert (answer.status, json.loads(answer.body or b"")["code"]) in (
        (409, "PoolBeingDeleted"),
        (404, "PoolNotFound"),
    )
    until(lambda: service.call("GET", f"/pools/{name}?{API}").status == 404)
    make_pool(batch, name)


# What is refused


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": "with space"}, "InvalidPropertyValue"),
        ({"id": "x" * 65}, "InvalidPropertyValue"),
        ({"id": None}, "MissingRequiredProperty"),
        ({"vmSize": None}, "MissingRequiredProperty"),
        ({"taskSlotsPerNode": 1000}, "InvalidPropertyValue"),
        ({"resizeTimeout": "PT1M"}, "InvalidPropertyValue"),
        ({"targetDedicatedNodes": "three"}, "InvalidRequestBody"),
        ({"targetDedicatedNodes": -1}, "InvalidPropertyValue"),
        ({"colour": "red"}, "InvalidRequestBody"),
        ({"enableAutoScale": True, "targetDedicatedNodes": 1, "autoScaleFormula": "$TargetDedicated=1"}, None),
        ({"enableAutoScale": True}, None),
        ({"vmSize": "tiny"}, "InvalidPropertyValue"),
        (
            {"networkConfiguration": {"subnetId": NOWHERE + "/Microsoft.Network/virtualNetworks/v/subnets/s"}},
            None,
        ),
        (
            {
                "virtualMachineConfiguration": {
                    "imageReference": {"virtualMachineImageId": NOWHERE + "/Microsoft.Compute/gallery/g"},
                    "nodeAgentSKUId": "batch.node.ubuntu 24.04",
                }
            },
            "InvalidPropertyValue",
        ),
    ],
)
def test_a_bad_pool_is_refused(service: BatchService, change: dict[str, object], code: str | None) -> None:
    body = {
        "id": unique("bad"),
        "vmSize": VM_SIZE,
        "virtualMachineConfiguration": MACHINE.as_dict(),
        **change,
    }
    kept = {name: value for name, value in body.items() if value is not None}
    answer = service.call("POST", "/pools?api-version=2025-06-01", kept)
    assert answer.status == 400
    if code:
        assert f'"code":"{code}"' in (answer.body or b"").decode()


def test_conditions_on_a_pool_are_kept(batch: BatchClient, own: str) -> None:
    etag = batch.get_pool(own).etag
    metadata = models.BatchPoolUpdateOptions(metadata=[models.BatchMetadataItem(name="n", value="1")])
    batch.update_pool(own, metadata, etag=etag, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(ResourceModifiedError) as error:
        batch.update_pool(own, metadata, etag=etag, match_condition=MatchConditions.IfNotModified)
    assert (error.value.status_code, code_of(error)) == (412, "ConditionNotMet")


def test_an_unchanged_pool_is_not_sent_again(batch: BatchClient, own: str) -> None:
    etag = batch.get_pool(own).etag
    with pytest.raises(HttpResponseError) as error:
        batch.get_pool(own, etag=etag, match_condition=MatchConditions.IfModified)
    assert error.value.status_code == 304


def test_times_in_conditions_are_kept(batch: BatchClient, own: str) -> None:
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    assert batch.get_pool(own, if_modified_since=now - hour).id == own
    with pytest.raises(HttpResponseError) as unmodified:
        batch.get_pool(own, if_modified_since=now + hour)
    with pytest.raises(HttpResponseError) as modified:
        batch.get_pool(own, if_unmodified_since=now - hour)
    assert (unmodified.value.status_code, modified.value.status_code) == (304, 412)


# Lists


def test_pools_are_listed_filtered_and_selected(batch: BatchClient) -> None:
    names = [unique("listed") for _ in range(3)]
    for name in names:
        batch.create_pool(definition(name))
    found = list(batch.list_pools(filter="startswith(id,'listed-')", select=["id", "state"], max_results=2))
    assert sorted(pool.id or "" for pool in found) == sorted(names)
    assert {tuple(sorted(pool.as_dict())) for pool in found} == {("id", "state")}


def test_counts_of_nodes_are_by_pool_and_state(batch: BatchClient, pool: str) -> None:
    until(lambda: states(batch, pool) == ["idle"] * 3)
    (found,) = batch.list_pool_node_counts(filter=f"poolId eq '{pool}'")
    assert found.dedicated is not None
    assert found.low_priority is not None
    assert (found.dedicated.idle, found.dedicated.total) == (2, 2)
    assert (found.low_priority.idle, found.low_priority.total) == (1, 1)


def test_supported_images_have_an_ubuntu_of_today(batch: BatchClient) -> None:
    found = [
        image for image in batch.list_supported_images() if image.node_agent_sku_id == "batch.node.ubuntu 24.04"
    ]
    assert found
    assert all(image.os_type == "linux" and image.image_reference.publisher for image in found)
    verified = list(batch.list_supported_images(filter="verificationType eq 'verified'"))
    assert verified
    assert all(image.verification_type == "verified" for image in verified)


def test_an_account_without_applications_lists_none(batch: BatchClient) -> None:
    assert list(batch.list_applications()) == []
    with pytest.raises(ResourceNotFoundError) as error:
        batch.get_application("blender")
    assert code_of(error) == "ApplicationNotFound"


# Automatic scaling


def test_a_formula_is_evaluated_without_being_applied(batch: BatchClient, own: str) -> None:
    enable = models.BatchPoolEnableAutoScaleOptions(
        auto_scale_formula="$TargetDedicatedNodes=0;", auto_scale_evaluation_interval=timedelta(minutes=6)
    )
    batch.enable_pool_auto_scale(own, enable)
    options = models.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes=3;")
    result = batch.evaluate_pool_auto_scale(own, options)
    assert result.results == "$TargetDedicatedNodes=3;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"
    assert result.error is None
    found = batch.get_pool(own)
    assert found.enable_auto_scale
    assert found.auto_scale_evaluation_interval == timedelta(minutes=6)
    assert found.auto_scale_formula == "$TargetDedicatedNodes=0;"
    assert found.target_dedicated_nodes == 0


def test_a_formula_runs_at_once_when_it_is_enabled(batch: BatchClient, own: str) -> None:
    enable = models.BatchPoolEnableAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes=0;")
    batch.enable_pool_auto_scale(own, enable)
    run_of = batch.get_pool(own).auto_scale_run
    assert run_of is not None
    assert (run_of.results or "").startswith("$TargetDedicatedNodes=0;")


def test_a_bad_formula_is_told_in_the_evaluation(batch: BatchClient, own: str) -> None:
    enable = models.BatchPoolEnableAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes=0;")
    batch.enable_pool_auto_scale(own, enable)
    options = models.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes=$Nonsense;")
    result = batch.evaluate_pool_auto_scale(own, options)
    assert result.error is not None
    assert "Nonsense" in str(result.error.as_dict())
    assert (result.results or "").startswith(
        "$TargetDedicatedNodes=0;$TargetLowPriorityNodes=0;"
    )  # as they are


def test_evaluation_needs_automatic_scaling(batch: BatchClient, own: str) -> None:
    options = models.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes=3;")
    with pytest.raises(HttpResponseError) as error:
        batch.evaluate_pool_auto_scale(own, options)
    assert error.value.status_code in (400, 409)


def test_a_pool_that_scales_itself_is_not_resized_by_hand(batch: BatchClient, own: str) -> None:
    enable = models.BatchPoolEnableAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes=0;")
    batch.enable_pool_auto_scale(own, enable)
    with pytest.raises(HttpResponseError) as error:
        batch.begin_resize_pool(own, models.BatchPoolResizeOptions(target_dedicated_nodes=1))
    assert error.value.status_code == 409
    batch.disable_pool_auto_scale(own)
    assert batch.get_pool(own).enable_auto_scale is False


def test_a_pool_scales_itself_with_the_pending_tasks(batch: BatchClient) -> None:
    name = unique("scaled")
    formula = "$TargetLowPriorityNodes = min(2, $PendingTasks.GetSample(1)); $TargetDedicatedNodes = 0;"
    batch.create_pool(
        definition(
            name,
            enable_auto_scale=True,
            auto_scale_formula=formula,
            auto_scale_evaluation_interval=timedelta(minutes=5),
        )
    )
    job = make_job(batch, name)
    tasks = [add_task(batch, job) for _ in range(3)]
    for task in tasks:
        finished(batch, job, task)
    found = batch.get_pool(name)
    assert found.auto_scale_run is not None
    assert "$TargetLowPriorityNodes" in (found.auto_scale_run.results or "")
    until(lambda: states(batch, name) == [])


# Nodes


def test_a_node_tells_who_it_is(batch: BatchClient, pool: str) -> None:
    node, *_ = batch.list_nodes(pool)
    assert node.id is not None
    again = batch.get_node(pool, node.id)
    assert (again.id, again.state, again.scheduling_state) == (node.id, "idle", "enabled")
    assert again.node_agent_info is not None
    assert (again.vm_size or "").lower() == VM_SIZE.lower()
    assert again.ip_address
    assert set(batch.get_node(pool, node.id, select=["id"]).as_dict()) - {"odata.metadata"} == {"id"}


def test_a_missing_node_is_told(batch: BatchClient, pool: str) -> None:
    with pytest.raises(ResourceNotFoundError) as error:
        batch.get_node(pool, "tvmps_0_d")
    assert code_of(error) == "NodeNotFound"


def test_a_rebooted_node_runs_its_start_task_again(batch: BatchClient, service: BatchService) -> None:
    name = unique("rebooted")
    start_task = models.BatchStartTask(command_line=shell("echo boot >> $AZ_BATCH_NODE_SHARED_DIR/boots"))
    make_pool(batch, name, dedicated=1, start_task=start_task)
    (node,) = batch.list_nodes(name)
    assert node.id is not None
    batch.begin_reboot_node(name, node.id, REBOOT, polling_interval=QUICK).wait()
    until(lambda: states(batch, name) == ["idle"])
    boots = b"".join(batch.download_node_file(name, node.id, "shared/boots"))
    assert boots == b"boot\nboot\n"


def test_no_node_of_today_can_be_reimaged(batch: BatchClient) -> None:
    name = unique("reimaged")
    make_pool(batch, name, dedicated=1)
    (node,) = batch.list_nodes(name)
    assert node.id is not None
    with pytest.raises(HttpResponseError) as refused:
        batch.begin_reimage_node(name, node.id, REIMAGE, polling_interval=QUICK)
    assert code_of(refused) == "OperationNotValidOnNode"
    assert states(batch, name) == ["idle"]


def test_a_deallocated_node_starts_again(batch: BatchClient) -> None:
    name = unique("asleep")
    make_pool(batch, name, dedicated=1)
    (node,) = batch.list_nodes(name)
    assert node.id is not None
    batch.begin_deallocate_node(name, node.id, DEALLOCATE, polling_interval=QUICK).wait()
    until(lambda: states(batch, name) == ["deallocated"])
    batch.begin_start_node(name, node.id, polling_interval=QUICK).wait()
    until(lambda: states(batch, name) == ["idle"])


def test_a_start_task_that_fails_makes_the_node_useless_with_a_reason(batch: BatchClient) -> None:
    name = unique("unstartable")
    start_task = models.BatchStartTask(
        command_line=shell("echo no driver >&2; exit 4"), wait_for_success=True, max_task_retry_count=1
    )
    batch.create_pool(definition(name, target_dedicated_nodes=1, start_task=start_task))
    until(lambda: states(batch, name) == ["starttaskfailed"])
    (node,) = batch.list_nodes(name)
    assert node.id is not None
    info = node.start_task_info
    assert info is not None
    assert (info.exit_code, info.result, info.retry_count) == (4, "failure", 1)
    assert info.failure_info is not None
    assert info.failure_info.code == "FailureExitCode"
    assert b"no driver" in b"".join(batch.download_node_file(name, node.id, "startup/stderr.txt"))


def test_a_start_task_sees_a_clean_environment(batch: BatchClient) -> None:
    name = unique("clean")
    start_task = models.BatchStartTask(
        command_line=shell("env; pwd"),
        environment_settings=[models.EnvironmentSetting(name="OWN", value="a b")],
    )
    make_pool(batch, name, spot=1, start_task=start_task)
    (node,) = batch.list_nodes(name)
    assert node.id is not None
    lines = b"".join(batch.download_node_file(name, node.id, "startup/stdout.txt")).decode().splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert seen["OWN"] == "a b"
    assert (seen["AZ_BATCH_POOL_ID"], seen["AZ_BATCH_NODE_ID"]) == (name, node.id)
    assert seen["AZ_BATCH_NODE_IS_DEDICATED"] == "false"
    assert lines[-1] == os.path.join(seen["AZ_BATCH_NODE_STARTUP_DIR"], "wd")  # noqa: PTH118
    assert "RENDERFARM_SECRET_OF_THE_DEVELOPER" not in seen
    assert "AZ_BATCH_TASK_ID" not in seen


def test_a_node_takes_no_tasks_while_scheduling_is_disabled(batch: BatchClient) -> None:
    name = unique("resting")
    make_pool(batch, name, dedicated=1)
    (node,) = batch.list_nodes(name)
    assert node.id is not None
    batch.disable_node_scheduling(name, node.id, OFFLINE)
    assert batch.get_node(name, node.id).scheduling_state == "disabled"
    job = make_job(batch, name)
    task = add_task(batch, job)
    assert batch.get_task(job, task).state == "active"
    batch.enable_node_scheduling(name, node.id)
    finished(batch, job, task)


def test_removed_nodes_are_gone_and_no_longer_wanted(batch: BatchClient) -> None:
    name = unique("removed")
    make_pool(batch, name, dedicated=2)
    first, second = (node.id or "" for node in batch.list_nodes(name))
    batch.begin_remove_nodes(
        name, models.BatchNodeRemoveOptions(node_ids=[first]), polling_interval=QUICK
    ).wait()
    until(lambda: [node.id for node in batch.list_nodes(name)] == [second])
    assert batch.get_pool(name).target_dedicated_nodes == 1


def test_users_of_a_node_come_and_go(batch: BatchClient, pool: str) -> None:
    node, *_ = (node.id or "" for node in batch.list_nodes(pool))
    user = models.BatchNodeUserCreateOptions(name="guest", password="Kdq21-fgsa", is_admin=False)
    batch.create_node_user(pool, node, user)
    with pytest.raises(ResourceExistsError) as exists:
        batch.create_node_user(pool, node, user)
    assert code_of(exists) == "NodeUserExists"
    batch.replace_node_user(pool, node, "guest", models.BatchNodeUserReplaceOptions(password="Liilef-3sdf"))
    batch.delete_node_user(pool, node, "guest")
    with pytest.raises(ResourceNotFoundError):
        batch.delete_node_user(pool, node, "guest")


def test_a_node_tells_where_to_log_in(batch: BatchClient, pool: str) -> None:
    node, *_ = (node.id or "" for node in batch.list_nodes(pool))
    found = batch.get_node_remote_login_settings(pool, node)
    assert found.remote_login_ip_address
    assert 0 < (found.remote_login_port or 0) < 65536


def test_a_node_without_extensions_has_the_one_that_brings_its_agent(batch: BatchClient, pool: str) -> None:
    node, *_ = (node.id or "" for node in batch.list_nodes(pool))
    assert len(list(batch.list_node_extensions(pool, node))) == 1
    with pytest.raises(ResourceNotFoundError):
        batch.get_node_extension(pool, node, "driver")


def test_a_node_remembers_its_recent_tasks(batch: BatchClient) -> None:
    name = unique("remembering")
    make_pool(batch, name, dedicated=1)
    job = make_job(batch, name)
    task = run(batch, job, "true")
    (node,) = batch.list_nodes(name)
    assert node.total_tasks_run == 1
    assert node.total_tasks_succeeded == 1
    assert node.recent_tasks is not None
    assert [recent.task_id for recent in node.recent_tasks] == [task.id]
    assert task.node_info is not None
    assert (task.node_info.pool_id, task.node_info.node_id) == (name, node.id)


def test_a_shrinking_pool_requeues_what_ran_on_its_nodes(batch: BatchClient) -> None:
    name = unique("shrinking")
    make_pool(batch, name, dedicated=1)
    job = make_job(batch, name)
    task = add_task(batch, job, "sleep 60")
    until(lambda: batch.get_task(job, task).state == "running")
    batch.begin_resize_pool(
        name, models.BatchPoolResizeOptions(target_dedicated_nodes=0), polling_interval=QUICK
    ).wait()
    until(lambda: batch.get_task(job, task).state == "active")
    info = batch.get_task(job, task).execution_info
    assert info is not None
    assert info.requeue_count == 1


def test_a_pool_that_waits_for_its_tasks_shrinks_after_them(batch: BatchClient) -> None:
    name = unique("patient")
    make_pool(batch, name, dedicated=1)
    job = make_job(batch, name)
    task = add_task(batch, job, "sleep 0.5; echo done")
    until(lambda: batch.get_task(job, task).state == "running")
    size = models.BatchPoolResizeOptions(target_dedicated_nodes=0, node_deallocation_option="taskcompletion")
    batch.begin_resize_pool(name, size, polling_interval=QUICK)
    assert finished(batch, job, task).execution_info.exit_code == 0  # type: ignore[union-attr]
    until(lambda: states(batch, name) == [])


def test_slots_let_a_node_run_several_tasks_at_once(batch: BatchClient) -> None:
    name = unique("slots")
    make_pool(batch, name, dedicated=1, task_slots_per_node=3)
    job = make_job(batch, name)
    wide = add_task(batch, job, "sleep 60", required_slots=2)
    narrow = add_task(batch, job, "sleep 60")
    waiting = add_task(batch, job, "sleep 60")
    until(lambda: batch.get_task(job, narrow).state == "running")
    assert batch.get_task(job, wide).state == "running"
    assert batch.get_task(job, waiting).state == "active"
    (node,) = batch.list_nodes(name)
    assert (node.state, node.running_tasks_count, node.running_task_slots_count) == ("running", 2, 3)


def test_a_deleted_pool_ends_what_ran_on_it(batch: BatchClient) -> None:
    name = unique("ending")
    make_pool(batch, name, dedicated=1)
    job = make_job(batch, name)
    task = add_task(batch, job, "echo here > $AZ_BATCH_NODE_SHARED_DIR/mark; sleep 60")
    until(lambda: batch.get_task(job, task).state == "running")
    batch.begin_delete_pool(name, polling_interval=QUICK).wait()
    assert batch.get_task(job, task).state in ("active", "completed")
    with pytest.raises(HttpResponseError):
        text_of(batch, job, task)
