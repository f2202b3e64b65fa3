"""`/_control/…`: troubles switched on and off, and a look inside. Not part of Azure Batch; needs no login."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.faults import DEFECTS, StartTaskFault
from tests.batch_service.machines import RESTORE_SECONDS
from tests.batch_service.schedules import delete
from tests.batch_service.state import Node, Pool
from tests.batch_service.wire import json_body

Options = dict[str, Any]
WATCH_SECONDS = 0.005


def _pool(app: App, options: Options) -> Pool:
    if "pool" not in options:
        raise BatchError("MissingRequiredProperty", PropertyName="pool")
    return app.service.pool(options["pool"])


def _node(app: App, options: Options, states: tuple[str, ...] = ()) -> Node:
    """The node that is named, or one of the pool that is in one of the states, working ones first."""
    pool = _pool(app, options)
    if name := options.get("node"):
        return app.service.node(str(pool.body["id"]), name)
    nodes = [node for node in pool.nodes.values() if not states or node.state in states]
    if not nodes:
        raise BatchError("NodeNotFound")
    return max(nodes, key=lambda node: (len(node.runs), -node.seq))


def preempt(app: App, options: Options) -> Options:
    pool = _pool(app, options)
    spots = [
        node for node in pool.nodes.values() if not node.is_dedicated and node.state in ("idle", "running")
    ]
    if "node" in options:
        node = _node(app, options)
    elif spots:
        node = max(spots, key=lambda item: (len(item.runs), -item.seq))
    else:
        node = _node(app, options, ("idle", "running"))
    after = options.get("restore_after", app.service.clock.scaled(RESTORE_SECONDS))
    running = [run.task.body["id"] for run in node.runs]
    app.machines.preempt(node, after)
    return {"node": node.id, "tasks": running}


def fail_start_task(app: App, options: Options) -> Options:
    fault = StartTaskFault(options.get("pool"), options.get("node"), options.get("nth"), options.get("count"))
    app.service.faults.start_tasks.append(fault)
    return {}


def node_state(app: App, options: Options) -> Options:
    node = _node(app, options)
    app.machines.break_down(node, options.get("state", "unusable"), options.get("errors") or [])
    return {"node": node.id}


def disk_full(app: App, options: Options) -> Options:
    node = _node(app, options, ("idle", "running"))
    node.is_full = bool(options.get("on", True))
    error = {"code": "DiskFull", "message": "There is not enough disk space on the node."}
    if node.is_full:
        node.body["errors"] = [error]
    else:
        node.body.pop("errors", None)
    return {"node": node.id}


def _rule(kind: str, *needed: str) -> Callable[[App, Options], Options]:
    def add(app: App, options: Options) -> Options:
        for name in needed:
            if name not in options:
                raise BatchError("MissingRequiredProperty", PropertyName=name)
        app.service.faults.add_rule(kind, options)
        return {}

    return add


def expired_sas(app: App, options: Options) -> Options:
    direction = options.get("direction", "storage")
    app.service.faults.add_rule(f"expired_sas:{direction}", {"count": None, **options})
    return {}


def page_size(app: App, options: Options) -> Options:
    app.service.faults.page_size = options.get("size")
    return {}


def slow_nodes(app: App, options: Options) -> Options:
    app.service.faults.slow_nodes_seconds = float(options.get("seconds") or 0)
    return {}


def resize_error(app: App, options: Options) -> Options:
    code = options.get("code", "AllocationTimedout")
    app.service.faults.set_resize_error(options.get("pool", "*"), code)
    return {}


def quota(app: App, options: Options) -> Options:
    for name, value in options.items():
        if name not in ("pools", "jobs", "dedicated_cores", "spot_cores"):
            raise invalid_property(name, value, "pools, jobs, dedicated_cores or spot_cores")
        if value is None:
            app.service.faults.quota.pop(name, None)
        else:
            app.service.faults.quota[name] = value
    return dict(app.service.faults.quota)


def enum_case(app: App, options: Options) -> Options:
    app.service.faults.enum_case = bool(options.get("on", True))
    return {}


def partial_content(app: App, options: Options) -> Options:
    app.service.faults.partial_content = bool(options.get("on", True))
    return {}


def application(app: App, options: Options) -> Options:
    name = str(options.get("id") or "")
    if not name:
        raise BatchError("MissingRequiredProperty", PropertyName="id")
    versions = [str(version) for version in options.get("versions") or []]
    made = {"id": name, "displayName": options.get("display_name") or name, "versions": versions}
    app.service.applications[name.lower()] = made
    return made


def stale_counts(app: App, options: Options) -> Options:
    app.service.faults.stale_counts = {} if options.get("on", True) else None
    return {}


def defect(app: App, options: Options) -> Options:
    name = options.get("name")
    if name not in DEFECTS:
        raise invalid_property("name", name, f"one of {', '.join(sorted(DEFECTS))}")
    if options.get("on", True):
        app.service.faults.defects.add(name)
    else:
        app.service.faults.defects.discard(name)
    return {"defects": sorted(app.service.faults.defects)}


def reset(app: App, _options: Options) -> Options:
    app.service.faults.clear()
    for pool in app.service.pools.values():
        for node in pool.nodes.values():
            node.is_full = False
    return {}


async def clear(app: App, options: Options) -> Options:
    """`reset`, and deletes all but the pools named `but`; answers when it is gone."""
    reset(app, options)
    service = app.service
    kept = {name.lower() for name in options.get("but", ())}
    service.applications.clear()
    service.certificates.clear()
    for schedule in service.schedules.values():
        service.spawn(delete(app, schedule))
    for job in [job for job in service.jobs.values() if job.state != "deleting"]:
        app.endings.delete(job)
    while service.jobs or service.schedules or service.pools.keys() - kept:
        for key in service.pools.keys() - kept:
            if service.pools[key].state != "deleting":
                app.allocation.delete(service.pools[key])
        await asyncio.sleep(WATCH_SECONDS)
    return {}


COMMANDS: dict[str, Callable[[App, Options], Options | Awaitable[Options]]] = {
    "preempt": preempt,
    "fail_start_task": fail_start_task,
    "node_state": node_state,
    "disk_full": disk_full,
    "throttle": _rule("throttle"),
    "server_error": _rule("server_error"),
    "drop": _rule("drop"),
    "slow": _rule("slow", "seconds"),
    "expired_sas": expired_sas,
    "page_size": page_size,
    "resize_error": resize_error,
    "slow_nodes": slow_nodes,
    "quota": quota,
    "enum_case": enum_case,
    "partial_content": partial_content,
    "stale_counts": stale_counts,
    "application": application,
    "defect": defect,
    "reset": reset,
    "clear": clear,
}


async def command(app: App, request: Request) -> Response:
    name = request.path_params["command"]
    if name not in COMMANDS:
        raise BatchError("ResourceNotFound", Command=name, Known=", ".join(COMMANDS))
    raw = await request.body()
    found = COMMANDS[name](app, json_body(raw) if raw.strip() else {})
    return JSONResponse(await found if isawaitable(found) else found)


async def state(app: App, _request: Request) -> Response:
    """What there is, in numbers, and how often each route was asked."""
    service, faults = app.service, app.service.faults
    pools = {pool.body["id"]: _pool_summary(pool) for pool in service.pools.values()}
    jobs = {
        job.body["id"]: {"state": job.state, "counts": job.counts, "running": len(job.runs)}
        for job in service.jobs.values()
    }
    rules = [
        {"kind": rule.kind, "match": rule.match.pattern, "count": rule.count, "met": rule.met}
        for rule in faults.rules
    ]
    summary = {
        "pools": pools,
        "jobs": jobs,
        "schedules": {schedule.body["id"]: schedule.body["state"] for schedule in service.schedules.values()},
        "requests": faults.requests,
        "faults": {
            "rules": rules,
            "defects": sorted(faults.defects),
            "quota": faults.quota,
            "page_size": faults.page_size,
        },
    }
    return JSONResponse(summary)


def _pool_summary(pool: Pool) -> Options:
    nodes = {
        node.id: {
            "state": node.state,
            "dedicated": node.is_dedicated,
            "folder": str(node.folder),
            "tasks": [run.task.body["id"] for run in node.runs],
        }
        for node in pool.nodes.values()
    }
    return {"state": pool.state, "allocationState": pool.body["allocationState"], "nodes": nodes}
