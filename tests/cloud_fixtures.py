"""Fixtures of the tests of the cloud pool, beside those of `batch_service.fixtures`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.azurite import Azurite
from tests.batch_service.client import BatchService
from tests.cloud import Cloud


@pytest.fixture
def new_cloud(tmp_path: Path, service: BatchService, azurite: Azurite) -> Iterator[Callable[..., Cloud]]:
    """Makes clouds; one with a pool of its own is asked for with `pool_id=None`. Faults end with the test."""
    made: list[Cloud] = []
    service.control("reset")

    def make(**settings: object) -> Cloud:
        if settings.get("pool_id", "") is None:
            settings["pool_id"] = f"own-{secrets.token_hex(4)}"
        made.append(Cloud(tmp_path / f"cloud{len(made)}", service, azurite, **settings))
        return made[-1]

    yield make
    service.control("reset")
    for cloud in made:
        cloud.close()


@pytest.fixture
def cloud(new_cloud: Callable[..., Cloud]) -> Cloud:
    """A cloud whose nodes are well."""
    return new_cloud()
