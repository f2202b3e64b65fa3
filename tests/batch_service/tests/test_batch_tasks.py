"""Tasks of the local Batch service, through the Azure SDK: they are real processes on this machine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from azure.batch import BatchClient, models
from azure.batch.aio import BatchClient as AsyncBatchClient
from azure.batch.models import CreateTasksError
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.pipeline.transport import AsyncioRequestsTransport

from tests.batch_service.client import (
    ACCOUNT,
    API,
    KEY,
    QUICK,
    BatchService,
    Judge,
    add_task,
    code_of,
    finished,
    make_job,
    make_pool,
    run,
    shell,
    text_of,
    unique,
    until,
)

pytest_plugins = ["tests.batch_service.fixtures"]
pytestmark = pytest.mark.service


def info_of(task: models.BatchTask) -> models.BatchTaskExecutionInfo:
    assert task.execution_info is not None
    return task.execution_info


# What a task is and how it ends


def test_a_task_that_exits_with_zero_has_succeeded(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "echo hello; echo trouble >&2")
    info = info_of(task)
    assert (task.state, task.previous_state, info.exit_code, info.result) == (
        "completed",
        "running",
        0,
        "success",
    )
    assert info.failure_info is None
    assert (info.retry_count, info.requeue_count) == (0, 0)
    assert info.start_time is not None
    assert info.end_time is not None
    assert info.start_time <= info.end_time
    assert text_of(batch, job, task.id or "") == "hello\n"
    assert text_of(batch, job, task.id or "", "stderr.txt") == "trouble\n"


def test_a_task_that_exits_otherwise_has_failed_with_a_reason(batch: BatchClient, job: str) -> None:
    info = info_of(run(batch, job, "exit 37"))
    assert (info.exit_code, info.result) == (37, "failure")
    assert info.failure_info is not None
    assert (info.failure_info.category, info.failure_info.code) == ("usererror", "FailureExitCode")
    assert info.failure_info.message


def test_a_task_keeps_what_it_was_made_with_but_no_password(batch: BatchClient, linked: str) -> None:
    """It waits for another, so that it is not run: this machine has no such user and no containers."""
    mapping = models.ExitCodeMapping(code=1, exit_options=models.ExitOptions(dependency_action="satisfy"))
    registry = models.ContainerRegistryReference(username="username", password="the registry's own")
    name = add_task(
        batch,
        linked,
        depends_on=models.BatchTaskDependencies(task_ids=["never"]),
        display_name="one",
        exit_conditions=models.ExitConditions(exit_codes=[mapping]),
        container_settings=models.BatchTaskContainerSettings(image_name="blender:latest", registry=registry),
        user_identity=models.UserIdentity(username="task-user"),
    )
    found = batch.get_task(linked, name)
    assert found.exit_conditions == models.ExitConditions(exit_codes=[mapping])
    assert found.container_settings is not None
    assert found.container_settings.image_name == "blender:latest"
    assert found.container_settings.registry is not None
    assert found.container_settings.registry.username == "username"
    assert found.user_identity is not None
    assert found.user_identity.username == "task-user"
    assert "the registry's own" not in str(found.as_dict())


def test_a_waiting_task_can_be_ended_and_wait_again(batch: BatchClient, linked: str) -> None:
    name = add_task(batch, linked, depends_on=models.BatchTaskDependencies(task_ids=["never"]))
    batch.terminate_task(linked, name)
    assert batch.get_task(linked, name).state == "completed"
    batch.reactivate_task(linked, name)
    assert batch.get_task(linked, name).state == "active"


def test_a_new_task_has_the_services_defaults(batch: BatchClient, job: str) -> None:
    name = add_task(batch, job)
    task = batch.get_task(job, name)
    assert task.constraints is not None
    assert task.constraints.retention_time == timedelta(days=7)
    assert task.constraints.max_task_retry_count == 0
    assert task.constraints.max_wall_clock_time is not None
    assert task.constraints.max_wall_clock_time > timedelta(days=10_000_000)
    assert task.required_slots == 1
    assert task.user_identity is not None
    assert task.user_identity.auto_user is not None
    assert (task.user_identity.auto_user.scope, task.user_identity.auto_user.elevation_level) == (
        "pool",
        "nonadmin",
    )
    assert (task.url or "").endswith(f"/jobs/{job}/tasks/{name}")


def test_a_command_line_is_not_a_shells(batch: BatchClient, job: str) -> None:
    name = unique("plain")
    batch.create_task(job, models.BatchTaskCreateOptions(id=name, command_line="/bin/echo $HOME && ls > out"))
    finished(batch, job, name)
    assert text_of(batch, job, name) == "$HOME && ls > out\n"


def test_a_missing_program_is_told_without_an_exit_code(batch: BatchClient, job: str) -> None:
    name = unique("missing")
    batch.create_task(job, models.BatchTaskCreateOptions(id=name, command_line="no-such-program --now"))
    info = info_of(finished(batch, job, name))
    assert (info.exit_code, info.result) == (None, "failure")
    assert info.failure_info is not None
    assert info.failure_info.code in ("CommandProgramNotFound", "CommandLaunchFailed")


def test_a_task_has_a_clean_environment_and_a_folder_of_its_own(batch: BatchClient, pool: str) -> None:
    common = [
        models.EnvironmentSetting(name="BOTH", value="job"),
        models.EnvironmentSetting(name="JOB", value="1"),
    ]
    job = make_job(batch, pool, common_environment_settings=common)
    settings = [
        models.EnvironmentSetting(name="BOTH", value="task's own"),
        models.EnvironmentSetting(name="AZ_BATCH_POOL_ID", value="a lie"),
    ]
    task = run(batch, job, "env; pwd", environment_settings=settings)
    lines = text_of(batch, job, task.id or "").splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert (seen["BOTH"], seen["JOB"]) == ("task's own", "1")
    assert (seen["AZ_BATCH_JOB_ID"], seen["AZ_BATCH_TASK_ID"], seen["AZ_BATCH_POOL_ID"]) == (job, task.id, pool)
    assert seen["AZ_BATCH_ACCOUNT_NAME"] == ACCOUNT
    assert seen["AZ_BATCH_TASK_WORKING_DIR"] == seen["AZ_BATCH_TASK_DIR"] + "/wd" == lines[-1] == seen["HOME"]
    assert seen["AZ_BATCH_NODE_IS_DEDICATED"] in ("true", "false")
    assert seen["AZ_BATCH_TASK_DIR"].startswith(seen["AZ_BATCH_NODE_ROOT_DIR"])
    assert "RENDERFARM_SECRET_OF_THE_DEVELOPER" not in seen


def test_a_failing_task_is_tried_again_as_often_as_allowed(batch: BatchClient, job: str) -> None:
    script = "echo try >> $AZ_BATCH_NODE_SHARED_DIR/$AZ_BATCH_TASK_ID; exit 1"
    task = run(batch, job, script, constraints=models.BatchTaskConstraints(max_task_retry_count=2))
    info = info_of(task)
    assert (info.retry_count, info.exit_code, info.result) == (2, 1, "failure")
    assert info.last_retry_time is not None
    assert task.node_info is not None
    tries = batch.download_node_file(
        task.node_info.pool_id or "", task.node_info.node_id or "", f"shared/{task.id}"
    )
    assert b"".join(tries) == b"try\n" * 3


def test_a_task_that_succeeds_at_the_second_try_has_succeeded(batch: BatchClient, job: str) -> None:
    script = "mark=$AZ_BATCH_NODE_SHARED_DIR/$AZ_BATCH_TASK_ID; test -e $mark || { touch $mark; exit 1; }"
    info = info_of(run(batch, job, script, constraints=models.BatchTaskConstraints(max_task_retry_count=3)))
    assert (info.retry_count, info.exit_code, info.result) == (1, 0, "success")


def test_the_jobs_retry_count_is_the_tasks_default(batch: BatchClient, pool: str) -> None:
    job = make_job(batch, pool, constraints=models.BatchJobConstraints(max_task_retry_count=1))
    task = run(batch, job, "exit 1")
    assert info_of(task).retry_count == 1
    own = run(batch, job, "exit 1", constraints=models.BatchTaskConstraints(max_task_retry_count=0))
    assert info_of(own).retry_count == 0


def test_a_task_that_runs_too_long_is_ended(batch: BatchClient, job: str) -> None:
    script = "sleep 60 & echo $! > child; wait"
    limit = models.BatchTaskConstraints(max_wall_clock_time=timedelta(seconds=2))
    task = run(batch, job, script, constraints=limit)
    info = info_of(task)
    assert info.result == "failure"
    assert info.failure_info is not None
    child = int(text_of(batch, job, task.id or "", "wd/child"))
    until(lambda: not is_running(child))


def is_running(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as opened:  # noqa: PTH123
            return opened.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_terminated_task_is_completed_and_its_processes_gone(batch: BatchClient, job: str) -> None:
    name = add_task(batch, job, "sleep 60 & echo $! > child; wait")
    until(lambda: batch.get_task(job, name).state == "running")
    child = until(lambda: text_or_nothing(batch, job, name, "wd/child"))
    batch.terminate_task(job, name)
    task = finished(batch, job, name)
    assert info_of(task).result == "failure"
    assert info_of(task).failure_info.code == "TaskEnded"  # type: ignore[union-attr]
    until(lambda: not is_running(int(child)))
    with pytest.raises(HttpResponseError) as error:
        batch.terminate_task(job, name)
    assert (error.value.status_code, code_of(error)) == (409, "TaskCompleted")


def text_or_nothing(batch: BatchClient, job: str, task: str, path: str) -> str:
    try:
        return text_of(batch, job, task, path)
    except HttpResponseError:
        return ""


def test_a_failed_task_runs_again_when_reactivated(service: BatchService, batch: BatchClient, job: str) -> None:
    script = "test -e $AZ_BATCH_NODE_SHARED_DIR/go"
    task = run(batch, job, script, constraints=models.BatchTaskConstraints(max_task_retry_count=1))
    assert info_of(task).retry_count == 1
    for folder in service.root.rglob("shared"):
        (folder / "go").touch()
    try:
        batch.reactivate_task(job, task.id or "")
        again = finished(batch, job, task.id or "")
    finally:
        for folder in service.root.rglob("shared"):
            (folder / "go").unlink(missing_ok=True)
    assert (info_of(again).result, info_of(again).retry_count) == ("success", 0)


def test_a_succeeded_or_unfinished_task_is_not_reactivated(batch: BatchClient, job: str) -> None:
    done = run(batch, job, "true")
    with pytest.raises(HttpResponseError) as error:
        batch.reactivate_task(job, done.id or "")
    assert (error.value.status_code, code_of(error)) == (409, "TaskSucceeded")
    busy = add_task(batch, job, "sleep 60")
    with pytest.raises(HttpResponseError) as error:
        batch.reactivate_task(job, busy)
    assert (error.value.status_code, code_of(error)) == (409, "TaskNotCompleted")


def test_a_deleted_task_is_gone_with_its_processes(batch: BatchClient, job: str) -> None:
    name = add_task(batch, job, "echo $$ > own; sleep 60")
    process = until(lambda: text_or_nothing(batch, job, name, "wd/own"))
    batch.delete_task(job, name)
    with pytest.raises(ResourceNotFoundError) as error:
        batch.get_task(job, name)
    assert code_of(error) == "TaskNotFound"
    until(lambda: not is_running(int(process)))
    add_task(batch, job, "true", name)
    finished(batch, job, name)


def test_the_constraints_of_a_waiting_task_can_be_replaced(batch: BatchClient, linked: str) -> None:
    first = add_task(batch, linked, "sleep 60")
    name = add_task(batch, linked, depends_on=models.BatchTaskDependencies(task_ids=[first]))
    task = batch.get_task(linked, name)
    task.constraints = models.BatchTaskConstraints(max_task_retry_count=4)
    batch.replace_task(linked, name, task)
    found = batch.get_task(linked, name).constraints
    assert found is not None
    assert (found.max_task_retry_count, found.retention_time) == (4, timedelta(days=7))


def test_subtasks_of_an_ordinary_task_are_none(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "true")
    assert list(batch.list_subtasks(job, task.id or "")) == []


# Adding


def test_task_ids_differ_by_more_than_case(batch: BatchClient, job: str) -> None:
    add_task(batch, job, name="Frame-A")
    with pytest.raises(ResourceExistsError) as error:
        add_task(batch, job, name="frame-a")
    assert code_of(error) == "TaskExists"
    assert batch.get_task(job, "FRAME-A").id == "Frame-A"


def test_a_task_for_a_missing_job_is_refused(batch: BatchClient) -> None:
    with pytest.raises(ResourceNotFoundError) as error:
        add_task(batch, unique("nothing"))
    assert code_of(error) == "JobNotFound"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "no/slash"},
        {"commandLine": None},
        {"commandLine": ""},
        {"requiredSlots": 0},
        {"constraints": {"maxTaskRetryCount": -2}},
        {"constraints": {"maxWallClockTime": "5 minutes"}},
        {"resourceFiles": [{"filePath": "x"}]},
        {"resourceFiles": [{"httpUrl": "http://h/x", "storageContainerUrl": "http://h/c", "filePath": "x"}]},
        {"resourceFiles": [{"httpUrl": "http://h/x"}]},
        {"dependsOn": {"taskIds": ["1"]}},
        {"userIdentity": {"autoUser": {"scope": "galaxy"}}},
        {"commandline": "true"},
        {"exitConditions": {"default": {"jobAction": "terminate"}}},
    ],
)
def test_a_bad_task_is_refused(service: BatchService, job: str, change: dict[str, object]) -> None:
    body = {"id": unique("bad"), "commandLine": "true", **change}
    kept = {name: value for name, value in body.items() if value is not None}
    assert service.call("POST", f"/jobs/{job}/tasks?{API}", kept).status == 400


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"text"', b'{"id": "a", "commandLine": "true",}', b"\xff\xfe"]
)
def test_a_body_that_is_no_object_is_refused(service: BatchService, job: str, raw: bytes) -> None:
    answer = service.call("POST", f"/jobs/{job}/tasks?{API}", raw)
    assert answer.status == 400


def test_a_collection_tells_of_each_task_what_became_of_it(batch: BatchClient, job: str) -> None:
    add_task(batch, job, name="there")
    tasks = [
        models.BatchTaskCreateOptions(id=name, command_line=shell("true"))
        for name in ("a", "there", "b c", "d")
    ]
    found = batch.create_task_collection(job, models.BatchTaskGroup(task_values=tasks)).result_values or []
    assert [(result.task_id, str(result.status).lower().rpartition(".")[2]) for result in found] == [
        ("a", "success"),
        ("there", "client_error"),
        ("b c", "client_error"),
        ("d", "success"),
    ]
    assert found[1].error is not None
    assert found[1].error.code == "TaskExists"
    assert (found[0].location or "").endswith(f"/jobs/{job}/tasks/a")
    assert found[0].etag == batch.get_task(job, "a").etag
    assert found[1].location is None


def test_many_tasks_are_added_in_chunks_and_each_runs_once(batch: BatchClient, job: str) -> None:
    tasks = [models.BatchTaskCreateOptions(id=str(number), command_line="/bin/true") for number in range(250)]
    result = batch.create_tasks(job, tasks, max_concurrency=4)
    assert len(result.result_values or []) == 250
    until(lambda: batch.get_job_task_counts(job).task_counts.succeeded == 250)
    found = list(batch.list_tasks(job, select=["id", "state"]))
    assert sorted(int(task.id or -1) for task in found) == list(range(250))


def test_a_collection_that_is_too_large_is_refused_and_split_by_the_sdk(
    service: BatchService, batch: BatchClient, job: str
) -> None:
    long = "/bin/echo " + "x" * 30_000
    tasks = [{"id": f"direct-{number}", "commandLine": long} for number in range(40)]
    answer = service.call("POST", f"/jobs/{job}/addtaskcollection?{API}", {"value": tasks})
    assert answer.status == 413
    assert b"RequestBodyTooLarge" in (answer.body or b"")
    batch.create_tasks(
        job, [models.BatchTaskCreateOptions(id=f"split-{number}", command_line=long) for number in range(40)]
    )
    assert (
        len([task for task in batch.list_tasks(job, select=["id"]) if (task.id or "").startswith("split-")])
        == 40
    )


def test_one_task_that_is_too_large_fails_the_sdks_bulk_add(batch: BatchClient, job: str) -> None:
    huge = models.BatchTaskCreateOptions(id="huge", command_line="/bin/echo " + "x" * 1_100_000)
    small = models.BatchTaskCreateOptions(id="small", command_line="/bin/true")
    with pytest.raises(CreateTasksError) as error:
        batch.create_tasks(job, [huge, small])
    assert [str(failed.error.code) for failed in error.value.errors] == ["RequestBodyTooLarge"]
    assert "huge" not in [task.id for task in batch.list_tasks(job)]


def test_more_than_a_hundred_tasks_at_once_are_refused(service: BatchService, job: str) -> None:
    tasks = [{"id": str(number), "commandLine": "true"} for number in range(101)]
    answer = service.call("POST", f"/jobs/{job}/addtaskcollection?{API}", {"value": tasks})
    assert answer.status in (400, 413)


# Lists


def test_tasks_are_listed_in_pages_without_loss(batch: BatchClient, job: str) -> None:
    tasks = [models.BatchTaskCreateOptions(id=f"t{number}", command_line="/bin/true") for number in range(25)]
    batch.create_tasks(job, tasks)
    pages = [
        [task.id for task in page] for page in batch.list_tasks(job, max_results=10, select=["id"]).by_page()
    ]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert sorted(name or "" for page in pages for name in page) == sorted(f"t{number}" for number in range(25))


def test_tasks_are_filtered_by_state_result_and_exit_code(batch: BatchClient, job: str) -> None:
    good, bad = run(batch, job, "true"), run(batch, job, "exit 2")

    def found(expression: str) -> list[Any]:
        return sorted(task.id or "" for task in batch.list_tasks(job, filter=expression))

    assert found("state eq 'completed'") == sorted([good.id or "", bad.id or ""])
    assert found("executionInfo/result eq 'Failure'") == [bad.id]
    assert found("state eq 'completed' and executionInfo/exitCode ne 0") == [bad.id]
    assert found("executionInfo/exitCode eq 0 or state eq 'running'") == [good.id]
    assert found(f"id eq '{good.id}'") == [good.id]
    assert found("not (executionInfo/exitCode eq 0)") == [bad.id]


def test_only_tasks_that_changed_since_are_listed(batch: BatchClient, job: str) -> None:
    first = run(batch, job, "true")
    moment = first.state_transition_time
    assert moment is not None
    stamp = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
    second = run(batch, job, "true")
    assert second.id in [
        task.id for task in batch.list_tasks(job, filter=f"stateTransitionTime gt datetime'{stamp}'")
    ]
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert list(batch.list_tasks(job, filter=f"stateTransitionTime ge {since}")) == []


def test_selected_properties_of_tasks_are_all_that_comes(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "true")
    (found,) = batch.list_tasks(job, select=["id", "executionInfo"])
    assert set(found.as_dict()) == {"id", "executionInfo"}
    one = batch.get_task(job, task.id or "", select=["id", "state"])
    assert set(one.as_dict()) - {"odata.metadata"} == {"id", "state"}


def test_conditions_on_a_task_are_kept(batch: BatchClient, job: str) -> None:
    name = add_task(batch, job, "sleep 60")
    until(lambda: batch.get_task(job, name).state == "running")
    with pytest.raises(HttpResponseError) as error:
        batch.delete_task(job, name, etag="0x8DD", match_condition=MatchConditions.IfNotModified)
    assert (error.value.status_code, code_of(error)) == (412, "ConditionNotMet")
    etag = batch.get_task(job, name).etag
    batch.terminate_task(job, name, etag=etag, match_condition=MatchConditions.IfNotModified)
    assert finished(batch, job, name).state == "completed"


def test_a_task_that_runs_is_not_modified(batch: BatchClient, job: str) -> None:
    name = add_task(batch, job)
    before = batch.get_task(job, name)
    after = finished(batch, job, name)
    assert (after.etag, after.last_modified) == (before.etag, before.last_modified)
    assert after.state_transition_time is not None
    assert after.last_modified is not None
    assert after.state_transition_time > after.last_modified


def test_a_quoted_and_a_bare_etag_are_one(service: BatchService, batch: BatchClient, job: str) -> None:
    task = run(batch, job, "true")
    for spelling in (task.etag, f'"{task.etag}"'):
        path = f"/jobs/{job}/tasks/{task.id}?{API}"
        assert service.call("GET", path, headers={"If-None-Match": str(spelling)}).status == 304


def test_statistics_are_expanded_only_when_asked_for(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "true")
    assert batch.get_task(job, task.id or "").task_statistics is None
    assert batch.get_task(job, task.id or "", expand=["stats"]).task_statistics is not None


# Dependencies


def test_a_task_waits_for_the_tasks_it_depends_on(batch: BatchClient, linked: str) -> None:
    first = add_task(batch, linked, "sleep 0.3; date +%s%N")
    second = add_task(batch, linked, "date +%s%N", depends_on=models.BatchTaskDependencies(task_ids=[first]))
    finished(batch, linked, second)
    assert int(text_of(batch, linked, first)) < int(text_of(batch, linked, second))


def test_a_failed_task_keeps_those_that_depend_on_it_waiting(batch: BatchClient, linked: str) -> None:
    first = add_task(batch, linked, "exit 1")
    second = add_task(batch, linked, depends_on=models.BatchTaskDependencies(task_ids=[first]))
    finished(batch, linked, first)
    run(batch, linked, "true")
    assert batch.get_task(linked, second).state == "active"


def test_an_exit_condition_satisfies_those_that_depend(batch: BatchClient, linked: str) -> None:
    satisfy = models.ExitOptions(dependency_action="satisfy")
    conditions = models.ExitConditions(exit_codes=[models.ExitCodeMapping(code=3, exit_options=satisfy)])
    first = add_task(batch, linked, "exit 3", exit_conditions=conditions)
    second = add_task(batch, linked, depends_on=models.BatchTaskDependencies(task_ids=[first]))
    assert info_of(finished(batch, linked, second)).exit_code == 0


def test_a_range_matches_whole_numbers_whatever_their_zeros(batch: BatchClient, linked: str) -> None:
    span = models.BatchTaskDependencies(task_id_ranges=[models.BatchTaskIdRange(start=1, end=3)])
    last = add_task(batch, linked, "echo last", name="last", depends_on=span)
    add_task(batch, linked, name="1")
    add_task(batch, linked, name="002")
    finished(batch, linked, "1")
    finished(batch, linked, "002")
    assert batch.get_task(linked, last).state == "active"
    add_task(batch, linked, name="3")
    assert info_of(finished(batch, linked, last)).exit_code == 0


def test_a_task_may_depend_on_one_that_comes_later(batch: BatchClient, linked: str) -> None:
    later = unique("later")
    first = add_task(batch, linked, depends_on=models.BatchTaskDependencies(task_ids=[later]))
    assert batch.get_task(linked, first).state == "active"
    add_task(batch, linked, name=later)
    finished(batch, linked, first)


def test_dependencies_need_a_job_that_uses_them(batch: BatchClient, job: str) -> None:
    with pytest.raises(HttpResponseError) as error:
        add_task(batch, job, depends_on=models.BatchTaskDependencies(task_ids=["x"]))
    assert (error.value.status_code, code_of(error)) == (400, "TaskDependenciesNotSpecifiedOnJob")


def test_at_most_so_many_tasks_of_a_job_run_at_once(batch: BatchClient, pool: str) -> None:
    job = make_job(batch, pool, max_parallel_tasks=1)
    tasks = [add_task(batch, job, "date +%s%N; sleep 0.1; date +%s%N") for _ in range(3)]
    for task in tasks:
        finished(batch, job, task)
    times = sorted(tuple(map(int, text_of(batch, job, task).split())) for task in tasks)
    assert all(before[1] <= after[0] for before, after in pairwise(times))


def test_a_task_of_several_instances_runs_its_coordination_first(batch: BatchClient, pool: str) -> None:
    job = make_job(batch, pool)
    settings = models.MultiInstanceSettings(
        number_of_instances=2, coordination_command_line=shell("echo up > $AZ_BATCH_TASK_SHARED_DIR/up")
    )
    task = run(batch, job, "cat $AZ_BATCH_TASK_SHARED_DIR/up", multi_instance_settings=settings)
    assert text_of(batch, job, task.id or "") == "up\n"
    assert [each.id for each in batch.list_subtasks(job, task.id or "")] in ([], [1])


# Another client


def test_the_asynchronous_client_works_as_well(service: BatchService, pool: str) -> None:
    async def work() -> tuple[list[str], bytes]:
        credential = AzureNamedKeyCredential(ACCOUNT, KEY)
        options: Any = {"per_retry_policies": [Judge()], "transport": AsyncioRequestsTransport()}
        async with AsyncBatchClient(service.url, credential, **options) as client:
            job = unique("async")
            await client.create_job(
                models.BatchJobCreateOptions(id=job, pool_info=models.BatchPoolInfo(pool_id=pool))
            )
            tasks = [models.BatchTaskCreateOptions(id=f"a{n}", command_line="/bin/echo hi") for n in range(7)]
            await client.create_tasks(job, tasks)
            while (await client.get_job_task_counts(job)).task_counts.succeeded < 7:
                await asyncio.sleep(QUICK)
            found = [task.id async for task in client.list_tasks(job, max_results=3, select=["id"])]
            stream = await client.download_task_file(job, "a0", "stdout.txt")
            text = b"".join([part async for part in stream])
            poller = await client.begin_delete_job(job, polling_interval=QUICK)
            await poller.wait()
            return sorted(name or "" for name in found), text

    names, text = asyncio.run(work())
    assert names == [f"a{number}" for number in range(7)]
    assert text == b"hi\n"


def test_tasks_of_one_job_start_in_the_order_they_came(batch: BatchClient) -> None:
    name = unique("orderly")
    make_pool(batch, name, dedicated=1)
    job = make_job(batch, name)
    tasks = [add_task(batch, job, "date +%s%N") for _ in range(5)]
    for task in tasks:
        finished(batch, job, task)
    times = [int(text_of(batch, job, task)) for task in tasks]
    assert times == sorted(times)
