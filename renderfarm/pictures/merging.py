"""Parts of a picture put together, a few rows at a time: 16k × 9k pixels are no memory.

Values of tiles are copied, never computed; those of sample ranges are means, weighted by their samples. What
stands in the first part's file besides pixels stays.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renderfarm.errors import InputError
from renderfarm.pictures.opening import opened, openimageio
from renderfarm.words.work import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

Box = tuple[int, int, int, int]
Files = Sequence[tuple[Part, Path]]
"""each part in a file of its own size, or of the whole's"""
BAND_ROWS = 64
DATA = frozenset({"Depth", "Position", "Object Index", "IndexOB", "Material Index", "IndexMA"})
"""passes that Cycles writes with its first sample"""
NEAR, NEARLY_NOTHING = 1e-4, 1e-5
"""how far a mean of ranges is from the sum of all samples at most: that is rounded once for each of them"""
STEP, LEAST_STEP = 4, 1 / 255
"""a step is so many times as large as those beside it, and so much more"""
TIME, SAMPLES = "Render Time", "Debug Sample Count"
"""passes that tell what a pixel took"""
CALM, SURE = 5, 0.99
"""pixels along a square of those whose samples' middle one counts, and the share of all that is sure then"""
TELLING_SECONDS = 0.1
"""what is rendered sooner tells of starting it"""


def merge(parts: Files, size: tuple[int, int], target: Path) -> None:
    """Write a picture from parts that are all of it.

    Raises InputError for files that are not what they should be, OSError where there is no room.
    """
    with _opened(size, *sorted(parts, key=lambda each: each[0].first)) as sources:
        bands = _means(sources, size) if sources[0].part.samples else _bands(sources, size)
        _write(sources[0], bands, size, target)


def differing(part: Part, one: Path, other: Path, *, near: bool = False) -> float:
    """The share of pixels in which two files of a picture differ, in any channel; of ranges, visibly."""
    with _opened(part.size, (part, one), (part, other)) as (a, b):
        return float(_differ(a, b, (0, 0, *part.size), near).mean())


def costs(file: Path, parts: Sequence[Part], seconds: Sequence[float]) -> list[list[float]]:
    """What each pixel of a small picture took, by row: its time where the renderer tells that, else as its
    tiles took, in which samples are shared out where it tells those.

    The first part is all of it, in the file. Empty where nothing tells.
    """
    with _opened(parts[0].size, (parts[0], file)) as (whole,):
        pixels = whole.cut(0, 0, *parts[0].size).astype(float)
        passes = [name.split(".") for name in whole.names]
    time, samples = (pixels[..., [name in each for each in passes]].sum(-1) for name in (TIME, SAMPLES))
    cost = samples if samples.all() else samples * 0 + 1
    if time.any():
        cost *= calm(time / cost)
    elif min(seconds) > TELLING_SECONDS:
        start = max(0.0, sum(seconds[1:]) - seconds[0]) / max(1, len(parts) - 2)
        for part, each in zip(parts[1:], seconds[1:], strict=True):
            tile = cost[part.top : part.bottom, part.left : part.right]
            tile *= max(each - start, each / 20) / tile.sum()
    elif not samples.all():
        return []
    known: list[list[float]] = cost.tolist()
    return known


