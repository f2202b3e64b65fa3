"""$filter and $select as Azure Batch takes them, compiled to closures: a list call may run over 100,000 tasks.

    or_expression  := and_expression ('or' and_expression)*
    and_expression := term ('and' term)*
    term           := 'not' term | operand (('eq'|'ne'|'gt'|'ge'|'lt'|'le') operand)?
    operand        := '(' or_expression ')' | function '(' operand (',' operand)* ')' | literal | path

Text compares without case: the service's ids are unique without it, and its enums are written in more than one.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from tests.batch_service.times import format_time, parse_time

Item = Mapping[str, Any]
Predicate = Callable[[Item], bool]
Getter = Callable[[Item], Any]
Comparison = Callable[[Any, Any], bool]

MAX_DEPTH = 100

_COMPARISONS: dict[str, Comparison] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_MIRRORED = {"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_FUNCTIONS: dict[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": operator.contains,
    "substringof": lambda part, whole: part in whole,
}
_TOKEN = re.compile(
    r"\s*(?:"
    r"(?i:datetime(?:offset)?)'(?P<datetime>[^']*)'"
    r"|(?P<string>'(?:[^']|'')*')"
    r"|(?P<moment>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:?\d\d)?)?)"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[LlDdFfMm]?)"
    r"|(?P<word>[A-Za-z_][\w.]*(?:/[A-Za-z_][\w.]*)*)"
    r"|(?P<mark>[(),])"
    r")"
)


class BadQuery(ValueError):  # noqa: N818
    """A $filter or $select that can't be read; the message says where."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class _Moment:
    """A point in time in the service's own spelling, whose seventh decimal a datetime can't hold."""

    text: str


@dataclass(frozen=True, slots=True)
class _Operand:
    get: Getter
    is_literal: bool = False
    literal: Any = None


def compile_filter(expression: str, fields: Collection[str] | None = None) -> Predicate:
    """A predicate over items; with `fields`, a name that is neither there nor below one of them is an error."""
    return _Parser(expression, fields).parse()


def matches(expression: str, item: Item) -> bool:
    return compile_filter(expression)(item)


def select(item: Item, names: Sequence[str], fields: Collection[str] | None = None) -> dict[str, Any]:
    """The named properties, in the item's own nesting; a name the item lacks is left out, `*` is everything."""
    chosen: dict[str, Any] = {}
    for position, name in enumerate(names):
        stripped = name.strip()
        if not stripped or (fields is not None and stripped != "*" and not _is_known(stripped, fields)):
            raise BadQuery(f"$select names no property of this type at position {position}: {name!r}")
        if stripped == "*":
            chosen.update(item)
        else:
            _copy(item, stripped.split("/"), chosen)
    return chosen


def _copy(source: Any, path: Sequence[str], target: dict[str, Any]) -> None:
    head, *rest = path
    if not isinstance(source, Mapping) or head not in source:
        return
    if not rest:
        target[head] = source[head]
        return
    inner = target.setdefault(head, {})
    if isinstance(inner, dict) and inner is not source[head]:
        _copy(source[head], rest, inner)


