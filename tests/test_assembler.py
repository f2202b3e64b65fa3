"""Frames to video with the real ffmpeg: what goes in comes out, or an error says which frame and why."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenImageIO
import pytest
from PIL import Image

from renderfarm.errors import AssemblyError, InputError
from renderfarm.farm import api
from renderfarm.pictures import colour
from renderfarm.pictures.codecs import CONTAINERS, choose, rate
from renderfarm.pictures.ffmpeg import count_frames, find_ffmpeg
from renderfarm.pictures.film import VideoOptions, assemble
from renderfarm.pictures.sequences import submitted
from renderfarm.pictures.shots import Picture, pictures_in
from renderfarm.pictures.soundtrack import Soundtrack
from renderfarm.words.scene import Colour

SIZE = (32, 24)
COLOURS = {1: (200, 40, 30), 2: (30, 160, 60), 3: (20, 60, 220), 4: (240, 240, 240), 5: (12, 12, 12)}


def draw(path: Path, fill: tuple[int, ...], size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(fill) == 4 else "RGB", size, fill).save(path)
    return path


def series(folder: Path, frames: Iterable[int], name: str = "shot.{:04d}.png") -> list[Picture]:
    """Pictures whose colour is that of their number, 1 to 5."""
    return [Picture(n, draw(folder / name.format(n), COLOURS[(n - 1) % 5 + 1])) for n in frames]


def pixels(video: Path, channels: int = 3, decoder: tuple[str, ...] = ()) -> np.ndarray:
    """Every frame of a video as a player shows it: frames × height × width × channels."""
    shown = f"scale=in_color_matrix=auto,format={'rgba' if channels == 4 else 'rgb24'}"
    argv = [find_ffmpeg(), "-v", "error", *decoder, "-i", f"file:{video}", "-vf", shown]
    argv += ["-fps_mode", "passthrough"]  # 7.1 and later show the last picture of a GIF for as long as it lasts
    argv += ["-f", "image2pipe", "-c:v", "pam", "-"]
    raw = subprocess.run(argv, check=True, capture_output=True).stdout
    header = raw[: raw.index(b"ENDHDR\n") + 7]
    width, height = map(int, header.split()[2:5:2])
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, len(header) + width * height * channels)
    return pictures[:, len(header) :].reshape(-1, height, width, channels).astype(int)


def probe(video: Path, kind: str = "v") -> dict:
    argv = ["ffprobe", "-v", "error", "-select_streams", kind, "-show_streams", "-of", "json", f"file:{video}"]
    (stream,) = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)["streams"]
    return stream


def centres(video: Path) -> list[tuple[int, ...]]:
    return [tuple(frame[frame.shape[0] // 2, frame.shape[1] // 2]) for frame in pixels(video)]


def assert_near(found: Iterable[int], wanted: Iterable[int], tolerance: int) -> None:
    found, wanted = list(found), list(wanted)
    assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= tolerance, (found, wanted)


OFFERED = [(suffix, codec) for suffix, container in CONTAINERS.items() for codec in container.codecs]
LABELS = ("color_space", "color_primaries", "color_transfer", "color_range")
ONCE = {codec: suffix for suffix, codec in reversed(OFFERED)}


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [pytest.param(*one, marks=() if ONCE[one[1]] == one[0] else pytest.mark.slow) for one in OFFERED],
)
def test_every_frame_comes_out_in_order_in_its_colour_and_labelled(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    pictures = [Picture(n, draw(tmp_path / f"{n}.png", COLOURS[n], (64, 64))) for n in COLOURS]
    made = assemble(pictures, tmp_path / f"v{suffix}", VideoOptions(codec=codec))
    assert made.frames == 5
    for found, wanted in zip(centres(made.path), COLOURS.values(), strict=True):
        assert_near(found, wanted, 3)
    if suffix != ".gif":
        assert [probe(made.path).get(label) for label in LABELS] == ["bt709", "bt709", "bt709", "tv"]


def test_an_ffmpeg_that_lists_no_packets_is_an_error_not_a_film_of_no_frames(tmp_path: Path) -> None:
    silent = tmp_path / "ffmpeg"
    silent.write_text("#!/bin/sh\n")
    silent.chmod(0o755)
    with pytest.raises(AssemblyError, match="doesn't say how many frames"):
        count_frames(str(silent), tmp_path / "v.mp4")


def test_an_mp4_plays_anywhere_and_starts_at_once(tmp_path: Path) -> None:
    made = assemble(series(tmp_path, range(1, 4)), tmp_path / "v.mp4", VideoOptions())
    assert probe(made.path)["pix_fmt"] == "yuv420p"
    data = made.path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


RATES = {
    24: "24", 23.976: "24000/1001", 23.98: "24000/1001", 24 / 1.001: "24000/1001", 29.97: "30000/1001",
    59.94: "60000/1001", 12.5: "25/2", 1: "1", 3: "3", 5: "5", 0.5: "1/2", 1 / 3600: "1/3600",
}  # fmt: skip


@pytest.mark.parametrize(("fps", "exact"), RATES.items())
def test_frame_rates_are_exact(fps: float, exact: str) -> None:
    assert rate(fps) == Fraction(exact)


@pytest.mark.parametrize(
    ("told", "wished", "exact"),
    [([(24000, 1001)] * 2, None, "24000/1001"), ([(25, 1)] * 2, 30.0, "30"), ([(25, 1), (30, 1)], None, "24")],
)
def test_the_rate_is_what_all_exrs_say_unless_another_is_wished(
    tmp_path: Path, told: list[tuple[int, int]], wished: float | None, exact: str
) -> None:
    pictures = []
    for frame, said in enumerate(told):
        buffer = OpenImageIO.ImageBuf(np.zeros((16, 16, 3), "float32"))
        buffer.specmod().attribute("FramesPerSecond", OpenImageIO.TypeDesc("rational"), said)
        buffer.write(str(tmp_path / f"{frame}.exr"))
        pictures.append(Picture(frame, tmp_path / f"{frame}.exr"))
    made = assemble(pictures, tmp_path / "v.mp4", VideoOptions(fps=wished))
    assert Fraction(probe(made.path)["r_frame_rate"]) == Fraction(exact)


@pytest.mark.parametrize("fps", [0, -24, float("nan"), float("inf")])
def test_a_senseless_frame_rate_is_refused(fps: float) -> None:
    with pytest.raises(InputError, match="frames per second"):
        rate(fps)


@pytest.mark.parametrize(
    ("fps", "shown", "rate"), [(60, [1, 3, 5], 30), (100, [1, 3, 5], 50), (150, [1, 4], 50)]
)
def test_a_gif_that_can_t_be_fast_enough_leaves_out_frames_and_says_so(
    tmp_path: Path, fps: float, shown: list[int], rate: int
) -> None:
    made = assemble(series(tmp_path, range(1, 6)), tmp_path / "v.gif", VideoOptions(fps=fps))
    for found, number in zip(centres(made.path), shown, strict=True):
        assert_near(found, COLOURS[number], 3)
    assert made.frames == len(shown)
    assert f"{rate} a second" in made.notes[0]


def test_no_frames_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(AssemblyError, match="no frames"):
        assemble([], tmp_path / "v.mp4", VideoOptions())


@pytest.mark.parametrize(("codec", "suffix"), ONCE.items())
def test_odd_sizes_show_no_other_colour_at_their_edges(tmp_path: Path, codec: str, suffix: str) -> None:
    picture = Picture(1, draw(tmp_path / "a.1.png", (200, 190, 180), (65, 67)))
    made = assemble([picture], tmp_path / f"v{suffix}", VideoOptions(codec=codec))
    (frame,) = pixels(made.path)
    assert frame.shape[:2] in ((67, 65), (68, 66))
    assert np.abs(frame - (200, 190, 180)).max() <= 4


@pytest.mark.parametrize("name", ["v.mp4", "v.mov", "v.webm", "v.gif"])
def test_pixels_keep_their_shape(tmp_path: Path, name: str) -> None:
    made = assemble(series(tmp_path, (1, 2)), tmp_path / name, VideoOptions(pixel_aspect=40 / 33))
    ratio = Fraction(probe(made.path)["sample_aspect_ratio"].replace(":", "/"))
    assert ratio == pytest.approx(40 / 33, rel=1e-6 if name[:3] == "v.m" else 0.01)


def test_the_shape_of_pixels_is_taken_from_pictures_that_agree(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        Image.new("RGB", SIZE).save(tmp_path / f"{n}.png", dpi=(72, 72 * (2 if n < 3 else 1)))
    pictures = [Picture(n, tmp_path / f"{n}.png") for n in (1, 2, 3)]
    wide = assemble(pictures[:2], tmp_path / "wide.mp4", VideoOptions())
    unsure = assemble(pictures, tmp_path / "unsure.mp4", VideoOptions())
    ratios = [probe(made.path)["sample_aspect_ratio"] for made in (wide, unsure)]
    assert ratios == ["2:1", "1:1"]


@pytest.mark.parametrize(("name", "decoder"), [("v.mov", ()), ("v.webm", ("-c:v", "libvpx-vp9"))])
def test_alpha_is_kept_where_the_format_has_it(tmp_path: Path, name: str, decoder: tuple[str, ...]) -> None:
    picture = Picture(1, draw(tmp_path / "a.1.png", (200, 100, 50, 128)))
    made = assemble([picture], tmp_path / name, VideoOptions())
    (frame,) = pixels(made.path, 4, decoder)
    assert_near(frame[12, 16], (200, 100, 50, 128), 4)


def test_a_gif_keeps_transparent_pixels(tmp_path: Path) -> None:
    image = Image.new("RGBA", SIZE, (200, 40, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 24))
    image.save(tmp_path / "a.1.png")
    made = assemble([Picture(1, tmp_path / "a.1.png")], tmp_path / "v.gif", VideoOptions())
    (frame,) = pixels(made.path, 4)
    assert [frame[12, 4, 3], frame[12, 28, 3]] == [0, 255]


def test_transparent_frames_lie_on_black_where_the_format_has_no_alpha(tmp_path: Path) -> None:
    picture = Picture(1, draw(tmp_path / "a.1.png", (200, 100, 50, 128)))
    made = assemble([picture], tmp_path / "v.mp4", VideoOptions())
    assert_near(centres(made.path)[0], (100, 50, 25), 3)


def test_frames_with_and_without_alpha_go_together(tmp_path: Path) -> None:
    pictures = [
        Picture(1, draw(tmp_path / "1.png", (200, 40, 30, 255))),
        Picture(2, draw(tmp_path / "2.png", (30, 160, 60))),
    ]
    made = assemble(pictures, tmp_path / "v.mov", VideoOptions())
    first, second = pixels(made.path, 4)
    assert_near(first[12, 16], (200, 40, 30, 255), 3)
    assert_near(second[12, 16], (30, 160, 60, 255), 3)


def test_pictures_of_all_kinds_go_together(tmp_path: Path) -> None:
    Image.new("L", SIZE, 90).save(tmp_path / "1.png")
    Image.new("RGB", SIZE, (200, 40, 30)).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "2.png")
    Image.new("LA", SIZE, (90, 255)).save(tmp_path / "3.png")
    others = [draw(tmp_path / name, (40, 120, 200)) for name in ("4.png", "5.jpg", "6.tif", "7.bmp")]
    pictures = [Picture(n, path) for n, path in enumerate([*sorted(tmp_path.glob("[123].png")), *others], 1)]
    wanted = [(90, 90, 90), (200, 40, 30), (90, 90, 90), *[(40, 120, 200)] * 4]
    found = centres(assemble(pictures, tmp_path / "v.mp4", VideoOptions()).path)
    assert np.abs(np.array(found) - wanted).max() <= 4


def gradient_16_bits(path: Path) -> Path:
    """A ramp so flat that 8 bits show it as a few steps."""
    ramp = np.linspace(20000, 21500, 64).astype(np.uint16)
    image = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (32, 64, 3)))
    buffer = OpenImageIO.ImageBuf(image)
    buffer.write(str(path))
    return path


def test_16_bit_frames_look_right_in_an_8_bit_video(tmp_path: Path) -> None:
    picture = Picture(1, gradient_16_bits(tmp_path / "a.1.png"))
    (frame,) = pixels(assemble([picture], tmp_path / "v.mp4", VideoOptions(crf=1)).path)
    assert_near(frame[16, 4], [20000 * 255 // 65535] * 3, 3)
    assert_near(frame[16, 60], [21500 * 255 // 65535] * 3, 3)


def test_prores_keeps_more_than_8_bits_of_16_bit_frames(tmp_path: Path) -> None:
    picture = Picture(1, gradient_16_bits(tmp_path / "a.1.png"))
    made = assemble([picture], tmp_path / "v.mov", VideoOptions())
    argv = [find_ffmpeg(), "-v", "error", "-i", str(made.path), "-vf", "format=rgb48le", "-f", "rawvideo", "-"]
    raw = subprocess.run(argv, check=True, capture_output=True).stdout
    steps = np.unique(np.frombuffer(raw, np.uint16).reshape(32, 64, 3)[16, :, 1] >> 4)
    assert len(steps) > 14, "8 bits have 6 steps here"


@pytest.mark.parametrize(
    ("policy", "expected", "said"),
    [
        ("hold", [2, 2, 2, 2, 5, 5], "4 frames (1, 3-4, 6) are missing: the nearest earlier picture"),
        ("skip", [2, 5], "4 shorter"),
    ],
)
def test_gaps_are_treated_as_asked_and_said(
    tmp_path: Path, policy: str, expected: list[int], said: str
) -> None:
    there = {picture.frame: picture for picture in series(tmp_path, (2, 5))}
    pictures = [there.get(n, Picture(n, None)) for n in range(1, 7)]
    made = assemble(pictures, tmp_path / "v.mp4", VideoOptions(missing=policy))
    for found, number in zip(centres(made.path), expected, strict=True):
        assert_near(found, COLOURS[number], 3)
    assert said in " ".join(made.notes)


def test_a_slate_stands_in_for_a_missing_frame(tmp_path: Path) -> None:
    pictures = [Picture(n, draw(tmp_path / f"{n}.png", (240, 240, 240), (160, 90))) for n in (1, 2)]
    made = assemble([*pictures, Picture(3, None)], tmp_path / "v.mp4", VideoOptions(missing="slate"))
    first, _, slate = pixels(made.path)
    assert first.mean() > 230
    assert slate.mean() < 80
    assert slate.max() > 180, "something is written on it"
    assert "a slate" in made.notes[0]


def test_a_long_held_frame_in_a_gif_is_counted(tmp_path: Path) -> None:
    pictures = [*series(tmp_path, [1, 2]), *(Picture(n, None) for n in range(3, 9))]
    made = assemble(pictures, tmp_path / "v.gif", VideoOptions(missing="hold"))
    assert len(pixels(made.path)) == made.frames == 8


def test_a_missing_frame_fails_the_assembly_and_is_named(tmp_path: Path) -> None:
    pictures = [*series(tmp_path, [11]), *(Picture(n, None) for n in (12, 13, 14, 20))]
    with pytest.raises(AssemblyError, match="12-14, 20") as caught:
        assemble(pictures, tmp_path / "v.mp4", VideoOptions())
    assert "--missing" in caught.value.hint
    assert not (tmp_path / "v.mp4").exists()


@pytest.mark.parametrize("policy", ["fail", "hold", "slate", "skip"])
def test_all_frames_missing_is_an_error_whatever_the_policy(tmp_path: Path, policy: str) -> None:
    with pytest.raises(AssemblyError, match="1-2"):
        assemble([Picture(1, None), Picture(2, None)], tmp_path / "v.mp4", VideoOptions(missing=policy))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "exr", ""])
def test_a_truncated_frame_or_one_that_is_gone_is_named_and_an_earlier_video_stays(
    tmp_path: Path, suffix: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    pictures = [Picture(n, tmp_path / f"shot.{n:04d}.{suffix or 'png'}") for n in (1, 2, 3)]
    for picture in pictures:
        OpenImageIO.ImageBuf(noise).write(str(picture.path))
    whole = pictures[1].path.read_bytes()
    pictures[1].path.write_bytes(whole[: len(whole) * 2 // 3]) if suffix else pictures[1].path.unlink()
    (tmp_path / "v.mp4").write_bytes(b"yesterday's")
    with pytest.raises(AssemblyError, match=r"Frame 2 can't be read: .*shot\.0002"):
        assemble(pictures, tmp_path / "v.mp4", VideoOptions())
    assert [path.read_bytes() for path in tmp_path.glob("*v.*")] == [b"yesterday's"]


def test_frames_of_another_size_are_named(tmp_path: Path) -> None:
    pictures = series(tmp_path, range(1, 6))
    for n in (2, 3):
        draw(pictures[n - 1].path, (1, 2, 3), (16, 16))
    with pytest.raises(AssemblyError, match=r"32×24, but frames 2-3 16×16"):
        assemble(pictures, tmp_path / "v.mp4", VideoOptions())


def test_an_interrupt_kills_ffmpeg_and_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_: int) -> None:
        running.extend(set(children()) - before)
        raise KeyboardInterrupt

    def children() -> list[str]:
        return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

    running: list[str] = []
    before = set(children())  # of tests before this one, in the same process
    pictures = series(tmp_path, range(1, 30))
    with pytest.raises(KeyboardInterrupt):
        assemble(pictures, tmp_path / "v.mp4", VideoOptions(), progress=interrupt)
    assert running
    assert not set(running) & set(children())
    assert not list(tmp_path.glob("*.mp4"))


def test_progress_ends_at_the_number_of_frames(tmp_path: Path) -> None:
    seen: list[int] = []
    assemble(series(tmp_path, range(1, 13)), tmp_path / "v.mp4", VideoOptions(), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 12


@pytest.mark.parametrize(
    "name",
    [
        *("new\nline.mp4", "日本 ü.mp4", "-y.mp4", "http:x%04d[1].mp4"),
        'it\'s "so".mp4',
        "a?b=c#d.MP4",
        "ü" * 120 + ".mp4",
    ],
)
def test_any_file_name_will_do(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name.replace(".mp4", "")
    pictures = series(folder, range(1, 4), name.split(".")[0] + ".{:04d}.png")
    monkeypatch.chdir(folder)
    assert assemble(pictures_in(Path()).pictures, Path(name), VideoOptions()).frames == len(pictures)
    assert Path(name).is_file()


@pytest.mark.parametrize("name", ["v.avi", "v", "v.png"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError) as caught:
        choose(Path(name))
    assert ".mp4, .mov, .webm, .mkv, .gif" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "codec", "crf"),
    [("v.mp4", "vp9", None), ("v.gif", "h264", None), ("v.mov", None, 18), ("v.mp4", None, 99)],
)
def test_wishes_that_don_t_go_together_are_refused(name: str, codec: str | None, crf: int | None) -> None:
    with pytest.raises(InputError) as caught:
        choose(Path(name), codec, crf)
    assert caught.value.hint


def test_a_higher_crf_gives_a_smaller_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 6):
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / f"n.{n}.png")
    pictures = pictures_in(tmp_path).pictures
    good, bad = (
        assemble(pictures, tmp_path / f"{crf}.mp4", VideoOptions(crf=crf)).path.stat().st_size
        for crf in (5, 45)
    )
    assert bad < good / 2


def test_a_video_that_can_t_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AssemblyError, match="can't be written"):
        assemble(series(tmp_path, [1]), tmp_path / "file" / "v.mp4", VideoOptions())


def test_a_folder_is_no_place_for_a_video(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        assemble(series(tmp_path, [1]), tmp_path / "v.mp4", VideoOptions())


def test_without_ffmpeg_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("imageio_ffmpeg"):
        pytest.skip("imageio-ffmpeg brings an ffmpeg")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssemblyError, match="no ffmpeg") as caught:
        assemble(series(tmp_path, [1]), tmp_path / "v.mp4", VideoOptions())
    assert "apt-get install ffmpeg" in caught.value.hint


def test_what_ffmpeg_complains_about_reaches_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "ffmpeg"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho \"Unknown encoder 'libx264'\" >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(AssemblyError, match="Unknown encoder 'libx264'") as caught:
        assemble(series(tmp_path, range(1, 20)), tmp_path / "v.mp4", VideoOptions())
    assert "lacks the encoder" in caught.value.hint


def tone(path: Path, seconds: float, silent_until: float = 0.0) -> Path:
    """A square wave, silent at first."""
    rate_hz = 8000
    samples = [
        0 if n < silent_until * rate_hz else 12000 * (1 - 2 * (n // 10 % 2))
        for n in range(int(seconds * rate_hz))
    ]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.array(samples, "<i2").tobytes())
    return path


def loudness(video: Path, start: float, seconds: float) -> float:
    argv = [find_ffmpeg(), "-v", "error", "-i", str(video), "-ss", str(start), "-t", str(seconds)]
    raw = subprocess.run([*argv, "-f", "s16le", "-ac", "1", "-"], check=True, capture_output=True).stdout
    return float(np.abs(np.frombuffer(raw, "<i2").astype(float)).mean())


@pytest.mark.parametrize(
    ("name", "codec"), [("v.mp4", "aac"), ("v.webm", "opus"), ("v.mov", "pcm_s16le"), ("v.mkv", "aac")]
)
def test_sound_is_cut_to_the_length_of_the_video(tmp_path: Path, name: str, codec: str) -> None:
    audio = tone(tmp_path / "-it's.wav", 5)
    made = assemble(
        series(tmp_path, range(1, 25)), tmp_path / name, VideoOptions(fps=24, soundtrack=Soundtrack(audio))
    )
    assert probe(made.path, "a")["codec_name"] == codec
    assert made.frames == 24
    seconds = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(made.path)],
        check=True,
        capture_output=True,
    ).stdout
    assert 0.9 < float(seconds) < 1.2


@pytest.mark.parametrize(
    ("name", "layout"),
    [("v.webm", "5.1(side)"), ("v.webm", "hexadecagonal"), ("v.mp4", "hexadecagonal")],
)
def test_sound_of_any_speakers_goes_into_any_container(tmp_path: Path, name: str, layout: str) -> None:
    audio = tmp_path / "a.wav"
    noise = "-f lavfi -i anoisesrc=d=0.4:r=48000 -af aformat=channel_layouts=mono,aformat=channel_layouts="
    subprocess.run([find_ffmpeg(), "-v", "error", *(noise + layout).split(), str(audio)], check=True)
    made = assemble(series(tmp_path, range(1, 5)), tmp_path / name, VideoOptions(soundtrack=Soundtrack(audio)))
    assert loudness(made.path, 0, 0.1) > 300


def test_short_sound_does_not_shorten_the_video(tmp_path: Path) -> None:
    options = VideoOptions(fps=24, soundtrack=Soundtrack(tone(tmp_path / "a.wav", 0.2)))
    made = assemble(series(tmp_path, range(1, 25)), tmp_path / "v.mp4", options)
    assert len(pixels(made.path)) == 24


@pytest.mark.parametrize(
    ("offset", "loud"), [(0.0, (False, True)), (0.5, (True, True)), (-0.5, (False, False))]
)
def test_sound_begins_where_the_first_frame_belongs(
    tmp_path: Path, offset: float, loud: tuple[bool, bool]
) -> None:
    options = VideoOptions(
        fps=24, soundtrack=Soundtrack(tone(tmp_path / "a.wav", 3, silent_until=0.5), offset), codec="prores"
    )
    made = assemble(series(tmp_path, range(1, 25)), tmp_path / "v.mov", options)
    found = (loudness(made.path, 0.1, 0.3) > 3000, loudness(made.path, 0.6, 0.3) > 3000)
    assert found == loud


def test_a_job_s_later_frames_have_the_sound_that_belongs_there(tmp_path: Path) -> None:
    series(tmp_path / "frames", range(13, 37))
    record = {"frames": "13-36", "scene": {"fps": 24.0, "frames": "1-36"}}
    (tmp_path / "job.json").write_text(json.dumps(record))
    sound = tone(tmp_path / "a.wav", 3, silent_until=0.9)
    made = api.assemble(tmp_path, tmp_path / "v.mov", codec="h264", audio=sound)
    assert loudness(made.path, 0.1, 0.2) < 300 < 3000 < loudness(made.path, 0.6, 0.2)


@pytest.mark.parametrize(
    ("name", "audio"), [("v.mp4", "none.wav"), ("v.mp4", "text.wav"), ("v.gif", "text.wav")]
)
def test_sound_that_can_t_be_used_is_refused(tmp_path: Path, name: str, audio: str) -> None:
    (tmp_path / "text.wav").write_text("la la la")
    with pytest.raises(InputError, match="no sound"):
        assemble(series(tmp_path, [1]), tmp_path / name, VideoOptions(soundtrack=Soundtrack(tmp_path / audio)))


def numbers(pictures: list[Picture]) -> tuple[list[int], list[int]]:
    return [p.frame for p in pictures if p.path], [p.frame for p in pictures if not p.path]


SERIES: dict[str, tuple[tuple[int, ...], list[int]]] = {
    "s.{:04d}.png": ((998, 999, 1001), [1000]), "s{:04d}.png": ((9999, 10000, 10001), []),
    "{:d}.png": ((8, 9, 10), []), "s.{:d}.png": ((1, 6, 11, 21), [16]), "x.{:04d}.png": ((5, 7), [6]),
    "s-{:04d}.png": ((1, 2), []), "s_{:04d}.png": ((-2, 0, 1), [-1]), "v{:04d}.png": ((1, 2), []),
    "s_v{:04d}.png": ((1, 2), []), "s_v2_{:04d}.png": ((1, 2), []), "s.{:04d}_v2.png": ((1, 3), [2]),
    "{:04d}_denoised.png": ((1, 2), []), "s.{:04d}.beauty.png": ((1, 2), []),
}  # fmt: skip
"""frames and gaps by the names of the files"""


@pytest.mark.parametrize("name", SERIES)
def test_a_folder_s_sequence_is_found_with_its_gaps(tmp_path: Path, name: str) -> None:
    frames, gaps = SERIES[name]
    series(tmp_path, frames, name)
    draw(tmp_path / "contact-sheet.jpg", (0, 0, 0))
    assert numbers(pictures_in(tmp_path).pictures) == ([*frames], gaps)


@pytest.mark.parametrize("name", ["s.{}0002.png", "s{}0002.png"], ids=["ours", "Blender's"])
def test_negative_frames_come_first(tmp_path: Path, name: str) -> None:
    for n in (-2, -1, 0, 1):
        draw(tmp_path / name.format("-" * (n < 0)).replace("2", str(abs(n))), COLOURS[n + 3])
    made = assemble(pictures_in(tmp_path).pictures, tmp_path / "v.mp4", VideoOptions())
    for found, number in zip(centres(made.path), (1, 2, 3, 4), strict=True):
        assert_near(found, COLOURS[number], 3)


def test_a_hyphen_before_frame_zero_is_no_minus(tmp_path: Path) -> None:
    series(tmp_path, (0, 1), "s-{:04d}.png")
    series(tmp_path, (1, 2), "s{:04d}.png")
    with pytest.raises(InputError, match="several sequences"):
        pictures_in(tmp_path)


@pytest.mark.parametrize("views", [("_L", "_R"), (".left", ".right")])
def test_the_left_one_of_two_views_is_shown_and_said(tmp_path: Path, views: tuple[str, str]) -> None:
    for view in views:
        series(tmp_path, (1, 2), "s.{:04d}" + view + ".png")
    found = pictures_in(tmp_path)
    assert [picture.path.name for picture in found.pictures] == [f"s.{n:04d}{views[0]}.png" for n in (1, 2)]
    assert f"s.####{views[0]}.png" in found.notes[0]


def test_versions_are_stills_and_no_frames(tmp_path: Path) -> None:
    for name in ("final_v1.png", "final_v2.png", "logo_2_dark.png"):
        draw(tmp_path / name, (0, 0, 0))
    with pytest.raises(InputError, match="no numbered pictures"):
        pictures_in(tmp_path)


@pytest.mark.parametrize("last", [20261130, 10**20])
def test_frames_with_dates_for_numbers_are_told_at_once(tmp_path: Path, last: int) -> None:
    series(tmp_path, (1, 2, last), "a.{}.png")
    with pytest.raises(InputError, match=f"{last - 3:,} are missing") as caught:
        pictures_in(tmp_path)
    assert "--missing skip" in caught.value.hint
    found = pictures_in(tmp_path, "skip")
    assert numbers(found.pictures) == ([1, 2, last], [])
    assert "left out" in found.notes[0]


def test_several_sequences_in_a_folder_are_named(tmp_path: Path) -> None:
    series(tmp_path, (1, 2), "a.{:04d}.png")
    series(tmp_path, (1, 2, 3), "b.{:04d}.png")
    with pytest.raises(InputError, match=r"a\.####\.png \(2\); b\.####\.png \(3\)"):
        pictures_in(tmp_path)


def test_a_frame_that_is_there_twice_is_named(tmp_path: Path) -> None:
    series(tmp_path, [1], "a.{:04d}.png")
    series(tmp_path, [1], "a.{:d}.png")
    with pytest.raises(InputError, match="frame 1 twice"):
        pictures_in(tmp_path)


def test_a_folder_without_frames_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="no numbered pictures"):
        pictures_in(tmp_path)
    with pytest.raises(InputError, match="can't be read"):
        pictures_in(tmp_path / "nowhere")


def test_a_job_s_folder_knows_its_frames_rate_and_colour(tmp_path: Path) -> None:
    series(tmp_path / "frames", (1, 2))
    draw(tmp_path / "elsewhere.0001.png", (0, 0, 0))
    scene = {"fps": 25.0, "colour": {"view": "AgX", "look": "x"}, "frames": "-9-40"}
    (tmp_path / "job.json").write_text(json.dumps({"frames": "1-4", "scene": scene}))
    assert numbers(pictures_in(tmp_path).pictures) == ([1, 2], [3, 4])
    job = submitted(tmp_path)
    assert job is not None
    assert (job.fps, job.scene.colour, job.late) == (25.0, Colour(view="AgX", look="x"), 10)


BLENDER = """
import json, os, sys, bpy
out, views = sys.argv[1], json.loads(sys.argv[2])
scene = bpy.context.scene
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 4, False
scene.render.resolution_x, scene.render.resolution_y, scene.render.dither_intensity = 48, 32, 0
scene.render.film_transparent = True
bpy.data.lights[0].energy = 4000
cube = bpy.data.objects["Cube"].data.materials[0].node_tree.nodes["Principled BSDF"]
cube.inputs["Base Color"].default_value = (0.9, 0.12, 0.02, 1)
view, image = scene.view_settings, scene.render.image_settings
for name, (transform, look, exposure, gamma) in views.items():
    view.view_transform, view.look, view.exposure, view.gamma = transform, look, exposure, gamma
    written = [("PNG", "RGBA", "png"), ("OPEN_EXR", "RGBA", "exr"), ("PNG", "RGB", "opaque.png")]
    for image.file_format, image.color_mode, suffix in written[: 3 if name in ("agx", "standard") else 2]:
        scene.render.filepath = os.path.join(out, f"{name}.{suffix}")
        bpy.ops.render.render(write_still=True)
