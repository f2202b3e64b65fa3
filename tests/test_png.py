"""Plain PNGs are unpacked fast: the same pixels as Pillow's, and nothing that is not whole."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renderfarm.pictures import colour, png


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 47)) -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 255, (size[1], size[0], len(mode)), np.uint8)
    noise[: size[1] // 2] //= 64  # rows that each filter likes
    return Image.fromarray(noise, mode)


def saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "png", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (61, 47), (700, 300)])
def test_plain_pictures_come_out_as_they_were(mode: str, size: tuple[int, int]) -> None:
    image = picture(mode, size)
    found = png.decoded(saved(image))
    assert found is not None
    assert (found.mode, found.size, found.tobytes()) == (mode, size, image.tobytes())


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def made_of(rows: bytes, tail: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + tail + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


ROWS = bytes(14)
WHOLE = zlib.compress(ROWS)


@pytest.mark.parametrize(
    "data",
    [
        saved(picture("RGB").convert("L")),
        saved(picture("RGB").convert("P")),
        saved(picture("RGB"), transparency=(1, 2, 3)),
        saved(picture("RGB"))[:-30],
        saved(picture("RGB")).replace(b"IDAT", b"IDAX"),
        b"",
        b"\x89PNG\r\n\x1a\n",
        made_of(zlib.compress(ROWS[:-1])),
        made_of(zlib.compress(ROWS + b"\0")),
        made_of(zlib.compress(b"\7" + ROWS[1:])),
        made_of(WHOLE[:-1] + b"?"),
        made_of(WHOLE[:-4]),
        made_of(WHOLE)[:-6] + b"??" + made_of(WHOLE)[-4:],
    ],
)
def test_what_is_not_whole_and_plain_is_left_to_openimageio(data: bytes) -> None:
    assert png.decoded(data) is None


def test_a_whole_one_of_the_same_making_is_taken() -> None:
    assert png.decoded(made_of(WHOLE)) is not None


PROFILE = chunk(b"iCCP", b"name\0\0" + zlib.compress(b"no profile"))
KINDS = {
    "plain": saved(picture("RGB")),
    "clear": saved(picture("RGBA")),
    "dense": saved(picture("RGB"), dpi=(72, 72)),
    "wide": saved(picture("RGB"), dpi=(72, 36)),
    "grey": saved(picture("RGB").convert("L")),
    "few": saved(picture("RGB").convert("P")),
    "key": saved(picture("RGB"), transparency=(1, 2, 3)),
    "gamma": made_of(WHOLE, chunk(b"gAMA", struct.pack(">I", 100_000))),
    "profile": made_of(WHOLE, PROFILE),
    "srgb": made_of(WHOLE, chunk(b"sRGB", b"\0")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_of_a_png_is_what_the_image_library_says(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(KINDS[kind])
    assert colour.header(path) == colour._any_header(path, None)


def test_a_png_that_is_none_has_no_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for data in (b"", KINDS["plain"][:20], KINDS["plain"][:40], b"\x89PNG\r\n\x1a\n" + bytes(30)):
        path.write_bytes(data)
        with pytest.raises(OSError, match=r"."):
            colour.header(path)
