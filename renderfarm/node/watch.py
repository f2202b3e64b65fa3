"""The watchdog of a session: kills the renderer when a frame takes too long, or too much memory."""

from __future__ import annotations

import threading
import time

from renderfarm.node import machine
from renderfarm.node.launch import ProcessLauncher
from renderfarm.words.states import Reason

LOOK_SECONDS = 0.5
SCARCE_SHARE = 0.02
"""share of the machine's memory below which the largest session must go before the kernel picks one"""


class Watch:
    """Looks at a session from a thread of its own, and kills it when it goes too far: `verdict` says why.

    Its limits are wall clock per frame and resident memory.
    """

    def __init__(
        self, launcher: ProcessLauncher, frame_seconds: float | None, memory_bytes: int | None
    ) -> None:
        self._launcher = launcher
        self._frame_seconds = frame_seconds
        self._memory_bytes = memory_bytes
        self._deadline: float | None = None
        self._told = ""
        self._ended = threading.Event()
        self.verdict: tuple[Reason, str] | None = None
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self, what: str = "The frame", least: float = 0.0) -> None:
        """A frame starts, or what may take so many seconds at `least`: its clock runs from now."""
        if self._frame_seconds:
            limit = max(least, self._frame_seconds)
            self._told = f"{what} took longer than {limit:g} s."
            self._deadline = time.monotonic() + limit

    def rest(self) -> None:
        """No frame is being rendered."""
        self._deadline = None

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()

    def _look(self) -> None:
        left = LOOK_SECONDS
        while not self._ended.wait(min(LOOK_SECONDS, max(0.01, left))):
            deadline = self._deadline  # once: another thread sets it
            left = LOOK_SECONDS if deadline is None else deadline - time.monotonic()
            if left < 0:
                self._kill(Reason.TIMEOUT, self._told)
                return
            if message := self._too_large():
                self._kill(Reason.OUT_OF_MEMORY, message)
                return

    def _too_large(self) -> str:
        total, available = machine.memory()
        if not total:
            return ""
        limit = self._memory_bytes or total * 9 // 10
        resident = self._launcher.resident_bytes()
        if resident > limit:
            return f"The renderer took {resident >> 20} MiB of memory, more than its {limit >> 20} MiB."
        if 0 < available < total * SCARCE_SHARE and resident > total // 4:
            return f"The machine ran out of memory while the renderer took {resident >> 20} MiB."
        return ""

    def _kill(self, reason: Reason, message: str) -> None:
        self.verdict = (reason, message)
        self._launcher.kill()
