"""What people read: jobs, scenes, plans and tables as plain lines of text.

Pure functions from the model's types to strings; colour is added by click and taken away again by
`output.say` where it isn't welcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from renderfarm.cli.output import clean
from renderfarm.words.as_json import encode
from renderfarm.words.durations import duration
from renderfarm.words.failures import advice, alike
from renderfarm.words.states import JobState, Phase

if TYPE_CHECKING:
    from renderfarm.farm.verbs import Plan
    from renderfarm.pictures.check import Problem, Report
    from renderfarm.queues.remote_side import Bill, Check
    from renderfarm.words.scene import Scene
    from renderfarm.words.status import FrameFailure, Status, Suspect

SHOWN_FAILURES = 5
SHOWN_SUSPECTS = 5
SHOWN_CHARACTERS = 80
"""of a range"""
COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "running": "cyan",
    "rendering remotely": "cyan",
    **dict.fromkeys(("canceled", "interrupted", "pausing", "paused"), "yellow"),
}
"""of states"""


def size(count: float) -> str:
    """Bytes in the unit that reads best: `512 B`, `3.4 MB`, `12 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def plural(count: int, noun: str) -> str:
    """`1 frame`, `2 frames`, `1,500 frames`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def gone(what: str, count: float, *, dry_run: bool) -> str:
    """`12 frames gone, 3.4 MB`, or what would go."""
    return f"{what} {'would go' if dry_run else 'gone'}, {size(count)}"


def table(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Rows as left-aligned columns, two blanks apart; the last column is as wide as it is."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(indent + line.rstrip() for line in lines)


def state(status: Status) -> str:
    """The one word that says most: the phase where it explains more than the state."""
    if status.phase is Phase.LEFT:
        return f"left to pool {status.pool}"
    if status.place:
        which = "next" if status.place == 1 else f"number {status.place}"
        return f"waiting behind {clean(status.behind or 'others')}, {which} in line"
    if status.doing:
        return status.doing
    return str(status.state) if status.phase in (Phase.UNTOLD, Phase.RENDERING, Phase.DONE) else status.phase


def job(status: Status) -> str:
    """A whole job: head line, nodes, where everything is, what to look at, what went wrong, what to do next."""
    sections = (
        head(status),
        _nodes(status),
        _places(status),
        _bullets("note", status.notes),
        _suspects(status),
        _bullets("problem", status.problems),
        _failures(status),
        str(advice(status) or ""),
    )
    return "\n".join(section for section in sections if section)


def head(status: Status) -> str:
    """`shot-1a2b succeeded: 500 of 500 frames in 12 min 40 s (40 reused)`."""
    word = state(status)
    counts = status.frames
    extra = [f"{counts.reused:,} reused"] if counts.reused else []
    extra += parts(status)
    extra += [f"{counts.failed:,} failed"] if counts.failed else []
    extra += [f"{counts.canceled:,} canceled"] if counts.canceled else []
    extra += [f"{duration(status.eta_seconds)} left"] if status.eta_seconds else []
    tail = f" ({', '.join(extra)})" if extra else ""
    done = f"{counts.succeeded:,} of {plural(counts.total, 'frame')} in {duration(status.seconds)}"
    return f"{clean(status.job)} {click.style(word, fg=COLOURS.get(word), bold=True)}: {done}{tail}"


def parts(status: Status) -> list[str]:
    """How far frames are that are rendered in parts, while some are left."""
    there = status.pieces
    return [] if there is status.frames else [f"{there.succeeded:,} of {there.total:,} parts"]


def _nodes(status: Status) -> str:
    if status.state is not JobState.RUNNING:
        return ""
    return table(((n.node, node_work(n.state, n.frame), duration(n.seconds)) for n in status.nodes), "  ")


def node_work(state: str, frame: int | None) -> str:
    """What a node does: `frame 12`, `loading`."""
    return state if frame is None else f"frame {frame}"


def _places(status: Status) -> str:
    places = (
        ("frames", status.frames_dir),
        ("video", status.video),
        ("contact sheet", status.contact_sheet),
        ("report", status.report),
        ("cost", _cost(status)),
    )
    return table(((name, place) for name, place in places if place), "  ")


def _cost(status: Status) -> str | None:
    if status.node_hours is None:
        return None
    amount = "" if status.cost is None else f", {money(status.cost, status.currency)}"
    return f"{status.node_hours:.3g} node-hours{amount}"


def money(amount: float, currency: str | None) -> str:
    """`about 1.20 USD`, `less than 0.01 USD`."""
    return f"about {amount:.2f} {currency}" if amount >= 0.005 or not amount else f"less than 0.01 {currency}"


def _bullets(label: str, lines: Sequence[str]) -> str:
    return "\n".join(f"  {label}: {clean(line)}" for line in lines)


def _suspects(status: Status) -> str:
    rows = list(map(suspect, status.suspects[:SHOWN_SUSPECTS]))
    more = len(status.suspects) - SHOWN_SUSPECTS
    return "\n".join([*rows, f"  … and {more:,} more to look at, see the report"] if more > 0 else rows)


def suspect(found: Suspect) -> str:
    """A frame that somebody should look at, as a line below a job."""
    return f"  look at frame {found.frame}: {found.finding} {clean(found.detail)}"


def _failures(status: Status) -> str:
    unlisted = max(0, status.frames.failed - len(status.failures))
    return "\n".join("  " + row for row in failures(status.failures, SHOWN_FAILURES, unlisted))


def failures(failed: Sequence[FrameFailure], most: int, unlisted: int = 0) -> Iterator[str]:
    """A line for each way in which frames failed, and how many failed in ways beyond the first `most`."""
    groups = alike(failed)
    yield from map(failure, groups[:most])
    if more := sum(map(len, groups[most:])) + unlisted:
        yield f"… and {more:,} more failed"


def failure(failed: Sequence[FrameFailure]) -> str:
    """Frames that failed alike: `frame 17 failed: crash: Segmentation fault (3 tries, log /…/f0017.1.log)`."""
    first = failed[0]
    tries = f"{first.attempts} {'try' if first.attempts == 1 else 'tries'}"
    log = f", log {clean(first.log)}" if first.log else ""
    return f"{_frames(failed)} failed: {first.reason}: {clean(first.message)} ({tries}{log})"


def _frames(failed: Sequence[FrameFailure]) -> str:
    """`frame 17`, or `frames 1-250`."""
    if len(failed) == 1:
        return f"frame {failed[0].frame}"
    from renderfarm.words.frames import compact

    text = compact(each.frame for each in failed)
    return (
        f"frames {text}" if len(text) <= SHOWN_CHARACTERS else f"{len(failed):,} frames from {failed[0].frame}"
    )


def jobs(statuses: Sequence[Status]) -> str:
    """The farm's jobs as a table."""
    rows = (
        (s.job, state(s), f"{s.frames.succeeded:,}/{s.frames.total:,}", _here(s), duration(s.seconds), s.scene)
        for s in statuses
    )
    return table((("JOB", "STATE", "FRAMES", "SUBMITTED", "TIME", "SCENE"), *rows))


def _here(status: Status) -> str:
    """When a job was submitted, by this machine's clock."""
    when = status.submitted
    return f"{datetime.fromisoformat(when).astimezone():%Y-%m-%d %H:%M}" if when else ""


def scene(found: Scene) -> str:
    """What a scene contains, then its files, the missing ones first, then warnings."""
    width, height = found.resolution
    facts = (
        ("scene", found.path),
        ("renderer", found.renderer),
        ("engine", found.engine),
        ("saved with", found.saved_with),
        ("frames", found.frames),
        ("fps", f"{found.fps:g}"),
        ("resolution", f"{width}x{height}"),
        ("samples", str(found.samples or "")),
        ("camera", _camera(found)),
        ("scenes", ", ".join(found.scenes)),
        ("view layers", ", ".join(found.view_layers)),
        ("writes by itself to", ", ".join(found.outputs)),
    )
    parts = (table(fact for fact in facts if fact[1]), assets(found), _bullets("warning", warnings(found)))
    return "\n".join(part for part in parts if part)


def _camera(found: Scene) -> str:
    others = [name for name in found.cameras if name != found.camera]
    return f"{found.camera or 'none'} (others: {', '.join(others)})" if others else found.camera or "none"


def assets(found: Scene) -> str:
    """The files that a scene needs, one a line."""
    if not found.assets:
        return "assets: none"
    ordered = sorted(found.assets, key=lambda asset: asset.exists)
    rows = (
        (
            a.kind,
            size(a.bytes) if a.exists else "MISSING",
            f"{a.path} (not shown to the renderer: it {a.withheld})" if a.withheld else a.path,
        )
        for a in ordered
    )
    return f"assets: {len(found.assets):,}, missing {len(found.missing):,}\n{table(rows, '  ')}"


def warnings(found: Scene) -> tuple[str, ...]:
    """What the user should know before rendering."""
    return (*found.notes, *(f"did not run: {name}" for name in found.blocked_scripts))


def scene_json(found: Scene) -> dict[str, object]:
    """A scene as `inspect --json` has it."""
    missing = [asset.path for asset in found.missing]
    return {**encode(found), "missing": missing, "warnings": list(warnings(found))}


def plan(planned: Plan) -> str:
    """What a submit would do."""
    tasks = f" in {planned.tasks:,} tasks" if planned.tasks is not None else ""
    facts = (
        ("scene", planned.scene.path),
        ("renderer", planned.build),
        ("frames", f"{planned.range} ({plural(planned.frames, 'frame')})"),
        ("to render", f"{planned.frames - planned.reused:,}{tasks}, {planned.reused:,} reused"),
        *((("parts", f"{planned.parts:,} ({planned.split})"),) if planned.parts else ()),
        *((("workers", str(planned.workers)),) if planned.bill is None else _bill(planned.bill)),
        ("time", _expected(planned)),
    )
    parts = (table(facts), assets(planned.scene), _bullets("note", planned.notes))
    return "\n".join(part for part in parts if part)


def _bill(bill: Bill) -> tuple[tuple[str, str], ...]:
    """What a remote pool would be sent, file by file, and what it may cost."""
    total = sum(count for _, count in bill.upload)
    head = f"{plural(len(bill.upload), 'file')}, {size(total)}; {bill.present:,} are there already"
    cost = "; ".join(filter(None, ("unknown, nothing of this was rendered before", bill.unpriced)))
    if bill.node_hours is not None:
        amount = bill.unpriced or "no price known"
        if bill.cost is not None:
            amount = f"{money(bill.cost, bill.currency)} (prices of {bill.prices})"
        cost = f"{bill.node_hours:.3g} node-hours, {amount}"
    return (
        ("upload", head),
        *(("", f"{path}  {size(count)}") for path, count in bill.upload),
        ("cost", cost),
    )


def _expected(planned: Plan) -> str:
    if planned.frames == planned.reused:
        return "no time, nothing is left to render"
    if planned.seconds is None:
        return "unknown, nothing of this was rendered before"
    return f"about {duration(planned.seconds)}"


def plan_json(planned: Plan) -> dict[str, object]:
    """A plan with its scene as `inspect --json` has it."""
    return {**encode(planned), "scene": scene_json(planned.scene)}


def report(found: Report) -> str:
    """What was found in a folder of frames."""
    looked = f"{plural(found.checked, 'frame')} checked, {found.good:,} good, {len(found.bad):,} bad"
    suspicious = f", {len(found.suspects):,} to look at" if found.suspects else ""
    sections = (looked + suspicious, _problems("bad", found.bad), _problems("look at", found.suspects))
    return "\n".join(section for section in sections if section)


def _problems(label: str, problems: Sequence[Problem]) -> str:
    frames = ("" if p.frame is None else f"frame {p.frame}" for p in problems)
    rows = zip(frames, problems, strict=True)
    return table(((label, frame, p.finding, p.detail, p.path or "") for frame, p in rows), "  ")


def checklist(items: Sequence[Check]) -> str:
    """What is there (✓), what is needed and isn't (✗), what would be nice (–), each with what mends it."""
    lines = []
    for item in items:
        mark = click.style("✓", fg="green") if item.ok else click.style("✗", fg="red") if item.needed else "–"
        lines.append(f"{mark} {clean(item.name)}: {clean(item.detail)}")
        lines += [f"    {clean(line)}" for line in item.remedy.splitlines() if not item.ok]
    return "\n".join(lines)
