"""Pictures made smaller, and what pages that need nothing else keep of them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from renderfarm.pictures import colour, png
from renderfarm.pictures.spaces import SRGB, to_srgb
from renderfarm.words.scene import Colour

if TYPE_CHECKING:
    from PIL import Image

UNREADABLE = (OSError, SyntaxError, ValueError)
"""what the libraries raise for a picture that is none"""
PILLOW_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
QUALITIES = (84, 74, 62, 50)
LEAST_SIDE = 48


def small(path: Path | None, box: tuple[int, int], view: Colour | None = None) -> Image.Image | None:
    """A picture made to fit into a box, RGB or RGBA, or None when there is none or it can't be read."""
    try:
        return fitted(path, box, view) if path else None
    except UNREADABLE:
        return None


def fitted(path: Path, box: tuple[int, int], view: Colour | None = None) -> Image.Image:
    """The same, raising what `UNREADABLE` names with the reason."""
    from PIL import Image, ImageOps

    found = colour.header(path, view)
    if found.deep or found.space != SRGB or path.suffix.lower() not in PILLOW_SUFFIXES:
        pixels = colour.shown(path, view, flat=True, box=box)
        little = Image.fromarray(pixels if found.space == SRGB else to_srgb(pixels, found.space))
        little.thumbnail(box, reducing_gap=2.0)
        return little
    try:
        with png.decoded(path.read_bytes()) or Image.open(path) as image:
            image.thumbnail(box, reducing_gap=2.0)
            clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            return ImageOps.exif_transpose(image.convert("RGBA" if clear else "RGB"))
    except Image.DecompressionBombError as error:
        raise OSError(str(error)) from error


def flat(image: Image.Image) -> Image.Image:
    """A picture over black."""
    from PIL import Image

    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("RGB")


def saved(image: Image.Image, form: str, **how: int) -> bytes:
    """A picture as a file, over black."""
    buffer = io.BytesIO()
    flat(image).save(buffer, form, **how)
    return buffer.getvalue()


def data_url(file: bytes, kind: str = "image/jpeg") -> str:
    """A file as a page may contain it; empty without one."""
    return f"data:{kind};base64,{base64.b64encode(file).decode('ascii')}" if file else ""


def url_within(picture: Image.Image | None, most: int) -> str:
    """A JPEG of at most so many bytes: less quality first, then smaller; empty without a picture."""
    while picture is not None:
        for quality in QUALITIES:
            found = saved(picture, "JPEG", quality=quality, optimize=True)
            if len(found) <= most or (min(picture.size) <= LEAST_SIDE and quality == QUALITIES[-1]):
                return data_url(found)
        halved = min(picture.size) >= 2 * LEAST_SIDE
        less = (max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4))
        picture = picture.reduce(2) if halved else picture.resize(less)
    return ""
