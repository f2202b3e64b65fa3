"""The farm home of renderfarm 0.1.0: jobs' rows in the database become a record and a journal each, once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from renderfarm.errors import RenderfarmError
from renderfarm.job.events import Begun, Canceled, Delivered, Left, Made, Reused
from renderfarm.job.home import claim
from renderfarm.job.journal import FARM, Journal
from renderfarm.job.record import Record
from renderfarm.job.shelf import Shelf
from renderfarm.words.as_json import read_json
from renderfarm.words.request import Request
from renderfarm.words.scene import Scene
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Work

TABLES = ("jobs", "frames", "attempts", "nodes", "orders", "hashes", "inspections", "measures")
"""of the database, that are no more; but for jobs and measured times, nothing but time is lost"""
UNREADABLE = (ValueError, OSError, RenderfarmError, sqlite3.Error)
"""what a job may raise that can't be moved, and is forgotten"""


def move(database: sqlite3.Connection, home: Path) -> None:
    """Write every job of the old tables into its output folder; one whose folder is gone is forgotten.

    Raises JobBusyError while an older version works on one of them.
    """
    database.row_factory = sqlite3.Row
    shelf = Shelf(home)
    for row in database.execute("SELECT * FROM jobs ORDER BY created").fetchall():
        message = f"{row['id']} is being rendered by an older renderfarm."
        lock = home / "jobs" / f"{row['id']}.lock"
        with claim(lock, message, "Wait until it has ended."), suppress(*UNREADABLE):
            _move_job(database, shelf, dict(row))
        lock.unlink(missing_ok=True)
    database.row_factory = None
    database.execute("INSERT INTO known SELECT 'float', name, '', CAST(value AS TEXT) FROM measures")
    for table in TABLES:
        database.execute(f"DROP TABLE {table}")


def _move_job(database: sqlite3.Connection, shelf: Shelf, row: Mapping[str, Any]) -> None:
    record = _record(row)
    if not (record.output / "frames").is_dir():
        return
    job = shelf.add(record)
    journal = Journal(job.journals, FARM)
    journal.add(*_events(database, row), now=row["created"])
    journal.close()


def _record(row: Mapping[str, Any]) -> Record:
    request, scene = read_json(Request, row["request"]), read_json(Scene, row["scene"])
    build = read_json(Build, row["build"])
    return Record(
        job=row["id"],
        created=row["created"],
        request=request,
        frames=row["range"],
        total=row["total"],
        fps=request.fps or scene.fps,
        scene=scene,
        renderer=build,
        work=Work(build.renderer, build, request.scene, request.settings, ""),
        sandbox=row["sandbox"],
        fingerprint=row["take"],
        notes=tuple(json.loads(row["notes"])),
    )


def _events(database: sqlite3.Connection, row: Mapping[str, Any]) -> Iterator[object]:
    yield Begun()
    for each in database.execute("SELECT * FROM frames WHERE job = ? ORDER BY frame", (row["id"],)):
        yield from _outcome(each)
    if database.execute("SELECT 1 FROM frames WHERE job = ? AND state = 'canceled'", (row["id"],)).fetchone():
        yield Canceled()
    problems = tuple(json.loads(row["problems"]))
    yield Made(row["video"], row["contact_sheet"], row["report"], problems)
    yield Left(row["seconds"])


def _outcome(row: Mapping[str, Any]) -> Iterator[object]:
    """What became of one frame; of one that was not decided, nothing."""
    frame, attempt = row["frame"], max(1, row["attempts"])
    if row["state"] == FrameState.SUCCEEDED and row["reused"]:
        yield Reused(frame, row["size"] or 0, row["mtime"] or 0)
    elif row["state"] == FrameState.SUCCEEDED:
        seconds, node, log = row["seconds"] or 0.0, row["node"] or "", row["log"] or ""
        yield Rendered(frame, "", seconds, attempt=attempt, node=node, log=log)
        yield Delivered(frame, attempt, row["size"] or 0, row["mtime"] or 0)
    elif row["state"] == FrameState.FAILED:
        reason, message = Reason(row["reason"] or "unknown"), row["message"] or ""
        yield Failed(frame, reason, message, attempt=attempt, log=row["log"] or "", final=True)
