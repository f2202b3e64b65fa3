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
from collections.abc import Mapping
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


def decode(kind: type[T], data: Any) -> T:
    """The inverse of `encode`; raises ValueError for a value of another type than its field's.

    Unknown keys are ignored, so a newer writer does no harm, and what is left out has its default.
    """
    try:
        return typing.cast("T", _decode(kind, data))
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


def _decode(kind: Any, data: Any) -> Any:
    if kind in _PLAIN:
        if type(data) not in _PLAIN[kind] or (isinstance(data, int) and not -_WHOLE <= data < _WHOLE):
            raise ValueError(f"{_shown(data)} is no {kind.__name__}")
        return data
    if isinstance(kind, type):
        return _object(kind, data)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _either(arguments, data)
    if origin is tuple:
        return _items(arguments, data)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_decode(arguments[0], key): _decode(arguments[1], item) for key, item in data.items()}
    return data


_PLAIN: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), bool: (bool,), float: (float, int)}
"""type of a field to the types that JSON may have for it; a bool is no number"""


_WHOLE = 1 << 63
"""what SQLite and most readers of JSON can hold"""


def _shown(data: object) -> str:
    return "a number beyond 64 bits" if isinstance(data, int) and abs(data) >= _WHOLE else f"{data!r:.80}"


def _object(kind: type, data: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        if not isinstance(data, dict):
            raise ValueError(f"{data!r:.80} is no object")
        known = ((name, inner, data[key]) for name, key, inner in _fields(kind) if key in data)
        return kind(**{name: _decode(inner, item) for name, inner, item in known})
    return kind(data) if issubclass(kind, enum.Enum) else data


def _either(kinds: tuple[Any, ...], data: Any) -> Any:
    """A value that may be null, or of one of several types: the first that fits."""
    if data is None and type(None) in kinds:
        return None
    *others, last = [kind for kind in kinds if kind is not type(None)]
    for kind in others:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return _decode(kind, data)
    return _decode(last, data)


def _items(kinds: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise ValueError(f"{data!r:.80} is no list")
    if kinds[-1] is Ellipsis:
        return tuple(_decode(kinds[0], item) for item in data)
    if len(data) != len(kinds):
        raise ValueError(f"{data!r:.80} has not {len(kinds)} items")
    return tuple(map(_decode, kinds, data))


@functools.cache
def _names(kind: type) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, _key(field)) for field in dataclasses.fields(kind))


@functools.cache
def _fields(kind: type) -> list[tuple[str, str, Any]]:
    """Names, keys and types of fields, worked out once: that takes longer than all the rest of decoding."""
    hints = typing.get_type_hints(kind)
    return [(field.name, _key(field), hints[field.name]) for field in dataclasses.fields(kind)]


def _key(field: dataclasses.Field[Any]) -> str:
    """A field's name in JSON, which stays where the field's own has become another."""
    return str(field.metadata.get("json", field.name))
