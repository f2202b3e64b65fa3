"""The ledger: what became of frames follows from what was said, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.job.events import (
    Begun,
    Canceled,
    Delivered,
    Doubted,
    Event,
    GivenUp,
    Left,
    Missed,
    Noted,
    Retried,
    Reused,
    Suspected,
)
from renderfarm.job.fold import fold
from renderfarm.job.ledger import DECIDED, Ledger
from renderfarm.job.retry import LOST_LIMIT
from renderfarm.words.frames import parse
from renderfarm.words.states import FrameState, JobState, Reason
from renderfarm.words.updates import Failed, NodeChange, Rendered, Started
from renderfarm.words.work import Build

QUEUED, RUNNING, SUCCEEDED = FrameState.QUEUED, FrameState.RUNNING, FrameState.SUCCEEDED
FAILED, CANCELED = FrameState.FAILED, FrameState.CANCELED


def ledger(*events: Event, frames: str = "1-4", retries: int = 2) -> Ledger:
    """The ledger of a job to which this happened, a second apart."""
    found = Ledger(parse(frames), retries)
    for time, event in enumerate(events):
        fold(found, event, float(time))
    return found


def started(frame: int, attempt: int = 1, node: str = "w1") -> Started:
    return Started(frame, "t", attempt, node)


def rendered(frame: int, attempt: int = 1) -> Rendered:
    return Rendered(frame, f"{frame}.png", 1.5, task="t", attempt=attempt, node="w1", log="t.log")


def delivered(frame: int, attempt: int = 1) -> Delivered:
    return Delivered(frame, attempt, 100, 5)


def failed(frame: int, attempt: int = 1, reason: Reason = Reason.CRASH, message: str = "died") -> Failed:
    return Failed(frame, reason, message, attempt=attempt)


@pytest.mark.parametrize(
    "event",
    [
        Reused(9, 100, 5),
        Missed(9),
        Doubted(9, "blank", ""),
        Suspected((9,), ("blank",), ("",)),
        Retried("no range"),
        Retried("1-99999999999"),
    ],
    ids=str,
)
def test_what_is_said_of_frames_that_a_job_does_not_have_changes_nothing(event: Event) -> None:
    known = [started(1), rendered(1), delivered(1)]
    before, after = ledger(*known), ledger(*known, event)
    assert (after.frames, after.tally, after.run) == (before.frames, before.tally, before.run)
    assert (after.suspects(), after.counts()) == ([], before.counts())


def test_a_frame_that_nothing_was_said_about_is_queued() -> None:
    assert ledger(frames="1-10000000").state(7_000_000) is QUEUED


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([started(1)], RUNNING),
        ([started(1), rendered(1)], RUNNING),
        ([started(1), rendered(1), delivered(1)], SUCCEEDED),
        ([started(1), failed(1)], QUEUED),
        ([failed(1), failed(1, 2), failed(1, 3)], FAILED),
        ([failed(1, reason=Reason.SCENE_ERROR)], FAILED),
        ([failed(1), started(1, 2), rendered(1, 2), delivered(1, 2)], SUCCEEDED),
        ([Reused(1, 100, 5)], SUCCEEDED),
        ([Reused(1, 100, 5), Missed(1)], QUEUED),
        ([delivered(1), Doubted(1, "blank", "white")], QUEUED),
        ([started(1), Begun()], QUEUED),
        ([started(1), Left(3.0)], QUEUED),
        ([Canceled()], CANCELED),
        ([delivered(1), Canceled()], SUCCEEDED),
        ([Canceled(), Begun()], QUEUED),
        ([GivenUp("all crash")], FAILED),
        ([GivenUp("all crash"), Retried()], QUEUED),
        ([failed(1, reason=Reason.SCENE_ERROR), Retried()], QUEUED),
        ([delivered(1), Retried()], SUCCEEDED),
        ([delivered(1), Retried("1-2")], QUEUED),
        ([Retried("1"), failed(1, reason=Reason.SCENE_ERROR), delivered(1, 2)], SUCCEEDED),
        ([failed(1, reason=Reason.SCENE_ERROR), delivered(1)], FAILED),
    ],
)
def test_a_frame_is_what_was_said_of_it(events: list[Event], state: FrameState) -> None:
    assert ledger(*events).state(1) is state


def test_an_attempt_that_ended_ends_once() -> None:
    twice = ledger(failed(1), failed(1), failed(1))
    assert (twice.frames[1].spent, twice.state(1)) == (1, QUEUED)


def test_whose_clock_is_ahead_makes_no_difference_to_a_delivered_frame() -> None:
    farms_first = ledger(delivered(1), rendered(1))
    assert (farms_first.frames[1].node, farms_first.frames[1].log) == ("w1", "t.log")
    assert not farms_first.tally.waiting
    assert farms_first.counts() == ledger(rendered(1), delivered(1)).counts()


def test_a_late_word_of_an_earlier_attempt_changes_nothing() -> None:
    late = ledger(failed(1), started(1, 2), delivered(1, 2), started(1, 1), rendered(1, 1), failed(1, 1))
    assert late.state(1) is SUCCEEDED


def test_a_lost_node_costs_no_try() -> None:
    lost = [failed(1, attempt, Reason.NODE_LOST) for attempt in range(1, LOST_LIMIT + 1)]
    assert ledger(*lost, retries=0).state(1) is QUEUED
    assert ledger(*lost, failed(1, LOST_LIMIT + 1, Reason.NODE_LOST), retries=0).state(1) is FAILED


def test_the_same_bad_picture_twice_is_what_the_scene_says() -> None:
    bad = [failed(1, attempt, Reason.BAD_PICTURE, "truncated: half") for attempt in (1, 2)]
    assert ledger(*bad, retries=9).state(1) is FAILED


def test_what_a_pool_calls_final_is_not_tried_again() -> None:
    assert ledger(Failed(1, Reason.CRASH, "died", final=True)).state(1) is FAILED


def test_after_a_retry_tries_count_anew_and_are_numbered_on() -> None:
    again = ledger(failed(1), failed(1, 2), failed(1, 3), Retried("1"), failed(1, 3), failed(1, 4))
    assert (again.state(1), again.frames[1].attempts, again.frames[1].spent) == (QUEUED, 4, 1)


def test_counts_add_up_to_the_job() -> None:
    some = ledger(started(1), started(2), rendered(2), delivered(2), Reused(3, 1, 1))
    counts = some.counts()
    assert (counts.total, counts.succeeded, counts.reused, counts.running, counts.queued) == (4, 2, 1, 1, 1)


def test_nothing_runs_where_nobody_works() -> None:
    assert (ledger(started(1)).counts(alive=False).running, ledger(started(1)).counts(alive=False).queued) == (
        0,
        4,
    )


def test_frames_that_were_not_tried_are_failures_too() -> None:
    failures = list(ledger(failed(2, reason=Reason.SCENE_ERROR), delivered(1), GivenUp("all fail")).failures())
    assert [(f.frame, f.reason) for f in failures] == [(2, "scene-error"), (3, "given-up"), (4, "given-up")]


def test_suspicions_take_the_place_of_earlier_ones() -> None:
    some = ledger(
        delivered(1),
        delivered(2),
        Suspected((1,), ("blank",), ("white",)),
        Suspected((2,), ("outlier",), ("far",)),
    )
    assert [(s.frame, s.finding, s.detail) for s in some.suspects()] == [(2, "outlier", "far")]


def test_a_suspicion_of_a_newer_version_is_none() -> None:
    assert ledger(delivered(1), Suspected((1,), ("mauve",), ("",))).suspects() == []


def test_a_job_is_what_its_frames_are() -> None:
    done = [delivered(frame) for frame in (1, 2, 3, 4)]
    assert ledger().job_state(alive=True) is JobState.QUEUED
    assert ledger(started(1)).job_state(alive=True) is JobState.RUNNING
    assert ledger(started(1)).job_state(alive=False) is JobState.QUEUED
    assert ledger(*done).job_state(alive=True) is JobState.RUNNING
    assert ledger(*done).job_state(alive=False) is JobState.SUCCEEDED
    assert ledger(*done[1:], failed(1, reason=Reason.SCENE_ERROR)).job_state(alive=False) is JobState.FAILED
    assert ledger(*done[1:], Canceled()).job_state(alive=False) is JobState.CANCELED


def test_a_note_is_kept_once() -> None:
    assert ledger(Noted("no sandbox"), Noted("no sandbox")).remarks.notes == ["no sandbox"]


def test_renderers_that_nodes_elsewhere_name_are_known_once() -> None:
    old, new = (Build("blender", "/b", (major,), f"Blender {major}", f"b{major}") for major in (4, 5))
    told = [replace(rendered(frame), build=build) for frame, build in enumerate((old, old, new), 1)]
    assert ledger(*told).remarks.builds == ["Blender 4", "Blender 5"]


def test_that_a_file_was_not_there_is_known_of_the_attempt_that_gave_the_picture() -> None:
    found = ledger(replace(rendered(1), lacking=True), delivered(1))
    assert [each.frame for each in found.of(SUCCEEDED) if each.lacking] == [1]
    assert not ledger(replace(rendered(1), lacking=True), failed(1), rendered(1, 2)).frames[1].lacking


def test_frames_that_the_job_does_not_have_are_nobodys() -> None:
    assert not ledger(started(9), delivered(10**30), failed(-5)).frames


FRAMES = st.integers(1, 4)
ATTEMPTS = st.integers(1, 3)
EVENTS = st.lists(
    st.one_of(
        st.builds(started, FRAMES, ATTEMPTS),
        st.builds(rendered, FRAMES, ATTEMPTS),
        st.builds(delivered, FRAMES, ATTEMPTS),
        st.builds(
            failed, FRAMES, ATTEMPTS, st.sampled_from([Reason.CRASH, Reason.NODE_LOST, Reason.SCENE_ERROR])
        ),
        st.builds(Reused, FRAMES, st.just(1), st.just(1)),
        st.builds(Missed, FRAMES),
        st.builds(NodeChange, st.just("w1"), st.sampled_from(["loading", "gone"])),
        st.sampled_from([Begun(), Left(1.0), Canceled(), GivenUp("why"), Retried(), Retried("2-3")]),
    ),
    max_size=30,
)


@given(EVENTS)
def test_counts_are_those_of_the_states_whatever_happens(events: list[Event]) -> None:
    found = ledger(*events)
    counts = found.counts()
    states = [found.state(frame) for frame in found.range]
    assert counts.succeeded == states.count(SUCCEEDED)
    assert counts.failed == states.count(FAILED) == len(list(found.failures()))
    assert counts.canceled == states.count(CANCELED)
    assert found.undecided == sum(state not in DECIDED for state in states)


@given(EVENTS)
def test_what_nodes_say_twice_is_said_once(events: list[Event]) -> None:
    said = [event for event in events if isinstance(event, (Delivered, Failed))]
    once, twice = ledger(*said), ledger(*said, *said)
    assert [once.state(f) for f in once.range] == [twice.state(f) for f in twice.range]
    assert {f: frame.spent for f, frame in once.frames.items()} == {
        f: frame.spent for f, frame in twice.frames.items()
    }


def test_a_node_is_paid_from_its_first_word_to_its_last_in_whatever_order_they_are_heard() -> None:
    found = Ledger(parse("1-4"), 2)
    for time in (30.0, 10.0, 20.0):
        fold(found, NodeChange("w1", "working"), time)
    assert found.nodes.spans["w1"] == (10.0, 30.0)
