"""How the numbers of a picture are meant: as light or as colours, with alpha multiplied in or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import OpenImageIO
    from numpy.typing import NDArray

    Pixels = NDArray[Any]


def opened(path: Path) -> OpenImageIO.ImageInput | None:
    """The file with its alpha as written, which OpenImageIO else multiplies into the colours."""
    import OpenImageIO

    wish = OpenImageIO.ImageSpec()
    wish.attribute("oiio:UnassociatedAlpha", 1)
    return OpenImageIO.ImageInput.open(str(path), wish)


def is_light(spec: OpenImageIO.ImageSpec) -> bool:
    """Whether they are scene-linear: floats, and whole numbers that a DPX calls so (from Blender 4.2 on)."""
    floating = str(spec.format) in ("half", "float", "double")
    return floating or spec.get_string_attribute("dpx:Transfer") == "Linear"


def straight(pixels: Pixels, source: OpenImageIO.ImageInput) -> Pixels:
    """Colours without alpha in them, for whole numbers; untouched where the file has them so.

    TIFF tells (ExtraSamples 1: multiplied in); Blender writes 16 bits that way and 8 bits the other.
    """
    import numpy as np

    spec = source.spec()
    told = spec.get_int_attribute("oiio:UnassociatedAlpha")
    if source.format_name() != "tiff" or spec.alpha_channel != 3 or told or pixels.shape[2] != 4:
        return pixels
    most, alpha = np.iinfo(pixels.dtype).max, np.maximum(pixels[..., 3:].astype(np.uint32), 1)
    free = pixels.copy()
    free[..., :3] = np.minimum((pixels[..., :3].astype(np.uint32) * most + alpha // 2) // alpha, most)
    return free
