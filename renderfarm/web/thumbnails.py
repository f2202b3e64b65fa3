"""Small pictures of frames: made once, when somebody looks, by a process of its own (`darkroom`)."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path

from renderfarm.web import darkroom
from renderfarm.web.darkroom import KINDS, LENGTH
from renderfarm.web.views import Shown
from renderfarm.words.as_json import encode

PATIENCE_SECONDS = 60.0


class Thumbnails:
    """Makes pictures smaller, one at a time, and keeps what it made beside the job."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._expecting: asyncio.Task[None] | None = None
        self._making: dict[Path, asyncio.Task[bytes | str]] = {}

    async def of(self, shown: Shown, frame: int, kind: str) -> bytes | str:
        """A frame's picture as a file, or why there is none."""
        suffix = KINDS[kind][1].lower()
        kept = shown.keep / f"{frame}-{shown.mtime:x}-{shown.size:x}-{kind}.{suffix}"
        with suppress(OSError):
            return kept.read_bytes()
        order = {"path": str(shown.path), "frame": frame, "kind": kind, "keep": str(kept)}
        order["view"] = encode(shown.view)
        if kept not in self._making:  # several viewers ask for a new frame at once
            self._making[kept] = asyncio.create_task(self._made(json.dumps(order).encode() + b"\n"))
            self._making[kept].add_done_callback(lambda _: self._making.pop(kept))
        # Whoever asked may leave: the answer is read all the same, else the next order would get it.
        return await asyncio.shield(self._making[kept])

    def expect(self) -> None:
        """Somebody looks: get ready for the first frame."""
        if self._expecting is None or self._expecting.done():
            self._expecting = asyncio.create_task(self.warm())

    async def warm(self) -> None:
        """Be ready for a while."""
        async with self._turn:
            await self._ready()

    async def _made(self, order: bytes) -> bytes | str:
        again = True
        async with self._turn:
            while again:
                again = self._process is not None  # it may leave just then
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        return await self._asked(order)
                except (OSError, asyncio.IncompleteReadError) as error:
                    again = again and not isinstance(error, TimeoutError)
                    await self.close()
        return "This picture could not be made smaller: it is damaged, or too large for this machine."

    async def _asked(self, order: bytes) -> bytes | str:
        orders, answers = await self._ready()
        orders.write(order)
        await orders.drain()
        (length,) = LENGTH.unpack(await answers.readexactly(LENGTH.size))
        data = await answers.readexactly(abs(length))
        return data if length > 0 else data.decode()

    async def _ready(self) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", darkroom.__name__),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("it has no pipes")
        return self._process.stdin, self._process.stdout

    async def close(self) -> None:
        """End the process, whatever it is at."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
