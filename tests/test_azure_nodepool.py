"""The pool of nodes, against a Batch service on this machine: made, kept right, looked at, resized, let go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.batch import models

from renderfarm.errors import PoolError
from renderfarm.queues.azure import poolbody
from renderfarm.queues.azure.batch import Batch, is_word
from renderfarm.queues.azure.credentials import BATCH_KEY
from renderfarm.queues.azure.images import Image, choose_image, supported
from renderfarm.queues.azure.nodepool import NodePool
from renderfarm.queues.azure.poolbody import formula
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.start_task import StartTask
from renderfarm.queues.azure.troubles import Troubles, pool_of, telling
from renderfarm.queues.remote_side import PoolTrouble
from tests.batch_service.autoscale import evaluate
from tests.batch_service.client import KEY, BatchService, running_service, shell, unique, until
from tests.test_azure_batch import cloud, delete

pytest_plugins = ["tests.batch_service.fixtures"]

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def start_of(script: str = "true", fingerprint: str = "first") -> StartTask:
    """A start task that runs a line of shell."""
    user = {"autoUser": {"scope": "pool", "elevationLevel": "admin"}}
    body = {"commandLine": shell(script), "userIdentity": user, "waitForSuccess": True}
    return StartTask(fingerprint, ("povray 3.7",), body)


@pytest.fixture
def batch(service: BatchService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batch]:
    monkeypatch.setenv(BATCH_KEY, KEY)
    adapter = Batch(cloud(service.url), backoff_seconds=0.01)
    yield adapter
    adapter.close()
    service.control("reset")


@pytest.fixture
def settings(batch: Batch) -> Iterator[CloudSettings]:
    """A table of a pool that no other test uses, deleted afterwards."""
    table = replace(batch.settings, pool_id=unique("nodes"), nodes=3, poll_seconds=0.01)
    yield table
    NodePool(batch, table).delete()


def fixed(settings: CloudSettings, **more: Any) -> CloudSettings:
    return replace(settings, autoscale=False, **more)


def there(batch: Batch, settings: CloudSettings) -> models.BatchPool:
    found = batch.get_pool(settings.pool_id)
    assert found is not None
    return found


def states(batch: Batch, settings: CloudSettings) -> list[str]:
    return [str(getattr(node.state, "value", node.state)) for node in batch.nodes(settings.pool_id)]


def steady(batch: Batch, settings: CloudSettings) -> bool:
    return is_word(there(batch, settings).allocation_state, "steady")


# Making


def test_a_missing_pool_is_made_and_then_left_alone(batch: Batch, settings: CloudSettings) -> None:
    notes = NodePool(batch, settings).ensure(start_of())
    assert f"made pool '{settings.pool_id}'" in notes[0]
    assert NodePool(batch, settings).ensure(start_of()) == ()
    assert [
        found.ours for found in NodePool(batch, settings).of_account() if found.pool == settings.pool_id
    ] == [True]


def test_a_new_pool_has_spot_nodes_as_many_as_it_may(batch: Batch, settings: CloudSettings) -> None:
    NodePool(batch, settings).ensure(start_of(), nodes=100)
    until(lambda: states(batch, settings) == ["idle"] * 3)
    assert {node.is_dedicated for node in batch.nodes(settings.pool_id, ("isDedicated",))} == {False}


def test_a_pool_of_fixed_size_has_its_nodes(batch: Batch, settings: CloudSettings) -> None:
    table = fixed(settings, dedicated_nodes=1)
    NodePool(batch, table).ensure(start_of())
    until(lambda: steady(batch, table) and states(batch, table) == ["idle"] * 3)
    assert sum(bool(node.is_dedicated) for node in batch.nodes(table.pool_id, ("isDedicated",))) == 1


def test_a_pool_is_resized_while_it_resizes(batch: Batch, settings: CloudSettings) -> None:
    table = fixed(settings)
    nodes = NodePool(batch, table)
    nodes.ensure(start_of())
    until(lambda: states(batch, table) == ["idle"] * 3)
    nodes.resize(0)
    nodes.resize(2)
    until(lambda: steady(batch, table) and states(batch, table) == ["idle"] * 2)


def test_a_pool_without_nodes_gets_them_again(batch: Batch, settings: CloudSettings) -> None:
    table = fixed(settings, nodes=1)
    nodes = NodePool(batch, table)
    nodes.ensure(start_of())
    until(lambda: steady(batch, table))
    nodes.resize(0)
    until(lambda: steady(batch, table) and states(batch, table) == [])
    assert "had no nodes" in nodes.ensure(start_of())[0]
    until(lambda: states(batch, table) == ["idle"])


def test_a_pool_of_somebody_else_is_not_touched(batch: Batch, settings: CloudSettings) -> None:
    image = choose_image(supported(batch), settings, NOW)
    body = poolbody.pool_body(settings, start_of(), image, poolbody.scale(settings))
    batch.order("POST", "/pools", "create it", {**body, "id": settings.pool_id, "metadata": []})
    with pytest.raises(PoolError, match="did not make") as refused:
        NodePool(batch, settings).ensure(start_of())
    assert "pool_id" in refused.value.hint


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"vm_size": "Standard_F8s_v2"}, "Standard_D2s_v3, not Standard_F8s_v2: renderfarm pool delete cloud"),
        ({"slots_per_node": 4}, "slots per node"),
    ],
)
def test_what_can_not_be_changed_is_told(batch: Batch, settings: CloudSettings, other: Any, told: str) -> None:
    NodePool(batch, settings).ensure(start_of())
    assert told in NodePool(batch, replace(settings, **other)).ensure(start_of())[0]


def test_a_new_start_task_is_run_by_the_nodes_that_are_there(batch: Batch, settings: CloudSettings) -> None:
    table = fixed(settings, nodes=1)
    nodes = NodePool(batch, table)
    nodes.ensure(start_of("echo one"))
    until(lambda: states(batch, table) == ["idle"])
    (node,) = batch.nodes(table.pool_id)
    notes = nodes.ensure(start_of("echo two", "second"))
    assert "new start task" in notes[0]
    place = ("pools", table.pool_id, "nodes", node.id or "")
    until(lambda: batch.file(*place, path="startup/stdout.txt") == b"two\n")


def test_a_pool_that_one_may_not_change_is_used_as_it_is(
    service: BatchService, batch: Batch, settings: CloudSettings
) -> None:
    NodePool(batch, settings).ensure(start_of())
    service.control("server_error", match="PATCH /pools", status=403, code="AuthorizationFailure")
    (note,) = NodePool(batch, settings).ensure(start_of())
    assert "used as it is" in note


def test_a_pool_on_its_way_out_is_waited_for_and_deleting_may_wait(
    batch: Batch, settings: CloudSettings
) -> None:
    nodes = NodePool(batch, settings)
    nodes.ensure(start_of())
    nodes.delete()
    assert "made pool" in nodes.ensure(start_of())[0]
    assert nodes.delete(wait=True)
    assert batch.get_pool(settings.pool_id) is None


def test_a_job_may_bring_its_own_pool(batch: Batch, settings: CloudSettings) -> None:
    table = replace(settings, auto_pool=True)
    nodes = NodePool(batch, table)
    specification = nodes.auto_pool(start_of("echo no renderer; exit 1"), 1)
    job = unique("auto")
    batch.create_job({"id": job, "poolInfo": {"autoPoolSpecification": specification}})
    batch.add_tasks(job, [{"id": "t", "commandLine": shell("true")}])
    try:
        pool = until(lambda: pool_of(batch, table, job))
        told = until(lambda: Troubles(batch, table).of(pool, job))
        assert "no renderer" in told[0].message
    finally:
        delete(batch, "jobs", job)


# Showing, resizing, deleting


def test_a_missing_pool_is_shown_as_missing_and_neither_resized_nor_deleted(
    batch: Batch, settings: CloudSettings
) -> None:
    assert NodePool(batch, settings).show().state == "missing"
    assert not NodePool(batch, settings).delete()
    with pytest.raises(PoolError, match="no pool"):
        NodePool(batch, settings).resize(3)


def test_a_pool_is_shown_with_its_nodes_and_what_they_cost(
    service: BatchService, batch: Batch, settings: CloudSettings
) -> None:
    table = fixed(settings, nodes=2, vm_size="Standard_F8s_v2")
    NodePool(batch, table).ensure(start_of())
    until(lambda: states(batch, table) == ["idle", "idle"])
    shown = NodePool(batch, table).show()
    assert (shown.state, shown.current_spot, shown.nodes) == ("active", 2, {"idle": 2})
    assert shown.renderers == ("povray 3.7",)
    assert shown.cost_per_hour is not None
    assert shown.cost_per_hour.amount == pytest.approx(2 * 0.037)
    service.control("preempt", pool=table.pool_id, restore_after=3600)
    left = NodePool(batch, table).show().cost_per_hour
    assert left is not None
    assert left.node_hours == 1, "preempted nodes cost nothing"


def test_a_pool_that_scales_itself_is_resized_by_its_formula(batch: Batch, settings: CloudSettings) -> None:
    nodes = NodePool(batch, settings)
    nodes.ensure(start_of(), nodes=2)
    until(lambda: len(states(batch, settings)) == 2)
    assert "up to 0 nodes" in nodes.resize(0)
    until(lambda: states(batch, settings) == [])
    assert there(batch, settings).enable_auto_scale


# Troubles


def troubles(batch: Batch, settings: CloudSettings, start: StartTask) -> tuple[PoolTrouble, ...]:
    """What is told of a pool with this start task, once there is something."""
    NodePool(batch, settings).ensure(start, nodes=settings.nodes)
    return until(lambda: Troubles(batch, settings).of(settings.pool_id))


def test_a_start_task_that_fails_everywhere_ends_the_job_with_its_own_words(
    batch: Batch, settings: CloudSettings
) -> None:
    url = "https://a.blob.core.windows.net/c/b?sv=1&sig=abcDEF%3D"
    script = f"echo noise >&2; echo 'renderfarm: {url} has no CUDA device' >&2; echo more >&2; exit 1"
    table = fixed(settings, nodes=2)
    NodePool(batch, table).ensure(start_of(script))
    (trouble,) = until(lambda: [t for t in Troubles(batch, table).of(table.pool_id) if t.fatal])
    assert "start task failed on 2 of 2 nodes" in trouble.message
    assert trouble.message.endswith("sig=*** has no CUDA device")


def test_a_start_task_that_fails_on_one_node_ends_nothing(
    service: BatchService, batch: Batch, settings: CloudSettings
) -> None:
    service.control("fail_start_task", pool=settings.pool_id, nth=1)
    table = fixed(settings)
    NodePool(batch, table).ensure(start_of())
    until(lambda: sorted(states(batch, table)) == ["idle", "idle", "starttaskfailed"])
    (trouble,) = Troubles(batch, table).of(table.pool_id)
    assert ("1 of 3 nodes" in trouble.message, trouble.fatal) == (True, False)


def test_a_start_task_whose_program_is_not_there_is_told(batch: Batch, settings: CloudSettings) -> None:
    start = replace(start_of(), body={**start_of().body, "commandLine": "/no/such/program"})
    (trouble,) = troubles(batch, fixed(settings, nodes=1), start)
    assert "start task failed" in trouble.message
    assert "CommandProgramNotFound" in trouble.message


def test_a_quota_of_zero_ends_the_job_with_the_way_out(
    service: BatchService, batch: Batch, settings: CloudSettings
) -> None:
    service.control("quota", spot_cores=0)
    (trouble,) = troubles(batch, settings, start_of())
    assert trouble.fatal
    assert "QuotaReached" in trouble.message
    assert "Quotas" in trouble.hint


def test_a_quota_that_is_too_small_is_told_and_ends_nothing(settings: CloudSettings, tmp_path: Path) -> None:
    # The quota is the account's, and other tests have nodes in theirs.
    with running_service(tmp_path / "nodes") as own:
        own.control("quota", spot_cores=2)
        batch = Batch(replace(settings, batch_url=own.url))
        assert troubles(batch, batch.settings, start_of())
        # The node that there is room for comes a moment after the service said that there is no more.
        until(
            lambda: [found.fatal for found in Troubles(batch, batch.settings).of(settings.pool_id)] == [False]
        )
        batch.close()


@pytest.mark.parametrize("autoscale", [True, False])
def test_no_capacity_now_is_worth_waiting_for_when_the_pool_scales_itself(
    service: BatchService, batch: Batch, settings: CloudSettings, autoscale: bool
) -> None:
    service.control("resize_error", pool=settings.pool_id, code="AllocationTimedout")
    (trouble,) = troubles(batch, replace(settings, autoscale=autoscale), start_of())
    assert (trouble.fatal, "spot = false" in trouble.hint) == (not autoscale, True)


def test_nothing_is_told_of_a_pool_that_is_well_and_a_node_that_breaks_is(
    service: BatchService, batch: Batch, settings: CloudSettings
) -> None:
    table = fixed(settings, nodes=2)
    NodePool(batch, table).ensure(start_of())
    until(lambda: states(batch, table) == ["idle", "idle"])
    assert Troubles(batch, table).of(table.pool_id) == ()
    service.control("node_state", pool=table.pool_id, state="unusable")
    (trouble,) = Troubles(batch, table).of(table.pool_id)
    assert ("1 of 2 nodes" in trouble.message, "unusable" in trouble.message) == (True, True)
    assert not trouble.fatal


def test_states_are_understood_in_any_case(
    service: BatchService, batch: Batch, settings: CloudSettings
) -> None:
    service.control("enum_case")
    start = start_of("echo 'renderfarm: nothing works' >&2; exit 1")
    (trouble,) = troubles(batch, fixed(settings, nodes=1), start)
    assert "nothing works" in trouble.message


def test_a_pool_that_is_gone_ends_the_job(batch: Batch, settings: CloudSettings) -> None:
    (trouble,) = Troubles(batch, settings).of(settings.pool_id)
    assert (trouble.fatal, "is gone" in trouble.message) == (True, True)


def test_a_preparation_that_fails_on_all_nodes_ends_the_job(batch: Batch, settings: CloudSettings) -> None:
    table, job = fixed(settings, nodes=1), unique("job")
    nodes = NodePool(batch, table)
    nodes.ensure(start_of())
    preparation = {"commandLine": shell("echo 'renderfarm: a texture is damaged' >&2; exit 1")}
    constraints = {"constraints": {"maxTaskRetryCount": 0}}
    pool = {"poolId": table.pool_id}
    batch.create_job({"id": job, "poolInfo": pool, "jobPreparationTask": {**preparation, **constraints}})
    batch.add_tasks(job, [{"id": "t", "commandLine": shell("true")}])
    try:
        (trouble,) = until(lambda: [t for t in Troubles(batch, table).of(table.pool_id, job) if t.fatal])
        assert trouble.message.endswith("a texture is damaged")
    finally:
        delete(batch, "jobs", job)


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("one\nrenderfarm: first\ntwo\nrenderfarm: last\nthree\n", "last"),
        ("1\n2\n3\n4\n5\n\n", "2 | 3 | 4 | 5"),
    ],
)
def test_lines_for_users_are_told_before_the_last_of_others(log: str, told: str) -> None:
    assert telling(log) == told


# Images


def image(offer: str, sku: str = "server", **more: Any) -> models.BatchSupportedImage:
    reference = models.BatchVmImageReference(publisher="canonical", offer=offer, sku=sku, version="latest")
    fields = {"os_type": "linux", "verification_type": "verified", **more}
    return models.BatchSupportedImage(
        node_agent_sku_id="batch.node.ubuntu 24.04", image_reference=reference, **fields
    )


def chosen(batch: Batch, **more: Any) -> Image:
    return choose_image(supported(batch), replace(batch.settings, **more), NOW)


@pytest.mark.parametrize(
    ("more", "name", "agent", "extensions"),
    [
        ({}, "canonical:ubuntu-24_04-lts:server", "batch.node.ubuntu 24.04", 0),
        ({"container_image": "farm.azurecr.io/render:1"}, "microsoft-dsvm:ubuntu-hpc:2404", None, 0),
        ({"vm_size": "Standard_NC4as_T4_v3"}, "microsoft-dsvm:ubuntu-hpc:2404", None, 0),
        ({"vm_size": "Standard_NV12ads_A10_v5"}, "canonical:ubuntu-24_04-lts:server", None, 1),
        ({"vm_size": "Standard_D8ads_v6"}, "canonical:ubuntu-24_04-lts:server", None, 0),
    ],
)
def test_nodes_are_ubuntu_24_04_or_what_containers_and_graphics_cards_need(
    batch: Batch, more: Any, name: str, agent: str | None, extensions: int
) -> None:
    found = chosen(batch, **more)
    assert (found.name, len(found.extensions), found.notes) == (name, extensions, ())
    assert agent in (None, found.agent)


def test_a_container_comes_from_a_registry_with_the_pools_identity(batch: Batch) -> None:
    table = replace(batch.settings, container_image="farm.azurecr.io/render:1", identity="/subscriptions/1/id")
    found = choose_image(supported(batch), table, NOW)
    body = poolbody.pool_body(table, start_of(), found, {})
    containers = body["virtualMachineConfiguration"]["containerConfiguration"]
    assert containers["containerRegistries"][0]["identityReference"] == {"resourceId": "/subscriptions/1/id"}


@pytest.mark.parametrize(("days", "verb"), [(100, "ends"), (-1, "ended")])
def test_an_image_near_or_past_its_end_is_told(batch: Batch, days: int, verb: str) -> None:
    end = NOW + timedelta(days=days)
    images = [image("ubuntu-24_04-lts", batch_support_end_of_life=end)]
    (note,) = choose_image(images, batch.settings, NOW).notes
    assert f"{verb} on {end:%Y-%m-%d}" in note


def test_an_image_that_is_not_verified_is_not_taken(batch: Batch) -> None:
    with pytest.raises(PoolError, match="supports no image"):
        choose_image([image("ubuntu-24_04-lts", verification_type="unverified")], batch.settings, NOW)


JAMMY, OWN = "canonical:0001-com-ubuntu-server-jammy:22_04-lts:22.04.1", "/subscriptions/1/images/i"


@pytest.mark.parametrize(
    ("name", "agent", "reference"),
    [
        (JAMMY, "batch.node.ubuntu 22.04", {"version": "22.04.1"}),
        (OWN, "batch.node.debian 12", {"virtualMachineImageId": OWN}),
    ],
)
def test_the_users_own_image_is_taken(batch: Batch, name: str, agent: str, reference: Any) -> None:
    found = chosen(batch, image=name, node_agent="batch.node.debian 12")
    assert (found.agent, reference.items() <= found.reference.items()) == (agent, True)


def test_an_image_that_nobody_knows_is_told_the_nearest(batch: Batch) -> None:
    with pytest.raises(PoolError) as refused:
        chosen(batch, image="canonical:ubuntu-24_04-lt:server")
    assert "Did you mean 'canonical:ubuntu-24_04-lts:server'" in refused.value.hint


# Formulas


@pytest.mark.parametrize(
    ("known", "slots", "spot", "dedicated"),
    [
        ({"PendingTasks": 0}, 1, 0, 0),
        ({"PendingTasks": 1}, 1, 1, 0),
        ({"PendingTasks": 7}, 1, 7, 0),
        ({"PendingTasks": 11}, 1, 10, 1),
        ({"PendingTasks": 100_000}, 1, 10, 2),
        ({"PendingTasks": 4}, 4, 1, 0),
        ({"PendingTasks": 5}, 4, 2, 0),
        ({"PendingTasks": 9}, 4, 3, 0),
        ({"PendingTasks": 5, "PreemptedNodeCount": 1}, 1, 5, 1),
    ],
)
def test_nodes_are_as_many_as_tasks_fill_spot_first_and_finish_their_tasks(
    known: Any, slots: int, spot: int, dedicated: int
) -> None:
    found = evaluate(formula(10, 2, slots), known)
    assert (found.target_spot, found.target_dedicated, found.deallocation) == (
        spot,
        dedicated,
        "taskcompletion",
    )


def test_nodes_that_were_just_asked_for_stay_without_tasks_for_a_while() -> None:
    text = formula(10, 0, awake=3, until=NOW)
    before, after = (
        evaluate(text, {"PendingTasks": 0}, now=NOW + timedelta(minutes=m)).target_spot for m in (-1, 1)
    )
    assert (before, after) == (3, 0)


def test_the_service_takes_the_formula(batch: Batch, settings: CloudSettings) -> None:
    NodePool(batch, settings).ensure(start_of())
    assert "$TargetLowPriorityNodes=0" in evaluated(batch, settings.pool_id, formula(10, 2, 4))


def evaluated(batch: Batch, pool: str, text: str) -> str:
    """What the service makes of a formula."""
    options = models.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula=text)
    run = batch.sdk.evaluate_pool_auto_scale(pool, options)
    assert run.error is None
    return run.results or ""
