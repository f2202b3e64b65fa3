"""A day with a Batch service through azure-batch 13 or 14, in a venv of its own (`test_batch_real_clients`).

`python sdk_13_14.py URL ACCOUNT KEY` prints each operation that failed and ends with their number.
"""

import datetime
import sys
import time

from azure.batch import BatchServiceClient, models
from azure.batch.batch_auth import SharedKeyCredentials

URL, ACCOUNT, KEY = sys.argv[1:4]
client = BatchServiceClient(SharedKeyCredentials(ACCOUNT, KEY), batch_url=URL)
failures = []


def tried(name, operation, *arguments, **options):
    """What an operation gives, its pages read; a failure is told and kept."""
    try:
        found = operation(*arguments, **options)
        return list(found) if "Paged" in type(found).__name__ else found
    except Exception as error:
        failures.append(name)
        print(name, type(error).__name__, str(error).replace("\n", " ")[:300])
        return None


def until(name, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            failures.append(name)
            return
        time.sleep(0.1)


POOL = f"sdk-{time.time_ns()}"
image = models.ImageReference(publisher="canonical", offer="ubuntu-24_04-lts", sku="server")
machine = models.VirtualMachineConfiguration(image_reference=image, node_agent_sku_id="batch.node.ubuntu 24.04")
start = models.StartTask(command_line="/bin/true")
tried("images", client.account.list_supported_images)
tried("node counts", client.account.list_pool_node_counts)
tried(
    "add pool",
    client.pool.add,
    models.PoolAddParameter(
        id=POOL,
        vm_size="standard_d2_v2",
        virtual_machine_configuration=machine,
        target_dedicated_nodes=1,
        task_slots_per_node=2,
        start_task=start,
        metadata=[models.MetadataItem(name="a", value="b")],
    ),
)
tried("get pool", client.pool.get, POOL)
tried("list pools", client.pool.list)
tried("pool exists", client.pool.exists, POOL)
if hasattr(client, "certificate"):
    thumb = ("sha1", f"{time.time_ns():040x}")
    made = models.CertificateAddParameter(thumbprint=thumb[1], thumbprint_algorithm="sha1", data="MA==")
    tried("add certificate", client.certificate.add, made)
    tried("list certificates", client.certificate.list)
    tried("get certificate", client.certificate.get, *thumb)
    tried("delete certificate", client.certificate.delete, *thumb)
tried("patch pool", client.pool.patch, POOL, models.PoolPatchParameter(metadata=[]))
whole = models.PoolUpdatePropertiesParameter(
    start_task=start, certificate_references=[], application_package_references=[], metadata=[]
)
tried("update pool", client.pool.update_properties, POOL, whole)
tried("usage", client.pool.list_usage_metrics)
if hasattr(client.pool, "get_all_lifetime_statistics"):
    tried("pool statistics", client.pool.get_all_lifetime_statistics)
    tried("job statistics", client.job.get_all_lifetime_statistics)
until("an idle node", lambda: [node.state for node in client.compute_node.list(POOL)] == ["idle"])
(node,) = (node.id for node in client.compute_node.list(POOL))
tried("get node", client.compute_node.get, POOL, node)
tried("remote login", client.compute_node.get_remote_login_settings, POOL, node)
tried("node files", client.file.list_from_compute_node, POOL, node)
tried("add user", client.compute_node.add_user, POOL, node, models.ComputeNodeUser(name="u", password="p"))
tried(
    "update user",
    client.compute_node.update_user,
    POOL,
    node,
    "u",
    models.NodeUpdateUserParameter(password="q"),
)
tried("delete user", client.compute_node.delete_user, POOL, node, "u")
tried("disable scheduling", client.compute_node.disable_scheduling, POOL, node)
tried("enable scheduling", client.compute_node.enable_scheduling, POOL, node)
tried("extensions", client.compute_node_extension.list, POOL, node)
tried("extension", client.compute_node_extension.get, POOL, node, "batchNodeExtension")

JOB = f"{POOL}-job"
where = models.PoolInformation(pool_id=POOL)
tried("add job", client.job.add, models.JobAddParameter(id=JOB, pool_info=where, uses_task_dependencies=True))
tried("get job", client.job.get, JOB)
tried("list jobs", client.job.list)
tried("patch job", client.job.patch, JOB, models.JobPatchParameter(priority=3))
tried("update job", client.job.update, JOB, models.JobUpdateParameter(pool_info=where, priority=4))
echo = "/bin/sh -c 'echo hello'"
many = [models.TaskAddParameter(id=f"t{number}", command_line=echo) for number in range(120)]
tried("add tasks", client.task.add_collection, JOB, many)
after = models.TaskDependencies(task_ids=["t1"])
tried("add task", client.task.add, JOB, models.TaskAddParameter(id="one", command_line=echo, depends_on=after))
tried("list tasks", client.task.list, JOB)
until("the last task", lambda: client.task.get(JOB, "one").state == "completed")
tried("task counts", client.job.get_task_counts, JOB)
tried("task files", client.file.list_from_task, JOB, "one")
tried("file properties", client.file.get_properties_from_task, JOB, "one", "stdout.txt")
said = tried("task file", lambda: b"".join(client.file.get_from_task(JOB, "one", "stdout.txt")))
if said != b"hello\n":
    failures.append("what the task said")
tried("subtasks", client.task.list_subtasks, JOB, "one")
tried("disable job", client.job.disable, JOB, "requeue")
tried("enable job", client.job.enable, JOB)

SCHEDULE = f"{POOL}-schedule"
daily = models.Schedule(recurrence_interval=datetime.timedelta(days=1))
specification = models.JobSpecification(pool_info=where)
wanted = models.JobScheduleAddParameter(id=SCHEDULE, schedule=daily, job_specification=specification)
tried("add schedule", client.job_schedule.add, wanted)
tried("get schedule", client.job_schedule.get, SCHEDULE)
tried("schedule exists", client.job_schedule.exists, SCHEDULE)
tried("jobs of a schedule", client.job.list_from_job_schedule, SCHEDULE)
tried("patch schedule", client.job_schedule.patch, SCHEDULE, models.JobSchedulePatchParameter(schedule=daily))
tried("delete schedule", client.job_schedule.delete, SCHEDULE)
tried("resize pool", client.pool.resize, POOL, models.PoolResizeParameter(target_dedicated_nodes=0))
tried("terminate job", client.job.terminate, JOB)
tried("delete job", client.job.delete, JOB)
tried("delete pool", client.pool.delete, POOL)
sys.exit(len(failures))