config = os.path.join(bpy.utils.system_resource("DATAFILES"), "colormanagement", "config.ocio")
open(os.path.join(out, "config"), "w").write(config)
os._exit(0)
"""
VIEWS = {
    "standard": ("Standard", "None", 0.0, 1.0),
    "agx": ("AgX", "None", 0.0, 1.0),
    "filmic": ("Filmic", "None", 0.0, 1.0),
    "agx-look": ("AgX", "AgX - High Contrast", 0.0, 1.0),
    "filmic-look": ("Filmic", "Very High Contrast", 0.7, 1.0),
    "exposure-gamma": ("AgX", "None", -1.2, 1.4),
}


@pytest.fixture(scope="module")
def blender_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frame as PNG and EXR, rendered by Blender under each of VIEWS."""
    if not importlib.util.find_spec("bpy"):
        pytest.skip("needs bpy")
    folder = tmp_path_factory.mktemp("blender")
    argv = [sys.executable, "-W", "ignore", "-c", BLENDER, str(folder), json.dumps(VIEWS)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return folder


def scene_colour(folder: Path, name: str) -> Colour:
    view, look, exposure, gamma = VIEWS[name]
    look = "" if look == "None" else look
    return Colour((folder / "config").read_text(), "sRGB", view, look, exposure, gamma)


@pytest.mark.parametrize("name", VIEWS)
def test_an_exr_looks_like_blender_s_png_of_the_same_frame(blender_frames: Path, name: str) -> None:
    ours = colour.shown(blender_frames / f"{name}.exr", scene_colour(blender_frames, name)).astype(int)
    theirs = np.asarray(Image.open(blender_frames / f"{name}.png")).astype(int)
    assert np.abs(ours - theirs).max() <= 2
    assert 0 < (theirs[..., 3] == 0).mean() < 1, "part of the picture is transparent"


def test_the_views_differ_so_the_comparison_means_something(blender_frames: Path) -> None:
    plain = colour.shown(blender_frames / "agx.exr", None).astype(int)
    theirs = np.asarray(Image.open(blender_frames / "agx.png")).astype(int)
    assert np.abs(plain - theirs).max() > 20


def test_a_video_of_exrs_looks_like_one_of_pngs_that_blender_laid_over_black(
    blender_frames: Path, tmp_path: Path
) -> None:
    options = VideoOptions(colour=scene_colour(blender_frames, "agx"), crf=1)
    exr, png = (
        assemble([Picture(1, blender_frames / f"agx.{suffix}")], tmp_path / f"{suffix}.mp4", options)
        for suffix in ("exr", "opaque.png")
    )
    assert np.abs(pixels(exr.path) - pixels(png.path)).max() < 6
    assert not exr.notes


def test_a_missing_colour_configuration_is_noted_and_srgb_taken(blender_frames: Path, tmp_path: Path) -> None:
    options = VideoOptions(colour=Colour(config="/nowhere/config.ocio", view="AgX"), crf=1)
    made = assemble([Picture(1, blender_frames / "standard.exr")], tmp_path / "v.mp4", options)
    wanted = assemble(
        [Picture(1, blender_frames / "standard.opaque.png")], tmp_path / "w.mp4", VideoOptions(crf=1)
    )
    assert "/nowhere/config.ocio is not there" in made.notes[0]
    assert np.abs(pixels(made.path) - pixels(wanted.path)).max() <= 2


def write_exr(path: Path, pixels: np.ndarray, names: tuple[str, ...], **window: int) -> Path:
    buffer = OpenImageIO.ImageBuf(np.ascontiguousarray(pixels, np.float32))
    buffer.specmod().channelnames = names
    for key, value in window.items():
        setattr(buffer.specmod(), key, value)
    assert buffer.write(str(path)), buffer.geterror()
    return path


def test_a_cropped_exr_fills_its_display_window_with_black(tmp_path: Path) -> None:
    window = {"x": 4, "y": 2, "full_width": 16, "full_height": 12}
    path = write_exr(tmp_path / "a.1.exr", np.ones((8, 8, 3)), ("R", "G", "B"), **window)
    shown = colour.shown(path, Colour())
    assert shown.shape == (12, 16, 3) == (*colour.header(path).size[::-1], 3)
    assert (shown[0, 0].max(), shown[5, 8].min()) == (0, 255)
