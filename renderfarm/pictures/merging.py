"""Parts of a picture put together, a few rows at a time: 16k × 9k pixels are no memory.

Values of tiles are copied, never computed; those of sample ranges are means, weighted by their samples. What
stands in the first part's file besides pixels stays.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renderfarm.errors import InputError
from renderfarm.pictures import opening
from renderfarm.pictures.reading import openimageio
from renderfarm.words.work import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

BAND_ROWS = 64
DATA = frozenset({"Depth", "Position", "Object Index", "IndexOB", "Material Index", "IndexMA"})
"""passes that Cycles writes with its first sample"""
NEAR, NEARLY_NOTHING = 1e-4, 1e-5
"""how far a mean of ranges is from the sum of all samples at most: that is rounded once for each of them"""
BAND = 2
"""pixels on both sides of an edge in which tiles with margins must agree"""
STEP, LEAST_STEP = 4, 1 / 255
"""a step is so many times as large as those beside it, and so much more"""
TIME, SAMPLES = "Render Time", "Debug Sample Count"
"""passes that tell what a pixel took"""
TELLING_SECONDS = 0.1
"""what is rendered sooner tells of starting it"""
SURE = 0.999
"""of pixels took what a pass tells of them; others wait for what else the machine does"""


def merge(tiles: Sequence[tuple[Part, Path]], size: tuple[int, int], target: Path) -> None:
    """Write a picture from parts that are all of it; each in a file of its own, or of the whole's size.

    Raises InputError for files that are not what they should be, OSError where there is no room.
    """
    with contextlib.ExitStack() as files:
        sources = [files.enter_context(_Tile(part, path, size)) for part, path in tiles]
        sources.sort(key=lambda source: (source.part.first, source.part.top, source.part.left))
        first = sources[0]
        bands = _means(sources, size) if first.part.samples else _bands(sources, size)
        _write(first, bands, size, target)


def differing(part: Part, one: Path, other: Path, *, near: bool = False) -> float:
    """The share of pixels in which two files of a picture differ, in any channel; of ranges, visibly."""
    with _Tile(part, one, part.size) as a, _Tile(part, other, part.size) as b:
        bands = [_differ(a, b, (0, top, part.right, bottom), near) for top, bottom in _rows(0, part.bottom)]
        return float(sum(band.sum() for band in bands)) / (part.right * part.bottom)


def costs(file: Path, parts: Sequence[Part], seconds: Sequence[float]) -> list[list[float]]:
    """What each pixel of a small picture took, by row: as its renderer says, else as its tiles took, in which
    samples are shared out where it tells those.

    The first part is all of it, in the file. Empty where nothing tells.
    """
    import numpy as np

    with _Tile(parts[0], file, parts[0].size) as whole:
        told = [n for n, name in enumerate(whole.names) if not {TIME, SAMPLES}.isdisjoint(name.split("."))]
        cost = whole.cut(0, 0, *parts[0].size)[..., told].sum(-1, dtype=float) + (not told)
        timed = min(seconds) > TELLING_SECONDS and not any(TIME in whole.names[n] for n in told)
    start = max(0.0, sum(seconds[1:]) - seconds[0]) / max(1, len(parts) - 2)
    for part, each in zip(parts[1:], seconds[1:], strict=True) if timed else ():
        tile = cost[part.top : part.bottom, part.left : part.right]
        tile *= max(each - start, each / 20) / tile.sum()
    known: list[list[float]] = np.minimum(cost, np.quantile(cost, SURE)).tolist()
    return known if told or timed else []


def agree(tiles: Sequence[tuple[Part, Path]], size: tuple[int, int]) -> None:
    """See that tiles with margins are the same on both sides of their edges; raises SeamError.

    What a renderer carries from a pixel to the next, and so beyond a margin, must pass there.
    """
    for one, other, (left, top, right, bottom) in _meeting(tiles, size):
        bands = ((left, begin, right, end) for begin, end in _rows(top, bottom))
        if one.part.margin and any(_differ(one, other, band).any() for band in bands):
            raise SeamError(f"{one.part} and {other.part} differ where they meet", "Leave --split out.")


def steps(tiles: Sequence[tuple[Part, Path]], size: tuple[int, int]) -> Iterator[str]:
    """Edges of tiles where the picture has a step, on average, that it has on neither side of them."""
    import numpy as np

    for one, other, (left, top, right, bottom) in _meeting(tiles, size):
        middle, upright = (left + BAND, top + BAND), one.part.right == other.part.left
        if one.part.margin or (right - left, bottom - top)[not upright] < 2 * BAND:
            continue
        if upright:
            bands = (
                np.concatenate([one.seen(left, a, middle[0], b), other.seen(middle[0], a, right, b)], axis=1)
                for a, b in _rows(top, bottom)
            )
            line = np.concatenate(list(bands))
        else:
            halves = one.seen(left, top, right, middle[1]), other.seen(left, middle[1], right, bottom)
            line = np.concatenate(halves).swapaxes(0, 1)
        before, step, after = abs(np.diff(line, axis=1)).mean((0, 2))
        if step > LEAST_STEP + STEP * max(before, after):
            yield f"a step where {one.part} and {other.part} meet"


def _meeting(
    tiles: Sequence[tuple[Part, Path]], size: tuple[int, int]
) -> Iterator[tuple[_Tile, _Tile, tuple[int, int, int, int]]]:
    """Tiles beside each other, and the band along the edge that they have in common."""
    with contextlib.ExitStack() as files:
        sources = [files.enter_context(_Tile(part, path, size)) for part, path in tiles]
        sources.sort(key=lambda source: (source.part.top, source.part.left))
        for one, other in itertools.combinations(sources, 2):
            band = _shared(one.part, other.part, size)
            if other.part.right == one.part.left or other.part.bottom == one.part.top:
                one, other = other, one
            if band[0] < band[2] and band[1] < band[3]:
                yield one, other, band


def _shared(one: Part, other: Part, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The band along the edge that two tiles have in common; empty where they have none."""
    left, right = max(one.left, other.left), min(one.right, other.right)
    top, bottom = max(one.top, other.top), min(one.bottom, other.bottom)
    if left == right and top < bottom:
        return max(0, left - BAND), top, min(size[0], right + BAND), bottom
    if top == bottom and left < right:
        return left, max(0, top - BAND), right, min(size[1], bottom + BAND)
    return 0, 0, 0, 0


