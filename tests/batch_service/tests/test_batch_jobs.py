"""Jobs and job schedules of the local Batch service, through the Azure SDK."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.batch import BatchClient, models
from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)

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
from tests.batch_service.times import NO_LIMIT

pytest_plugins = ["tests.batch_service.fixtures"]
pytestmark = pytest.mark.service


# azure-batch 15.1 raises ValueError when the options are left out.
ENDED: Any = {"terminateReason": "UserTerminate"}


def state_of(batch: BatchClient, job: str) -> str:
    return str(batch.get_job(job, select=["state"]).as_dict()["state"])


# Life of a job


def test_a_new_job_has_the_services_defaults(batch: BatchClient, pool: str, job: str) -> None:
    found = batch.get_job(job)
    assert (found.id, found.state, found.priority) == (job, "active", 0)
    assert found.max_parallel_tasks == -1
    assert (found.all_tasks_complete_mode, found.task_failure_mode) == ("noaction", "noaction")
    assert found.uses_task_dependencies is False
    assert found.pool_info is not None
    assert found.pool_info.pool_id == pool
    assert found.constraints is not None
    assert found.constraints.max_task_retry_count == 0
    assert found.constraints.max_wall_clock_time is not None
    assert found.constraints.max_wall_clock_time > timedelta(days=10_000_000)
    assert found.execution_info is not None
    assert found.execution_info.pool_id == pool
    assert found.execution_info.start_time is not None


def test_job_ids_differ_by_more_than_case_and_keep_theirs(batch: BatchClient, pool: str) -> None:
    name = make_job(batch, pool, "MixedCase")
    with pytest.raises(ResourceExistsError) as error:
        batch.create_job(
            models.BatchJobCreateOptions(id=name.lower(), pool_info=models.BatchPoolInfo(pool_id=pool))
        )
    assert code_of(error) == "JobExists"
    assert batch.get_job(name.upper()).id == name


def test_a_patched_job_keeps_what_was_not_sent(batch: BatchClient, job: str) -> None:
    batch.update_job(job, models.BatchJobUpdateOptions(priority=7))
    metadata = [models.BatchMetadataItem(name="shot", value="12")]
    batch.update_job(job, models.BatchJobUpdateOptions(metadata=metadata))
    found = batch.get_job(job)
    assert (found.priority, found.metadata) == (7, metadata)


def test_a_replaced_job_loses_what_was_not_sent(batch: BatchClient, pool: str, job: str) -> None:
    batch.update_job(job, models.BatchJobUpdateOptions(priority=7))
    batch.replace_job(job, models.BatchJob(pool_info=models.BatchPoolInfo(pool_id=pool)))
    found = batch.get_job(job)
    assert found.priority == 0
    assert not found.metadata


def test_a_job_that_was_read_can_be_sent_back(batch: BatchClient, job: str) -> None:
    found = batch.get_job(job)
    found.priority = 500
    batch.replace_job(job, found)
    assert batch.get_job(job).priority == 500


def test_a_deleted_job_is_gone(batch: BatchClient, pool: str) -> None:
    name = make_job(batch, pool)
    add_task(batch, name, "sleep 60")
    batch.begin_delete_job(name, polling_interval=QUICK).wait()
    with pytest.raises(ResourceNotFoundError) as error:
        batch.get_job(name)
    assert code_of(error) == "JobNotFound"
    with pytest.raises(ResourceNotFoundError) as error:
        list(batch.list_tasks(name))
    assert code_of(error) == "JobNotFound"


def test_a_terminated_job_is_completed_with_its_reason(batch: BatchClient, job: str) -> None:
    running = add_task(batch, job, "sleep 60")
    until(lambda: batch.get_task(job, running).state == "running")
    reason: Any = {"terminateReason": "No more light"}
    batch.begin_terminate_job(job, reason, polling_interval=QUICK).wait()
    found = batch.get_job(job)
    assert found.state == "completed"
    assert found.execution_info is not None
    assert found.execution_info.termination_reason == "No more light"
    assert found.execution_info.end_time is not None
    task = batch.get_task(job, running)
    assert task.state == "completed"
    assert task.execution_info is not None
    assert task.execution_info.result == "failure"


def test_a_terminated_job_leaves_its_waiting_tasks_as_they_are(batch: BatchClient, pool: str) -> None:
    name = make_job(batch, pool, uses_task_dependencies=True)
    first = add_task(batch, name, "sleep 60")
    waiting = add_task(batch, name, depends_on=models.BatchTaskDependencies(task_ids=[first]))
    until(lambda: batch.get_task(name, first).state == "running")
    batch.begin_terminate_job(name, ENDED, polling_interval=QUICK).wait()
    assert state_of(batch, name) == "completed"
    assert batch.get_task(name, waiting).state == "active"
    assert batch.get_job(name).execution_info.termination_reason == "UserTerminate"  # type: ignore[union-attr]


def test_a_completed_job_takes_no_tasks(batch: BatchClient, job: str) -> None:
    batch.begin_terminate_job(job, ENDED, polling_interval=QUICK).wait()
    with pytest.raises(HttpResponseError) as error:
        add_task(batch, job)
    assert (error.value.status_code, code_of(error)) == (409, "JobCompleted")
    with pytest.raises(HttpResponseError) as error:
        batch.begin_terminate_job(job, ENDED)
    assert error.value.status_code == 409


def test_a_disabled_job_requeues_its_tasks_and_runs_them_when_enabled(
    service: BatchService, batch: BatchClient, job: str
) -> None:
    running = add_task(batch, job, f"test -e {service.root}/{job} || sleep 60")
    until(lambda: batch.get_task(job, running).state == "running")
    batch.begin_disable_job(
        job, models.BatchJobDisableOptions(disable_tasks="requeue"), polling_interval=QUICK
    ).wait()
    assert state_of(batch, job) == "disabled"
    task = batch.get_task(job, running)
    assert task.state == "active"
    assert task.execution_info is not None
    assert (task.execution_info.requeue_count, task.execution_info.retry_count) == (1, 0)
    (service.root / job).touch()
    batch.begin_enable_job(job, polling_interval=QUICK).wait()
    assert state_of(batch, job) == "active"
    assert finished(batch, job, running).execution_info.exit_code == 0  # type: ignore[union-attr]


def test_a_job_disabled_with_terminate_ends_its_running_tasks(batch: BatchClient, job: str) -> None:
    running = add_task(batch, job, "sleep 60")
    until(lambda: batch.get_task(job, running).state == "running")
    options = models.BatchJobDisableOptions(disable_tasks="terminate")
    batch.begin_disable_job(job, options, polling_interval=QUICK).wait()
    assert batch.get_task(job, running).state == "completed"


def test_a_job_disabled_with_wait_lets_its_running_tasks_end(batch: BatchClient, job: str) -> None:
    running = add_task(batch, job, "sleep 0.5")
    until(lambda: batch.get_task(job, running).state == "running")
    options = models.BatchJobDisableOptions(disable_tasks="wait")
    batch.begin_disable_job(job, options, polling_interval=QUICK).wait()
    found = finished(batch, job, running)
    assert found.execution_info is not None
    assert found.execution_info.result == "success"
    assert state_of(batch, job) == "disabled"


def test_a_disabled_job_starts_nothing(batch: BatchClient, pool: str, job: str) -> None:
    batch.begin_disable_job(
        job, models.BatchJobDisableOptions(disable_tasks="wait"), polling_interval=QUICK
    ).wait()
    task = add_task(batch, job)
    other = make_job(batch, pool)
    run(batch, other, "true")
    assert batch.get_task(job, task).state == "active"


def test_a_job_ends_by_itself_after_its_last_task(batch: BatchClient, job: str) -> None:
    run(batch, job, "true")
    run(batch, job, "exit 1")
    assert state_of(batch, job) == "active"
    batch.update_job(job, models.BatchJobUpdateOptions(all_tasks_complete_mode="terminatejob"))
    until(lambda: state_of(batch, job) == "completed")
    assert batch.get_job(job).execution_info.termination_reason == "AllTasksComplete"  # type: ignore[union-attr]


def test_an_empty_job_that_ends_after_its_tasks_ends_at_once(batch: BatchClient, pool: str) -> None:
    name = make_job(batch, pool, all_tasks_complete_mode="terminatejob")
    until(lambda: state_of(batch, name) == "completed")


def test_a_job_ends_at_its_wall_clock_limit(batch: BatchClient, job: str) -> None:
    running = add_task(batch, job, "sleep 60")
    until(lambda: batch.get_task(job, running).state == "running")
    limit = models.BatchJobConstraints(max_wall_clock_time=timedelta(seconds=0.2))
    batch.update_job(job, models.BatchJobUpdateOptions(constraints=limit))
    until(lambda: state_of(batch, job) == "completed")
    assert batch.get_job(job).execution_info.termination_reason == "MaxWallClockTimeExpiry"  # type: ignore[union-attr]


def test_jobs_of_higher_priority_go_first(batch: BatchClient, service: BatchService) -> None:
    name = unique("narrow")
    make_pool(batch, name, dedicated=1)
    low, high = make_job(batch, name, priority=-5), make_job(batch, name, priority=5)
    blocker = add_task(batch, low, f"until test -e {service.root}/{low}; do sleep 0.05; done")
    until(lambda: batch.get_task(low, blocker).state == "running")
    later, sooner = add_task(batch, low), add_task(batch, high)
    (service.root / low).touch()
    last, first = finished(batch, low, later), finished(batch, high, sooner)
    assert first.execution_info is not None
    assert last.execution_info is not None
    assert first.execution_info.start_time is not None
    assert last.execution_info.start_time is not None
    assert first.execution_info.start_time < last.execution_info.start_time


def test_a_job_waits_for_a_pool_that_does_not_exist_yet(batch: BatchClient) -> None:
    name = unique("comes")
    job = make_job(batch, name)
    task = add_task(batch, job)
    assert batch.get_task(job, task).state == "active"
    make_pool(batch, name, dedicated=1)
    finished(batch, job, task)


def test_a_task_that_fits_no_node_is_refused(batch: BatchClient, job: str) -> None:
    with pytest.raises(HttpResponseError) as refused:
        add_task(batch, job, required_slots=3)
    assert code_of(refused) == "InvalidPropertyValue"


def test_a_task_that_waits_for_more_slots_does_not_hold_up_other_jobs(batch: BatchClient, pool: str) -> None:
    wide, narrow = make_job(batch, pool), make_job(batch, pool)
    for _ in range(8):
        add_task(batch, wide, "sleep 0.1", required_slots=2)
    assert run(batch, narrow, "true").state == "completed"


def test_statistics_of_a_job_come_only_when_asked_for(batch: BatchClient, job: str) -> None:
    assert batch.get_job(job).job_statistics is None
    assert batch.get_job(job, expand=["stats"]).job_statistics is not None


# Conditions, refusals, lists


def test_conditions_on_a_job_are_kept(batch: BatchClient, job: str) -> None:
    etag = batch.get_job(job).etag
    batch.update_job(
        job, models.BatchJobUpdateOptions(priority=1), etag=etag, match_condition=MatchConditions.IfNotModified
    )
    with pytest.raises(ResourceModifiedError) as error:
        batch.begin_delete_job(job, etag=etag, match_condition=MatchConditions.IfNotModified)
    assert error.value.status_code == 412


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"id": "a/b"}, 400),
        ({"id": ""}, 400),
        ({"poolInfo": None}, 400),
        ({"poolInfo": {}}, 400),
        ({"priority": 1001}, 400),
        ({"priority": "high"}, 400),
        ({"onAllTasksComplete": "celebrate"}, 400),
        ({"constraints": {"maxWallClockTime": "one hour"}}, 400),
        ({"jobColour": "red"}, 400),
    ],
)
def test_a_bad_job_is_refused(service: BatchService, pool: str, change: dict[str, object], status: int) -> None:
    body = {"id": unique("bad"), "poolInfo": {"poolId": pool}, **change}
    kept = {name: value for name, value in body.items() if value is not None}
    assert service.call("POST", "/jobs?api-version=2025-06-01", kept).status == status


def test_jobs_are_listed_filtered_selected_and_paged(batch: BatchClient, pool: str) -> None:
    names = [make_job(batch, pool, "paged") for _ in range(5)]
    batch.begin_terminate_job(names[0], ENDED, polling_interval=QUICK).wait()
    pages = list(
        batch.list_jobs(
            filter="startswith(id,'paged-') and state eq 'active'", select=["id", "state"], max_results=3
        ).by_page()
    )
    found = [[job.as_dict() for job in page] for page in pages]
    assert [len(page) for page in found] == [3, 1]
    assert sorted(str(job["id"]) for page in found for job in page) == sorted(names[1:])
    assert all(set(job) == {"id", "state"} for page in found for job in page)


@pytest.mark.parametrize(
    "query",
    ["$filter=state%20eq", "$filter=nonsense", "maxresults=0", "maxresults=1001", "maxresults=x"],
)
def test_a_bad_query_is_refused(service: BatchService, query: str) -> None:
    answer = service.call("GET", f"/jobs?api-version=2025-06-01&{query}")
    assert answer.status == 400
    assert b"QueryParameter" in (answer.body or b"")


def test_a_job_counts_its_tasks_and_their_slots(batch: BatchClient, job: str) -> None:
    run(batch, job, "true", required_slots=2)
    run(batch, job, "exit 3")
    until(lambda: batch.get_job_task_counts(job).task_counts.completed == 2)
    counts = batch.get_job_task_counts(job)
    tasks, slots = counts.task_counts, counts.task_slot_counts
    assert (tasks.active, tasks.running, tasks.completed, tasks.succeeded, tasks.failed) == (0, 0, 2, 1, 1)
    assert (slots.completed, slots.succeeded, slots.failed) == (3, 2, 1)


# Preparation, release, auto pools, failures that act on the job


def test_a_job_preparation_runs_once_on_each_node_before_its_tasks(batch: BatchClient, pool: str) -> None:
    preparation = models.BatchJobPreparationTask(command_line=shell("echo ready >> prepared"), id="prep")
    release = models.BatchJobReleaseTask(command_line=shell("echo bye"), id="rel")
    name = make_job(batch, pool, job_preparation_task=preparation, job_release_task=release)
    tasks = [run(batch, name, "cat $AZ_BATCH_JOB_PREP_WORKING_DIR/prepared") for _ in range(3)]
    assert [text_of(batch, name, task.id or "") for task in tasks] == ["ready\n"] * 3
    statuses = list(batch.list_job_preparation_and_release_task_status(name))
    assert {status.node_id for status in statuses} >= {
        task.node_info.node_id for task in tasks if task.node_info
    }
    info = statuses[0].job_preparation_task_execution_info
    assert info is not None
    assert (info.state, info.exit_code, info.result) == ("completed", 0, "success")
    batch.begin_terminate_job(name, ENDED, polling_interval=QUICK).wait()
    released = list(batch.list_job_preparation_and_release_task_status(name))
    assert all(status.job_release_task_execution_info is not None for status in released)


def test_a_failed_preparation_keeps_the_tasks_waiting(batch: BatchClient, pool: str) -> None:
    preparation = models.BatchJobPreparationTask(command_line=shell("exit 5"), wait_for_success=True)
    name = make_job(batch, pool, job_preparation_task=preparation)
    task = add_task(batch, name)

    def failures() -> list[int | None]:
        found = batch.list_job_preparation_and_release_task_status(name)
        infos = [status.job_preparation_task_execution_info for status in found]
        return [info.exit_code for info in infos if info is not None and info.result == "failure"]

    until(failures)
    assert set(failures()) == {5}
    until(lambda: batch.get_task(name, task).state == "active")


def test_an_auto_pool_lives_as_long_as_its_job(batch: BatchClient) -> None:
    specification = models.BatchPoolSpecification(
        vm_size=VM_SIZE, virtual_machine_configuration=MACHINE, target_dedicated_nodes=1
    )
    auto = models.BatchAutoPoolSpecification(
        auto_pool_id_prefix="auto", pool_lifetime_option="job", keep_alive=False, pool=specification
    )
    name = unique("withpool")
    pool_info = models.BatchPoolInfo(auto_pool_specification=auto)
    batch.create_job(models.BatchJobCreateOptions(id=name, pool_info=pool_info))
    run(batch, name, "true")
    info = batch.get_job(name).execution_info
    assert info is not None
    assert info.pool_id is not None
    assert info.pool_id.startswith("auto")
    assert states(batch, info.pool_id) == ["idle"]
    batch.begin_terminate_job(name, ENDED, polling_interval=QUICK).wait()
    until(lambda: info.pool_id not in [pool.id for pool in batch.list_pools()])


def test_an_exit_condition_ends_the_job(batch: BatchClient, pool: str) -> None:
    name = make_job(batch, pool, task_failure_mode="performexitoptionsjobaction")
    conditions = models.ExitConditions(
        exit_codes=[models.ExitCodeMapping(code=9, exit_options=models.ExitOptions(job_action="terminate"))],
        default=models.ExitOptions(job_action="none"),
    )
    run(batch, name, "exit 1", exit_conditions=conditions)
    assert state_of(batch, name) == "active"
    run(batch, name, "exit 9", exit_conditions=conditions)
    until(lambda: state_of(batch, name) == "completed")
    assert batch.get_job(name).execution_info.termination_reason == "TaskFailed"  # type: ignore[union-attr]


def test_a_job_that_acts_on_failures_ends_with_the_first_one_by_default(batch: BatchClient, pool: str) -> None:
    name = make_job(batch, pool, task_failure_mode="performexitoptionsjobaction")
    run(batch, name, "exit 1", exit_conditions=models.ExitConditions())
    until(lambda: state_of(batch, name) == "completed")


def test_an_exit_condition_disables_the_job(batch: BatchClient, pool: str) -> None:
    name = make_job(batch, pool, task_failure_mode="performexitoptionsjobaction")
    conditions = models.ExitConditions(
        exit_code_ranges=[
            models.ExitCodeRangeMapping(start=10, end=20, exit_options=models.ExitOptions(job_action="disable"))
        ]
    )
    run(batch, name, "exit 15", exit_conditions=conditions)
    until(lambda: state_of(batch, name) == "disabled")


def test_a_job_manager_that_ends_ends_its_job(batch: BatchClient, pool: str) -> None:
    manager = models.BatchJobManagerTask(
        id="manager", command_line=shell("echo managing"), kill_job_on_completion=True
    )
    name = make_job(batch, pool, job_manager_task=manager)
    until(lambda: state_of(batch, name) == "completed")
    assert batch.get_job(name).execution_info.termination_reason == "JMComplete"  # type: ignore[union-attr]


# Job schedules


def specification(pool: str) -> models.BatchJobSpecification:
    manager = models.BatchJobManagerTask(id="manager", command_line=shell("true"), kill_job_on_completion=True)
    return models.BatchJobSpecification(pool_info=models.BatchPoolInfo(pool_id=pool), job_manager_task=manager)


def make_schedule(batch: BatchClient, pool: str, **when: Any) -> str:
    name = unique("schedule")
    schedule = models.BatchJobScheduleConfiguration(**when)
    batch.create_job_schedule(
        models.BatchJobScheduleCreateOptions(id=name, schedule=schedule, job_specification=specification(pool))
    )
    return name


def test_a_schedule_without_recurrence_makes_one_job(batch: BatchClient, pool: str) -> None:
    name = make_schedule(batch, pool)
    jobs = until(lambda: list(batch.list_jobs_from_schedule(name)))
    assert [job.id for job in jobs] == [f"{name}:job-1"]
    until(lambda: state_of(batch, f"{name}:job-1") == "completed")
    found = until(
        lambda: batch.get_job_schedule(name) if batch.get_job_schedule(name).state == "completed" else None
    )
    assert found is not None
    assert found.execution_info is not None
    assert found.execution_info.recent_job is not None
    assert found.execution_info.recent_job.id == f"{name}:job-1"


def test_a_schedule_that_recurs_has_its_first_job_and_defaults_at_once(
    service: BatchService, batch: BatchClient
) -> None:
    """Durations come back as the service writes them, as the live service does."""
    name = unique("daily")
    body = {
        "id": name,
        "schedule": {"startWindow": "PT01H00M00S", "recurrenceInterval": "P1DT00H00M00S"},
        "jobSpecification": {
            "poolInfo": {"poolId": "no-such-pool"},
            "constraints": {"maxTaskRetryCount": 2},
            "onAllTasksComplete": "terminatejob",
        },
    }
    assert service.call("POST", f"/jobschedules?{API}", body).status == 201
    found = json.loads(service.call("GET", f"/jobschedules/{name}?{API}").body or b"")
    assert found["schedule"] == {"startWindow": "PT1H", "recurrenceInterval": "P1D"}
    specification = found["jobSpecification"]
    assert (specification["priority"], specification["maxParallelTasks"]) == (0, -1)
    assert specification["constraints"] == {"maxWallClockTime": NO_LIMIT, "maxTaskRetryCount": 2}
    assert found["executionInfo"]["recentJob"]["id"] == f"{name}:job-1"
    assert found["executionInfo"]["nextRunTime"]
    assert [job.id for job in batch.list_jobs_from_schedule(name)] == [f"{name}:job-1"]


def test_an_automatic_pool_needs_no_nodes(batch: BatchClient) -> None:
    pool = models.BatchPoolSpecification(vm_size=VM_SIZE, virtual_machine_configuration=MACHINE)
    auto = models.BatchAutoPoolSpecification(pool_lifetime_option="job", pool=pool)
    name = unique("nodeless")
    preparation = models.BatchJobPreparationTask(command_line=shell("echo hello"))
    release = models.BatchJobReleaseTask(command_line=shell("echo goodbye"))
    pool_info = models.BatchPoolInfo(auto_pool_specification=auto)
    batch.create_job(
        models.BatchJobCreateOptions(
            id=name, pool_info=pool_info, job_preparation_task=preparation, job_release_task=release
        )
    )
    constraints = models.BatchJobConstraints(max_task_retry_count=3)
    batch.replace_job(name, models.BatchJob(priority=500, constraints=constraints, pool_info=pool_info))
    batch.update_job(name, models.BatchJobUpdateOptions(priority=900))
    found = batch.get_job(name)
    assert found.constraints is not None
    assert (found.priority, found.constraints.max_task_retry_count) == (900, 3)
    assert found.pool_info is not None
    defaults = found.pool_info.auto_pool_specification
    assert defaults is not None
    assert defaults.pool is not None
    assert (defaults.keep_alive, defaults.pool.target_dedicated_nodes) == (False, 0)
    assert list(batch.list_job_preparation_and_release_task_status(name)) == []
    batch.begin_terminate_job(name, ENDED, polling_interval=QUICK).wait()


def test_a_schedule_for_later_waits(batch: BatchClient, pool: str) -> None:
    start = datetime.now(UTC) + timedelta(days=1)
    name = make_schedule(batch, pool, do_not_run_until=start, recurrence_interval=timedelta(hours=1))
    found = batch.get_job_schedule(name)
    assert found.state == "active"
    assert found.execution_info is not None
    assert found.execution_info.next_run_time is not None
    assert abs(found.execution_info.next_run_time - start) < timedelta(minutes=1)
    assert list(batch.list_jobs_from_schedule(name)) == []


def test_a_schedule_goes_through_its_states(service: BatchService, batch: BatchClient, pool: str) -> None:
    name = make_schedule(batch, pool, do_not_run_until=datetime.now(UTC) + timedelta(days=1))
    assert batch.job_schedule_exists(name)
    batch.disable_job_schedule(name)
    assert batch.get_job_schedule(name).state == "disabled"
    batch.enable_job_schedule(name)
    assert batch.get_job_schedule(name).state == "active"
    metadata = [models.BatchMetadataItem(name="a", value="b")]
    batch.update_job_schedule(name, models.BatchJobScheduleUpdateOptions(metadata=metadata))
    assert batch.get_job_schedule(name).metadata == metadata
    found = batch.get_job_schedule(name)
    found.metadata = None
    batch.replace_job_schedule(name, found)
    assert not batch.get_job_schedule(name).metadata
    assert name in [schedule.id for schedule in batch.list_job_schedules(filter=f"id eq '{name}'")]
    batch.begin_terminate_job_schedule(name, polling_interval=QUICK).wait()
    assert batch.get_job_schedule(name).state == "completed"
    batch.begin_delete_job_schedule(name, polling_interval=QUICK).wait()
    assert service.call("HEAD", f"/jobschedules/{name}?api-version=2025-06-01").status == 404
    with pytest.raises(ResourceNotFoundError) as error:
        batch.get_job_schedule(name)
    assert code_of(error) == "JobScheduleNotFound"


def test_two_schedules_do_not_share_an_id(batch: BatchClient, pool: str) -> None:
    name = make_schedule(batch, pool, do_not_run_until=datetime.now(UTC) + timedelta(days=1))
    options = models.BatchJobScheduleCreateOptions(
        id=name.upper(), schedule=models.BatchJobScheduleConfiguration(), job_specification=specification(pool)
    )
    with pytest.raises(ResourceExistsError) as error:
        batch.create_job_schedule(options)
    assert code_of(error) == "JobScheduleExists"
