"""The adapter over azure-batch, against a Batch service that runs on this machine and misbehaves on request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from renderfarm.errors import PoolError, UnreachableError
from renderfarm.queues.azure.batch import Batch, Json, at, items
from renderfarm.queues.azure.credentials import BATCH_KEY
from renderfarm.queues.azure.refusals import ServiceRefusal
from renderfarm.queues.azure.settings import CloudSettings, read
from renderfarm.settings.pool import PoolConfig
from tests.batch_service.client import ACCOUNT, KEY, BatchService, shell, unique, until

pytest_plugins = ["tests.batch_service.fixtures"]

MACHINE = {
    "imageReference": {"publisher": "canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
    "nodeAgentSKUId": "batch.node.ubuntu 24.04",
}


def cloud(url: str, **more: Any) -> CloudSettings:
    table = {
        "batch_url": url,
        "batch_account": ACCOUNT,
        "storage_url": "http://127.0.0.1:1/store",
        "vm_size": "Standard_D2s_v3",
        **more,
    }
    return read(PoolConfig("cloud", "azure-batch", table))


@pytest.fixture
def batch(service: BatchService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batch]:
    """The adapter, that waits for next to nothing between tries; the service is well again afterwards."""
    monkeypatch.setenv(BATCH_KEY, KEY)
    adapter = Batch(cloud(service.url), backoff_seconds=0.01)
    yield adapter
    adapter.close()
    service.control("reset")


def make_pool(batch: Batch, nodes: int = 0) -> str:
    pool = unique("adapter")
    body = {
        "id": pool,
        "vmSize": "Standard_D2s_v3",
        "virtualMachineConfiguration": MACHINE,
        "targetDedicatedNodes": nodes,
    }
    assert batch.order("POST", "/pools", f"create pool {pool!r}", body)
    return pool


def delete(batch: Batch, *path: str) -> bool:
    gone = ("PoolNotFound", "PoolBeingDeleted", "JobNotFound", "JobBeingDeleted")
    return batch.order("DELETE", at(*path), "delete it", gone=gone)


def end_task(batch: Batch, job: str, task: str) -> bool:
    return batch.order("POST", at("jobs", job, "tasks", task, "terminate"), "end it", gone=("TaskCompleted",))


@pytest.fixture
def pool(batch: Batch) -> Iterator[str]:
    """A pool with one node."""
    made = make_pool(batch, nodes=1)
    yield made
    delete(batch, "pools", made)


@pytest.fixture
def job(batch: Batch) -> Iterator[str]:
    """A job without nodes."""
    pool, job = make_pool(batch), unique("job")
    batch.create_job({"id": job, "poolInfo": {"poolId": pool}})
    yield job
    delete(batch, "jobs", job)
    delete(batch, "pools", pool)


@pytest.fixture
def working(batch: Batch, pool: str) -> Iterator[str]:
    """A job with a node."""
    job = unique("job")
    batch.create_job({"id": job, "poolInfo": {"poolId": pool}})
    yield job
    delete(batch, "jobs", job)


def tasks(count: int, **more: Any) -> Iterator[Json]:
    return ({"id": f"f{number:06}", "commandLine": "/bin/true", **more} for number in range(count))


def ids(batch: Batch, job: str) -> list[str]:
    return [row["id"] for row in batch.tasks(job, ("id",))]


def run(batch: Batch, job: str, script: str) -> str:
    """A task that has ended."""
    task = unique("task")
    batch.add_tasks(job, [{"id": task, "commandLine": shell(script)}])
    until(lambda: list(batch.tasks(job, ("id",), f"id eq '{task}' and state eq 'completed'")))
    return task


# What is there and what is not


def test_deleting_a_pool_twice_is_deleting_it_once(batch: Batch) -> None:
    pool = make_pool(batch)
    assert delete(batch, "pools", pool)
    delete(batch, "pools", pool)
    until(lambda: batch.get_pool(pool) is None)
    assert not delete(batch, "pools", pool)


def mark(value: str) -> list[Json]:
    return [{"name": "renderfarm", "value": value}]


def test_a_job_of_ours_is_not_made_again_and_one_of_somebody_else_refused(batch: Batch) -> None:
    body: Json = {"id": unique("job"), "poolInfo": {"poolId": "p"}, "metadata": mark("shot-1a2b")}
    assert [batch.create_job(body), batch.create_job(body)] == [True, False]
    with pytest.raises(ServiceRefusal, match="not this one") as refused:
        batch.create_job({**body, "metadata": mark("shot-9f9f")})
    assert refused.value.code == "JobExists"


def test_a_job_that_is_over_is_not_ended_again(batch: Batch, job: str) -> None:
    assert batch.terminate_job(job, "enough")
    assert not batch.terminate_job(job, "enough")
    until(lambda: (found := batch.get_job(job)) is not None and found.state == "completed")
    assert not batch.terminate_job(job, "enough")


@pytest.mark.parametrize(
    "ask", [lambda b: list(b.tasks("nowhere", ("id",))), lambda b: b.add_tasks("nowhere", tasks(3))]
)
def test_a_job_that_is_not_there_neither_tells_nor_takes_tasks(batch: Batch, ask: Any) -> None:
    with pytest.raises(ServiceRefusal) as refused:
        ask(batch)
    assert (refused.value.code, refused.value.transient) == ("JobNotFound", False)


# Adding tasks


def test_tasks_are_added_in_order(batch: Batch, job: str) -> None:
    wanted = [task["id"] for task in tasks(250)]
    assert batch.add_tasks(job, tasks(250), concurrency=1) == 250
    assert ids(batch, job) == wanted


def test_several_requests_at_once_lose_no_task(batch: Batch, job: str) -> None:
    assert batch.add_tasks(job, tasks(1234), concurrency=5) == 1234
    assert sorted(ids(batch, job)) == [task["id"] for task in tasks(1234)]


def test_tasks_that_are_there_count_as_added(batch: Batch, job: str) -> None:
    batch.add_tasks(job, tasks(120))
    assert batch.add_tasks(job, tasks(200)) == 200
    assert len(ids(batch, job)) == 200


def test_tasks_are_taken_no_faster_than_they_are_added(batch: Batch, job: str) -> None:
    there: list[int] = []

    def counted() -> Iterator[Json]:
        for number, task in enumerate(tasks(2000)):
            if number % 500 == 0:
                there.append(number - len(ids(batch, job)))
            yield task

    batch.add_tasks(job, counted(), concurrency=2)
    assert max(there) <= 100 * (2 + 2)


def test_a_request_that_is_too_large_is_halved(batch: Batch, job: str) -> None:
    large = [{"name": "X", "value": "x" * 30_000}]
    assert batch.add_tasks(job, tasks(100, environmentSettings=large)) == 100
    assert len(ids(batch, job)) == 100


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"environmentSettings": [{"name": "X", "value": "x" * 1_200_000}]}, "'f000000' is larger"),
        ({"constraints": {"maxTaskRetryCount": -7}}, "'f000000'"),
    ],
)
def test_a_task_that_is_too_large_by_itself_or_wrong_is_named(
    batch: Batch, job: str, more: Any, told: str
) -> None:
    with pytest.raises(PoolError, match=told):
        batch.add_tasks(job, tasks(1, **more))


@pytest.mark.parametrize(
    ("trouble", "more"), [("server_error", {"count": 3, "apply": "half"}), ("drop", {"count": 2})]
)
def test_an_answer_that_says_half_or_never_comes_adds_nothing_twice(
    service: BatchService, batch: Batch, job: str, trouble: str, more: Any
) -> None:
    service.control(trouble, match="addtaskcollection", **more)
    assert batch.add_tasks(job, tasks(150)) == 150
    assert len(ids(batch, job)) == 150


# A service that is busy


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_post_is_repeated_after_a_passing_trouble(
    service: BatchService, batch: Batch, job: str, status: int
) -> None:
    service.control("server_error", match="POST /jobs/", count=2, status=status)
    service.control("throttle", match="POST /pools", count=3)
    assert batch.terminate_job(job, "enough")
    make_pool(batch)


def test_a_service_that_stays_busy_is_an_error_that_may_pass(service: BatchService, batch: Batch) -> None:
    service.control("throttle", match="GET /pools/", count=100)
    with pytest.raises(ServiceRefusal) as refused:
        batch.get_pool("p")
    assert (refused.value.status, refused.value.transient) == (429, True)


def test_a_pool_that_was_made_before_the_connection_ended_is_made(service: BatchService, batch: Batch) -> None:
    service.control("drop", match="POST /pools", count=1)
    pool, body = unique("adapter"), {"vmSize": "Standard_D2s_v3", "virtualMachineConfiguration": MACHINE}
    batch.order("POST", "/pools", "create it", {"id": pool, **body}, gone=("PoolExists",))
    assert batch.get_pool(pool)


def test_a_service_that_is_down_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BATCH_KEY, KEY)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="read pool 'p'") as refused:
            Batch(cloud(url), backoff_seconds=0).get_pool("p")
    assert refused.value.transient


def test_a_wrong_key_is_told_what_to_look_at(service: BatchService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BATCH_KEY, "bm90IHRoZSBrZXk=")
    with pytest.raises(ServiceRefusal) as refused:
        Batch(cloud(service.url)).get_pool("p")
    assert BATCH_KEY in refused.value.hint
    assert "bm90" not in str(refused.value)


def test_a_quota_is_told_with_its_way_out(service: BatchService, batch: Batch) -> None:
    service.control("quota", pools=0)
    with pytest.raises(ServiceRefusal, match="PoolQuotaReached") as refused:
        make_pool(batch)
    assert "quota" in refused.value.hint


# Listings


def test_small_pages_are_all_read_and_only_what_is_selected_comes(
    service: BatchService, batch: Batch, job: str
) -> None:
    batch.add_tasks(job, tasks(20))
    service.control("page_size", size=3)
    rows = list(batch.tasks(job, ("id", "state")))
    assert (len(rows), {key for row in rows for key in row}) == (20, {"id", "state"})
    assert job in [found.id for found in batch.open_jobs()]


def test_only_tasks_that_changed_since_and_are_as_wanted_come(batch: Batch, job: str) -> None:
    batch.add_tasks(job, tasks(5))
    select = ("id", "state", "stateTransitionTime")
    last = max(row["stateTransitionTime"] for row in batch.tasks(job, select))
    end_task(batch, job, "f000003")
    assert "f000003" in [row["id"] for row in batch.tasks(job, select, since=last)]
    over = list(batch.tasks(job, select, "state eq 'completed'", "2020-01-01T00:00:00Z"))
    assert [row["id"] for row in over] == ["f000003"]
    assert [row["id"] for row in batch.tasks(job, select, since=over[0]["stateTransitionTime"])] == ["f000003"]


def test_a_refusal_on_a_later_page_is_ours(service: BatchService, batch: Batch, job: str) -> None:
    service.control("page_size", size=1)
    for _ in range(2):
        make_pool(batch)
    listing = items("list the pools", batch.sdk.list_pools)
    next(listing)
    service.control("throttle", match="GET /pools", count=100)
    with pytest.raises(ServiceRefusal):
        list(listing)


# Files


@pytest.mark.parametrize("partial", [False, True], ids=["200", "206"])
def test_the_end_of_a_file_is_read(service: BatchService, batch: Batch, working: str, partial: bool) -> None:
    place = ("jobs", working, "tasks", run(batch, working, "printf 0123456789"))
    service.control("partial_content", on=partial)
    ends = [batch.file(*place, path="stdout.txt", last=last) for last in (3, 30, None)]
    assert ends == [b"789", b"0123456789", b"0123456789"]


def test_a_file_may_be_empty_strangely_named_on_a_node_or_not_there(
    batch: Batch, working: str, pool: str
) -> None:
    name = "a b%2F{c}?#ü.txt"
    place = ("jobs", working, "tasks", run(batch, working, f'printf hello > "{name}"'))
    for last in (None, 5):
        found = [batch.file(*place, path=path, last=last) for path in ("stdout.txt", "wd/nothing.txt")]
        assert found == [b"", None]
    assert batch.file(*place, path=f"wd/{name}") == b"hello"
    (row,) = batch.tasks(working, ("id", "nodeInfo"))
    node, folder = row["nodeInfo"]["nodeId"], row["nodeInfo"]["taskRootDirectory"]
    assert batch.file("pools", pool, "nodes", node, path=f"{folder}/wd/{name}", last=2) == b"lo"


# Threads


def test_one_adapter_serves_several_threads(batch: Batch, job: str) -> None:
    batch.add_tasks(job, tasks(50))
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(ids(batch, job)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [50] * 8
