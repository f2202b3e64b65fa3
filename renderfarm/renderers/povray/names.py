"""File names that a POV-Ray scene computes: what they are in each frame, as far as that is certain.

Only what simple scenes do is understood: texts joined with `concat`, numbers written with `str`, arithmetic
with `frame_number` and `clock`, and names that are declared once in the whole scene. All else is a gap in the
name. POV-Ray calculates with doubles; a value that would be rounded another way by the last bit is a gap too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

GAP = "\0"
"""stands in a name for text that is not known"""
LONGEST = 1000
"""of an expression, in characters"""
DEEPEST = 40
"""declarations that use declarations"""
_NARROW = Fraction(1, 1_000_000)
_WORDS = re.compile(r'\s*("(?:\\.|[^"\\])*"|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|[A-Za-z_]\w*|[^\s\w])')
_DECLARED = re.compile(r'#\s*(?:declare|local)\s+(\w+)\s*=((?:"(?:\\.|[^"\\])*"|[^";#])*)')
_FOLDER = re.compile(r'"((?:\\.|[^"\\])*)/(?:\\.|[^"\\/])*"')
_PARAMETERS = re.compile(r"#\s*macro\s+\w+\s*\(([^)]*)\)")
_CHANGING = re.compile(r"#\s*(?:read|for)\s*\(([^)]*)\)")
_WORD = re.compile(r"[A-Za-z_]\w*")


class Unclear(Exception):  # noqa: N818 - an answer, not an error
    """The value is not certain."""


@dataclass(frozen=True)
class Moment:
    """What POV-Ray's clockwork says in one frame."""

    frame: int | None
    clock: Fraction | None
    """None: not known"""
    first: bool = False
    """POV-Ray takes the first frame's clock as it is given, and calculates the others"""


NEVER = Moment(None, None)


@dataclass(frozen=True)
class Number:
    """A value and whether doubles hold it exactly."""

    value: Fraction
    exact: bool

    def whole(self, rounded: Callable[[Fraction], int]) -> Number:
        """Rounded by a function that jumps at whole numbers."""
        if not self.exact and abs(self.value - round(self.value)) < _NARROW:
            raise Unclear
        return Number(Fraction(rounded(self.value)), True)

    def text(self, length: int, digits: int) -> str:
        """As POV-Ray's `str` writes it."""
        if digits > 15:
            raise Unclear
        places = 6 if digits < 0 else digits
        rest = (self.value * 10**places) % 1
        if not self.exact and abs(rest - Fraction(1, 2)) < _NARROW:
            raise Unclear
        width = f"{'0' if length < 0 else ''}{abs(length)}" if length else ""
        return f"{float(self.value):{width}.{places}f}"


def _joined(one: Number, other: Number, value: Fraction) -> Number:
    whole = value.denominator == 1 and abs(value) < 1 << 50
    return Number(value, one.exact and other.exact and whole)


@dataclass
class Declarations:
    """What the names in a scene's texts stand for."""

    texts: dict[str, set[str]] = field(default_factory=dict)
    """name to the texts that follow its declarations"""
    parameters: set[str] = field(default_factory=set)
    """of macros"""
    changing: set[str] = field(default_factory=set)
    """other names that stand for something else each time: of loops, of what is read from files, of options"""
    folders: set[str] = field(default_factory=set)
    """that texts name, with a slash after them"""

    def read(self, text: str) -> None:
        """Learn from a text of the scene, comments taken out."""
        for match in _DECLARED.finditer(text):
            self.texts.setdefault(match[1], set()).add(match[2].strip()[:LONGEST])
        for match in _PARAMETERS.finditer(text):
            self.parameters.update(_WORD.findall(match[1]))
        for match in _CHANGING.finditer(text):
            self.changing.update(_WORD.findall(match[1]))
        self.folders.update(_FOLDER.findall(text))

    def meaning(self, name: str) -> str:
        """The text that the name stands for everywhere; raises Unclear."""
        found = self.texts.get(name, set())
        # A macro may assign to what it was given, so then no name is safe.
        if (
            len(found) != 1
            or name in self.parameters | self.changing
            or not self.parameters.isdisjoint(self.texts)
        ):
            raise Unclear
        return next(iter(found))


