"""Pictures as the artist sees them: any file becomes display-referred pixels.

PNG, JPEG and TIFF hold what is to be shown; EXR holds scene-linear light, premultiplied, and needs the
scene's view transform. OpenImageIO does both, and is strict about damaged files where others guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from renderfarm.pictures import png
from renderfarm.pictures.damage import MAX_PIXELS
from renderfarm.pictures.layers import finished
from renderfarm.pictures.opening import (
    flattened,
    is_light,
    is_straight,
    one_line,
    opened,
    orientation,
    placed,
    straight,
    upright,
)
from renderfarm.pictures.spaces import (
    DISPLAYS,
    LINEAR,
    SRGB,
    WHITE_NITS,
    Space,
    are_primaries,
    balanced,
    coded,
    of_picture,
    png_chunks,
    to_rec709_light,
)
from renderfarm.words.scene import Colour

if TYPE_CHECKING:
    from typing import Any

    import OpenImageIO
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

RAW = "Raw"
"""the view without any"""
DISPLAY_LIGHT = "cie_xyz_d65_interchange"
"""OpenColorIO's name for what a display gives off"""
WIDEST_PIXEL = 10.0
"""Resolutions in headers that say otherwise are nonsense."""
FASTEST = 240.0
"""… and so are frames a second"""


@dataclass(frozen=True)
class Header:
    """What a picture's header promises."""

    size: tuple[int, int]
    alpha: bool
    deep: bool
    """more than 8 bits a channel"""
    linear: bool
    """scene-linear light that needs a view transform"""
    aspect: float = 1.0
    """width to height of a pixel"""
    space: Space = SRGB
    """what its pixels are in when they are shown"""
    layer: str = ""
    """the one that is shown, where the picture is not at the file's top"""
    fps: float | None = None
    """how many are to be shown in a second, where it says so"""


def header(path: Path, view: Colour | None = None) -> Header:
    """Read a picture's header, not its pixels; raises OSError with the reason."""
    return _plain(path, view) or _any_header(path, view)


def _plain(path: Path, view: Colour | None) -> Header | None:
    """The header of a PNG with 8 bits a channel; None for any other picture.

    Most jobs have no others, and the library that reads those is 30 MB in memory.
    """
    chunks = png_chunks(path)
    shape, found = chunks.get(b"pHYs", b""), png.plain(chunks.get(b"IHDR", b""))
    if not found or b"tRNS" in chunks or b"IDAT" not in chunks or shape[:4] != shape[4:8]:
        return None
    size, mode = found
    if size[0] * size[1] > MAX_PIXELS:
        return None
    space = of_picture(path, None, view.display if view else None)
    return Header(size, mode == "RGBA", deep=False, linear=False, space=space)


def _any_header(path: Path, view: Colour | None) -> Header:
    source = opened(path)
    layer = next(iter(finished(source)), None)
    spec = source.spec(layer.part, 0) if layer else source.spec()
    size = (spec.full_width, spec.full_height)
    if size[0] * size[1] > MAX_PIXELS:
        raise OSError(f"its header claims {size[0]} × {size[1]} pixels")
    linear = is_light(spec)
    aspect = spec.get_float_attribute("PixelAspectRatio", 1.0)
    aspect = aspect if 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL else 1.0
    deep = str(spec.format) not in ("uint8", "int8")
    display = view.display if view else None
    if not linear:
        space = of_picture(path, _profile(spec), display)
        size = size[::-1] if orientation(source) > 4 else size
        return Header(size, spec.alpha_channel >= 0, deep, linear, aspect, space)
    if layer is None:
        raise OSError("it has no colours")
    space, fps = DISPLAYS.get(display or "", SRGB), spec.get_float_attribute("FramesPerSecond", 0.0)
    told = fps if 1 <= fps <= FASTEST else None
    return Header(size, layer.alpha, deep, linear, aspect, space, layer.name, told)


def _profile(spec: OpenImageIO.ImageSpec) -> bytes | None:
    found = spec.getattribute("ICCProfile")
    return None if found is None else bytes(bytearray(found))


