"""The values of autoscale formulas: what operators, members and functions do with doubles, vectors and times.

There is no history here: every sample of a metric is its present value, and all samples are there.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import chain
from statistics import fmean, stdev
from typing import Any

from tests.batch_service.times import parse_time

SAMPLE_SECONDS = 30
HISTORY_SAMPLES = 2880

Vector = tuple[float, ...]

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CLOCK_FIELDS = ("year", "month", "day", "hour", "minute", "second")


class FormulaError(ValueError):
    """A formula that can't be read or evaluated; the message says where or why."""


class Stopped(Exception):  # noqa: N818
    """The formula called stop()."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A service variable; used as a number it is its last sample."""

    name: str
    value: float


Value = float | Vector | str | datetime | timedelta | Metric
Function = Callable[[datetime, list[Value]], Value]


def spell(value: Value) -> str:
    match value:
        case float():
            return f"{value:.15g}"
        case tuple():
            return f"[{','.join(spell(part) for part in value)}]"
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
        case timedelta():
            return str(value)
        case Metric():
            return spell(value.value)
    return value


def settled(value: Value) -> Value:
    return value.value if isinstance(value, Metric) else value


def number(value: Value) -> float:
    """A double; a vector of one counts as its element."""
    value = settled(value)
    if isinstance(value, tuple) and len(value) == 1:
        return value[0]
    if not isinstance(value, float):
        raise FormulaError(f"a double is needed, not {_kind(value)}")
    return value


def _kind(value: Value) -> str:
    return {tuple: "a doubleVec", str: "a string", datetime: "a timestamp", timedelta: "a timeinterval"}.get(
        type(value), "a double"
    )


def operate(sign: str, left: Value, right: Value) -> Value:
    combine = _compare if sign in _ORDERINGS else _calculate
    return combine(sign, settled(left), settled(right))


def signed(sign: str, value: Value) -> Value:
    value = settled(value)
    if sign == "!":
        return float(not number(value))
    if isinstance(value, timedelta):
        return -value if sign == "-" else value
    if isinstance(value, tuple):
        return tuple(-part for part in value) if sign == "-" else value
    return -number(value) if sign == "-" else number(value)


def _compare(sign: str, left: Value, right: Value) -> Value:
    if isinstance(left, tuple) or isinstance(right, tuple):
        left, right = number(left), number(right)
    if type(left) is not type(right):
        raise FormulaError(f"{_kind(left)} {sign} {_kind(right)} has no meaning")
    return float(_ORDERINGS[sign](left, right))


def _calculate(sign: str, left: Value, right: Value) -> Value:
    match sign, left, right:
        case _, float(), float():
            return _arithmetic(sign, left, right)
        case _, tuple(), float():
            return tuple(_arithmetic(sign, one, right) for one in left)
        case _, float(), tuple():
            return tuple(_arithmetic(sign, left, one) for one in right)
        case _, tuple(), tuple():
            if len(left) != len(right):
                raise FormulaError(f"vectors of {len(left)} and {len(right)} values {sign} each other")
            return tuple(_arithmetic(sign, one, two) for one, two in zip(left, right, strict=True))
    return _calculate_time(sign, left, right)


def _calculate_time(sign: str, left: Value, right: Value) -> Value:
    match sign, left, right:
        case ("+", timedelta(), datetime() | timedelta()) | ("+", datetime(), timedelta()):
            return left + right  # type: ignore[operator]
        case ("-", timedelta(), timedelta()) | ("-", datetime(), datetime() | timedelta()):
            return left - right  # type: ignore[operator]
        case "*", timedelta(), float():
            return left * right
        case "*", float(), timedelta():
            return right * left
        case "/", timedelta(), float() if right:
            return left / right
    raise FormulaError(f"{_kind(left)} {sign} {_kind(right)} has no meaning")


def _arithmetic(sign: str, left: float, right: float) -> float:
    if sign == "/":
        if right == 0:
            raise FormulaError("division by zero")
        return left / right
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


def member(owner: Value, name: str, given: list[Value], now: datetime) -> Value:
    """`$PendingTasks.GetSample(1)`, `$start.hour`."""
    if isinstance(owner, Metric):
        return _sample_method(owner, name, given, now)
    if isinstance(owner, datetime) and not given and name in (*_CLOCK_FIELDS, "weekday"):
        return float(owner.isoweekday() % 7 if name == "weekday" else getattr(owner, name))
    raise FormulaError(f"{_kind(owner)} has no member {name}")


