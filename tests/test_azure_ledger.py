"""The books of the Azure pool: each attempt of a frame comes out once, in whatever order things are told."""

from __future__ import annotations

from typing import Any

import pytest

from renderfarm.queues.azure import layout
from renderfarm.queues.azure.ledger import Ledger, Outcome
from renderfarm.words.model import Failed, Reason, Rendered, Started, Task, encode

NODE = "tvmps_3fa91c" + "0" * 58 + "_p"


def ledger(*tasks: Task) -> Ledger:
    books = Ledger()
    for task in tasks:
        books.submitted(task)
    return books


def rendered(frame: int, attempt: int = 1) -> dict[str, Any]:
    receipt = encode(Rendered(frame, "", 1.0, attempt=attempt, node=NODE))
    return {**receipt, "blob": layout.frame_blob(frame, attempt, "png"), "sha256": "ab", "bytes": 3}


def failed(frame: int, reason: Reason = Reason.CRASH, attempt: int = 1) -> dict[str, Any]:
    value: dict[str, Any] = encode(Failed(frame, reason, "it fell over", attempt=attempt, node=NODE))
    return value


def completed(task: str, **info: object) -> dict[str, Any]:
    return {"id": task, "state": "completed", "executionInfo": info}


def test_a_picture_is_handed_out_once_although_nodes_tell_it_twice() -> None:
    books, outcome = ledger(Task((1, 2))), Outcome()
    books.heard("Rendered", rendered(1), outcome)
    books.heard("Rendered", rendered(1), outcome)
    assert [picture.receipt.frame for picture in outcome.pictures] == [1]
    assert books.open_frames == 1


def test_what_an_earlier_attempt_says_late_is_not_taken_for_the_newest_one() -> None:
    books, outcome = ledger(Task((1,)), Task((1,), 2)), Outcome()
    books.heard("Rendered", rendered(1, attempt=1), outcome)
    assert not outcome.pictures
    books.heard("Rendered", rendered(1, attempt=2), outcome)
    assert outcome.pictures[0].blob == "frames/0001.2.png"


def test_a_failure_waits_until_batch_has_given_up_on_its_task() -> None:
    books, outcome = ledger(Task((1,))), Outcome()
    books.heard("Failed", failed(1), outcome)
    assert not outcome.updates
    books.ended(completed("f0001", result="failure", exitCode=1), outcome)
    (failure,) = outcome.updates
    assert isinstance(failure, Failed)
    assert (failure.reason, failure.message, failure.final) == (Reason.CRASH, "it fell over", True)


def test_a_frame_that_failed_and_then_came_out_is_good() -> None:
    books, outcome = ledger(Task((1,))), Outcome()
    books.heard("Failed", failed(1), outcome)
    books.heard("Rendered", rendered(1), outcome)
    books.ended(completed("f0001", result="success", exitCode=0), outcome)
    assert not outcome.updates
    assert len(outcome.pictures) == 1


def test_a_task_that_ended_well_without_a_word_is_looked_for_in_storage() -> None:
    books, outcome = ledger(Task((4, 5))), Outcome()
    books.heard("Rendered", rendered(4), outcome)
    books.ended(completed("f0004-0005", result="Success", exitCode=0), outcome)
    assert outcome.silent == [("f0004-0005", 5, 1)]


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"exitCode": 40}, Reason.MISSING_FILE),
        ({"exitCode": 42}, Reason.SCENE_ERROR),
        ({"exitCode": -9}, Reason.CRASH),
        ({"failureInfo": {"code": "DiskFull", "message": "full"}}, Reason.NODE_LOST),
        ({"failureInfo": {"code": "TaskEnded", "message": "stopped"}}, Reason.UNKNOWN),
    ],
)
def test_frames_that_never_spoke_fail_for_their_tasks_reason(info: dict[str, object], reason: Reason) -> None:
    books, outcome = ledger(Task((1, 2))), Outcome()
    books.ended(completed("f0001-0002", result="failure", **info), outcome)
    assert [update.reason for update in outcome.updates if isinstance(update, Failed)] == [reason, reason]
    assert books.open_frames == 0


def test_a_task_that_storage_refused_stays_open_and_asks_for_new_tokens() -> None:
    books, outcome = ledger(Task((1, 2))), Outcome()
    books.heard("Rendered", rendered(1), outcome)
    books.ended(completed("f0001-0002", result="failure", exitCode=41), outcome)
    assert outcome.refused
    assert books.again() == [Task((2,))]


def test_frames_that_are_with_the_cloud_are_not_submitted_again() -> None:
    books = ledger(Task((1, 2, 3)))
    fresh = list(books.new([Task((2, 3, 4)), Task((1,), 2)]))
    assert fresh == [Task((4,)), Task((1,), 2)]


def test_a_lost_job_may_be_tried_again() -> None:
    books = ledger(Task((1, 2)))
    failures = books.give_up(Reason.NODE_LOST, "deleted")
    assert [(f.frame, f.reason, f.final) for f in failures] == [
        (1, Reason.NODE_LOST, False),
        (2, Reason.NODE_LOST, False),
    ]


def test_a_full_disk_on_a_node_is_not_this_machines() -> None:
    books, outcome = ledger(Task((1,))), Outcome()
    books.heard("Failed", failed(1, Reason.DISK_FULL), outcome)
    books.ended(completed("f0001", result="failure", exitCode=43), outcome)
    (failure,) = outcome.updates
    assert isinstance(failure, Failed)
    assert failure.reason is Reason.NODE_LOST
    assert outcome.unfit == ["f0001"]
    assert "3fa91c-spot" in failure.message


def test_started_names_the_node_as_people_can_read_it() -> None:
    books, outcome = ledger(Task((1,))), Outcome()
    books.heard("Started", encode(Started(1, "f0001", 1, NODE)), outcome)
    assert outcome.updates == [Started(1, "f0001", 1, "3fa91c-spot")]


def test_a_word_about_a_frame_that_nobody_submitted_changes_nothing() -> None:
    books, outcome = ledger(Task((1,))), Outcome()
    books.heard("Rendered", rendered(9), outcome)
    books.ended(completed("somebody-elses", result="failure", exitCode=1), outcome)
    assert (outcome.updates, outcome.pictures, books.open_frames) == ([], [], 1)
