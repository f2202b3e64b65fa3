"""The node's journal: what happens here, added to a blob that the farm mirrors.

A thread of its own adds the lines, so rendering doesn't wait for storage. Lines that can wait, such as a
frame's start, go together with the next one that can't.
"""

from __future__ import annotations

import logging
import queue
import threading
import time

from renderfarm.depots import JOURNALS
from renderfarm.depots.blobs import FULL, BlobClient, BlobError
from renderfarm.job.events import Taken
from renderfarm.job.journal import line
from renderfarm.words.updates import Failed, Rendered, Started

LAZY_SECONDS = 2.0
"""how long a line that can wait does"""
LINGER_SECONDS = 0.05
"""how long one that can't waits for company"""
LARGE_BYTES = 1 << 20
"""of an addition that waits for no more lines; storage takes 4 MiB, and no line is longer than this"""
_LOG = logging.getLogger(__name__)


class Journal:
    """Adds lines to `journal/<node>.jsonl`, and to `.1.jsonl` and so on when that is full."""

    def __init__(self, client: BlobClient, node: str) -> None:
        self._client = client
        self._node = node
        self._volume = 0
        self._said: queue.SimpleQueue[tuple[bytes, float] | None] = queue.SimpleQueue()
        """lines, and how long each may wait; None is the end"""
        self._error: BlobError | None = None
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left; raises BlobError when it can't be written."""
        self._said.put(None)
        self._thread.join()
        if self._error:
            raise self._error

    def add(self, *events: object) -> None:
        """Add events; raises BlobError when earlier ones could not be written."""
        if self._error:
            raise self._error
        for event in events:
            seconds = LAZY_SECONDS if isinstance(event, (Started, Taken)) else LINGER_SECONDS
            self._said.put((line(event, time.time()), seconds))
            _speak(event)

    def _work(self) -> None:
        try:
            while self._write_next():
                pass
        except BlobError as error:
            self._error = error

    def _write_next(self) -> bool:
        """Wait for lines and write them, as many as one addition takes; False after the last ones."""
        data, until = b"", float("inf")
        said: tuple[bytes, float] | None = (b"", float("inf"))
        while said and len(data) < LARGE_BYTES:
            try:
                said = self._said.get(timeout=min(max(until - time.monotonic(), 0.0), threading.TIMEOUT_MAX))
            except queue.Empty:
                break
            if said:
                data, until = data + said[0], min(until, time.monotonic() + said[1])
        if data:
            self._write(data)
        return said is not None

    def _write(self, data: bytes) -> None:
        volume = f".{self._volume}" if self._volume else ""
        try:
            self._client.append(f"{JOURNALS}{self._node}{volume}.jsonl", data)
        except BlobError as error:
            if error.code != FULL:
                raise
            self._volume += 1
            self._write(data)


def _speak(event: object) -> None:
    """What people read in the task's own output."""
    if isinstance(event, Failed):
        _LOG.info("Frame %d failed: %s", event.frame, event.message)
    elif isinstance(event, Rendered):
        _LOG.info("Frame %d: %.1f s, in storage.", event.frame, event.seconds)
