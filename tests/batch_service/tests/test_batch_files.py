"""Files of the local Batch service: on nodes, into tasks from Blob storage, and out of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from azure.batch import BatchClient, models
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import (
    BlobSasPermissions,
    ContainerClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from tests.batch_service.client import (
    API,
    BatchService,
    add_task,
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

HOUR = timedelta(hours=1)


def sas_of(container: ContainerClient, permissions: str, lasts: timedelta = HOUR) -> str:
    """The container's URL with a signature."""
    token = generate_container_sas(
        str(container.account_name),
        container.container_name,
        account_key=container.credential.account_key,
        permission=ContainerSasPermissions.from_string(permissions),
        expiry=datetime.now(UTC) + lasts,
    )
    return f"{container.url}?{token}"


def blob_sas(container: ContainerClient, blob: str, lasts: timedelta = HOUR) -> str:
    token = generate_blob_sas(
        str(container.account_name),
        container.container_name,
        blob,
        account_key=container.credential.account_key,
        permission=BlobSasPermissions(read=True),
        expiry=datetime.now(UTC) + lasts,
    )
    return f"{container.url}/{blob}?{token}"


def output(pattern: str, url: str, path: str | None, condition: str = "taskcompletion") -> models.OutputFile:
    destination = models.OutputFileBlobContainerDestination(container_url=url, path=path)
    return models.OutputFile(
        file_pattern=pattern,
        destination=models.OutputFileDestination(container=destination),
        upload_options=models.OutputFileUploadConfiguration(upload_condition=condition),
    )


def failure_of(task: models.BatchTask) -> models.BatchTaskFailureInfo:
    assert task.execution_info is not None
    assert task.execution_info.failure_info is not None
    return task.execution_info.failure_info


def names_in(container: ContainerClient) -> list[str]:
    return sorted(blob.name for blob in container.list_blobs())


# Files of tasks


def test_a_tasks_files_are_listed(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "mkdir -p deep/er; echo 1 > deep/er/one; echo two > two")
    top = {file.name: file for file in batch.list_task_files(job, task.id or "")}
    assert set(top) == {"stdout.txt", "stderr.txt", "wd"}
    assert top["wd"].is_directory
    assert top["wd"].properties is None
    stdout = top["stdout.txt"]
    assert stdout.is_directory is False
    assert stdout.properties is not None
    assert stdout.properties.content_length == 0
    assert (stdout.url or "").endswith(f"/jobs/{job}/tasks/{task.id}/files/stdout.txt")
    every = {file.name for file in batch.list_task_files(job, task.id or "", recursive=True)}
    assert every >= {"wd/two", "wd/deep/er/one", "wd/deep/er", "stdout.txt"}


def test_files_are_filtered_by_the_start_of_their_names(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "touch one two")
    found = batch.list_task_files(job, task.id or "", recursive=True, filter="startswith(name,'wd/t')")
    assert [file.name for file in found] == ["wd/two"]


def test_a_file_has_properties(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "printf 0123456789")
    found = batch.get_task_file_properties(job, task.id or "", "stdout.txt")
    assert found.content_length == 10
    assert found.is_directory is False
    assert found.file_mode
    assert found.last_modified is not None
    assert abs(datetime.now(UTC) - found.last_modified) < timedelta(minutes=1)
    folder = batch.get_task_file_properties(job, task.id or "", "wd")
    assert folder.is_directory is True


def test_a_part_of_a_file_can_be_had(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "printf 0123456789")
    part = batch.download_task_file(job, task.id or "", "stdout.txt", ocp_range="bytes=2-5")
    assert b"".join(part) == b"2345"
    rest = batch.download_task_file(job, task.id or "", "stdout.txt", ocp_range="bytes=7-")
    assert b"".join(rest) == b"789"


def test_a_range_behind_the_end_is_refused(service: BatchService, batch: BatchClient, job: str) -> None:
    task = run(batch, job, "printf 0123456789")
    answer = service.call(
        "GET", f"/jobs/{job}/tasks/{task.id}/files/stdout.txt?{API}", headers={"ocp-range": "bytes=10-"}
    )
    assert answer.status == 416
    assert b"InvalidRange" in (answer.body or b"")


