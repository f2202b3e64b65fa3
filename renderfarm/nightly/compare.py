"""Does a frame look different from the same frame of another night?

Rendering again never gives the same bytes where a seed, an encoder or a version differs, so the question is
whether two pictures differ by more than noise and encoding explain. docs/nightly.md tells how, and what was
measured.
"""

from __future__ import annotations

import filecmp
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from renderfarm.nightly.model import FrameDifference
from renderfarm.pictures import colour
from renderfarm.pictures.reading import flatten
from renderfarm.words.scene import Colour

Pixels = NDArray[Any]

CHANGED = 0.02
"""A difference of at least this much counts."""
FLOOR_LEVELS = 2.0
"""Areas that differ less than this (of 255) on average look alike; encoders stay below …"""
COARSE_COLOUR = 0.6
"""… plus this part of what halving the resolution of the colours changes there, as JPEG and video do."""
NOISE_TIMES = 6.0
"""How far the mean of an area must be from what noise alone would do to it."""
BLOTCH_TIMES = 3.0
MOST_BLOTCH_LEVELS = 4.0
"""What a denoiser leaves is no noise from pixel to pixel, but blotches all over: areas differ this many times
as much as neighbouring areas usually do from each other. More levels than this are seen, whatever made them."""
TOUCHED_SHARE = 0.25
"""Less of an area than this is a firefly in it."""
CELLS = 96
"""Cells along the side of a square picture; areas are whole numbers of them."""
AREAS = (4, 8, 16, 32)
"""Sides of the areas that are compared, in cells: 1/24 to 1/3 of the picture."""
SMALL_AREAS, SPOT_SHARE = (1, 2), 0.02
"""… and smaller ones where all but this share of the picture is the same to the bit, so that chance is small"""
LEAST_AREA = 8
"""pixels; smaller areas are what encoders work on; only very small pictures have them"""
SMALL_PICTURE = 12
"""side of a picture that is small, in areas"""
SURROUNDINGS = 3
"""Noise is measured in a surrounding this much wider than the area."""
SPECK_LEVELS = 4
SPECK_SHARE = 0.005
"""Fewer single pixels than this are fireflies."""
SPECK_LEAN = 0.3
SPECK_CERTAINTY = 5.0
SPECK_UNANIMITY = 0.9
"""Noise throws pixels up and down alike: single pixels must lean to one side, this share of them at least, by
so many standard deviations or (where they are few) nearly all of them."""
CALM_LEVELS = 0
CALM_SHARE = 0.75
CALM_PIXELS = 9
MOST_PIXELS = 1_000_000
"""Larger pictures are made smaller first."""
DIMMED = 0.35
LEAST_GAIN, MOST_GAIN = 2.0, 24.0
BRIGHTER, DARKER, RECOLOURED = (255, 168, 38), (64, 156, 255), (232, 84, 232)
NOISE_GAIN = 36.0
"""Energy of white noise after `_ripple`."""


def differences(
    frames: Iterable[tuple[int, Path, Path]], views: tuple[Colour | None, Colour | None] = (None, None)
) -> Sequence[FrameDifference]:
    """Compare the frames of which both pictures are there; `views` is for linear files.

    Frames that are the same file cost one look at the folder's entry.
    """
    there = [each for each in frames if each[1].is_file() and each[2].is_file()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda each: difference(*each[1:], frame=each[0], views=views), there))


def difference(
    before: Path,
    after: Path,
    *,
    frame: int = 0,
    views: tuple[Colour | None, Colour | None] = (None, None),
) -> FrameDifference:
    """Compare two pictures of one frame.

    A picture of another size, or one that can't be read, has nothing in common with the other.
    """
    if views[0] == views[1] and same_file(before, after):
        return FrameDifference(frame, 0.0, False)
    try:
        shown = (colour.shown(path, view) for path, view in zip((before, after), views, strict=True))
        one, other = map(Image.fromarray, shown)
    except OSError:
        return FrameDifference(frame, 1.0, True)
    value = 1.0 if one.size != other.size else of_pictures(one, other)
    return FrameDifference(frame, round(value, 4), value >= CHANGED)


