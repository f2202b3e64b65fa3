"""Which frames of a POV-Ray scene need which file: what is told beforehand is what the pixels show."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from povray_scenes import make_scene
from test_povray import launch

from renderfarm.renderers import wildcards
from renderfarm.renderers.povray.renderer import RENDERER, PovRaySession
from renderfarm.words.frames import parse
from renderfarm.words.model import Rendered, Scene, Settings, Work

COLOURS = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255), 4: (255, 255, 0), 5: (0, 255, 255), 6: (255, 0, 255)}


def wall(name: str, declarations: str = "") -> str:
    """A wall that fills the picture and shows one file."""
    picture = f"pigment {{ image_map {{ png {name} once }} translate <-0.5, -0.5, 0> scale 20 }}"
    shape = "plane { z, -3 hollow finish { ambient 1 diffuse 0 emission 0 }"
    return f"{declarations} {shape} {picture} }}"


def session_of(ini: Path) -> PovRaySession:
    scratch = ini.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return RENDERER.open(Work("povray", RENDERER.builds()[0], str(ini), Settings(), str(scratch)), launch)


def described(ini: Path) -> Scene:
    return session_of(ini).describe()


def needed(ini: Path) -> dict[str, str | None]:
    """Frames by the name of the file."""
    return {Path(asset.path).name: asset.frames for asset in described(ini).assets}


def pictured_frames(ini: Path, last: int) -> dict[int, set[int]]:
    """Frames by the number of the file that their pixels show."""
    shown: dict[int, set[int]] = {}
    scratch = ini.parent / "scratch"
    for done in session_of(ini).render(range(1, last + 1), 1, scratch, scratch / "log"):
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
        ('concat("map000", str(div(frame_number + 3, 2), 0, 0), ".png")', ""),
        ('concat("map", str(abs(frame_number - 4) + 1, -4, 0), ".png")', ""),
    ],
    ids=["number", "declared", "clock", "divided", "arithmetic"],
)
def test_a_computed_name_belongs_to_the_frames_that_show_it(
    tmp_path: Path, name: str, declarations: str
) -> None:
    for number, colour in COLOURS.items():
        Image.new("RGB", (2, 2), colour).save(tmp_path / f"map{number:04d}.png")
    ini = make_scene(tmp_path, frames=6, extra=wall(name, declarations))
    told = {
        int(Path(asset.path).stem[-4:]): set(parse(asset.frames))
        for asset in described(ini).assets
        if asset.frames is not None
    }
    assert told == pictured_frames(ini, 6)
    assert len(told) > 1


PICTURES = ("a1.png", "a2.png", "wood.png", "deep/a3.png", "b.jpg")


def with_pictures(folder: Path, extra: str, frames: int = 4) -> Path:
    for name in PICTURES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return make_scene(folder, frames=frames, extra=extra)


@pytest.mark.parametrize(
    "extra",
    [
        wall("Map", "#macro M(Map)") + ' #end M("a1.png")',
        wall("Map", '#declare Map = "a1.png"; #if (clock > 0.5) #declare Map = "a2.png"; #end'),
        wall("Maps[frame_number]", '#declare Maps = array[2] {"a1.png", "a2.png"}'),
        wall("Map", '#macro Set(Name) #declare Name = "a2.png"; #end #declare Map = "a1.png"; Set(Map)'),
    ],
    ids=["a macro's parameter", "declared twice", "an array", "changed by a macro"],
)
def test_a_name_that_is_not_certain_stands_for_every_picture(tmp_path: Path, extra: str) -> None:
    found = needed(with_pictures(tmp_path, extra))
    assert {name: found.get(Path(name).name, "not listed") for name in PICTURES} == dict.fromkeys(PICTURES)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ('concat("a", vstr(1, x, "", 0, 0), ".png")', {"a1.png", "a2.png"}),
        ('concat("a", str(sin(frame_number), 0, 0), ".png")', {"a1.png", "a2.png"}),
        ('concat("a", str(frame_number / 3 * 3 + 0.5, 0, 0), ".png")', {"a1.png", "a2.png"}),
        ('concat("deep/", Name)', {"a3.png"}),
    ],
    ids=["vector", "function", "rounded either way", "folder"],
)
def test_what_is_certain_of_a_name_narrows_the_choice(tmp_path: Path, name: str, names: set[str]) -> None:
    found = needed(with_pictures(tmp_path, wall(name)))
    assert {name for name in found if name.endswith((".png", ".jpg"))} == names
    assert set(found.values()) == {None}


def test_frames_that_the_farm_rendered_are_not_taken_for_pictures_of_the_scene(tmp_path: Path) -> None:
    (tmp_path / "renders" / "tiny" / ".renderfarm").mkdir(parents=True)
    (tmp_path / "renders" / "tiny" / "frames").mkdir()
    (tmp_path / "renders" / "tiny" / "frames" / "tiny.0001.png").write_bytes(b"")
    assert "tiny.0001.png" not in needed(with_pictures(tmp_path, wall("Maps[1]")))


def test_they_are_when_the_scene_names_their_folder(tmp_path: Path) -> None:
    frames = tmp_path / "renders" / "tiny" / "frames"
    (frames.parent / ".renderfarm").mkdir(parents=True)
    frames.mkdir()
    (frames / "tiny.0001.png").write_bytes(b"")
    extra = wall("Maps[1]", '#declare Maps = array[1] {"renders/tiny/frames/tiny.0001.png"}')
    assert "tiny.0001.png" in needed(with_pictures(tmp_path, extra))


def test_what_an_include_of_one_frame_needs_counts_for_all(tmp_path: Path) -> None:
    ini = make_scene(tmp_path, frames=2, extra='#include concat("part", str(frame_number, 0, 0), ".inc")')
    (tmp_path / "part1.inc").write_text('#include "both.inc"')
    (tmp_path / "part2.inc").write_text("")
    (tmp_path / "both.inc").write_text("")
    assert needed(ini) == {"tiny.pov": None, "part1.inc": "1", "part2.inc": "2", "both.inc": None}


def test_a_file_that_some_frames_compute_and_all_name_is_needed_by_all(tmp_path: Path) -> None:
    both = wall('concat("a", str(frame_number, 0, 0), ".png")') + wall('"a1.png"')
    found = needed(with_pictures(tmp_path, both))
    assert (found["a1.png"], found["a2.png"]) == (None, "2")


def test_computed_files_that_are_not_there_may_not_be_asked_for(tmp_path: Path) -> None:
    scene = described(with_pictures(tmp_path, wall('concat("a", str(frame_number, 0, 0), ".png")')))
    assert not scene.missing
    (tmp_path / "a4.png").write_bytes(b"")
    assert tmp_path / "a4.png" in [path for wild in scene.wild for path in wildcards.files(wild)]


def test_a_file_that_would_win_over_another_one_is_watched_for(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "part.inc").write_text("")
    scene = described(make_scene(tmp_path, extra='#include "part.inc"', options=("Library_Path=lib",)))
    (tmp_path / "part.inc").write_text("")
    assert tmp_path / "part.inc" in [path for wild in scene.wild for path in wildcards.files(wild)]


def test_a_still_is_frame_0_for_its_scene(tmp_path: Path) -> None:
    (tmp_path / "a0.png").write_bytes(b"")
    found = needed(make_scene(tmp_path, frames=1, extra=wall('concat("a", str(frame_number, 0, 0), ".png")')))
    assert found["a0.png"] == "1"


def test_a_file_that_the_scene_only_looks_for_matters_too(tmp_path: Path) -> None:
    ini = make_scene(tmp_path, extra='#if (file_exists("flag")) sphere { 0, 1 } #end')
    before = described(ini)
    (tmp_path / "flag").write_text("")
    assert tmp_path / "flag" in [path for wild in before.wild for path in wildcards.files(wild)]
    assert needed(ini)["flag"] is None
