"""The operations on tasks."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.folders import forget_task, preparation_id, release_id
from tests.batch_service.scheduler import is_current
from tests.batch_service.sizes import MOST_SLOTS
from tests.batch_service.state import Body, Job, Task
from tests.batch_service.times import NO_LIMIT, format_time, parse_time
from tests.batch_service.validation import check_body, check_id, check_range, hide
from tests.batch_service.wire import (
    answer,
    check_conditions,
    empty,
    json_body,
    made,
    page,
    resource,
    skip_token,
)

MAX_TASKS = 100
MAX_BYTES = 1_048_576
MAX_DEPENDENCY_CHARACTERS = 64_000
SINCE = re.compile(r"\bstateTransitionTime\s+(?:ge|gt)\s+(?:datetime)?'?([0-9T:.Z+-]+)", re.IGNORECASE)
BRANCHES = re.compile(r"\b(?:or|not)\b", re.IGNORECASE)
DEFAULT_USER = {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}
BLOCKED = {"completed": "JobCompleted", "terminating": "JobBeingTerminated", "deleting": "JobBeingDeleted"}


async def create_task(app: App, request: Request) -> Response:
    job = _open_job(app, request)
    raw = await request.body()
    _check_length(app, raw)
    task = _add(app, job, json_body(raw))
    return made(app.service, f"/jobs/{job.body['id']}/tasks/{task.body['id']}", task.body)


async def create_task_collection(app: App, request: Request) -> Response:
    """Adds each task by itself: one that can't be added does not keep the others out."""
    job = _open_job(app, request)
    raw = await request.body()
    strict = _check_length(app, raw)
    tasks = json_body(raw).get("value")
    if not isinstance(tasks, list) or not tasks:
        raise BatchError("MissingRequiredProperty", PropertyName="value")
    if strict and len(tasks) > MAX_TASKS:
        raise BatchError(
            "InvalidRequestBody", Reason=f"at most {MAX_TASKS} tasks can be added with one request"
        )
    rule = request.scope.get("state", {}).get("half")
    if rule:
        for body in tasks[: len(tasks) // 2]:
            _add_or_tell(app, job, body)
        raise rule
    results = [_add_or_tell(app, job, body) for body in tasks]
    return answer(app.service, {"value": results}, "taskaddresult")


def _check_length(app: App, raw: bytes) -> bool:
    """Refuses a body that is too long; False when a defect lets all through."""
    strict = not app.service.faults.has_defect("no_size_limit")
    if strict and len(raw) > MAX_BYTES:
        raise BatchError("RequestBodyTooLarge", MaxLimit=str(MAX_BYTES))
    return strict


def _open_job(app: App, request: Request) -> Job:
    job = app.service.job(request.path_params["job"])
    if code := BLOCKED.get(job.state):
        raise BatchError(code)
    return job


def _add_or_tell(app: App, job: Job, body: Any) -> Body:
    task_id = body.get("id") if isinstance(body, dict) else None
    try:
        task = _add(app, job, body)
    except BatchError as error:
        told = error.body(app.new_id(), app.service.clock.stamp(), app.service.base)
        told.pop("odata.metadata")
        return {"status": "clienterror", "taskId": str(task_id or ""), "error": told}
    own = task.body
    return {
        "status": "success",
        "taskId": own["id"],
        "eTag": own["eTag"],
        "lastModified": own["lastModified"],
        "location": own["url"],
    }


def _add(app: App, job: Job, body: Body) -> Task:
    check_body(body, "BatchTaskCreateOptions")
    key = check_id(body["id"]).lower()
    if key in job.tasks:
        raise BatchError("TaskExists")
    pool = app.service.pools.get(job.pool_key or "")
    _check(job, body, pool.body["taskSlotsPerNode"] if pool else MOST_SLOTS)
    app.service.check_packages(body.get("applicationPackageReferences"))
    task = new_task(app, job, body)
    app.scheduler.add(task)
    return task


def _check(job: Job, body: Body, slots: int) -> None:
    """The rules for a task that go beyond names and types; a node of its pool has so many `slots`."""
    for special, code in (
        (preparation_id, "TaskIdSameAsJobPreparationTask"),
        (release_id, "TaskIdSameAsJobReleaseTask"),
    ):
        name = "jobPreparationTask" if special is preparation_id else "jobReleaseTask"
        if job.body.get(name) and special(job).lower() == body["id"].lower():
            raise BatchError(code)
    if not body["commandLine"].strip():
        raise invalid_property("commandLine", "", "a command line can't be empty")
    check_range(body, "requiredSlots", 1, slots)
    check_files(body.get("resourceFiles") or (), "resourceFiles")
    check_constraints(body.get("constraints") or {})
    if body.get("dependsOn"):
        _check_dependencies(job, body["dependsOn"])
    if body.get("exitConditions") and str(job.body["onTaskFailure"]).lower() == "noaction":
        _check_exit_conditions(body["exitConditions"])


def check_files(files: Any, where: str) -> None:
    """Each resource file has exactly one source, and a path if that is a single file."""
    for file in files:
        sources = [
            file[name]
            for name in ("httpUrl", "storageContainerUrl", "autoStorageContainerName")
            if file.get(name)
        ]
        if len(sources) != 1:
            raise invalid_property(
                where, len(sources), "exactly one of httpUrl, storageContainerUrl, autoStorageContainerName"
            )
        if file.get("httpUrl") and not file.get("filePath"):
            raise invalid_property(f"{where}/filePath", "", "required with httpUrl")
        if file.get("httpUrl") and file.get("blobPrefix"):
            raise invalid_property(f"{where}/blobPrefix", file["blobPrefix"], "only for containers")
        if not re.fullmatch(r"(0o?)?[0-7]{3,4}", file.get("fileMode") or "0770"):
            raise invalid_property(f"{where}/fileMode", file["fileMode"], "an octal mode was expected")


def check_constraints(constraints: Body) -> None:
    if (constraints.get("maxTaskRetryCount") or 0) < -1:
        raise invalid_property("constraints/maxTaskRetryCount", constraints["maxTaskRetryCount"], "at least -1")


def _check_dependencies(job: Job, depends: Body) -> None:
    if not job.body.get("usesTaskDependencies"):
        raise BatchError("TaskDependenciesNotSpecifiedOnJob")
    if sum(map(len, depends.get("taskIds") or ())) > MAX_DEPENDENCY_CHARACTERS:
        raise BatchError("TaskDependencyListTooLong")
    for span in depends.get("taskIdRanges") or ():
        if span["start"] < 0 or span["end"] < span["start"]:
            raise invalid_property("dependsOn/taskIdRanges", span, "0 <= start <= end")


def _check_exit_conditions(conditions: Body) -> None:
    singles = [conditions.get(name) for name in ("preProcessingError", "fileUploadError", "default")]
    mapped = [
        item["exitOptions"] for name in ("exitCodes", "exitCodeRanges") for item in conditions.get(name) or ()
    ]
    for options in filter(None, singles + mapped):
        if str(options.get("jobAction") or "none").lower() != "none":
            reason = "the job's onTaskFailure is noaction"
            raise invalid_property("exitConditions/jobAction", options["jobAction"], reason)


def new_task(app: App, job: Job, body: Body, manager: Body | None = None) -> Task:
    """A record with the service's defaults filled in."""
    service = app.service
    own = {name: value for name, value in body.items() if value is not None}
    hide(own)
    own["url"] = f"{job.body['url']}/tasks/{own['id']}"
    service.stamp_new(own, "active")
    own["constraints"] = constraints_of(job, own.get("constraints") or {})
    own.setdefault("requiredSlots", 1)
    own.setdefault("userIdentity", DEFAULT_USER)
    own["executionInfo"] = {"retryCount": 0, "requeueCount": 0}
    return Task(job, own["id"].lower(), len(job.order) + 1, own, own["requiredSlots"], manager)


def constraints_of(job: Job, own: Body) -> Body:
    """A task's constraints, with the job's retry count as the default."""
    retries = (job.body.get("constraints") or {}).get("maxTaskRetryCount", 0)
    return {"maxWallClockTime": NO_LIMIT, "retentionTime": "P7D", "maxTaskRetryCount": retries} | {
        name: value for name, value in own.items() if value is not None
    }


async def list_tasks(app: App, request: Request) -> Response:
    """All tasks in the order of creation; with a filter on stateTransitionTime, in that of change."""
    job = app.service.job(request.path_params["job"])
    text = request.query_params.get("$filter", "")
    since = None if BRANCHES.search(text) else SINCE.search(text)
    items = _changed(job, request, since[1]) if since else _all(job, request)
    if "stats" in request.query_params.get("$expand", ""):
        items = ((token, lambda make=make: _asked(request, make())) for token, make in items)  # type: ignore[misc]
    return await page(app.service, request, "tasks", items)


def _all(job: Job, request: Request) -> Iterator[tuple[str, Callable[[], Body]]]:
    token = skip_token(request)
    start = int(token) if token.isdecimal() else 0
    for place in range(start, len(job.order)):
        task = job.order[place]
        if task is not None:
            yield str(place + 1), lambda task=task: task.body  # type: ignore[misc]


def _changed(job: Job, request: Request, since: str) -> Iterator[tuple[str, Callable[[], Body]]]:
    """Only what has changed since; a task that changes while pages are read moves to a later page."""
    token = skip_token(request)
    try:
        first = format_time(parse_time(since) - timedelta(microseconds=1))
    except (ValueError, OverflowError):
        first = ""
    changes = job.changes
    place = bisect.bisect_right(changes, token or first, key=lambda entry: entry[0])
    for entry in changes[place:]:
        if is_current(entry):
            yield entry[0], lambda task=entry[1]: task.body  # type: ignore[misc]


def _task(app: App, request: Request) -> Task:
    return app.service.task(request.path_params["job"], request.path_params["task"])


async def get_task(app: App, request: Request) -> Response:
    return resource(app.service, request, "tasks", _asked(request, _task(app, request).body))


def _asked(request: Request, body: Body) -> Body:
    return with_stats(request, body, f"{body['url']}/lifetimestats")


def with_stats(request: Request, body: Body, url: str) -> Body:
    """The body with its statistics, all of them zero, when the client expands them."""
    if "stats" not in request.query_params.get("$expand", ""):
        return body
    durations = dict.fromkeys(("userCPUTime", "kernelCPUTime", "wallClockTime", "waitTime"), "PT0S")
    numbers = dict.fromkeys(("readIOps", "writeIOps", "readIOGiB", "writeIOGiB"), 0)
    times = {"startTime": body["creationTime"], "lastUpdateTime": body["lastModified"]}
    return {**body, "stats": {"url": url, **times, **durations, **numbers}}


async def replace_task(app: App, request: Request) -> Response:
    """PUT changes the constraints, and nothing else."""
    task = _task(app, request)
    check_conditions(request, task.body)
    body = json_body(await request.body())
    check_body(body, "BatchTask")
    check_constraints(body.get("constraints") or {})
    if task.state == "completed":
        raise BatchError("TaskCompleted")
    task.body["constraints"] = constraints_of(task.job, body.get("constraints") or {})
    app.service.touch(task.body)
    return empty(app.service, request, 200, task.body)


async def delete_task(app: App, request: Request) -> Response:
    task = _task(app, request)
    check_conditions(request, task.body)
    place = task.body.get("nodeInfo")
    app.scheduler.remove(task)
    pool = app.service.pools.get(place["poolId"].lower()) if place else None
    node = pool.nodes.get(place["nodeId"].lower()) if pool and place else None
    if node is not None:
        forget_task(task, node)
    return empty(app.service, request, 200)


async def terminate_task(app: App, request: Request) -> Response:
    task = _task(app, request)
    check_conditions(request, task.body)
    if task.state == "completed":
        raise BatchError("TaskCompleted")
    app.scheduler.terminate(task)
    return empty(app.service, request, 204, task.body)


async def reactivate_task(app: App, request: Request) -> Response:
    task = _task(app, request)
    check_conditions(request, task.body)
    if task.job.state in BLOCKED:
        raise BatchError(BLOCKED[task.job.state])
    if task.state != "completed":
        raise BatchError("TaskNotCompleted")
    if task.body["executionInfo"].get("result") == "success":
        raise BatchError("TaskSucceeded")
    app.scheduler.reactivate(task)
    status = 200 if app.service.faults.has_defect("reactivate_status") else 204
    return empty(app.service, request, status, task.body)


async def list_subtasks(app: App, request: Request) -> Response:
    """Empty: a multi-instance task runs on its primary node alone here."""
    _task(app, request)
    return answer(app.service, {"value": []}, "subtasks")
