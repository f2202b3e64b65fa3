"""Small pictures of frames: made once, when somebody looks, by a process of its own that leaves when idle.

So a picture of a hundred megabytes never swells the server, a broken one can't end it, and the renderers
keep the processor: the process is nicer than they are. `python -m renderfarm.web.thumbnails` is that process:
an order a line on standard input; on standard output for each a length, then so many bytes of a picture, or
after a negative length a sentence that says why there is none.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from renderfarm.web.views import Shown
from renderfarm.words.as_json import decode, encode
from renderfarm.words.scene import Colour

KINDS = {"small": (480, "JPEG", 82), "large": (1600, "JPEG", 90), "exact": (1600, "PNG", 0)}
"""pixels of the longer side, format and quality"""
NICE = 5
IDLE_SECONDS = 120
"""then it leaves; the next picture starts another"""
PATIENCE_SECONDS = 60.0
_LENGTH = struct.Struct(">i")


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
            self._making[kept] = asyncio.create_task(self._in_turn(json.dumps(order).encode() + b"\n"))
            self._making[kept].add_done_callback(lambda _: self._making.pop(kept))
        # Whoever asked may leave: the answer is read all the same, else the next order would get it.
        return await asyncio.shield(self._making[kept])

    async def _in_turn(self, order: bytes) -> bytes | str:
        async with self._turn:
            return await self._made(order)

    def expect(self) -> None:
        """Somebody looks: get ready for the first frame."""
        if self._expecting is None or self._expecting.done():
            self._expecting = asyncio.create_task(self.warm())

    async def warm(self) -> None:
        """Be ready for a while."""
        async with self._turn:
            await self._ready()

    async def _made(self, order: bytes) -> bytes | str:
        waiting = self._process is not None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._asked(order)
        except (OSError, asyncio.IncompleteReadError) as error:
            await self.close()
            if waiting and not isinstance(error, TimeoutError):  # it may have left just then
                return await self._made(order)
            return "This picture could not be made smaller: it is damaged, or too large for this machine."

    async def _asked(self, order: bytes) -> bytes | str:
        orders, answers = await self._ready()
        orders.write(order)
        await orders.drain()
        (length,) = _LENGTH.unpack(await answers.readexactly(_LENGTH.size))
        data = await answers.readexactly(abs(length))
        return data if length > 0 else data.decode()

    async def _ready(self) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", __name__),
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


def _develop(order: bytes) -> bytes:
    """The picture that a line asks for, kept for the next time; raises OSError or ValueError."""
    from renderfarm.farm.filling import so_far
    from renderfarm.pictures.contact_sheet import fitted
    from renderfarm.reports.report import flat

    asked = json.loads(order)
    side, form, quality = KINDS[asked["kind"]]
    path: Path | None = Path(asked["path"])
    if path and path.is_dir():
        path = so_far(path, asked["frame"])
    if path is None:
        raise ValueError("nothing of it is there yet")
    picture = flat(fitted(path, (side, side), decode(Colour, asked["view"])))
    buffer = io.BytesIO()
    picture.save(buffer, form, quality=quality)
    data = buffer.getvalue()
    with suppress(OSError):  # a folder that can't be written to, or a full disk: it is made again
        kept = Path(asked["keep"])
        kept.parent.mkdir(exist_ok=True)
        draft = kept.with_name(f".{kept.name}.{os.getpid()}")
        draft.write_bytes(data)
        draft.replace(kept)
    return data


def _answer(order: bytes, out: BinaryIO) -> None:
    try:
        data = _develop(order)
        head = _LENGTH.pack(len(data))
    except (OSError, SyntaxError, ValueError, MemoryError) as error:
        data = f"This picture can't be shown: {str(error) or type(error).__name__}.".encode(errors="replace")
        head = _LENGTH.pack(-len(data))
    out.write(head + data)
    out.flush()


def main() -> None:
    """Answer until standard input ends: with the server, however that ends."""
    import OpenImageIO  # now: that takes longer than any picture
    from PIL import Image

    Image.preinit()
    OpenImageIO.attribute("threads", 1)
    os.nice(NICE)
    signal.alarm(IDLE_SECONDS)
    for line in sys.stdin.buffer:
        _answer(line, sys.stdout.buffer)
        signal.alarm(IDLE_SECONDS)


if __name__ == "__main__":
    main()
