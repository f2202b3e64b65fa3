"""One job as one HTML file that needs nothing else: pictures, times, what went wrong and what to do about it.

All numbers and coordinates are computed here, all markup is in report.html. Charts are aggregated to a fixed
number of columns, so the file of a hundred thousand frames is hardly larger than that of a hundred.
"""

from __future__ import annotations

import functools
import math
import os
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from renderfarm.errors import RenderfarmError
from renderfarm.job.home import farm_home
from renderfarm.job.ledger import Frame
from renderfarm.pictures.small import data_url, saved, small
from renderfarm.words import files
from renderfarm.words.durations import duration
from renderfarm.words.failures import Advice
from renderfarm.words.frames import listed
from renderfarm.words.scene import Colour, Scene
from renderfarm.words.states import FrameState
from renderfarm.words.status import FrameFailure, Status

if TYPE_CHECKING:
    import jinja2

CHART = (1000.0, 180.0)
MOST_COLUMNS = 500
MOST_BARS = 3000
MOST_NODES = 32
MOST_FAILURES = 25
MOST_SUSPECTS = 24
MOST_SHEET_BYTES = 900_000
LARGEST_SHEET = (1600, 1600)
LITTLE = (400, 400)
ROW = 26.0
SEVERITY = {"reused": 0, "succeeded": 1, "queued": 2, "running": 2, "canceled": 3, "failed": 4}
"""Which state a column of several frames takes."""
Span = tuple[float, float, Frame]
"""when a frame was worked on, from and to"""


@dataclass(frozen=True)
class FailureLine:
    """Frames that failed for good in the same way, and the lines of the first one's log that tell why."""

    failures: Sequence[FrameFailure]
    signs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """All that a report tells; the farm fills it from its store."""

    status: Status
    scene: Scene
    build: str
    """the renderer, as people read it"""
    frames: Sequence[Frame]
    thumbnails: Mapping[int, Path] = field(default_factory=dict)
    """frame to its picture, of suspects"""
    failures: Sequence[FailureLine] = ()
    contact_sheet: Path | None = None
    film: Path | None = None
    """small enough to lie inside"""
    workers: int | None = None
    sandbox: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    """what the user asked to be different from the scene"""
    advice: Advice | None = None
    """what to do next"""


@dataclass(frozen=True)
class Bar:
    """A rectangle of a chart."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""
    strength: float = 1.0


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Bars and axes, in units of the drawing."""

    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    height: float = CHART[1]
    note: str = ""


def report(data: ReportData, out: Path) -> None:
    """Write the report, whole or not at all; links to the video and the logs are relative to `out`.

    Raises RenderfarmError when `out` can't be written.
    """
    html = page().render(_context(data, out))
    try:
        files.write(out, html)
    except OSError as error:
        message = f"The report {out} can't be written: {error.strerror}."
        raise RenderfarmError(message, "Choose another output folder.") from error


def page() -> jinja2.Template:
    """The report before it is filled in; whoever asks beforehand has the wait behind them."""
    return template(Path(__file__).with_name("report.html"))


