"""How the numbers of a picture are meant: as light or as colours, with alpha multiplied in or not, where."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import OpenImageIO
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

_OLDER = threading.Lock()
_SUBSAMPLED = "Subsampled channels"
"""what OpenImageIO says of an EXR with less colour than light"""


@cache
def openimageio() -> ModuleType:
    """The library, imported where it is used."""
    import OpenImageIO

    # OpenEXR's older reader prints damage to standard error, the newer one tells it.
    OpenImageIO.attribute("openexr:core", 1)
    return OpenImageIO


def opened(path: Path) -> OpenImageIO.ImageInput:
    """The file with its alpha as written, which OpenImageIO else multiplies into the colours.

    Raises OSError with the reason.
    """
    oiio = openimageio()
    try:
        str(path).encode()
    except UnicodeEncodeError:  # OpenImageIO takes no other names
        raise OSError("its name is not UTF-8") from None
    wish = oiio.ImageSpec()
    wish.attribute("oiio:UnassociatedAlpha", 1)
    found: OpenImageIO.ImageInput | None = oiio.ImageInput.open(str(path), wish)
    if found is None and _SUBSAMPLED in oiio.geterror(False):
        oiio.geterror()
        with _OLDER:  # luminance and chroma, which the older reader alone takes
            oiio.attribute("openexr:core", 0)
            found = oiio.ImageInput.open(str(path), wish)
            oiio.attribute("openexr:core", 1)
    if found is None:
        raise OSError(one_line(oiio.geterror()) or "not a picture")
    return found


def one_line(complaint: str) -> str:
    """The first line of what OpenImageIO says."""
    return next(iter(complaint.strip().splitlines()), "")


def flattened(path: Path, part: int) -> Pixels | None:
    """A part whose pixels are samples at depths, as it looks from the front; None where it is damaged."""
    import OpenImageIO

    flat = OpenImageIO.ImageBufAlgo.flatten(OpenImageIO.ImageBuf(str(path), part, 0))
    return None if flat.has_error else flat.get_pixels(OpenImageIO.FLOAT)


def placed(pixels: Pixels, place: tuple[int, int], size: tuple[int, int]) -> Pixels:
    """Pixels in a window: cut off outside of it, black and clear where there are none.

    `place` is where their left upper one goes, as column and row.
    """
    import numpy as np

    (left, top), (width, height) = place, size
    if place == (0, 0) and pixels.shape[1::-1] == size:
        return pixels
    window = np.zeros((height, width, pixels.shape[2]), pixels.dtype)
    seen = pixels[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    window[max(0, top) :, max(0, left) :][: seen.shape[0], : seen.shape[1]] = seen
    return window


def is_light(spec: OpenImageIO.ImageSpec) -> bool:
    """Whether they are scene-linear: floats, and whole numbers that a DPX calls so (from Blender 4.2 on)."""
    floating = str(spec.format) in ("half", "float", "double")
    return floating or spec.get_string_attribute("dpx:Transfer") == "Linear"


def is_straight(spec: OpenImageIO.ImageSpec) -> bool:
    """Whether a file says that alpha is not in its colours."""
    return bool(spec.get_int_attribute("oiio:UnassociatedAlpha"))


def orientation(source: OpenImageIO.ImageInput) -> int:
    """Which way up it was taken, as cameras say it (Exif); from 5 on width and height change places."""
    told: int = source.spec().get_int_attribute("Orientation", 1)
    return told if source.format_name() in ("jpeg", "tiff") else 1


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """A picture as it is to be seen."""
    import numpy as np

    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    across, down = (-1 if orientation in those else 1 for those in ((2, 3, 6, 7), (3, 4, 7, 8)))
    return np.ascontiguousarray(pixels[::down, ::across])


def straight(pixels: Pixels, source: OpenImageIO.ImageInput) -> Pixels:
    """Colours without alpha in them, for whole numbers; untouched where the file has them so.

    TIFF tells (ExtraSamples 1: multiplied in); Blender writes 16 bits that way and 8 bits the other.
    """
    import numpy as np

    spec = source.spec()
    if source.format_name() != "tiff" or spec.alpha_channel != 3 or is_straight(spec) or pixels.shape[2] != 4:
        return pixels
    most, alpha = np.iinfo(pixels.dtype).max, np.maximum(pixels[..., 3:].astype(np.uint32), 1)
    free = pixels.copy()
    free[..., :3] = np.minimum((pixels[..., :3].astype(np.uint32) * most + alpha // 2) // alpha, most)
    return free
