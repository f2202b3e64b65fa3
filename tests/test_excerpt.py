"""Films inside pages: the whole film, small, and the page one file; the clock that report and status share."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from renderfarm.pictures.excerpt import excerpt
from renderfarm.pictures.film import Picture, VideoOptions, assemble
from tests.farm_runs import Farm, card
from tests.nights import Project


def film_inside(page: Path) -> bytes:
    found = re.search(r'<video src="data:video/mp4;base64,([^"]+)"', page.read_text())
    return base64.b64decode(found[1]) if found else b""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Farm, float]:
    farm = Farm(tmp_path_factory.mktemp("excerpt"))
    return farm, farm.submit(card(farm.folder / "a.testcard", "1-24", size=[320, 180])).json["seconds"]


def test_the_report_has_the_film_inside_and_tells_the_time_of_the_job(done: tuple[Farm, float]) -> None:
    farm, seconds = done
    report = farm.folder / "out" / "report.html"
    assert b"ftyp" in film_inside(report)[:12]
    assert report.stat().st_size < 1_000_000
    told = re.search(r"<b>([\d.]+) s</b>wall clock", report.read_text())
    assert told
    assert float(told[1]) == float(f"{seconds:.2g}")


def test_a_film_keeps_to_its_bytes_or_is_left_out(done: tuple[Farm, float]) -> None:
    film = done[0].folder / "out" / "a.mp4"
    assert 0 < len(excerpt(film, 1.0, 20_000)) <= 20_000
    assert excerpt(film, 3600.0, 20_000) == b"", "nothing could be seen"
    assert excerpt(film.with_name("none.mp4"), 1.0) == b""


@pytest.mark.parametrize("name", ["v.mov", "v.webm", "v.gif", "v.mp4"])
def test_the_small_film_of_a_transparent_one_lies_on_black(tmp_path: Path, name: str) -> None:
    Image.new("RGBA", (64, 64), (250, 120, 40, 100 if name != "v.gif" else 0)).save(tmp_path / "1.png")
    film = assemble([Picture(1, tmp_path / "1.png")] * 2, tmp_path / name, VideoOptions()).path
    argv = ["ffmpeg", "-v", "error", "-i", "-", "-vf", "scale=1:1,format=gray", "-f", "rawvideo", "-"]
    made = subprocess.run(argv, input=excerpt(film, 1.0), capture_output=True, check=True).stdout
    assert max(made) < 80
    assert min(made) > 40 or name == "v.gif"


def test_without_ffmpeg_a_page_does_without(done: tuple[Farm, float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert excerpt(done[0].folder / "out" / "a.mp4", 1.0) == b""


def test_the_page_of_a_night_has_films_of_what_is_new(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.films = True
    project.card("a")
    project.write(a={"scene": "a.testcard"})
    assert project.run().code == 0
    (page,) = project.folder.glob("nights/2*/index.html")
    assert b"ftyp" in film_inside(page)[:12]
