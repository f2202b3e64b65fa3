"""Pictures from disk: whole, or a reason why not, whatever the file claims about itself.

Plain PNGs, as most frames are, go through Pillow, which starts ten times as fast as numpy and OpenImageIO;
those read all else, strip by strip, so that a large picture never fills the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from renderfarm.pictures import damage, png
from renderfarm.pictures.damage import Damaged
from renderfarm.pictures.layers import Layer, finished
from renderfarm.pictures.opening import flattened, is_light, is_straight, opened, placed, straight
from renderfarm.words.states import Finding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    Pixels = NDArray[Any]

STRIP_VALUES = 1 << 24
"""Channel values read at once; a row of tiles may have a few more."""
CHUNK_ROWS = 64
MOST_VALUES = 1 << 28
SAMPLE = 320
"""Pixels along the longer side of a sample: 320 to 639, as every n-th is taken."""
GREY = 128
"""What is shown where a picture is transparent."""
_KNOWN_BY_MAGIC = frozenset((".png", ".jpg", ".jpeg", ".exr", ".tif", ".tiff"))
FLAT_LEVELS = 2
"""Dithering alone makes this much difference."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over a picture's strips leaves behind, of its first view's finished picture."""

    size: tuple[int, int]
    sample: Image.Image
    """every n-th pixel as 8-bit RGB, for the eye; transparent parts grey"""
    flat: bool
    """one colour everywhere, as near as eight bits show it"""
    clear: bool
    """transparent everywhere"""
    bad: dict[str, int] = field(default_factory=dict)
    """channel of any part to the number of its values that are NaN or infinite"""
    views: tuple[Scan, ...] = ()
    """the pictures of the others"""


def prepare() -> None:
    """Import what most pictures need, while nobody waits for one."""
    from PIL import ImageChops, PngImagePlugin  # noqa: F401


def scan(path: Path) -> Scan:
    """Decode a picture completely. Raises Damaged."""
    data = _begun(path)
    if plain := png.decoded(data):
        return _of_image(plain)
    damage.check(data)
    try:
        return _scan(path)
    except Damaged:
        damage.check_png_rows(data)
        raise
    except damage.BROKEN as error:
        if data.startswith(damage.KNOWN):
            detail = f"the file is cut off or damaged: {damage.words(error)}"
            raise Damaged(Finding.TRUNCATED, detail) from error
        raise Damaged(Finding.UNREADABLE, f"the file is no picture: {damage.words(error)}") from error


def _begun(path: Path) -> bytes:
    """A PNG or JPEG, or how another file begins whose skeleton is good."""
    try:
        with path.open("rb") as file:
            magic = file.read(8)
            _check_magic(path, magic)
            return magic + file.read() if magic.startswith((damage.PNG, damage.JPEG)) else magic
    except OSError as error:
        raise Damaged(Finding.UNREADABLE, f"the file can't be read: {error.strerror or error}") from error


def _check_magic(path: Path, magic: bytes) -> None:
    if not magic:
        raise Damaged(Finding.UNREADABLE, "the file is empty")
    if path.suffix.lower() in _KNOWN_BY_MAGIC and not magic.startswith(damage.KNOWN):
        raise Damaged(Finding.UNREADABLE, f"the file is no picture: it starts with {str(magic)[2:-1]}")


