"""Hands frames over while the next ones are rendered: the picture with its receipt, then a line in the journal.

At most a few frames are on their way; a renderer that is faster than the line waits here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from renderfarm.depots import Depot
from renderfarm.words.as_json import to_json
from renderfarm.words.scene import pictures
from renderfarm.words.updates import Rendered

UNDER_WAY = 6
THREADS = 4
LONGEST_RECEIPT = 4000
"""bytes of a receipt that comes with its picture; Blob storage takes 8 KB of metadata in all"""


class Delivery:
    """Frames on their way to a depot."""

    def __init__(self, depot: Depot, then: Callable[[Rendered], None]) -> None:
        """`then` is told of each frame that is there."""
        self._depot = depot
        self._then = then
        self._room = threading.BoundedSemaphore(UNDER_WAY)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="delivery")
        self._errors: list[BaseException] = []

    def __enter__(self) -> Delivery:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all is there; raises PoolError or OSError for what is not."""
        self._threads.shutdown(wait=True)
        self._settle()

    def hand_over(self, found: Sequence[Path], receipt: Rendered) -> None:
        """Send a frame and remove its files; raises what kept an earlier one from its place."""
        self._room.acquire()
        self._threads.submit(self._send, found, receipt).add_done_callback(self._sent)
        self._settle()

    def _send(self, found: Sequence[Path], receipt: Rendered) -> None:
        """The first view with the receipt comes last: where it is, the others are."""
        named = [*zip(pictures(receipt.path, receipt.views), found, strict=True)]
        for name, picture in reversed(named):
            self._depot.put(name, picture, _line(receipt) if name == receipt.path else "")
            picture.unlink()
        self._then(receipt)

    def _sent(self, sending: Future[None]) -> None:
        self._room.release()
        if error := sending.exception():
            self._errors.append(error)

    def _settle(self) -> None:
        """Everybody hears of what failed."""
        if self._errors:
            raise self._errors[0]


def _line(receipt: Rendered) -> str:
    """A receipt as one line; what makes it long stays out of it."""
    whole = to_json(receipt)
    if len(whole.encode()) > LONGEST_RECEIPT:
        return to_json(replace(receipt, observed=None))
    return whole
