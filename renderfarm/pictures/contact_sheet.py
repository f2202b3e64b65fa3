"""The frames of a job at a glance, in one picture: what is good, what is bad, what is not there."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from renderfarm.errors import RenderfarmError
from renderfarm.pictures import colour
from renderfarm.pictures.shots import Picture
from renderfarm.pictures.small import small
from renderfarm.words import files
from renderfarm.words.scene import Colour

MOST_CELLS = 96
SHEET_WIDTH = 1800
MARGIN, GAP, LABEL, HEADER = 36, 14, 28, 84
LONGEST_TEXT = 200
LEAST_THUMB, LARGEST_THUMB = 120, 560
SHAPE = 1.5
"""width to height that the sheet should have"""
PAPER, CELL, HATCH, INK, MUTED = "#16181d", "#0e0f12", "#2b2e36", "#f0f1f4", "#9aa0ac"
RED, AMBER = "#ff5a4f", "#f5b13d"


@dataclass(frozen=True)
class _Cell:
    """One frame on the sheet and what is wrong with it."""

    picture: Picture
    finding: str = ""
    accent: str | None = None


@dataclass(frozen=True)
class _Grid:
    """Where cells go, in pixels."""

    columns: int
    rows: int
    thumb: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        width = 2 * MARGIN + self.columns * self.thumb[0] + (self.columns - 1) * GAP
        height = HEADER + self.rows * (self.thumb[1] + LABEL + GAP) - GAP + MARGIN
        return width, height

    def place(self, index: int) -> tuple[int, int]:
        """The upper left corner of a cell's thumbnail."""
        row, column = divmod(index, self.columns)
        return MARGIN + column * (self.thumb[0] + GAP), HEADER + row * (self.thumb[1] + LABEL + GAP)


@dataclass(frozen=True)
class Thumb:
    """A picture made smaller before the sheet is drawn."""

    box: tuple[int, int]
    mtime: int
    """of the picture; nanoseconds"""
    image: Image.Image | None


def thumb(path: Path, count: int, size: tuple[int, int], colour: Colour | None) -> Thumb:
    """A picture as a sheet of so many shows it, if they are of that size. Raises OSError."""
    box, mtime = _grid(count, size, None).thumb, path.stat().st_mtime_ns
    return Thumb(box, mtime, small(path, box, colour))


def contact_sheet(
    pictures: Sequence[Picture],
    out: Path,
    *,
    title: str,
    subtitle: str = "",
    bad: Mapping[int, str] | None = None,
    suspects: Mapping[int, str] | None = None,
    columns: int | None = None,
    colour: Colour | None = None,
    most: int = MOST_CELLS,
    total: int | None = None,
    thumbs: Mapping[int, Thumb] | None = None,
) -> None:
    """Draw pictures with their frame numbers into `out` (.jpg or .png), which appears whole or not at all.

    `bad` and `suspects` give frame numbers with a word or two about what was found; they are always shown,
    the others evenly thinned out to `most` cells. `total` is how many frames there are, where `pictures` is a
    choice already, `thumbs` what was made smaller beforehand. Raises RenderfarmError when `out` can't be
    written.
    """
    bad, suspects = bad or {}, suspects or {}
    cells = [_cell(picture, bad, suspects) for picture in chosen(pictures, {*bad, *suspects}, most)]
    grid = _grid(len(cells), _usual_size(cells), columns)
    total = total or len(pictures)
    if len(cells) < total:
        subtitle = " · ".join(part for part in (subtitle, f"{len(cells)} of {total:,} frames") if part)
    sheet = _blank(grid, title, subtitle)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = thumbs or {}
        images = pool.map(lambda cell: _image(cell.picture, grid.thumb, colour, made), cells)
        for index, (cell, image) in enumerate(zip(cells, images, strict=True)):
            _draw_cell(sheet, grid.place(index), grid.thumb, cell, image)
    _save(sheet, out)


def _image(
    picture: Picture, box: tuple[int, int], view: Colour | None, made: Mapping[int, Thumb]
) -> Image.Image | None:
    """A picture in little, as it was made beforehand where it is still the same."""
    before = made.get(picture.frame)
    with contextlib.suppress(OSError):
        if before and picture.path and (before.box, before.mtime) == (box, picture.path.stat().st_mtime_ns):
            return before.image
    return small(picture.path, box, view)


