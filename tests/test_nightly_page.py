"""The morning report: what it says, that nothing in it is believed, how large it is, how a browser shows it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageDraw

from renderfarm.model import Finding, Suspect, decode
from renderfarm.nightly import nights, page
from renderfarm.nightly.model import Night, ShotCounts, ShotFailure, ShotNight, ShotState

BEFORE, NOW = "2026-11-20", "2026-11-21"
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def picture(path: Path, *, box: bool = False, size: tuple[int, int] = (320, 180)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    if box:
        ImageDraw.Draw(image).rectangle((40, 40, 140, 120), fill=(200, 60, 30))
    image.save(path)
    return path


def noise(path: Path, size: tuple[int, int] = (320, 180)) -> Path:
    """The picture that makes the largest JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", size, os.urandom(size[0] * size[1] * 3)).save(path)
    return path


def shot(name: str, span: str = "1-4", **more: object) -> ShotNight:
    count = int(span.rpartition("-")[2])
    blank = ShotNight(
        name, f"/project/{name}.blend", ShotState.SUCCEEDED, job="j1", frames=ShotCounts(count, reused=count)
    )
    made = replace(blank, output=name, stem="s", frame_files=span, seconds_per_frame=0.5)
    return replace(made, **more)  # type: ignore[arg-type]


def fill(
    output: Path, night: str, name: str, frames: int = 4, changed: Sequence[int] = (), sheet: bool = True
) -> None:
    """Frames of a shot in a night: one file under many names, and another one where it changed."""
    folder = output / night / name / "frames"
    same, other = output / "same.png", output / "other.png"
    if not same.exists():
        picture(same)
    if not other.exists():
        picture(other, box=True)
    folder.mkdir(parents=True)
    for frame in range(1, frames + 1):
        os.link(other if frame in changed else same, folder / f"s.{frame:04d}.png")
    if sheet:
        picture(output / night / name / "contact-sheet.jpg", size=(1800, 900))


def written(
    output: Path, now: Sequence[ShotNight], before: Sequence[ShotNight] = (), **more: object
) -> tuple[str, Path]:
    history = [Night(BEFORE, f"{BEFORE}T01:00:00+00:00", f"{BEFORE}T02:00:00+00:00", tuple(before))]
    night = Night(NOW, f"{NOW}T01:00:00+00:00", f"{NOW}T02:30:00+00:00", tuple(now), title="film")
    path = page.write(replace(night, **more), output, history if before else [])  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8"), path


def rich(output: Path) -> tuple[str, Path]:
    """A night in which everything happened."""
    name = "a-very-long-name-of-a-shot-" + "without_a_place_to_break" * 4
    for night, changed in ((BEFORE, ()), (NOW, (2, 3, 4))):
        fill(output, night, "moved", changed=changed)
        fill(output, night, "calm")
    fill(output, NOW, name)
    failure = ShotFailure(
        3, "crash", "Blender was killed by signal 11.", 3, "broken/logs/3.log", ("Error: x" * 60,)
    )
    counts = ShotCounts(4, rendered=3, failed=1)
    sheet = "{}/contact-sheet.jpg".format
    now = [
        shot("calm", contact_sheet=sheet("calm")),
        shot(
            "moved",
            contact_sheet=sheet("moved"),
            video="moved/v 1.mp4",
            report="moved/report.html",
            why=("asset paint.png changed",),
            cost=1.5,
            currency="EUR",
            frames=ShotCounts(4, rendered=3, reused=1),
            suspects=(Suspect(2, Finding.BLANK, "all pixels are black"),),
        ),
        shot("broken", state=ShotState.FAILED, frames=counts, failures=(failure,), retry="renderfarm retry j7"),
        replace(
            shot("absent"),
            job=None,
            frame_files="",
            state=ShotState.FAILED,
            error="No such scene.",
            hint="Mend it.",
        ),
        shot("late", state=ShotState.LIMITED, frames=ShotCounts(9, rendered=4, left=5), frame_files=""),
        shot(name, contact_sheet=sheet(name), frames=ShotCounts(4, rendered=4), why=("new",)),
    ]
    return written(output, now, [shot("moved", seconds_per_frame=0.25), shot("calm")])


def section(html: str, name: str) -> str:
    return next(part for part in html.split("<section")[1:] if f"<h2>{name}</h2>" in part)


def marks(part: str) -> int:
    return part.partition('class="strip"')[2].partition("</svg>")[0].count("<rect")


