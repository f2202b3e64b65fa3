"""The service's time: stamps that never repeat, and delays that a speed factor shortens."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

TICKS_PER_SECOND = 10_000_000
"""the service counts in tenths of a microsecond"""


class Clock:
    """Strictly increasing stamps; `speed` divides the delays of the service, never the work of tasks."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._last = 0
        self._second = -1
        self._prefix = ""

    def ticks(self) -> int:
        """Tenths of a microsecond since 1970, later than every earlier answer."""
        self._last = max(time.time_ns() // 100, self._last + 1)
        return self._last

    def stamp(self) -> str:
        """Now as `2026-11-22T19:00:00.1234567Z`; all stamps sort as texts."""
        second, fraction = divmod(self.ticks(), TICKS_PER_SECOND)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._prefix}.{fraction:07d}Z"

    def etag(self) -> str:
        """A version of a resource, like `0x8DD0B5A3F12E7C1`."""
        return f"0x{self.ticks() + 621_355_968_000_000_000:X}"

    def scaled(self, seconds: float) -> float:
        """Real seconds for a delay of the service."""
        return seconds / self.speed

    async def pause(self, seconds: float) -> None:
        """Lets `seconds` of the service's time pass."""
        await asyncio.sleep(self.scaled(seconds))
