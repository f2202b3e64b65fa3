"""Each trouble that the local Batch service makes on order, as a client of it meets it."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest
from azure.batch import BatchClient, models
from azure.core.exceptions import HttpResponseError, ServiceResponseError
from azure.storage.blob import ContainerClient

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
from tests.batch_service.tests.test_batch_files import blob_sas, failure_of, output, sas_of

pytest_plugins = ["tests.batch_service.fixtures"]
pytestmark = pytest.mark.service


@pytest.fixture
def spot(batch: BatchClient) -> str:
    """The id of a pool with one spot node."""
    name = unique("spot")
    make_pool(batch, name, spot=1)
    return name


def definition(name: str, **options: Any) -> models.BatchPoolCreateOptions:
    return models.BatchPoolCreateOptions(
        id=name, vm_size=VM_SIZE, virtual_machine_configuration=MACHINE, **options
    )


def node_of(batch: BatchClient, pool: str) -> models.BatchNode:
    (node,) = batch.list_nodes(pool)
    return node


# Nodes that go away


def test_a_preempted_node_loses_its_files_and_its_tasks_run_again(
    service: BatchService, batch: BatchClient, spot: str
) -> None:
    job = make_job(batch, spot)
    mark = "$AZ_BATCH_NODE_SHARED_DIR/mark"
    task = add_task(
        batch, job, f"test -e {mark} && echo dirty; touch {mark}; test -e {service.root}/go || sleep 60"
    )
    until(lambda: batch.get_task(job, task).state == "running")
    before = node_of(batch, spot)
    hit = service.control("preempt", pool=spot, restore_after=None)
    assert hit == {"node": before.id, "tasks": [task]}
    (service.root / "go").touch()
    until(lambda: states(batch, spot) == ["preempted"])
    waiting = batch.get_task(job, task)
    assert waiting.state == "active"
    assert waiting.node_info is None
    service.control("preempt", pool=spot, node=before.id, restore_after=0)
    done = finished(batch, job, task)
    (service.root / "go").unlink()
    assert done.execution_info is not None
    assert (done.execution_info.result, done.execution_info.retry_count) == ("success", 0)
    assert text_of(batch, job, task) == ""
    assert node_of(batch, spot).id == before.id


def test_a_preempted_node_runs_its_start_task_again(service: BatchService, batch: BatchClient) -> None:
    name = unique("again")
    script = shell("echo boot >> $AZ_BATCH_NODE_SHARED_DIR/boots")
    make_pool(batch, name, spot=1, start_task=models.BatchStartTask(command_line=script))
    service.control("preempt", pool=name, restore_after=0)
    until(lambda: states(batch, name) == ["idle"])
    assert b"".join(batch.download_node_file(name, node_of(batch, name).id or "", "shared/boots")) == b"boot\n"


def test_a_preempted_node_still_counts_as_preempted(
    service: BatchService, batch: BatchClient, spot: str
) -> None:
    service.control("preempt", pool=spot, restore_after=60)
    (counts,) = batch.list_pool_node_counts(filter=f"poolId eq '{spot}'")
    assert counts.low_priority is not None
    assert (counts.low_priority.preempted, counts.low_priority.idle, counts.low_priority.total) == (1, 0, 1)


def test_a_node_becomes_unusable_and_its_task_runs_elsewhere(service: BatchService, batch: BatchClient) -> None:
    name = unique("broken")
    make_pool(batch, name, dedicated=2)
    job = make_job(batch, name)
    task = add_task(batch, job, f"test -e {service.root}/go2 || sleep 60")
    until(lambda: batch.get_task(job, task).state == "running")
    first = batch.get_task(job, task).node_info
    assert first is not None
    (service.root / "go2").touch()
    errors = [{"code": "NodeDown", "message": "No answer."}]
    service.control("node_state", pool=name, node=first.node_id, state="unusable", errors=errors)
    node = batch.get_node(name, first.node_id or "")
    assert node.state == "unusable"
    assert [error.code for error in node.errors or []] == ["NodeDown"]
    done = finished(batch, job, task)
    assert done.node_info is not None
    assert done.node_info.node_id != first.node_id


@pytest.mark.parametrize("which", ["every", "second", "first time"])
def test_start_tasks_fail_on_order(service: BatchService, batch: BatchClient, which: str) -> None:
    name = unique("unlucky")
    options: dict[str, Any] = {"every": {}, "second": {"nth": 2}, "first time": {"count": 1}}[which]
    service.control("fail_start_task", pool=name, **options)
    start_task = models.BatchStartTask(command_line="/bin/true", wait_for_success=True, max_task_retry_count=0)
    batch.create_pool(definition(name, target_dedicated_nodes=3, start_task=start_task))
    expected = {"starttaskfailed": 3} if which == "every" else {"starttaskfailed": 1, "idle": 2}
    until(lambda: Counter(states(batch, name)) == expected)
    failed = next(node for node in batch.list_nodes(name) if node.state == "starttaskfailed")
    assert failed.start_task_info is not None
    assert failed.start_task_info.result == "failure"
    assert failed.start_task_info.failure_info is not None


def test_a_full_disk_fails_tasks(service: BatchService, batch: BatchClient, spot: str) -> None:
    job = make_job(batch, spot)
    service.control("disk_full", pool=spot)
    assert failure_of(run(batch, job, "true")).code == "DiskFull"
    service.control("disk_full", pool=spot, on=False)
    assert run(batch, job, "true").execution_info.exit_code == 0  # type: ignore[union-attr]


# Requests that fail


def test_throttling_without_a_wait_is_not_retried_by_the_sdk_for_posts(
    service: BatchService, pool: str, job: str
) -> None:
    service.control("throttle", match="POST /jobs/.*/tasks")
    with service.client(retry_backoff_factor=0.01) as client:
        with pytest.raises(HttpResponseError) as error:
            add_task(client, job)
        assert (error.value.status_code, code_of(error)) == (429, "TooManyRequests")
        add_task(client, job)


def test_throttling_with_a_wait_is_retried_by_the_sdk(service: BatchService, job: str) -> None:
    service.control("throttle", match="POST /jobs/.*/tasks", retry_after=1, count=1)
    with service.client() as client:
        start = time.monotonic()
        name = add_task(client, job)
        assert time.monotonic() - start >= 1
        assert client.get_task(job, name).id == name


def test_throttling_ends_after_its_count(service: BatchService, job: str) -> None:
    service.control("throttle", match=f"GET /jobs/{job}", count=2)
    answers = [service.call("GET", f"/jobs/{job}?{API}").status for _ in range(3)]
    assert answers == [429, 429, 200]


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_leaves_nothing_behind(service: BatchService, job: str, status: int) -> None:
    service.control("server_error", match="POST /jobs/.*/tasks", status=status, retry_after=3)
    answer = service.call("POST", f"/jobs/{job}/tasks?{API}", {"id": "x", "commandLine": "true"})
    assert (answer.status, answer.headers["retry-after"]) == (status, "3")
    assert service.call("GET", f"/jobs/{job}/tasks/x?{API}").status == 404


def test_a_server_error_after_half_of_a_collection_leaves_half(service: BatchService, job: str) -> None:
    service.control("server_error", match="addtaskcollection", apply="half")
    value = [{"id": str(number), "commandLine": "true"} for number in range(10)]
    answer = service.call("POST", f"/jobs/{job}/addtaskcollection?{API}", {"value": value})
    assert answer.status == 503
    listed = json.loads(service.call("GET", f"/jobs/{job}/tasks?{API}&$select=id").body or b"")["value"]
    assert len(listed) == 5


def test_the_sdk_gets_over_a_half_applied_collection(service: BatchService, job: str) -> None:
    service.control("server_error", match="addtaskcollection", apply="half", count=2)
    tasks = [models.BatchTaskCreateOptions(id=f"h{number}", command_line="/bin/true") for number in range(40)]
    with service.client(retry_backoff_factor=0.01) as client:
        client.create_tasks(job, tasks)
        assert len(list(client.list_tasks(job, select=["id"]))) == 40


def test_a_server_error_after_the_fact_leaves_all(service: BatchService, pool: str) -> None:
    name = unique("after")
    service.control("server_error", match="POST /jobs$", apply="all")
    body = {"id": name, "poolInfo": {"poolId": pool}}
    assert service.call("POST", f"/jobs?{API}", body).status == 503
    again = service.call("POST", f"/jobs?{API}", body)
    assert (again.status, json.loads(again.body or b"")["code"]) == (409, "JobExists")
    assert service.call("DELETE", f"/jobs/{name}?{API}").status == 202


@pytest.mark.parametrize("after_commit", [True, False])
def test_a_dropped_connection_may_have_taken_effect(
    service: BatchService, job: str, after_commit: bool
) -> None:
    service.control("drop", match="POST /jobs/.*/tasks", after_commit=after_commit)
    with service.client(retry_total=0) as client:
        with pytest.raises(ServiceResponseError):
            add_task(client, job, name="dropped")
        assert [task.id for task in client.list_tasks(job)] == (["dropped"] if after_commit else [])


def test_a_slow_answer_comes_all_the_same(service: BatchService, job: str) -> None:
    service.control("slow", match=f"GET /jobs/{job}", seconds=0.3)
    start = time.monotonic()
    assert service.call("GET", f"/jobs/{job}?{API}").status == 200
    assert time.monotonic() - start >= 0.3


# Answers that are as the service's, but unusual


def test_pages_are_as_small_as_ordered(service: BatchService, batch: BatchClient, job: str) -> None:
    names = [add_task(batch, job) for _ in range(7)]
    service.control("page_size", size=3)
    pages = [[task.id for task in page] for page in batch.list_tasks(job, select=["id"]).by_page()]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [name for page in pages for name in page] == names


def test_enumerations_come_in_another_case(
    service: BatchService, batch: BatchClient, pool: str, job: str
) -> None:
    name = run(batch, job, "exit 1").id
    service.control("enum_case")
    body = json.loads(service.call("GET", f"/jobs/{job}/tasks/{name}?{API}").body or b"")
    assert (body["state"], body["executionInfo"]["result"]) == ("Completed", "Failure")
    assert str(batch.get_task(job, name or "").state) == "Completed"


def test_parts_of_files_come_as_partial_content(service: BatchService, batch: BatchClient, job: str) -> None:
    task = run(batch, job, "printf 0123456789")
    service.control("partial_content")
    path = f"/jobs/{job}/tasks/{task.id}/files/stdout.txt?{API}"
    part = service.send("GET", path, headers={"ocp-range": "bytes=2-5"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"2345", "bytes 2-5/10")
    assert service.call("GET", path).status == 200


def test_counts_of_tasks_lag_behind(service: BatchService, batch: BatchClient, job: str) -> None:
    service.control("stale_counts")
    before = batch.get_job_task_counts(job).task_counts
    run(batch, job, "true")
    lagging = batch.get_job_task_counts(job).task_counts
    assert (before.completed, lagging.completed) == (0, 0)
    service.control("stale_counts", on=False)
    assert batch.get_job_task_counts(job).task_counts.completed == 1


# Storage and quota


def test_signatures_expire_in_the_middle_of_a_job(
    service: BatchService, batch: BatchClient, job: str, container: ContainerClient
) -> None:
    container.upload_blob("in", b"1")
    source = models.ResourceFile(http_url=blob_sas(container, "in"), file_path="in")
    assert run(batch, job, "cat in", resource_files=[source]).execution_info.exit_code == 0  # type: ignore[union-attr]
    service.control("expired_sas", direction="download")
    assert failure_of(run(batch, job, "cat in", resource_files=[source])).code == "BlobAccessDenied"
    service.control("reset")
    service.control("expired_sas", direction="upload")
    late = run(batch, job, "touch out", output_files=[output("out", sas_of(container, "cw"), "out")])
    assert (failure_of(late).code or "").startswith("FileUpload")


def test_a_resize_that_fails_says_why(service: BatchService, batch: BatchClient) -> None:
    name = unique("refused")
    service.control("resize_error", pool=name, code="AccountCoreQuotaReached")
    batch.create_pool(definition(name, target_dedicated_nodes=2))
    until(lambda: batch.get_pool(name).allocation_state == "steady")
    found = batch.get_pool(name)
    assert [error.code for error in found.resize_errors or []] == ["AccountCoreQuotaReached"]
    assert (found.current_dedicated_nodes, found.target_dedicated_nodes) == (0, 2)
    service.control("reset")
    size = models.BatchPoolResizeOptions(target_dedicated_nodes=1)
    batch.begin_resize_pool(name, size, polling_interval=QUICK).wait()
    until(lambda: states(batch, name) == ["idle"])
    assert not batch.get_pool(name).resize_errors


def test_pools_and_jobs_have_quotas(service: BatchService, batch: BatchClient, pool: str) -> None:
    service.control("quota", pools=0, jobs=0)
    with pytest.raises(HttpResponseError) as error:
        batch.create_pool(definition(unique("toomany")))
    assert (error.value.status_code, code_of(error)) == (409, "PoolQuotaReached")
    with pytest.raises(HttpResponseError) as error:
        make_job(batch, pool)
    assert (error.value.status_code, code_of(error)) == (409, "ActiveJobAndScheduleQuotaReached")


def test_cores_have_a_quota(service: BatchService, batch: BatchClient) -> None:
    name = unique("nocores")
    service.control("quota", spot_cores=0)
    batch.create_pool(definition(name, target_low_priority_nodes=1))
    until(lambda: batch.get_pool(name).allocation_state == "steady")
    found = batch.get_pool(name)
    assert found.resize_errors
    assert states(batch, name) == []


# The control itself


def test_an_unknown_trouble_is_refused(service: BatchService) -> None:
    assert service.send("POST", "/_control/earthquake", {}, is_signed=False).status == 404


def test_the_control_tells_what_there_is(
    service: BatchService, batch: BatchClient, pool: str, job: str
) -> None:
    run(batch, job, "true")
    found = json.loads(service.send("GET", "/_control/state", is_signed=False).body or b"")
    assert len(found["pools"][pool]["nodes"]) == 3
    assert found["jobs"][job]["state"] == "active"
    assert found["requests"]["POST /jobs/{job}/tasks"] >= 1


def test_reset_makes_the_service_well(service: BatchService, job: str) -> None:
    service.control("throttle", count=None)
    assert service.call("GET", f"/jobs/{job}?{API}").status == 429
    service.control("reset")
    assert service.call("GET", f"/jobs/{job}?{API}").status == 200
