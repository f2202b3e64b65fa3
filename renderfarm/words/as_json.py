"""Dataclasses as JSON and back: the same types go from the farm to a node and home again.

Runs on nodes, and inside Blender.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def encode(value: object) -> Any:
    """A dataclass (or anything built of them) as JSON-ready values."""
    kind = type(value)
    if kind in _PLAIN or value is None:
        return value
    if dataclasses.is_dataclass(kind):
        return {key: encode(getattr(value, name)) for name, key in _names(kind)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [encode(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value


def to_json(value: object) -> str:
    """One line of JSON."""
    return json.dumps(encode(value), separators=(",", ":"))


def read_json(kind: type[T], text: str | bytes) -> T:
    """`decode` of what stands in a text; raises ValueError for what is no JSON, too."""
    try:
        return decode(kind, json.loads(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def decode(kind: type[T], data: Any) -> T:
    """The inverse of `encode`; raises ValueError for a value of another type than its field's.

    Unknown keys are ignored, so a newer writer does no harm, and what is left out has its default.
    """
    try:
        return typing.cast("T", _decoder(typing.cast("Any", kind))(data))
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


Decoder = Callable[[Any], Any]


@functools.cache
def _decoder(kind: Any) -> Decoder:
    """What reads values of a type; made once, as looking at types takes longer than all the rest."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, type):
        return _object(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _either(arguments)
    if origin is tuple:
        return _items(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*map(_decoder, arguments))
    return lambda data: data


_WHOLE = 1 << 63
"""what SQLite and most readers of JSON can hold"""


def _text(data: Any) -> Any:
    if type(data) is not str:
        raise ValueError(f"{data!r:.80} is no str")
    if "\0" in data or not data.isascii():
        _check(data)
    return data


def _check(text: str) -> None:
    """Raise ValueError for what no file's name and no terminal's text can be."""
    text.encode(errors="surrogateescape")
    if "\0" in text:
        raise ValueError(f"{text!r:.80} has a NUL in it")


def _number(name: str, *kinds: type) -> Decoder:
    def read(data: Any) -> Any:
        if type(data) not in kinds:
            raise ValueError(f"{data!r:.80} is no {name}")
        if not -_WHOLE <= data < _WHOLE:  # nor is it NaN
            raise ValueError(f"a number beyond 64 bits is no {name}")
        return data

    return read


_PLAIN: dict[Any, Decoder] = {
    str: _text,
    int: _number("int", int),
    bool: _number("bool", bool),  # which is no number in JSON
    float: _number("float", float, int),
}


def _object(kind: type) -> Decoder:
    if dataclasses.is_dataclass(kind):
        return functools.partial(_dataclass, kind)
    return kind if issubclass(kind, enum.Enum) else lambda data: data


def _dataclass(kind: Any, data: Any) -> Any:
    if type(data) is not dict:
        raise ValueError(f"{data!r:.80} is no object")
    return kind(**{name: read(data[key]) for name, key, read in _fields(kind) if key in data})


def _mapping(read_key: Decoder, read: Decoder) -> Decoder:
    return lambda data: {read_key(key): read(item) for key, item in data.items()}


def _either(kinds: tuple[Any, ...]) -> Decoder:
    """Values that may be null, or of one of several types: the first that fits."""
    *others, last = [_decoder(kind) for kind in kinds if kind is not type(None)]

    def read(data: Any) -> Any:
        if data is None and type(None) in kinds:
            return None
        for each in others:
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                return each(data)
        return last(data)

    return read


def _items(kinds: tuple[Any, ...]) -> Decoder:
    each = [_decoder(kind) for kind in kinds if kind is not Ellipsis]

    def read(data: Any) -> tuple[Any, ...]:
        if not isinstance(data, (list, tuple)):
            raise ValueError(f"{data!r:.80} is no list")
        if kinds[-1] is Ellipsis:
            return tuple(map(each[0], data))
        if len(data) != len(each):
            raise ValueError(f"{data!r:.80} has not {len(each)} items")
        return tuple(read(item) for read, item in zip(each, data, strict=True))

    return read


@functools.cache
def _names(kind: type) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, _key(field)) for field in dataclasses.fields(kind))


@functools.cache
def _fields(kind: type) -> list[tuple[str, str, Decoder]]:
    """Names and keys of fields, and what reads them."""
    hints = typing.get_type_hints(kind)
    return [(field.name, _key(field), _decoder(hints[field.name])) for field in dataclasses.fields(kind)]


def _key(field: dataclasses.Field[Any]) -> str:
    """A field's name in JSON, which stays where the field's own has become another."""
    return str(field.metadata.get("json", field.name))
