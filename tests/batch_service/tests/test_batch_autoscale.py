"""Autoscale formulas of the local Batch service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.batch_service.autoscale import FormulaError, evaluate

pytestmark = pytest.mark.service

MONDAY = datetime(2026, 11, 23, 13, 45, 30, tzinfo=UTC)
SAMPLES = {"PendingTasks": 7.0, "TaskSlotsPerNode": 2.0, "CPUPercent": 50.0}


def value(expression: str) -> object:
    return evaluate(f"$x = {expression};", SAMPLES, {"TargetDedicatedNodes": 4}, now=MONDAY).variables["$x"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1 + 2 * 3 - 8 / 4", 5),
        ("(1 + 2) * 3", 9),
        ("-2 - -3", 1),
        (".5 + 1e1", 10.5),
        ("1 < 2", 1),
        ("2 <= 1", 0),
        ("1 == 1 && 2 != 2", 0),
        ("0 || 3", 1),
        ("!0", 1),
        ("1 > 2 ? 10 : 2 > 1 ? 20 : 30", 20),
        ('"b" > "a"', 1),
        ("min(4, 2, 9)", 2),
        ("max([1, 5, 3], 4)", 5),
        ("avg(1, 2, 6)", 3),
        ("sum([1, 2], 3)", 6),
        ("len([1, 2], 3)", 3),
        ("len()", 0),
        ("lg(8)", 3),
        ("log(1000)", 3),
        ("ln(1)", 0),
        ("norm(3, 4)", 5),
        ("range(2, 9, 4)", 7),
        ("std(2, 4, 4, 4, 5, 5, 7, 9)", pytest.approx(2.138, abs=1e-3)),
        ("percentile([1, 2, 3, 4, 5], 50)", 3),
        ("val([10, 20, 30], 1)", 20),
        ("round(2.5)", 3),
        ("[1, 2] * 2 + [1, 1]", (3, 5)),
        ("10 - [1, 2]", (9, 8)),
        ("lg([8, 2])", (3, 1)),
        ("$PendingTasks.GetSample(1)", (7,)),
        ("$PendingTasks.GetSample(1) + 1", (8,)),
        ("$PendingTasks / 2", 3.5),
        ("len($CPUPercent.GetSample(TimeInterval_Minute * 10))", 20),
        ("len($CPUPercent.GetSample(TimeInterval_Minute, 6 * TimeInterval_Minute, 75))", 10),
        ("len($CPUPercent.GetSample(time() - TimeInterval_Minute * 2, 50))", 4),
        ("$CPUPercent.GetSamplePercent(TimeInterval_Minute * 5)", 100),
        ("$CPUPercent.GetSamplePeriod()", timedelta(seconds=30)),
        ("$CPUPercent.Count > 100", 1),
        ("$CPUPercent.HistoryBeginTime < time()", 1),
        ("$TargetDedicatedNodes + 1", 5),
        ("time().weekday", 1),
        ("time().hour * 100 + time().minute", 1345),
        ('time("2026-11-22T06:00:00Z").weekday', 0),
        ('time("Sun, 22 Nov 2026 06:00:00 GMT").day', 22),
        ('time() - time("2026-11-23T13:45:00Z")', timedelta(seconds=30)),
        ("TimeInterval_Hour + 30 * TimeInterval_Minute", timedelta(minutes=90)),
        ("TimeInterval_Day / 2 == 12 * TimeInterval_Hour", 1),
        ("-TimeInterval_Minute", timedelta(minutes=-1)),
    ],
)
def test_the_expression_has_this_value(expression: str, expected: object) -> None:
    assert value(expression) == expected


def test_rand_is_between_zero_and_one() -> None:
    assert value("rand() >= 0 && rand() < 1") == 1


def test_the_result_names_targets_and_deallocation_option_first() -> None:
    result = evaluate("$TargetDedicatedNodes=3;", {})
    assert result.text == "$TargetDedicatedNodes=3;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"
    assert (result.target_dedicated, result.target_spot, result.deallocation) == (3, None, None)


def test_a_spot_formula_follows_the_pending_tasks_up_to_its_maximum() -> None:
    formula = """
        // as many nodes as the tasks of the last five minutes need
        n = $PendingTasks.GetSamplePercent(TimeInterval_Minute * 5) < 70
            ? max(0, $PendingTasks.GetSample(1))
            : max($PendingTasks.GetSample(1), avg($PendingTasks.GetSample(TimeInterval_Minute * 5)));
        $TargetLowPriorityNodes = min(10, n / $TaskSlotsPerNode); /* spot only */
        $TargetDedicatedNodes = 0;
        $NodeDeallocationOption = taskcompletion;
    """
    few = evaluate(formula, SAMPLES)
    many = evaluate(formula, {**SAMPLES, "PendingTasks": 500})
    none = evaluate(formula, {**SAMPLES, "PendingTasks": 0})
    assert (few.target_spot, many.target_spot, none.target_spot) == (3, 10, 0)
    assert (few.target_dedicated, few.deallocation) == (0, "taskcompletion")


def test_a_formula_by_the_clock_uses_the_short_name_of_the_target() -> None:
    result = evaluate(
        """$curTime = time();
           $workHours = $curTime.hour >= 8 && $curTime.hour < 18;
           $isWeekday = $curTime.weekday >= 1 && $curTime.weekday <= 5;
           $TargetDedicated = $workHours && $isWeekday ? 20 : 10;""",
        {},
        now=MONDAY,
    )
    assert result.target_dedicated == 20
    assert result.text.endswith(";$curTime=2026-11-23T13:45:30.000Z;$isWeekday=1;$workHours=1")


def test_the_full_name_of_a_target_beats_the_short_one() -> None:
    assert evaluate("$TargetDedicatedNodes = 2; $TargetDedicated = 5;", {}).target_dedicated == 2


def test_halving_the_target_reaches_zero() -> None:
    result = evaluate("$TargetDedicatedNodes = $TargetDedicatedNodes / 2", {}, {"TargetDedicatedNodes": 1})
    assert result.target_dedicated == 0


def test_stop_keeps_what_was_set_before_it() -> None:
    result = evaluate("$TargetDedicatedNodes = 1; stop(); $TargetDedicatedNodes = 9;", {})
    assert result.target_dedicated == 1


def test_the_branch_that_is_not_taken_is_not_evaluated() -> None:
    assert value("1 ? 2 : 1 / 0") == 2


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("", "empty"),
        ("   ;; // nothing", "empty"),
        ("$TargetDedicatedNodes = ", "position 24"),
        ("$TargetDedicatedNodes = 1 $x = 2", "position 26"),
        ("$TargetDedicatedNodes = (1", r"'\)'"),
        ("$TargetDedicatedNodes = 1 ? 2", "':'"),
        ("$x = #", "position 4"),
        ("$x = ceiling(1)", "'ceiling'"),
        ("$x = $Tasks", r"\$Tasks"),
        ("$x = tasks", "tasks"),
        ("$x = $PendingTasks.Sample(1)", "Sample"),
        ('$x = $PendingTasks.GetSample("now")', "samples"),
        ("$PendingTasks = 3", "assigned"),
        ("$x = 1 / 0", "zero"),
        ("$x = ln(0)", "logarithm"),
        ("$x = max()", "one value"),
        ("$x = val([1], 1)", "index"),
        ("$x = [1, 2] + [1]", "vectors"),
        ("$x = 1 + TimeInterval_Hour", "timeinterval"),
        ('$x = 1 == "1"', "string"),
        ('$x = time("noon")', "noon"),
        ("$TargetDedicatedNodes = -1", "number of nodes"),
        ("$TargetDedicatedNodes = [1, 2]", "double"),
        ("$TargetDedicatedNodes = TimeInterval_Hour", "double"),
        ('$NodeDeallocationOption = "later"', "later"),
        ("$x = 1;" * 101, "100 statements"),
        ("$x = 1;" + " " * 8192, "8192 bytes"),
        ("$x = " + "(" * 500 + "1" + ")" * 500, "nesting"),
        ("$x = 1e308 * 10; $TargetDedicatedNodes = $x", "number of nodes"),
    ],
)
def test_a_bad_formula_is_refused_with_a_reason(formula: str, reason: str) -> None:
    with pytest.raises(FormulaError, match=reason):
        evaluate(formula, SAMPLES)


@given(st.text('$abcTargetDicNodes.()+-*/<>=!&|?:;,0123 \n[]"', max_size=60))
def test_any_text_is_evaluated_or_refused(formula: str) -> None:
    try:
        evaluate(formula, SAMPLES)
    except FormulaError as error:
        assert str(error)  # noqa: PT017
