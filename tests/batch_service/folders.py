"""The folders and the environment that a node gives to what runs on it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.batch_service.state import Body, Job, Node, Service, Task

SHARED = ("applications", "fsmounts", "shared", "startup/wd", "volatile", "workitems")
PREPARATION_ID = "jobpreparation"
RELEASE_ID = "jobrelease"
RESERVED_DISK_BYTES = 1_000_000_000


def lay_out(node: Node) -> None:
    """An empty node: the tree that every node starts with."""
    wipe(node.folder)
    for name in SHARED:
        (node.folder / name).mkdir(parents=True)


def wipe(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def job_folder(node: Node, job: Job) -> Path:
    return node.folder / "workitems" / job.folder_name


def task_root(job: Job, task_id: str) -> str:
    """The folder of a task below its node's root, as `nodeInfo` names it."""
    return f"workitems/{job.folder_name}/{task_id}"


def preparation_id(job: Job) -> str:
    return str((job.body.get("jobPreparationTask") or {}).get("id") or PREPARATION_ID)


def release_id(job: Job) -> str:
    return str((job.body.get("jobReleaseTask") or {}).get("id") or RELEASE_ID)


def fresh(folder: Path) -> Path:
    """A task's folder with an empty working directory in it."""
    wipe(folder)
    (folder / "wd").mkdir(parents=True)
    return folder


def node_environment(service: Service, node: Node, folder: Path) -> dict[str, str]:
    """What every process of a node sees; nothing of the developer's own environment."""
    root = node.folder
    environment = {
        "PATH": service.settings.search_path,
        "HOME": str(folder / "wd"),
        "LANG": "C.UTF-8",
        "USER": "_azbatch",
        "AZ_BATCH_ACCOUNT_NAME": service.settings.account,
        "AZ_BATCH_ACCOUNT_URL": service.base,
        "AZ_BATCH_POOL_ID": str(node.pool.body["id"]),
        "AZ_BATCH_NODE_ID": node.id,
        "AZ_BATCH_NODE_IS_DEDICATED": str(node.is_dedicated).lower(),
        "AZ_BATCH_NODE_ROOT_DIR": str(root),
        "AZ_BATCH_NODE_SHARED_DIR": str(root / "shared"),
        "AZ_BATCH_NODE_STARTUP_DIR": str(root / "startup"),
        "AZ_BATCH_NODE_STARTUP_WORKING_DIR": str(root / "startup" / "wd"),
        "AZ_BATCH_NODE_MOUNTS_DIR": str(root / "fsmounts"),
        "AZ_BATCH_TASK_DIR": str(folder),
        "AZ_BATCH_TASK_WORKING_DIR": str(folder / "wd"),
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": str(RESERVED_DISK_BYTES),
    }
    return environment | _packages(node, node.pool.body.get("applicationPackageReferences") or [])


def _packages(node: Node, references: Iterable[Body]) -> dict[str, str]:
    """The variable of each application package; its folder is there, but empty."""
    found = {}
    for reference in references:
        name = "_".join(filter(None, (reference["applicationId"], reference.get("version"))))
        place = node.folder / "applications" / name
        place.mkdir(parents=True, exist_ok=True)
        found["AZ_BATCH_APP_PACKAGE_" + re.sub(r"[.\-#]", "_", name).lower()] = str(place)
    return found


def task_environment(
    service: Service, node: Node, job: Job, task_id: str, folder: Path, own: Body, is_primary: bool = True
) -> dict[str, str]:
    """The environment of a task; its own settings win over the job's, and none replaces an AZ_BATCH name."""
    environment = node_environment(service, node, folder)
    environment["AZ_BATCH_JOB_ID"] = str(job.body["id"])
    environment["AZ_BATCH_TASK_ID"] = task_id
    if job.body.get("jobPreparationTask"):
        prepared = job_folder(node, job) / preparation_id(job)
        environment["AZ_BATCH_JOB_PREP_DIR"] = str(prepared)
        environment["AZ_BATCH_JOB_PREP_WORKING_DIR"] = str(prepared / "wd")
    environment |= _packages(node, own.get("applicationPackageReferences") or [])
    if own.get("multiInstanceSettings"):
        address = str(node.body["ipAddress"])
        environment |= {"AZ_BATCH_HOST_LIST": address, "AZ_BATCH_MASTER_NODE": f"{address}:6000"}
        environment["AZ_BATCH_NODE_LIST"] = address
        environment["CCP_NODES"] = "1 " + address + " 1"
        environment["AZ_BATCH_IS_CURRENT_NODE_MASTER"] = str(is_primary).lower()
        environment["AZ_BATCH_TASK_SHARED_DIR"] = str(folder)
    return (
        environment | chosen(job.body.get("commonEnvironmentSettings")) | chosen(own.get("environmentSettings"))
    )


def chosen(settings: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Environment settings of a body as a mapping."""
    own = {setting["name"]: setting.get("value") or "" for setting in settings or ()}
    return {name: value for name, value in own.items() if not name.startswith("AZ_BATCH_")}


def forget_task(task: Task, node: Node) -> None:
    """Removes what a task left on its node."""
    wipe(node.folder / task_root(task.job, str(task.body["id"])))
