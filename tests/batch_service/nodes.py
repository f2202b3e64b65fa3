"""The operations on nodes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.machines import SSH_PORT, endpoint_of
from tests.batch_service.state import Body, Node
from tests.batch_service.transfers import send_log
from tests.batch_service.validation import check_body
from tests.batch_service.wire import answer, empty, in_order, json_body, made, numbered, page, resource

BUSY = {
    "creating": "NodeBeingCreated",
    "starting": "NodeBeingStarted",
    "rebooting": "NodeBeingRebooted",
    "reimaging": "NodeBeingReimaged",
}
OWN_EXTENSION = {
    "name": "batchNodeExtension",
    "publisher": "Microsoft.Azure.Extensions",
    "type": "CustomScript",
    "typeHandlerVersion": "2.1",
    "autoUpgradeMinorVersion": True,
}
REBOOT_OPTIONS = ("requeue", "terminate", "taskcompletion", "retaineddata")
SCHEDULING_OPTIONS = ("requeue", "terminate", "taskcompletion")


def wire(node: Node) -> Body:
    """The node as clients see it now."""
    body = dict(node.body)
    body["runningTasksCount"] = len(node.runs)
    body["runningTaskSlotsCount"] = node.used_slots
    recent = [_recent(task) for task in node.recent if task.job.tasks.get(task.key) is task]
    if recent:
        body["recentTasks"] = recent
    return body


def _recent(task: Any) -> Body:
    return {
        "taskUrl": task.body["url"],
        "jobId": task.job.body["id"],
        "taskId": task.body["id"],
        "taskState": task.state,
        "executionInfo": task.body["executionInfo"],
    }


def _node(app: App, request: Request) -> Node:
    return app.service.node(request.path_params["pool"], request.path_params["node"])


async def list_nodes(app: App, request: Request) -> Response:
    nodes = app.service.pool(request.path_params["pool"]).nodes.values()
    return await page(app.service, request, "nodes", in_order(request, nodes, wire))


async def get_node(app: App, request: Request) -> Response:
    return resource(app.service, request, "nodes", wire(_node(app, request)))


async def _option(request: Request, name: str, allowed: tuple[str, ...]) -> str:
    raw = await request.body()
    body = json_body(raw) if raw.strip() else {}
    unknown = set(body) - {name}
    if unknown:
        raise BatchError("InvalidRequestBody", PropertyName=min(unknown), Reason="no such property")
    value = str(body.get(name) or "requeue").lower()
    if value not in allowed:
        raise invalid_property(name, value, f"allowed: {', '.join(allowed)}")
    return value


def _settled(app: App, request: Request, *also: str) -> Node:
    node = _node(app, request)
    if code := BUSY.get(node.state):
        raise BatchError(code)
    if node.state in ("leavingpool", "preempted", "deallocating", "deallocated") and node.state not in also:
        raise BatchError("OperationNotValidOnNode", Reason=f"the node is {node.state}")
    return node


async def reboot_node(app: App, request: Request) -> Response:
    option = await _option(request, "nodeRebootOption", REBOOT_OPTIONS)
    app.machines.reboot(_settled(app, request), option)
    return empty(app.service, request, 202)


async def reimage_node(app: App, request: Request) -> Response:
    """Only for pools of cloud services, which are retired: no pool of today has nodes that can be reimaged."""
    await _option(request, "nodeReimageOption", REBOOT_OPTIONS)
    _settled(app, request)
    raise BatchError("OperationNotValidOnNode", Reason="the pool has a virtual machine configuration")


async def deallocate_node(app: App, request: Request) -> Response:
    option = await _option(request, "nodeDeallocateOption", REBOOT_OPTIONS)
    app.machines.deallocate(_settled(app, request), option)
    return empty(app.service, request, 202)


async def start_node(app: App, request: Request) -> Response:
    node = _settled(app, request, "deallocated")
    if node.state != "deallocated":
        raise BatchError("OperationNotValidOnNode", Reason=f"the node is {node.state}")
    app.machines.start(node)
    return empty(app.service, request, 202)


async def disable_scheduling(app: App, request: Request) -> Response:
    option = await _option(request, "nodeDisableSchedulingOption", SCHEDULING_OPTIONS)
    node = _node(app, request)
    if node.state in BUSY:
        raise BatchError("NodeNotReady")
    if node.body["schedulingState"] == "disabled":
        raise BatchError("NodeAlreadyInTargetSchedulingState")
    app.machines.disable(node, option)
    return empty(app.service, request, 200)


async def enable_scheduling(app: App, request: Request) -> Response:
    node = _node(app, request)
    if node.body["schedulingState"] == "enabled":
        raise BatchError("NodeAlreadyInTargetSchedulingState")
    app.machines.enable(node)
    return empty(app.service, request, 200)


async def upload_logs(app: App, request: Request) -> Response:
    """Uploads one log, of what the service knows about the node; nobody waits for it to arrive."""
    body = json_body(await request.body())
    check_body(body, "UploadBatchServiceLogsOptions")
    node = _node(app, request)
    digest = hashlib.sha256(node.key.encode()).hexdigest()[:16]
    folder = f"{node.pool.body['id']}-{digest}/{node.id}"
    log = node.folder / "volatile" / "agent-debug.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(json.dumps(wire(node), indent=1))
    app.service.spawn(send_log(app.service, body, f"{folder}/{log.name}", log))
    result = {"virtualDirectoryName": folder, "numberOfFilesUploaded": 1}
    return answer(app.service, result, "uploadBatchServiceLogsResult")


async def remote_login(app: App, request: Request) -> Response:
    node = _node(app, request)
    way = endpoint_of(node, SSH_PORT)
    settings = {"remoteLoginIPAddress": way["publicIPAddress"], "remoteLoginPort": way["frontendPort"]}
    if "ipv6Address" in node.body:
        settings |= {"ipv6RemoteLoginIPAddress": "::1", "ipv6RemoteLoginPort": way["frontendPort"]}
    return answer(app.service, settings, "nodes/@Element")


async def remote_desktop(app: App, request: Request) -> Response:
    """The file for Windows' remote desktop, of api-versions before 2024-07; nothing listens there."""
    node = _node(app, request)
    machine = node.pool.body["virtualMachineConfiguration"]
    if "windows" not in machine["nodeAgentSKUId"].lower():
        raise BatchError("OperationNotValidOnNode", Reason="the node does not run Windows")
    way = endpoint_of(node, SSH_PORT)
    text = f"full address:s:{way['publicIPAddress']}:{way['frontendPort']}\r\n"
    return Response(text, 200, media_type="application/octet-stream")


