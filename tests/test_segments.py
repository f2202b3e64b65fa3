"""A film joined from parts is the film that is encoded at once: frames, times, sound, tags, pictures."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from farm_runs import PATIENCE_SECONDS
from PIL import Image

from renderfarm.farm.growing import NICENESS, _Background
from renderfarm.pictures.excerpt import excerpt, shrink
from renderfarm.pictures.ffmpeg import find_ffmpeg
from renderfarm.pictures.film import VideoOptions, assemble, encode_part, show
from renderfarm.pictures.segments import spans
from renderfarm.pictures.shots import Picture
from renderfarm.pictures.soundtrack import Soundtrack
from tests.test_assembler import pixels, probe
from tests.test_film_sound import tone

COUNT = 13
SLOW = pytest.mark.slow
TAGS = ("codec_name", "codec_tag_string", "pix_fmt", "width", "height", "color_space", "color_primaries")
TAGS += ("color_transfer", "color_range", "sample_aspect_ratio", "r_frame_rate", "nb_frames", "start_time")


def moving(
    folder: Path, count: int = COUNT, size: tuple[int, int] = (64, 66), alpha: bool = False
) -> list[Picture]:
    """A ramp that moves."""
    folder.mkdir(exist_ok=True)
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    found = []
    for n in range(count):
        waves = [np.sin((x + 3 * n + 20 * c) / 9) * np.cos((y - n) / 11) for c in range(4 if alpha else 3)]
        path = folder / f"shot.{n:04d}.png"
        Image.fromarray((127 + 100 * np.stack(waves, -1)).astype(np.uint8)).save(path)
        found.append(Picture(n, path))
    return found


def clock(video: Path, kind: str) -> list[list[int]]:
    """Decoding times, times and lengths of the packets, whose order is the encoder's choice."""
    argv = [find_ffmpeg(), "-v", "error", "-i", str(video), *f"-map 0:{kind} -c copy -f framecrc -".split()]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    packets = [map(int, line.split(",")[1:4]) for line in said.splitlines() if line[:1].isdigit()]
    return [sorted(column) for column in zip(*packets, strict=True)]


def parted(pictures: list[Picture], out: Path, options: VideoOptions, folder: Path) -> None:
    for span in spans(len(pictures)):
        assert encode_part([pictures[place] for place in span], out, options, folder)


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8, 9, 13, 14, 48, 99, 150, 157, 500, 100_000])
def test_parts_are_every_frame_once_and_short_at_the_end(frames: int) -> None:
    found = spans(frames)
    assert [place for span in found for place in span] == list(range(frames))
    assert len(found[-1]) <= 7
    assert max(map(len, found)) <= 99
    assert len(found) == 1 or min(map(len, found)) >= 4, "shorter ones have another clock"


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("v.mp4", {"fps": 23.976}, (65, 67)),
        ("v.mov", {"fps": 29.97}, (64, 66)),
        pytest.param("v.mp4", {"codec": "h265", "fps": 30, "pixel_aspect": 40 / 33}, (64, 66), marks=SLOW),
        pytest.param("v.webm", {"fps": 59.94}, (64, 66), marks=SLOW),
        pytest.param("v.mkv", {"codec": "av1", "fps": 12.5}, (64, 66), marks=SLOW),
    ],
)
def test_joined_parts_are_the_film_that_is_encoded_at_once(
    tmp_path: Path, name: str, options: dict, size: tuple[int, int]
) -> None:
    pictures = moving(tmp_path / "frames", size=size, alpha=name == "v.mov")
    sound = tone(tmp_path / "a.wav")
    wanted = VideoOptions(**options, soundtrack=Soundtrack(sound, 0.3))
    whole = assemble(pictures, tmp_path / f"whole{name}", wanted)
    parted(pictures, tmp_path / name, wanted, tmp_path / "parts")
    there = sorted((tmp_path / "parts").iterdir())
    joined = assemble(pictures, tmp_path / name, wanted, folder=tmp_path / "parts")
    assert sorted((tmp_path / "parts").iterdir()) == there, "no part was encoded again, and nothing else stays"
    assert (joined.frames, joined.notes) == (whole.frames, whole.notes)
    for kind in ("v", "a"):
        assert clock(joined.path, kind) == clock(whole.path, kind)
    one, other = probe(joined.path), probe(whole.path)
    assert {tag: one.get(tag) for tag in TAGS} == {tag: other.get(tag) for tag in TAGS}
    assert probe(joined.path, "a").get("duration") == probe(whole.path, "a").get("duration")
    assert np.abs(pixels(joined.path) - pixels(whole.path)).mean() < 2


