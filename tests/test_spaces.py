"""What pixels mean, by their tags: compared with POV-Ray, LittleCMS, Blender's own movies and the standards."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import OpenImageIO
import pytest
from PIL import Image, ImageCms

from renderfarm.pictures import colour, spaces
from renderfarm.pictures.film import VideoOptions, assemble
from renderfarm.pictures.shots import Picture
from renderfarm.pictures.small import small
from renderfarm.pictures.spaces import Space, of_picture, to_srgb
from renderfarm.words.scene import Colour

P3_CODES, WIDE_CODES, PQ_CODES, HLG_CODES = (12, 13), (9, 1), (9, 16), (9, 18)
RED = (200, 40, 30)


def tagged(path: Path, *chunks: tuple[bytes, bytes], fill: tuple[int, int, int] = RED, size: int = 64) -> Path:
    """A PNG of one colour with chunks of its own after the header."""
    Image.new("RGB", (size, size), fill).save(path)
    data = path.read_bytes()
    extra = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    path.write_bytes(data[:33] + extra + data[33:])
    return path


def cicp(path: Path, codes: tuple[int, int], **options: tuple[int, int, int]) -> Path:
    return tagged(path, (b"cICP", bytes((*codes, 0, 1))), **options)


def gamma(value: int) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", value)


def of(path: Path, display: str | None = None) -> Space:
    return colour.header(path, Colour(display=display) if display else None).space


def middle(space: Space, levels: tuple[int, ...], kind: type = np.uint8) -> list[int]:
    return [int(level) for level in to_srgb(np.array([[levels]], kind), space)[0, 0]]


def labels(video: Path) -> list[str]:
    show = "stream=color_space,color_primaries,color_transfer,pix_fmt"
    argv = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", show, "-of", "json", str(video)]
    (found,) = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)["streams"]
    return [found[key] for key in ("color_space", "color_primaries", "color_transfer", "pix_fmt")]


TAGS = [
    (P3_CODES, "v.mp4", "h264", ["bt709", "smpte432", "iec61966-2-1", "yuv420p"]),
    (P3_CODES, "v.mov", "prores", ["bt709", "smpte432", "iec61966-2-1", "yuv444p12le"]),
    (WIDE_CODES, "v.webm", "vp9", ["bt2020nc", "bt2020", "bt709", "yuv420p"]),
    (PQ_CODES, "v.mp4", "h265", ["bt2020nc", "bt2020", "smpte2084", "yuv420p10le"]),
    (PQ_CODES, "v.mp4", "av1", ["bt2020nc", "bt2020", "smpte2084", "yuv420p10le"]),
    (HLG_CODES, "v.webm", "vp9", ["bt2020nc", "bt2020", "arib-std-b67", "yuv420p10le"]),
]


@pytest.mark.parametrize(("codes", "name", "codec", "wanted"), TAGS)
def test_a_film_is_tagged_as_blender_tags_its_own(
    tmp_path: Path, codes: tuple[int, int], name: str, codec: str, wanted: list[str]
) -> None:
    pictures = [Picture(n, cicp(tmp_path / f"{n}.png", codes)) for n in (1, 2)]
    made = assemble(pictures, tmp_path / name, VideoOptions(codec=codec))
    assert labels(made.path) == wanted
    assert "as its frames are" in made.notes[0]


@pytest.mark.parametrize(("codes", "name", "codec"), [(P3_CODES, "v.mp4", "h264"), (PQ_CODES, "v.mp4", "h265")])
def test_a_tagged_film_has_the_numbers_of_its_frames(
    tmp_path: Path, codes: tuple[int, int], name: str, codec: str
) -> None:
    made = assemble(
        [Picture(1, cicp(tmp_path / "1.png", codes))], tmp_path / name, VideoOptions(codec=codec, crf=2)
    )
    argv = ["ffmpeg", "-v", "error", "-i", str(made.path), "-vf", "scale=in_color_matrix=auto,format=rgb24"]
    raw = subprocess.run([*argv, "-f", "rawvideo", "-"], check=True, capture_output=True).stdout
    assert np.abs(np.frombuffer(raw, np.uint8).reshape(-1, 3)[2000].astype(int) - RED).max() <= 3


@pytest.mark.parametrize(("name", "codes"), [("v.gif", P3_CODES), ("v.mp4", PQ_CODES)])
def test_what_a_film_can_t_be_tagged_with_is_converted_and_said(
    tmp_path: Path, name: str, codes: tuple[int, int]
) -> None:
    path = cicp(tmp_path / "1.png", codes, fill=(120, 120, 120))
    made = assemble([Picture(1, path)], tmp_path / name, VideoOptions())
    assert "converted to sRGB" in made.notes[0]
    assert ("cut off" in made.notes[0]) == (codes == PQ_CODES)


def test_frames_in_different_spaces_become_srgb(tmp_path: Path) -> None:
    p3 = cicp(tmp_path / "2.png", P3_CODES)
    pictures = [Picture(1, tagged(tmp_path / "1.png")), Picture(2, p3)]
    made = assemble(pictures, tmp_path / "v.mp4", VideoOptions(crf=2))
    assert made.notes == ("1 frame is in Display P3: converted to sRGB.",)
    assert labels(made.path)[:3] == ["bt709"] * 3


def test_what_says_srgb_in_any_way_is_left_as_it_is(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    packed = b"sRGB\0\0" + zlib.compress(icc)
    ways = [(), ((b"sRGB", b"\0"),), (gamma(45455),), ((b"iCCP", packed),), ((b"cICP", bytes((1, 13, 0, 1))),)]
    assert {of(tagged(tmp_path / "a.png", *chunks)) for chunks in ways} == {spaces.SRGB}


@pytest.mark.skipif(not shutil.which("povray"), reason="needs POV-Ray")
@pytest.mark.parametrize("file_gamma", ["1.0", "1.8"])
def test_a_frame_of_any_file_gamma_looks_as_povray_means_it(tmp_path: Path, file_gamma: str) -> None:
    scene = tmp_path / "s.pov"
    scene.write_text(
        "#version 3.7; global_settings{assumed_gamma 1.0} camera{location <0,1,-4> look_at 0}"
        "light_source{<3,5,-4> rgb 1} sphere{0,1 pigment{rgb <.8,.2,.1>}} background{rgb <.1,.2,.4>}"
    )
    shown = []
    for name in ("srgb", file_gamma):
        path = tmp_path / f"{name}.png"
        argv = [
            "povray",
            str(scene),
            "+W64",
            "+H48",
            f"+O{path}",
            f"File_Gamma={name}",
            "Bits_Per_Color=16",
            "-D",
        ]
        subprocess.run(argv, check=True, capture_output=True)
        pixels = colour.shown(path, None)
        shown.append(to_srgb(pixels, of(path)).astype(int))
    assert np.abs(shown[0] - shown[1]).max() <= (13 if file_gamma == "1.0" else 2)
    assert np.abs(shown[0] - shown[1]).mean() < 1.5


def test_a_profile_shows_what_littlecms_shows(tmp_path: Path) -> None:
    icc = Path(__file__).parent / "display-p3.icc"
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8))
    image.save(tmp_path / "a.tif", icc_profile=icc.read_bytes())
    assert of(tmp_path / "a.tif") == spaces.DISPLAY_P3
    theirs = ImageCms.profileToProfile(image, str(icc), ImageCms.createProfile("sRGB"), renderingIntent=1)
    ours = to_srgb(np.asarray(image), spaces.DISPLAY_P3)
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 3


@pytest.mark.parametrize(
    "chunk", [(b"iCCP", b"x\0\0junk"), (b"cICP", b""), (b"gAMA", b"\0"), (b"cHRM", bytes(32))]
)
def test_broken_tags_are_no_trouble(tmp_path: Path, chunk: tuple[bytes, bytes]) -> None:
    assert of_picture(tagged(tmp_path / "a.png", chunk), b"junk", None) == spaces.SRGB


def test_cicp_is_believed_before_all_else_and_the_scene_before_what_blender_5_1_writes(tmp_path: Path) -> None:
    lies = [(b"sRGB", b"\0"), gamma(45455)]
    assert of(tagged(tmp_path / "a.png", (b"cICP", bytes((9, 16, 0, 1))), *lies), "sRGB") == spaces.PQ
    assert of(tagged(tmp_path / "a.png", *lies), "Display P3") == spaces.DISPLAY_P3
    assert of(tagged(tmp_path / "a.png", *lies)) == spaces.SRGB


def test_paper_white_of_high_dynamic_range_is_white(tmp_path: Path) -> None:
    """ITU-R BT.2408: 203 cd/m² is 58 % in PQ and 75 % in HLG."""
    assert middle(spaces.PQ, (38055,) * 3, np.uint16) == pytest.approx([65535] * 3, abs=60)
    assert middle(spaces.HLG, (49151,) * 3, np.uint16) == pytest.approx([65535] * 3, abs=400)
    assert middle(spaces.PQ, (0, 0, 0)) == middle(spaces.HLG, (0, 0, 0)) == [0, 0, 0]


def test_a_thumbnail_of_a_wide_picture_is_srgb(tmp_path: Path) -> None:
    wide = small(cicp(tmp_path / "a.png", P3_CODES), (32, 32))
    assert wide is not None
    assert wide.getpixel((5, 5)) == pytest.approx((218, 0, 4), abs=3)  # LittleCMS's


def write_exr(path: Path, values: tuple[float, ...], names: tuple[str, ...], **tags: object) -> Path:
    spec = OpenImageIO.ImageSpec(8, 8, len(names), "float")
    spec.channelnames = names
    for key, value in tags.items():
        if key == "chromaticities":
            spec.attribute(key, OpenImageIO.TypeDesc("float[8]"), value)
        else:
            spec.attribute(key, value)
    out = OpenImageIO.ImageOutput.create(str(path))
    out.open(str(path), spec)
    out.write_image(np.tile(np.array(values, np.float32), (8, 8, 1)))
    out.close()
    return path


def test_light_of_another_working_space_is_shown_as_it_is_meant(tmp_path: Path) -> None:
    """ACES: AP1's (0.5, 0.5, 0.5) is grey, and Rec.709's red is (0.6131, 0.0702, 0.0206) in AP1."""
    red, grey = (0.6131, 0.0702, 0.0206), (0.5, 0.5, 0.5)
    tags = ({"colorInteropID": "lin_ap1_scene"}, {"chromaticities": spaces.AP1})
    for number, tag in enumerate(tags):
        shown = [
            colour.shown(write_exr(tmp_path / f"{number}.exr", values, ("R", "G", "B"), **tag), None)[
                4, 4
            ].tolist()
            for values in (red, grey)
        ]
        assert shown[0] == pytest.approx([255, 0, 0], abs=6)
        assert shown[1] == [188, 188, 188]


@pytest.mark.parametrize("told", [(0.0,) * 8, (float("nan"),) * 8, (0.3,) * 8])
def test_chromaticities_that_span_nothing_are_no_trouble(tmp_path: Path, told: tuple[float, ...]) -> None:
    path = write_exr(tmp_path / "a.exr", (0.5, 0.5, 0.5), ("R", "G", "B"), chromaticities=told)
    assert colour.shown(path, None)[4, 4].tolist() == [188, 188, 188]


LAYERS = [
    (("A.R", "A.G", "A.B", "beauty.R", "beauty.G", "beauty.B"), "beauty"),
    (("N.X", "N.Y", "N.Z", "diffuse.R", "diffuse.G", "diffuse.B"), "diffuse"),
    (
        ("Mist.Y", "S.Composite.Combined.R", "S.Composite.Combined.G", "S.Composite.Combined.B"),
        "S.Composite.Combined",
    ),
    (("albedo.r", "albedo.g", "albedo.b", "Ci.r", "Ci.g", "Ci.b"), "Ci"),
    (("depth.Z", "fg.red", "fg.green", "fg.blue"), "fg"),
    (("left.Combined.R", "left.Combined.G", "left.Combined.B", "R", "G", "B"), ""),
]


@pytest.mark.parametrize(("names", "wanted"), LAYERS)
def test_the_beauty_layer_is_shown_and_said(tmp_path: Path, names: tuple[str, ...], wanted: str) -> None:
    """Its values are 1, those of all other channels 0.1."""
    values = tuple(1.0 if name.rpartition(".")[0] == wanted and name[-1] != "Z" else 0.1 for name in names)
    path = write_exr(tmp_path / "a.exr", values, names)
    assert colour.shown(path, None)[4, 4].tolist() == [255, 255, 255]
    made = assemble([Picture(1, path)], tmp_path / "v.mp4", VideoOptions())
    assert [note for note in made.notes if "layers" in note] == (
        [f"The frames have layers: the film shows {wanted}."] if wanted else []
    )


def test_the_beauty_part_is_shown_wherever_it_stands(tmp_path: Path) -> None:
    path, specs = tmp_path / "a.exr", []
    for name, names in (("depth", ("Z",)), ("albedo", ("R", "G", "B")), ("rgba", ("R", "G", "B", "A"))):
        spec = OpenImageIO.ImageSpec(8, 8, len(names), "float")
        spec.channelnames = names
        spec.attribute("oiio:subimagename", name)
        specs.append(spec)
    out = OpenImageIO.ImageOutput.create(str(path))
    out.open(str(path), tuple(specs))
    for number, spec in enumerate(specs):
        if number:
            out.open(str(path), spec, "AppendSubimage")
        out.write_image(np.full((8, 8, spec.nchannels), (0.1, 0.3, 1.0)[number], np.float32))
    out.close()
    assert colour.shown(path, None)[4, 4].tolist() == [255] * 4
    assert colour.header(path).layer == "rgba"


def test_a_file_without_colours_is_said_to_have_none(tmp_path: Path) -> None:
    path = write_exr(tmp_path / "a.exr", (1.0, 2.0, 3.0), ("N.X", "N.Y", "N.Z"))
    with pytest.raises(OSError, match="no colours"):
        colour.header(path)


def test_a_transparent_frame_of_high_dynamic_range_keeps_its_ten_bits_rather_than_its_alpha(
    tmp_path: Path,
) -> None:
    path = tmp_path / "1.png"
    Image.new("RGBA", (64, 64), (*RED, 128)).save(path)
    data = path.read_bytes()
    body = b"cICP" + bytes((*PQ_CODES, 0, 1))
    path.write_bytes(data[:33] + struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body)) + data[33:])
    made = assemble([Picture(1, path)], tmp_path / "v.webm", VideoOptions())
    assert labels(made.path)[3] == "yuv420p10le"
