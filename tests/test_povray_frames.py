"""Which frames of a POV-Ray scene need which file: what is told beforehand is what the pixels show."""

from __future__ import annotations

from pathlib import Path

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


def strip(name: str, declarations: str = "", place: int = 0) -> str:
    """A sixth of the picture that shows one file."""
    left = place * 4 / 18 - 2 / 3
    shape = f"box {{ <{left}, -5, -3>, <{left + 4 / 18}, 5, -2.99> finish {{ ambient 1 diffuse 0 }}"
    return (
        f"{declarations} {shape} pigment {{ image_map {{ png {name} }} translate <-0.5, -0.5, 0> scale 20 }} }}"
    )


def needed(ini: Path) -> dict[str, str | None]:
    """Frames by the name of the file."""
    return {Path(asset.path).name: asset.frames for asset in inspect(ini).assets}


def pictured_frames(ini: Path, last: int) -> dict[str, set[int]]:
    """Frames by the name of the file that their pixels show."""
    shown: dict[str, set[int]] = {}
    scratch = ini.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    session = RENDERER.open(Work("povray", RENDERER.builds()[0], str(ini), Settings(), str(scratch)), launch)
    for done in session.render(range(1, last + 1), 1, scratch, scratch / "log"):
        assert isinstance(done, Rendered), done
        with Image.open(done.path) as picture:
            pixels = [picture.convert("RGB").getpixel((32 * (2 * n + 1) // 12, 12)) for n in range(6)]
        for letter, pixel in zip("abcdef", pixels, strict=True):
            number = min(COLOURS, key=lambda n: sum(abs(a - b) for a, b in zip(COLOURS[n], pixel, strict=True)))
            shown.setdefault(f"{letter}{number:04d}.png", set()).add(done.frame)
    return shown


COMPUTED = (
    ('concat("a", str(frame_number, -4, 0), ".png")', ""),
    ("Map", '#declare N = frame_number - 1; #declare Map = concat("b000", str(mod(N, 3) + 1, 0, 0), ".png");'),
    ('concat("c", str(min(int(clock * 2.4) + 2, 6), -4, 0), Ending)', '#declare Ending = ".png";'),
    ("Map", '#declare Map = "d0001.png"; #if (clock > 0.5) #declare Map = "d0002.png"; #end'),
    ("Maps[mod(frame_number, 2)]", '#declare Maps = array[2] {"e0003.png", "e0004.png"}'),
    ("Map", '#macro Set(N) #declare Map = concat("f000", str(N, 0, 0), ".png"); #end Set(frame_number)'),
)
"""names by number, declared, by the clock, declared twice, from an array, and by a macro"""


def test_computed_names_belong_to_the_frames_that_show_them(tmp_path: Path) -> None:
    for number, colour in COLOURS.items():
        for letter in "abcdef":
            Image.new("RGB", (2, 2), colour).save(tmp_path / f"{letter}{number:04d}.png")
    strips = "\n".join(strip(*case, place) for place, case in enumerate(COMPUTED))
    ini = make_scene(tmp_path, frames=6, extra=strips)
    told = {name: set(parse(frames)) for name, frames in needed(ini).items() if frames is not None}
    assert told == pictured_frames(ini, 6)
    assert {name[0] for name in told} == set("abcdef")


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
    found = needed(make_scene(tmp_path, frames=1, extra=strip('concat("a", str(frame_number, 0, 0), ".png")')))
    assert set(found) == {"tiny.pov", "a0.png"}


def test_a_file_that_the_scene_only_looks_for_matters_too(tmp_path: Path) -> None:
    ini = make_scene(tmp_path, extra='#if (file_exists("flag")) sphere { 0, 1 } #end')
    before = inspect(ini)
    (tmp_path / "flag").write_text("")
    assert tmp_path / "flag" in [path for wild in before.wild for path in wildcards.files(wild)]
    assert needed(ini)["flag"] is None
