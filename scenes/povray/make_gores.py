"""Draws gores.png, the pattern of the balloons: grey levels that balloon.inc turns into each balloon's colours.

Eight equal panels side by side, so that a quarter of a turn looks like a whole one.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

PANELS, PANEL, HEIGHT = 8, 64, 256
DARK, LIGHT, BAND, SEAM = 40, 110, 180, 245
OVERSAMPLING = 4


def draw() -> Image.Image:
    """The pattern, drawn large and reduced for soft edges."""
    width, height = PANELS * PANEL * OVERSAMPLING, HEIGHT * OVERSAMPLING
    image = Image.new("L", (width, height), DARK)
    canvas = ImageDraw.Draw(image)
    for panel in range(PANELS):
        _panel(canvas, panel * PANEL * OVERSAMPLING, PANEL * OVERSAMPLING, height)
    return image.resize((PANELS * PANEL, HEIGHT), Image.Resampling.LANCZOS)


def _panel(canvas: ImageDraw.ImageDraw, left: int, width: int, height: int) -> None:
    middle, right = left + width // 2, left + width
    canvas.rectangle((left, 0, middle, height), fill=LIGHT)
    for top in (0.30, 0.52):
        _chevron(canvas, (left, middle, right), int(top * height), int(0.11 * height))
    canvas.rectangle((left, 0, right, int(0.10 * height)), fill=BAND)
    canvas.rectangle((left, int(0.80 * height), right, height), fill=BAND)
    canvas.rectangle((left, int(0.76 * height), right, int(0.78 * height)), fill=SEAM)


def _chevron(canvas: ImageDraw.ImageDraw, across: tuple[int, int, int], top: int, thick: int) -> None:
    left, middle, right = across
    peak = top - thick
    upper = [(left, top), (middle, peak), (right, top)]
    lower = [(x, y + thick) for x, y in reversed(upper)]
    canvas.polygon(upper + lower, fill=BAND)
    canvas.polygon([(x, y + thick) for x, y in upper] + [(x, y + thick * 0.25) for x, y in lower], fill=SEAM)


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("gores.png"), optimize=True)