def _rows(top: int, bottom: int) -> Iterator[tuple[int, int]]:
    return ((row, min(bottom, row + BAND_ROWS)) for row in range(top, bottom, BAND_ROWS))


def _differ(one: _Tile, other: _Tile, box: tuple[int, int, int, int], near: bool = False) -> Pixels:
    """Which pixels of two files are not the same, where what is not a number equals itself."""
    import numpy as np

    order = [one.names.index(name) for name in other.names]
    a, b = one.cut(*box)[..., order], other.cut(*box)
    same = np.isclose(a, b, rtol=NEAR, atol=NEARLY_NOTHING) if near else a == b
    differs: Pixels = (~same & ~((a != a) & (b != b))).any(-1)
    return differs


class SeamError(InputError):
    """Tiles that are not of one picture."""


class _Tile:
    """A tile's file, with the channels of all its parts."""

    def __init__(self, part: Part, path: Path, whole: tuple[int, int]) -> None:
        self.part, self.path = part, path
        self._opened = list(_subimages(path))
        self._specs = [opened.spec() for opened in self._opened]
        if not self._specs:
            raise InputError(f"{part} can't be merged: {path} can't be read.", "Render it again.")
        self.spec = self._specs[0]
        self.names = [name for spec in self._specs for name in spec.channelnames]
        size, reach = (self.spec.width, self.spec.height), part.reach(whole)
        self._left, self._top = (0, 0) if size == whole else reach[:2]
        if size not in (whole, (reach[2] - reach[0], reach[3] - reach[1])):
            self.close()
            raise InputError(f"{part} has {size[0]} × {size[1]} pixels.", "Render it again.")

    def __enter__(self) -> _Tile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for opened in self._opened:
            opened.close()

    def seen(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A rectangle of what people see, from 0 to 1 where nothing is brighter than white."""
        import numpy as np

        found = self.cut(left, top, right, bottom)[
            ..., [n for n, name in enumerate(self.names) if name[-1] in "RGB"][:3]
        ]
        return found / np.iinfo(found.dtype).max if found.dtype.kind == "u" else np.minimum(found, 1.0)

    def rows(self, top: int, bottom: int) -> Pixels:
        """Rows of the tile, by their numbers in the picture."""
        return self.cut(self.part.left, top, self.part.right, bottom)

    def cut(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A rectangle of the picture, all channels."""
        import numpy as np

        found = []
        for opened, spec in zip(self._opened, self._specs, strict=True):
            begin, kind = top - self._top + spec.y, str(spec.format)
            rows = opened.read_scanlines(begin, begin + bottom - top, 0, 0, spec.nchannels, kind)
            if rows is None or opened.has_error:
                raise InputError(f"{self.part} can't be merged: {opened.geterror()}", "Render it again.")
            found.append(rows.reshape(bottom - top, spec.width, -1)[:, left - self._left : right - self._left])
        cut: Pixels = found[0] if len(found) == 1 else np.concatenate(found, axis=-1)
        return cut


def _subimages(path: Path) -> Iterator[Any]:
    """An opened file for each of its parts; a renderer may write one for each pass."""
    for number in itertools.count():
        source = opening.opened(path)
        if source is None or not source.seek_subimage(number, 0):
            (source or openimageio()).geterror()
            if source:
                source.close()
            return
        yield source


def _bands(sources: Sequence[_Tile], size: tuple[int, int]) -> Iterator[Pixels]:
    """The picture's rows, a few at a time, from top to bottom."""
    import numpy as np

    edges = sorted({edge for source in sources for edge in (source.part.top, source.part.bottom)})
    edges = sorted({*edges, *range(0, size[1], BAND_ROWS)})
    for top, bottom in itertools.pairwise(edges):
        here = [source for source in sources if source.part.top <= top < source.part.bottom]
        here.sort(key=lambda source: source.part.left)
        yield np.concatenate([source.rows(top, bottom) for source in here], axis=1)


def _means(sources: Sequence[_Tile], size: tuple[int, int]) -> Iterator[Pixels]:
    """The picture's rows, each value the mean of what ranges have there; data are those of the first one."""
    import numpy as np

    first = sources[0]
    data = [n for n, name in enumerate(first.names) if not DATA.isdisjoint(name.split(".")[-2:-1])]
    orders = [[source.names.index(name) for name in first.names] for source in sources]
    total = sum(source.part.samples for source in sources)
    for top, bottom in _rows(0, size[1]):
        mean = np.zeros((bottom - top, size[0], len(first.names)))
        for source, order in zip(sources, orders, strict=True):
            mean += source.rows(top, bottom)[..., order] * (source.part.samples / total)
        mean[..., data] = first.rows(top, bottom)[..., data]
        yield mean.astype(np.float32)


def _write(first: _Tile, bands: Iterator[Pixels], size: tuple[int, int], target: Path) -> None:
    oiio = openimageio()
    spec = oiio.ImageSpec(first.spec)
    spec.nchannels, spec.channelnames = len(first.names), tuple(first.names)
    for name in ("name", "oiio:subimagename", "oiio:subimages", "openexr:chunkCount"):
        spec.erase_attribute(name)
    spec.x = spec.y = spec.full_x = spec.full_y = 0
    spec.width, spec.height = spec.full_width, spec.full_height = size
    output = oiio.ImageOutput.create(str(target))
    row = 0
    good = output is not None and output.open(str(target), spec)
    for band in bands if good else ():
        good = good and output.write_scanlines(row, row + len(band), 0, band)
        row += len(band)
    good = good and output.close()
    if complaint := (output or oiio).geterror() or (
        "" if good else "no reason is told"
    ):  # a PNG tells only here
        raise OSError(f"{target} can't be written: {complaint.splitlines()[0]}")