def test_a_file_is_told_by_its_headers(service: BatchService, batch: BatchClient, job: str) -> None:
    task = run(batch, job, "echo body > 'file name.txt'")
    for method in ("GET", "HEAD"):
        answer = service.call(method, f"/jobs/{job}/tasks/{task.id}/files/wd%2Ffile%20name.txt?{API}")
        assert answer.status == 200
        assert answer.headers["content-length"] == "5"
        assert answer.headers["content-type"]
        assert answer.headers["ocp-batch-file-isdirectory"] == "False"
        assert "file%20name.txt" in answer.headers["ocp-batch-file-url"]
        assert answer.headers["ocp-creation-time"].endswith("GMT")
        assert answer.headers["ocp-batch-file-mode"]
        assert answer.body == (b"body\n" if method == "GET" else b"")


def test_a_missing_file_is_told(service: BatchService, batch: BatchClient, job: str) -> None:
    task = run(batch, job, "true")
    with pytest.raises(ResourceNotFoundError):
        batch.download_task_file(job, task.id or "", "wd/nothing")
    answer = service.call("GET", f"/jobs/{job}/tasks/{task.id}/files/wd%2Fnothing?{API}")
    assert (answer.status, json.loads(answer.body or b"")["code"]) == (404, "FileNotFound")