@functools.cache
def template(path: Path, *filters: Callable[..., str]) -> jinja2.Template:
    """Compiled once for this farm home: that takes longer than filling it in."""
    import jinja2

    compiled = farm_home() / "pages"
    compiled.mkdir(exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        bytecode_cache=jinja2.FileSystemBytecodeCache(str(compiled)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "duration": duration,
        "ranges": listed,
        "number": "{:,}".format,
        "urldecode": unquote,
        **{each.__name__: each for each in filters},
    }
    return environment.get_template(path.name)


def _context(data: ReportData, out: Path) -> dict[str, object]:
    status = data.status
    view = data.scene.colour
    return {
        "data": data,
        "status": status,
        "scene": data.scene,
        "scene_name": Path(data.scene.path).name,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "tiles": facts(data.scene, data.build, status.pool, str(data.workers or ""), data.sandbox),
        "shares": _shares(status),
        "sheet": _sheet(data.contact_sheet),
        "video": link(status.video, out.parent),
        "film": data_url(data.film.read_bytes() if data.film else b"", "video/mp4"),
        "frames_dir": link(status.frames_dir, out.parent),
        "times": times_chart(data.frames),
        "timeline": timeline_chart(data.frames),
        "summary": time_summary(data.frames),
        "failures": [
            (listed(each.frame for each in line.failures), line, link(line.failures[0].log, out.parent))
            for line in data.failures[:MOST_FAILURES]
        ],
        "other_failures": [each.frame for line in data.failures[MOST_FAILURES:] for each in line.failures],
        "suspects": [(s, _little(data.thumbnails.get(s.frame), view)) for s in status.suspects[:MOST_SUSPECTS]],
        "other_suspects": [s.frame for s in status.suspects[MOST_SUSPECTS:]],
    }


def facts(scene: Scene, build: str, pool: str, workers: str, sandbox: str) -> list[tuple[str, str]]:
    """Name and value of what the head of the report says, and the page; none that is not known."""
    found = (
        ("Renderer", build),
        ("Engine", scene.engine),
        ("Picture", f"{scene.resolution[0]} × {scene.resolution[1]}"),
        ("Frame rate", f"{scene.fps:.5g} fps"),
        ("Camera", scene.camera or ""),
        ("Samples", str(scene.samples or "")),
        ("Pool", pool),
        ("Workers", workers),
        ("Sandbox", sandbox),
        ("View", _view(scene.colour)),
    )
    return [(name, value) for name, value in found if value]


def _view(colour: Colour) -> str:
    """The view transform and its look, which may name it; empty for a renderer that has none."""
    view, look = colour.view if colour.config else "", colour.look
    return look if look.startswith(view) and look else ", ".join(filter(None, (view, look)))


def _shares(status: Status) -> list[tuple[str, int, float]]:
    """Kind, count and percentage for the bar under the title; reused frames apart from rendered ones."""
    counts = status.frames
    rendered = counts.succeeded - counts.reused
    parts = [
        ("succeeded", rendered),
        ("reused", counts.reused),
        ("failed", counts.failed),
        ("running", counts.running),
        ("queued", counts.queued),
        ("canceled", counts.canceled),
    ]
    return [(kind, count, 100 * count / max(1, counts.total)) for kind, count in parts if count > 0]


def times_chart(frames: Sequence[Frame]) -> Chart | None:
    """Seconds per frame over the frame numbers; a column of several frames shows their longest."""
    timed = [line.seconds for line in frames if line.seconds is not None and not line.reused]
    if not timed:
        return None
    lines = sorted(frames, key=lambda line: line.frame)
    share = math.ceil(len(lines) / MOST_COLUMNS)
    groups = [lines[start : start + share] for start in range(0, len(lines), share)]
    step, top = _nice_step(max(timed), 4)
    width = CHART[0] / len(groups)
    bars = [_column(group, index * width, width, top) for index, group in enumerate(groups)]
    wanted = {round(i * (len(groups) - 1) / 7) for i in range(8)}
    x_ticks = [Tick((index + 0.5) * width, str(groups[index][0].frame)) for index in sorted(wanted)]
    levels = [step * i for i in range(round(top / step) + 1)]
    y_ticks = [Tick(CHART[1] * (1 - level / top), duration(level)) for level in levels]
    note = f"Each column is {share} frames: their longest, and the state of the worst." if share > 1 else ""
    return Chart(bars, x_ticks, y_ticks, note=note)


def _kind(frame: Frame) -> str:
    """Its state, or `reused`."""
    return "reused" if frame.reused else frame.state.value


def _column(group: Sequence[Frame], x: float, width: float, top: float) -> Bar:
    seconds = [line.seconds for line in group if line.seconds is not None and not line.reused]
    kind = max((_kind(line) for line in group), key=SEVERITY.__getitem__)
    longest = max(seconds, default=0.0)
    height = max(9.0 if kind == "failed" else 3.0, CHART[1] * longest / top)
    gap = 2.0 if width > 6 else 0.0
    first, last = group[0].frame, group[-1].frame
    which = f"frame {first}" if first == last else f"frames {first} to {last}"
    title = f"{which}: {kind}" + (f", {duration(longest)}" if seconds else "")
    return Bar(x + gap / 2, CHART[1] - height, width - gap, height, kind, title)


def timeline_chart(frames: Sequence[Frame]) -> Chart | None:
    """What each node did when: a row per node, a bar per frame, or shares of time where there are too many."""
    spans = [
        (line.started, line.started + line.seconds, line)
        for line in frames
        if line.node and line.started is not None and line.seconds is not None
    ]
    start = min((start for start, _, _ in spans), default=0.0)
    total = max((end for _, end, _ in spans), default=0.0) - start
    if not total:
        return None
    rows: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        rows[span[2].node or ""].append(span)
    names = sorted(rows, key=_natural)[:MOST_NODES]
    many = len(spans) > MOST_BARS
    bars: list[Bar] = []
    for index, name in enumerate(names):
        y = index * ROW + 4
        bars += _busy_bars(rows[name], start, total, y, MOST_BARS // len(names)) if many else ()
        bars += () if many else _frame_bars(rows[name], start, total, y)
    step, _ = _nice_step(total, 6)
    x_ticks = [Tick(CHART[0] * i * step / total, duration(i * step)) for i in range(int(total / step) + 1)]
    y_ticks = [Tick((index + 0.5) * ROW, name) for index, name in enumerate(names)]
    notes = ["The stronger the colour, the busier the node."] if many else []
    notes += [f"{len(rows) - len(names)} more nodes are not shown."] if len(rows) > len(names) else []
    return Chart(bars, x_ticks, y_ticks, height=ROW * len(names), note=" ".join(notes))


def _frame_bars(spans: Sequence[Span], start: float, total: float, y: float) -> Iterator[Bar]:
    scale = CHART[0] / total
    for begin, end, line in spans:
        width = max(0.6, (end - begin) * scale - 0.6)
        title = f"frame {line.frame}: {_kind(line)}, {duration(end - begin)}"
        yield Bar((begin - start) * scale, y, width, ROW - 8, _kind(line), title)


def _busy_bars(spans: Sequence[Span], start: float, total: float, y: float, most: int) -> Iterator[Bar]:
    """The node's time in equal slices, each as strong as it was busy and red when a frame failed in it."""
    count = min(200, max(1, most))
    length = total / count
    busy, failed = [0.0] * count, [False] * count
    for begin, end, line in spans:
        first, last = (min(count - 1, int((moment - start) / length)) for moment in (begin, end))
        for index in range(first, last + 1):
            slot = start + index * length
            busy[index] += max(0.0, min(end, slot + length) - max(begin, slot))
        failed[last] = failed[last] or line.state == FrameState.FAILED
    width = CHART[0] / count
    for index, seconds in enumerate(busy):
        share = min(1.0, seconds / length)
        if share > 0:
            kind = "failed" if failed[index] else "succeeded"
            title = f"{share:.0%} busy" + (", with a failed frame" if failed[index] else "")
            yield Bar(index * width, y, width, ROW - 8, kind, title, round(0.15 + 0.85 * share, 2))


def _natural(name: str) -> tuple[object, ...]:
    """Order names as people do: worker-2 before worker-10."""
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name))


