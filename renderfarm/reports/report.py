"""One job as one HTML file that needs nothing else: pictures, times, what went wrong and what to do about it.

All numbers and coordinates are computed here, all markup is in report.html. Charts are aggregated to a fixed
number of columns, so the file of a hundred thousand frames is hardly larger than that of a hundred.
"""

from __future__ import annotations

import base64
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from renderfarm.errors import RenderfarmError
from renderfarm.frames import compact
from renderfarm.model import FrameFailure, FrameState, Scene, Status

CHART = (1000.0, 180.0)
MOST_COLUMNS = 500
MOST_BARS = 3000
MOST_NODES = 32
MOST_FAILURES = 25
MOST_SUSPECTS = 24
MOST_EMBEDDED_BYTES = 900_000
ROW = 26.0
SEVERITY = {"reused": 0, "succeeded": 1, "queued": 2, "running": 2, "canceled": 3, "failed": 4}
"""Which state a column of several frames takes."""


@dataclass(frozen=True, slots=True)
class FrameLine:
    """One frame as the report shows it."""

    frame: int
    state: FrameState
    seconds: float | None = None
    node: str = ""
    started: float | None = None
    """seconds since 1970, UTC"""
    reused: bool = False
    thumbnail: Path | None = None
    """a picture that browsers know; shown for suspects and failures"""

    @property
    def kind(self) -> str:
        """Its state, or `reused`."""
        return "reused" if self.reused else self.state.value


@dataclass(frozen=True)
class FailureLine:
    """A frame that failed for good, and the lines of its log that tell why."""

    failure: FrameFailure
    signs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportData:
    """All that a report tells; the farm fills it from its store."""

    status: Status
    scene: Scene
    build: str
    """the renderer, as people read it"""
    frames: Sequence[FrameLine]
    failures: Sequence[FailureLine] = ()
    contact_sheet: Path | None = None
    workers: int | None = None
    threads: int | None = None
    """render threads of each worker"""
    sandbox: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    """what the user asked to be different from the scene"""
    retry: str = ""
    """the command that renders the failed frames again"""
    finished: datetime | None = None


@dataclass(frozen=True)
class Bar:
    """A rectangle of a chart."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str
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
    html = _template().render(_context(data, out))
    unfinished = out.with_name(f".{out.stem[:40]}.unfinished.html")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(html, encoding="utf-8", errors="replace")
        unfinished.replace(out)
    except OSError as error:
        message = f"The report {out} can't be written: {error.strerror}."
        raise RenderfarmError(message, "Choose another output folder.") from error


def _template() -> jinja2.Template:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"duration": duration, "ranges": ranges, "number": "{:,}".format}
    return environment.get_template("report.html")


def _context(data: ReportData, out: Path) -> dict[str, object]:
    status = data.status
    thumbnails = {line.frame: line.thumbnail for line in data.frames if line.thumbnail}
    failures = data.failures[:MOST_FAILURES]
    return {
        "data": data,
        "status": status,
        "scene": data.scene,
        "scene_name": Path(data.scene.path).name,
        "finished": (data.finished or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        "tiles": list(_tiles(data)),
        "shares": _shares(status),
        "sheet": _embedded(data.contact_sheet),
        "video": _link(status.video, out),
        "frames_dir": _link(status.frames_dir, out),
        "times": times_chart(data.frames),
        "timeline": timeline_chart(data.frames),
        "summary": time_summary(data.frames),
        "failures": [
            (line, _embedded(thumbnails.get(line.failure.frame)), _link(line.failure.log, out)) for line in failures
        ],
        "other_failures": [line.failure.frame for line in data.failures[MOST_FAILURES:]],
        "suspects": [(s, _embedded(thumbnails.get(s.frame))) for s in status.suspects[:MOST_SUSPECTS]],
        "other_suspects": [s.frame for s in status.suspects[MOST_SUSPECTS:]],
    }


def _tiles(data: ReportData) -> Iterator[tuple[str, str]]:
    """Name and value of what the head of the report says."""
    scene = data.scene
    yield "Renderer", data.build
    yield "Engine", scene.engine
    yield "Picture", f"{scene.resolution[0]} × {scene.resolution[1]}"
    yield "Frame rate", f"{scene.fps:.5g} fps"
    yield "Camera", scene.camera or ""
    yield "Samples", str(scene.samples or "")
    yield "Pool", data.status.pool
    workers = f"{data.workers} × {data.threads} threads" if data.workers and data.threads else data.workers
    yield "Workers", str(workers or "")
    yield "Sandbox", data.sandbox
    yield "View", scene.colour.view + (f", {scene.colour.look}" if scene.colour.look else "")


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


def times_chart(frames: Sequence[FrameLine]) -> Chart | None:
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
    y_ticks = [Tick(CHART[1] * (1 - level / top), _seconds(level)) for level in levels]
    note = f"Each column is {share} frames: their longest, and the state of the worst." if share > 1 else ""
    return Chart(bars, x_ticks, y_ticks, note=note)


def _column(group: Sequence[FrameLine], x: float, width: float, top: float) -> Bar:
    seconds = [line.seconds for line in group if line.seconds is not None and not line.reused]
    kind = max((line.kind for line in group), key=SEVERITY.__getitem__)
    longest = max(seconds, default=0.0)
    height = max(3.0, CHART[1] * longest / top)
    gap = min(2.0, width * 0.2)
    first, last = group[0].frame, group[-1].frame
    which = f"frame {first}" if first == last else f"frames {first} to {last}"
    title = f"{which}: {kind}" + (f", {duration(longest)}" if seconds else "")
    return Bar(x + gap / 2, CHART[1] - height, width - gap, height, kind, title)


def timeline_chart(frames: Sequence[FrameLine]) -> Chart | None:
    """What each node did when: a row per node, a bar per frame, or shares of time where there are too many."""
    worked = [line for line in frames if line.node and line.started is not None and line.seconds]
    if not worked:
        return None
    rows: defaultdict[str, list[FrameLine]] = defaultdict(list)
    for line in worked:
        rows[line.node].append(line)
    start = min(line.started or 0.0 for line in worked)
    span = max((line.started or 0.0) + (line.seconds or 0.0) for line in worked) - start or 1.0
    names = sorted(rows, key=_by_number)[:MOST_NODES]
    many = len(worked) > MOST_BARS
    bars: list[Bar] = []
    for index, name in enumerate(names):
        draw = _busy_bars(rows[name], start, span, MOST_BARS // len(names)) if many else None
        bars += draw if draw is not None else _frame_bars(rows[name], start, span)
        bars[-len(rows[name]) if draw is None else -len(draw) :] = [
            _lowered(bar, index) for bar in bars[-len(rows[name]) if draw is None else -len(draw) :]
        ]
    step, _ = _nice_step(span, 6)
    x_ticks = [Tick(CHART[0] * i * step / span, duration(i * step)) for i in range(int(span / step) + 1)]
    y_ticks = [Tick((index + 0.5) * ROW, name) for index, name in enumerate(names)]
    notes = ["The stronger the colour, the busier the node."] if many else []
    notes += [f"{len(rows) - len(names)} more nodes are not shown."] if len(rows) > len(names) else []
    return Chart(bars, x_ticks, y_ticks, height=ROW * len(names), note=" ".join(notes))
