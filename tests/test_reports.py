"""The contact sheet's pixels and the report's markup."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renderfarm.errors import RenderfarmError
from renderfarm.job.ledger import Frame
from renderfarm.pictures.contact_sheet import chosen, contact_sheet, thumb
from renderfarm.pictures.shots import Picture
from renderfarm.reports.report import FailureLine, ReportData, facts, report, time_summary
from renderfarm.words.durations import duration
from renderfarm.words.failures import Advice
from renderfarm.words.scene import Colour, Scene
from renderfarm.words.states import Finding, FrameState, JobState
from renderfarm.words.status import Counts, FrameFailure, Status, Suspect

RED = (255, 90, 79)
AMBER = (245, 177, 61)


def pictures(folder: Path, count: int, size: tuple[int, int] = (160, 90)) -> list[Picture]:
    made = []
    for n in range(1, count + 1):
        path = folder / f"s.{n:04d}.png"
        Image.new("RGB", size, (40, 90, 160)).save(path)
        made.append(Picture(n, path))
    return made


def sheet_of(tmp_path: Path, frames: list[Picture], **wishes: object) -> np.ndarray:
    out = tmp_path / "sheet.png"
    contact_sheet(frames, out, title="scene.blend", **wishes)  # type: ignore[arg-type]
    with Image.open(out) as sheet:
        return np.asarray(sheet.convert("RGB")).astype(int)


def share(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - np.array(colour)).max(axis=2) <= 6).mean())


def test_a_picture_that_was_made_smaller_beforehand_is_shown_while_it_is_the_same(tmp_path: Path) -> None:
    shown, sizes = pictures(tmp_path, 3), (3, (160, 90), None)
    red = Image.new("RGB", (160, 90), RED)
    thumbs = {picture.frame: replace(thumb(picture.path, *sizes), image=red) for picture in shown[1:]}
    os.utime(shown[2].path, ns=(1, 1))
    contact_sheet(shown, tmp_path / "sheet.png", title="shot", thumbs=thumbs)
    with Image.open(tmp_path / "sheet.png") as sheet:
        seen = [sheet.getpixel((36 + 80 + 174 * n, 84 + 45)) for n in range(3)]
    assert seen == [(40, 90, 160), RED, (40, 90, 160)]


def test_what_is_bad_or_unreadable_is_red_a_suspect_amber_and_what_is_missing_no_picture(
    tmp_path: Path,
) -> None:
    frames = [*pictures(tmp_path, 4), Picture(5, None)]
    (tmp_path / "s.0004.png").write_bytes(b"rubbish")
    sheet = sheet_of(tmp_path, frames, suspects={2: "outlier"}, bad={3: "truncated"}, columns=5)
    cells = [sheet[:, 36 + 174 * n - 5 : 36 + 174 * n + 165] for n in range(5)]
    assert [share(cell, RED) > 0.002 for cell in cells] == [False, False, True, True, False]
    assert [share(cell, AMBER) > 0.002 for cell in cells] == [False, True, False, False, False]
    assert [share(cell, (40, 90, 160)) > 0.1 for cell in cells] == [True, True, True, False, False]
    assert (share(sheet[:, :200], RED), share(sheet[:, -200:], RED)) == (0, 0)


def test_an_exr_is_shown_through_its_view_like_a_png(tmp_path: Path) -> None:
    import OpenImageIO

    light = np.full((360, 640, 3), 0.2140411, np.float32)
    OpenImageIO.ImageBuf(light).write(str(tmp_path / "a.exr"))
    sheet = sheet_of(tmp_path, [Picture(1, tmp_path / "a.exr")], colour=Colour())
    assert share(sheet, (127, 127, 127)) > 0.1


def test_a_16_bit_picture_is_not_clipped_to_white(tmp_path: Path) -> None:
    Image.fromarray(np.full((90, 160), 20000, np.uint16)).save(tmp_path / "a.png")
    assert share(sheet_of(tmp_path, [Picture(1, tmp_path / "a.png")]), (78, 78, 78)) > 0.1


@pytest.mark.parametrize("size", [(30, 90), (90, 30), (1, 1), (4000, 3)])
def test_any_shape_of_picture_gives_a_sheet_of_bearable_size(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width, _ = sheet_of(tmp_path, pictures(tmp_path, 5, size)).shape
    assert 200 < width < 4000
    assert 100 < height < 4000


def test_a_title_that_is_too_long_is_cut_and_not_an_error(tmp_path: Path) -> None:
    contact_sheet(pictures(tmp_path, 1), tmp_path / "s.jpg", title="long\n" * 300, bad={1: "finding " * 99})
    with Image.open(tmp_path / "s.jpg") as sheet:
        assert sheet.width < 2000


def test_many_frames_are_thinned_out_evenly_and_bad_ones_kept() -> None:
    frames = [Picture(n, Path("x")) for n in range(1, 1001)]
    cells = [picture.frame for picture in chosen(frames, {500, 777}, 50)]
    assert len(cells) == 50
    assert {1, 500, 777, 1000} <= set(cells)
    assert cells == sorted(cells)
    assert max(b - a for a, b in itertools.pairwise(cells)) <= 2 * 1000 / 47


def test_a_sheet_of_mostly_bad_frames_still_shows_good_ones() -> None:
    frames = [Picture(n, Path("x") if n % 10 == 0 else None) for n in range(1, 1001)]
    cells = chosen(frames, set(), 60)
    assert len(cells) == 60
    assert sum(picture.path is not None for picture in cells) == 30


class Page(HTMLParser):
    """Collects what a test asks about; complains about tags that are not closed."""

    EMPTY = frozenset({"meta", "img", "br", "rect", "line"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]

    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def data_of(
    folder: Path, frames: list[Frame], scene: str = "/home/ann/robot.blend", **more: object
) -> ReportData:
    counts = Counts(len(frames), *(sum(line.state == s for line in frames) for s in ("succeeded", "failed")))
    status = Status(
        job="robot-3fa2",
        state=JobState.FAILED if counts.failed else JobState.SUCCEEDED,
        scene=scene,
        pool="local",
        frames=counts,
        failures=(),
        output=str(folder),
        frames_dir=str(folder / "frames"),
        video=str(folder / "my robot#1.mp4"),
        contact_sheet=None,
        report=None,
        seconds=134.2,
        eta_seconds=None,
        suspects=tuple(more.pop("suspects", ())),  # type: ignore[arg-type]
        notes=("a note about <b>frames</b>",),
        problems=("no sound",),
    )
    described = Scene(scene, "blender", "4.5.3", "1-48", 24.0, (1920, 1080), "Camera", engine="CYCLES")
    return ReportData(status, described, "Blender 5.0.1 (bpy)", frames, **more)  # type: ignore[arg-type]


def lines(count: int, failed: frozenset[int] = frozenset(), nodes: int = 2) -> list[Frame]:
    return [
        Frame(
            n,
            FrameState.FAILED if n in failed else FrameState.SUCCEEDED,
            seconds=1.0 + n % 3,
            node=f"worker-{n % nodes + 1}",
            started=1.7e9 + 4 * (n // nodes),
        )
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("colour", "said"),
    [
        (Colour("config.ocio", view="Filmic", look="High Contrast"), "Filmic, High Contrast"),
        (Colour("config.ocio", view="AgX", look="AgX - Punchy"), "AgX - Punchy"),
        (Colour(), None),
    ],
)
def test_the_view_is_told_with_its_look_where_there_is_one(colour: Colour, said: str | None) -> None:
    scene = Scene("a.pov", "povray", "", "1-48", 25.0, (320, 240), None, colour=colour)
    assert dict(facts(scene, "POV-Ray", "local", "", "")).get("View") == said


def page_of(tmp_path: Path, data: ReportData) -> Page:
    report(data, tmp_path / "report.html")
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_a_report_is_whole_markup_that_links_to_the_video_and_loads_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (64, 36)).save(tmp_path / "sheet.jpg")
    page = page_of(tmp_path, data_of(tmp_path, lines(5), contact_sheet=tmp_path / "sheet.jpg"))
    assert page.open == []
    assert "my%20robot%231.mp4" in page.attributes("href"), "relative, and encoded"
    assert len(page.attributes("src")) == 1
    assert all(source.startswith("data:image/") for source in page.attributes("src"))
    assert not {"script", "link", "iframe", "object", "video"} & {tag for tag, _ in page.tags}
    text = (tmp_path / "report.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text


def test_foreign_text_is_escaped(tmp_path: Path) -> None:
    failure = FrameFailure(1, "crash", "<img src=x onerror=alert(1)>", 3, None)
    data = data_of(
        tmp_path,
        lines(2),
        scene='/tmp/<script>alert("1")</script>.blend',
        failures=[FailureLine([failure], ("</pre><script>",))],
        settings={'"><script>': "'<script>"},
        advice=Advice("<script>", "renderfarm retry '<script>'"),
    )
    page = page_of(tmp_path, data)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert "<script>" not in (tmp_path / "report.html").read_text()
    assert "</script>.blend" in page.said()


def test_failures_come_with_signs_and_the_command_that_retries_them(tmp_path: Path) -> None:
    failure = FrameFailure(17, "crash", "Blender died", 3, str(tmp_path / "logs" / "f0017-3.log"))
    data = data_of(
        tmp_path,
        lines(20, frozenset({17})),
        failures=[FailureLine([failure], ("signal 11", "BKE_mesh"))],
        advice=Advice("Again", "renderfarm retry robot-3fa2 --frames 17"),
    )
    page = page_of(tmp_path, data)
    assert "logs/f0017-3.log" in page.attributes("href")
    for words in ("Frame 17 crash Blender died 3 tries", "signal 11 BKE_mesh", "retry robot-3fa2 --frames 17"):
        assert words in page.said()


def test_suspects_are_shown_with_little_pictures_where_they_can_be_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"rubbish")
    suspects = [Suspect(1, Finding.OUTLIER, "differs by 38"), Suspect(2, Finding.BLANK, "x")]
    there = {frame: tmp_path / f"{frame}.png" for frame in (1, 2)}
    page = page_of(tmp_path, data_of(tmp_path, lines(2), thumbnails=there, suspects=suspects))
    assert "Frame 1 outlier differs by 38" in page.said()
    assert "Frame 2 blank" in page.said()
    (source,) = page.attributes("src")
    assert len(source) < 200_000 < (tmp_path / "1.png").stat().st_size


def test_failed_and_reused_frames_stand_out_in_the_chart(tmp_path: Path) -> None:
    frames = [*lines(6, frozenset({3})), Frame(7, FrameState.SUCCEEDED, reused=True)]
    page = page_of(tmp_path, data_of(tmp_path, frames))
    bars = [attrs["class"] for tag, attrs in page.tags if tag == "rect"][:7]
    assert bars == ["succeeded", "succeeded", "failed", "succeeded", "succeeded", "succeeded", "reused"]


def done(seconds: float) -> list[Frame]:
    return [Frame(n, FrameState.SUCCEEDED, seconds=seconds, node="w1", started=1.7e9) for n in (1, 2, 3)]


@pytest.mark.parametrize("frames", [[], [Frame(1, FrameState.QUEUED)], done(0.0), done(1e-9)])
def test_a_job_without_a_frame_or_a_time_that_a_clock_shows_has_a_report(
    tmp_path: Path, frames: list[Frame]
) -> None:
    page = page_of(tmp_path, data_of(tmp_path, frames))
    assert "robot.blend" in page.said()
    assert ("succeeded" in page.attributes("class")) == (len(frames) > 1)


def test_very_many_frames_stay_a_small_file_that_still_shows_a_failure(tmp_path: Path) -> None:
    page = page_of(tmp_path, data_of(tmp_path, lines(10_000, frozenset({5_432}), nodes=40)))
    assert (tmp_path / "report.html").stat().st_size < 500_000
    assert "failed" in page.attributes("class")
    assert any("5421 to 5440: failed" in text for text in page.text)
    assert "8 more nodes are not shown" in page.said()


def test_a_report_replaces_the_one_before_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("yesterday's")
    report(data_of(tmp_path, lines(2)), out)
    assert "yesterday" not in out.read_text()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


def test_what_can_t_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RenderfarmError, match="can't be written"):
        report(data_of(tmp_path, lines(2)), tmp_path / "file" / "report.html")
    with pytest.raises(RenderfarmError, match="can't be written"):
        contact_sheet(pictures(tmp_path, 1), tmp_path / "file" / "s.jpg", title="x")


def test_durations_read_as_people_say_them() -> None:
    told = [duration(seconds) for seconds in (0.42, 12.3, 59.9, 200, 7500, 3600, 183600)]
    assert told == ["0.42 s", "12 s", "1 min", "3 min 20 s", "2 h 5 min", "1 h", "2 d 3 h"]


def test_the_summary_names_the_slowest_frame() -> None:
    frames = [Frame(n, FrameState.SUCCEEDED, seconds=seconds) for n, seconds in ((1, 2.0), (2, 9.0), (3, 1.0))]
    assert time_summary(frames) == "median 2 s, fastest 1 s, slowest 9 s (frame 2)"
