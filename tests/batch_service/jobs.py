"""The operations on jobs."""

from __future__ import annotations

import uuid

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.pools import add_pool, check_pool
from tests.batch_service.pools import fill_in as fill_in_pool
from tests.batch_service.state import Body, Job, Schedule
from tests.batch_service.tasks import DEFAULT_USER, check_constraints, check_files, new_task, with_stats
from tests.batch_service.times import NO_LIMIT
from tests.batch_service.validation import check_body, check_id, check_range, hide
from tests.batch_service.wire import (
    answer,
    check_conditions,
    empty,
    in_order,
    json_body,
    made,
    numbered,
    page,
    resource,
)

CLOSED = {"completed": "JobCompleted", "terminating": "JobBeingTerminated", "deleting": "JobBeingDeleted"}
LIVING = ("active", "disabling", "disabled", "enabling", "terminating")
CHANGEABLE = (
    "priority",
    "maxParallelTasks",
    "allowTaskPreemption",
    "constraints",
    "onAllTasksComplete",
    "metadata",
)
SPECIAL = ("jobManagerTask", "jobPreparationTask", "jobReleaseTask")


async def create_job(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    check_body(body, "BatchJobCreateOptions")
    key = check_id(body["id"]).lower()
    if key in app.service.jobs:
        raise BatchError("JobExists")
    if key in app.service.schedules:
        raise BatchError("JobScheduleWithSameIdExists")
    check_job(body)
    check_quota(app)
    job = add_job(app, body)
    return made(app.service, f"/jobs/{job.body['id']}", job.body)


def check_quota(app: App) -> None:
    """Active jobs and schedules are counted together."""
    quota = app.service.faults.quota.get("jobs")
    living = sum(job.state in LIVING for job in app.service.jobs.values())
    schedules = sum(
        schedule.body["state"] in ("active", "disabled") for schedule in app.service.schedules.values()
    )
    if quota is not None and living + schedules >= quota:
        raise BatchError("ActiveJobAndScheduleQuotaReached")


def check_job(body: Body) -> None:
    """The rules for a job, or a job specification, that go beyond names and types."""
    check_range(body, "priority", -1000, 1000)
    check_range(body, "maxParallelTasks", -1, 2**31 - 1)
    check_constraints(body.get("constraints") or {})
    _check_pool_info(body["poolInfo"])
    if body.get("jobReleaseTask") and not body.get("jobPreparationTask"):
        raise invalid_property("jobReleaseTask", "", "a job release task needs a job preparation task")
    for name in SPECIAL:
        special = body.get(name) or {}
        check_files(special.get("resourceFiles") or (), f"{name}/resourceFiles")
        if "id" in special:
            check_id(special["id"], f"{name}/id")


def _check_pool_info(info: Body) -> None:
    automatic = info.get("autoPoolSpecification")
    if bool(info.get("poolId")) == bool(automatic):
        raise invalid_property("poolInfo", "", "exactly one of poolId and autoPoolSpecification")
    if automatic:
        if not automatic.get("pool"):
            raise BatchError("MissingRequiredProperty", PropertyName="poolInfo/autoPoolSpecification/pool")
        check_pool(automatic["pool"])


def add_job(app: App, body: Body, schedule: Schedule | None = None) -> Job:
    """A job with its defaults, its pool if that is automatic, and its job manager task."""
    service = app.service
    own = {name: value for name, value in body.items() if value is not None}
    own["url"] = f"{service.base}/jobs/{own['id']}"
    service.stamp_new(own, "active")
    own["executionInfo"] = {"startTime": own["creationTime"]}
    fill_in(own)
    job = Job(own["id"].lower(), service.number(), own, schedule=schedule)
    _attach(app, job)
    service.jobs[job.key] = job
    app.endings.limit(job)
    if own.get("jobManagerTask"):
        _add_manager(app, job, own["jobManagerTask"])
    else:
        app.endings.check_all_complete(job)
    return job


def fill_in(own: Body) -> None:
    """The defaults of a job, or of a schedule's job specification."""
    hide(own)
    own.setdefault("priority", 0)
    own.setdefault("maxParallelTasks", -1)
    own.setdefault("allowTaskPreemption", False)
    own.setdefault("usesTaskDependencies", False)
    own.setdefault("onAllTasksComplete", "noaction")
    own.setdefault("onTaskFailure", "noaction")
    own["constraints"] = {"maxWallClockTime": NO_LIMIT, "maxTaskRetryCount": 0} | {
        name: value for name, value in (own.get("constraints") or {}).items() if value is not None
    }
    for name, own_id in (("jobPreparationTask", "jobpreparation"), ("jobReleaseTask", "jobrelease")):
        if own.get(name):
            own[name] = {"id": own_id, "userIdentity": DEFAULT_USER, **_special_defaults(name), **own[name]}
    if automatic := own["poolInfo"].get("autoPoolSpecification"):
        _fill_in_automatic(automatic)


def _fill_in_automatic(automatic: Body) -> None:
    automatic.setdefault("keepAlive", False)
    specification = automatic["pool"]
    fill_in_pool(specification)
    if specification["enableAutoScale"]:
        specification.pop("resizeTimeout")


def _special_defaults(name: str) -> Body:
    if name == "jobReleaseTask":
        return {"maxWallClockTime": "PT15M", "retentionTime": "P7D"}
    constraints = {"maxWallClockTime": NO_LIMIT, "retentionTime": "P7D", "maxTaskRetryCount": 0}
    return {"waitForSuccess": True, "rerunOnNodeRebootAfterSuccess": True, "constraints": constraints}


def _attach(app: App, job: Job) -> None:
    """Binds a job to its pool, which may not be there yet, or makes it one."""
    info = job.body["poolInfo"]
    specification = info.get("autoPoolSpecification")
    pool_id: str = _automatic_pool(app, job, specification) if specification else info["poolId"]
    job.pool_key = pool_id.lower()
    job.body["executionInfo"]["poolId"] = pool_id
    if pool := app.service.pools.get(job.pool_key):
        pool.jobs[job.key] = job
    app.scheduler.wake()


def _automatic_pool(app: App, job: Job, specification: Body) -> str:
    lifetime = str(specification["poolLifetimeOption"]).lower()
    if lifetime == "jobschedule" and job.schedule is not None:
        pool_id = job.schedule.pool_id = job.schedule.pool_id or _pool_name(specification)
    else:
        pool_id, job.is_auto_pool = _pool_name(specification), not specification.get("keepAlive", False)
    if pool_id.lower() not in app.service.pools:
        add_pool(app, {**specification["pool"], "id": pool_id})
    return pool_id


def _pool_name(specification: Body) -> str:
    return f"{specification.get('autoPoolIdPrefix') or ''}{str(uuid.uuid4()).upper()}"


def _add_manager(app: App, job: Job, manager: Body) -> None:
    own = {
        key: value
        for key, value in manager.items()
        if key not in ("killJobOnCompletion", "runExclusive", "allowLowPriorityNode")
    }
    app.scheduler.add(new_task(app, job, own, manager))


def job_ended(app: App, job: Job) -> None:
    """A completed or deleted job leaves its pool, and takes it along if it was made for it."""
    pool = app.service.pools.get(job.pool_key or "")
    if pool is None:
        return
    if job.is_auto_pool and pool.state == "active":
        app.allocation.delete(pool)


async def list_jobs(app: App, request: Request) -> Response:
    items = in_order(request, app.service.jobs.values(), lambda job: _wire(request, job))
    return await page(app.service, request, "jobs", items)


async def list_jobs_from_schedule(app: App, request: Request) -> Response:
    schedule = app.service.schedule(request.path_params["schedule"])
    items = in_order(request, app.service.jobs_of(schedule), lambda job: _wire(request, job))
    return await page(app.service, request, "jobs", items)


def _wire(request: Request, job: Job) -> Body:
    if "stats" not in request.query_params.get("$expand", ""):
        return job.body
    body = with_stats(request, job.body, f"{job.body['url']}/lifetimestats")
    succeeded, failed = job.counts.get("succeeded", 0), job.counts.get("failed", 0)
    return {
        **body,
        "stats": {
            **body["stats"],
            "numSucceededTasks": succeeded,
            "numFailedTasks": failed,
            "numTaskRetries": 0,
        },
    }


def _job(app: App, request: Request) -> Job:
    return app.service.job(request.path_params["job"])


def _open(app: App, request: Request) -> Job:
    job = _job(app, request)
    check_conditions(request, job.body)
    if code := CLOSED.get(job.state):
        raise BatchError(code)
    return job


async def get_job(app: App, request: Request) -> Response:
    return resource(app.service, request, "jobs", _wire(request, _job(app, request)))


async def update_job(app: App, request: Request) -> Response:
    """PATCH: what is absent stays."""
    job = _open(app, request)
    body = json_body(await request.body())
    check_body(body, "BatchJobUpdateOptions")
    await _apply(app, job, {name: value for name, value in body.items() if value is not None})
    return empty(app.service, request, 200, job.body)


async def replace_job(app: App, request: Request) -> Response:
    """PUT: what is absent goes back to its default."""
    job = _open(app, request)
    body = json_body(await request.body())
    check_body(body, "BatchJob")
    if not body.get("poolInfo"):
        raise BatchError("MissingRequiredProperty", PropertyName="poolInfo")
    defaults: Body = {
        "priority": 0,
        "maxParallelTasks": -1,
        "allowTaskPreemption": False,
        "constraints": {},
        "onAllTasksComplete": "noaction",
        "metadata": [],
    }
    given = {name: value for name, value in body.items() if value is not None}
    await _apply(app, job, defaults | given)
    return empty(app.service, request, 200, job.body)


async def _apply(app: App, job: Job, changes: Body) -> None:
    check_range(changes, "priority", -1000, 1000)
    check_range(changes, "maxParallelTasks", -1, 2**31 - 1)
    check_constraints(changes.get("constraints") or {})
    pool_info = changes.get("poolInfo")
    if pool_info and pool_info.get("poolId") and pool_info["poolId"].lower() != job.pool_key:
        _change_pool(app, job, pool_info)
    for name in CHANGEABLE:
        if name in changes:
            job.body[name] = changes[name]
    if "metadata" in changes and not changes["metadata"]:
        job.body.pop("metadata")
    fill_in(job.body)
    app.service.touch(job.body)
    if "constraints" in changes:
        app.endings.limit(job)
    app.endings.check_all_complete(job)
    app.scheduler.wake()


def _change_pool(app: App, job: Job, info: Body) -> None:
    if job.state != "disabled":
        raise BatchError(
            "OperationInvalidForCurrentState", Reason="the pool of a job can only change while it is disabled"
        )
    if pool := app.service.pools.get(job.pool_key or ""):
        pool.jobs.pop(job.key, None)
    job.body["poolInfo"] = info
    _attach(app, job)


async def delete_job(app: App, request: Request) -> Response:
    job = _job(app, request)
    check_conditions(request, job.body)
    if job.state == "deleting":
        raise BatchError("JobBeingDeleted")
    app.endings.delete(job)
    return empty(app.service, request, 202)


async def disable_job(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    check_body(body, "BatchJobDisableOptions")
    job = _open(app, request)
    if job.state in ("disabling", "disabled"):
        raise BatchError("JobDisabled")
    app.endings.disable(job, body["disableTasks"].lower())
    return empty(app.service, request, 202, job.body)


async def enable_job(app: App, request: Request) -> Response:
    job = _open(app, request)
    if job.state not in ("disabling", "disabled"):
        raise BatchError("OperationInvalidForCurrentState", Reason=f"the job is {job.state}")
    app.endings.enable(job)
    return empty(app.service, request, 202, job.body)


async def terminate_job(app: App, request: Request) -> Response:
    raw = await request.body()
    body = json_body(raw) if raw.strip() else {}
    reason = body.get("terminateReason") or "UserTerminate"
    if set(body) - {"terminateReason"} or not isinstance(reason, str):
        raise BatchError("InvalidRequestBody", Reason="only terminateReason is allowed")
    job = _open(app, request)
    app.endings.terminate(job, reason)
    return empty(app.service, request, 202, job.body)


async def task_counts(app: App, request: Request) -> Response:
    job = _job(app, request)
    stale = app.service.faults.stale_counts
    counts = _counts(job) if stale is None else stale.setdefault(job.key, _counts(job))
    return answer(app.service, counts, "taskcounts/@Element")


def _counts(job: Job) -> Body:
    names = ("active", "running", "completed", "succeeded", "failed")
    return {
        "taskCounts": {name: job.counts.get(name, 0) for name in names},
        "taskSlotCounts": {name: job.slot_counts.get(name, 0) for name in names},
    }


async def list_side_tasks(app: App, request: Request) -> Response:
    """How the job preparation and release tasks fared on each node."""
    job = _job(app, request)
    if not job.body.get("jobPreparationTask"):
        raise BatchError("JobPreparationTaskOrReleaseTaskNotSpecified")
    items = numbered(request, [known.status for known in job.preparations.values()])
    return await page(app.service, request, "jobpreparationandreleasetaskstatuslist", items)
