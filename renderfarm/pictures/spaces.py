"""What the numbers of a picture mean: which light they stand for, by its own tags or its scene's display.

Films are tagged with what their frames are in (as Blender tags its own); what can't be tagged becomes sRGB.
Codes are those of ITU-T H.273, names those of ffmpeg and of the Color Interop Forum.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

Curve: TypeAlias = "str | float | tuple[float, ...]"
"""srgb, pq, hlg, an exponent, or the light of each of 256 levels."""
Primaries: TypeAlias = "tuple[float, ...]"
"""x and y of red, green, blue and white."""
D65 = (0.3127, 0.329)
REC709: Primaries = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *D65)
REC2020: Primaries = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65)
P3: Primaries = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65)
AP1: Primaries = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
AP0: Primaries = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
XYZ: Primaries = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, *D65)
WHITE_NITS = 203.0
"""what ITU-R BT.2408 gives paper in a picture of high dynamic range"""
LIKE = 0.003
"""Chromaticities in files are rounded."""
LEAST_AREA = 0.01
"""twice that of a triangle of primaries; Rec.709's is 0.22"""
LUMA_2020 = (0.2627, 0.678, 0.0593)
BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


@dataclass(frozen=True)
class Space:
    """A meaning of pixel values."""

    name: str
    primaries: Primaries = REC709
    curve: Curve = "srgb"
    labels: tuple[str, str, str] | None = ("bt709", "bt709", "bt709")
    """ffmpeg's matrix, primaries and transfer for a film in it; None where there are none"""

    @property
    def hdr(self) -> bool:
        """High dynamic range, which 8 bits can't hold."""
        return self.curve in ("pq", "hlg")


SRGB = Space("sRGB")
"""… and BT.709, whose films differ in nothing but the light of the room."""
DISPLAY_P3 = Space("Display P3", P3, "srgb", ("bt709", "smpte432", "iec61966-2-1"))
WIDE = Space("Rec.2020", REC2020, "srgb", ("bt2020nc", "bt2020", "bt709"))
PQ = Space("Rec.2100 PQ", REC2020, "pq", ("bt2020nc", "bt2020", "smpte2084"))
HLG = Space("Rec.2100 HLG", REC2020, "hlg", ("bt2020nc", "bt2020", "arib-std-b67"))
KNOWN = (SRGB, DISPLAY_P3, WIDE, PQ, HLG)
CICP = {(1, 1): SRGB, (1, 13): SRGB, (12, 13): DISPLAY_P3, (12, 1): DISPLAY_P3, (9, 1): WIDE, (9, 13): WIDE}
CICP |= {(9, 14): WIDE, (9, 15): WIDE, (9, 16): PQ, (9, 18): HLG}
DISPLAYS = {"Display P3": DISPLAY_P3, "Rec.2020": WIDE, "Rec.2100-PQ": PQ, "Rec.2100-HLG": HLG}
"""Blender's names of displays; all others are taken for sRGB."""
LINEAR = {
    "lin_ap1_scene": AP1,
    "lin_ap0_scene": AP0,
    "lin_rec2020_scene": REC2020,
    "lin_p3d65_scene": P3,
    "lin_ciexyzd65_scene": XYZ,
}
"""Working spaces of EXR files (colorInteropID) that are not Rec.709."""


def of_picture(path: Path, profile: bytes | None, display: str | None) -> Space:
    """What a picture is in: cICP or a profile, else its scene's display, else gAMA and cHRM, else sRGB.

    Blender 5.1 and 5.2 write sRGB, gAMA and cHRM into pictures of every display.
    """
    chunks = png_chunks(path)
    if (codes := chunks.get(b"cICP", b"")[:2]) and tuple(codes) in CICP:
        return CICP[codes[0], codes[1]]
    if b"iCCP" in chunks:
        profile = _unpacked(chunks[b"iCCP"])
    if profile and (found := _of_profile(profile)):
        return found
    if display in DISPLAYS or b"sRGB" in chunks:
        return DISPLAYS.get(display or "", SRGB)
    return _of_gamma(chunks.get(b"gAMA"), chunks.get(b"cHRM"))