def shown(
    path: Path,
    colour: Colour | None,
    *,
    deep: bool = False,
    flat: bool = False,
    box: tuple[int, int] | None = None,
) -> Pixels:
    """The picture as height × width × 3 or 4 (straight alpha), uint8, or uint16 when `deep`.

    With `flat` light lies over black before it goes through the view transform, as Blender lays it. For a small
    picture light is fitted into its `box` first, so the view transform costs next to nothing. Raises OSError
    for a file that can't be read to its last pixel.
    """
    import numpy as np

    if not deep and path.suffix.lower() == ".png" and (plain := png.decoded(path.read_bytes())):
        return np.asarray(plain)
    import OpenImageIO

    source = opened(path)
    kind = OpenImageIO.UINT16 if deep else OpenImageIO.UINT8
    if is_light(source.spec()):
        return _got(_viewed(path, colour or Colour(), box, flat=flat), kind)
    pixels = source.read_image(0, 0, 0, source.spec().nchannels, kind)
    complaint = source.geterror()
    if pixels is None or complaint:
        raise OSError(one_line(complaint) or "damaged picture")
    pixels = upright(_in_window(straight(pixels, source), source.spec()), orientation(source))
    return _three_or_four(pixels, source.spec().alpha_channel)


def concern(colour: Colour | None) -> str:
    """Empty when scene-linear pictures can be shown as the scene wants, else what is done instead."""
    if colour is None:
        return "The scene's view transform is not known: linear pictures are shown as plain sRGB."
    if colour.config and not Path(colour.config).is_file():
        return f"{colour.config} is not there: linear pictures are shown as plain sRGB, not {colour.view}."
    if not colour.config and colour.view != "Standard":
        return f"No colour configuration has {colour.view}: linear pictures are shown as plain sRGB."
    lacking = " and ".join(["curves"] * colour.curves + ["keys"] * colour.keyed)
    return f"The {lacking} of the scene's view are left out: linear pictures are shown without." * bool(lacking)


