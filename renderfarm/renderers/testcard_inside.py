"""The process behind a test card session: reads one JSON request a line, writes one PNG, answers a line."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
import zlib

BARS = (
    *((235, 235, 235), (235, 235, 16), (16, 235, 235), (16, 235, 16)),
    *((200, 60, 120), (235, 16, 16), (16, 16, 235)),
)
MAGENTA = (255, 0, 255)


def bars(width: int, height: int, frame: int) -> bytes:
    """Colour bars that move on by one pixel a frame, darker toward the bottom: rows of 8-bit RGB."""
    row = bytearray()
    for x in range(width):
        row += bytes(BARS[(x + frame) * len(BARS) // max(width, 1) % len(BARS)])
    rows: list[bytes] = []
    for y in range(height):
        shade = 256 - 128 * y // height
        rows.append(bytes(value * shade >> 8 for value in row) if y % 4 == 0 else rows[-1])
    return b"".join(b"\0" + r for r in rows)


def flat(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """Rows of one colour."""
    return (b"\0" + bytes(colour) * width) * height


def png(width: int, height: int, rows: bytes) -> bytes:
    """An 8-bit RGB PNG of rows that start with their filter byte (PNG specification, section 5)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def picture(frame: int, size: tuple[int, int], fault: str) -> bytes:
    """The file's bytes, spoiled as asked."""
    width, height = (size[0] + 2, size[1]) if fault == "wrong-size" else size
    if fault == "blank":
        return png(width, height, flat(width, height, (0, 0, 0)))
    if fault == "magenta":
        return png(width, height, flat(width, height // 2, MAGENTA) + bars(width, height - height // 2, frame))
    whole = png(width, height, bars(width, height, frame))
    if fault == "truncated":
        return whole[: len(whole) // 2]
    return b"this is no picture" if fault == "garbage" else whole


def act(fault: str) -> str:
    """Do what is more than a bad picture; returns an error to report."""
    if fault == "crash":
        os.abort()
    if fault == "hang":
        time.sleep(3600)
    if fault == "memory":
        hoard = bytearray()
        while True:
            hoard += bytes(32 << 20)
            time.sleep(0.05)
    return "the scene asked for an error" if fault == "error" else ""


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        time.sleep(request["seconds"])
        error = act(request["fault"])
        if not error and request["fault"] != "nothing":
            with open(request["path"], "wb") as file:  # noqa: PTH123 - pathlib costs more than the picture
                file.write(picture(request["frame"], tuple(request["size"]), request["fault"]))
        sys.stdout.write(json.dumps({"error": error}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
