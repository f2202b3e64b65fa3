"""Fixtures of the tests against the local Batch service; a test module asks for them with `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.batch import BatchClient
from azure.storage.blob import BlobServiceClient, ContainerClient

from tests.azurite import Azurite, running_azurite
from tests.batch_service.client import BatchService, make_job, make_pool, running_service, unique

OWN = Path(__file__).with_name("tests")
SHARED = "shared"
"""the pool that tests don't change"""


@pytest.fixture(scope="session")
def azurite() -> Azurite:
    return running_azurite()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchService]:
    """One service for all tests: each uses ids of its own."""
    with running_service(tmp_path_factory.mktemp("batch") / "nodes") as running:
        yield running


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test of the service's own suite leaves no fault, pool, job or schedule to the next one."""
    if "service" not in request.fixturenames or OWN not in request.path.parents:
        yield
        return
    service: BatchService = request.getfixturevalue("service")
    yield
    service.control("clear", but=[SHARED, "calm"])


@pytest.fixture(scope="session")
def batch(service: BatchService) -> Iterator[BatchClient]:
    with service.client(retry_total=0) as client:
        yield client


@pytest.fixture(scope="session")
def pool(batch: BatchClient) -> str:
    """The id of a pool with two dedicated nodes and a spot one, two slots each, all idle."""
    make_pool(batch, SHARED, dedicated=2, spot=1, task_slots_per_node=2)
    return SHARED


@pytest.fixture
def job(batch: BatchClient, pool: str) -> str:
    """The id of a job on `pool`."""
    return make_job(batch, pool)


@pytest.fixture
def linked(batch: BatchClient, pool: str) -> str:
    """The id of a job whose tasks may depend on each other."""
    return make_job(batch, pool, uses_task_dependencies=True)


@pytest.fixture(scope="session")
def storage(azurite: Azurite) -> Iterator[BlobServiceClient]:
    credential = {"account_name": azurite.account, "account_key": azurite.key}
    with BlobServiceClient(azurite.url, credential=credential) as client:
        yield client


@pytest.fixture
def container(storage: BlobServiceClient) -> Iterator[ContainerClient]:
    with storage.create_container(unique("files")) as client:
        yield client