def _is_known(path: str, fields: Collection[str]) -> bool:
    segments = path.split("/")
    return any("/".join(segments[:count]) in fields for count in range(1, len(segments) + 1))


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise BadQuery(f"unexpected text at position {position}: {text[position:].strip()[:20]!r}")
        yield _Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup))
        position = found.end()
    yield _Token("end", "", len(text))


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str, fields: Collection[str] | None) -> None:
        self._tokens = list(_tokens(text))
        self._fields = fields
        self._at = 0
        self._depth = 0

    def parse(self) -> Predicate:
        predicate = self._either()
        if self._next.kind != "end":
            self._fail("expected 'and', 'or' or the end")
        return predicate

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _skip(self, kind: str, *texts: str) -> str | None:
        if self._next.kind == kind and self._next.text in texts:
            return self._take().text
        return None

    def _fail(self, expectation: str) -> NoReturn:
        found = repr(self._next.text) if self._next.text else "the end"
        raise BadQuery(f"{expectation} at position {self._next.position}, found {found}")

    def _either(self) -> Predicate:
        parts = [self._both()]
        while self._skip("word", "or"):
            parts.append(self._both())
        return _any_of(parts)

    def _both(self) -> Predicate:
        parts = [self._term()]
        while self._skip("word", "and"):
            parts.append(self._term())
        return _all_of(parts)

    def _term(self) -> Predicate:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} levels of nesting")
        try:
            return self._negation() if self._skip("word", "not") else self._comparison()
        finally:
            self._depth -= 1

    def _negation(self) -> Predicate:
        inner = self._term()
        return lambda item: not inner(item)

    def _comparison(self) -> Predicate:
        left = self._operand()
        name = self._skip("word", *_COMPARISONS)
        if name is None:
            return partial(_is_true, left.get)
        right = self._operand()
        if left.is_literal and not right.is_literal:
            left, right, name = right, left, _MIRRORED[name]
        return _compare(name, left.get, right)

    def _operand(self) -> _Operand:
        if self._skip("mark", "("):
            return self._group()
        token = self._next
        if token.kind == "word":
            return self._named(self._take())
        if token.kind in ("end", "mark"):
            self._fail("expected a property or a value")
        return _constant(self._literal(self._take()))

    def _group(self) -> _Operand:
        predicate = self._either()
        if not self._skip("mark", ")"):
            self._fail("expected ')'")
        return _Operand(predicate)

    def _named(self, token: _Token) -> _Operand:
        if self._next.text == "(" and self._next.kind == "mark":
            return self._function(token)
        if token.text in _WORDS:
            return _constant(_WORDS[token.text])
        if token.text in _COMPARISONS or token.text in ("and", "or", "not"):
            raise BadQuery(f"expected a property or a value at position {token.position}, found {token.text!r}")
        if self._fields is not None and not _is_known(token.text, self._fields):
            raise BadQuery(f"no property {token.text!r} to filter by, at position {token.position}")
        return _Operand(_getter(token.text))

    def _function(self, token: _Token) -> _Operand:
        test = _FUNCTIONS.get(token.text)
        if test is None:
            raise BadQuery(f"no function {token.text!r}, at position {token.position}")
        self._take()
        first = self._operand()
        if not self._skip("mark", ","):
            self._fail("expected ','")
        second = self._operand()
        if not self._skip("mark", ")"):
            self._fail("expected ')'")
        return _Operand(partial(_text_test, test, first.get, second.get))

    def _literal(self, token: _Token) -> Any:
        if token.kind == "string":
            return token.text[1:-1].replace("''", "'")
        if token.kind == "number":
            return float(token.text.rstrip("LlDdFfMm"))
        moment = _as_moment(token.text)
        if moment is None:
            raise BadQuery(f"no date and time at position {token.position}: {token.text!r}")
        return _Moment(moment)


def _any_of(parts: list[Predicate]) -> Predicate:
    first, *others = parts
    if not others:
        return first
    second = others[0]
    return (
        (lambda item: first(item) or second(item))
        if len(parts) == 2
        else lambda item: any(p(item) for p in parts)
    )


def _all_of(parts: list[Predicate]) -> Predicate:
    first, *others = parts
    if not others:
        return first
    second = others[0]
    return (
        (lambda item: first(item) and second(item))
        if len(parts) == 2
        else lambda item: all(p(item) for p in parts)
    )


def _constant(value: Any) -> _Operand:
    return _Operand(lambda _item: value, is_literal=True, literal=value)


def _getter(path: str) -> Getter:
    if "/" not in path:
        return lambda item: item.get(path)
    return partial(_descend, path.split("/"))


def _descend(path: Sequence[str], item: Any) -> Any:
    for name in path:
        if not isinstance(item, Mapping):
            return None
        item = item.get(name)
    return item


def _is_true(get: Getter, item: Item) -> bool:
    return get(item) is True


def _text_test(test: Callable[[str, str], bool], first: Getter, second: Getter, item: Item) -> bool:
    one, two = first(item), second(item)
    return isinstance(one, str) and isinstance(two, str) and test(one.lower(), two.lower())


def _compare(name: str, get: Getter, right: _Operand) -> Predicate:
    if right.is_literal:
        test = _test(name, right.literal)
        return lambda item: test(get(item))
    return lambda item: _test(name, right.get(item))(get(item))


def _test(name: str, literal: Any) -> Callable[[Any], bool]:
    """A test of one value against the literal; what is missing or of another type is equal to nothing."""
    if literal is None:
        return {"eq": lambda value: value is None, "ne": lambda value: value is not None}.get(
            name, lambda _: False
        )
    compare, unlike = _COMPARISONS[name], name == "ne"
    read = _reader(literal)
    wanted = literal.text if isinstance(literal, _Moment) else read(literal)

    def test(value: Any) -> bool:
        known = None if value is None else read(value)
        return unlike if known is None else compare(known, wanted)

    return test


def _reader(literal: Any) -> Callable[[Any], Any]:
    if isinstance(literal, str):
        return _as_text
    if isinstance(literal, bool):
        return _as_truth
    return _as_number if isinstance(literal, int | float) else _as_moment


def _as_text(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) else None


def _as_truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _as_moment(value: Any) -> str | None:
    """The service's own spelling of a moment, which sorts as text does."""
    if not isinstance(value, str):
        return None
    if len(value) == 28 and value[-1] == "Z":
        return value
    try:
        return format_time(parse_time(value))
    except ValueError:
        return None
