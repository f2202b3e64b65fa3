"""What nodes say, taken for what it is: words of machines that run foreign scenes.

Only what has the right shape comes in, its text without control characters, its names without paths. What a
node says wrongly of a frame is as if it had said nothing: Batch tells how the task ended.
"""

from __future__ import annotations

import enum
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from renderfarm.queues.azure import layout
from renderfarm.words.model import SUFFIXES, Build, Failed, Rendered, Started, decode

T = TypeVar("T", Started, Rendered, Failed)

LONGEST_TEXT = 2000
MOST_WARNINGS = 50
MOST_BYTES = 1 << 20
"""of a line; ours are far shorter"""
_MOST = 1 << 53
_LOG = re.compile(rf"{layout.LOGS}[^/]+/[^/]+")
_SHA256 = re.compile(r"[0-9a-f]*")
_HINTS = {kind.__name__: typing.get_type_hints(kind) for kind in (Started, Rendered, Failed)}


def line(text: bytes) -> tuple[str, dict[str, Any], float] | None:
    """Kind, value and time of a journal's line; None for what is none."""
    if len(text) > MOST_BYTES:
        return None
    try:
        kind, value, time = json.loads(text)
        told = str(kind), dict(value), float(time)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return told if abs(told[2]) < _MOST else None


def event(kind: type[T], value: Mapping[str, Any]) -> T | None:
    """An event of a frame; None for what is none."""
    log = value.get("log")
    if isinstance(log, str) and not (_LOG.fullmatch(log) and ".." not in log):
        value = {**value, "log": ""}
    hints = _HINTS[kind.__name__]
    cleaned = {
        name: _clean(item)
        for name, item in value.items()
        if name in hints and name not in ("build", "observed")
    }
    if not all(_fits(item, hints[name]) for name, item in cleaned.items()):
        return None
    try:
        return decode(kind, cleaned)
    except (ValueError, TypeError):
        return None


def _build(value: object) -> Build | None:
    """What a node says that it renders with; None for what is no build."""
    try:
        return decode(Build, {name: _clean(item) for name, item in dict(value).items()})  # type: ignore[call-overload]
    except (ValueError, TypeError):
        return None


def receipt(value: Mapping[str, Any]) -> tuple[Rendered, str, str, int] | None:
    """A frame that is in storage, its blob, hash and size; None for what is none.

    A node may not choose the blob's name: it becomes a file's name here.
    """
    told, size = event(Rendered, value), number(value, "bytes")
    digest, blob = value.get("sha256"), value.get("blob")
    if told is None or size is None or not isinstance(blob, str) or not isinstance(digest, str):
        return None
    suffix = blob.rpartition(".")[2]
    if suffix not in SUFFIXES.values() or blob != layout.frame_blob(told.frame, told.attempt, suffix):
        return None
    told = replace(told, build=_build(value.get("build")))
    return (told, blob, digest, size) if _SHA256.fullmatch(digest) else None


def number(value: Mapping[str, Any], name: str) -> int | None:
    """A whole number of an entry; None when there is none."""
    found = value.get(name)
    return found if isinstance(found, int) and _fits(found, int) else None


def words(text: object) -> str:
    """Foreign text in one line that neither a terminal nor a page takes for orders."""
    whole = str(text)[:LONGEST_TEXT]
    return whole if whole.isprintable() else "".join(c if c.isprintable() else "�" for c in whole)


def _clean(item: Any) -> Any:
    if isinstance(item, str):
        return words(item)
    if isinstance(item, (list, tuple)):
        return [_clean(each) for each in item[:MOST_WARNINGS]]
    return item


def _fits(item: Any, hint: Any) -> bool:
    """Whether a value from JSON is of a field's type, and no number that a database can't keep."""
    if hint is bool:
        return isinstance(item, bool)
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        return isinstance(item, kinds) and not isinstance(item, bool) and abs(item) < _MOST
    if typing.get_origin(hint) is tuple:
        return isinstance(item, list) and all(isinstance(each, str) for each in item)
    if isinstance(hint, type) and issubclass(hint, (str, enum.Enum)):
        return isinstance(item, str)
    return False
