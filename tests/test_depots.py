"""Every depot against the one contract: a folder, and a container as the farm and as nodes reach it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure_storage import new_storage
from depot_contract import *  # noqa: F403 - the contract's tests become this module's

from renderfarm.depots import Depot
from renderfarm.depots.blobs import BlobClient
from renderfarm.depots.folder import FolderDepot


@pytest.fixture(params=["folder", "farm", "node"])
def depot(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Depot]:
    if request.param == "folder":
        yield FolderDepot(tmp_path / "depot")
        return
    with contextlib.closing(new_storage()) as storage:
        room = f"{storage.prefix}-{secrets.token_hex(4)}"
        storage.ensure(room)
        if request.param == "farm":
            yield storage.at(room)
            return
        yield BlobClient(storage.sas_url(room, "rl", 600), writes=storage.sas_url(room, "cwd", 600))
