"""What the page shows of one job: the ledger's words as values that travel as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from renderfarm.errors import InputError
from renderfarm.farm import cache
from renderfarm.farm.filling import FILLING
from renderfarm.farm.products import rendered_with, signs, so_far
from renderfarm.job.job import Job
from renderfarm.job.journal import Entry
from renderfarm.job.ledger import DECIDED, Frame, Ledger
from renderfarm.job.record import SCRATCH
from renderfarm.pictures.codecs import CONTAINERS
from renderfarm.reports.report import facts
from renderfarm.words import files
from renderfarm.words import frames as frame_ranges
from renderfarm.words.as_json import encode
from renderfarm.words.failures import advice, alike
from renderfarm.words.frames import FrameRange, compact
from renderfarm.words.scene import Colour
from renderfarm.words.states import FrameState
from renderfarm.words.status import Status

Json = dict[str, Any]

MOST_GROUPS = 200
SIGNED_GROUPS = 20
"""of these, with lines of their logs; the page asks for those of a frame that somebody looks at"""
LOG_BYTES = 1 << 18
CODES = {
    FrameState.QUEUED: 0,
    FrameState.RUNNING: 1,
    FrameState.SUCCEEDED: 2,
    FrameState.FAILED: 3,
    FrameState.CANCELED: 4,
}
REUSED = 5
TOLD = (
    "output",
    "state",
    "phase",
    "frames",
    "parts",
    "seconds",
    "eta_seconds",
    "frames_per_minute",
    "place",
    "behind",
    "nodes",
    "submitted",
    "ended",
)
"""of a status, in the list of jobs"""


@dataclass(frozen=True)
class Shown:
    """A frame's picture, and how it is to be seen."""

    path: Path
    """its file; the job's folder for one of which parts are there"""
    size: int
    mtime: int
    """nanoseconds"""
    view: Colour
    keep: Path
    """the folder for what is made of it"""
    seconds: float | None = None
    """that it took"""


def summary(job: Job, status: Status) -> Json:
    """What stands in the list, and changes while it renders."""
    scene = job.record.scene
    size = [round(scene.resolution[0] * scene.pixel_aspect), scene.resolution[1]]
    # What turns text around would let a scene pass for another one.
    name = "".join(c if c.isprintable() else "\ufffd" for c in Path(scene.path).name)
    own: Json = {"id": job.id, "scene": name, "path": job.request.scene}
    own |= {"fps": job.record.fps, "size": size, "latest": job.ledger.run.newest}
    return own | {name: encode(getattr(status, name)) for name in TOLD}


def whole(job: Job, status: Status) -> Json:
    """All that is shown of a job, but times and logs."""
    frames = frame_ranges.parse(job.record.frames)
    scene = replace(job.record.scene, fps=job.record.fps)
    more: Json = {
        "range": frames.text if frames.plain else compact(frames),
        "runs": runs(job.ledger, frames),
        "suspects": [[s.frame, s.finding.value, s.detail] for s in job.ledger.suspects()],
        "failures": list(_failures(job, status)),
        "advice": str(advice(status) or ""),
        "film": film_stamp(job),
        "facts": [
            *facts(scene, rendered_with(job), job.request.pool, "", job.record.sandbox),
            ("Scene", scene.path),
            ("Output", str(job.record.output)),
        ],
    }
    return {**summary(job, status), **more, "notes": status.notes, "problems": status.problems}


def told(ledger: Ledger, number: int) -> list[Any]:
    """A frame, its code and its seconds."""
    frame = ledger.frames.get(number) or Frame(number)
    return [number, _code(ledger, frame), frame.seconds]


def _code(ledger: Ledger, frame: Frame) -> int:
    if frame.state is FrameState.SUCCEEDED and frame.reused:
        return REUSED
    return CODES[frame.state if frame.state in DECIDED else ledger.state(frame.frame)]


def touched(news: Iterable[Entry]) -> list[int]:
    """The frames that something was said about."""
    frames = (getattr(entry.event, "frame", None) for entry in news)
    return sorted({frame for frame in frames if isinstance(frame, int)})


def _places(ledger: Ledger, frames: FrameRange) -> Iterator[tuple[int, Frame]]:
    """Frames of which something was said, by their place in the range."""
    if plain := frames.plain:
        for number in sorted(ledger.frames):
            if number in plain:
                yield (number - plain.start) // plain.step, ledger.frames[number]
        return
    for place, number in enumerate(frames.ascending()):
        if number in ledger.frames:
            yield place, ledger.frames[number]


def runs(ledger: Ledger, frames: FrameRange) -> list[list[int]]:
    """Codes of all frames, each with how many follow each other; ten million that wait are one run."""
    found: list[list[int]] = []

    def add(code: int, count: int) -> None:
        if found and found[-1][0] == code:
            found[-1][1] += count
        elif count:
            found.append([code, count])

    untouched = CODES[ledger.state(frame_ranges.LARGEST_FRAME + 1)]
    at = 0
    for place, frame in _places(ledger, frames):
        add(untouched, place - at)
        add(_code(ledger, frame), 1)
        at = place + 1
    add(untouched, len(frames) - at)
    return found


