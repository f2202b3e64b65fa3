"""Frames as they are checked, on real files: what is found, and what is left alone."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from renderfarm.errors import InputError
from renderfarm.pictures import check
from renderfarm.pictures.check import check_folder
from renderfarm.pictures.judge import Verdict, judge
from renderfarm.pictures.look import Look, look
from renderfarm.words.as_json import encode
from renderfarm.words.states import Finding

W, H = 64, 36
Y, X = np.mgrid[:H, :W]
BLACK = np.zeros((H, W, 3), np.uint8)


def shot(i: float, seed: int = 0) -> np.ndarray:
    """Frame i of a quiet shot: a bright ball over a gradient, moving a little."""
    tint = np.random.default_rng(seed).integers(40, 160, 3)
    ground = tint * (0.5 + Y[..., None] / H)
    ball = ((X - 15 - 0.6 * i) ** 2 + (Y - 15) ** 2 < 60)[..., None]
    return np.where(ball, 255 - ground, ground).clip(0, 255).astype(np.uint8)


def seen(pixels: np.ndarray, frame: int, folder: Path) -> Look:
    path = folder / f"x.{frame:04d}.png"
    Image.fromarray(pixels).save(path, compress_level=1)
    return look(path, frame)


@pytest.fixture
def verdicts(tmp_path: Path) -> Callable[..., list[Verdict]]:
    def judged(pictures: Iterable[np.ndarray], start: int = 1, **options: object) -> list[Verdict]:
        looks = [seen(picture, frame, tmp_path) for frame, picture in enumerate(pictures, start)]
        return list(judge(looks, **options))

    return judged


def write_exr(path: Path, pixels: np.ndarray, kind: str = "half", compression: str = "zip", **options) -> Path:
    names = options.get("names", ("R", "G", "B", "A")[: pixels.shape[2]])
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], kind)
    spec.channelnames = names
    spec.attribute("compression", compression)
    spec.tile_width = spec.tile_height = options.get("tile", 0)
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), spec)
    assert out.write_image(pixels.astype("f4"))
    assert out.close()
    return path


def linear(alpha: bool = True) -> np.ndarray:
    colours = (shot(0) / 255.0) ** 2.2
    return np.concatenate([colours, np.ones((H, W, 1))], -1) if alpha else colours


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_tiff(path: Path, compression: str, tile: int = 0, kind: str = "uint8") -> Path:
    buffer = oiio.ImageBuf(shot(0).astype("f4") / 255)
    buffer.set_write_format(kind)
    if tile:
        buffer.set_write_tiles(tile, tile)
    buffer.specmod().attribute("compression", compression)
    assert buffer.write(str(path))
    return path


NOISE = np.random.default_rng(3).integers(0, 255, (H, W, 3), dtype=np.uint8)
PNG_BYTES = encoded(NOISE[:9, :16], "PNG")
JPEG_BYTES = encoded(NOISE, "JPEG", quality=92)
PROGRESSIVE = encoded(NOISE, "JPEG", quality=92, progressive=True)
BAD = (Finding.UNREADABLE, Finding.TRUNCATED)

# One picture


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "bmp", "tga"])
def test_a_good_picture_of_any_format_has_no_finding(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    Image.fromarray(shot(0)).save(path)
    found = look(path, 7)
    assert (found.frame, found.finding, found.size, found.blank, len(found.signature)) == (
        7,
        None,
        (W, H),
        None,
        432,
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"])
def test_every_png_mode_is_seen_in_its_own_brightness(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.where(Y < H // 2, 0, 255).astype(np.uint8))
    if mode in ("I", "I;16"):
        Image.fromarray((np.asarray(grey).astype(np.uint16)) * 257).save(tmp_path / "a.png")
    else:
        grey.convert(mode).save(tmp_path / "a.png")
    found = look(tmp_path / "a.png", 1)
    assert found.blank is None
    assert found.signature[0] == 0
    assert found.signature[-1] == 255


def test_sixteen_bit_rgb_png_is_read(tmp_path: Path) -> None:
    buffer = oiio.ImageBuf(shot(0).astype("f4") / 255)
    buffer.set_write_format("uint16")
    buffer.write(str(tmp_path / "a.png"))
    wanted = seen(shot(0), 2, tmp_path).signature
    found = look(tmp_path / "a.png", 1).signature
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= 1


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\0" * 5000, b"GIF89a"])
def test_a_file_that_is_no_picture_is_a_clear_defect(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    found = look(tmp_path / "a.png", 1)
    assert found.finding in BAD
    assert found.detail == ("the file is empty" if not content else found.detail or "nothing said")
    assert look(tmp_path / "none.png", 1).finding is Finding.UNREADABLE


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(PNG_BYTES) - 1))
def test_every_prefix_of_a_png_is_found(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.png").write_bytes(PNG_BYTES[:length])
    assert look(tmp_path / "a.png", 1).finding in BAD


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, len(JPEG_BYTES) - 1), progressive=st.booleans())
def test_every_prefix_of_a_jpeg_is_found(tmp_path: Path, length: int, progressive: bool) -> None:
    whole = PROGRESSIVE if progressive else JPEG_BYTES
    (tmp_path / "a.jpg").write_bytes(whole[: length % len(whole)])
    assert look(tmp_path / "a.jpg", 1).finding in BAD


@pytest.mark.parametrize("compression", ["none", "zip", "piz", "dwaa", "rle"])
@pytest.mark.parametrize("tile", [0, 16])
def test_every_prefix_of_an_exr_is_found_and_nothing_is_printed(
    tmp_path: Path, compression: str, tile: int, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = write_exr(tmp_path / "a.exr", linear(), compression=compression, tile=tile)
    assert look(whole, 1).finding is None
    data = whole.read_bytes()
    for length in [*range(0, len(data), 101), len(data) - 1]:
        whole.write_bytes(data[:length])
        assert look(whole, 1).finding in BAD, length
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", ["none", "zip", "lzw", "packbits"])
@pytest.mark.parametrize("tile", [0, 16])
def test_every_prefix_of_a_tiff_is_found(tmp_path: Path, compression: str, tile: int) -> None:
    whole = write_tiff(tmp_path / "a.tif", compression, tile)
    assert look(whole, 1).finding is None
    data = whole.read_bytes()
    strips_end = data.rindex(data[-8:]) + 8
    for length in [*range(0, strips_end - 8, 97), strips_end - 8]:
        whole.write_bytes(data[:length])
        assert look(whole, 1).finding in BAD, length


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), kind=st.sampled_from(["png", "jpg", "exr", "tif"]))
def test_a_damaged_byte_never_raises(tmp_path: Path, data: st.DataObject, kind: str) -> None:
    if not (tmp_path / "whole.exr").exists():
        (tmp_path / "whole.png").write_bytes(PNG_BYTES)
        (tmp_path / "whole.jpg").write_bytes(JPEG_BYTES)
        write_exr(tmp_path / "whole.exr", linear())
        write_tiff(tmp_path / "whole.tif", "zip")
    content = bytearray((tmp_path / f"whole.{kind}").read_bytes())
    position = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 200))
    content[position] ^= data.draw(st.integers(1, 255))
    (tmp_path / f"a.{kind}").write_bytes(content)
    found = look(tmp_path / f"a.{kind}", 1)
    assert found.finding in BAD or kind != "png"


def test_a_truncated_png_says_how_much_is_there(tmp_path: Path) -> None:
    data = encoded(NOISE, "PNG")
    (tmp_path / "a.png").write_bytes(data[: len(data) * 6 // 10])
    found = look(tmp_path / "a.png", 1)
    assert found.finding is Finding.TRUNCATED
    assert found.detail == "the PNG ends before the picture does: only 59 % of the rows are there"


def test_a_jpeg_that_is_cut_off_is_not_taken_for_a_png(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG_BYTES[: len(JPEG_BYTES) // 2])
    assert "Premature end of JPEG file" in look(tmp_path / "a.jpg", 1).detail


def test_a_png_whose_tail_is_zeros_is_truncated(tmp_path: Path) -> None:
    data = encoded(NOISE, "PNG")
    (tmp_path / "a.png").write_bytes(data[:2000].ljust(len(data), b"\0"))
    assert look(tmp_path / "a.png", 1).finding is Finding.TRUNCATED


def png(
    width: int,
    height: int,
    packed: bytes,
    *,
    depth: int = 8,
    kind: int = 2,
    more: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


@pytest.mark.parametrize(
    ("depth", "kind", "row_bytes"), [(8, 2, 30), (8, 0, 10), (16, 6, 80), (1, 0, 2), (8, 3, 10)]
)
def test_half_the_rows_with_good_checksums_are_found(
    tmp_path: Path, depth: int, kind: int, row_bytes: int
) -> None:
    half, whole = (zlib.compress(bytes(1 + row_bytes) * rows) for rows in (5, 10))
    palette = [(b"PLTE", bytes(range(30)))] if kind == 3 else []
    (tmp_path / "a.png").write_bytes(png(10, 10, half, depth=depth, kind=kind, more=palette))
    found = look(tmp_path / "a.png", 1)
    assert (found.finding, found.detail) == (
        Finding.TRUNCATED,
        "the PNG holds too little: only 50 % of the rows are there",
    )
    (tmp_path / "a.png").write_bytes(png(10, 10, whole, depth=depth, kind=kind, more=palette))
    assert look(tmp_path / "a.png", 1).finding is None


@pytest.mark.parametrize("side", [0, 20_000, 2**31 - 1])
def test_a_png_that_claims_more_than_it_can_hold_is_refused_before_it_takes_memory(
    tmp_path: Path, side: int
) -> None:
    (tmp_path / "a.png").write_bytes(png(side, side, zlib.compress(bytes(999))))
    found = look(tmp_path / "a.png", 1)
    assert found.finding in BAD
    assert "claims" in found.detail


def test_a_jpeg_that_claims_more_than_it_can_hold_is_refused(tmp_path: Path) -> None:
    at = JPEG_BYTES.index(b"\xff\xc0") + 5
    (tmp_path / "a.jpg").write_bytes(
        JPEG_BYTES[:at] + struct.pack(">HH", 20_000, 20_000) + JPEG_BYTES[at + 4 :]
    )
    assert "claims" in look(tmp_path / "a.jpg", 1).detail


def test_an_exr_whose_channel_names_are_no_text_ends_in_a_finding_at_worst(tmp_path: Path) -> None:
    whole = write_exr(tmp_path / "a.exr", linear())
    damaged = whole.read_bytes().replace(b"chlist\0\x49\0\0\0A", b"chlist\0\x49\0\0\0\xff")
    assert damaged != whole.read_bytes()
    whole.write_bytes(damaged)
    # OpenImageIO before 3.1 can't hand over such a name (UnicodeDecodeError); later ones read the picture.
    assert look(whole, 1).finding in (Finding.UNREADABLE, None)


def test_a_sixteen_thousand_pixel_render_is_no_bomb(tmp_path: Path) -> None:
    Image.new("1", (16384, 5600), 1).save(tmp_path / "a.png")
    found = look(tmp_path / "a.png", 1, size=(16384, 5600))
    assert found.finding is None
    assert found.blank == "#ffffff"


def test_another_size_than_wanted_is_a_clear_defect(tmp_path: Path) -> None:
    Image.fromarray(shot(0)).save(tmp_path / "a.png")
    found = look(tmp_path / "a.png", 1, size=(1920, 1080))
    assert (found.finding, found.detail) == (Finding.WRONG_SIZE, "64 × 36 pixels instead of 1920 × 1080")


def test_the_size_of_an_exr_is_that_of_its_display_window(tmp_path: Path) -> None:
    spec = oiio.ImageSpec(W, H, 3, "half")
    spec.x, spec.y, spec.full_width, spec.full_height = 10, 5, 200, 100
    out = oiio.ImageOutput.create(str(tmp_path / "a.exr"))
    out.open(str(tmp_path / "a.exr"), spec)
    out.write_image(linear(alpha=False).astype("f4"))
    out.close()
    assert look(tmp_path / "a.exr", 1, size=(200, 100)).finding is None


@pytest.mark.parametrize(
    ("pixels", "blank"),
    [
        (BLACK, "#000000"),
        (BLACK + np.array([10, 20, 30], np.uint8), "#0a141e"),
        ((BLACK + (X % 3)[..., None]).astype(np.uint8), "#000000"),
        (np.dstack([NOISE, BLACK[..., 0]]), "transparent"),
        (np.dstack([BLACK + 255, (X * 4).astype(np.uint8)]), None),
    ],
    ids=["black", "a colour", "dithered", "nothing but transparency", "a white thing cut out by alpha"],
)
def test_a_picture_of_one_colour_is_blank(tmp_path: Path, pixels: np.ndarray, blank: str | None) -> None:
    assert seen(pixels, 1, tmp_path).blank == blank


def test_one_star_in_a_large_black_sky_is_not_blank(tmp_path: Path) -> None:
    sky = np.zeros((720, 1280, 3), np.uint8)
    sky[101, 333] = 200
    assert seen(sky, 1, tmp_path).blank is None


@pytest.mark.parametrize("level", [0.0, 0.18, 7.0])
def test_a_flat_exr_is_blank(tmp_path: Path, level: float) -> None:
    assert look(write_exr(tmp_path / "a.exr", np.full((H, W, 3), level)), 1).blank


def test_fire_without_alpha_in_an_exr_is_not_blank(tmp_path: Path) -> None:
    pixels = linear()
    pixels[..., 3] = 0
    assert look(write_exr(tmp_path / "a.exr", pixels), 1).blank is None


@pytest.mark.parametrize("kind", ["half", "float"])
@pytest.mark.parametrize(("channel", "name"), [(0, "R"), (3, "A")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_values_in_an_exr_are_found_by_channel(
    tmp_path: Path, kind: str, channel: int, name: str, value: float
) -> None:
    pixels = linear()
    pixels[3:5, 7, channel] = value
    found = look(write_exr(tmp_path / "a.exr", pixels, kind), 1)
    assert (found.finding, found.detail) == (
        Finding.NAN,
        f"values that are infinite or not a number ({name}: 2)",
    )


def test_an_infinite_depth_is_left_alone_but_not_a_nan(tmp_path: Path) -> None:
    pixels = np.dstack([linear(), np.full((H, W), np.inf)])
    names = ("R", "G", "B", "A", "ViewLayer.Depth.Z")
    assert look(write_exr(tmp_path / "a.exr", pixels, "float", names=names), 1).finding is None
    pixels[0, 0, 4] = np.nan
    assert look(write_exr(tmp_path / "a.exr", pixels, "float", names=names), 1).finding is Finding.NAN


def test_a_multilayer_exr_is_seen_by_its_combined_pass(tmp_path: Path) -> None:
    colours = linear(alpha=False)
    names = tuple(f"ViewLayer.{layer}.{c}" for layer in ("AO", "Combined") for c in "RGB")
    path = write_exr(tmp_path / "a.exr", np.dstack([colours * 0, colours]), names=names)
    assert look(path, 1).blank is None


@pytest.mark.parametrize(
    "rgb", [(255, 0, 255), (124, 39, 128), (188, 102, 189), (223, 165, 223), (136, 16, 136), (216, 15, 216)]
)
def test_missing_texture_is_measured_in_the_colours_that_blender_gives(
    tmp_path: Path, rgb: tuple[int, ...]
) -> None:
    pixels = shot(0)
    pixels[:, : W // 4] = rgb
    assert seen(pixels, 1, tmp_path).magenta == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("rgb", [(255, 0, 0), (128, 0, 255), (255, 0, 128), (250, 240, 250), (60, 60, 60)])
def test_other_colours_are_no_missing_texture(tmp_path: Path, rgb: tuple[int, ...]) -> None:
    assert seen(np.full((H, W, 3), rgb, np.uint8), 1, tmp_path).magenta == 0


def test_a_png_is_looked_at_without_numpy(tmp_path: Path) -> None:
    Image.fromarray(shot(0)).save(tmp_path / "a.png")
    code = "import sys, pathlib; from renderfarm.pictures.look import look; look(pathlib.Path(sys.argv[1]), 1)"
    code += "; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=False).returncode == 0


# Among neighbours: true alarms


def test_an_outlier_next_to_a_gap_is_suspected(tmp_path: Path) -> None:
    looks = [seen(shot(i, seed=5 * (i == 6)), i, tmp_path) for i in (1, 2, 3, 4, 6, 7, 9, 10)]
    assert [v.frame for v in judge(looks)] == [6]


def magenta(i: int, share: float = 0.2) -> np.ndarray:
    pixels = shot(i)
    pixels[:, : int(W * share)] = (188, 102, 189)
    return pixels


ODD = [shot(20, seed=5 + i) for i in range(3)]
HALF = np.where(Y[..., None] < H // 2, shot(10), 0).astype(np.uint8)


def shot_with(planted: dict[int, np.ndarray], count: int = 24) -> list[np.ndarray]:
    return [planted.get(i, shot(i)) for i in range(count)]


CUTOUT = [np.dstack([shot(i), np.where(X < 40, 255 * (i != 4), 0).astype(np.uint8)]) for i in range(9)]
DARK = [BLACK if i == 6 else shot(i) // 16 for i in range(12)]
CUTS = [BLACK if i == 4 else shot(i, seed=i) for i in range(9)]
STROBE = shot_with(dict.fromkeys(range(3, 40, 4), BLACK), 40)
PINK = {i: magenta(i) for i in range(8, 24)}
ALARMS = {
    "one black frame": (shot_with({6: BLACK}, 12), "6 blank!"),
    "a transparent frame": (CUTOUT, "4 blank!"),
    "black frames here and there": (shot_with(dict.fromkeys((5, 9, 17), BLACK)), "5 blank! 9 blank! 17 blank!"),
    "a black frame of three": (shot_with({1: BLACK}, 3), "1 blank!"),
    "a black frame among very different ones": (CUTS, "4 blank!"),
    "a frame from another shot": (shot_with({6: shot(6, seed=5)}, 12), "6 outlier?"),
    "black inside a shot": (shot_with(dict.fromkeys(range(5, 9), BLACK)), "5 blank?"),
    "nothing but black": ([BLACK] * 30, "0 blank?"),
    "magenta inside a shot": (shot_with({i: PINK[i] for i in range(8, 14)}), "8 missing-texture?"),
    "magenta to the end": (shot_with(PINK), "8 missing-texture?"),
    "a strobe of black frames": (STROBE, "3 blank?"),
    "a black frame in a dark scene": (DARK, "6 blank?"),
    "a black frame at a cut": ([*[shot(0)] * 6, BLACK, *[shot(0, seed=9)] * 6], "6 blank?"),
}
SAID = {
    "one black frame": "the whole picture is one colour (#000000), its neighbours are not",
    "black inside a shot": "frames 5 to 8",
    "magenta inside a shot": "frames 8 to 13",
}


@pytest.mark.parametrize("name", ALARMS)
def test_what_is_certain_and_what_is_suspected(name: str, verdicts: Callable[..., list[Verdict]]) -> None:
    pictures, told = ALARMS[name]
    found = verdicts(pictures, start=0)
    assert " ".join(f"{v.frame} {v.finding}{'!' if v.certain else '?'}" for v in found) == told
    assert SAID.get(name, "") in found[0].detail


@pytest.mark.parametrize(
    "planted",
    [
        {10: ODD[0], 12: ODD[1]},
        {10: ODD[0], 11: ODD[1]},
        {10: ODD[0], 12: ODD[1], 15: ODD[2]},
        {10: BLACK, 11: ODD[0]},
        {10: ODD[0], 11: BLACK},
        {10: HALF, 12: BLACK},
        {10: HALF, 12: HALF},
        {10: BLACK, 12: BLACK, 15: BLACK},
    ],
)
def test_defects_near_each_other_are_all_found(
    verdicts: Callable[..., list[Verdict]], planted: dict[int, np.ndarray]
) -> None:
    assert [v.frame for v in verdicts(shot_with(planted), start=0)] == list(planted)


@pytest.mark.parametrize("odd", [BLACK, ODD[0], magenta(9)])
def test_frames_far_apart_are_no_neighbours(tmp_path: Path, odd: np.ndarray) -> None:
    looks = [seen(picture, 25 * i, tmp_path) for i, picture in enumerate([shot(0), shot(1), odd, shot(2)])]
    assert list(judge(looks)) == []


def test_every_tenth_frame_is_judged_by_the_others(tmp_path: Path) -> None:
    looks = [seen(BLACK if i == 4 else shot(i), 10 * i, tmp_path) for i in range(9)]
    assert [(v.frame, v.certain) for v in judge(looks)] == [(40, True)]


def test_stills_that_are_all_black_are_suspected_once_however_far_apart(tmp_path: Path) -> None:
    assert [v.frame for v in judge([seen(BLACK, 100 * i, tmp_path) for i in range(4)])] == [0]


def test_magenta_is_a_clear_defect_where_the_renderer_missed_an_image(
    verdicts: Callable[..., list[Verdict]],
) -> None:
    found = verdicts([magenta(i) if i == 3 else shot(i) for i in range(6)], start=0, evidence={3, 4})
    assert [(v.frame, v.finding, v.certain) for v in found if v.certain] == [(3, Finding.MISSING_TEXTURE, True)]


def test_all_frames_are_defects_when_the_whole_job_missed_an_image(
    verdicts: Callable[..., list[Verdict]],
) -> None:
    assert [v.certain for v in verdicts([magenta(i) for i in range(6)], evidence=True)] == [True] * 6


def test_magenta_is_no_news_when_textures_are_known_to_be_missing(
    verdicts: Callable[..., list[Verdict]],
) -> None:
    frames = [magenta(i) if i >= 8 else shot(i) for i in range(24)]
    assert verdicts(frames, evidence=True, expects_magenta=True) == []


# Among neighbours: no false alarms


def fade(steps: int, reverse: bool = False, gamma: float = 1.0, to: float = 0.0) -> list[np.ndarray]:
    shares = [(1 - i / steps) ** gamma for i in range(steps + 1)]
    frames = [(shot(i) * share + to * (1 - share)).astype(np.uint8) for i, share in enumerate(shares)]
    return frames[::-1] if reverse else frames


QUIET = [shot(i) for i in range(14)]
OTHER = [shot(i, seed=9) for i in range(14)]


def noise(i: int, strength: float, size: tuple[int, int] = (H, W)) -> np.ndarray:
    dither = np.random.default_rng(i).normal(0, strength, (*size, 3))
    return (shot(0)[: size[0], : size[1]] + dither).clip(0, 255).astype(np.uint8)


def pan(i: int, speed: int) -> np.ndarray:
    world = np.random.default_rng(1).integers(0, 2, (H // 6, 400)).repeat(6, 0).repeat(8, 1) * 255
    return np.dstack([world[:, i * speed : i * speed + W]] * 3).astype(np.uint8)


def lamp(i: int, on: bool) -> np.ndarray:
    return (shot(i) * (1.0 if on else 0.4)).astype(np.uint8)


def neon(i: int, width: float) -> np.ndarray:
    pixels = shot(i)
    pixels[:, : max(0, int(width))] = (255, 0, 255)
    return pixels


CALM = {
    "a cut": QUIET + OTHER,
    "cuts every two frames": [shot(i, seed=i // 2) for i in range(24)],
    "cuts every frame": [shot(i, seed=i) for i in range(24)],
    "fade to black": QUIET + fade(12) + [BLACK] * 6,
    "fade to black and end": QUIET + fade(12),
    "fade from black": [BLACK] * 4 + fade(10, reverse=True) + QUIET,
    "a dip to black": QUIET + fade(8) + fade(8, reverse=True) + QUIET[::-1],
    "a dip to black in three steps": QUIET + fade(3) + fade(3, reverse=True)[1:] + QUIET[::-1],
    "a dip to black in two steps": QUIET[:1] * 9 + fade(2) + fade(2, reverse=True)[1:] + QUIET[:1] * 9,
    "a fade in linear light": QUIET + fade(10, gamma=0.45) + fade(10, reverse=True, gamma=0.45),
    "a dip to white": QUIET + fade(6, to=255) + fade(6, reverse=True, to=255)[1:] + QUIET[::-1],
    "fade to black, then a cut": QUIET + fade(9) + OTHER,
    "black leader and trailer": [BLACK] * 5 + QUIET + [BLACK] * 5,
    "one black frame at the start": [BLACK, *QUIET],
    "one black frame at the end": [*QUIET, BLACK],
    "an odd first and last frame": [shot(0, seed=5), *QUIET, shot(0, seed=7)],
    "black between two shots": QUIET + [BLACK] * 8 + OTHER,
    "a flash of three frames": QUIET + [shot(14) // 2 + 128] * 3 + QUIET[::-1],
    "a lamp that flickers at random": [lamp(i, np.random.default_rng(i).random() > 0.4) for i in range(60)],
    "a strobe": [lamp(i, i % 2 == 0) for i in range(30)],
    "a strobe in three": [lamp(i, i % 3 == 0) for i in range(30)],
    "a blinking light": [lamp(i, i % 7 != 0) for i in range(40)],
    "heavy grain": [noise(i, 60) for i in range(30)],
    "nothing but noise": [
        np.random.default_rng(i).integers(0, 255, (H, W, 3), dtype=np.uint8) for i in range(30)
    ],
    "noise of few pixels": [
        np.random.default_rng(i).integers(0, 255, (3, 4, 3), dtype=np.uint8) for i in range(40)
    ],
    "a still scene with a little noise": [noise(i, 2) for i in range(30)],
    "a still scene where one pixel changes": [
        shot(0) + np.uint8(i == 5) * (X + Y == 0)[..., None] for i in range(12)
    ],
    "a fast pan over hard contrast": [pan(i, 37) for i in range(40)],
    "a slow pan over hard contrast": [pan(i, 5) for i in range(40)],
    "a ball that bounces back": [shot(12 * abs(i % 6 - 3)) for i in range(30)],
    "animated on twos": [shot(20 * (i // 2)) for i in range(20)],
    "a still": [shot(0)] * 20,
    "one frame": [shot(0)],
    "two frames that differ": [shot(0), shot(0, seed=8)],
    "a black and a picture": [BLACK, shot(0)],
    "a scene that is magenta on purpose": [magenta(i, 0.5) for i in range(20)],
    "a cut to a magenta shot": QUIET + [np.roll(magenta(i), 7, 0)[..., ::-1] // 2 + 60 for i in range(9)],
    "a magenta thing that comes in": [neon(i, 2 * i) for i in range(30)],
    "a magenta thing that rushes through": [
        neon(i, 12 * (i - 8) if i < 12 else 12 * (17 - i)) for i in range(24)
    ],
    "a magenta light that fades in": [
        (shot(0) * (1 - i / 20) + np.array([255, 0, 255]) * i / 20).astype(np.uint8) for i in range(20)
    ],
}


@pytest.mark.parametrize("name", CALM)
def test_no_alarm_for(name: str, verdicts: Callable[..., list[Verdict]]) -> None:
    assert verdicts(CALM[name]) == []


def test_a_light_that_blinks_magenta_is_told_at_most_once(verdicts: Callable[..., list[Verdict]]) -> None:
    found = verdicts([magenta(i) if i // 6 % 2 else shot(i) for i in range(72)])
    assert len(found) == 1
    assert "a light?" in found[0].detail


def test_a_defective_frame_is_no_neighbour(tmp_path: Path) -> None:
    looks = [seen(shot(i), i, tmp_path) for i in range(8)]
    looks[3] = Look(3, Finding.TRUNCATED, "half of it")
    looks[4] = seen(BLACK, 4, tmp_path)
    assert [(v.frame, v.finding) for v in judge(looks)] == [(3, Finding.TRUNCATED), (4, Finding.BLANK)]


@settings(max_examples=60, deadline=None)
@given(
    signatures=st.lists(st.binary(min_size=432, max_size=432), min_size=1, max_size=8),
    order=st.lists(st.tuples(st.integers(0, 7), st.sampled_from([None, "#000000"])), max_size=60),
)
def test_any_sequence_is_judged_each_frame_at_most_once_per_finding(
    signatures: list[bytes], order: list[tuple[int, str | None]]
) -> None:
    looks = [
        Look(i, blank=blank, magenta=(n % 3) / 3, signature=signatures[n % len(signatures)])
        for i, (n, blank) in enumerate(order)
    ]
    found = [(v.frame, v.finding) for v in judge(looks)]
    assert len(found) == len(set(found))
    assert {frame for frame, _ in found} <= set(range(len(order)))


# Folders


def fill(folder: Path, frames: Iterable[int], stem: str = "shot", suffix: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in frames:
        name = f"{stem}.{'-' if i < 0 else ''}{abs(i):04d}.{suffix}"
        Image.fromarray(shot(i)).save(folder / name)


def found(report: check.Report) -> list[tuple[int | None, str]]:
    return [(problem.frame, str(problem.finding)) for problem in report.bad]


def test_a_good_folder_is_good(tmp_path: Path) -> None:
    fill(tmp_path, range(-3, 9))
    report = check_folder(tmp_path)
    assert encode(report) == {"checked": 12, "good": 12, "bad": [], "suspects": []}


def test_every_kind_of_defect_in_a_folder_is_told_with_its_frame_and_path(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 21))
    files = {i: tmp_path / f"shot.{i:04d}.png" for i in range(1, 21)}
    files[3].write_bytes(files[3].read_bytes()[:-20])
    files[6].write_text("no picture")
    Image.new("RGB", (32, 18), "red").save(files[9])
    Image.fromarray(BLACK).save(files[12])
    files[15].unlink()
    Image.fromarray(shot(18, seed=5)).save(files[18])
    report = check_folder(tmp_path)
    assert found(report) == [(3, "truncated"), (6, "unreadable"), (9, "wrong-size"), (12, "blank"), (15, "gap")]
    assert [(p.frame, p.finding) for p in report.suspects] == [(18, Finding.OUTLIER)]
    assert (report.checked, report.good) == (19, 15)
    assert report.bad[0].path == str(files[3])
    assert report.bad[4].path is None


def test_a_constant_step_leaves_no_gaps_but_a_missing_step_does(tmp_path: Path) -> None:
    fill(tmp_path, [1, 6, 11, 21, 26])
    assert found(check_folder(tmp_path)) == [(16, "gap")]


@pytest.mark.parametrize("last", [9_000_000, 20261130, 10**20])
def test_a_gap_is_told_once_whatever_its_size(tmp_path: Path, last: int) -> None:
    fill(tmp_path, [1, 2, last])
    told = (3, f"{last - 3:,} frames are missing, 3 to {last - 1}")
    assert [(p.frame, p.detail) for p in check_folder(tmp_path).bad] == [told]


def test_views_of_a_job_s_frames_are_each_measured_by_what_it_wanted(tmp_path: Path) -> None:
    for view in ("_L", "_R"):
        for n in range(1, 4):
            (tmp_path / "frames").mkdir(exist_ok=True)
            Image.fromarray(shot(n)).save(tmp_path / "frames" / f"s.{n:04d}{view}.png")
    (tmp_path / "job.json").write_text('{"frames": "1-4"}')
    assert found(check_folder(tmp_path)) == [(4, "gap"), (4, "gap")]


def test_each_animation_in_a_folder_is_judged_by_itself(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 5))
    fill(tmp_path, range(10, 20, 2), "depth", "tif")
    Image.new("RGB", (500, 20), "red").save(tmp_path / "cover.png")
    report = check_folder(tmp_path)
    assert (report.checked, report.bad) == (10, ())
    assert [(p.frame, p.path) for p in report.suspects] == [(None, str(tmp_path / "cover.png"))]


def test_of_an_output_folder_the_frames_are_checked(tmp_path: Path) -> None:
    fill(tmp_path / "frames", range(1, 4))
    (tmp_path / "contact-sheet.jpg").write_text("not looked at")
    assert check_folder(tmp_path).good == 3


@pytest.mark.parametrize("name", ["two words", "quo'te\"s", "ünï", "a#b@c[1]", "-dash", "new\nline"])
def test_odd_folder_names_are_no_trouble(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, range(1, 4), stem=f"x {name[:3]}")
    assert check_folder(tmp_path / name).good == 3


@pytest.mark.parametrize(
    "names", [["1.png", "2.png", "10.png"], ["a_1.jpg", "a_2.jpg"], ["0001.png", "0002.png"]]
)
def test_any_common_way_of_numbering_is_understood(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        Image.fromarray(shot(0)).save(tmp_path / name)
    assert check_folder(tmp_path).good == len(names)


def test_two_sizes_without_a_majority_are_suspected(tmp_path: Path) -> None:
    fill(tmp_path, [1])
    Image.new("RGB", (20, 20)).save(tmp_path / "shot.0002.png")
    report = check_folder(tmp_path)
    assert report.bad == ()
    assert [p.finding for p in report.suspects] == [Finding.WRONG_SIZE]


def test_progress_is_told_for_every_frame(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 6))
    told: list[tuple[int, int]] = []
    check_folder(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]


def test_a_folder_without_pictures_or_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="no pictures"):
        check_folder(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        check_folder(tmp_path / "nowhere")
