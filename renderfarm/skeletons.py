"""Whether a picture file is complete, told from its skeleton before a library decodes it.

Libraries forgive too much for a farm: half a TIFF or an uncompressed EXR with missing rows reads as a
good picture, OpenEXR shouts on standard error, and a header may claim more pixels than there is memory.
Standard library only.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from renderfarm.model import Finding

MAX_PIXELS = 1 << 29
"""Larger pictures are not believed: 32,768 × 16,384."""
DEFLATE_MOST = 1032
"""Bytes that one byte of deflate data can stand for, at the very most."""
PNG, JPEG, EXR = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"v/1\x01"
TIFFS = (b"II*\0", b"MM\0*")

_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_JPEG_END = b"\xff\xd9"


class Damaged(Exception):  # noqa: N818 - a fact about a file, which the doctor turns into a finding
    """The file is not a whole picture; `detail` says in one sentence why."""

    def __init__(self, finding: Finding, detail: str) -> None:
        super().__init__(detail)
        self.finding = finding
        self.detail = detail


def believe(width: int, height: int) -> None:
    """Refuse a size that nobody renders; raises Damaged."""
    if min(width, height) < 1 or width * height > MAX_PIXELS:
        raise Damaged(Finding.UNREADABLE, f"the file claims {width} × {height} pixels, which nobody renders")


def check_png(data: bytes) -> None:
    """Walk the chunks: each complete and with the right checksum, up to IEND. Raises Damaged."""
    view, position, packed = memoryview(data), len(PNG), 0
    while (body := position + 8) <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = body + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise Damaged(Finding.TRUNCATED, f"the PNG is damaged at byte {position}{_png_share(data)}")
        if position == len(PNG):
            _check_png_header(view[body:end], len(data))
        if name == b"IDAT":
            packed += length
        if name == b"IEND" and packed:
            return
        position = end + 4
    raise Damaged(Finding.TRUNCATED, f"the PNG ends before the picture does{_png_share(data)}")


def _check_png_header(header: memoryview, available: int) -> None:
    if len(header) != 13:
        raise Damaged(Finding.UNREADABLE, "the PNG has no proper header")
    width, height = struct.unpack_from(">II", header)
    believe(width, height)
    if _png_bytes(header) > available * DEFLATE_MOST:
        detail = f"the PNG is far too small for the {width} × {height} pixels it claims"
        raise Damaged(Finding.TRUNCATED, detail)


def _png_bytes(header: memoryview | bytes) -> int:
    """Bytes of the unpacked pixels, one filter byte per row included (interlacing adds a little)."""
    width, height, depth, kind = struct.unpack_from(">IIBB", header)
    channels = {2: 3, 4: 2, 6: 4}.get(kind, 1)
    return int(height * (1 + -(-width * depth * channels // 8)))


def _png_share(data: bytes) -> str:
    """How much of a damaged PNG is there, as the end of a sentence."""
    if len(data) < 33 or not (wanted := _png_bytes(data[16:29])):
        return ""
    unpack, got, position = zlib.decompressobj(), 0, len(PNG)
    while position + 8 < len(data) and got < wanted:
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"IDAT":
            try:
                got += len(unpack.decompress(data[position + 8 : position + 8 + length], 1 << 24))
            except zlib.error:
                break
        position += length + 12
    return f": only {int(100 * min(got / wanted, 0.99))} % of the rows are there"


def check_jpeg(data: bytes) -> None:
    """Walk the segments to the end marker, over tables that may look like one; raises Damaged."""
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        if marker[0] == _JPEG_END:
            return
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    raise Damaged(Finding.TRUNCATED, "the JPEG ends before the picture does")


def check_jpeg_size(data: bytes, width: int, height: int) -> None:
    """Every 8 × 8 block takes at least one bit, else the size is a lie; raises Damaged."""
    if width * height > len(data) * 8 * 64:
        detail = f"the JPEG is far too small for the {width} × {height} pixels it claims"
        raise Damaged(Finding.TRUNCATED, detail)


def check_tiff(file: BinaryIO) -> None:
    """See that every strip or tile of the first picture lies inside the file; raises Damaged."""
    size = file.seek(0, 2)
    try:
        offsets, counts = _tiff_strips(file, size)
    except struct.error as error:
        raise Damaged(Finding.TRUNCATED, "the TIFF ends before its table of contents does") from error
    there = sum(start + count <= size for start, count in zip(offsets, counts, strict=False))
    if there < len(offsets):
        share = 100 * there // len(offsets)
        raise Damaged(Finding.TRUNCATED, f"the TIFF is cut off: only {share} % of the rows are there")


def _tiff_strips(file: BinaryIO, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    file.seek(4)
    (directory,) = struct.unpack(order + "I", file.read(4))
    file.seek(directory)
    (entries,) = struct.unpack(order + "H", file.read(2))
    raw = file.read(entries * 12)
    tags = {}
    for index in range(entries):
        tag, *rest = struct.unpack_from(order + "HHI4s", raw, index * 12)
        tags[tag] = rest
    found = [_tiff_values(file, size, order, *tags[tag]) for tag in (273, 324, 279, 325) if tag in tags]
    return (found[0], found[1]) if len(found) > 1 else ((), ())


def _tiff_values(
    file: BinaryIO, size: int, order: str, kind: int, count: int, inline: bytes
) -> tuple[int, ...]:
    code, width = {3: ("H", 2), 4: ("I", 4)}.get(kind, ("B", 1))
    if count * width > 4:
        file.seek(struct.unpack(order + "I", inline)[0])
        inline = file.read(min(count * width, size))
    return struct.unpack_from(f"{order}{min(count, size)}{code}", inline)


_EXR_LINES = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32, 8: 32, 9: 256}
"""Rows in one chunk, by compression (OpenEXR file layout, openexr.com)."""
_EXR_TILED, _EXR_DEEP, _EXR_PARTS = 0x200, 0x800, 0x1000
_EXR_ATTRIBUTE_MOST = 1 << 26
_Part = dict[bytes, bytes]


def check_exr(file: BinaryIO) -> None:
    """See that every chunk that the offset tables promise lies inside the file; raises Damaged."""
    size = file.seek(0, 2)
    file.seek(4)
    try:
        (flags,) = struct.unpack("<I", file.read(4))
        parts = _exr_parts(file, flags)
        count = sum(_exr_chunks(part, flags, size) for part in parts)
        table = struct.unpack(f"<{count}Q", file.read(8 * count))
        start = file.tell()
        there = sum(start <= offset < size for offset in table)
        if table and there == len(table):
            there -= _exr_end(file, max(table), flags, parts) > size
    except (struct.error, KeyError) as error:
        raise Damaged(Finding.TRUNCATED, "the EXR ends before its table of contents does") from error
    if there < len(table):
        share = 100 * there // len(table)
        raise Damaged(Finding.TRUNCATED, f"the EXR is not complete: only {share} % of the rows are there")


def _exr_parts(file: BinaryIO, flags: int) -> list[_Part]:
    if not flags & _EXR_PARTS:
        return [dict(_exr_attributes(file))]
    parts = []
    while part := dict(_exr_attributes(file)):
        parts.append(part)
    return parts


def _exr_attributes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while name := _exr_text(file):
        _exr_text(file)
        (size,) = struct.unpack("<I", file.read(4))
        if size > _EXR_ATTRIBUTE_MOST:
            raise Damaged(Finding.UNREADABLE, "the EXR's header makes no sense")
        yield name, file.read(size)


def _exr_text(file: BinaryIO) -> bytes:
    text = bytearray()
    while (byte := file.read(1)) != b"\0":
        text += byte
        if not byte or len(text) > 255:
            raise Damaged(Finding.TRUNCATED, "the EXR ends before its header does, or the header is damaged")
    return bytes(text)


def _exr_chunks(part: _Part, flags: int, size: int) -> int:
    """Chunks in a part; 0 where only a library can tell (several resolutions, unknown compression)."""
    left, top, right, bottom = struct.unpack("<4i", part[b"dataWindow"])
    width, height = right - left + 1, bottom - top + 1
    believe(width, height)
    if b"chunkCount" in part:
        return min(int.from_bytes(part[b"chunkCount"], "little"), size)
    if flags & _EXR_DEEP:
        return 0
    if not flags & _EXR_TILED:
        lines = _EXR_LINES.get(int.from_bytes(part[b"compression"], "little"), 0)
        return -(-height // lines) if lines else 0
    across, down, mode = struct.unpack("<IIB", part[b"tiles"])
    return 0 if mode & 15 or not across or not down else -(-width // across) * -(-height // down)


def _exr_end(file: BinaryIO, offset: int, flags: int, parts: list[_Part]) -> int:
    """Where the last chunk ends, by its own leader; 0 for deep data."""
    file.seek(offset)
    several = bool(flags & _EXR_PARTS)
    number = struct.unpack("<I", file.read(4))[0] if several else 0
    kind = parts[number].get(b"type", b"") if number < len(parts) else b"deep"
    if kind.startswith(b"deep"):
        return 0
    leader = 16 if kind.startswith(b"tiled") or flags & _EXR_TILED else 4
    (packed,) = struct.unpack_from("<I", file.read(leader + 4), leader)
    return offset + 4 * several + leader + 4 + int(packed)
