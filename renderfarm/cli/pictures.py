"""The last frame in terminals that say that they can show pictures: by kitty's protocol, iTerm's or sixel.

They say so by their names: asking them would leave the answer of a slow one on the next shell's line.
"""

from __future__ import annotations

import base64
import io
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

ROWS = 12
"""of text that a picture takes"""
CELL, LEAST_CELL = (10, 20), (5, 10)
"""pixels of a character, where the terminal makes the picture fit, and where it does not and says no size"""
LEAST_LINES = 8
"""of text below a picture"""
AGAIN_SECONDS = 2.0
"""at least between two pictures"""
VARIABLE = "RENDERFARM_PICTURES"
CHUNK = 4096
"""of a kitty escape sequence"""
LET_GO = "\x1b_Ga=d,d=I,i=4711,q=2\x1b\\"
"""kitty's pictures lie over the text, and are not erased with it; the other terminals skip this"""
COLOURS = 128
KITTY, ITERM, SIXEL = "kitty", "iterm", "sixel"
_PROGRAMS = {"iTerm.app": ITERM, "WezTerm": ITERM, "ghostty": KITTY}
_TERMS = (("xterm-kitty", KITTY), ("xterm-ghostty", KITTY), ("foot", SIXEL), ("mlterm", SIXEL), ("yaft", SIXEL))

Draw = Callable[[Path], str]


def drawing(environment: Mapping[str, str] = os.environ, stream: IO[str] | None = None) -> Draw | None:
    """What turns a picture's file into the characters that show it; None where the terminal can't."""
    protocol = _protocol(environment)
    encode = {KITTY: kitty, ITERM: iterm, SIXEL: sixel}.get(protocol)
    return (lambda path: _drawn(path, encode, cell(stream) if encode is sixel else CELL)) if encode else None


def cell(stream: IO[str] | None) -> tuple[int, int]:
    """Pixels of a character, as the terminal says; a picture that is too high would scroll it."""
    import fcntl
    import termios

    try:
        said = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8)) if stream else bytes(8)
    except (OSError, ValueError):  # no terminal
        said = bytes(8)
    rows, columns, width, height = struct.unpack("4H", said)
    return (width // columns, height // rows) if width and height and rows and columns else LEAST_CELL


class PictureAbove:
    """The last frame in rows above the live view's text, which are only written again with another picture."""

    def __init__(self, draw: Draw | None) -> None:
        self._draw = draw
        self._shown: str | None = None
        self._painted = float("-inf")

    def room(self, height: int) -> int:
        """Rows to leave to it; from a terminal that has too few on, none."""
        if height < ROWS + LEAST_LINES:
            self._draw = None
        return ROWS if self._draw else 0

    def paint(self, picture: str | Callable[[], str | None], now: float) -> str:
        """From the text's first row: up, the picture if it is another one, and down again."""
        if not self._draw or picture == self._shown or now - self._painted < AGAIN_SECONDS:
            return ""
        picture = picture if isinstance(picture, str) else picture() or ""
        self._painted = now if picture else self._painted
        if picture in ("", self._shown):
            return ""
        if not (drawn := self._draw(Path(picture))):
            return ""
        top, self._shown = self._top(), picture
        return f"{top}\x1b[J{chr(10) * ROWS}\x1b[{ROWS}A{drawn}\x1b[{ROWS}B"

    def gone(self) -> str:
        """Up from the text's first row to where it begins; it is shown no longer."""
        top, self._shown = self._top(), None
        return f"{top}{LET_GO}" if top else ""

    def _top(self) -> str:
        return f"\x1b[{ROWS}A" if self._shown else ""


def _protocol(environment: Mapping[str, str]) -> str:
    term = environment.get("TERM", "")
    if wish := environment.get(VARIABLE):
        return wish
    if "TMUX" in environment or term.startswith(("screen", "tmux")):
        return ""
    named = next((protocol for start, protocol in _TERMS if term.startswith(start)), "")
    return named or _PROGRAMS.get(environment.get("TERM_PROGRAM", ""), "")


def _drawn(path: Path, encode: Callable[[Image.Image], str], cell: tuple[int, int]) -> str:
    """The picture with the cursor where it was before; empty for one that can't be read."""
    from renderfarm.pictures.small import small

    picture = small(path, (4 * ROWS * cell[0], (ROWS - 1) * cell[1]))
    return f"\x1b7{encode(picture.convert('RGB'))}\x1b8" if picture else ""


def kitty(picture: Image.Image) -> str:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol, as one placement that each picture takes over."""
    data = _png(picture)
    parts = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    heads = [f"a=T,f=100,i=4711,p=1,q=2,C=1,r={ROWS - 1},", *[""] * (len(parts) - 1)]
    more = [*[1] * (len(parts) - 1), 0]
    return "".join(f"\x1b_G{h}m={m};{part}\x1b\\" for h, m, part in zip(heads, more, parts, strict=True))


def iterm(picture: Image.Image) -> str:
    """https://iterm2.com/documentation-images.html."""
    return f"\x1b]1337;File=inline=1;height={ROWS - 1};preserveAspectRatio=1:{_png(picture)}\x07"


def sixel(picture: Image.Image) -> str:
    """DEC's graphics, six rows of pixels at a time: each colour's bits, the carriage back, the next colour."""
    import numpy as np

    flat = picture.quantize(COLOURS)
    pixels, palette = np.asarray(flat), np.asarray(flat.getpalette()).reshape(-1, 3)
    said = [f"#{i};2;{r};{g};{b}" for i, (r, g, b) in enumerate(palette * 100 // 255)]
    for top in range(0, len(pixels), 6):
        band = pixels[top : top + 6]
        bits = (1 << np.arange(len(band)))[:, None]
        for colour in np.unique(band):
            row = (((band == colour) * bits).sum(0) + 63).astype(np.uint8).tobytes().decode()
            said.append(f"#{colour}{row}$")
        said.append("-")
    return f'\x1bPq"1;1;{picture.width};{picture.height}{"".join(said)}\x1b\\'


def _png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