def to_srgb(pixels: Pixels, space: Space) -> Pixels:
    """The same colours in sRGB, of the same type; what sRGB can't show is cut off. Alpha stays."""
    import numpy as np

    most = np.iinfo(pixels.dtype).max
    light = _light(space.curve, most)[pixels[..., :3]]
    if space.curve == "hlg":
        light *= np.maximum(light @ np.array(LUMA_2020, np.float32), 1e-6)[..., None] ** 0.2 * 1000 / WHITE_NITS
    found = pixels.copy()
    found[..., :3] = np.rint(coded(to_rec709_light(light, space.primaries)) * most)
    return found


def coded(light: Pixels) -> Pixels:
    """Linear light by sRGB's transfer function (IEC 61966-2-1); what it can't show is cut off."""
    import numpy as np

    light = light.clip(0, 1)
    found: Pixels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
    return found


def to_rec709_light(light: Pixels, primaries: Primaries) -> Pixels:
    """Linear light, colours last, in Rec.709's primaries."""
    import numpy as np

    found: Pixels = light @ np.array(_to_rec709(primaries), np.float32).T
    return found


def are_primaries(told: Sequence[float]) -> bool:
    """Whether a triangle of colours and a white can be what they say."""
    red_x, red_y, green_x, green_y, blue_x, blue_y, _, white_y = told
    area = (red_x - blue_x) * (green_y - blue_y) - (green_x - blue_x) * (red_y - blue_y)
    return LEAST_AREA < area < 2 and white_y > 0


def balanced(light: Pixels, white: Sequence[float]) -> Pixels:
    """Light in Rec.709's primaries, of which some becomes white."""
    import numpy as np

    own = _to_xyz(REC709)
    seen = own @ np.array(white)
    matrix = np.linalg.inv(own) @ _white(seen[:2] / seen.sum(), D65) @ own
    found: Pixels = light @ matrix.astype(np.float32).T
    return found


@cache
def _to_rec709(primaries: Primaries) -> tuple[tuple[float, ...], ...]:
    """The matrix from linear light in some primaries to that in Rec.709's, white to white."""
    import numpy as np

    matrix = np.linalg.inv(_to_xyz(REC709)) @ _white(primaries[6:], D65) @ _to_xyz(primaries)
    return tuple(tuple(row) for row in matrix.tolist())


def _xyz(x: float, y: float) -> Pixels:
    import numpy as np

    return np.array([x / y, 1.0, (1 - x - y) / y]) if y else np.array([x, 0.0, 1 - x - y])


def _to_xyz(primaries: Primaries) -> Pixels:
    """SMPTE RP 177."""
    import numpy as np

    red, green, blue, white = (_xyz(*primaries[i : i + 2]) for i in (0, 2, 4, 6))
    columns = np.stack([red, green, blue], axis=1)
    found: Pixels = columns * np.linalg.solve(columns, white)
    return found


def _white(one: Sequence[float], other: Sequence[float]) -> Pixels:
    """Bradford's adaptation from one white to another, in XYZ."""
    import numpy as np

    cone = np.array(BRADFORD)
    ratio = (cone @ _xyz(*other)) / (cone @ _xyz(*one))
    found: Pixels = np.linalg.inv(cone) @ np.diag(ratio) @ cone
    return found


@cache
def _light(curve: Curve, most: int) -> Pixels:
    """The linear light that each level stands for, 1.0 being paper white."""
    import numpy as np

    level = np.linspace(0.0, 1.0, most + 1)
    if isinstance(curve, tuple):
        light = np.interp(level, np.linspace(0.0, 1.0, len(curve)), curve)
    elif isinstance(curve, float):
        light = level**curve
    else:
        light = CURVES[curve](level)
    return np.asarray(light, np.float32)


def _of_srgb(level: Pixels) -> Pixels:
    import numpy as np

    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def _of_pq(level: Pixels) -> Pixels:
    """SMPTE ST 2084."""
    import numpy as np

    power = level ** (1 / 78.84375)
    nits: Pixels = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (
        1 / 0.1593017578125
    )
    return nits / WHITE_NITS


