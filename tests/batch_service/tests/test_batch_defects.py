"""The suite itself: each deliberate defect of the service is caught by the check that is named for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from tests.batch_service.client import BatchService, make_job, unique
from tests.batch_service.faults import DEFECTS
from tests.batch_service.tests import test_batch_files, test_batch_jobs, test_batch_tasks, test_batch_wire

pytest_plugins = ["tests.batch_service.fixtures"]

CAUGHT_BY: dict[str, Callable[..., None]] = {
    "failures_succeed": test_batch_tasks.test_a_task_that_exits_otherwise_has_failed_with_a_reason,
    "retry_off_by_one": test_batch_tasks.test_a_failing_task_is_tried_again_as_often_as_allowed,
    "dependencies_ignored": test_batch_tasks.test_a_failed_task_keeps_those_that_depend_on_it_waiting,
    "no_auth": test_batch_wire.test_a_request_without_signature_is_refused,
    "outputs_lost": test_batch_files.test_outputs_are_uploaded_by_pattern,
    "select_ignored": test_batch_tasks.test_selected_properties_of_tasks_are_all_that_comes,
    "page_loses_items": test_batch_tasks.test_tasks_are_listed_in_pages_without_loss,
    "no_size_limit": test_batch_tasks.test_a_collection_that_is_too_large_is_refused_and_split_by_the_sdk,
    "reactivate_status": test_batch_tasks.test_a_failed_task_runs_again_when_reactivated,
    "terminate_ends_queued": test_batch_jobs.test_a_terminated_job_leaves_its_waiting_tasks_as_they_are,
}


def call(check: Callable[..., None], request: pytest.FixtureRequest) -> None:
    """Runs a test of another module with the fixtures that it asks for, jobs and containers new each time."""
    batch, pool = request.getfixturevalue("batch"), request.getfixturevalue("pool")
    storage = request.getfixturevalue("storage")
    fresh: dict[str, Callable[[], Any]] = {
        "job": lambda: make_job(batch, pool),
        "linked": lambda: make_job(batch, pool, uses_task_dependencies=True),
        "container": lambda: storage.create_container(unique("defect")),
    }
    names = inspect.signature(check).parameters
    check(**{name: fresh[name]() if name in fresh else request.getfixturevalue(name) for name in names})


@pytest.mark.service
@pytest.mark.parametrize("defect", sorted(CAUGHT_BY))
def test_the_check_passes_without_the_defect_and_fails_with_it(
    service: BatchService, request: pytest.FixtureRequest, defect: str
) -> None:
    check = CAUGHT_BY[defect]
    call(check, request)
    service.control("defect", name=defect, on=True)
    with pytest.raises((AssertionError, HttpResponseError, pytest.fail.Exception)):
        call(check, request)


def test_every_defect_that_the_service_offers_is_tried() -> None:
    assert set(CAUGHT_BY) == DEFECTS


def test_an_unknown_defect_is_refused(service: BatchService) -> None:
    assert (
        service.send("POST", "/_control/defect", {"name": "nothing", "on": True}, is_signed=False).status == 400
    )
