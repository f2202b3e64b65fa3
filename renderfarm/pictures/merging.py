"""Tiles of a picture put together, a few rows at a time: 16k × 9k pixels are no memory.

Values are copied, never computed, and what stands in the first tile's file besides pixels stays.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renderfarm.errors import InputError
from renderfarm.pictures import damage
from renderfarm.pictures.reading import openimageio
from renderfarm.words.model import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

BAND_ROWS = 64
_COMPRESSION = 6
_UP = b"\2"
"""PNG's filter of a row that is written as its difference to the one above"""


def merge(tiles: Sequence[tuple[Part, Path]], size: tuple[int, int], target: Path) -> None:
    """Write a picture from tiles that cover it; each in a file of its own size, or of the whole's.

    Raises InputError for files that are not what they should be.
    """
    with contextlib.ExitStack() as files:
        sources = [files.enter_context(_Tile(part, path, size)) for part, path in tiles]
        first = min(sources, key=lambda source: (source.part.top, source.part.left))
        write = _write_png if target.suffix == ".png" else _write_exr
        write(first, _bands(sources, size), size, target)


def differing(one: Path, other: Path) -> float:
    """The share of pixels in which two pictures of the same size differ."""
    oiio = openimageio()
    a, b = (oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT) for path in (one, other))
    return float((a != b).any(-1).mean())


class _Tile:
    """A tile's file, open for reading rows from top to bottom."""

    def __init__(self, part: Part, path: Path, whole: tuple[int, int]) -> None:
        oiio = openimageio()
        self.part, self.path = part, path
        config = oiio.ImageSpec()
        config.attribute("oiio:UnassociatedAlpha", 1)
        self._input = oiio.ImageInput.open(str(path), config)
        if self._input is None:
            raise InputError(f"{part} can't be merged: {oiio.geterror()}", "Render it again.")
        self.spec = self._input.spec()
        size = (self.spec.width, self.spec.height)
        self._left, self._top = (part.left, part.top) if size == whole else (0, 0)
        if size not in (whole, part.size):
            self._input.close()
            message = f"{part} has {size[0]} × {size[1]} pixels."
            raise InputError(message, "Render it again.")

    def __enter__(self) -> _Tile:
        return self

    def __exit__(self, *_: object) -> None:
        self._input.close()

    def rows(self, top: int, bottom: int) -> Pixels:
        """Rows of the picture, by their numbers in it."""
        begin, left = top - self.part.top + self._top + self.spec.y, self._left
        rows = self._input.read_scanlines(
            begin, begin + bottom - top, 0, 0, self.spec.nchannels, str(self.spec.format)
        )
        if rows is None or self._input.has_error:
            raise InputError(f"{self.part} can't be merged: {self._input.geterror()}", "Render it again.")
        width = self.part.right - self.part.left
        shaped: Pixels = rows.reshape(bottom - top, self.spec.width, -1)[:, left : left + width]
        return shaped


def _bands(sources: Sequence[_Tile], size: tuple[int, int]) -> Iterator[Pixels]:
    """The picture's rows, a few at a time, from top to bottom."""
    import numpy as np

    edges = sorted({edge for source in sources for edge in (source.part.top, source.part.bottom)})
    edges = sorted({*edges, *range(0, size[1], BAND_ROWS)})
    for top, bottom in itertools.pairwise(edges):
        here = [source for source in sources if source.part.top <= top < source.part.bottom]
        here.sort(key=lambda source: source.part.left)
        yield np.concatenate([source.rows(top, bottom) for source in here], axis=1)


def _write_exr(first: _Tile, bands: Iterator[Pixels], size: tuple[int, int], target: Path) -> None:
    oiio = openimageio()
    spec = oiio.ImageSpec(first.spec)
    spec.x = spec.y = spec.full_x = spec.full_y = 0
    spec.width, spec.height = spec.full_width, spec.full_height = size
    output = oiio.ImageOutput.create(str(target))
    row = 0
    if output is None or not output.open(str(target), spec):
        raise InputError(f"{target} can't be written: {oiio.geterror()}", "Make room there.")
    with contextlib.closing(output):
        for band in bands:
            if not output.write_scanlines(row, row + len(band), 0, band):
                raise InputError(f"{target} can't be written: {output.geterror()}", "Make room there.")
            row += len(band)


def _write_png(first: _Tile, bands: Iterator[Pixels], size: tuple[int, int], target: Path) -> None:
    """By hand, because chunks before the pixels are those of the first tile, byte for byte."""
    import numpy as np

    chunks = list(damage.png_chunks(first.path.read_bytes()))
    packer, above = zlib.compressobj(_COMPRESSION), None
    with target.open("wb") as file:
        file.write(damage.PNG)
        header = dict(chunks)[b"IHDR"]
        _chunk(file, b"IHDR", struct.pack(">II", *size) + header[8:12] + b"\0")
        for name, data in chunks:
            if name not in (b"IHDR", b"IDAT", b"IEND"):
                _chunk(file, name, data)
        for band in bands:
            raw = np.ascontiguousarray(band.astype(band.dtype.newbyteorder(">"))).view(np.uint8)
            raw = raw.reshape(len(band), -1)
            above = np.zeros_like(raw[:1]) if above is None else above
            less = raw - np.concatenate([above, raw[:-1]])
            above = raw[-1:]
            _chunk(file, b"IDAT", packer.compress(b"".join(_UP + row.tobytes() for row in less)))
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: Any, name: bytes, data: bytes) -> None:
    if data or name == b"IEND":
        file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
