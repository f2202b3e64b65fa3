"""Draws what the plans cost beyond the ideal, over the time of a frame. Both axes are logarithmic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.simulation_table import MEANS, Cells

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

FINE = 2
"""drawn so many times larger, then shrunk: Pillow's lines have no smooth edges"""
WIDTH, HEIGHT = 1120, 640
LEFT, TOP, RIGHT, BOTTOM = 92, 92, 870, 556
X_RANGE = (1.7, 350)
Y_RANGE = (0.03, 6.0)
Y_TICKS = (0.03, 0.1, 0.3, 1.0, 3.0)
REACH = 0.10
INK, SOFT, GRID, PAPER = "#22272e", "#6a737d", "#e3e6ea", "#ffffff"
LINES = {
    "fixed 50": ("chunks of 50", "#b8860b", 3),
    "fixed 10": ("chunks of 10", "#2e8b78", 3),
    "fixed 1": ("chunks of 1", "#7a5ea8", 3),
    "auto, frame time unknown": ("auto, frame time unknown", "#e58a76", 3),
    "auto": ("auto", "#c8321e", 5),
}
LABEL_GAP = 22


def draw(cells: Cells, target: Path) -> None:
    """Write the chart as PNG."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    pen = ImageDraw.Draw(image)
    _axes(pen)
    for plan in LINES:
        _line(pen, plan, [cells[plan, mean].ratio - 1 for mean in MEANS])
    for plan, y in _label_places(cells):
        label, colour, _ = LINES[plan]
        _text(pen, (RIGHT + 12, y), label, 17, colour, "lm")
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    small.quantize(64).save(target, optimize=True)


def _axes(pen: ImageDraw) -> None:
    title = "Time lost by each way of chunking: 100,000 frames on 1,000 spot nodes, 5 % of them lost per hour"
    _text(pen, (LEFT, 30), title, 19, INK, "lm")
    _text(
        pen,
        (LEFT, 62),
        "makespan beyond the ideal, work divided by nodes; mean of the films, lower is better",
        15,
        SOFT,
        "lm",
    )
    for value in Y_TICKS:
        y = _y(value)
        _stroke(pen, [(LEFT, y), (RIGHT, y)], GRID, 1)
        _text(pen, (LEFT - 10, y), f"+{value:.0%}", 15, SOFT, "rm")
    for value in MEANS:
        x = _x(value)
        _stroke(pen, [(x, TOP), (x, BOTTOM)], GRID, 1)
        _text(pen, (x, BOTTOM + 20), f"{value} s", 15, SOFT, "mm")
    _stroke(pen, [(LEFT, BOTTOM), (RIGHT, BOTTOM)], SOFT, 1)
    _text(pen, ((LEFT + RIGHT) / 2, BOTTOM + 52), "mean time of a frame", 16, INK, "mm")
    _dashes(pen, _y(REACH))
    _text(pen, (LEFT + 6, _y(REACH) + 13), "reach: 1.10 of the ideal", 14, INK, "lm")


def _line(pen: ImageDraw, plan: str, values: list[float]) -> None:
    _, colour, width = LINES[plan]
    points = [(_x(mean), _y(value)) for mean, value in zip(MEANS, values, strict=True)]
    _stroke(pen, points, colour, width)
    for x, y in points:
        around = [FINE * edge for edge in (x - width - 1, y - width - 1, x + width + 1, y + width + 1)]
        pen.ellipse(around, fill=colour, outline=PAPER, width=FINE)


def _label_places(cells: Cells) -> Iterator[tuple[str, float]]:
    """Each plan's label beside its last point, pushed down where two would touch."""
    last = sorted((_y(cells[plan, MEANS[-1]].ratio - 1), plan) for plan in LINES)
    free = 0.0
    for y, plan in last:
        place = max(y, free)
        free = place + LABEL_GAP
        yield plan, place


def _x(value: float) -> float:
    return LEFT + (RIGHT - LEFT) * _part(value, X_RANGE)


def _y(value: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * _part(value, Y_RANGE)


def _part(value: float, span: tuple[float, float]) -> float:
    low, high = map(math.log, span)
    return (math.log(max(value, span[0])) - low) / (high - low)


def _stroke(pen: ImageDraw, points: list[tuple[float, float]], colour: str, width: int) -> None:
    pen.line([(x * FINE, y * FINE) for x, y in points], fill=colour, width=width * FINE, joint="curve")


def _dashes(pen: ImageDraw, y: float) -> None:
    for x in range(LEFT, RIGHT, 14):
        _stroke(pen, [(x, y), (min(x + 8, RIGHT), y)], INK, 2)


def _text(pen: ImageDraw, at: tuple[float, float], text: str, size: int, colour: str, anchor: str) -> None:
    pen.text((at[0] * FINE, at[1] * FINE), text, fill=colour, font=_font(size * FINE), anchor=anchor)


def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]