def _of_image(image: Image.Image) -> Scan:
    """All is done on every n-th pixel; only where those are alike, all are looked at."""
    step = max(1, max(image.size) // SAMPLE)
    few = image.resize((-(-image.width // step), -(-image.height // step)), 0) if step > 1 else image
    flat, clear = _alike(few)
    if flat or clear:
        flat, clear = _alike(image)
    return Scan(image.size, flatten(few) if few.mode == "RGBA" else few, flat, clear)


def _alike(image: Image.Image) -> tuple[bool, bool]:
    """Whether all pixels of an RGB or RGBA picture show one colour, and whether all are transparent."""
    spans = cast("tuple[tuple[int, int], ...]", image.getextrema())
    return all(high - low <= FLAT_LEVELS for low, high in spans), spans[3:] == ((0, 0),)


class _Source:
    """An open file of OpenImageIO, read in strips; the current part is the first until `next_part`."""

    def __init__(self, path: Path) -> None:
        self.input, self._path = opened(path), path
        self._part = 0
        self._layers = finished(self.input) or [Layer(0, "", (0, 0, 0))]
        self._look()

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.input.close()

    def _look(self) -> None:
        spec = self.input.spec()
        damage.believe(spec.width, spec.height)
        self.spec = spec
        self.light = is_light(spec)
        self.channels: tuple[str, ...] = tuple(spec.channelnames)
        self.layers = [layer for layer in self._layers if layer.part == self._part]
        self.size = (spec.full_width or spec.width, spec.full_height or spec.height)
        self.place = (spec.x - spec.full_x, spec.y - spec.full_y)

    def number(self, layer: Layer) -> int:
        """Which of the pictures it is, in the order of views."""
        return self._layers.index(layer)

    def next_part(self) -> bool:
        self._part += 1
        found = bool(self.input.seek_subimage(self._part, 0))
        if found:
            self._look()
        else:
            self.input.geterror()
        return found

    def strips(self) -> Iterator[tuple[int, Pixels]]:
        """Row numbers from 0 and their pixels, all channels, as float32 or uint8."""
        spec, kind = self.spec, "float" if self.light else "uint8"
        rows = _strip_rows(spec.width * spec.nchannels, spec.tile_height)
        right, bottom, whole = spec.x + spec.width, spec.y + spec.height, None
        for top in range(spec.y, bottom, rows):
            end, every = min(top + rows, bottom), (0, spec.nchannels, kind)
            if spec.deep:
                whole = flattened(self._path, self._part) if whole is None else whole
                strip = None if whole is None else whole[top - spec.y : end - spec.y]
            elif spec.tile_width:
                strip = self.input.read_tiles(spec.x, right, top, end, 0, 1, *every)
            else:
                strip = self.input.read_scanlines(top, end, 0, *every)
            if strip is None or self.input.has_error:
                words = damage.words(self.input.geterror())
                raise Damaged(Finding.TRUNCATED, f"the picture can't be decoded: {words}")
            yield top - spec.y, strip.reshape(end - top, spec.width, spec.nchannels)


def _strip_rows(row_values: int, tile_height: int) -> int:
    """Rows to read at once: whole tiles, else whole chunks where they fit."""
    if tile_height * row_values > MOST_VALUES:
        raise Damaged(Finding.UNREADABLE, "the file claims more channels or larger tiles than anybody renders")
    rows, step = max(STRIP_VALUES // row_values, 1), tile_height or CHUNK_ROWS
    return max(rows // step, 1) * step if tile_height or rows > step else rows


def _scan(path: Path) -> Scan:
    """Read a whole file; the picture is its beauty layer, bad values are counted in all parts of an EXR."""
    bad: dict[str, int] = {}
    with _Source(path) as source:
        found = _scan_part(source, bad)
        while source.input.format_name() == "openexr" and source.next_part():
            found += _scan_part(source, bad)
    first, *others = [scan for place, scan in sorted(found, key=itemgetter(0))]
    return replace(first, bad=bad, views=tuple(others))


def _scan_part(source: _Source, wrong: dict[str, int]) -> list[tuple[int, Scan]]:
    """The pictures in a part, each with its place among all; bad values of the part are added."""
    import numpy as np
    from PIL import Image

    low = np.full(len(source.channels), np.inf)
    high = -low
    rows: list[list[Pixels]] = [[] for _ in source.layers]
    bad = dict.fromkeys(source.channels, 0)
    step = max(1, max(source.size) // SAMPLE)
    (left, above), (width, height) = source.place, source.size
    with np.errstate(invalid="ignore"):
        for top, strip in source.strips():
            least, most = strip.min(axis=0).min(axis=0), strip.max(axis=0).max(axis=0)
            if not (np.isfinite(least) & np.isfinite(most)).all():
                _count_bad(strip, source.channels, bad)
            low, high = np.minimum(low, least), np.maximum(high, most)
            for layer, kept in zip(source.layers, rows, strict=True):
                few = strip[-(above + top) % step :: step, -left % step :: step]
                kept.append(few[..., list(layer.channels)])
        wrong |= {name: count for name, count in bad.items() if count}
        if (source.place, source.size) != ((0, 0), (source.spec.width, source.spec.height)):
            low, high = np.minimum(low, 0), np.maximum(high, 0)
        found = []
        for layer, kept in zip(source.layers, rows, strict=True):
            colour = list(layer.channels)
            few = placed(
                np.concatenate(kept),
                (-(-left // step), -(-above // step)),
                (-(-width // step), -(-height // step)),
            )
            sample = Image.fromarray(_display(few, layer, source))
            sample = flatten(sample) if sample.mode == "RGBA" else sample
            scan = Scan(source.size, sample, *_flatness(low[colour], high[colour], layer, source))
            found.append((source.number(layer), scan))
    return found


def _flatness(low: Pixels, high: Pixels, layer: Layer, source: _Source) -> tuple[bool, bool]:
    """Whether all pixels show one colour, within two of 256 levels, and whether all are transparent."""
    flat = bool((high - low <= (0.0006 + 0.005 * abs(high) if source.light else 2)).all())
    # Light without alpha is a picture too (fire), but only where alpha is premultiplied, in float files.
    seen = high if source.light else high[3:]
    return flat, bool(layer.alpha and (seen <= 0).all())


def _count_bad(strip: Pixels, channels: tuple[str, ...], bad: dict[str, int]) -> None:
    import numpy as np

    for index, name in enumerate(channels):
        last = name.rsplit(".", 1)[-1].lower()
        if "crypto" in name.lower():
            continue
        values = strip[..., index]
        wrong = np.isnan(values) if last in _MAY_BE_INFINITE else ~np.isfinite(values)
        bad[name] += int(wrong.sum())


_MAY_BE_INFINITE = frozenset(("z", "zback", "depth", "v", "x", "y", "w"))
"""Depth and position of the background are infinite on purpose."""


def _display(pixels: Pixels, layer: Layer, source: _Source) -> NDArray[np.uint8]:
    """Linear light as the eye sees it, roughly, over grey; integers as they are."""
    import numpy as np

    if not source.light:
        return straight(pixels.astype(np.uint8, copy=False), source.input)
    clean = np.clip(np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)
    light, alpha = clean[..., :3], clean[..., 3:] if layer.alpha else 1.0
    if is_straight(source.spec):
        light = light * alpha
    shown: Pixels = (light + (1 - alpha) * (GREY / 255) ** 2.2).clip(0, 1) ** (1 / 2.2)
    found: NDArray[np.uint8] = (shown * 255 + 0.5).astype(np.uint8)
    return found


def flatten(image: Image.Image) -> Image.Image:
    """An RGBA picture on grey, so that neither black nor white things vanish."""
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", image.size, (GREY, GREY, GREY, 255)), image).convert("RGB")
