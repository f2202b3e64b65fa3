"""Only what changed is rendered again: frames whose own files are the same come from the cache."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from povray_scenes import make_scene

from renderfarm.errors import InputError
from renderfarm.farm import verbs
from renderfarm.job.fingerprint import Ingredients, explain
from renderfarm.words.as_json import decode
from renderfarm.words.request import Request

WALL = """plane { z, -3 hollow finish { ambient 1 diffuse 0 } pigment { image_map {
png concat("map", str(frame_number, -4, 0), ".png") } } }"""


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """A job for an animation of six frames, each with a picture of its own."""
    for number in range(1, 7):
        paint(tmp_path / "project" / f"map{number:04d}.png", number * 40)
    scene = make_scene(tmp_path / "project", frames=6, extra=WALL)
    return Request(str(scene), str(tmp_path / "out"), no_video=True)


def paint(path: Path, level: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (2, 2), (level, 255 - level, 90)).save(path)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + level))


def frames(output: str) -> dict[int, bytes]:
    found = {}
    for path in (Path(output) / "frames").iterdir():
        with Image.open(path) as picture:
            found[int(path.stem[-4:])] = picture.convert("RGB").tobytes()
    return found


def written(output: str) -> dict[int, int]:
    return {int(path.stem[-4:]): path.stat().st_mtime_ns for path in (Path(output) / "frames").iterdir()}


def test_only_the_frames_that_show_a_changed_picture_are_rendered_again(request_: Request) -> None:
    verbs.submit(request_)
    before, stamps = frames(request_.output), written(request_.output)
    paint(Path(request_.scene).parent / "map0003.png", 5)
    status = verbs.submit(request_)
    assert (status.frames.succeeded, status.frames.reused) == (6, 5)
    assert [f for f, stamp in written(request_.output).items() if stamp != stamps[f]] == [3]
    assert [f for f, picture in frames(request_.output).items() if picture != before[f]] == [3]


def test_a_picture_that_changes_back_brings_its_frame_back(request_: Request, tmp_path: Path) -> None:
    verbs.submit(request_)
    picture = Path(request_.scene).parent / "map0003.png"
    for level in (5, 3 * 40):
        paint(picture, level)
        status = verbs.submit(replace(request_, output=str(tmp_path / f"out{level}")))
    assert status.frames.reused == 6


def test_nothing_is_rendered_when_nothing_changed(request_: Request, tmp_path: Path) -> None:
    verbs.submit(request_)
    assert verbs.plan(request_).reused == 6
    assert verbs.submit(replace(request_, output=str(tmp_path / "other"))).frames.reused == 6
    assert frames(str(tmp_path / "other")) == frames(request_.output)


def test_a_picture_of_a_frame_that_was_not_asked_for_does_not_matter(request_: Request) -> None:
    job = verbs.submit(replace(request_, frames="1-3")).job
    paint(Path(request_.scene).parent / "map0005.png", 5)
    assert verbs.resume(job).frames.succeeded == 3
    paint(Path(request_.scene).parent / "map0002.png", 5)
    with pytest.raises(InputError, match="changed since"):
        verbs.resume(job)


def test_a_retry_renders_its_frame_and_keeps_it(request_: Request) -> None:
    job = verbs.submit(request_).job
    before = written(request_.output)
    verbs.retry(job, "4")
    assert [frame for frame, stamp in written(request_.output).items() if stamp != before[frame]] == [4]
    assert verbs.submit(request_).frames.reused == 6


def test_frames_of_their_own_are_counted_and_pruned_like_others(request_: Request) -> None:
    verbs.submit(request_)
    assert verbs.cache_usage().frames == 6
    assert verbs.cache_prune(0).frames == 6
    assert verbs.cache_usage().bytes == 0
    assert verbs.submit(request_).frames.reused == 0


def test_a_full_cache_spares_all_frames_of_the_job_at_hand(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDERFARM_CACHE_GB", "0.0000001")
    verbs.submit(request_)
    assert verbs.cache_usage().frames == 6


def test_two_records_of_a_job_tell_what_changed(request_: Request) -> None:
    found = []
    for level in (120, 5):
        paint(Path(request_.scene).parent / "map0003.png", level)
        verbs.submit(request_)
        record = json.loads((Path(request_.output) / "job.json").read_text())
        found.append(decode(Ingredients, record["parts"]))
    assert tuple(explain(*found)) == ("asset map0003.png changed",)


def test_a_file_that_appears_renders_its_frame_only(request_: Request) -> None:
    folder = Path(request_.scene).parent
    scene = (folder / "tiny.pov").read_text()
    there = 'file_exists(concat("map", str(frame_number, -4, 0), ".png"))'
    (folder / "tiny.pov").write_text(scene.replace(WALL, f"#if ({there})\n{WALL}\n#end"))
    (folder / "map0002.png").rename(folder / "away.png")
    assert verbs.submit(request_).frames.succeeded == 6
    (folder / "away.png").rename(folder / "map0002.png")
    assert verbs.submit(request_).frames.reused == 5


def test_a_video_of_unchanged_frames_is_not_encoded_again_for_another_folder(
    request_: Request, tmp_path: Path
) -> None:
    wanted = replace(request_, no_video=False)
    verbs.submit(wanted)
    verbs.submit(replace(wanted, output=str(tmp_path / "other")))
    made = [tmp_path / folder / "tiny.mp4" for folder in ("out", "other")]
    assert made[0].samefile(made[1])
    paint(Path(request_.scene).parent / "map0003.png", 5)
    verbs.submit(replace(wanted, output=str(tmp_path / "third")))
    assert (tmp_path / "third" / "tiny.mp4").read_bytes() != made[0].read_bytes()


def test_a_video_that_somebody_changed_is_made_anew(request_: Request, tmp_path: Path) -> None:
    wanted = replace(request_, no_video=False)
    verbs.submit(wanted)
    video = tmp_path / "out" / "tiny.mp4"
    before = video.read_bytes()
    video.write_bytes(b"cut")
    verbs.submit(replace(wanted, output=str(tmp_path / "other")))
    assert (tmp_path / "other" / "tiny.mp4").read_bytes() == before
