"""What happens, told to all pages that are open: one stream of batches, looked up while somebody listens."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from renderfarm.errors import RenderfarmError

TICK_SECONDS = 0.5
"""between two looks while somebody works on a job"""
REST_SECONDS = 1.0
PING_SECONDS = 15.0
MOST_UNREAD = 60
ANEW = b"event: anew\ndata: {}\n\n"
"""something was missed: ask for everything again"""


class Stream:
    """Batches of news, each with its number."""

    def __init__(self, look: Callable[[], Awaitable[tuple[dict[str, Any], bool]]]) -> None:
        self._look = look
        """asks what is new, and whether somebody works on any job"""
        self._listeners: set[asyncio.Queue[bytes | None]] = set()
        self._came = asyncio.Event()
        self._over = False
        self.number = 0
        """of the last batch"""
        self.heard = False
        """somebody has listened"""

    @property
    def listeners(self) -> int:
        """Pages (or browsers) that listen."""
        return len(self._listeners)

    async def run(self) -> None:
        """Look and tell, until nobody wants it any more."""
        while not self._over:
            await self._came.wait()
            busy = await self._tell_news()
            await asyncio.sleep(TICK_SECONDS if busy else REST_SECONDS)
            if not self._listeners:
                self._came.clear()

    async def _tell_news(self) -> bool:
        try:
            news, busy = await self._look()
        except (RenderfarmError, OSError, sqlite3.Error):  # the farm home is in the way; the next look tells
            return False
        if news:
            self.tell(news)
        return busy

    def tell(self, news: dict[str, Any]) -> None:
        """Hand a batch to everybody."""
        self.number += 1
        line = f"id: {self.number}\ndata: {json.dumps(news, separators=(',', ':'))}\n\n".encode()
        for listener in self._listeners:
            if listener.qsize() < MOST_UNREAD:
                listener.put_nowait(line)
            elif listener.qsize() == MOST_UNREAD:
                listener.put_nowait(ANEW)

    async def follow(self, after: int | None) -> AsyncGenerator[bytes, None]:
        """Batches from now on, as server-sent events, to who knows all up to the one with this number."""
        own: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._listeners.add(own)
        self.heard = True
        self._came.set()
        try:
            yield b"retry: 2000\n: welcome\n\n" + ANEW * (after not in (None, self.number))
            while (word := await _word(own)) is not None:
                yield word
        finally:
            self._listeners.discard(own)

    def close(self) -> None:
        """Say goodbye to everybody."""
        self._over = True
        self._came.set()
        for listener in self._listeners:
            listener.put_nowait(None)


async def _word(own: asyncio.Queue[bytes | None]) -> bytes | None:
    """What stands next in a queue, or a sign of life where that is nothing for long; None at its end."""
    try:
        return await asyncio.wait_for(own.get(), PING_SECONDS)
    except TimeoutError:
        return b": still here\n\n"