def _of_hlg(level: Pixels) -> Pixels:
    """ARIB STD-B67, scene light; `to_srgb` makes display light of it."""
    import numpy as np

    return np.where(level <= 0.5, level**2 / 3, (np.exp((level - 0.55991073) / 0.17883277) + 0.28466892) / 12)


CURVES: dict[str, Callable[[Pixels], Pixels]] = {"srgb": _of_srgb, "pq": _of_pq, "hlg": _of_hlg}


def _named(primaries: Primaries, curve: Curve, name: str) -> Space:
    """One of the known spaces where it is the same, else a space of its own."""
    for space in KNOWN:
        far = max(abs(a - b) for a, b in zip(primaries, space.primaries, strict=True))
        if far < LIKE and (curve == space.curve or (space.curve == "srgb" and _for_screens(curve))):
            return space
    return Space(name, primaries, curve, None)


def _for_screens(curve: Curve) -> bool:
    """Whether a curve is one of those that films are made with: sRGB's, 2.2, or BT.1886's 2.4."""
    middle = float(_light(curve, 255)[128])
    return 0.186 < middle < 0.225


def png_chunks(path: Path) -> dict[bytes, bytes]:
    """What stands in a PNG before its pixels, and an empty IDAT where those begin; nothing for other files."""
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return found
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = struct.unpack(">I", head[:4])[0]
            found[head[4:]] = file.read(length)
            file.seek(4, 1)
        if head[4:] == b"IDAT":
            found[b"IDAT"] = b""
    return found


def _unpacked(chunk: bytes) -> bytes | None:
    try:
        return zlib.decompress(chunk.split(b"\0", 1)[1][1:])
    except (zlib.error, IndexError):
        return None


def _of_gamma(gamma: bytes | None, chromaticities: bytes | None) -> Space:
    """A gAMA of 45455 is what programs write for sRGB."""
    wrong = [
        chunk for chunk, size in ((gamma, 4), (chromaticities, 32)) if chunk is not None and len(chunk) != size
    ]
    if wrong or (gamma is None and chromaticities is None):
        return SRGB
    exponent = 100_000 / max(1, struct.unpack(">I", gamma)[0]) if gamma else 2.2
    curve: Curve = "srgb" if abs(exponent - 2.2) < 0.05 else exponent
    primaries = REC709
    if chromaticities:
        white, *colours = (tuple(n / 100_000 for n in xy) for xy in struct.iter_unpack(">2I", chromaticities))
        primaries = (*colours[0], *colours[1], *colours[2], *white)
    if not are_primaries(primaries) or exponent > 10:
        return SRGB
    return _named(primaries, curve, "a space of its own (gAMA, cHRM)")


@cache
def _of_profile(profile: bytes) -> Space | None:
    """An ICC profile made of a matrix and one curve; None for other kinds and for damaged ones."""
    from PIL import Image, ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        colours = [getattr(opened.profile, f"{name}_colorant") for name in ("red", "green", "blue")]
        to_eye = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (OSError, ImageCms.PyCMSError, AttributeError):
        return None
    if not all(colours):
        return None
    ramp = Image.frombytes("RGB", (256, 1), bytes(level for n in range(256) for level in (n, n, n)))
    ImageCms.applyTransform(ramp, to_eye, inPlace=True)
    shown = ramp.tobytes()[1::3]
    table = tuple(float(_light("srgb", 255)[level]) for level in shown)
    curve: Curve = "srgb" if all(abs(level - n) <= 1 for n, level in enumerate(shown)) else table
    name = (opened.profile.profile_description or "its profile").strip()
    return _named(_primaries(colours), curve, name)


def _primaries(colours: Sequence[Any]) -> Primaries:
    """Chromaticities for a D65 white, from a profile's colorants (XYZ for D50)."""
    import numpy as np

    columns = np.array([colour[0] for colour in colours]).T
    seen = _white((0.3457, 0.3585), D65) @ columns
    return (*(float(v) for xyz in seen.T for v in xyz[:2] / xyz.sum()), *D65)