def _nice_step(most: float, parts: int) -> tuple[float, float]:
    """A round step for an axis of about `parts` parts, and the end of the axis."""
    rough = max(most, 1e-3) / parts
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [power * factor for factor in (1, 2, 5, 10)]
    if rough >= 10:
        steps = [*(float(s) for s in (10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200)), *steps]
    step = min(step for step in steps if step >= rough)
    return step, step * max(1, math.ceil(most / step))


def time_summary(frames: Sequence[Frame]) -> str:
    """Median, fastest and slowest frame in one line; empty when nothing was rendered."""
    timed = [(line.seconds, line.frame) for line in frames if line.seconds is not None and not line.reused]
    if not timed:
        return ""
    (least, _), (most, slowest) = min(timed), max(timed)
    middle = statistics.median(seconds for seconds, _ in timed)
    return f"median {duration(middle)}, fastest {duration(least)}, slowest {duration(most)} (frame {slowest})"


def _sheet(path: Path | None) -> str:
    """The contact sheet as a data URL, as it is unless it is very large; empty when it is not there."""
    if path is None or not path.is_file():
        return ""
    if path.suffix.lower() in (".jpg", ".jpeg") and path.stat().st_size <= MOST_SHEET_BYTES:
        return data_url(path.read_bytes())
    return _little(path, None, LARGEST_SHEET)


def _little(path: Path | None, view: Colour | None, box: tuple[int, int] = LITTLE) -> str:
    """Any picture as the data URL of a small JPEG, over black; empty when it can't be read."""
    image = small(path, box, view)
    return data_url(saved(image, "JPEG", quality=80, optimize=True) if image else b"")


def link(target: str | Path | None, beside: Path) -> str:
    """A link to a file from a page in the folder `beside`; empty when there is none."""
    return quote(os.path.relpath(Path(target).absolute(), beside.absolute())) if target else ""
