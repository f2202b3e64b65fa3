"""What a night did to a shot, read from its job: counts, reasons, failures, files."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from renderfarm.errors import RenderfarmError, StoreError
from renderfarm.farm.products import signs
from renderfarm.job.fingerprint import Ingredients, explain
from renderfarm.job.home import farm_home
from renderfarm.job.job import Job
from renderfarm.job.ledger import Frame
from renderfarm.job.shelf import Shelf
from renderfarm.nightly.model import Shot, ShotCounts, ShotFailure, ShotNight, ShotState
from renderfarm.words.failures import advice
from renderfarm.words.frames import compact
from renderfarm.words.request import SUFFIXES
from renderfarm.words.states import FrameState
from renderfarm.words.status import FrameFailure, Status

READ_LOGS = 25
"""failures whose logs are read for the lines that matter"""
CRASH = "crash.txt"
SAME = ("seconds", "suspects", "notes", "problems", "cost", "currency")
FILES = ("video", "contact_sheet", "report")
"""of a status, as it has them"""
ASKED = "asked for with --all"
NEW = "new"
UNFINISHED = "frames that the last night left"
LOST = "frames that were no longer kept"


def blank(shot: Shot) -> ShotNight:
    """A shot to which nothing has happened."""
    return ShotNight(
        name=shot.name,
        scene=str(shot.scene),
        state=ShotState.FAILED,
        pool=shot.pool or "local",
        priority=shot.priority,
        output=shot.name,
    )


def with_error(record: ShotNight, error: Exception, crash: Path) -> ShotNight:
    """A shot that could not start, or was given up as a whole; what it has of frames stays.

    The traceback of what nobody foresaw goes into the file `crash`.
    """
    record = replace(record, state=ShotState.FAILED)
    if isinstance(error, RenderfarmError):
        return replace(record, error=error.message, hint=error.hint)
    if isinstance(error, OSError):
        return replace(record, error=str(error), hint="Mend that, then run the list again.")
    crash.parent.mkdir(parents=True, exist_ok=True)
    crash.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    message = f"renderfarm itself failed: {type(error).__name__}: {error}"
    return replace(record, error=message, hint=f"The traceback is in {crash}.")


def with_status(record: ShotNight, status: Status, job: Job, folder: Path, unfinished: ShotState) -> ShotNight:
    """The record of a shot from its job's status; `unfinished` is what frames without an outcome mean."""
    rows, times = list(job.ledger.of(FrameState.SUCCEEDED)), [row.seconds or 0.0 for row in _timed(job)]
    counts, relative = status.frames, partial(_relative, folder)
    same: dict[str, Any] = {name: getattr(status, name) for name in SAME}
    same |= {name: relative(getattr(status, name)) for name in FILES}
    step = advice(status, "run the list again") if counts.failed else None
    return replace(
        record,
        state=_state(status, unfinished),
        scene=job.request.scene,
        job=job.id,
        pool=job.request.pool,
        error=None,
        hint="",
        frames=ShotCounts(
            total=counts.total,
            rendered=counts.succeeded - counts.reused,
            reused=counts.reused,
            failed=counts.failed,
            left=counts.total - counts.succeeded - counts.failed,
        ),
        seconds_per_frame=sum(times) / len(times) if times else None,
        failures=tuple(_failures(status.failures, job, relative)),
        advice=str(step or ""),
        retry=(step and step.command) or None,
        fps=job.record.fps,
        resolution=job.record.scene.resolution,
        stem=Path(job.request.scene).stem,
        view=next(iter(job.record.scene.views), ""),
        suffix=SUFFIXES[job.request.settings.format],
        frame_files=compact(row.frame for row in rows),
        colour=job.record.scene.colour,
        **same,
    )


def with_reasons(record: ShotNight, earlier: ShotNight | None, *, again: bool) -> ShotNight:
    """The record with why frames were rendered, if any were."""
    if not record.frames.rendered:
        return replace(record, why=())
    if again:
        return replace(record, why=(ASKED,))
    if earlier is None or not earlier.job or not record.job:
        return replace(record, why=(NEW,))
    before, now = _ingredients(earlier.job), _ingredients(record.job)
    differences = tuple(explain(before, now)) if before and now else ()
    if not differences:
        short = earlier.frames.total > earlier.frames.good or earlier.frames.total < record.frames.total
        differences = (UNFINISHED if short else LOST,)
    return replace(record, why=differences)


def _ingredients(job: str) -> Ingredients | None:
    """What a job's frames were rendered from; None for one that is gone."""
    try:
        return Shelf(farm_home()).find(job).record.ingredients
    except StoreError:
        return None


def priced(record: ShotNight, price_per_hour: float | None, currency: str) -> ShotNight:
    """The record with what this machine's time cost, where it has a price and the pool has said none."""
    if price_per_hour is None or record.cost is not None or not record.frames.rendered:
        return record
    return replace(record, cost=round(record.seconds / 3600 * price_per_hour, 6), currency=currency)


def pace(job: Job) -> float | None:
    """Wall clock seconds per frame of what a job rendered, all its nodes together; None: not measured."""
    rows = _timed(job)
    nodes = {row.node for row in rows}
    return sum(row.seconds or 0.0 for row in rows) / len(rows) / len(nodes) if rows else None


def _timed(job: Job) -> list[Frame]:
    return [row for row in job.ledger.of(FrameState.SUCCEEDED) if row.seconds and not row.reused]


def _state(status: Status, unfinished: ShotState) -> ShotState:
    counts = status.frames
    if counts.queued + counts.running:
        return unfinished
    if counts.failed:
        return ShotState.FAILED
    return ShotState.CANCELED if counts.canceled else ShotState.SUCCEEDED


def _relative(folder: Path, path: str | None) -> str | None:
    return str(Path(path).relative_to(folder)) if path and Path(path).is_relative_to(folder) else path


def _failures(
    failures: Iterable[FrameFailure], job: Job, relative: Callable[[str | None], str | None]
) -> Iterable[ShotFailure]:
    for number, failure in enumerate(failures):
        said = {field.name: getattr(failure, field.name) for field in fields(failure)}
        lines = signs(job, failure.log) if number < READ_LOGS else ()
        yield ShotFailure(**{**said, "log": relative(failure.log), "signs": lines})
