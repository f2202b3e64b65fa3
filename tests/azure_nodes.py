"""A node of the cloud on this machine: folders as Batch makes them, a clean environment, Azurite as storage."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from renderfarm.depots.blobs import BlobClient
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.on_node import node_program
from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile
from renderfarm.words.as_json import encode, to_json
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.work import Build, Task, Work
from tests.azure_storage import new_storage
from tests.azurite import running_azurite
from tests.farm_runs import PATIENCE_SECONDS


class Storage:
    """Containers in Azurite and the URLs that nodes get."""

    def __init__(self) -> None:
        self.port = running_azurite().port
        self._own = new_storage()

    def container(self, name: str) -> str:
        made = f"{self._own.prefix}-{name}"
        self._own.ensure(made)
        return made

    def at(self, container: str) -> BlobClient:
        return self._own.at(container)

    def url(self, container: str, permissions: str, hours: float = 1) -> str:
        """The container with a SAS; one that has run out when the hours are negative."""
        return self._own.sas_url(container, permissions, hours * 3600)

    def put(self, container: str, name: str, data: bytes) -> None:
        self.at(container).put(name, data)

    def get(self, container: str, name: str) -> bytes:
        return self.at(container).read(name)

    def names(self, container: str, prefix: str = "") -> list[str]:
        return [blob.name for blob in self.at(container).blobs(prefix)]

    def close(self) -> None:
        self._own.close()


@dataclass(frozen=True)
class Ended:
    """How a program on the node ended."""

    code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


class Job:
    """A job's containers, filled as a submit fills them."""

    def __init__(
        self, storage: Storage, name: str, root: Path, scene: Path, files: Iterable[Path], **work: Any
    ) -> None:
        self.storage = storage
        self.id = name
        self.assets = storage.container(f"{name}-assets")
        self.container = storage.container(name)
        paths = [scene, *files]
        self.manifest = Manifest(
            str(root), scene.relative_to(root).as_posix(), tuple(_file(root, p) for p in paths)
        )
        for path in paths:
            storage.put(self.assets, hashlib.sha256(path.read_bytes()).hexdigest(), path.read_bytes())
        kind = work.pop("renderer", "testcard")
        build = Build(kind, "/nowhere/renderer", (0,), "elsewhere", "elsewhere")
        template = Work(kind, build, str(scene), Settings(), "/nowhere/scratch", sandbox=Sandbox.OFF)
        self.work = replace(template, **work)

    def journal(self) -> list[tuple[str, dict[str, Any]]]:
        """What all nodes have said."""
        text = b"".join(
            self.storage.get(self.container, n) for n in self.storage.names(self.container, "journal/")
        )
        return [(kind, value) for kind, value, _ in map(json.loads, text.splitlines())]

    def frames(self) -> list[str]:
        return self.storage.names(self.container, "frames/")


@functools.cache
def unpacked_program() -> Path:
    """The node program of all nodes as a folder, which Python compiles once and not for every task."""
    folder = Path(tempfile.mkdtemp(prefix="node-program-"))
    atexit.register(shutil.rmtree, folder)
    with zipfile.ZipFile(node_program(folder / "node.pyz")) as archive:
        archive.extractall(folder / "node")
    return folder / "node"


class Node:
    """One node and the programs that run on it."""

    def __init__(self, folder: Path, name: str = "node-1") -> None:
        self.folder = folder
        self.name = name
        self.shared = folder / "shared"
        self.shared.mkdir(parents=True)
        self.program = unpacked_program()
        self.environment = {
            "PATH": os.environ["PATH"],
            "AZ_BATCH_NODE_SHARED_DIR": str(self.shared),
            "AZ_BATCH_NODE_ID": name,
            "AZ_BATCH_NODE_IS_DEDICATED": "false",
        }

    def start(self, command: str, job: Job, working: Path, **environment: str) -> subprocess.Popen[str]:
        """Start a program as Batch does: a clean environment, and HOME is the working folder."""
        working.mkdir(parents=True, exist_ok=True)
        storage = job.storage
        variables = {
            **self.environment,
            "HOME": str(working),
            "AZ_BATCH_JOB_ID": job.id,
            "AZ_BATCH_TASK_WORKING_DIR": str(working),
            "RENDERFARM_ASSETS": storage.url(job.assets, "r"),
            "RENDERFARM_INPUTS": storage.url(job.container, "rl"),
            "RENDERFARM_OUTPUTS": storage.url(job.container, "cw"),
            **environment,
        }
        pipe = subprocess.PIPE
        argv = [sys.executable, "-I", str(self.program), "cloud", command]
        return subprocess.Popen(argv, cwd=working, env=variables, stdout=pipe, stderr=pipe, text=True)

    def preparation(self, job: Job) -> Path:
        """Where the job preparation task works, with what Batch puts there."""
        folder = self.folder / "workitems" / job.id / "prep" / "wd"
        (folder / "in").mkdir(parents=True, exist_ok=True)
        (folder / "in" / "manifest.json").write_text(to_json(job.manifest))
        (folder / "in" / "job.json").write_text(json.dumps({"work": encode(job.work)}))
        return folder

    def prepare(self, job: Job, **environment: str) -> Ended:
        return ended(self.start("prepare", job, self.preparation(job), **environment))

    def begin(
        self, job: Job, frames: Iterable[int], attempt: int = 1, retries: int = 0, **environment: str
    ) -> subprocess.Popen[str]:
        task = layout.asked(Task(tuple(frames), attempt), retries)
        return self.start(
            "task",
            job,
            self.working(job),
            AZ_BATCH_JOB_PREP_WORKING_DIR=str(self.preparation(job)),
            RENDERFARM_TASK=task,
            **environment,
        )

    def task(
        self, job: Job, frames: Iterable[int], attempt: int = 1, retries: int = 0, **environment: str
    ) -> Ended:
        return ended(self.begin(job, frames, attempt, retries, **environment))

    def working(self, job: Job) -> Path:
        return self.folder / "workitems" / job.id / "task" / "wd"

    def store(self) -> Path:
        return self.shared / "renderfarm" / "assets"


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a program."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    return Ended(process.returncode, out, err)


def until(job: Job, kind: str) -> None:
    """Wait until the journal has a line of this kind."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while kind not in {said for said, _ in job.journal()}:
        assert time.monotonic() < deadline, f"no {kind} in {job.journal()}"
        time.sleep(0.05)


def _file(root: Path, path: Path) -> ManifestFile:
    data = path.read_bytes()
    return ManifestFile(path.relative_to(root).as_posix(), hashlib.sha256(data).hexdigest(), len(data))