def times(job: Job, columns: int) -> Json:
    """Longest and mean seconds of the frames in so many columns, and what each node made."""
    frames = frame_ranges.parse(job.record.frames)
    columns = max(1, min(columns, len(frames)))
    most, total, count = [0.0] * columns, [0.0] * columns, [0] * columns
    nodes: dict[str, Json] = {}
    for place, frame in _places(job.ledger, frames):
        if frame.seconds and not frame.reused:
            column = place * columns // len(frames)
            most[column] = max(most[column], frame.seconds)
            total[column] += frame.seconds
            count[column] += 1
            node = nodes.setdefault(frame.node or "", {"name": frame.node, "frames": 0, "seconds": 0.0})
            node["frames"] += 1
            node["seconds"] += frame.seconds
    mean = [round(each / many, 3) if many else 0 for each, many in zip(total, count, strict=True)]
    return {"most": [round(each, 3) for each in most], "mean": mean, "nodes": [*nodes.values()]}


def one(job: Job, number: int) -> Json:
    """What became of one frame, by whom, and what is wrong with it."""
    frame = job.ledger.frames.get(number) or Frame(number)
    failure = [frame.reason, frame.message] if frame.reason else None
    suspect = job.ledger.remarks.suspected.get(number)
    return {
        "frame": number,
        "code": told(job.ledger, number)[1],
        "seconds": frame.seconds,
        "node": frame.node,
        "attempts": frame.attempts,
        "finding": [suspect.finding.value, suspect.detail] if suspect else None,
        "failure": failure,
        "signs": signs(job, frame.log) if failure else [],
        "logs": len(job.ledger.logs(number)),
    }


def _failures(job: Job, status: Status) -> Iterator[Json]:
    """What failed alike told once, with the lines that matter of the first one's log."""
    for number, group in enumerate(alike(status.failures)[:MOST_GROUPS]):
        lines = signs(job, group[0].log) if number < SIGNED_GROUPS else ()
        frames = compact(each.frame for each in group)
        yield encode(group[0]) | {"frames": frames, "count": len(group), "signs": lines}


# Files


def picture(job: Job, number: int, home: Path) -> Shown:
    """Where a frame's picture is, in the output folder or, where that has another now, in the cache.

    Raises InputError with the reason where there is none.
    """
    frame = job.ledger.frames.get(number)
    if job.parts and job.ledger.state(number) is FrameState.RUNNING:
        return Shown(job.folder, job.parts.ledger.counts().succeeded, 0, Colour(), job.folder / FILLING)
    if frame is None or frame.state is not FrameState.SUCCEEDED:
        raise InputError(f"Frame {number} is not there yet.")
    fingerprints, files = job.record.fingerprints, job.record.pictures(number)
    fingerprint = frame.fingerprint or (fingerprints.of(number) if fingerprints else job.record.fingerprint)
    for paths in (files, cache.places(home, fingerprint, number, files)):
        with suppress(OSError):
            shown = on_disk(job, paths, frame.seconds)
            if (shown.size, shown.mtime) == (frame.size, frame.mtime):
                return shown
    raise InputError(f"Frame {number} was moved or written over since, and the cache has let go of it.")


def on_disk(job: Job, paths: Sequence[Path], seconds: float | None = None) -> Shown:
    """A frame's first view, with the size and time that are recorded of all its files; raises OSError."""
    return Shown(paths[0], *cache.recorded(paths), job.record.scene.colour, job.folder / "thumbnails", seconds)


def film(job: Job) -> Path | None:
    """The video, where it is a file of this job."""
    made = job.ledger.remarks.made.video
    path = job.record.output / made if made else so_far(job)
    own = path.is_relative_to(job.record.output) or str(path) == job.request.video
    there = own and path.suffix.lower() in CONTAINERS and path.is_file()
    return path if there and path.stat().st_mtime >= job.record.created * bool(not made) else None


def film_stamp(job: Job) -> int | None:
    """What is another number when the film has grown; None for no film."""
    path = film(job)
    return path.stat().st_mtime_ns // 1_000_000 if path else None


def log(job: Job, frame: int | None, node: str, start: int, name: str = "") -> Json:
    """A piece of what a renderer said, of a frame's last attempt or of what a node is at; from its end where
    `start` is negative.

    name: the log of the piece before, whose rest comes first where the node is at another by now.
    """
    logs = job.ledger.logs(frame) if frame is not None else []
    path = job.record.log(logs[-1]) if logs else _live(job, node) if node else None
    if node and name and start > 0 and (path is None or path.name != name):
        rest = _piece(job.record.log(name), start)
        if rest["text"] or path is None:
            return rest
    return _piece(path, start) if path else {"name": "", "start": 0, "next": 0, "size": 0, "text": ""}


def _live(job: Job, node: str) -> Path | None:
    """The log that a node of this machine writes now."""
    work = job.record.output / SCRATCH / "work"
    logs = [path for depth in ("*", "*/*") for path in work.glob(f"{depth}/*.log") if path.parent.name == node]
    return max(logs, key=lambda path: path.lstat().st_mtime_ns, default=None)


def _piece(path: Path, start: int) -> Json:
    """Some of a log; a link, which a scene may have put there, is none."""
    try:
        data, begin, size = files.piece(path, start, LOG_BYTES)
    except (OSError, ValueError):  # there is none, or no file can have its name
        data, begin, size = b"", 0, 0
    if begin + len(data) < size:  # whole lines, so that no character is torn
        data = data[: data.rfind(b"\n") + 1] or data
    text = data.decode(errors="replace")
    return {"name": path.name, "start": begin, "next": begin + len(data), "size": size, "text": text}
