"""The start task: what makes a machine a render node, in the words of Batch, with the files that it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from renderfarm.errors import ConfigError
from renderfarm.queues.azure import packages
from renderfarm.queues.azure.batch import Json, named
from renderfarm.queues.azure.on_node import node_program
from renderfarm.queues.azure.settings import CloudSettings
from renderfarm.queues.azure.storage import LONGEST, Storage, secured
from renderfarm.words.as_json import to_json
from renderfarm.words.scene import Scene
from renderfarm.words.temporary import Temporary
from renderfarm.words.work import Package

COMMAND = "/bin/bash start.sh"
USER = {"autoUser": {"scope": "pool", "elevationLevel": "admin"}}
RETRIES = 3
"""a distribution's servers may be away for a while"""
USERS_OWN = "users-own.sh"
EDITION = "1"
"""counted up when nodes that an older renderfarm set up have to be set up anew"""


@dataclass(frozen=True)
class StartTask:
    """A start task; `body` holds tokens and is never shown."""

    fingerprint: str
    """changes when nodes that have it are not what they should be any more"""
    renderers: tuple[str, ...]
    """what it installs, for people"""
    body: Json


def needs(scene: Scene, device: str = "") -> Json:
    """What a node must prove with its probe frame before it may render the scene."""
    return {
        "renderers": [scene.renderer],
        "denoiser": scene.denoised,
        "device": {"cpu": "CPU", "auto": "", "": ""}.get(device, "GPU"),
        "engine": scene.engine,
    }


def start_task(storage: Storage, settings: CloudSettings, chosen: Sequence[Package], wanted: Json) -> StartTask:
    """Put the start task's files into storage and describe it."""
    storage.ensure(storage.packages)
    script = resources.files("renderfarm.queues.azure").joinpath("start.sh").read_bytes()
    files = {"start.sh": _stored(storage, "start", script, "sh"), "node.pyz": stored_program(storage)}
    own = _users_own(settings)
    if own:
        files[USERS_OWN] = _stored(storage, "start", own, "sh")
    files |= {package.file: packages.blob_name(package) for package in chosen if package.file}
    environment = {
        "RENDERFARM_NEEDS": json.dumps(wanted),
        "RENDERFARM_PACKAGES": to_json(chosen),
    }
    names = tuple(package.name for package in chosen)
    # The distribution's renderers are installed by name, so nodes that have others must be set up anew.
    asked = wanted["renderers"] if packages.DISTRIBUTION in names else ()
    marks = [EDITION, *asked, hashlib.sha256(own).hexdigest(), *(package.sha256 for package in chosen), *names]
    return StartTask(
        hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16],
        names,
        _body(settings, [_resource(storage, settings, *item) for item in files.items()], environment),
    )


def _body(settings: CloudSettings, files: Sequence[Json], environment: Mapping[str, str]) -> Json:
    body: Json = {
        "commandLine": COMMAND,
        "resourceFiles": list(files),
        "environmentSettings": named(environment),
        "userIdentity": USER,
        "maxTaskRetryCount": RETRIES,
        "waitForSuccess": True,
    }
    if settings.container_image:
        body["containerSettings"] = {
            "imageName": settings.container_image,
            "containerRunOptions": "--user root --rm",
            "workingDirectory": "taskWorkingDirectory",
        }
    return body


def _resource(storage: Storage, settings: CloudSettings, path: str, blob: str) -> Json:
    """A file for nodes: by the pool's identity, else by a token of its own for as long as one may last."""
    url = storage.for_nodes(storage.packages, "r", LONGEST.total_seconds(), blob)
    return secured({"httpUrl": url, "filePath": path}, settings.identity)


def _users_own(settings: CloudSettings) -> bytes:
    """The user's own script; empty when there is none."""
    if settings.start_task is None:
        return b""
    try:
        return Path(settings.start_task).read_bytes()
    except OSError as error:
        message = f"'start_task' in [pools.{settings.name}] names {settings.start_task}: {error.strerror}."
        raise ConfigError(message, "It is the path of a shell script on this machine.") from error


def stored_program(storage: Storage) -> str:
    """Put the node program into storage, unless it is there; its blob's name."""
    with Temporary() as folder:
        return _stored(storage, "node", node_program(folder / "node.pyz").read_bytes(), "pyz")


def _stored(storage: Storage, folder: str, data: bytes, suffix: str) -> str:
    """Put bytes where their checksum says, unless they are there; the blob's name."""
    name = f"{folder}/{hashlib.sha256(data).hexdigest()}.{suffix}"
    storage.at(storage.packages).put(name, data, new=True)
    return name
