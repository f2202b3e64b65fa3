"""Where a program on a node finds itself: Batch's environment variables, read once.

Those that hold a signature leave the environment as they are read, so that no renderer inherits them.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

from renderfarm.depots.blobs import BlobClient
from renderfarm.depots.identity import managed_identity
from renderfarm.queues.azure.on_node.exits import HOPELESS, Exit

OURS = "renderfarm"
"""folder in the node's shared one"""
_SECRETS = ("RENDERFARM_ASSETS", "RENDERFARM_INPUTS", "RENDERFARM_OUTPUTS", "RENDERFARM_IDENTITY")
_SET_DUMPABLE = 4
"""from linux/prctl.h"""
_SHARED = 0o1777
"""the start task's user makes these folders, the tasks' user writes into them"""


def shared_folder() -> Path:
    """The node's folder that all jobs share."""
    return Path(_needed("AZ_BATCH_NODE_SHARED_DIR")) / OURS


def shared(name: str) -> Path:
    """A folder in there that every task may write to."""
    folder = shared_folder() / name
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(_SHARED)
    return folder


def working_folder() -> Path:
    """The task's own folder."""
    return Path(_needed("AZ_BATCH_TASK_WORKING_DIR"))


def inputs_folder() -> Path:
    """What the job preparation task brought: record, manifest, node program."""
    return Path(os.environ.get("AZ_BATCH_JOB_PREP_WORKING_DIR") or _needed("AZ_BATCH_TASK_WORKING_DIR")) / "in"


def node_name() -> str:
    """The node's id, in letters that fit into a blob's name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", os.environ.get("AZ_BATCH_NODE_ID") or socket.gethostname())


def slots() -> int:
    """How many tasks run on this node at once."""
    return max(1, int(os.environ.get("RENDERFARM_SLOTS") or 1))


def node_file() -> Path:
    """Where the start task leaves for the tasks which builds rendered a probe frame here."""
    return shared_folder() / "node.json"


class Containers(NamedTuple):
    """What a task may reach in storage."""

    assets: BlobClient
    job: BlobClient
    """the job's own"""


@functools.cache
def containers() -> Containers:
    """The clients for what the environment names; it doesn't name it any more afterwards."""
    hide()
    assets, inputs, outputs, client_id = (os.environ.pop(name, "") for name in _SECRETS)
    identity = managed_identity(client_id) if client_id else None
    for name, url in zip(_SECRETS, (assets, inputs, outputs)):  # noqa: B905 - the last one is no URL
        if not url:
            raise Exit(HOPELESS, f"{name} is not set, so this is no task of renderfarm's.")
    return Containers(BlobClient(assets, identity), BlobClient(inputs, identity, writes=outputs))


def hide() -> None:
    """Keep other processes of the same user, such as a renderer without a sandbox, from reading our memory.

    The kernel shows what a process was started with to whoever may trace it (prctl(2), PR_SET_DUMPABLE).
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def _needed(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise Exit(HOPELESS, f"{name} is not set.", "This program runs as a task of Azure Batch.")
    return value
