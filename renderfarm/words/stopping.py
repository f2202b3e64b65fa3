"""Ctrl-C and SIGTERM mean the same, and count once: what cleans up after the first is not disturbed again.

What it waits for may never come (a network that swallows everything, a share that hangs), so it has an end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130
"""exit code"""
LONGEST_SECONDS = 60
"""cleaning up may take; after that all is left as after kill -9, which loses nothing"""


class Stop:
    """Whether somebody asked to stop: imports of extension modules raise what they like then."""

    came = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """End what is going on, and hear nothing more."""
        self.came = True
        for each in STOPS:
            signal.signal(each, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, _leave)
        signal.alarm(LONGEST_SECONDS)
        raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"Stopped: something did not let go. What is finished is kept.\n")
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Raise KeyboardInterrupt inside when somebody asks to stop; the outermost of several counts."""
    outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(outer, Stop) or threading.current_thread() is not threading.main_thread():
        yield outer if isinstance(outer, Stop) else Stop()
        return
    stop = Stop()
    before = {number: signal.signal(number, stop.handle) for number in STOPS}
    before[signal.SIGALRM] = signal.getsignal(signal.SIGALRM)
    try:
        yield stop
    finally:
        if stop.came:
            signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
