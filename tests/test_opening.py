"""Pictures whose files say how their numbers are meant, against what Pillow and the sRGB curve make of them."""

import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from renderfarm.pictures import colour, reading, sequences
from renderfarm.pictures.look import look
from renderfarm.pictures.opening import placed
from renderfarm.pictures.small import fitted, small
from renderfarm.pictures.spaces import coded


def written(path: Path, pixels: NDArray[Any], **told: object) -> Path:
    height, width, channels = pixels.shape
    spec = OpenImageIO.ImageSpec(width, height, channels, str(pixels.dtype).removesuffix("32"))
    for key, value in told.items():
        spec.attribute(key.replace("__", ":"), value)
    out = OpenImageIO.ImageOutput.create(str(path))
    assert out is not None
    assert out.open(str(path), spec), out.geterror()
    assert out.write_image(pixels), out.geterror()
    out.close()
    return path


def seen(path: Path) -> list[float]:
    """A pixel of what a check sees of it."""
    return list(np.asarray(reading.scan(path).sample)[3, 3])


@pytest.mark.parametrize(("kind", "deep"), [("uint8", False), ("uint16", True), ("uint16", False)])
def test_a_tiff_with_alpha_in_its_colours_is_shown_without(tmp_path: Path, kind: str, deep: bool) -> None:
    most = np.iinfo(kind).max
    pixels = np.full((8, 8, 4), most // 4, kind)
    pixels[..., 3] = most // 2
    path = written(tmp_path / "a.tif", pixels)
    found = colour.shown(path, None, deep=deep)[2, 2].astype(float)
    assert found / found.max() == pytest.approx([1, 1, 1, 1], abs=0.02)


@pytest.mark.parametrize(("colours", "told"), [(50, {}), (127, {"oiio__UnassociatedAlpha": 1})])
def test_a_check_sees_a_half_clear_tiff_over_grey(tmp_path: Path, colours: int, told: dict[str, int]) -> None:
    pixels = np.full((8, 8, 4), colours, "uint8")
    pixels[..., 3] = 100
    over = (127 * 100 + reading.GREY * 155) / 255
    assert seen(written(tmp_path / "a.tif", pixels, **told)) == pytest.approx([over] * 3, abs=1)


@pytest.mark.parametrize("told", [0, 1])
def test_a_float_tiff_s_alpha_is_taken_out_of_colours_that_it_is_in(tmp_path: Path, told: int) -> None:
    pixels = np.full((8, 8, 4), [0.2, 0.1, 0.05, 0.5], "float32")
    path = written(tmp_path / "a.tif", pixels, oiio__UnassociatedAlpha=told)
    expected = coded(np.array([0.2, 0.1, 0.05]) * (1 if told else 2)) * 255
    assert colour.shown(path, None)[2, 2] == pytest.approx([*expected, 128], abs=1)
    over = (coded(np.array([0.2, 0.1, 0.05]) / (2 if told else 1) + 0.5 * (reading.GREY / 255) ** 2.2)) * 255
    assert seen(path) == pytest.approx(over, abs=4)


def test_a_check_sees_light_without_alpha(tmp_path: Path) -> None:
    """Fire and glow add to what is behind them."""
    path = written(tmp_path / "a.exr", np.full((8, 8, 4), [0.5, 0.2, 0, 0], "float32"))
    assert seen(path)[0] > seen(path)[1] > seen(path)[2] == reading.GREY


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_dpx_that_says_linear_is_shown_through_the_srgb_curve(tmp_path: Path, kind: str) -> None:
    pixels = np.full((8, 8, 3), np.iinfo(kind).max // 4, kind)
    path = written(tmp_path / "a.dpx", pixels, dpx__Transfer="Linear")
    expected = float(coded(np.array([0.25]))[0]) * 255
    assert colour.shown(path, None)[2, 2] == pytest.approx([expected] * 3, abs=1)
    assert seen(path) == pytest.approx([expected] * 3, abs=3)


def test_a_dpx_with_a_curve_of_its_own_is_shown_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dpx", np.full((8, 8, 3), 64, "uint8"), dpx__Transfer="ITU-R 709-4")
    assert list(colour.shown(path, None)[2, 2]) == [64, 64, 64]


@pytest.mark.parametrize("suffix", sorted(sequences.SUFFIXES))
def test_a_picture_of_every_kind_that_counts_as_a_frame_is_shown(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((64, 64, 3), [200, 120, 40], "uint8")
    path = written(tmp_path / f"a.1{suffix}", pixels if suffix != ".pgm" else pixels[..., :1])
    light = suffix in (".exr", ".hdr")
    expected = np.array([200, 120, 40] if suffix != ".pgm" else [200] * 3)
    found = colour.shown(path, None)[32, 32]
    assert found == pytest.approx(coded(expected / 255) * 255 if light else expected, abs=4)


LIGHT = np.tile(np.array([0.5, 0.25, 0.125, 1.0], "float32"), (8, 8, 1))
CODED = coded(LIGHT[2, 2, :3]) * 255


def in_types(path: Path, *types: str) -> Path:
    """Light and a depth of 7 behind it, in a file whose channels have types of their own."""
    buffer = OpenImageIO.ImageBuf(np.concatenate([LIGHT, LIGHT[..., 3:] * 7], axis=2))
    buffer.specmod().channelnames = ("R", "G", "B", "A", "Z")
    buffer.set_write_format(types)
    assert buffer.write(str(path)), buffer.geterror()
    return path


def deep(path: Path) -> Path:
    """A file in which each pixel is two samples, half of the light each."""
    spec, names = OpenImageIO.ImageSpec(8, 8, 5, "float"), ("R", "G", "B", "A", "Z")
    spec.channelnames, spec.deep = names, True
    data = OpenImageIO.DeepData()
    data.init(64, 5, [OpenImageIO.TypeDesc("float")] * 5, list(names))
    for pixel in range(64):
        data.set_samples(pixel, 2)
        for sample, alpha in enumerate((0.5, 1.0)):
            for channel, value in enumerate((*LIGHT[0, 0] * alpha, 1.0 + sample)):
                data.set_deep_value(pixel, channel, sample, float(value))
    out = OpenImageIO.ImageOutput.create(str(path))
    assert out is not None
    assert out.open(str(path), spec), out.geterror()
    assert out.write_deep_image(data)
    out.close()
    return path


def with_less_colour(path: Path) -> Path:
    """Luminance for every pixel, chroma for every fourth (OpenEXR's file layout, uncompressed)."""
    red, green, blue = map(float, LIGHT[0, 0, :3])
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    names = ((b"BY", 2, blue / luma - 1), (b"RY", 2, red / luma - 1), (b"Y", 1, luma))

    def told(name: bytes, kind: bytes, value: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value

    channels = b"".join(name + struct.pack("<xiBxxxii", 1, 0, n, n) for name, n, _ in names)
    box = struct.pack("<4i", 0, 0, 7, 7)
    head = b"v/1\x01\2\0\0\0" + told(b"channels", b"chlist", channels + b"\0")
    head += told(b"compression", b"compression", b"\0") + told(b"lineOrder", b"lineOrder", b"\0")
    head += told(b"dataWindow", b"box2i", box) + told(b"displayWindow", b"box2i", box)
    head += told(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    head += told(b"screenWindowCenter", b"v2f", bytes(8)) + told(
        b"screenWindowWidth", b"float", struct.pack("<f", 1)
    )
    lines = [
        b"".join(np.full(8 // n, value, "float16").tobytes() for _, n, value in names if row % n == 0)
        for row in range(8)
    ]
    lines = [struct.pack("<ii", row, len(line)) + line for row, line in enumerate(lines)]
    starts = itertools.accumulate(map(len, lines[:-1]), initial=len(head) + 1 + 8 * 8)
    path.write_bytes(head + b"\0" + b"".join(struct.pack("<q", start) for start in starts) + b"".join(lines))
    return path


LIGHTS: dict[str, Callable[[Path], Path]] = {
    "half colours and float depth": lambda path: in_types(path, *["half"] * 4, "float"),
    "half colours and whole numbers": lambda path: in_types(path, *["half"] * 4, "uint"),
    "samples at depths": deep,
    "luminance and chroma": with_less_colour,
}


@pytest.mark.parametrize("make", LIGHTS.values(), ids=LIGHTS)
def test_an_exr_of_any_make_is_seen_and_shown_as_its_light_is(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "a.exr")
    assert colour.shown(path, None)[2, 2][:3] == pytest.approx(CODED, abs=2)
    assert np.asarray(fitted(path, (4, 4)))[1, 1][:3] == pytest.approx(CODED, abs=2)
    assert seen(path) == pytest.approx(CODED, abs=3)


def test_pictures_that_look_alike_are_alike_whatever_windows_their_files_have(tmp_path: Path) -> None:
    """Nuke and Houdini write the rectangle in which there is something, or more than is seen."""
    whole = np.zeros((700, 900, 4), "float32")
    whole[300:420, 500:640] = 0.5
    looks = []
    for left, top, right, bottom in (
        (0, 0, 900, 700),
        (500, 300, 640, 420),
        (413, 297, 641, 655),
        (-31, -7, 977, 761),
    ):
        spec = OpenImageIO.ImageSpec(right - left, bottom - top, 4, "half")
        spec.x, spec.y, spec.full_x, spec.full_y, spec.full_width, spec.full_height = left, top, 0, 0, 900, 700
        pixels = placed(whole, (-left, -top), (right - left, bottom - top))
        pixels[:, spec.width - 1] = float(right > 900)  # what is not to be seen
        out = OpenImageIO.ImageOutput.create(path := str(tmp_path / f"{left}.exr"))
        assert out is not None
        assert out.open(path, spec), out.geterror()
        out.write_image(pixels)
        out.close()
        looks.append(look(Path(path), 1))
    assert {(each.finding, each.blank, each.size, each.signature) for each in looks} == {
        (None, None, (900, 700), looks[0].signature)
    }


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_a_photograph_is_shown_the_way_up_that_it_was_taken(tmp_path: Path, turn: int, suffix: str) -> None:
    exif, path = Image.Exif(), tmp_path / f"a.{suffix}"
    exif[0x0112] = turn
    image = Image.merge(
        "RGB", (Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90), Image.new("L", (256, 256)))
    ).crop((0, 0, 256, 128))
    image.save(path, exif=exif)
    theirs = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    assert colour.header(path).size == theirs.size
    assert np.abs(colour.shown(path, None).astype(int) - np.asarray(theirs)).max() < 12
    little = np.asarray(small(path, (64, 64))).astype(int)
    assert np.abs(little - np.asarray(theirs.resize(little.shape[1::-1]))).max() < 12


def test_a_tiff_of_the_kind_for_very_large_files_is_a_picture(tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "a.tif", big_tiff=True)
    assert look(tmp_path / "a.tif", 1).finding is None