def _sample_method(metric: Metric, name: str, given: list[Value], now: datetime) -> Value:
    match name:
        case "GetSample":
            return (metric.value,) * _sample_count(given, now)
        case "GetSamplePercent":
            _sample_count(given, now)
            return 100.0
        case "GetSamplePeriod":
            return timedelta(seconds=SAMPLE_SECONDS)
        case "Count":
            return float(HISTORY_SAMPLES)
        case "HistoryBeginTime":
            return now - timedelta(seconds=SAMPLE_SECONDS * HISTORY_SAMPLES)
    raise FormulaError(f"${metric.name} has no member {name}")


def _sample_count(given: list[Value], now: datetime) -> int:
    """How many samples a count, a look-back or a range of look-backs means; a last double is a percentage."""
    match given:
        case [float(count)]:
            return max(0, min(int(count), HISTORY_SAMPLES))
        case [datetime() | timedelta() as start] | [datetime() | timedelta() as start, float()]:
            span = _look_back(start, now)
        case [datetime() | timedelta() as start, datetime() | timedelta() as end, *rest] if len(rest) < 2:
            span = abs(_look_back(start, now) - _look_back(end, now))
        case _:
            raise FormulaError("samples are asked for by count, interval or time")
    return max(1, min(round(span.total_seconds() / SAMPLE_SECONDS), HISTORY_SAMPLES))


def _look_back(value: datetime | timedelta, now: datetime) -> timedelta:
    return value if isinstance(value, timedelta) else now - value


def _listed(function: Callable[[Vector], float]) -> Function:
    """A function of doubleVecList: any mixture of doubles and vectors."""

    def call(_now: datetime, given: list[Value]) -> Value:
        values = _flat(given)
        if not values and function is not _length:
            raise FormulaError("a function needs at least one value")
        return function(values)

    return call


def _flat(given: list[Value]) -> Vector:
    return tuple(
        chain.from_iterable(value if isinstance(value, tuple) else (number(value),) for value in given)
    )


def _length(values: Vector) -> float:
    return float(len(values))


def _each(function: Callable[[float], float]) -> Function:
    """A function of one double, or of each component of a list."""

    def apply(value: float) -> float:
        try:
            return float(function(value))
        except ValueError:
            raise FormulaError(f"no logarithm of {spell(value)}") from None

    def call(_now: datetime, given: list[Value]) -> Value:
        values = tuple(apply(value) for value in _flat(given))
        return values[0] if len(given) == 1 and isinstance(given[0], float) else values

    return call


def _percentile(_now: datetime, given: list[Value]) -> Value:
    if len(given) != 2:
        raise FormulaError("percentile takes a vector and a percentage")
    ordered = sorted(_flat(given[:1]))
    share = number(given[1]) / 100
    if not ordered or not 0 <= share <= 1:
        raise FormulaError("percentile takes a vector with values and a percentage from 0 to 100")
    low = math.floor(share * (len(ordered) - 1))
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (share * (len(ordered) - 1) - low)


def _element(_now: datetime, given: list[Value]) -> Value:
    values = _flat(given[:1])
    index = int(number(given[1])) if len(given) == 2 else -1
    if not 0 <= index < len(values):
        raise FormulaError("val takes a vector and an index within it")
    return values[index]


def _time(now: datetime, given: list[Value]) -> Value:
    if not given or given == [""]:
        return now
    text = given[0]
    if len(given) > 1 or not isinstance(text, str):
        raise FormulaError("time takes one string")
    try:
        return parse_time(text) if text[:1].isdigit() else parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, TypeError):
        raise FormulaError(f"neither W3C-DTF nor RFC 1123: {text!r}") from None


def _stop(_now: datetime, _given: list[Value]) -> Value:
    raise Stopped


FUNCTIONS: dict[str, Function] = {
    "avg": _listed(fmean),
    "len": _listed(_length),
    "lg": _each(math.log2),
    "ln": _each(math.log),
    "log": _each(math.log10),
    "max": _listed(max),
    "min": _listed(min),
    "norm": _listed(lambda values: math.hypot(*values)),
    "percentile": _percentile,
    "rand": lambda _now, _given: random.random(),
    "range": _listed(lambda values: max(values) - min(values)),
    "round": _each(lambda value: math.floor(value + 0.5)),
    "std": _listed(lambda values: stdev(values) if len(values) > 1 else 0.0),
    "stop": _stop,
    "sum": _listed(math.fsum),
    "time": _time,
    "val": _element,
    "vec": lambda _now, given: _flat(given),
}
