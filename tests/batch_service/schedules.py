"""The operations on job schedules, and the loop that makes their jobs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response

from tests.batch_service.app_context import App
from tests.batch_service.errors import BatchError, invalid_property
from tests.batch_service.jobs import LIVING, add_job, check_job, check_quota, fill_in
from tests.batch_service.state import Body, Job, Schedule
from tests.batch_service.tasks import with_stats
from tests.batch_service.times import format_time, parse_duration, parse_time
from tests.batch_service.validation import check_body, check_id
from tests.batch_service.wire import (
    check_conditions,
    empty,
    in_order,
    json_body,
    made,
    page,
    resource,
    versions,
)

CLOSED = {
    "completed": "JobScheduleCompleted",
    "terminating": "JobScheduleBeingTerminated",
    "deleting": "JobScheduleBeingDeleted",
}
WATCH_SECONDS = 0.05
AFTER_SECONDS = 0.3
LEAST_RECURRENCE = timedelta(minutes=1)


async def create_schedule(app: App, request: Request) -> Response:
    body = json_body(await request.body())
    check_body(body, "BatchJobScheduleCreateOptions")
    key = check_id(body["id"]).lower()
    if key in app.service.schedules:
        raise BatchError("JobScheduleExists")
    if key in app.service.jobs:
        raise BatchError("JobWithSameIdExists")
    _check(body)
    check_quota(app)
    schedule = _add(app, key, body)
    return made(app.service, f"/jobschedules/{schedule.body['id']}", schedule.body)


def _check(body: Body) -> None:
    check_job(body["jobSpecification"])
    _check_times(body["schedule"])


def _check_times(times: Body) -> None:
    recurrence = times.get("recurrenceInterval")
    if recurrence and parse_duration(recurrence) < LEAST_RECURRENCE:
        raise invalid_property("schedule/recurrenceInterval", recurrence, "at least PT1M")
    if times.get("startWindow") and parse_duration(times["startWindow"]) < LEAST_RECURRENCE:
        raise invalid_property("schedule/startWindow", times["startWindow"], "at least PT1M")
    if times.get("doNotRunAfter") and parse_time(times["doNotRunAfter"]) < datetime.now(UTC):
        raise invalid_property("schedule/doNotRunAfter", times["doNotRunAfter"], "must lie in the future")


def _add(app: App, key: str, body: Body) -> Schedule:
    service = app.service
    own = {name: value for name, value in body.items() if value is not None}
    own["url"] = f"{service.base}/jobschedules/{own['id']}"
    service.stamp_new(own, "active")
    own["executionInfo"] = {}
    own["jobSpecification"] = _specification(own["jobSpecification"])
    schedule = Schedule(key, service.number(), own)
    service.schedules[key] = schedule
    schedule.loop = service.spawn(_keep(app, schedule))
    return schedule


def _specification(given: Body) -> Body:
    own = {name: value for name, value in given.items() if value is not None}
    fill_in(own)
    return own


async def _keep(app: App, schedule: Schedule) -> None:
    """Makes one job after the other until the schedule has run its course."""
    due = datetime.now(UTC)
    while True:
        times = schedule.body["schedule"]
        due = max(due, _moment(times.get("doNotRunUntil")) or due)
        schedule.body["executionInfo"]["nextRunTime"] = format_time(due)
        await asyncio.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
        await _free(app, schedule)
        limit = _moment(times.get("doNotRunAfter"))
        if limit and datetime.now(UTC) > limit:
            break
        _run(app, schedule)
        recurrence = schedule.body["schedule"].get("recurrenceInterval")
        if not recurrence:
            await _last_job_done(app, schedule)
            break
        due += timedelta(seconds=app.service.clock.scaled(parse_duration(recurrence).total_seconds()))
    schedule.body["executionInfo"].pop("nextRunTime", None)
    _complete(app, schedule)


def _moment(text: str | None) -> datetime | None:
    return parse_time(text) if text else None


async def _free(app: App, schedule: Schedule) -> None:
    """Waits until the schedule is active and its last job is over: there is never more than one."""
    while schedule.body["state"] != "active" or any(
        job.state in LIVING for job in app.service.jobs_of(schedule)
    ):
        await asyncio.sleep(WATCH_SECONDS)


async def _last_job_done(app: App, schedule: Schedule) -> None:
    schedule.body["executionInfo"].pop("nextRunTime", None)
    while any(job.state in LIVING for job in app.service.jobs_of(schedule)):
        await asyncio.sleep(WATCH_SECONDS)


def _run(app: App, schedule: Schedule) -> Job:
    schedule.runs += 1
    job_id = f"{schedule.body['id']}:job-{schedule.runs}"
    job = add_job(app, {**schedule.body["jobSpecification"], "id": job_id}, schedule)
    schedule.body["executionInfo"]["recentJob"] = {"id": job_id, "url": job.body["url"]}
    return job


def _complete(app: App, schedule: Schedule) -> None:
    schedule.body["executionInfo"]["endTime"] = app.service.clock.stamp()
    app.service.move(schedule.body, "completed")
    _drop_pool(app, schedule)


def _drop_pool(app: App, schedule: Schedule) -> None:
    info = schedule.body["jobSpecification"]["poolInfo"].get("autoPoolSpecification") or {}
    pool = app.service.pools.get((schedule.pool_id or "").lower())
    if pool is not None and pool.state == "active" and not info.get("keepAlive"):
        app.allocation.delete(pool)


async def list_schedules(app: App, request: Request) -> Response:
    items = in_order(request, app.service.schedules.values(), lambda schedule: _wire(request, schedule))
    return await page(app.service, request, "jobschedules", items)


def _wire(request: Request, schedule: Schedule) -> Body:
    if "stats" not in request.query_params.get("$expand", ""):
        return schedule.body
    body = with_stats(request, schedule.body, f"{schedule.body['url']}/lifetimestats")
    return {
        **body,
        "stats": {**body["stats"], "numSucceededTasks": 0, "numFailedTasks": 0, "numTaskRetries": 0},
    }


def _schedule(app: App, request: Request) -> Schedule:
    return app.service.schedule(request.path_params["schedule"])


def _open(app: App, request: Request) -> Schedule:
    schedule = _schedule(app, request)
    check_conditions(request, schedule.body)
    if code := CLOSED.get(schedule.body["state"]):
        raise BatchError(code)
    return schedule


async def get_schedule(app: App, request: Request) -> Response:
    return resource(app.service, request, "jobschedules", _wire(request, _schedule(app, request)))


async def schedule_exists(app: App, request: Request) -> Response:
    schedule = _schedule(app, request)
    check_conditions(request, schedule.body)
    return Response(None, 200, versions(schedule.body))


async def update_schedule(app: App, request: Request) -> Response:
    """PATCH: what is absent stays; a job that exists is not changed."""
    schedule = _open(app, request)
    body = json_body(await request.body())
    check_body(body, "BatchJobScheduleUpdateOptions")
    _apply(
        app,
        schedule,
        {name: body[name] for name in ("schedule", "jobSpecification", "metadata") if body.get(name)},
    )
    return empty(app.service, request, 200, schedule.body)


async def replace_schedule(app: App, request: Request) -> Response:
    """PUT: what is absent goes back to its default."""
    schedule = _open(app, request)
    body = json_body(await request.body())
    check_body(body, "BatchJobSchedule")
    if not body.get("jobSpecification"):
        raise BatchError("MissingRequiredProperty", PropertyName="jobSpecification")
    changes = {"schedule": body.get("schedule") or {}, "jobSpecification": body["jobSpecification"]}
    if not body.get("metadata"):
        schedule.body.pop("metadata", None)
    else:
        changes["metadata"] = body["metadata"]
    _apply(app, schedule, changes)
    return empty(app.service, request, 200, schedule.body)


def _apply(app: App, schedule: Schedule, changes: Body) -> None:
    if "jobSpecification" in changes:
        check_job(changes["jobSpecification"])
    if "schedule" in changes:
        _check_times(changes["schedule"])
    if "jobSpecification" in changes:
        changes["jobSpecification"] = _specification(changes["jobSpecification"])
    schedule.body |= changes
    app.service.touch(schedule.body)
    if "schedule" in changes and schedule.loop is not None and schedule.runs == 0:
        schedule.loop.cancel()
        schedule.loop = app.service.spawn(_keep(app, schedule))


async def disable_schedule(app: App, request: Request) -> Response:
    schedule = _open(app, request)
    if schedule.body["state"] == "disabled":
        raise BatchError("JobScheduleDisabled")
    app.service.move(schedule.body, "disabled")
    return empty(app.service, request, 204, schedule.body)


async def enable_schedule(app: App, request: Request) -> Response:
    schedule = _open(app, request)
    if schedule.body["state"] == "disabled":
        app.service.move(schedule.body, "active")
    return empty(app.service, request, 204, schedule.body)


async def terminate_schedule(app: App, request: Request) -> Response:
    schedule = _open(app, request)
    app.service.move(schedule.body, "terminating")
    app.service.spawn(_terminate(app, schedule))
    return empty(app.service, request, 202, schedule.body)


async def _terminate(app: App, schedule: Schedule) -> None:
    if schedule.loop is not None:
        schedule.loop.cancel()
    await app.service.clock.pause(AFTER_SECONDS)
    for job in [
        job for job in app.service.jobs_of(schedule) if job.state in LIVING and job.state != "terminating"
    ]:
        app.endings.terminate(job, "TerminateJobSchedule")
    await _last_job_done(app, schedule)
    _complete(app, schedule)


async def delete_schedule(app: App, request: Request) -> Response:
    schedule = _schedule(app, request)
    check_conditions(request, schedule.body)
    if schedule.body["state"] == "deleting":
        raise BatchError("JobScheduleBeingDeleted")
    app.service.move(schedule.body, "deleting")
    app.service.spawn(delete(app, schedule))
    return empty(app.service, request, 202)


async def delete(app: App, schedule: Schedule) -> None:
    if schedule.loop is not None:
        schedule.loop.cancel()
    await app.service.clock.pause(AFTER_SECONDS)
    for job in [job for job in app.service.jobs_of(schedule) if job.state != "deleting"]:
        app.endings.delete(job)
    while any(True for _ in app.service.jobs_of(schedule)):
        await asyncio.sleep(WATCH_SECONDS)
    _drop_pool(app, schedule)
    app.service.schedules.pop(schedule.key, None)
