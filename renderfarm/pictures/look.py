"""What is seen in one picture, kept small enough for each of 100,000 frames."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from renderfarm.pictures import reading
from renderfarm.pictures.damage import Damaged
from renderfarm.words.states import Finding

if TYPE_CHECKING:
    from PIL import Image

CLEAR = "transparent"
"""The blank colour of a picture in which nothing is visible."""
GRID = (16, 9)
"""Cells of a signature, whatever the picture's shape."""
SIGNATURE_BYTES = GRID[0] * GRID[1] * 3
MAGENTA_LEAD = 30
"""How far red and blue must both be above green, of 255 …"""
MAGENTA_BALANCE = 16
"""… and how far they may be apart. AgX in strong light is (223, 165, 223), in dim light (124, 39, 128)."""
_LEADS = [255 * (level >= MAGENTA_LEAD) for level in range(256)]
_BALANCED = [255 * (level <= MAGENTA_BALANCE) for level in range(256)]


@dataclass(frozen=True, slots=True)
class Look:
    """One picture as it was seen."""

    frame: int
    finding: Finding | None = None
    """what is wrong with the picture by itself: a clear defect"""
    detail: str = ""
    size: tuple[int, int] | None = None
    """width and height; None when it can't be opened"""
    blank: str | None = None
    """the colour that fills the whole picture, as #rrggbb or `transparent`"""
    magenta: float = 0.0
    """share of the picture that has the colour of a missing texture, 0 to 1"""
    signature: bytes = b""
    """16 × 9 RGB thumbnail, 432 bytes; empty when it can't be opened"""
    views: tuple[Look, ...] = ()
    """other views in the same file"""


def look(path: Path, frame: int, *, size: tuple[int, int] | None = None) -> Look:
    """Open a picture and see what is wrong with it by itself; never raises.

    With `size` (width, height) a picture of another size is a defect.
    """
    try:
        seen = _seen(reading.scan(path), frame)
    except Damaged as damage:
        return Look(frame, damage.finding, damage.detail)
    return seen if size is None else expect_size(seen, size)


def expect_size(seen: Look, size: tuple[int, int]) -> Look:
    """The same look, with a finding when the picture has another size."""
    if seen.size is None or seen.size == size:
        return seen
    detail = f"{seen.size[0]} × {seen.size[1]} pixels instead of {size[0]} × {size[1]}"
    return dataclasses.replace(seen, finding=Finding.WRONG_SIZE, detail=detail)


def _seen(scan: reading.Scan, frame: int) -> Look:
    blank = CLEAR if scan.clear else _hex(scan.sample) if scan.flat else None
    finding, detail = None, ""
    if scan.bad:
        finding = Finding.NAN
        channels = ", ".join(f"{name}: {count:,}" for name, count in scan.bad.items())
        detail = f"values that are infinite or not a number ({channels})"
    others = tuple(_seen(view, frame) for view in scan.views)
    return Look(
        frame, finding, detail, scan.size, blank, _magenta(scan.sample), _signature(scan.sample), others
    )


def _hex(image: Image.Image) -> str:
    return "#" + image.crop((0, 0, 1, 1)).tobytes()[:3].hex()


def _signature(image: Image.Image) -> bytes:
    return image.resize(GRID, 4).tobytes()


def _magenta(image: Image.Image) -> float:
    """Share of pixels in the colour of Blender's missing image: (1, 0, 1), shaded, in any view transform."""
    from PIL import ImageChops

    red, green, blue = image.split()
    lead = ImageChops.subtract(ImageChops.darker(red, blue), green)
    if cast("tuple[int, int]", lead.getextrema())[1] < MAGENTA_LEAD:
        return 0.0
    leads = lead.point(_LEADS)
    balanced = ImageChops.difference(red, blue).point(_BALANCED)
    return ImageChops.darker(leads, balanced).histogram()[255] / (image.width * image.height)