def chosen(pictures: Sequence[Picture], notable: Collection[int] = (), most: int = MOST_CELLS) -> list[Picture]:
    """At most `most` pictures in their order: what is notable or missing, and an even choice of the others.

    When more than half the sheet would be notable, those are thinned out evenly, too.
    """
    if len(pictures) <= most:
        return list(pictures)
    marked = [i for i, p in enumerate(pictures) if p.frame in notable or p.path is None]
    marked = _even(marked, max(most // 2, most - (len(pictures) - len(marked))))
    taken = set(marked)
    others = [i for i, p in enumerate(pictures) if i not in taken and p.path is not None]
    return [pictures[i] for i in sorted([*marked, *_even(others, most - len(marked))])]


def _even(items: list[int], count: int) -> list[int]:
    """An even choice that has the first and the last."""
    if len(items) <= count:
        return items
    if count < 2:
        return items[:count]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _cell(picture: Picture, bad: Mapping[int, str], suspects: Mapping[int, str]) -> _Cell:
    if picture.frame in bad:
        return _Cell(picture, bad[picture.frame] or "bad", RED)
    if picture.path is None:
        return _Cell(picture, "missing", MUTED)
    if picture.frame in suspects:
        return _Cell(picture, suspects[picture.frame] or "suspect", AMBER)
    return _Cell(picture)


def _usual_size(cells: Sequence[_Cell]) -> tuple[int, int]:
    """Width and height of the first readable picture."""
    sizes = (_size(cell.picture.path) for cell in cells if cell.picture.path)
    return next((size for size in sizes if size), (1920, 1080))


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return colour.header(path).size
    except OSError:
        return None


def _grid(count: int, picture: tuple[int, int], columns: int | None) -> _Grid:
    """As many columns as give the sheet its shape; thumbnails fill its width but are never enlarged."""
    count = max(1, count)
    aspect = min(4.0, max(0.4, picture[0] / picture[1]))
    columns = columns or _columns(count, max(3, round(math.sqrt(count * SHAPE / aspect))))
    width = (SHEET_WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    width = max(LEAST_THUMB, min(width, LARGEST_THUMB, picture[0]))
    return _Grid(columns, math.ceil(count / columns), (width, max(1, round(width / aspect))))


def _columns(count: int, ideal: int) -> int:
    """About as many columns as are ideal; rather one more or less than a last row with room."""
    tried = range(min(count, ideal - 1), min(count, ideal + 1) + 1)
    return min(tried, key=lambda columns: (-count % columns, abs(columns - ideal)))


def _blank(grid: _Grid, title: str, subtitle: str) -> Image.Image:
    sheet = Image.new("RGB", grid.size, PAPER)
    draw = ImageDraw.Draw(sheet)
    room = grid.size[0] - 2 * MARGIN
    draw.text((MARGIN, 40), _shortened(draw, title, _font(30), room), INK, _font(30), anchor="ls")
    draw.text((MARGIN, 66), _shortened(draw, subtitle, _font(17), room), MUTED, _font(17), anchor="ls")
    return sheet


def _draw_cell(
    sheet: Image.Image,
    place: tuple[int, int],
    size: tuple[int, int],
    cell: _Cell,
    thumb: Image.Image | None,
) -> None:
    draw = ImageDraw.Draw(sheet)
    (left, top), (width, height) = place, size
    if thumb is None:
        _hatch(sheet, place, size)
    else:
        draw.rectangle((left, top, left + width - 1, top + height - 1), CELL)
        corner = (left + (width - thumb.width) // 2, top + (height - thumb.height) // 2)
        sheet.paste(thumb, corner, thumb if thumb.mode == "RGBA" else None)
    unreadable = thumb is None and cell.picture.path is not None
    accent = RED if unreadable else cell.accent
    finding = cell.finding or ("unreadable" if unreadable else "")
    if accent in (RED, AMBER):
        frame = (left - 3, top - 3, left + width + 2, top + height + 2)
        draw.rounded_rectangle(frame, 4, outline=accent, width=3)
        _badge(draw, left + width - 20, top + 20, accent)
    _label(draw, (left, top + height + 20), width, cell.picture.frame, finding, accent)


def _hatch(sheet: Image.Image, place: tuple[int, int], size: tuple[int, int]) -> None:
    tile = Image.new("RGB", size, CELL)
    draw = ImageDraw.Draw(tile)
    for start in range(-size[1], size[0], 16):
        draw.line((start, size[1], start + size[1], 0), HATCH, 3)
    sheet.paste(tile, place)


def _badge(draw: ImageDraw.ImageDraw, x: int, y: int, accent: str) -> None:
    draw.ellipse((x - 13, y - 13, x + 13, y + 13), accent, PAPER, 2)
    draw.text((x, y), "!", PAPER, _font(20), anchor="mm")


def _label(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], width: int, frame: int, finding: str, accent: str | None
) -> None:
    """The frame number at the left, what was found at the right."""
    font = _font(16)
    number = str(frame)
    draw.text(place, number, accent if accent in (RED, AMBER) else INK, font, anchor="ls")
    room = width - int(draw.textlength(number, font)) - 10
    text = _shortened(draw, finding, font, room)
    draw.text((place[0] + width, place[1]), text, accent or MUTED, font, anchor="rs")


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """One line that fits, with an ellipsis where it had to be cut."""
    text = " ".join(text[:LONGEST_TEXT].replace("×", "x").split())  # the font has no ×
    if draw.textlength(text, font) <= room:
        return text
    while text and draw.textlength(text + "…", font) > room:
        text = text[:-1]
    return text + "…" if text else ""


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # type: ignore[return-value]  # no FreeType: a fixed size


def _save(sheet: Image.Image, out: Path) -> None:
    try:
        with files.draft(out, out.suffix) as made:
            sheet.save(made, quality=88)
    except (OSError, ValueError) as error:
        message = f"The contact sheet {out} can't be written: {error}"
        raise RenderfarmError(message, "Choose another place, ending in .jpg or .png.") from error
