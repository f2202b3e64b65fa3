"""Frames of several pictures: each view is looked at, delivered, kept and checked; the first one is shown."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fileseq
import numpy as np
import OpenImageIO
import pytest
from cloud import video_frames
from conftest import names
from farm_runs import Farm, card
from numpy.typing import NDArray

from renderfarm.pictures import shots
from renderfarm.pictures.check import check_folder
from renderfarm.pictures.look import look
from renderfarm.renderers.testcard_inside import picture

SIZE, VIEWS = (32, 18), ["_L", "_R"]


def frames_of(*numbers: int) -> list[str]:
    return sorted(f"shot{view}.{number:04d}.png" for number in numbers for view in VIEWS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Farm, Any]:
    """Three frames of two views, with their film."""
    farm = Farm(tmp_path_factory.mktemp("finished"))
    done = farm.submit(card(farm.folder / "shot.testcard", "1-3", views=VIEWS))
    assert done.code == 0, done.err
    return farm, done.json


def test_frames_are_counted_and_each_view_is_delivered(finished: tuple[Farm, Any]) -> None:
    farm, said = finished
    assert said["frames"]["total"] == said["frames"]["succeeded"] == 3
    folder = farm.folder / "out/frames"
    assert names(folder) == frames_of(1, 2, 3)
    for number in (1, 2, 3):
        assert (folder / f"shot_L.{number:04d}.png").read_bytes() == picture(number, SIZE, "")
        assert (folder / f"shot_R.{number:04d}.png").read_bytes() == picture(number + 1, SIZE, "")


def test_each_view_is_a_sequence_for_everybody(finished: tuple[Farm, Any]) -> None:
    folder = finished[0].folder / "out/frames"
    found = {Path(str(each)).name for each in fileseq.findSequencesOnDisk(str(folder))}
    assert found == {"shot_L.1-3#.png", "shot_R.1-3#.png"}


def test_the_film_has_a_picture_of_each_frame(finished: tuple[Farm, Any]) -> None:
    assert video_frames(Path(finished[1]["video"])) == 3


def test_a_film_made_later_shows_the_first_view_and_says_so(finished: tuple[Farm, Any]) -> None:
    found = shots.pictures_in(finished[0].folder / "out")
    assert [each.path.name for each in found.pictures if each.path] == [f"shot_L.000{n}.png" for n in (1, 2, 3)]
    assert "shot_L" in found.notes[0]


def test_check_looks_at_all_of_them_and_knows_which_frames_there_should_be(
    finished: tuple[Farm, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(finished[0].folder / "out", tmp_path / "out", ignore=lambda *_: [".renderfarm"])
    assert (check_folder(folder).checked, check_folder(folder).bad) == (6, ())
    (folder / "frames/shot_R.0003.png").unlink()
    (gap,) = check_folder(folder).bad
    assert (gap.frame, gap.finding) == (3, "gap")


def test_frames_are_reused_with_all_their_views(finished: tuple[Farm, Any]) -> None:
    farm, _ = finished
    said = farm.submit(farm.folder / "shot.testcard", "-o", farm.folder / "again", "--no-video").json
    assert said["frames"]["reused"] == 3
    assert names(farm.folder / "again/frames") == frames_of(1, 2, 3)


def test_a_frame_with_a_view_that_is_gone_or_touched_is_rendered_again(finished: tuple[Farm, Any]) -> None:
    farm, said = finished
    shutil.rmtree(farm.home / "cache")
    (farm.folder / "out/frames/shot_R.0001.png").unlink()
    other = farm.folder / "out/frames/shot_R.0002.png"
    other.unlink()
    other.write_bytes(b"something else")
    assert farm.run("resume", said["job"], "--json").code == 0
    assert names(farm.folder / "out/frames") == frames_of(1, 2, 3)
    assert other.read_bytes() == picture(3, SIZE, "")


def test_a_bad_view_makes_the_frame_bad_and_is_named(farm: Farm) -> None:
    faults = {"2": {"what": "wrong-size", "view": 1}, "3": {"what": "garbage", "view": 1, "times": 1}}
    scene = card(farm.folder / "shot.testcard", "1-3", views=VIEWS, faults=faults)
    done = farm.submit(scene, "--no-video", "--retries", "1")
    (failure,) = done.json["failures"]
    assert (done.code, failure["frame"], failure["reason"]) == (1, 2, "bad-picture")
    assert "shot_R.0002.png" in failure["message"]
    assert names(farm.folder / "out/frames") == frames_of(1, 3)


def test_a_view_that_can_t_be_right_among_its_neighbours_is_rendered_again(farm: Farm) -> None:
    faults = {"5": {"what": "blank", "view": 1, "times": 1}, "9": {"what": "blank", "view": 1}}
    scene = card(farm.folder / "shot.testcard", "1-12", views=VIEWS, faults=faults)
    said = farm.submit(scene, "--no-video").json
    (suspect,) = said["suspects"]
    assert (suspect["frame"], suspect["finding"], suspect["detail"][:4]) == (9, "blank", "_R: ")
    right = farm.folder / "out/frames/shot_R.0005.png"
    assert right.read_bytes() == picture(6, SIZE, "")


def exr(path: Path, *parts: tuple[str, NDArray[np.float32]]) -> Path:
    """An OpenEXR file of several parts, each of a view."""
    specs = []
    for number, (view, pixels) in enumerate(parts):
        spec = OpenImageIO.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], "float")
        spec.attribute("oiio:subimagename", f"part{number}")
        spec.attribute("view", view)
        specs.append(spec)
    path.parent.mkdir(exist_ok=True)
    output = OpenImageIO.ImageOutput.create(str(path))
    output.open(str(path), tuple(specs))
    for number, (_, pixels) in enumerate(parts):
        if number:
            output.open(str(path), specs[number], "AppendSubimage")
        output.write_image(pixels)
    output.close()
    return path


def ramp(shift: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(shift).random((36, 64, 3), dtype=np.float32)


def test_what_is_wrong_with_a_part_that_is_not_the_first_is_seen(tmp_path: Path) -> None:
    broken = ramp(1)
    broken[5, 5, 1] = np.nan
    whole = exr(tmp_path / "whole.exr", ("left", ramp()), ("right", ramp(1)))
    assert (look(whole, 1).finding, len(look(whole, 1).views)) == (None, 1)
    assert look(exr(tmp_path / "nan.exr", ("left", ramp()), ("right", broken)), 1).finding == "nan"
    cut = tmp_path / "cut.exr"
    cut.write_bytes(whole.read_bytes()[:-2000])
    assert look(cut, 1).finding == "truncated"


def test_a_view_inside_a_file_is_judged_among_its_neighbours(tmp_path: Path) -> None:
    for frame in range(1, 8):
        right = ramp() * 0 if frame == 4 else ramp()
        exr(tmp_path / f"frames/s.{frame:04d}.exr", ("left", ramp()), ("right", right))
    (problem,) = check_folder(tmp_path / "frames").bad
    assert (problem.frame, problem.finding) == (4, "blank")