def calm(cost: Pixels) -> Pixels:
    """What pixels took by the middle one of each and its neighbours, at most as long as nearly all others.

    Where something else ran meanwhile, some took a hundred times as long: on a busy machine most of all time.
    """
    import numpy as np

    (height, width), wide = cost.shape, np.pad(cost, CALM // 2, mode="edge")
    around = [wide[y : y + height, x : x + width] for y in range(CALM) for x in range(CALM)]
    middle = np.median(around, axis=0)
    calmed: Pixels = np.minimum(middle, np.quantile(middle, SURE))
    return calmed


def seam(parts: Files, size: tuple[int, int]) -> str:
    """Which tiles with margins are not the same on both sides of an edge, for people; empty where all are.

    What a renderer carries from a pixel to the next, and so beyond a margin, must pass through a pixel there.
    """
    wrong = (
        f"{one.part} and {other.part} differ where they meet"
        for one, other, band in _meeting(parts, size, 1)
        if one.part.margin and _differ(one, other, band).any()
    )
    return next(wrong, "")


def steps(parts: Files, size: tuple[int, int]) -> Iterator[str]:
    """Edges of tiles where the picture has a step, on average, that it has on neither side of them."""
    import numpy as np

    for one, other, (left, top, right, bottom) in _meeting(parts, size, 2):
        across = int(one.part.right == other.part.left)
        if one.part.margin or (bottom - top, right - left)[across] < 4:
            continue
        end, begin = (left + 2, bottom), (left + 2, top)
        if not across:
            end, begin = (right, top + 2), (left, top + 2)
        halves = one.seen(left, top, *end), other.seen(*begin, right, bottom)
        line = np.concatenate(halves, axis=across)
        before, step, after = abs(np.diff(line, axis=across)).mean((1 - across, 2))
        if step > LEAST_STEP + STEP * max(before, after):
            yield f"a step where {one.part} and {other.part} meet"


def _meeting(parts: Files, size: tuple[int, int], reach: int) -> Iterator[tuple[_Tile, _Tile, Box]]:
    """Tiles beside or above each other, and a band of so many pixels on both sides of the edge between them."""
    for pair in itertools.permutations(parts, 2):
        one, other = pair[0][0], pair[1][0]
        left, right = max(one.left, other.left), min(one.right, other.right)
        top, bottom = max(one.top, other.top), min(one.bottom, other.bottom)
        if one.right == other.left and top < bottom:
            left, right = max(0, left - reach), min(size[0], right + reach)
        elif one.bottom == other.top and left < right:
            top, bottom = max(0, top - reach), min(size[1], bottom + reach)
        else:
            continue
        with _opened(size, *pair) as (first, second):
            yield first, second, (left, top, right, bottom)


def _rows(top: int, bottom: int) -> Iterator[tuple[int, int]]:
    return ((row, min(bottom, row + BAND_ROWS)) for row in range(top, bottom, BAND_ROWS))


def _differ(one: _Tile, other: _Tile, box: Box, near: bool = False) -> Pixels:
    """Which pixels of two files are not the same, where what is not a number equals itself."""
    import numpy as np

    order = [one.names.index(name) for name in other.names]
    a, b = one.cut(*box)[..., order], other.cut(*box)
    same = np.isclose(a, b, rtol=NEAR, atol=NEARLY_NOTHING) if near else a == b
    differs: Pixels = (~same & ~((a != a) & (b != b))).any(-1)
    return differs


@contextlib.contextmanager
def _opened(size: tuple[int, int], *parts: tuple[Part, Path]) -> Iterator[list[_Tile]]:
    with contextlib.ExitStack() as files:
        yield [files.enter_context(contextlib.closing(_Tile(part, path, size))) for part, path in parts]


class _Tile:
    """A part's file, with the channels of all that is in it: a renderer may write a part for each pass.

    It is open from the first rows that are read to its last: a picture may have more tiles than a process may
    have files open.
    """

    def __init__(self, part: Part, path: Path, whole: tuple[int, int]) -> None:
        self.part, self._path, self._whole = part, path, whole

    @functools.cached_property
    def _file(self) -> Any:
        try:
            return opened(self._path)
        except OSError as error:
            message = f"{self.part} can't be merged: {self._path} can't be read."
            raise InputError(message, "Render it again.") from error

    @functools.cached_property
    def specs(self) -> list[Any]:
        """What its parts are; raises InputError for another size than the tile's or the picture's."""
        first, (left, top, right, bottom) = self._file.spec(), self.part.reach(self._whole)
        size = first.width, first.height
        if size not in (self._whole, (right - left, bottom - top)):
            raise InputError(f"{self.part} has {size[0]} × {size[1]} pixels.", "Render it again.")
        self._corner = (0, 0) if size == self._whole else (left, top)
        return [self._file.spec(n, 0) for n in range(first.get_int_attribute("oiio:subimages", 1))]

    @functools.cached_property
    def names(self) -> list[str]:
        """Of its channels."""
        return [name for spec in self.specs for name in spec.channelnames]

    def close(self) -> None:
        """Until somebody reads it again."""
        if file := self.__dict__.pop("_file", None):
            file.close()

    def seen(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A rectangle of what people see, from 0 to 1 where nothing is brighter than white."""
        import numpy as np

        colours = [n for n, name in enumerate(self.names) if name[-1] in "RGB"][:3]
        found = self.cut(left, top, right, bottom)[..., colours]
        return found / np.iinfo(found.dtype).max if found.dtype.kind == "u" else np.minimum(found, 1.0)

    def rows(self, top: int, bottom: int) -> Pixels:
        """Its rows, by their numbers in the picture; the last ones close the file."""
        found = self.cut(self.part.left, top, self.part.right, bottom)
        if bottom == self.part.bottom:
            self.close()
        return found

    def cut(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A rectangle of the picture, all channels."""
        import numpy as np

        strips = []
        for begin, end in _rows(top, bottom):
            rows = [self._read(number, begin, end) for number in range(len(self.specs))]
            across = slice(left - self._corner[0], right - self._corner[0])
            strips.append(np.concatenate([each[:, across] for each in rows], axis=-1))
        return strips[0] if len(strips) == 1 else np.concatenate(strips)

    def _read(self, number: int, top: int, bottom: int) -> Pixels:
        spec = self.specs[number]
        begin = top - self._corner[1] + spec.y
        rows = self._file.read_scanlines(
            number, 0, begin, begin + bottom - top, 0, 0, spec.nchannels, str(spec.format)
        )
        if rows is None or self._file.has_error:
            raise InputError(f"{self.part} can't be merged: {self._file.geterror()}", "Render it again.")
        found: Pixels = rows.reshape(bottom - top, spec.width, -1)
        return found


def _bands(sources: Sequence[_Tile], size: tuple[int, int]) -> Iterator[Pixels]:
    """The picture's rows, a few at a time, from top to bottom."""
    import numpy as np

    edges = {edge for source in sources for edge in (source.part.top, source.part.bottom)}
    for top, bottom in itertools.pairwise(sorted({*edges, *range(0, size[1], BAND_ROWS)})):
        here = [source for source in sources if source.part.top <= top < source.part.bottom]
        here.sort(key=lambda source: source.part.left)
        yield np.concatenate([source.rows(top, bottom) for source in here], axis=1)


def _means(sources: Sequence[_Tile], size: tuple[int, int]) -> Iterator[Pixels]:
    """The picture's rows, each value the mean of what ranges have there; data are those of the first one."""
    import numpy as np

    names = sources[0].names
    data = [n for n, name in enumerate(names) if not DATA.isdisjoint(name.split(".")[-2:-1])]
    orders = [[source.names.index(name) for name in names] for source in sources]
    total = sum(source.part.samples for source in sources)
    for top, bottom in _rows(0, size[1]):
        mean, first = np.zeros((bottom - top, size[0], len(names))), None
        for source, order in zip(sources, orders, strict=True):
            rows = source.rows(top, bottom)[..., order]
            first = rows[..., data] if first is None else first
            mean += rows * (source.part.samples / total)
        mean[..., data] = first
        yield mean.astype(np.float32)


def _write(first: _Tile, bands: Iterator[Pixels], size: tuple[int, int], target: Path) -> None:
    oiio = openimageio()
    spec = oiio.ImageSpec(first.specs[0])
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
