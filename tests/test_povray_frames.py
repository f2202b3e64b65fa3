"""Which frames of a POV-Ray scene need which file: what is told beforehand is what the pixels show."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from povray_scenes import make_scene
from test_povray import launch

from renderfarm import inspect
from renderfarm.renderers import wildcards
from renderfarm.renderers.povray.renderer import RENDERER
from renderfarm.words.frames import parse
from renderfarm.words.request import Settings
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Work

COLOURS = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255), 4: (255, 255, 0), 5: (0, 255, 255), 6: (255, 0, 255)}


def wall(name: str, declarations: str = "") -> str:
    """A wall that fills the picture and shows one file."""
    picture = f"pigment {{ image_map {{ png {name} once }} translate <-0.5, -0.5, 0> scale 20 }}"
    shape = "plane { z, -3 hollow finish { ambient 1 diffuse 0 emission 0 }"
    return f"{declarations} {shape} {picture} }}"


def needed(ini: Path) -> dict[str, str | None]:
    """Frames by the name of the file."""
    return {Path(asset.path).name: asset.frames for asset in inspect(ini).assets}


def pictured_frames(ini: Path, last: int) -> dict[int, set[int]]:
    """Frames by the number of the file that their pixels show."""
    shown: dict[int, set[int]] = {}
    scratch = ini.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    session = RENDERER.open(Work("povray", RENDERER.builds()[0], str(ini), Settings(), str(scratch)), launch)
    for done in session.render(range(1, last + 1), 1, scratch, scratch / "log"):
        assert isinstance(done, Rendered), done
        with Image.open(done.path) as picture:
            pixel = picture.convert("RGB").getpixel((16, 12))
        number = min(COLOURS, key=lambda n: sum(abs(a - b) for a, b in zip(COLOURS[n], pixel, strict=True)))
        shown.setdefault(number, set()).add(done.frame)
    return shown


@pytest.mark.parametrize(
    ("name", "declarations"),
    [
        ('concat("map", str(frame_number, -4, 0), ".png")', ""),
        (
            "Map",
            '#declare N = frame_number - 1; #declare Map = concat("map000", str(mod(N, 3) + 1, 0, 0), ".png");',
        ),
        ('concat("map", str(min(int(clock * 2.4) + 2, 6), -4, 0), Ending)', '#declare Ending = ".png";'),
        ("Map", '#declare Map = "map0001.png"; #if (clock > 0.5) #declare Map = "map0002.png"; #end'),
        ("Maps[mod(frame_number, 2)]", '#declare Maps = array[2] {"map0003.png", "map0004.png"}'),
        ("Map", '#macro Set(N) #declare Map = concat("map000", str(N, 0, 0), ".png"); #end Set(frame_number)'),
    ],
    ids=["number", "declared", "clock", "declared twice", "an array", "a macro"],
)
def test_a_computed_name_belongs_to_the_frames_that_show_it(
    tmp_path: Path, name: str, declarations: str
) -> None:
    for number, colour in COLOURS.items():
        Image.new("RGB", (2, 2), colour).save(tmp_path / f"map{number:04d}.png")
    ini = make_scene(tmp_path, frames=6, extra=wall(name, declarations))
    told = {
        int(Path(asset.path).stem[-4:]): set(parse(asset.frames))
        for asset in inspect(ini).assets
        if asset.frames is not None
    }
    assert told == pictured_frames(ini, 6)
    assert len(told) > 1


def test_what_an_include_of_one_frame_needs_counts_for_that_frame(tmp_path: Path) -> None:
    ini = make_scene(tmp_path, frames=2, extra='#include concat("part", str(frame_number, 0, 0), ".inc")')
    (tmp_path / "part1.inc").write_text('#include "other.inc"')
    (tmp_path / "part2.inc").write_text("")
    (tmp_path / "other.inc").write_text("")
    assert needed(ini) == {"tiny.pov": None, "part1.inc": "1", "part2.inc": "2", "other.inc": "1"}


def test_a_file_that_would_win_over_another_one_is_watched_for(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "part.inc").write_text("")
    scene = inspect(make_scene(tmp_path, extra='#include "part.inc"', options=("Library_Path=lib",)))
    (tmp_path / "part.inc").write_text("")
    assert tmp_path / "part.inc" in [path for wild in scene.wild for path in wildcards.files(wild)]


def test_a_still_is_frame_0_for_its_scene(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), COLOURS[1]).save(tmp_path / "a0.png")
    found = needed(make_scene(tmp_path, frames=1, extra=wall('concat("a", str(frame_number, 0, 0), ".png")')))
    assert set(found) == {"tiny.pov", "a0.png"}


def test_a_file_that_the_scene_only_looks_for_matters_too(tmp_path: Path) -> None:
    ini = make_scene(tmp_path, extra='#if (file_exists("flag")) sphere { 0, 1 } #end')
    before = inspect(ini)
    (tmp_path / "flag").write_text("")
    assert tmp_path / "flag" in [path for wild in before.wild for path in wildcards.files(wild)]
    assert needed(ini)["flag"] is None
