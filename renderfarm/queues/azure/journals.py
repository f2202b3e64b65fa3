"""Reads what nodes say: append blobs of JSON lines, one for each node, from where the last look ended.

One listing of the journals tells which of them grew; only their new bytes are fetched. What a look costs does
not depend on how many tasks or frames a job has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from renderfarm.queues.azure import hearsay, layout
from renderfarm.queues.azure.storage import Storage

PIECE_BYTES = 8 << 20
"""read at once, however much a node wrote"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a node said."""

    kind: str
    value: dict[str, Any]
    time: float
    """seconds since the epoch, by the node's clock"""


class Journals:
    """The journals of one job."""

    def __init__(self, storage: Storage, container: str, read: Mapping[str, int] | None = None) -> None:
        """`read` is what another reader of the same journals left in its `read`."""
        self._storage = storage
        self._container = container
        self.read = dict(read or {})
        """bytes of each journal that were taken in, up to the end of a line"""
        self.has_shrunk = False
        """a journal is shorter than it was: somebody wrote over it"""

    def news(self) -> Iterator[Entry]:
        """What was said since the last call, each node's words in order."""
        for blob in self._storage.at(self._container).list(layout.JOURNALS):
            start = self.read.get(blob.name, 0)
            self.has_shrunk |= blob.size < start
            if blob.size > start:
                yield from self._lines(blob.name, start, blob.size)

    def _lines(self, name: str, start: int, end: int) -> Iterator[Entry]:
        """The whole lines between two places; what is longer than a piece is no line of ours."""
        while start < end:
            data = self._storage.at(self._container).read(name, start, PIECE_BYTES)
            whole = data[: data.rfind(b"\n") + 1] or (data if len(data) >= PIECE_BYTES else b"")
            if not whole:
                return
            start += len(whole)
            self.read[name] = start
            for line in whole.splitlines():
                # None for what a node that died in the middle left behind.
                if told := hearsay.line(line):
                    yield Entry(*told)
