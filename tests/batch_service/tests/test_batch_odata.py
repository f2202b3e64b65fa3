"""$filter and $select of the local Batch service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.batch_service.odata import BadQuery, compile_filter, matches, select

pytestmark = pytest.mark.service

TASK: dict[str, Any] = {
    "id": "Frame-7",
    "state": "completed",
    "creationTime": "2026-11-22T19:00:00.1234567Z",
    "requiredSlots": 2,
    "isDedicated": True,
    "displayName": "it's (one) and only",
    "executionInfo": {"exitCode": 3, "result": "Failure", "failureInfo": {"code": "FailureExitCode"}},
}


@pytest.mark.parametrize(
    "expression",
    [
        "state eq 'completed'",
        "state eq 'Completed'",
        "'completed' eq state",
        "state ne 'active'",
        "executionInfo/exitCode eq 3",
        "executionInfo/exitCode ne 0 and executionInfo/exitCode lt 4",
        "executionInfo/exitCode ge 3",
        "3 le executionInfo/exitCode",
        "executionInfo/result eq 'failure'",
        "executionInfo/failureInfo/code eq 'FailureExitCode'",
        "creationTime gt datetime'2026-11-22T18:59:59Z'",
        "creationTime ge 2026-11-22T19:00:00.1234567Z",
        "creationTime lt 2026-11-22T21:30:00+02:00",
        "creationTime gt 2026-11-22",
        "startswith(id,'frame')",
        "startswith(id, 'Frame-') eq true",
        "endswith(id,'7')",
        "contains(id,'ame')",
        "substringof('ame', id)",
        "displayName eq 'it''s (one) and only'",
        "isDedicated",
        "isDedicated eq true",
        "not (state eq 'active')",
        "not isDedicated or state eq 'completed'",
        "((state eq 'completed'))",
        "requiredSlots gt 1.5",
        "requiredSlots ne -2",
        "requiredSlots eq 2L",
        "nodeInfo eq null",
        "executionInfo ne null",
        "nodeInfo/poolId ne 'pool'",
    ],
)
def test_the_expression_holds_for_the_task(expression: str) -> None:
    assert matches(expression, TASK)


@pytest.mark.parametrize(
    "expression",
    [
        "state eq 'active'",
        "state ne 'COMPLETED'",
        "executionInfo/exitCode gt 3",
        "creationTime lt datetime'2026-11-22T19:00:00Z'",
        "creationTime gt 2026-11-22T19:00:00.1234567Z",
        "nodeInfo/poolId eq 'pool'",
        "nodeInfo/poolId gt 'a'",
        "missing le 3",
        "executionInfo eq null",
        "nodeInfo ne null",
        "startswith(missing,'x')",
        "requiredSlots eq 'completed'",
        "state gt 3",
        "isDedicated eq false",
        "missing",
    ],
)
def test_the_expression_does_not_hold_for_the_task(expression: str) -> None:
    assert not matches(expression, TASK)


def test_and_binds_tighter_than_or() -> None:
    assert matches("state eq 'completed' or state eq 'active' and id eq 'other'", TASK)
    assert not matches("(state eq 'completed' or state eq 'active') and id eq 'other'", TASK)


def test_not_binds_tighter_than_and() -> None:
    assert not matches("not state eq 'completed' and id eq 'other'", TASK)


def test_a_long_alternative_of_ids_is_read() -> None:
    wanted = compile_filter(" or ".join(f"id eq 'frame-{number}'" for number in range(3000)))
    assert wanted(TASK)
    assert not wanted({"id": "frame-x"})


@pytest.mark.parametrize(
    ("expression", "position"),
    [
        ("", 0),
        ("state eq", 8),
        ("eq 'x'", 0),
        ("state = 'x'", 5),
        ("state eq 'x' 'y'", 13),
        ("(state eq 'x'", 13),
        ("state eq 'x", 8),
        ("state eq 'x' and", 16),
        ("upper(state) eq 'x'", 0),
        ("startswith(id)", 13),
        ("creationTime gt datetime'yesterday'", 25),
        ("state EQ 'x'", 6),
        ("((" * 200, 100),
    ],
)
def test_bad_syntax_is_told_with_its_position(expression: str, position: int) -> None:
    with pytest.raises(BadQuery, match=rf"position {position}\b"):
        compile_filter(expression)


def test_a_property_that_may_not_be_filtered_by_is_told_with_its_position() -> None:
    with pytest.raises(BadQuery, match=r"'commandLine'.* position 24"):
        compile_filter("state eq 'active' and   commandLine eq 'x'", fields=["state", "executionInfo"])


def test_a_property_below_an_allowed_one_may_be_filtered_by() -> None:
    assert compile_filter("executionInfo/exitCode eq 3", fields=["executionInfo"])(TASK)


@given(st.text())
def test_any_text_is_a_filter_or_a_bad_query(expression: str) -> None:
    try:
        answer = matches(expression, TASK)
    except BadQuery:
        return
    assert isinstance(answer, bool)


@given(st.text())
def test_any_text_survives_as_a_quoted_string(text: str) -> None:
    quoted = text.replace("'", "''")
    assert matches(f"displayName eq '{quoted}'", {"displayName": text})


def test_select_keeps_only_what_is_named() -> None:
    assert select(TASK, ["id", "state", "nothing"]) == {"id": "Frame-7", "state": "completed"}


def test_select_of_nested_names_keeps_the_nesting() -> None:
    chosen = select(TASK, ["executionInfo/exitCode", "executionInfo/failureInfo/code"])
    assert chosen == {"executionInfo": {"exitCode": 3, "failureInfo": {"code": "FailureExitCode"}}}


def test_select_leaves_the_item_as_it_was() -> None:
    item = {"executionInfo": {"exitCode": 3, "result": "failure"}}
    chosen = select(item, ["executionInfo", "executionInfo/exitCode"])
    chosen_again = select(item, ["executionInfo/exitCode"])
    assert chosen["executionInfo"] == {"exitCode": 3, "result": "failure"}
    assert chosen_again == {"executionInfo": {"exitCode": 3}}
    assert item == {"executionInfo": {"exitCode": 3, "result": "failure"}}


def test_select_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(BadQuery, match="'colour'"):
        select(TASK, ["id", "colour"], fields=list(TASK))