class Reader:
    """Reads one expression in one frame."""

    def __init__(self, text: str, known: Declarations, moment: Moment, depth: int = 0) -> None:
        self._words = _split(text)
        self._word = next(self._words, "")
        self._known = known
        self._moment = moment
        self._depth = depth

    def _next(self) -> str:
        word, self._word = self._word, next(self._words, "")
        return word

    def _expect(self, wanted: str) -> None:
        if self._next() != wanted:
            raise Unclear

    def _inside(self, name: str) -> Reader:
        if self._depth > DEEPEST:
            raise Unclear
        return Reader(self._known.meaning(name), self._known, self._moment, self._depth + 1)

    def string(self) -> str:
        """A text, with gaps."""
        word = self._next()
        if word.startswith('"'):
            return word[1:-1]
        try:
            return self._computed_string(word)
        except Unclear:
            return GAP

    def _computed_string(self, word: str) -> str:
        if word == "concat":
            return "".join(
                Reader(part, self._known, self._moment, self._depth).string() for part in self._parts()
            )
        if word == "str":
            parts = [Reader(part, self._known, self._moment, self._depth).alone() for part in self._parts()]
            if len(parts) != 3:
                raise Unclear
            number, length, digits = parts
            return number.text(int(length.value), int(digits.value))
        if self._word == "(":
            self._parts()
            raise Unclear
        return self._inside(word).string()

    def _parts(self) -> list[str]:
        """The arguments of a call, as text."""
        self._expect("(")
        parts, depth = [""], 0
        while self._word:
            word = self._next()
            if word == ")" and depth == 0:
                return parts
            depth += (word in "([{<") - (word in ")]}>")
            if word == "," and depth == 0:
                parts.append("")
            else:
                parts[-1] += f" {word}"
        raise Unclear

    def alone(self) -> Number:
        """A number and nothing after it."""
        number = self.number()
        if self._word:
            raise Unclear
        return number

    def number(self) -> Number:
        """A number; raises Unclear."""
        total = self._product()
        while self._word in ("+", "-"):
            sign = 1 if self._next() == "+" else -1
            term = self._product()
            total = _joined(total, term, total.value + sign * term.value)
        return total

    def _product(self) -> Number:
        total = self._single()
        while self._word in ("*", "/"):
            divided = self._next() == "/"
            factor = self._single()
            if divided and not factor.value:
                raise Unclear
            if not (total.exact and not total.value):  # nothing stays nothing
                value = total.value / factor.value if divided else total.value * factor.value
                total = _joined(total, factor, value)
        return total

    def _single(self) -> Number:
        word = self._next()
        if word in ("-", "+"):
            operand = self._single()
            return Number(-operand.value, operand.exact) if word == "-" else operand
        if word == "(":
            inner = self.number()
            self._expect(")")
            return inner
        if word[:1].isdigit() or (word.startswith(".") and len(word) > 1):
            value = Fraction(word)
            return Number(value, value.denominator == 1)
        if word == "frame_number" and self._moment.frame is not None:
            return Number(Fraction(self._moment.frame), True)
        if word == "clock" and self._moment.clock is not None:
            return Number(self._moment.clock, self._moment.first and self._moment.clock.denominator == 1)
        if word in _FUNCTIONS:
            return _FUNCTIONS[word](
                [Reader(part, self._known, self._moment, self._depth).alone() for part in self._parts()]
            )
        if not _WORD.fullmatch(word) or self._word == "(":
            raise Unclear
        declared = self._inside(word)
        number = declared.number()
        if declared._word:
            raise Unclear
        return number


def _split(text: str) -> Iterator[str]:
    return (match[1] for match in _WORDS.finditer(text))


def _of(count: int, call: Callable[..., Number]) -> Callable[[list[Number]], Number]:
    def checked(numbers: list[Number]) -> Number:
        if len(numbers) != count:
            raise Unclear
        return call(*numbers)

    return checked


def _divided(one: Number, other: Number) -> Number:
    if not other.value:
        raise Unclear
    return Number(one.value / other.value, one.exact and other.exact).whole(math.trunc)


def _modulo(one: Number, other: Number) -> Number:
    count = _divided(one, other).value
    value = one.value - count * other.value
    return Number(value, one.exact and other.exact)


_FUNCTIONS: dict[str, Callable[[list[Number]], Number]] = {
    "int": _of(1, lambda n: n.whole(math.trunc)),
    "floor": _of(1, lambda n: n.whole(math.floor)),
    "ceil": _of(1, lambda n: n.whole(math.ceil)),
    "abs": _of(1, lambda n: Number(abs(n.value), n.exact)),
    "min": _of(2, lambda a, b: a if a.value <= b.value else b),
    "max": _of(2, lambda a, b: a if a.value >= b.value else b),
    "mod": _of(2, _modulo),
    "div": _of(2, _divided),
}


def name_at(text: str, place: int, known: Declarations, moment: Moment) -> str:
    """The file name that an expression gives in a frame, with gaps."""
    return Reader(text[place : place + LONGEST], known, moment).string()


def pattern(name: str) -> str:
    """The fnmatch pattern for a name with gaps."""
    return "*".join(re.sub(r"([*?\[])", r"[\1]", part) for part in name.split(GAP))
