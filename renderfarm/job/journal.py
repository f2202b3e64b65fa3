"""Journals: what happened to a job, one JSON line an event, the same here, on a cluster and in the cloud.

One file, one writer: a node process, or the farm under the job's claim. A line is `[kind, value, time]`,
the time in seconds since the epoch by the writer's clock. A torn last line is no event, and neither is a line
that is none of ours; nothing that stands in a journal can raise.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renderfarm.errors import StoreError
from renderfarm.words import files
from renderfarm.words.as_json import decode, encode

if TYPE_CHECKING:
    from renderfarm.job.events import Event

SCHEMA = 1
"""first line of every journal: `["Schema", {"version": 1}, time]`"""
MOST_BYTES = 1 << 20
"""of a line of a node; ours are far shorter"""
MOST_OF_FARM = 1 << 26
"""of one of the farm, which lists the files of a scene: a hundred thousand are 20 MB"""
PIECE_BYTES = 8 << 20
"""read at once, however much there is"""
FOLDER = "journal"
"""of a job's, below its own"""
FARM = "farm"
"""the journal of what only the farm decides"""
LONGEST_TEXT = 2000
MOST_ITEMS = 50
"""of a list in what a node says, but of the files that it saw"""
_MOST = 1 << 53
_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was said."""

    event: Event
    time: float
    """seconds since the epoch, by the writer's clock"""


def line(event: object, now: float) -> bytes:
    """An event as a journal has it."""
    return _JSON.encode([type(event).__name__, encode(event), round(now, 6)]).encode() + b"\n"


def entry(text: bytes, *, of_node: bool = True) -> Entry | None:
    """The event of a line; None for a torn or foreign one, and for a kind that this version does not know.

    Nodes run foreign scenes: of what they say, only what nodes may say counts, with text that neither a
    terminal nor a page takes for orders, and numbers that a database can keep.
    """
    from renderfarm.job.events import KINDS, OF_NODES  # a fifth of a node's start, and nodes only write

    if len(text) > (MOST_BYTES if of_node else MOST_OF_FARM):
        return None
    try:
        kind, value, when = json.loads(text.decode())
        if of_node:
            value = _tame(value) if kind in OF_NODES else None
        return Entry(decode(KINDS[kind], value), float(_tame(when)))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _tame(item: Any) -> Any:
    """A value of bounded size whose text is printable; raises ValueError for a number that none can be."""
    kind = type(item)
    if kind is str:
        whole = item[:LONGEST_TEXT]
        return whole if whole.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in whole)
    if kind is dict:
        return {key: _seen(each) if key == "observed" else _tame(each) for key, each in item.items()}
    if kind is list:
        return [_tame(each) for each in item[:MOST_ITEMS]]
    if kind in (int, float) and not abs(item) < _MOST:
        raise ValueError(f"{item} is no number of ours")
    return item


def _seen(item: Any) -> Any:
    """What a node saw of files; None unless all are names that files can have."""
    if not isinstance(item, dict):
        return None
    names = [name for key, each in item.items() if key != "name" and isinstance(each, list) for name in each]
    fine = all(isinstance(name, str) and name.startswith("/") and "\0" not in name for name in names)
    return {**item, "name": _tame(item.get("name"))} if fine else None


class Journal:
    """One writer's file, open for adding. What a killed writer left half written is closed off."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"
        how = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, how, 0o666)
        size = os.fstat(self._file).st_size
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        if size == 0:
            self.write(json.dumps(["Schema", {"version": SCHEMA}, round(time.time(), 3)]).encode() + b"\n")

    def add(self, *events: object, now: float | None = None) -> None:
        """Add events, all in one write; raises OSError when the disk is full."""
        when = time.time() if now is None else now
        self.write(b"".join(line(event, when) for event in events))

    def write(self, data: bytes) -> None:
        """Add whole lines; raises OSError when the disk is full, and closes off later what it took of them."""
        data, self._torn = b"\n" * self._torn + data, False
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            self._torn = True
            raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


class Reader:
    """Reads the journals of one folder, from where the last look ended."""

    def __init__(self, folder: Path, read: dict[str, int] | None = None, without: str = "") -> None:
        self._folder = folder
        self._without = f"{without}.jsonl"
        self.read = read or {}
        """bytes of each file that were taken in, up to the end of a line"""
        self.heard = 0
        """events that were taken in"""

    def news(self) -> list[Entry]:
        """What was said since the last call, by time; each writer's words stay in their order.

        Nodes come before the farm, which answers to them, where clocks tell no difference. Raises StoreError
        where one can't be read, with nothing taken in.
        """
        try:
            names = {path.name for path in self._folder.glob("*.jsonl")} - {self._without}
        except FileNotFoundError:
            return []
        ordered = sorted(names, key=lambda name: (name == f"{FARM}.jsonl", name))
        before = dict(self.read)
        try:
            entries = [entry for name in ordered for entry in self._lines(name)]
        except OSError as error:
            self.read = before
            message = (
                f"What is known of a job can't be read: {error.filename or self._folder}: {error.strerror}."
            )
            raise StoreError(message, "Mend that, and try again.") from error
        return sorted(entries, key=lambda entry: entry.time)

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, read or not."""
        return {path.name: path.stat().st_size for path in self._folder.glob("*.jsonl")}

    def _lines(self, name: str) -> Iterator[Entry]:
        latest, of_node = 0.0, name != f"{FARM}.jsonl"
        for text in itertools.chain.from_iterable(map(bytes.splitlines, self._pieces(name, of_node=of_node))):
            if told := entry(text, of_node=of_node):
                self.heard += 1
                latest = max(latest, told.time)
                yield Entry(told.event, latest)

    def _pieces(self, name: str, *, of_node: bool) -> Iterator[bytes]:
        """Whole lines, as many as are read at once; what is longer than any of ours comes in pieces."""
        with files.opened(self._folder / name) as file:
            start, most = self.read.get(name, 0), PIECE_BYTES
            file.seek(start)
            while data := file.read(most):
                whole = data[: data.rfind(b"\n") + 1]
                if not whole and len(data) < most:
                    return
                if not whole and not of_node and most < MOST_OF_FARM:
                    most = MOST_OF_FARM
                else:
                    start += len(whole or data)
                    self.read[name] = start
                    yield whole or data
                file.seek(start)