class Links(HTMLParser):
    """Collects what a page points at."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.hrefs += [found["href"] or ""] if "href" in found else []
        self.sources += [found["src"] or ""] if "src" in found else []


def test_the_worst_comes_first(tmp_path: Path) -> None:
    html, _ = rich(tmp_path)
    names = re.findall(r"<h2>(.{6})", html)
    assert names == ["broken", "absent", "late</", "moved<", "a-very", "calm</"]


def test_a_failure_is_told_with_its_log_lines_and_the_command_that_retries(tmp_path: Path) -> None:
    part = section(rich(tmp_path)[0], "broken")
    for fact in ("Frame 3", "crash: Blender was killed by signal 11.", "Error: x", "renderfarm retry j7"):
        assert fact in part
    assert 'href="broken/logs/3.log"' in part


def test_a_shot_that_could_not_start_says_why_and_what_to_do(tmp_path: Path) -> None:
    part = section(rich(tmp_path)[0], "absent")
    assert "No such scene." in part
    assert "Mend it." in part


def test_a_changed_shot_shows_where_and_how_it_changed(tmp_path: Path) -> None:
    part = section(rich(tmp_path)[0], "moved")
    for fact in (
        "looks different",
        "3 of 4 frames",
        "asset paint.png changed",
        "1.50 EUR",
        "all pixels are black",
    ):
        assert fact in part
    assert marks(part) == 3
    assert part.count("<figure>") == 9
    assert "0.5 s this night, 0.25 s on average before" in part


def test_an_unchanged_shot_has_an_empty_strip(tmp_path: Path) -> None:
    part = section(rich(tmp_path)[0], "calm")
    assert 'class="strip"' in part
    assert marks(part) == 0
    assert "<figure>" not in part


def test_the_summary_names_what_needs_a_look(tmp_path: Path) -> None:
    html, _ = rich(tmp_path)
    line = re.sub(r"<[^>]+>|\s+", " ", html.partition('class="summary">')[2].partition("</p>")[0])
    said = " ".join(line.split())
    assert said.startswith(
        "2 broken: broken , absent 1 stopped at the limit: late 1 looks different: moved 1 new:"
    )
    assert said.endswith("1 unchanged")


def test_links_lead_to_the_files_from_both_pages(tmp_path: Path) -> None:
    html, path = rich(tmp_path)
    latest = (tmp_path / "latest.html").read_text()
    assert {"moved/v%201.mp4", "moved/frames/", "moved/report.html", f"../{BEFORE}/index.html"} <= set(
        Links(html).hrefs
    )
    assert {f"{NOW}/moved/v%201.mp4", f"{NOW}/moved/frames/", f"{BEFORE}/index.html"} <= set(
        Links(latest).hrefs
    )
    assert path == tmp_path / NOW / "index.html"


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    found = Links(rich(tmp_path)[0])
    assert found.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in found.sources)
    assert not found.tags & {"script", "link", "iframe", "object"}


def test_the_report_of_an_older_night_is_not_the_latest(tmp_path: Path) -> None:
    later = Night("2026-11-25", "2026-11-25T01:00:00+00:00")
    page.write(Night(NOW, f"{NOW}T01:00:00+00:00"), tmp_path, [later])
    assert not (tmp_path / "latest.html").exists()


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    failure = ShotFailure(1, HOSTILE, HOSTILE, 1, "javascript:alert(1)", (HOSTILE,))
    bad = shot(HOSTILE, state=ShotState.FAILED, failures=(failure,), retry=HOSTILE, frame_files="")
    bad = replace(bad, why=(HOSTILE,), notes=(HOSTILE,), problems=(HOSTILE,), error=HOSTILE, hint=HOSTILE)
    bad = replace(
        bad, video="javascript:alert(1)", pool=HOSTILE, suspects=(Suspect(1, Finding.BLANK, HOSTILE),)
    )
    html, _ = written(tmp_path, [bad], title=HOSTILE, removed=(HOSTILE,), problems=(HOSTILE,))
    found = Links(html)
    assert "script" not in found.tags
    assert "{{ 7*7 }}" in html
    assert not [href for href in found.hrefs if href.startswith("javascript:")]


@pytest.mark.parametrize("name", ["\x00\x1b[31m\x07", "\ud800", "]]>", "‮evil", "a" * 500])
def test_junit_parses_whatever_a_shot_is_called(tmp_path: Path, name: str) -> None:
    failure = ShotFailure(1, "crash", name, 1, None, (name,))
    written(tmp_path, [shot(name, state=ShotState.FAILED, failures=(failure,), frame_files="")], title=name)
    suite = ElementTree.parse(tmp_path / NOW / "junit.xml").getroot()[0]
    assert suite.get("failures") == "1"


def test_junit_has_a_case_per_shot_and_tells_failures_from_shots_that_go_on(tmp_path: Path) -> None:
    rich(tmp_path)
    suite = ElementTree.parse(tmp_path / NOW / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "2", "1")
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["broken", "absent"]


def test_scripts_get_the_night_and_its_differences(tmp_path: Path) -> None:
    rich(tmp_path)
    report = json.loads((tmp_path / NOW / "report.json").read_text())
    assert decode(Night, report).shots[1].name == "moved"
    frames = report["differences"]["moved"]["frames"]
    assert [line["changed"] for line in frames] == [False, True, True, True]


def test_twenty_shots_of_250_frames_stay_below_five_megabytes(tmp_path: Path) -> None:
    noise(tmp_path / "other.png")
    names = [f"sh{number:03d}" for number in range(20)]
    for name in names:
        fill(tmp_path, BEFORE, name, 250, sheet=False)
        fill(tmp_path, NOW, name, 250, changed=(7, 99, 250), sheet=False)
        noise(tmp_path / NOW / name / "contact-sheet.jpg", (600, 400))
    now = [shot(name, "1-250", contact_sheet=f"{name}/contact-sheet.jpg") for name in names]
    html, path = written(tmp_path, now, [shot(name, "1-250") for name in names])
    assert html.count("<img") == 20 * (1 + 9)
    assert path.stat().st_size < 5_000_000


def test_frames_that_are_no_longer_kept_are_not_called_unchanged(tmp_path: Path) -> None:
    fill(tmp_path, NOW, "a")
    rendered = shot("a", frames=ShotCounts(4, rendered=4))
    html, _ = written(tmp_path, [rendered], [shot("a")])
    assert "No frames of 2026-11-20 are left to compare with." in html
    assert "nothing to compare with" in section(html, "a")


def test_a_damaged_picture_does_not_stop_the_report(tmp_path: Path) -> None:
    for night in (BEFORE, NOW):
        fill(tmp_path, night, "a")
    damaged = tmp_path / NOW / "a/frames/s.0002.png"
    damaged.unlink()
    damaged.write_bytes(b"\x89PNG no more")
    html, _ = written(tmp_path, [shot("a")], [shot("a")])
    assert "1 of 4 frames look different" in section(html, "a")


def test_a_night_is_read_from_its_record_as_it_was_written(tmp_path: Path) -> None:
    night = Night(NOW, f"{NOW}T01:00:00+00:00", shots=(shot("a"),))
    nights.write(night, tmp_path)
    assert "not ended yet" in page.write(nights.read(tmp_path / NOW), tmp_path, []).read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt install chromium)")
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window_of_a_browser(tmp_path: Path, width: int) -> None:
    html, path = rich(tmp_path / "nights")
    framed = path.with_name("framed.html")
    framed.write_text(re.sub(r"<meta http-equiv[^>]*>", "", html))
    outer = path.with_name("outer.html")
    measure = (
        "let d = f.contentDocument.documentElement; document.title = d.scrollWidth + ' of ' + d.clientWidth"
    )
    outer.write_text(  # a frame, because windows are never narrower than 500 pixels
        f"<title>not measured</title><body style='margin:0'>"
        f"<iframe id=f src=framed.html style='border:0;width:{width}px;height:2400px'"
        f' onload="{measure}"></iframe>'
    )
    shown = tmp_path / f"page-{width}.png"
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--hide-scrollbars",
    ]
    size = [f"--user-data-dir={tmp_path / 'browser'}", f"--window-size={max(width, 500)},2400"]
    dumped = _chromium(*options, *size, "--virtual-time-budget=3000", "--dump-dom", outer.as_uri())
    assert f"<title>{width} of {width}</title>" in dumped
    _chromium(*options, *size, f"--screenshot={shown}", outer.as_uri())
    with Image.open(shown) as screen:
        colours = screen.convert("RGB").crop((0, 0, width, 2400)).getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 100


def _chromium(*argv: str) -> str:
    assert CHROMIUM is not None
    done = subprocess.run([CHROMIUM, *argv], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout
