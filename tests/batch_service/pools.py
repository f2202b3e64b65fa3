"""The operations on pools."""

from __future__ import annotations

import re
import time
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.allocation import samples
from tests.batch_service.app_context import App
from tests.batch_service.autoscale import FormulaError, evaluate
from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.sizes import check_image, check_size, most_slots
from tests.batch_service.state import Body, Node, Pool
from tests.batch_service.tasks import DEFAULT_USER, check_files
from tests.batch_service.times import parse_duration
from tests.batch_service.validation import check_body, check_id, check_range, hide
from tests.batch_service.wire import (
    answer,
    check_conditions,
    empty,
    in_order,
    json_body,
    made,
    page,
    resource,
    versions,
)

RESOURCE = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers"
IMAGE_ID = re.compile(
    RESOURCE + r"/Microsoft\.Compute/galleries/[^/]+/images/[^/]+(/versions/[^/]+)?",
    re.IGNORECASE,
)
SUBNET_ID = re.compile(
    RESOURCE + r"/Microsoft\.(Classic)?Network/virtualNetworks/[^/]+/subnets/[^/]+", re.IGNORECASE
)
MAX_FORMULA = 8192
ENABLE_SECONDS = 30.0
MAX_REMOVED = 100
ONLY_WHEN_EMPTY = frozenset(
    {
        "vmSize",
        "taskSlotsPerNode",
        "virtualMachineConfiguration",
        "enableInterNodeCommunication",
        "networkConfiguration",
        "userAccounts",
        "mountConfiguration",
        "upgradePolicy",
        "displayName",
        "taskSchedulingPolicy",
    }
)
OLDER = ("targetNodeCommunicationMode", "resourceTags", "certificateReferences")
"""what api-versions before 2025 could change as well, and are told"""
UPDATABLE = ONLY_WHEN_EMPTY | {"startTask", "applicationPackageReferences", "metadata", *OLDER}


def wire(pool: Pool, version: str) -> Body:
    """The pool as clients of this api-version see it now."""
    is_older = version < "2025"
    body = {name: value for name, value in pool.body.items() if is_older or name not in OLDER}
    body["currentDedicatedNodes"] = pool.current(True)
    body["currentLowPriorityNodes"] = pool.current(False)
    if not body["enableAutoScale"]:
        body.pop("autoScaleRun", None)
    return body


