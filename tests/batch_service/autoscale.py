"""The language of autoscale formulas: statements that end in node targets.

statement := (name '=')? ternary            name := '$'? identifier
ternary   := or ('?' ternary ':' ternary)?
or        := and ('||' and)*                and := equality ('&&' equality)*
then ==, !=; <, <=, >, >=; +, -; *, /; unary - and !; and members: $PendingTasks.GetSample(1), time().hour
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import NoReturn

from tests.batch_service.autoscale_values import (
    FUNCTIONS,
    FormulaError,
    Metric,
    Stopped,
    Value,
    member,
    number,
    operate,
    settled,
    signed,
    spell,
)

__all__ = ["FormulaError", "Result", "evaluate"]

MAX_BYTES = 8192
MAX_STATEMENTS = 100
MAX_DEPTH = 60


_DEALLOCATIONS = ("requeue", "terminate", "taskcompletion", "retaineddata")
_TARGETS = {
    "TargetDedicatedNodes": "TargetDedicatedNodes",
    "TargetDedicated": "TargetDedicatedNodes",
    "TargetLowPriorityNodes": "TargetLowPriorityNodes",
    "TargetLowPriority": "TargetLowPriorityNodes",
}
_METRICS = frozenset(
    (
        "CPUPercent",
        "WallClockSeconds",
        "MemoryBytes",
        "DiskBytes",
        "DiskReadBytes",
        "DiskWriteBytes",
        "DiskReadOps",
        "DiskWriteOps",
        "NetworkInBytes",
        "NetworkOutBytes",
        "SampleNodeCount",
        "ActiveTasks",
        "RunningTasks",
        "PendingTasks",
        "SucceededTasks",
        "FailedTasks",
        "TaskSlotsPerNode",
        "MaxTasksPerNode",
        "CurrentDedicatedNodes",
        "CurrentLowPriorityNodes",
        "CurrentDedicated",
        "PreemptedNodeCount",
        "UsableNodeCount",
    )
)
_INTERVALS = {
    "TimeInterval_Zero": timedelta(0),
    "TimeInterval_100ns": timedelta(microseconds=0.1),
    "TimeInterval_Microsecond": timedelta(microseconds=1),
    "TimeInterval_Millisecond": timedelta(milliseconds=1),
    "TimeInterval_Second": timedelta(seconds=1),
    "TimeInterval_Minute": timedelta(minutes=1),
    "TimeInterval_Hour": timedelta(hours=1),
    "TimeInterval_Day": timedelta(days=1),
    "TimeInterval_Week": timedelta(weeks=1),
    "TimeInterval_Year": timedelta(days=365),
}
_TOKEN = re.compile(
    r"(?:\s+|//[^\n]*|/\*.*?\*/)*(?:"
    r"(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r'|(?P<string>"[^"]*")'
    r"|(?P<name>\$?[A-Za-z_]\w*)"
    r"|(?P<mark>\|\||&&|[<>=!]=|[-+*/<>=!?:;.,()\[\]])"
    r"|(?P<end>\Z)"
    r")",
    re.DOTALL,
)
_BINARY: tuple[tuple[str, ...], ...] = (("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/"))


@dataclass(frozen=True, slots=True)
class Result:
    """What one evaluation gave; a target that the formula does not set is None."""

    variables: dict[str, object]
    target_dedicated: int | None
    target_spot: int | None
    deallocation: str | None
    text: str


@dataclass(slots=True)
class _Scope:
    samples: Mapping[str, float]
    current: Mapping[str, float]
    now: datetime
    assigned: dict[str, Value] = field(default_factory=dict)


Node = Callable[[_Scope], Value]


def evaluate(
    formula: str,
    samples: Mapping[str, float],
    current: Mapping[str, float] | None = None,
    *,
    now: datetime | None = None,
) -> Result:
    """Run a formula against the present value of each metric.

    `current` holds what `$TargetDedicatedNodes` and the like are before the first statement.
    Names come without the dollar. A metric that is not given is zero.
    """
    scope = _Scope(_plain(samples), _plain(current or {}), now or datetime.now(UTC))
    for statement in _Parser(formula).parse():
        try:
            statement(scope)
        except Stopped:
            break
        except (OverflowError, TypeError, RecursionError) as error:
            raise FormulaError(f"the formula can't be evaluated: {error}") from error
    return _result(scope)


def _plain(values: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix("$"): value for name, value in values.items()}


def _result(scope: _Scope) -> Result:
    dedicated = _target(scope, "TargetDedicatedNodes")
    spot = _target(scope, "TargetLowPriorityNodes")
    deallocation = scope.assigned.get("$NodeDeallocationOption")
    if deallocation is not None and deallocation not in _DEALLOCATIONS:
        raise FormulaError(
            f"$NodeDeallocationOption must be one of {', '.join(_DEALLOCATIONS)}, not {deallocation}"
        )
    chosen = deallocation if isinstance(deallocation, str) else None
    return Result(dict(scope.assigned), dedicated, spot, chosen, _text(scope, dedicated, spot, chosen))


def _target(scope: _Scope, name: str) -> int | None:
    """The whole number of nodes a target was set to; fractions are cut, as the service does."""
    aliases = [alias for alias, full in _TARGETS.items() if full == name and f"${alias}" in scope.assigned]
    if not aliases:
        return None
    value = number(scope.assigned[f"${aliases[0]}"])
    if not math.isfinite(value) or value < 0:
        raise FormulaError(f"${name} must be a number of nodes, not {spell(value)}")
    return int(value)


def _text(scope: _Scope, dedicated: int | None, spot: int | None, deallocation: str | None) -> str:
    before = {
        name: int(scope.current.get(name, 0)) for name in ("TargetDedicatedNodes", "TargetLowPriorityNodes")
    }
    lines = [
        f"$TargetDedicatedNodes={before['TargetDedicatedNodes'] if dedicated is None else dedicated}",
        f"$TargetLowPriorityNodes={before['TargetLowPriorityNodes'] if spot is None else spot}",
        f"$NodeDeallocationOption={deallocation or 'requeue'}",
    ]
    own = (
        name
        for name in sorted(scope.assigned)
        if name.removeprefix("$") not in {*_TARGETS, "NodeDeallocationOption"}
    )
    return ";".join(chain(lines, (f"{name}={spell(scope.assigned[name])}" for name in own)))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while True:
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise FormulaError(f"unexpected text at position {position}: {text[position:].strip()[:20]!r}")
        yield _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))
        if found.lastgroup == "end":
            return
        position = found.end()


class _Parser:
    """Recursive descent; each rule gives a closure, so an untaken branch of a ternary is never evaluated."""

    def __init__(self, formula: str) -> None:
        if len(formula.encode()) > MAX_BYTES:
            raise FormulaError(f"a formula may have {MAX_BYTES} bytes, this one has {len(formula.encode())}")
        self._tokens = list(_tokens(formula))
        self._at = 0
        self._depth = 0

    def parse(self) -> list[Node]:
        statements: list[Node] = []
        while self._next.kind != "end":
            if not self._skip(";"):
                statements.append(self._statement())
                if self._next.kind != "end" and self._skip(";") is None:
                    self._fail("expected ';'")
        if not statements:
            raise FormulaError("the formula is empty")
        if len(statements) > MAX_STATEMENTS:
            raise FormulaError(
                f"a formula may have {MAX_STATEMENTS} statements, this one has {len(statements)}"
            )
        return statements

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _skip(self, *marks: str) -> str | None:
        if self._next.kind == "mark" and self._next.text in marks:
            return self._take().text
        return None

    def _expect(self, mark: str) -> None:
        if self._skip(mark) is None:
            self._fail(f"expected {mark!r}")

    def _fail(self, expectation: str) -> NoReturn:
        found = repr(self._next.text) if self._next.text else "the end"
        raise FormulaError(f"{expectation} at position {self._next.position}, found {found}")

    def _statement(self) -> Node:
        if self._next.kind == "name" and self._tokens[self._at + 1].text == "=":
            name = self._take().text
            self._take()
            return _assignment(name, self._ternary())
        return self._ternary()

    def _ternary(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} levels of nesting")
        test = self._either()
        if self._skip("?"):
            yes = self._ternary()
            self._expect(":")
            no = self._ternary()
            self._depth -= 1
            return lambda scope: yes(scope) if number(test(scope)) else no(scope)
        self._depth -= 1
        return test

    def _either(self) -> Node:
        node = self._both()
        while self._skip("||"):
            node = _disjunction(node, self._both())
        return node

    def _both(self) -> Node:
        node = self._binary(0)
        while self._skip("&&"):
            node = _conjunction(node, self._binary(0))
        return node

    def _binary(self, level: int) -> Node:
        if level == len(_BINARY):
            return self._unary()
        node = self._binary(level + 1)
        while sign := self._skip(*_BINARY[level]):
            node = _operation(sign, node, self._binary(level + 1))
        return node

    def _unary(self) -> Node:
        signs = []
        while sign := self._skip("-", "!", "+"):
            signs.append(sign)
        node = self._member()
        for sign in reversed(signs):
            node = _signed(sign, node)
        return node

    def _member(self) -> Node:
        node = self._atom()
        while self._skip("."):
            if self._next.kind != "name":
                self._fail("expected a member's name")
            name = self._take().text
            arguments = self._arguments(")") if self._skip("(") else []
            node = _access(node, name, arguments)
        return node

    def _arguments(self, closing: str) -> list[Node]:
        arguments: list[Node] = []
        while not self._skip(closing):
            if arguments:
                self._expect(",")
            arguments.append(self._ternary())
        return arguments

    def _atom(self) -> Node:
        token = self._take()
        if token.kind == "number":
            number = float(token.text)
            return lambda _scope: number
        if token.kind == "string":
            text = token.text[1:-1]
            return lambda _scope: text
        if token.kind == "name":
            return self._name(token)
        if token.text == "(":
            inner = self._ternary()
            self._expect(")")
            return inner
        if token.text != "[":
            self._at -= 1
            self._fail("expected a value")
        return _call("vec", self._arguments("]"))

    def _name(self, token: _Token) -> Node:
        if not self._skip("("):
            return lambda scope: _look_up(scope, token.text)
        if token.text not in FUNCTIONS:
            raise FormulaError(f"no function {token.text!r}, at position {token.position}")
        return _call(token.text, self._arguments(")"))


def _assignment(name: str, node: Node) -> Node:
    plain = name.removeprefix("$")
    if (name.startswith("$") and plain in _METRICS) or plain in _INTERVALS:
        raise FormulaError(f"{name} can't be assigned to")

    def assign(scope: _Scope) -> Value:
        value = node(scope)
        if name.startswith("$") and plain in _TARGETS:
            value = number(value)
        scope.assigned[name] = value
        return value

    return assign


def _look_up(scope: _Scope, name: str) -> Value:
    if name in scope.assigned:
        return scope.assigned[name]
    plain = name.removeprefix("$")
    if name.startswith("$"):
        return _service_variable(scope, plain)
    if plain in _INTERVALS:
        return _INTERVALS[plain]
    if plain in _DEALLOCATIONS:
        return plain
    raise FormulaError(f"no variable {name}")


def _service_variable(scope: _Scope, name: str) -> Value:
    if name == "NodeDeallocationOption":
        return "requeue"
    full = _TARGETS.get(name)
    if full is not None:
        return Metric(full, float(scope.assigned.get(f"${full}", scope.current.get(full, 0))))  # type: ignore[arg-type]
    if name not in _METRICS and name not in scope.samples:
        raise FormulaError(f"no variable ${name}")
    return Metric(name, float(scope.samples.get(name, scope.current.get(name, 0))))


def _disjunction(left: Node, right: Node) -> Node:
    return lambda scope: float(bool(number(left(scope)) or number(right(scope))))


def _conjunction(left: Node, right: Node) -> Node:
    return lambda scope: float(bool(number(left(scope)) and number(right(scope))))


def _operation(sign: str, left: Node, right: Node) -> Node:
    return lambda scope: operate(sign, left(scope), right(scope))


def _signed(sign: str, node: Node) -> Node:
    return lambda scope: signed(sign, node(scope))


def _access(node: Node, name: str, arguments: list[Node]) -> Node:
    return lambda scope: member(node(scope), name, [settled(part(scope)) for part in arguments], scope.now)


def _call(name: str, arguments: list[Node]) -> Node:
    function = FUNCTIONS[name]
    return lambda scope: function(scope.now, [settled(part(scope)) for part in arguments])
