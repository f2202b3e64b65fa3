"""Pictures whose files say how their numbers are meant, against what Pillow and the sRGB curve make of them."""

from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO
import pytest
from numpy.typing import NDArray

from renderfarm.pictures import colour, reading, sequences
from renderfarm.pictures.spaces import coded


def written(path: Path, pixels: NDArray[Any], **told: object) -> Path:
    height, width, channels = pixels.shape
    spec = OpenImageIO.ImageSpec(width, height, channels, str(pixels.dtype))
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
    scan = reading.open_picture(path)
    assert isinstance(scan, reading.Scan)
    return list(np.asarray(scan.sample)[3, 3])


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