def same_file(one: Path, other: Path) -> bool:
    """Whether two names are the same file, or files of the same bytes."""
    first, second = one.stat(), other.stat()
    if (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino):
        return True
    return first.st_size == second.st_size and filecmp.cmp(one, other, shallow=False)


def of_pictures(before: Image.Image, after: Image.Image) -> float:
    """How far two RGB or RGBA pictures of one size are apart, 0 to 1; noise and encoding count nothing.

    The cube root of the mean visible excess: 1 % of a picture by 10 levels is 0.06, black to white is 1.
    """
    one, other = _compared(before, after)
    apart = other - one
    if not apart.any():
        return 0.0
    visible = _areas(apart, np.maximum(_coarseness(one), _coarseness(other)))
    if _scaled(visible) < CHANGED:
        visible = max(visible, _specks(one, other, apart, max(2, SPECK_LEVELS // _reduction(before))))
    return _scaled(visible)


def picture(before: Image.Image, after: Image.Image) -> Image.Image:
    """What differs, made strong, over a dim `after`: orange is brighter now, blue darker, violet recoloured."""
    if before.size != after.size:
        before = before.resize(after.size)
    one, other = _compared(before, after, full=True)
    apart = (other - one).astype(np.float32)
    strength = np.abs(apart).max(axis=2)
    gain = min(MOST_GAIN, max(LEAST_GAIN, 255 / max(1.0, float(np.percentile(strength, 99)))))
    mask = Image.fromarray((strength * gain).clip(0, 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(1))
    light, hue = apart[..., 0], np.abs(apart[..., 1:3]).max(axis=2)
    kinds = np.where(hue > 1.5 * np.abs(light), 2, np.where(light < 0, 1, 0))
    colours = Image.fromarray(np.array([BRIGHTER, DARKER, RECOLOURED], np.uint8)[kinds])
    dim = Image.fromarray((other[..., 0] * DIMMED).astype(np.uint8)).convert("RGB")
    return Image.composite(colours, dim, mask)


def _scaled(levels: float) -> float:
    scaled: float = (levels / 255) ** (1 / 3)
    return min(1.0, scaled)


def _compared(before: Image.Image, after: Image.Image, *, full: bool = False) -> tuple[Pixels, Pixels]:
    """Both as luma, two colour differences and alpha where there is any, in signed levels.

    Luma apart from colour, because encoders treat them apart, and eyes do.
    """
    alpha = "RGBA" in (before.mode, after.mode)
    smaller = 1 if full else _reduction(before)

    def levels(picture: Image.Image) -> Pixels:
        flat = flatten(picture.convert("RGBA")) if alpha else picture.convert("RGB")
        bands = [flat.convert("YCbCr")]
        bands += [picture.convert("RGBA").getchannel("A")] if alpha else []
        return np.dstack([np.asarray(band.reduce(smaller)) for band in bands]).astype(np.int16)

    return levels(before), levels(after)


def _reduction(picture: Image.Image) -> int:
    """How many times smaller a picture is made before it is compared."""
    return math.ceil(math.sqrt(picture.width * picture.height / MOST_PIXELS))


def _coarseness(picture: Pixels) -> Pixels:
    """What halving the resolution of the colours changes at each pixel, in levels."""
    colours = picture[..., 1:3]
    height, width = colours.shape[:2]
    halves = _cells(colours, 2).repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    found: Pixels = np.abs(colours - halves).max(axis=2, keepdims=True)
    return found


def _areas(apart: Pixels, coarseness: Pixels) -> float:
    """The mean excess in levels, of the size of area that shows most of it.

    The mean of an area of n pixels is thrown about by noise of deviation s by s / √n; more is a change.
    """
    length = float(np.sqrt(apart.shape[0] * apart.shape[1]))
    cell, least = max(1, round(length / CELLS)), min(LEAST_AREA, length / SMALL_PICTURE)
    touched = np.abs(apart).max(axis=2, keepdims=True) >= FLOOR_LEVELS
    means, energy, shares, coarse = (_cells(v, cell) for v in (apart, _ripple(apart), touched, coarseness))
    found, spots = 0.0, apart.any(axis=2).mean() <= SPOT_SHARE
    for side in (*(SMALL_AREAS if spots else ()), *AREAS):
        if side * cell < least:
            continue
        if side > min(means.shape[:2]):
            break
        noise = NOISE_TIMES * np.sqrt(_spread(energy, side)) / (side * cell)
        areas = _windows(means, side)
        floor = FLOOR_LEVELS + COARSE_COLOUR * _windows(coarse, side) + _blotches(areas, side)
        excess = (np.abs(areas) - np.maximum(floor, noise)).max(axis=2).clip(0)
        found = max(found, float((excess * (_windows(shares, side)[..., 0] >= TOUCHED_SHARE)).mean()))
    return found


def _blotches(areas: Pixels, side: int) -> Pixels:
    """How far apart neighbouring areas usually are, per channel; nothing where less than half differ."""
    usual = np.median(np.abs(areas[side:] - areas[:-side]), axis=(0, 1)) if len(areas) > side else 0.0
    found: Pixels = np.minimum(BLOTCH_TIMES * np.asarray(usual), MOST_BLOTCH_LEVELS)
    return found


def _ripple(apart: Pixels) -> Pixels:
    """Energy of what differs from pixel to pixel: noise. Areas, straight edges and gradients have none.

    The second difference in both directions (J. Immerkær, Fast noise variance estimation, 1996).
    """
    padded = np.pad(apart, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[:, 2:] - 2 * padded[:, 1:-1] + padded[:, :-2]
    both = across[2:] - 2 * across[1:-1] + across[:-2]
    energy: Pixels = np.square(both, dtype=np.float32) / NOISE_GAIN
    return energy


def _cells(values: Pixels, cell: int) -> Pixels:
    """Means of squares of `cell` pixels; what is left over at the right and bottom is a smaller cell."""
    rows, columns = (np.arange(0, length, cell) for length in values.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)
    heights, widths = (
        np.diff(np.append(starts, length))
        for starts, length in ((rows, values.shape[0]), (columns, values.shape[1]))
    )
    means: Pixels = sums / (heights[:, None] * widths)[..., None]
    return means


def _windows(values: Pixels, side: int) -> Pixels:
    """Means of all squares of `side` cells."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1, values.shape[2]))
    sums[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    total: Pixels = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return total / side**2


def _spread(energy: Pixels, side: int) -> Pixels:
    """The mean energy around each square of `side` cells, as far as the picture goes."""
    rim = side * (SURROUNDINGS - 1) // 2
    around = np.pad(
        energy, ((rim, rim), (rim, rim), (0, 0)), mode="reflect" if rim < min(energy.shape[:2]) else "edge"
    )
    return _windows(around, side * SURROUNDINGS).clip(0)


def _specks(one: Pixels, other: Pixels, apart: Pixels, least: int) -> float:
    """The mean excess in levels of single pixels that differ where nothing else does, 0 if they are noise."""
    size = np.abs(apart).max(axis=2)
    calm = _around((size <= CALM_LEVELS).astype(np.float64)) >= CALM_SHARE
    specks = (size >= least) & calm
    count = int(specks.sum())
    if count < SPECK_SHARE * size.size:
        return 0.0
    strongest = np.abs(apart).argmax(axis=2)[..., None]
    signs = np.sign(np.take_along_axis(apart, strongest, axis=2)[..., 0][specks])
    rougher = np.sign(_roughness(other)[specks] - _roughness(one)[specks])
    lean = max(abs(int(signs.sum(dtype=int))), abs(int(rougher.sum(dtype=int))))
    if lean < max(SPECK_LEAN * count, min(SPECK_CERTAINTY * count**0.5, SPECK_UNANIMITY * count)):
        return 0.0
    return float(size[specks].sum(dtype=int) / size.size)


def _around(values: Pixels) -> Pixels:
    """The mean in a small square around each pixel."""
    return _windows(np.pad(values, CALM_PIXELS // 2, mode="edge")[..., None], CALM_PIXELS)[..., 0]


def _roughness(picture: Pixels) -> Pixels:
    """How far each pixel is from the median of its neighbours."""
    bands = (Image.fromarray(picture[..., band].astype(np.uint8)) for band in range(picture.shape[2]))
    middle = np.dstack([np.asarray(band.filter(ImageFilter.MedianFilter(3))) for band in bands])
    rough: Pixels = np.abs(picture - middle.astype(np.int16)).sum(axis=2)
    return rough