async def create_user(app: App, request: Request) -> Response:
    """Remembered, not made: nobody can log in."""
    body = json_body(await request.body())
    check_body(body, "BatchNodeUserCreateOptions")
    node = _settled(app, request)
    if body["name"] in node.users:
        raise BatchError("NodeUserExists")
    node.users[body["name"]] = body
    path = f"/pools/{node.pool.body['id']}/nodes/{node.id}/users/{body['name']}"
    return made(app.service, path, {})


def _user(app: App, request: Request) -> tuple[Node, str]:
    node, name = _node(app, request), request.path_params["user"]
    if name not in node.users:
        raise BatchError("NodeUserNotFound")
    return node, name


async def replace_user(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    check_body(body, "BatchNodeUserReplaceOptions")
    node, name = _user(app, request)
    node.users[name] = {"name": name, **body}
    return empty(app.service, request, 200)


async def delete_user(app: App, request: Request) -> Response:
    node, name = _user(app, request)
    del node.users[name]
    return empty(app.service, request, 200)


def _extensions(node: Node) -> list[Body]:
    """Batch's own, which brings its agent, then those of the user."""
    machine = node.pool.body.get("virtualMachineConfiguration") or {}
    done = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}
    return [
        {
            "provisioningState": "Succeeded",
            "vmExtension": {key: value for key, value in extension.items() if key != "protectedSettings"},
            "instanceView": {"name": extension["name"], "statuses": [done]},
        }
        for extension in (OWN_EXTENSION, *(machine.get("extensions") or ()))
    ]


async def list_extensions(app: App, request: Request) -> Response:
    found = _extensions(_node(app, request))
    return await page(app.service, request, "extensions", numbered(request, found))


async def get_extension(app: App, request: Request) -> Response:
    name = request.path_params["extension"]
    for extension in _extensions(_node(app, request)):
        if extension["vmExtension"]["name"] == name:
            return resource(app.service, request, "extensions", extension)
    raise BatchError("VMExtensionNotFound")
