"""The operations that are about the account: images, applications, node counts, usage."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError
from tests.batch_service.state import Body, Pool
from tests.batch_service.wire import answer, in_order, numbered, page, resource

STATES = {
    "creating": "creating",
    "idle": "idle",
    "offline": "offline",
    "preempted": "preempted",
    "rebooting": "rebooting",
    "reimaging": "reimaging",
    "running": "running",
    "starting": "starting",
    "starttaskfailed": "startTaskFailed",
    "leavingpool": "leavingPool",
    "unknown": "unknown",
    "unusable": "unusable",
    "waitingforstarttask": "waitingForStartTask",
    "deallocated": "deallocated",
    "deallocating": "deallocating",
    "upgradingos": "upgradingOS",
}


def _image(publisher: str, offer: str, sku: str, agent: str, verified: bool = True, **more: object) -> Body:
    image: Body = {
        "nodeAgentSKUId": f"batch.node.{agent}",
        "imageReference": {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"},
        "osType": "windows" if "windows" in agent else "linux",
        "verificationType": "verified" if verified else "unverified",
    }
    return image | more


RESOURCES = ("avgCPUPercentage", "avgMemoryGiB", "peakMemoryGiB", "avgDiskGiB", "peakDiskGiB")
RESOURCES += (
    "diskReadIOps",
    "diskWriteIOps",
    "diskReadGiB",
    "diskWriteGiB",
    "networkReadGiB",
    "networkWriteGiB",
)
GPU = ["DockerCompatible", "NvidiaTeslaDriverInstalled"]
IMAGES = [
    _image("canonical", "ubuntu-24_04-lts", "server", "ubuntu 24.04"),
    _image("canonical", "ubuntu-24_04-lts", "server-gen1", "ubuntu 24.04"),
    _image("microsoft-dsvm", "ubuntu-hpc", "2404", "ubuntu 24.04", capabilities=GPU),
    _image(
        "canonical",
        "0001-com-ubuntu-server-jammy",
        "22_04-lts",
        "ubuntu 22.04",
        batchSupportEndOfLife="2027-06-30T00:00:00Z",
    ),
    _image(
        "microsoft-dsvm",
        "ubuntu-hpc",
        "2204",
        "ubuntu 22.04",
        capabilities=GPU,
        batchSupportEndOfLife="2027-06-30T00:00:00Z",
    ),
    _image("almalinux", "almalinux-x86_64", "9-gen2", "el 9"),
    _image("debian", "debian-12", "12", "debian 12", verified=False),
    _image("microsoftwindowsserver", "windowsserver", "2022-datacenter", "windows amd64"),
]


async def list_images(app: App, request: Request) -> Response:
    return await page(app.service, request, "listsupportedimages", numbered(request, IMAGES))


def _counts(pool: Pool, is_dedicated: bool) -> Body:
    counts = dict.fromkeys(STATES.values(), 0)
    nodes = [node for node in pool.nodes.values() if node.is_dedicated == is_dedicated]
    for node in nodes:
        counts[STATES[node.state]] += 1
    return {**counts, "total": len(nodes)}


def _pool_counts(pool: Pool) -> Body:
    return {"poolId": pool.body["id"], "dedicated": _counts(pool, True), "lowPriority": _counts(pool, False)}


async def node_counts(app: App, request: Request) -> Response:
    return await page(
        app.service, request, "poolnodecounts", in_order(request, app.service.pools.values(), _pool_counts)
    )


async def usage_metrics(app: App, request: Request) -> Response:
    """Empty: nothing is billed here."""
    return await page(app.service, request, "poolusagemetrics", ())


async def pool_statistics(app: App, _request: Request) -> Response:
    """All zero; api-versions before 2024 ask for it."""
    told = _lifetime(app, "lifetimepoolstats")
    times = {name: told[name] for name in ("startTime", "lastUpdateTime")}
    told["usageStats"] = {**times, "dedicatedCoreTime": "PT0S"}
    told["resourceStats"] = {**times, **dict.fromkeys(RESOURCES, 0)}
    return answer(app.service, told, "poolstats/@Element")


async def job_statistics(app: App, _request: Request) -> Response:
    """All zero; api-versions before 2024 ask for it."""
    durations = dict.fromkeys(("userCPUTime", "kernelCPUTime", "wallClockTime", "waitTime"), "PT0S")
    names = ("readIOps", "writeIOps", "readIOGiB", "writeIOGiB")
    numbers = dict.fromkeys((*names, "numSucceededTasks", "numFailedTasks", "numTaskRetries"), 0)
    told = {**_lifetime(app, "lifetimejobstats"), **durations, **numbers}
    return answer(app.service, told, "jobstats/@Element")


def _lifetime(app: App, name: str) -> Body:
    now = app.service.clock.stamp()
    return {"url": f"{app.service.base}/{name}", "startTime": now, "lastUpdateTime": now}


async def list_applications(app: App, request: Request) -> Response:
    """What `/_control/application` made: the management plane, which makes packages, is not here."""
    return await page(
        app.service, request, "applications", numbered(request, app.service.applications.values())
    )


async def get_application(app: App, request: Request) -> Response:
    found = app.service.applications.get(request.path_params["application"].lower())
    if found is None:
        raise BatchError("ApplicationNotFound")
    return resource(app.service, request, "applications", found)