def over_black(pixels: Pixels) -> Pixels:
    """The same pixels with straight alpha multiplied into the colours; untouched when all of it is opaque."""
    import numpy as np

    most = np.iinfo(pixels.dtype).max
    alpha = pixels[..., 3:]
    if pixels.shape[2] < 4 or int(alpha.min()) == most:
        return pixels
    flat = pixels.copy()
    flat[..., :3] = (pixels[..., :3].astype(np.uint32) * alpha + most // 2) // most
    flat[..., 3] = most
    return flat


def _got(image: OpenImageIO.ImageBuf, kind: OpenImageIO.BASETYPE) -> Pixels:
    pixels = image.get_pixels(kind)
    if pixels is None or image.has_error:
        raise OSError(one_line(image.geterror()) or "damaged picture")
    return pixels


def _three_or_four(pixels: Pixels, alpha: int) -> Pixels:
    """Grey and oddly many channels as RGB or RGBA."""
    import numpy as np

    count = pixels.shape[2]
    if count in (3, 4):
        return pixels
    channels = [0, 0, 0] if count < 3 else [0, 1, 2]
    return np.ascontiguousarray(pixels[..., [*channels, alpha] if alpha >= 0 else channels])


def _viewed(
    path: Path, colour: Colour, box: tuple[int, int] | None = None, *, flat: bool = False
) -> OpenImageIO.ImageBuf:
    """A scene-linear file through exposure, look, view and gamma, in the order Blender applies them."""
    import OpenImageIO
    from OpenImageIO import ImageBufAlgo as Algo

    light, spec = _light(path)
    if box is not None:
        light = _fitted(light, box)
    if light.nchannels == 4 and not flat and not is_straight(spec):
        light = Algo.unpremult(light)
    elif light.nchannels == 4 and flat:
        light = Algo.channels(Algo.premult(light) if is_straight(spec) else light, ("R", "G", "B"))
    light = _from_working_space(light, spec, colour)
    if colour.white != (1.0, 1.0, 1.0):
        pixels = _got(light, OpenImageIO.FLOAT)
        pixels[..., :3] = balanced(pixels[..., :3], colour.white)
        light = OpenImageIO.ImageBuf(pixels)
    if colour.exposure != 0.0:
        light = Algo.mul(light, _rgb(2.0**colour.exposure, light))
    configured = Path(colour.config).is_file()
    display = _through_config(light, colour) if configured else _srgb(light)
    if colour.gamma != 1.0:
        display = Algo.pow(Algo.clamp(display, 0.0, 1.0), _rgb(1 / colour.gamma, light))
    return _bright(display, colour) if configured else display


def _light(path: Path) -> tuple[OpenImageIO.ImageBuf, OpenImageIO.ImageSpec]:
    """The colours of a scene-linear file in its display window, and what stands in its header.

    Never by way of a buffer of the whole file, out of which OpenImageIO 3.2 takes channels wrongly where they
    are of different types: half colours beside float depth.
    """
    import numpy as np
    import OpenImageIO

    source = opened(path)
    layer = next(iter(finished(source)), None)
    if layer is None:
        raise OSError("it has no colours")
    spec = source.spec(layer.part, 0)
    begin, end = min(layer.channels), max(layer.channels) + 1
    if spec.deep:
        every = flattened(path, layer.part)
        pixels = None if every is None else every[..., begin:end]
    else:
        pixels = source.read_image(layer.part, 0, begin, end, OpenImageIO.FLOAT)
    complaint = source.geterror()
    if pixels is None or complaint:
        raise OSError(one_line(complaint) or "damaged picture")
    colours = _in_window(pixels[..., [channel - begin for channel in layer.channels]], spec)
    return OpenImageIO.ImageBuf(np.ascontiguousarray(colours)), spec


def _in_window(pixels: Pixels, spec: OpenImageIO.ImageSpec) -> Pixels:
    """The pixels of a file where it wants them seen."""
    place = (spec.x - spec.full_x, spec.y - spec.full_y)
    return placed(pixels, place, (spec.full_width, spec.full_height))


def _from_working_space(
    light: OpenImageIO.ImageBuf, spec: OpenImageIO.ImageSpec, colour: Colour
) -> OpenImageIO.ImageBuf:
    """Light of another space, as the file's tags say, else the scene, in the config's own (or Rec.709's)."""
    import OpenImageIO
    from OpenImageIO import ImageBufAlgo as Algo

    name = spec.get_string_attribute("colorInteropID")
    told = spec.getattribute("chromaticities", OpenImageIO.TypeDesc("float[8]"))
    primaries = LINEAR.get(name) or (told if told and are_primaries(told) else None)
    name = name or ("" if primaries else colour.working)
    if not (name or primaries) or name == "lin_rec709_scene":
        return light
    config = colour.config if Path(colour.config).is_file() else ""
    if config and name and OpenImageIO.ColorConfig(config).getColorSpaceIndex(name) >= 0:
        return Algo.colorconvert(light, name, "scene_linear", unpremult=False, colorconfig=config)
    if primaries is None:
        return light
    pixels = _got(light, OpenImageIO.FLOAT)
    pixels[..., :3] = to_rec709_light(pixels[..., :3], tuple(primaries))
    return OpenImageIO.ImageBuf(pixels)


def _fitted(light: OpenImageIO.ImageBuf, box: tuple[int, int]) -> OpenImageIO.ImageBuf:
    import OpenImageIO

    spec = light.spec()
    scale = min(box[0] / spec.width, box[1] / spec.height)
    if scale >= 1:
        return light
    roi = OpenImageIO.ROI(0, max(1, round(spec.width * scale)), 0, max(1, round(spec.height * scale)))
    return OpenImageIO.ImageBufAlgo.resize(light, "box", roi=roi)


def _rgb(value: float, image: OpenImageIO.ImageBuf) -> tuple[float, ...]:
    return (value, value, value, 1.0)[: image.nchannels]


def _through_config(light: OpenImageIO.ImageBuf, colour: Colour) -> OpenImageIO.ImageBuf:
    """Look and view in two steps: ociodisplay's own `looks` is ignored for the configs that Blender ships."""
    from OpenImageIO import ImageBufAlgo as Algo

    linear, config = "scene_linear", colour.config
    if colour.look not in ("", "None"):
        light = Algo.ociolook(light, colour.look, linear, linear, unpremult=False, colorconfig=config)
    return Algo.ociodisplay(
        light, colour.display, colour.view, fromspace=linear, unpremult=False, colorconfig=config
    )


def _bright(display: OpenImageIO.ImageBuf, colour: Colour) -> OpenImageIO.ImageBuf:
    """Paper has 100 nits in the configuration, and 203 in Blender's pictures of high dynamic range."""
    from OpenImageIO import ImageBufAlgo as Algo

    if not DISPLAYS.get(colour.display, SRGB).hdr or colour.view == RAW:
        return display
    there, back = ((colour.display, DISPLAY_LIGHT), (DISPLAY_LIGHT, colour.display))
    light = Algo.colorconvert(display, *there, unpremult=False, colorconfig=colour.config)
    light = Algo.mul(light, _rgb(WHITE_NITS / 100, light))
    return Algo.colorconvert(light, *back, unpremult=False, colorconfig=colour.config)


def _srgb(light: OpenImageIO.ImageBuf) -> OpenImageIO.ImageBuf:
    """As Blender's Standard view shows it."""
    import OpenImageIO

    pixels = _got(light, OpenImageIO.FLOAT)
    pixels[..., :3] = coded(pixels[..., :3])
    return OpenImageIO.ImageBuf(pixels)
