"""Plain PNGs, fast: libdeflate unpacks at once what Pillow unpacks row by row with zlib.

Only what is whole and plain is taken (8-bit RGB or RGBA, not interlaced, all checksums right); all else is for
OpenImageIO. Unpacked data reaches Pillow as a zlib stream that is not compressed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from renderfarm.pictures.damage import PNG, png_chunks

if TYPE_CHECKING:
    from PIL import Image

MODES = {2: "RGB", 6: "RGBA"}
MOST_BYTES = 1 << 27
"""larger ones are unpacked row by row, as they would be in memory three times"""
BLOCK = 0xFFFF
"""bytes of a block that is not compressed, at most"""


def decoded(data: bytes) -> Image.Image | None:
    """The picture; None for a file that is not whole and plain."""
    found = plain(data[16:29]) if data.startswith(PNG) else None
    if not found:
        return None
    (width, height), mode = found
    size = height * (1 + width * len(mode))
    packed = _packed(data) if 0 < size <= MOST_BYTES else None
    return _picture(packed, size, mode, (width, height)) if packed else None


def plain(head: bytes) -> tuple[tuple[int, int], str] | None:
    """Size and mode by an IHDR; None where its pixels are not plain."""
    if len(head) != 13:
        return None
    width, height, depth, kind, *others = struct.unpack(">IIBBBBB", head)
    mode = MODES.get(kind)
    return ((width, height), mode) if mode and depth == 8 and not any(others) else None


def _packed(data: bytes) -> bytes | None:
    """The compressed rows; None where a checksum is wrong, the end is missing, or a colour is transparent."""
    rows: list[memoryview] = []
    for name, content, sealed in png_chunks(data):
        if not sealed or name == b"tRNS":
            return None
        if name == b"IEND":
            return b"".join(rows)
        if name == b"IDAT":
            rows.append(content)
    return None


def _picture(packed: bytes, size: int, mode: str, shape: tuple[int, int]) -> Image.Image | None:
    import deflate
    from PIL import Image

    try:
        rows = deflate.zlib_decompress(packed, size)
        if len(rows) != size:
            return None
        return Image.frombytes(mode, shape, _stored(rows), "zip", mode, 0)
    except (deflate.DeflateError, ValueError, OSError):
        return None


def _stored(rows: bytes) -> bytes:
    """A zlib stream of blocks that are not compressed (RFC 1951, 3.2.4); its checksum is left off.

    libdeflate has checked that of the file, and Pillow asks for nothing behind the last row.
    """
    view = memoryview(rows)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for start in range(0, len(rows), BLOCK):
        block = view[start : start + BLOCK]
        last = start + BLOCK >= len(rows)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ BLOCK), block]
    return b"".join(parts)
