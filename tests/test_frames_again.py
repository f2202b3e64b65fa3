"""Only what changed is rendered again: frames whose own files are the same come from the cache."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from farm_runs import card
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


def test_only_the_frames_that_show_a_changed_picture_are_rendered_again_and_come_back_with_it(
    request_: Request, tmp_path: Path
) -> None:
    verbs.submit(request_)
    before, stamps, first = frames(request_.output), written(request_.output), ingredients(request_)
    paint(Path(request_.scene).parent / "map0003.png", 5)
    status = verbs.submit(request_)
    assert (status.frames.succeeded, status.frames.reused) == (6, 5)
    assert [f for f, stamp in written(request_.output).items() if stamp != stamps[f]] == [3]
    assert [f for f, picture in frames(request_.output).items() if picture != before[f]] == [3]
    assert tuple(explain(first, ingredients(request_))) == ("asset map0003.png changed",)
    paint(Path(request_.scene).parent / "map0003.png", 3 * 40)
    assert verbs.submit(replace(request_, output=str(tmp_path / "back"))).frames.reused == 6


def ingredients(request: Request) -> Ingredients:
    return decode(Ingredients, json.loads((Path(request.output) / "job.json").read_text())["parts"])


def test_nothing_is_rendered_when_nothing_changed_until_the_cache_is_pruned(
    request_: Request, tmp_path: Path
) -> None:
    verbs.submit(request_)
    assert verbs.plan(request_).reused == 6
    assert verbs.submit(replace(request_, output=str(tmp_path / "other"))).frames.reused == 6
    assert frames(str(tmp_path / "other")) == frames(request_.output)
    assert verbs.cache_usage().frames == verbs.cache_prune(0).frames == 6
    assert verbs.cache_usage().bytes == verbs.plan(request_).reused == 0


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


def test_a_full_cache_spares_all_frames_of_the_job_at_hand(
    request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDERFARM_CACHE_GB", "0.0000001")
    verbs.submit(request_)
    assert verbs.cache_usage().frames == 6


def test_a_file_that_appears_renders_its_frame_only(request_: Request) -> None:
    folder = Path(request_.scene).parent
    scene = (folder / "tiny.pov").read_text()
    there = 'file_exists(concat("map", str(frame_number, -4, 0), ".png"))'
    (folder / "tiny.pov").write_text(scene.replace(WALL, f"#if ({there})\n{WALL}\n#end"))
    (folder / "map0002.png").rename(folder / "away.png")
    assert verbs.submit(request_).frames.succeeded == 6
    (folder / "away.png").rename(folder / "map0002.png")
    assert verbs.submit(request_).frames.reused == 5


def test_a_video_of_unchanged_frames_is_encoded_again_only_when_somebody_changed_it(tmp_path: Path) -> None:
    wanted = Request(str(card(tmp_path / "shot.testcard", "1-6")), str(tmp_path / "out"))
    films = [tmp_path / name / "shot.mp4" for name in ("out", "other", "third", "fourth")]
    for film in films[:2]:
        verbs.submit(replace(wanted, output=str(film.parent)))
    assert films[0].samefile(films[1])
    before = films[0].read_bytes()
    films[0].write_bytes(b"cut")
    verbs.submit(replace(wanted, output=str(films[2].parent)))
    assert films[2].read_bytes() == before
    card(tmp_path / "shot.testcard", "1-6", size=[20, 10])
    verbs.submit(replace(wanted, output=str(films[3].parent)))
    assert films[3].read_bytes() != before
