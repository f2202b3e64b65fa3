"""The node's journal: what happens here, added to a blob that the farm mirrors.

A thread of its own adds the lines, so rendering doesn't wait for storage. Lines that can wait, such as a
frame's start, go together with the next one that can't.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

from renderfarm.depots import JOURNALS
from renderfarm.depots.blobs import FULL, BlobClient, BlobError
from renderfarm.job.events import Taken
from renderfarm.job.journal import line
from renderfarm.words.updates import Failed, Rendered, Started

LAZY_SECONDS = 2.0
"""how long a line that can wait does"""
LINGER_SECONDS = 0.05
"""how long one that can't waits for company"""
LARGEST_BYTES = 1 << 20
"""of one addition; storage takes 4 MiB"""
_LOG = logging.getLogger(__name__)


class Journal:
    """Adds lines to `journal/<node>.jsonl`, and to `.1.jsonl` and so on when that is full."""

    def __init__(self, client: BlobClient, node: str) -> None:
        self._client = client
        self._node = node
        self._volume = 0
        self._lines: list[bytes] = []
        self._due = float("inf")
        self._closing = False
        self._error: BlobError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, *events: object) -> None:
        """Add events; raises BlobError when earlier ones could not be written."""
        lazy = all(isinstance(event, (Started, Taken)) for event in events)
        with self._changed:
            if self._error:
                raise self._error
            for event in events:
                self._lines.append(line(event, time.time()))
                _speak(event)
            self._due = min(self._due, time.monotonic() + (LAZY_SECONDS if lazy else LINGER_SECONDS))
            self._changed.notify()

    def close(self) -> None:
        """Write what is left; raises BlobError when it can't be written."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        if self._error:
            raise self._error

    def _work(self) -> None:
        while lines := self._next():
            try:
                for piece in _pieces(lines):
                    self._write(piece)
            except BlobError as error:
                with self._changed:
                    self._error = error
                return

    def _next(self) -> list[bytes]:
        """The lines to write now; none when the journal is closed and all are written."""
        with self._changed:
            while not self._closing and (wait := self._due - time.monotonic()) > 0:
                self._changed.wait(min(wait, threading.TIMEOUT_MAX))
            now, self._lines = self._lines, []
            self._due = float("inf")
            return now

    def _write(self, data: bytes) -> None:
        volume = f".{self._volume}" if self._volume else ""
        try:
            self._client.append(f"{JOURNALS}{self._node}{volume}.jsonl", data)
        except BlobError as error:
            if error.code != FULL:
                raise
            self._volume += 1
            self._write(data)


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """The lines together, as many as one addition takes."""
    piece = b""
    for each in lines:
        if piece and len(piece) + len(each) > LARGEST_BYTES:
            yield piece
            piece = b""
        piece += each
    yield piece


def _speak(event: object) -> None:
    """What people read in the task's own output."""
    if isinstance(event, Failed):
        _LOG.info("Frame %d failed: %s", event.frame, event.message)
    elif isinstance(event, Rendered):
        _LOG.info("Frame %d: %.1f s, in storage.", event.frame, event.seconds)