def test_a_picture_that_changed_has_another_part_and_the_others_stay(tmp_path: Path) -> None:
    pictures, out, folder = moving(tmp_path / "frames"), tmp_path / "v.mp4", tmp_path / "parts"
    parted(pictures, out, VideoOptions(), folder)
    before = set(folder.iterdir())
    Image.new("RGB", (64, 66), (250, 20, 20)).save(pictures[12].path)
    made = assemble(pictures, out, VideoOptions(), folder=folder)
    assert len(set(folder.glob("*.mp4")) - before) == 1
    red = pixels(made.path)[12]
    assert np.abs(red - (250, 20, 20)).mean() < 5


def test_missing_frames_are_treated_as_asked_although_parts_were_encoded_before(tmp_path: Path) -> None:
    pictures, out, folder = moving(tmp_path / "frames"), tmp_path / "v.mp4", tmp_path / "parts"
    parted(pictures, out, VideoOptions(), folder)
    gaps = [picture if picture.frame not in (4, 12) else Picture(picture.frame, None) for picture in pictures]
    for missing, frames in {"hold": COUNT, "skip": COUNT - 2}.items():
        made = assemble(gaps, out, VideoOptions(missing=missing), folder=folder)
        assert made.frames == len(pixels(made.path)) == frames


@pytest.mark.parametrize("name", ["v.gif", "v.webm"])
def test_what_can_t_be_joined_has_no_parts(tmp_path: Path, name: str) -> None:
    pictures = moving(tmp_path / "frames", 9, alpha=True)
    assert encode_part(pictures, tmp_path / name, VideoOptions(), tmp_path / "parts") is None
    assert assemble(pictures, tmp_path / name, VideoOptions(), folder=tmp_path / "parts").frames == 9


def test_a_film_can_be_watched_while_it_grows(tmp_path: Path) -> None:
    pictures, out, folder = moving(tmp_path / "frames"), tmp_path / "v.mp4", tmp_path / "parts"
    parts = [encode_part([pictures[n] for n in span], out, VideoOptions(), folder) for span in spans(COUNT)[:2]]
    show([part for part in parts if part], folder / "so-far.mp4")
    assert len(pixels(folder / "so-far.mp4")) == len(spans(COUNT)[0]) + len(spans(COUNT)[1])


def test_an_excerpt_is_joined_from_parts_that_were_made_small(tmp_path: Path) -> None:
    pictures, small = moving(tmp_path / "frames"), tmp_path / "small"
    made = [
        encode_part([pictures[n] for n in span], tmp_path / "v.mp4", VideoOptions(), tmp_path / "parts")
        for span in spans(COUNT)
    ]
    parts = [part for part in made if part]
    shrink(parts[0], 1.0, small)
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(excerpt(tmp_path / "no-film.mp4", 1.0, parts=parts, folder=small))
    assert len(pixels(joined)) == COUNT


@pytest.mark.skipif(os.geteuid() != 0, reason="only who may everything gets nicer to itself")
def test_what_is_in_hand_when_all_frames_are_there_gives_way_no_longer() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    wait = f"import os, time\nwhile os.getpriority(os.PRIO_PROCESS, 0) != {own}: time.sleep(0.01)"
    begun, ended = threading.Event(), threading.Event()

    def step() -> None:
        with subprocess.Popen([sys.executable, "-c", wait], start_new_session=True) as child:
            assert os.getpriority(os.PRIO_PROCESS, child.pid) == NICENESS
            begun.set()
            ended.set() if child.wait(PATIENCE_SECONDS) == 0 else child.kill()

    background = _Background()
    background.do(step)
    assert begun.wait(PATIENCE_SECONDS)
    background.finish()
    assert ended.is_set()
