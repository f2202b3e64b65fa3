"""The node's journal: what happens here, added to a blob that the farm mirrors.

A thread of its own adds the lines, a few times a second, so rendering doesn't wait for storage.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from renderfarm.depots import JOURNALS
from renderfarm.depots.blobs import FULL, BlobClient, BlobError
from renderfarm.job.journal import line
from renderfarm.words.updates import Failed, Rendered

PAUSE_SECONDS = 0.2
"""between two additions"""
LARGE_BYTES = 1 << 20
"""of an addition that takes no more lines; storage takes 4 MiB, and no line is longer than this"""
_LOG = logging.getLogger(__name__)


class Journal:
    """Adds lines to `journal/<node>.jsonl`, and to `.1.jsonl` and so on when that is full."""

    def __init__(self, client: BlobClient, node: str) -> None:
        self._client = client
        self._node = node
        self._volume = 0
        self._lines: deque[bytes] = deque()
        self._over = threading.Event()
        self._error: BlobError | None = None
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is left; raises BlobError when it can't be written."""
        self._over.set()
        self._thread.join()
        if self._error:
            raise self._error

    def add(self, *events: object) -> None:
        """Add events; raises BlobError when earlier ones could not be written."""
        if self._error:
            raise self._error
        for event in events:
            self._lines.append(line(event, time.time()))
            _speak(event)

    def _work(self) -> None:
        over = False
        try:
            while not over:
                over = self._over.wait(PAUSE_SECONDS)
                while data := self._next():
                    self._write(data)
        except BlobError as error:
            self._error = error

    def _next(self) -> bytes:
        """The lines that one addition takes; empty when there are none."""
        data = b""
        while self._lines and len(data) < LARGE_BYTES:
            data += self._lines.popleft()
        return data

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
