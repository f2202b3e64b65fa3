"""Ctrl-C and SIGTERM mean the same, and count once: what cleans up after the first is not disturbed again."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked to stop: imports of extension modules raise what they like then."""

    came = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """End what is going on, and hear nothing more."""
        self.came = True
        for each in STOPS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Raise KeyboardInterrupt inside when somebody asks to stop; the outermost of several counts."""
    outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(outer, Stop) or threading.current_thread() is not threading.main_thread():
        yield outer if isinstance(outer, Stop) else Stop()
        return
    stop = Stop()
    before = {number: signal.signal(number, stop.handle) for number in STOPS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
