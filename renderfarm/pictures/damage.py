"""What libraries forgive in a picture file and a farm can't.

A PNG may lack its end or have a wrong checksum where nobody looks, and a header may claim more pixels than
there is memory. All other damage OpenImageIO finds itself.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from renderfarm.words.states import Finding

MAX_PIXELS = 1 << 29
"""Larger pictures are not believed: 32,768 × 16,384."""
DEFLATE_MOST = 1032
"""Bytes that one byte of deflate data can stand for, at the very most."""
PNG, JPEG, EXR = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"v/1\x01"
PNG_END, PNG_HEAD = b"\0\0\0\0IEND\xaeB`\x82", 33
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""… and those for more than 4 GiB"""
KNOWN = (PNG, JPEG, EXR, *TIFFS)
BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, TypeError, MemoryError)
"""What the libraries raise, depending on where the damage is (not all name a bad byte in text)."""


class Damaged(Exception):  # noqa: N818 - a fact about a file, which becomes a finding
    """The file is not a whole picture; `detail` says in one sentence why."""

    def __init__(self, finding: Finding, detail: str) -> None:
        super().__init__(detail)
        self.finding = finding
        self.detail = detail


def believe(width: int, height: int) -> None:
    """Refuse a size that nobody renders; raises Damaged."""
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise Damaged(Finding.UNREADABLE, f"the file claims {width} × {height} pixels, which nobody renders")


def check(data: bytes) -> None:
    """See that a PNG or JPEG claims no more than it can hold, and that a PNG is whole; raises Damaged."""
    if data.startswith(PNG):
        _check_png(data)
    if data.startswith(JPEG):
        _check_jpeg(data)


def _check_png(data: bytes) -> None:
    if len(data) >= PNG_HEAD:
        width, height = struct.unpack_from(">II", data, 16)
        believe(width, height)
        if _png_bytes(data[16:29]) > len(data) * DEFLATE_MOST:
            detail = f"the PNG is far too small for the {width} × {height} pixels it claims"
            raise Damaged(Finding.TRUNCATED, detail)
    if PNG_END not in data:
        raise Damaged(Finding.TRUNCATED, f"the PNG ends before the picture does{_png_share(data)}")
    if wrong := next((name for name, _, sealed in png_chunks(data) if not sealed), b""):
        raise Damaged(Finding.TRUNCATED, f"the PNG is damaged: a wrong checksum ({str(wrong)[2:-1]})")


def _check_jpeg(data: bytes) -> None:
    """Every 8 × 8 block takes at least one bit, else the size is a lie."""
    from PIL import JpegImagePlugin

    try:
        width, height = JpegImagePlugin.JpegImageFile(io.BytesIO(data)).size
    except BROKEN as error:
        raise Damaged(Finding.UNREADABLE, f"the file is no picture: {words(error)}") from error
    if width * height > len(data) * 8 * 64:
        detail = f"the JPEG is far too small for the {width} × {height} pixels it claims"
        raise Damaged(Finding.TRUNCATED, detail)


def _png_bytes(header: bytes) -> int:
    """Bytes of the unpacked pixels, one filter byte per row included (interlacing adds a little)."""
    width, height, depth, kind = struct.unpack_from(">IIBB", header)
    channels = {2: 3, 4: 2, 6: 4}.get(kind, 1)
    return int(height * (1 + -(-width * depth * channels // 8)))


def check_png_rows(data: bytes) -> None:
    """See that the unpacked data has all rows, for a PNG that looks as if some were missing; raises Damaged."""
    if share := _png_share(data):
        raise Damaged(Finding.TRUNCATED, f"the PNG holds too little{share}")


def _png_share(data: bytes) -> str:
    """How much of a PNG is there, as the end of a sentence; empty when all of it is."""
    if len(data) < PNG_HEAD or not data.startswith(PNG) or not (wanted := _png_bytes(data[16:29])):
        return ""
    got = 0
    with suppress(zlib.error):  # what was unpacked before the damage counts
        for size in _unpacked(data):
            got += size
    return f": only {int(100 * min(got / wanted, 0.99))} % of the rows are there" if got < wanted else ""


def _unpacked(data: bytes) -> Iterator[int]:
    """Unpacks a PNG's pixels in pieces and gives their sizes."""
    unpack = zlib.decompressobj()
    for name, packed, _ in png_chunks(data):
        left = bytes(packed) if name == b"IDAT" else b""
        while left:
            yield len(unpack.decompress(left, 1 << 24))
            left = unpack.unconsumed_tail


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bool]]:
    """Names and contents of what a PNG consists of, which may be cut off, and whether checksums are right."""
    view, place = memoryview(data), len(PNG)
    while place + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        told = int.from_bytes(view[end : end + 4])
        yield name, view[place + 8 : end], zlib.crc32(view[place + 4 : end]) == told
        place = end + 4


def words(error: object) -> str:
    """What a library says, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