@pytest.mark.parametrize(
    "path", ["..%2F..%2F..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "wd%2F..%2F..%2F..%2F..%2F..%2Fx"]
)
def test_a_path_does_not_lead_out_of_the_tasks_folder(
    service: BatchService, batch: BatchClient, job: str, path: str
) -> None:
    task = run(batch, job, "true")
    answer = service.call("GET", f"/jobs/{job}/tasks/{task.id}/files/{path}?{API}")
    assert answer.status in (400, 403, 404)
    assert b"root:" not in (answer.body or b"")


def test_a_deleted_file_is_gone(batch: BatchClient, job: str) -> None:
    task = run(batch, job, "mkdir d; touch d/x y")
    batch.delete_task_file(job, task.id or "", "wd/y")
    batch.delete_task_file(job, task.id or "", "wd/d", recursive=True)
    left = {file.name for file in batch.list_task_files(job, task.id or "", recursive=True)}
    assert not left & {"wd/y", "wd/d", "wd/d/x"}


def test_a_growing_log_can_be_read_while_the_task_runs(batch: BatchClient, job: str) -> None:
    name = add_task(batch, job, "echo started; sleep 60")
    text = ""
    while text != "started\n":
        try:
            text = text_of(batch, job, name)
        except HttpResponseError as error:
            assert error.status_code in (404, 409)  # noqa: PT017
    assert batch.get_task(job, name).state == "running"


# Files of nodes


def test_a_nodes_files_are_listed_read_and_deleted(batch: BatchClient, pool: str, job: str) -> None:
    task = run(batch, job, "echo kept > $AZ_BATCH_NODE_SHARED_DIR/kept.txt")
    assert task.node_info is not None
    node = task.node_info.node_id or ""
    top = {file.name for file in batch.list_node_files(pool, node)}
    assert top >= {"shared", "startup", "workitems", "applications"}
    every = {file.name for file in batch.list_node_files(pool, node, recursive=True)}
    assert every >= {"shared/kept.txt", f"workitems/{job}/job-1/{task.id}/stdout.txt"}
    assert b"".join(batch.download_node_file(pool, node, "shared/kept.txt")) == b"kept\n"
    assert batch.get_node_file_properties(pool, node, "shared/kept.txt").content_length == 5
    batch.delete_node_file(pool, node, "shared/kept.txt")
    with pytest.raises(ResourceNotFoundError):
        batch.get_node_file_properties(pool, node, "shared/kept.txt")
    assert task.node_info.task_root_directory == f"workitems/{job}/job-1/{task.id}"


# From Blob storage into tasks


def test_a_blob_becomes_a_file_of_the_task(batch: BatchClient, job: str, container: ContainerClient) -> None:
    container.upload_blob("scene.txt", b"light")
    source = models.ResourceFile(
        http_url=blob_sas(container, "scene.txt"), file_path="in/scene file.txt", file_mode="0750"
    )
    task = run(batch, job, "cat 'in/scene file.txt'; stat -c %a 'in/scene file.txt'", resource_files=[source])
    assert text_of(batch, job, task.id or "") == "light750\n"


def test_a_container_becomes_a_folder_of_the_task(
    batch: BatchClient, job: str, container: ContainerClient
) -> None:
    for name in ("a/one", "a/deep/two", "b/three"):
        container.upload_blob(name, name.encode())
    everything = models.ResourceFile(storage_container_url=sas_of(container, "rl"), file_path="all")
    part = models.ResourceFile(
        storage_container_url=sas_of(container, "rl"), file_path="part", blob_prefix="a/"
    )
    task = run(batch, job, "find . -type f | sort; cat all/b/three", resource_files=[everything, part])
    assert text_of(batch, job, task.id or "").split() == [
        "./all/a/deep/two",
        "./all/a/one",
        "./all/b/three",
        "./part/a/deep/two",
        "./part/a/one",
        "b/three",
    ]


def test_a_container_needs_the_right_to_list(batch: BatchClient, job: str, container: ContainerClient) -> None:
    container.upload_blob("one", b"1")
    source = models.ResourceFile(storage_container_url=sas_of(container, "r"), file_path="all")
    failure = failure_of(run(batch, job, "true", resource_files=[source]))
    assert failure.code == "BlobAccessDenied"


def test_a_missing_blob_fails_the_task_before_it_starts(
    batch: BatchClient, job: str, container: ContainerClient
) -> None:
    source = models.ResourceFile(http_url=blob_sas(container, "nothing"), file_path="x")
    limit = models.BatchTaskConstraints(max_task_retry_count=3)
    task = run(batch, job, "echo ran", resource_files=[source], constraints=limit)
    assert failure_of(task).code == "BlobNotFound"
    assert task.execution_info is not None
    assert (task.execution_info.exit_code, task.execution_info.retry_count) == (None, 0)


def test_an_expired_signature_fails_the_task(batch: BatchClient, job: str, container: ContainerClient) -> None:
    container.upload_blob("late", b"1")
    source = models.ResourceFile(http_url=blob_sas(container, "late", -HOUR), file_path="x")
    failure = failure_of(run(batch, job, "true", resource_files=[source]))
    assert failure.code == "BlobAccessDenied"
    assert "sig=" not in str(failure.as_dict())


def test_a_file_path_does_not_lead_out_of_the_working_directory(
    batch: BatchClient, job: str, container: ContainerClient
) -> None:
    container.upload_blob("evil", b"1")
    name = unique("evil")
    source = models.ResourceFile(http_url=blob_sas(container, "evil"), file_path="../../../../escaped")
    try:
        add_task(batch, job, "true", name, resource_files=[source])
    except HttpResponseError as error:
        assert error.status_code == 400  # noqa: PT017
        return
    assert failure_of(finished(batch, job, name)).code.startswith("ResourceFile")  # type: ignore[union-attr]


def test_a_start_task_gets_its_files(batch: BatchClient, container: ContainerClient) -> None:
    container.upload_blob("setup.sh", b"echo set up")
    source = models.ResourceFile(http_url=blob_sas(container, "setup.sh"), file_path="setup.sh")
    start_task = models.BatchStartTask(command_line="/bin/sh setup.sh", resource_files=[source])
    name = unique("supplied")
    make_pool(batch, name, dedicated=1, start_task=start_task)
    (node,) = batch.list_nodes(name)
    assert b"".join(batch.download_node_file(name, node.id or "", "startup/stdout.txt")) == b"set up\n"


def test_a_job_preparation_gets_its_files(batch: BatchClient, pool: str, container: ContainerClient) -> None:
    container.upload_blob("manifest", b"wood")
    source = models.ResourceFile(http_url=blob_sas(container, "manifest"), file_path="manifest")
    preparation = models.BatchJobPreparationTask(
        command_line=shell("cp manifest $AZ_BATCH_NODE_SHARED_DIR/store"), resource_files=[source]
    )
    name = make_job(batch, pool, job_preparation_task=preparation)
    task = run(batch, name, "cat $AZ_BATCH_NODE_SHARED_DIR/store")
    assert text_of(batch, name, task.id or "") == "wood"


# From tasks into Blob storage


def test_outputs_are_uploaded_by_pattern(batch: BatchClient, job: str, container: ContainerClient) -> None:
    url = sas_of(container, "cw")
    run(
        batch,
        job,
        "mkdir -p out/deep; echo 1 > out/a.png; echo 2 > out/deep/b.png; touch out/.no.png single; echo log",
        output_files=[
            output("out/**/*.png", url, "frames"),
            output("single", url, "renamed.txt"),
            output("../std*.txt", url, "logs"),
        ],
    )
    assert names_in(container) == [
        "frames/a.png",
        "frames/deep/b.png",
        "logs/stderr.txt",
        "logs/stdout.txt",
        "renamed.txt",
    ]
    assert container.download_blob("logs/stdout.txt").readall() == b"log\n"
    assert container.download_blob("frames/a.png").readall() == b"1\n"


def test_outputs_follow_their_condition(batch: BatchClient, job: str, container: ContainerClient) -> None:
    url = sas_of(container, "cw")
    for script, prefix in (("touch f; exit 0", "good"), ("touch f; exit 1", "bad")):
        conditions = ("tasksuccess", "taskfailure", "taskcompletion")
        run(
            batch, job, script, output_files=[output("f", url, f"{prefix}/{each}", each) for each in conditions]
        )
    assert names_in(container) == [
        "bad/taskcompletion",
        "bad/taskfailure",
        "good/taskcompletion",
        "good/tasksuccess",
    ]


def test_an_upload_that_is_denied_fails_the_task(
    batch: BatchClient, job: str, container: ContainerClient
) -> None:
    task = run(batch, job, "touch f", output_files=[output("f", sas_of(container, "rl"), "f")])
    assert task.execution_info is not None
    assert (task.execution_info.exit_code, task.execution_info.result) == (0, "failure")
    assert (failure_of(task).code or "").startswith("FileUpload")


def test_an_upload_to_a_missing_container_fails_the_task(
    batch: BatchClient, job: str, container: ContainerClient
) -> None:
    url = sas_of(container, "cw")
    container.delete_container()
    task = run(batch, job, "touch f", output_files=[output("f", url, "f")])
    assert failure_of(task).code == "FileUploadContainerNotFound"


def test_an_upload_error_can_be_an_exit_condition(
    batch: BatchClient, pool: str, container: ContainerClient
) -> None:
    name = make_job(batch, pool, uses_task_dependencies=True)
    satisfied = models.ExitConditions(file_upload_error=models.ExitOptions(dependency_action="satisfy"))
    first = add_task(
        batch,
        name,
        "touch f",
        output_files=[output("f", sas_of(container, "rl"), "f")],
        exit_conditions=satisfied,
    )
    second = add_task(batch, name, depends_on=models.BatchTaskDependencies(task_ids=[first]))
    assert finished(batch, name, second).execution_info.exit_code == 0  # type: ignore[union-attr]


def test_a_nodes_own_logs_are_uploaded(batch: BatchClient, pool: str, container: ContainerClient) -> None:
    node, *_ = (node.id or "" for node in batch.list_nodes(pool))
    options = models.UploadBatchServiceLogsOptions(
        container_url=sas_of(container, "cw"), start_time=datetime.now(UTC) - HOUR
    )
    result = batch.upload_node_logs(pool, node, options)
    assert result.number_of_files_uploaded == 1
    (name,) = until(lambda: names_in(container))
    assert name.startswith(f"{result.virtual_directory_name}/")


def test_logs_for_a_place_that_nobody_reaches_are_promised_all_the_same(batch: BatchClient, pool: str) -> None:
    node, *_ = (node.id or "" for node in batch.list_nodes(pool))
    options = models.UploadBatchServiceLogsOptions(
        container_url="http://127.0.0.1:9/nowhere", start_time=datetime.now(UTC) - HOUR
    )
    assert batch.upload_node_logs(pool, node, options).virtual_directory_name
