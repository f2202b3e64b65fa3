"""A job and its tasks in the words of Batch: JSON bodies, nothing is sent from here."""

from __future__ import annotations

from dataclasses import dataclass

from renderfarm.queues.azure import layout
from renderfarm.queues.azure.batch import OURS, Json, named
from renderfarm.queues.azure.on_node import exits
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.storage import secured
from renderfarm.words.request import Request
from renderfarm.words.work import Task

LOAD_SECONDS = 1800
"""what a task may take besides its frames: assets, renderer, scene, uploads"""
PREPARATION_RETRIES = 3
TASK_RETRIES = 2
"""of tasks that can't go on, as storage is away or a disk full; frames are tried again inside their task"""
TASK_COMMAND = """/bin/bash -c 'exec python3 "$AZ_BATCH_JOB_PREP_WORKING_DIR/node.pyz" cloud task'"""
PREPARE_COMMAND = """/bin/bash -c 'exec python3 "$AZ_BATCH_TASK_WORKING_DIR/node.pyz" cloud prepare'"""
RECORD = "record"
"""metadata of a Batch job, where no node can write: what tells whether one changed the job's record"""
OUTPUTS = ("logs/*", "../std*.txt")
"""what goes to storage when a task ends, well or not; its frames went before"""
USER = {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}
"""tasks share the node's store of assets, so they are one user; only the start task is elevated"""


@dataclass(frozen=True)
class Access:
    """Container URLs for nodes, as narrow as can be: with a SAS each, or bare where nodes have an identity."""

    assets: str
    """read"""
    inputs: str
    """read and list"""
    outputs: str
    """create and write"""
    program: str
    """the node program's blob, where no node can write"""
    record: str
    """SHA-256 of the job's record"""


def job_body(
    settings: CloudSettings, job: str, generation: int, request: Request, access: Access, pool: Json
) -> Json:
    """A Batch job, not yet told to end by itself: one without tasks would end at once."""
    environment = {
        "RENDERFARM_ASSETS": access.assets,
        "RENDERFARM_INPUTS": access.inputs,
        "RENDERFARM_OUTPUTS": access.outputs,
        "RENDERFARM_SLOTS": str(settings.slots_per_node),
    }
    own = {"RENDERFARM_IDENTITY": settings.identity_client_id or ""} if settings.identity else {}
    inputs = {"storageContainerUrl": access.inputs, "blobPrefix": layout.INPUTS}
    program = {"httpUrl": access.program, "filePath": "node.pyz"}
    return {
        "id": layout.batch_id(job, generation),
        "displayName": job,
        "poolInfo": pool,
        "priority": request.priority or 0,
        "onAllTasksComplete": "noaction",
        "onTaskFailure": "performexitoptionsjobaction",
        "constraints": {
            "maxTaskRetryCount": TASK_RETRIES,
            "maxWallClockTime": f"PT{settings.job_hours * 3600:.0f}S",
        },
        "commonEnvironmentSettings": named(environment | own),
        "jobPreparationTask": {
            "id": "assets",
            "commandLine": PREPARE_COMMAND,
            "resourceFiles": [secured(file, settings.identity) for file in (inputs, program)],
            "constraints": {"maxTaskRetryCount": PREPARATION_RETRIES},
            "userIdentity": USER,
            "waitForSuccess": True,
            "rerunOnNodeRebootAfterSuccess": True,
            **_contained(settings),
        },
        "metadata": named({OURS: job, RECORD: access.record}),
    }


def task_body(task: Task, request: Request, outputs: str, settings: CloudSettings) -> Json:
    """One chunk of frames. The same frames and attempt are the same task, however often they are sent."""
    name = layout.task_id(task)
    told = layout.asked(task, max(0, request.retries - task.spent))
    logs = {"containerUrl": outputs, "path": f"{layout.LOGS}{name}"}
    body: Json = {
        "id": name,
        "commandLine": TASK_COMMAND,
        "environmentSettings": named({layout.TASK: told}),
        "outputFiles": [
            {
                "filePattern": pattern,
                "destination": {"container": secured(logs, settings.identity)},
                "uploadOptions": {"uploadCondition": "taskcompletion"},
            }
            for pattern in OUTPUTS
        ],
        "userIdentity": USER,
        "exitConditions": {
            "exitCodes": [{"code": exits.HOPELESS, "exitOptions": {"jobAction": "terminate"}}],
            "default": {"jobAction": "none"},
        },
    }
    if request.timeout:
        seconds = LOAD_SECONDS + request.timeout * len(task.frames)
        body["constraints"] = {"maxWallClockTime": f"PT{seconds:.0f}S", "maxTaskRetryCount": TASK_RETRIES}
    return {**body, **_contained(settings)}


def _contained(settings: CloudSettings) -> Json:
    """Where the pool has a container image, everything of ours runs in it."""
    return {"containerSettings": {"imageName": settings.container_image}} if settings.container_image else {}


def task_of(row: Json) -> Task | None:
    """The task that a row of Batch's listing is of; None for a task of somebody else."""
    said = {item["name"]: item.get("value", "") for item in row.get("environmentSettings") or ()}
    try:
        return layout.asked_of(said.get(layout.TASK, ""))[0]
    except ValueError:
        return None
