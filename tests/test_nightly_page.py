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

import numpy as np
import pytest
from PIL import Image, ImageDraw

from renderfarm.nightly import nights, page
from renderfarm.nightly.model import Night, ShotCounts, ShotFailure, ShotNight, ShotState
from renderfarm.words.as_json import decode
from renderfarm.words.states import Finding
from renderfarm.words.status import Suspect

BEFORE, NOW = "2026-11-20", "2026-11-21"
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"
MEASURE = """
const seen = [];
for (const f of document.querySelectorAll('iframe')) f.onload = () => {
  const d = f.contentDocument, wide = f.clientWidth, images = [...d.images];
  const across = d.documentElement.scrollWidth;
  const beyond = [...d.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > wide + 1);
  const loaded = images.filter(i => i.complete && i.naturalWidth > 0).length;
  seen.push({wide, across, beyond: beyond.length, pictures: images.length, loaded});
  if (seen.length == 2) document.title = JSON.stringify(seen);
}
"""
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
    for file in ("moved/v 1.mp4", "moved/report.html", "broken/logs/3.log"):
        (output / NOW / file).parent.mkdir(parents=True, exist_ok=True)
        (output / NOW / file).write_text("there")
    log, signs = "broken/logs/3.log", ("Error: x" * 60,)
    failure = ShotFailure(3, "crash", "Blender was killed by signal 11.", 3, log, signs)
    broken = shot(
        "broken", state=ShotState.FAILED, frames=ShotCounts(4, rendered=3, failed=1), failures=(failure,)
    )
    absent = shot(
        "absent", state=ShotState.FAILED, job=None, frame_files="", error="No such scene.", hint="Mend it."
    )
    moved = shot("moved", contact_sheet="moved/contact-sheet.jpg", frames=ShotCounts(4, rendered=3, reused=1))
    suspects = (Suspect(2, Finding.BLANK, "all pixels are black"),)
    said = {"video": "moved/v 1.mp4", "report": "moved/report.html", "why": ("asset paint.png changed",)}
    now = [
        shot("calm", contact_sheet="calm/contact-sheet.jpg"),
        replace(moved, cost=1.5, currency="EUR", suspects=suspects, **said),  # type: ignore[arg-type]
        replace(broken, advice="Try again with: renderfarm retry j7"),
        absent,
        shot("late", state=ShotState.LIMITED, frames=ShotCounts(9, rendered=4, left=5), frame_files=""),
        shot(name, contact_sheet=f"{name}/contact-sheet.jpg", frames=ShotCounts(4, rendered=4), why=("new",)),
    ]
    return written(output, now, [shot("moved", seconds_per_frame=0.25), shot("calm")])


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a night in which everything happened, for those who only read."""
    folder = tmp_path_factory.mktemp("nights")
    rich(folder)
    return folder


def html_of(output: Path) -> str:
    return (output / NOW / "index.html").read_text(encoding="utf-8")


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


def test_links_lead_to_the_files_from_both_pages_which_need_nothing_else(full: Path) -> None:
    found, latest = Links(html_of(full)), Links((full / "latest.html").read_text())
    for page_found, here, before in ((found, "", "../"), (latest, f"{NOW}/", "")):
        names = (f"{here}moved/v%201.mp4", f"{here}moved/frames/", f"{before}{BEFORE}/index.html")
        assert set(names) <= set(page_found.hrefs)
    assert f"{NOW}/moved/report.html" in latest.hrefs
    assert found.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in found.sources)
    assert not found.tags & {"script", "link", "iframe", "object"}


def test_the_report_of_an_older_night_is_not_the_latest_and_one_that_goes_on_says_so(tmp_path: Path) -> None:
    later = Night("2026-11-25", "2026-11-25T01:00:00+00:00")
    nights.write(Night(NOW, f"{NOW}T01:00:00+00:00", shots=(shot("a"),)), tmp_path)
    assert "still going on" in page.write(nights.read(tmp_path / NOW), tmp_path, [later]).read_text()
    assert not (tmp_path / "latest.html").exists()


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    failure = ShotFailure(1, HOSTILE, HOSTILE, 1, "javascript:alert(1)", (HOSTILE,))
    bad = shot(HOSTILE, state=ShotState.FAILED, failures=(failure,), advice=HOSTILE, frame_files="")
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


def test_the_worst_comes_first_and_one_sentence_says_what_needs_a_look(full: Path) -> None:
    html = html_of(full)
    assert re.findall(r"<h2>(.{6})", html) == ["absent", "broken", "late</", "moved<", "a-very", "calm</"]
    said = "2 shots are broken, 1 is not finished, 1 needs a look, 1 is new, 1 is as before."
    assert f'<p class="headline">{said}</p>' in html


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("absent", "No such scene.|Mend it."),
        ("broken", "<b>3</b>|crash|Blender was killed by signal 11.|Error: x|retry j7|broken/logs/3.log"),
        (
            "moved",
            "needs a look|3 of 4 frames: 2-4|paint.png changed|1.50 EUR|are black|2.0 times</span>",
        ),
    ],
)
def test_a_shot_tells_what_happened_to_it_and_what_to_do(full: Path, name: str, facts: str) -> None:
    part = section(html_of(full), name)
    assert [fact for fact in facts.split("|") if fact not in part] == []
    assert (len(re.findall(r'<rect class="heat\d"', part)), part.count("<figure")) == (
        (3, 9) if name == "moved" else (0, 0)
    )


def test_failures_of_one_kind_are_told_once(tmp_path: Path) -> None:
    failures = tuple(ShotFailure(frame, "crash", "died", 3) for frame in range(1, 5))
    part = section(written(tmp_path, [shot("a", state=ShotState.FAILED, failures=failures)])[0], "a")
    assert part.count("died") == 1
    assert "<b>1-4</b>" in part


def test_a_shot_that_was_rendered_again_and_looks_the_same_is_as_before(tmp_path: Path) -> None:
    fill(tmp_path, BEFORE, "a")
    fill(tmp_path, NOW, "a")
    html, _ = written(tmp_path, [shot("a", frames=ShotCounts(4, rendered=4))], [shot("a")])
    assert "As it was." in html
    assert "4 rendered, looks the same" in section(html, "a")


def test_the_three_most_changed_frames_are_shown(tmp_path: Path) -> None:
    for night, boxes in ((BEFORE, {}), (NOW, {1: 10, 2: 150, 3: 90, 5: 120, 6: 20})):
        for frame in range(1, 7):
            path = tmp_path / night / "a/frames" / f"s.{frame:04d}.png"
            picture(path)
            with Image.open(path) as image:
                drawn = image.copy()
            ImageDraw.Draw(drawn).rectangle((0, 0, boxes.get(frame, 0), boxes.get(frame, 0)), fill="red")
            drawn.save(path)
    part = section(written(tmp_path, [shot("a", "1-6")], [shot("a", "1-6")])[0], "a")
    assert re.findall(r"<b>(\d)</b> now", part) == ["2", "3", "5"]


def test_a_pace_that_is_far_from_the_usual_is_told(tmp_path: Path) -> None:
    night = Night(NOW, f"{NOW}T01:00:00+00:00", shots=(shot("a", seconds_per_frame=4.0),))
    history = [
        Night(f"2026-11-{day:02d}", "x", shots=(shot("a", seconds_per_frame=2.0),)) for day in range(5, 20)
    ]
    html = page.write(night, tmp_path, history).read_text()
    assert html.count('<rect class="then"') == 10
    assert "2.0 times as slow" in html


def test_the_night_before_is_linked_to_the_next_one_once_it_is_there(tmp_path: Path) -> None:
    nights_there = [Night(day, f"{day}T01:00:00+00:00") for day in (BEFORE, NOW)]
    first = page.write(nights_there[0], tmp_path, [])
    assert f"../{NOW}/index.html" not in first.read_text()
    for _ in range(2):
        page.write(nights_there[1], tmp_path, nights_there[:1])
    assert first.read_text().count(f'href="../{NOW}/index.html"') == 1


def test_scripts_get_the_night_and_what_looks_different(full: Path) -> None:
    report = json.loads((full / NOW / "report.json").read_text())
    assert {shot.name for shot in decode(Night, report).shots} >= {"moved", "calm", "broken"}
    looks = next(shot["looks"] for shot in report["shots"] if shot["name"] == "moved")
    assert (looks["compared_to"], looks["compared"], looks["changed"]) == (BEFORE, 4, "2-4")
    assert report["summary"]["broken"] == 2


def test_writing_again_gives_the_same_page(tmp_path: Path) -> None:
    html, _ = rich(tmp_path)
    for frames in tmp_path.glob("*/*/frames"):
        shutil.rmtree(frames)
    assert rich(tmp_path)[0] == html


def test_a_picture_that_was_replaced_is_compared_again_and_what_was_found_outlives_the_frames(
    tmp_path: Path,
) -> None:
    for night, changed in ((BEFORE, ()), (NOW, (2, 3))):
        fill(tmp_path, night, "a", changed=changed)
    written(tmp_path, [shot("a")], [shot("a")])
    mended = tmp_path / NOW / "a/frames/s.0003.png"
    mended.unlink()
    os.link(tmp_path / "same.png", mended)
    for _ in range(2):
        part = section(written(tmp_path, [shot("a")], [shot("a")])[0], "a")
        assert re.search(r"1 of \d frames?: 2", part)
        shutil.rmtree(tmp_path / BEFORE / "a/frames", ignore_errors=True)


def test_frames_that_are_no_longer_kept_are_not_called_the_same(tmp_path: Path) -> None:
    fill(tmp_path, NOW, "a")
    rendered = shot("a", frames=ShotCounts(4, rendered=4), suspects=(Suspect(1, Finding.BLANK, "x"),))
    html, _ = written(tmp_path, [rendered, replace(rendered, name="b", suspects=())], [shot("a"), shot("b")])
    assert f"No frames of {BEFORE} are left to compare with." in section(html, "a")
    assert "nothing to compare with" in section(html, "b")


def test_a_damaged_picture_does_not_stop_the_report(tmp_path: Path) -> None:
    for night in (BEFORE, NOW):
        fill(tmp_path, night, "a")
    damaged = tmp_path / NOW / "a/frames/s.0002.png"
    damaged.unlink()
    damaged.write_bytes(b"\x89PNG no more")
    html, _ = written(tmp_path, [shot("a")], [shot("a")])
    assert "1 of 4 frames: 2" in section(html, "a")


def test_junit_is_what_the_schemas_ask_for(full: Path) -> None:
    """Ant's JUnit.xsd, as far as it goes: elements in its order, attributes it asks for and no others."""
    root = ElementTree.parse(full / NOW / "junit.xml").getroot()
    assert [root.tag, [suite.tag for suite in root]] == ["testsuites", ["testsuite"]]
    suite = root[0]
    counts = {"tests", "failures", "errors", "skipped", "time"}
    assert set(suite.attrib) == {"name", "timestamp", "hostname", "id", "package"} | counts
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp", ""))
    assert re.fullmatch(r"[\w.:-]+", suite.get("hostname", ""))
    assert [child.tag for child in suite] == ["properties", *["testcase"] * 6, "system-out", "system-err"]
    for case in suite.iter("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
        assert [child.tag for child in case] in ([], ["skipped"], ["error"], ["failure"])
    for outcome in (*suite.iter("failure"), *suite.iter("error")):
        assert set(outcome.attrib) == {"type", "message"}


def test_junit_tells_failures_from_shots_that_could_not_start_and_shots_that_go_on(full: Path) -> None:
    suite = ElementTree.parse(full / NOW / "junit.xml").getroot()[0]
    found = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert (found["broken"], found["absent"], found["late"]) == (["failure"], ["error"], ["skipped"])
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["6", "1", "1", "1"]
    told = next(suite.iter("failure"))
    assert told.get("message") == "1 of 4 frames failed"
    assert "renderfarm retry j7" in (told.text or "")


@pytest.mark.slow
def test_twenty_shots_of_250_frames_stay_below_five_megabytes(tmp_path: Path) -> None:
    """The worst case: noise, which no encoder makes small, all over."""
    noise(tmp_path / "other.png", (1280, 720))
    names = [f"sh{number:03d}" for number in range(20)]
    for name in names:
        fill(tmp_path, BEFORE, name, 250, sheet=False)
        fill(tmp_path, NOW, name, 250, changed=(7, 99, 250), sheet=False)
        noise(tmp_path / NOW / name / "contact-sheet.jpg", (600, 400))
    now = [shot(name, "1-250", contact_sheet=f"{name}/contact-sheet.jpg") for name in names]
    html, path = written(tmp_path, now, [shot(name, "1-250") for name in names])
    assert html.count("<img") == 20 * (1 + 9)
    assert path.stat().st_size < 5_000_000


def screen(folder: Path, page_file: Path, *widths: int) -> tuple[list[dict[str, float]], Image.Image]:
    """What a browser measures of a page in windows of these widths, and what it shows, one below the other.

    In frames, because no window is narrower than 500 pixels; a copy without the policy lets a script measure.
    """
    assert CHROMIUM is not None
    inner, outer, shown = (folder / name for name in ("inner.html", "outer.html", "screen.png"))
    inner.write_text(re.sub(r"<meta http-equiv[^>]*>", "", page_file.read_text()))
    frame = "<iframe src=inner.html style='display:block;border:0;width:{}px;height:3000px'></iframe>"
    frames = "".join(frame.format(width) for width in widths)
    outer.write_text(f"<title>not measured</title><body style='margin:0'>{frames}<script>{MEASURE}</script>")
    flags = ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", "allow-file-access-from-files")
    options = [f"--{flag}" for flag in flags]
    options += [f"--user-data-dir={folder / 'browser'}", f"--window-size={max(widths)},{3000 * len(widths)}"]
    argv = [CHROMIUM, *options, f"--screenshot={shown}", "--dump-dom", outer.as_uri()]
    dumped = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>(\[.*?\])</title>", dumped)
    assert found, dumped[:300]
    with Image.open(shown) as image:
        return json.loads(found[1]), image.convert("RGB")


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")
def test_a_browser_shows_all_of_it_at_desktop_and_phone_width(tmp_path: Path, full: Path) -> None:
    seen, shown = screen(tmp_path, full / NOW / "index.html", 1280, 390)
    assert {each["wide"] for each in seen} == {1280, 390}
    for each in seen:
        assert (each["across"] <= each["wide"], each["beyond"]) == (True, 0)
        assert (each["pictures"], each["loaded"]) == (13, 13)
    for box in ((0, 0, 1280, 3000), (0, 3000, 390, 6000)):
        red = np.asarray(shown.crop(box)).astype(int)
        lead = (red[..., 0] - red[..., 1] > 90) & (red[..., 0] - red[..., 2] > 90)
        assert lead.mean() > 0.0005
        assert len(shown.crop(box).getcolors(1 << 24) or ()) > 1000