async def create_pool(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    check_body(body, "BatchPoolCreateOptions")
    check_id(body["id"])
    if body["id"].lower() in app.service.pools:
        raise BatchError("PoolExists")
    pool = add_pool(app, body)
    return made(app.service, f"/pools/{pool.body['id']}", pool.body)


def add_pool(app: App, body: Body) -> Pool:
    """Checks a pool's description, fills in defaults, and starts it; also for the pools of jobs."""
    check_pool(body)
    app.service.check_packages(body.get("applicationPackageReferences"))
    quota = app.service.faults.quota.get("pools")
    if quota is not None and len(app.service.pools) >= quota:
        raise BatchError("PoolQuotaReached")
    service = app.service
    own = {name: value for name, value in body.items() if value is not None}
    own["url"] = f"{service.base}/pools/{own['id']}"
    service.stamp_new(own, "active")
    fill_in(own)
    own["allocationState"] = "steady"
    own["allocationStateTransitionTime"] = own["stateTransitionTime"]
    pool = Pool(own["id"].lower(), service.number(), own)
    pool.jobs = {job.key: job for job in service.jobs.values() if job.pool_key == pool.key}
    service.pools[pool.key] = pool
    if own["targetDedicatedNodes"] or own["targetLowPriorityNodes"]:
        app.allocation.resize(pool)
    if own["enableAutoScale"]:
        app.allocation.scale(pool)
    return pool


def fill_in(own: Body) -> None:
    """The defaults of a pool, or of the specification of an automatic one; what is secret is forgotten."""
    hide(own)
    own.setdefault("enableAutoScale", False)
    own.setdefault("resizeTimeout", "PT15M")
    if own["enableAutoScale"]:
        own.setdefault("autoScaleEvaluationInterval", "PT15M")
    own.setdefault("targetDedicatedNodes", 0)
    own.setdefault("targetLowPriorityNodes", 0)
    own.setdefault("enableInterNodeCommunication", False)
    own.setdefault("taskSlotsPerNode", 1)
    own["taskSchedulingPolicy"] = {"nodeFillType": "spread", **(own.get("taskSchedulingPolicy") or {})}
    for account in own.get("userAccounts") or ():
        account |= {"password": "", "elevationLevel": account.get("elevationLevel") or "nonadmin"}
    image = own["virtualMachineConfiguration"]["imageReference"]
    if not image.get("virtualMachineImageId"):
        image.setdefault("version", "latest")
    if network := own.get("networkConfiguration"):
        _fill_in_network(network)
    if own.get("startTask"):
        own["startTask"] = start_task(own["startTask"])


def _fill_in_network(network: Body) -> None:
    network.setdefault("dynamicVNetAssignmentScope", "none")
    for nat in (network.get("endpointConfiguration") or {}).get("inboundNATPools") or ():
        for rule in nat.get("networkSecurityGroupRules") or ():
            rule.setdefault("sourcePortRanges", ["*"])


def start_task(given: Body) -> Body:
    """A start task with its defaults."""
    defaults = {"maxTaskRetryCount": 0, "waitForSuccess": True, "userIdentity": DEFAULT_USER}
    return defaults | {name: value for name, value in given.items() if value is not None}


def check_pool(body: Body) -> None:
    """The rules for a pool that go beyond names and types."""
    check_size(body["vmSize"])
    if not body.get("virtualMachineConfiguration"):
        raise BatchError("MissingRequiredProperty", PropertyName="virtualMachineConfiguration")
    _check_resources(body)
    check_image(body["virtualMachineConfiguration"])
    check_range(body, "targetDedicatedNodes", 0, 1_000_000)
    check_range(body, "targetLowPriorityNodes", 0, 1_000_000)
    check_range(body, "taskSlotsPerNode", 1, most_slots(body["vmSize"]))
    _check_start_task(body)
    _check_timeout(body)
    if body.get("enableAutoScale"):
        _check_scaling(body)
    elif body.get("autoScaleFormula") or body.get("autoScaleEvaluationInterval"):
        raise invalid_property("autoScaleFormula", body.get("autoScaleFormula"), "enableAutoScale is false")


def _check_start_task(body: Body) -> None:
    given = body.get("startTask")
    if given is None:
        return
    if not given["commandLine"].strip():
        raise invalid_property("startTask/commandLine", "", "a command line can't be empty")
    check_files(given.get("resourceFiles") or (), "startTask/resourceFiles")


def _check_resources(body: Body) -> None:
    """Ids of images and subnets have a form, and their subscription exists: the one of all zeros does not."""
    image = (body["virtualMachineConfiguration"].get("imageReference") or {}).get("virtualMachineImageId")
    subnet = (body.get("networkConfiguration") or {}).get("subnetId")
    for name, value, form in (("virtualMachineImageId", image, IMAGE_ID), ("subnetId", subnet, SUBNET_ID)):
        if value and (not form.fullmatch(value) or "/00000000-0000-0000-0000-000000000000/" in value):
            raise invalid_property(name, value, "The specified resource can't be found.")


def _check_scaling(body: Body) -> None:
    for name in ("targetDedicatedNodes", "targetLowPriorityNodes", "resizeTimeout"):
        if body.get(name):
            raise invalid_property(name, body[name], "not allowed when enableAutoScale is true")
    if not body.get("autoScaleFormula"):
        raise BatchError("MissingRequiredProperty", PropertyName="autoScaleFormula")
    _check_formula(body["autoScaleFormula"])
    _check_interval(body)


def _check_timeout(body: Body) -> None:
    text = body.get("resizeTimeout")
    if text and parse_duration(text) < timedelta(minutes=5):
        raise invalid_property("resizeTimeout", text, "at least PT5M")


def _check_interval(body: Body) -> None:
    text = body.get("autoScaleEvaluationInterval")
    if text and not timedelta(minutes=5) <= parse_duration(text) <= timedelta(hours=168):
        raise invalid_property("autoScaleEvaluationInterval", text, "PT5M to P7D")


def _check_formula(formula: str) -> None:
    if len(formula) > MAX_FORMULA:
        raise BatchError("AutoScaleFormulaTooLong")
    if not formula.strip():
        raise BatchError("InvalidAutoScalingSettings", Reason="the formula is empty")


async def list_pools(app: App, request: Request) -> Response:
    items = in_order(request, app.service.pools.values(), lambda pool: _asked(request, pool))
    return await page(app.service, request, "pools", items)


def _asked(request: Request, pool: Pool) -> Body:
    body = wire(pool, request.query_params["api-version"])
    if "stats" in request.query_params.get("$expand", ""):
        times = {"startTime": body["creationTime"], "lastUpdateTime": body["lastModified"]}
        body["stats"] = {"url": f"{body['url']}/lifetimestats", **times}
    return body


def _pool(app: App, request: Request) -> Pool:
    return app.service.pool(request.path_params["pool"])


def _living(app: App, request: Request) -> Pool:
    pool = _pool(app, request)
    check_conditions(request, pool.body)
    if pool.state == "deleting":
        raise BatchError("PoolBeingDeleted")
    return pool


async def get_pool(app: App, request: Request) -> Response:
    return resource(app.service, request, "pools", _asked(request, _pool(app, request)))


async def pool_exists(app: App, request: Request) -> Response:
    pool = _pool(app, request)
    check_conditions(request, pool.body)
    return Response(None, 200, versions(pool.body))


async def update_pool(app: App, request: Request) -> Response:
    """PATCH: what is absent stays."""
    pool = _living(app, request)
    body = json_body(await request.body())
    check_body(body, "BatchPoolUpdateOptions")
    hide(body)
    size = body.get("vmSize") or pool.body["vmSize"]
    check_size(size)
    check_range(body, "taskSlotsPerNode", 1, most_slots(size))
    _check_start_task(body)
    if machine := body.get("virtualMachineConfiguration"):
        check_image(machine)
    app.service.check_packages(body.get("applicationPackageReferences"))
    for name, value in body.items():
        if name in UPDATABLE and value is not None:
            if name in ONLY_WHEN_EMPTY and pool.nodes and pool.body.get(name) != value:
                raise BatchError(
                    "OperationInvalidForCurrentState", Reason=f"{name} can only change while the pool is empty"
                )
            _change(pool, name, value)
    app.service.touch(pool.body)
    return empty(app.service, request, 200, pool.body)


def _change(pool: Pool, name: str, value: object) -> None:
    """Each property as a whole: a start task without its files has none."""
    if name == "startTask" and isinstance(value, dict):
        pool.body[name] = start_task(value)
    elif name == "taskSchedulingPolicy" and isinstance(value, dict):
        pool.body[name] = {**pool.body[name], **value}
    else:
        pool.body[name] = value


async def replace_pool_properties(app: App, request: Request) -> Response:
    """What is absent is removed."""
    pool = _living(app, request)
    body = json_body(await request.body())
    given = {"applicationPackageReferences": [], "metadata": [], **body}
    check_body(given, "BatchPoolReplaceOptions")
    _check_start_task(given)
    app.service.check_packages(given["applicationPackageReferences"])
    for name in ("startTask", "applicationPackageReferences", "metadata", *OLDER):
        value = given.get(name)
        if value:
            pool.body[name] = start_task(value) if name == "startTask" else value
        else:
            pool.body.pop(name, None)
    app.service.touch(pool.body)
    return empty(app.service, request, 204, pool.body)


async def delete_pool(app: App, request: Request) -> Response:
    pool = _living(app, request)
    app.allocation.delete(pool)
    return empty(app.service, request, 202)


def _resizable(app: App, request: Request) -> Pool:
    pool = _living(app, request)
    if pool.body["allocationState"] != "steady":
        raise BatchError("PoolBeingResized")
    return pool


async def resize_pool(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    check_body(body, "BatchPoolResizeOptions")
    pool = _living(app, request)
    if pool.body["enableAutoScale"]:
        raise BatchError(
            "OperationNotValidOnPool", message="A pool that scales automatically can't be resized."
        )
    if pool.body["allocationState"] != "steady":
        raise BatchError("PoolBeingResized")
    names = ("targetDedicatedNodes", "targetLowPriorityNodes")
    if all(body.get(name) is None for name in names):
        raise BatchError("MissingRequiredProperty", PropertyName="targetDedicatedNodes")
    for name in names:
        check_range(body, name, 0, 1_000_000)
    _check_timeout(body)
    for name in (*names, "resizeTimeout"):
        if body.get(name) is not None:
            pool.body[name] = body[name]
    app.service.touch(pool.body)
    app.allocation.resize(pool, str(body.get("nodeDeallocationOption") or "requeue").lower())
    return empty(app.service, request, 202, pool.body)


async def stop_pool_resize(app: App, request: Request) -> Response:
    pool = _living(app, request)
    if pool.body["allocationState"] != "resizing":
        raise BatchError("OperationInvalidForCurrentState", Reason="the pool is not being resized")
    app.allocation.stop(pool)
    return empty(app.service, request, 202, pool.body)


async def remove_nodes(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    check_body(body, "BatchNodeRemoveOptions")
    pool = _resizable(app, request)
    if pool.body["enableAutoScale"]:
        raise BatchError(
            "OperationNotValidOnPool", message="A pool that scales automatically can't be resized."
        )
    if not 1 <= len(body["nodeList"]) <= MAX_REMOVED:
        raise invalid_property("nodeList", len(body["nodeList"]), f"1 to {MAX_REMOVED} nodes")
    _check_timeout(body)
    nodes = [_node(pool, name) for name in body["nodeList"]]
    app.allocation.remove_nodes(pool, nodes, str(body.get("nodeDeallocationOption") or "requeue").lower())
    return empty(app.service, request, 202, pool.body)


def _node(pool: Pool, name: str) -> Node:
    node = pool.nodes.get(name.lower())
    if node is None:
        raise BatchError("NodeNotFound", NodeId=name)
    return node


async def enable_auto_scale(app: App, request: Request) -> Response:
    """Also changes the formula or the interval of a pool that scales already."""
    body = json_body(await request.body())
    check_body(body, "BatchPoolEnableAutoScaleOptions")
    pool = _living(app, request)
    if not pool.body["enableAutoScale"]:
        if pool.body["allocationState"] != "steady":
            raise BatchError("PoolBeingResized")
        if not body.get("autoScaleFormula"):
            raise BatchError("MissingRequiredProperty", PropertyName="autoScaleFormula")
    elif not body.get("autoScaleFormula") and not body.get("autoScaleEvaluationInterval"):
        raise BatchError("MissingRequiredProperty", PropertyName="autoScaleFormula")
    formula = body.get("autoScaleFormula") or pool.body["autoScaleFormula"]
    _check_formula(formula)
    _check_interval(body)
    _check_syntax(pool, formula)
    if time.monotonic() - pool.scaled_at < app.service.clock.scaled(ENABLE_SECONDS):
        raise BatchError("TooManyEnableAutoScaleRequests")
    pool.scaled_at = time.monotonic()
    interval = body.get("autoScaleEvaluationInterval") or pool.body.get("autoScaleEvaluationInterval", "PT15M")
    pool.body |= {"enableAutoScale": True, "autoScaleFormula": formula, "autoScaleEvaluationInterval": interval}
    pool.body.pop("resizeTimeout", None)
    app.service.touch(pool.body)
    app.allocation.scale(pool)
    return empty(app.service, request, 200, pool.body)


def _check_syntax(pool: Pool, formula: str) -> None:
    try:
        evaluate(formula, samples(pool))
    except FormulaError as error:
        raise BatchError("AutoScalingFormulaSyntaxError", Reason=str(error)) from None


async def disable_auto_scale(app: App, request: Request) -> Response:
    pool = _living(app, request)
    app.allocation.unscale(pool)
    pool.body["enableAutoScale"] = False
    for name in ("autoScaleFormula", "autoScaleEvaluationInterval", "autoScaleRun"):
        pool.body.pop(name, None)
    pool.body.setdefault("resizeTimeout", "PT15M")
    app.service.touch(pool.body)
    return empty(app.service, request, 200, pool.body)


async def evaluate_auto_scale(app: App, request: Request) -> Response:
    """What a formula would say now; only for pools that scale."""
    body = json_body(await request.body())
    check_body(body, "BatchPoolEvaluateAutoScaleOptions")
    pool = _living(app, request)
    if not pool.body["enableAutoScale"]:
        raise BatchError("OperationNotValidOnPool", message="Automatic scaling is not enabled on the pool.")
    _check_formula(body["autoScaleFormula"])
    run, _ = app.allocation.evaluated(pool, body["autoScaleFormula"])
    return answer(app.service, run, "Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun", versions(pool.body))
