"""The farm's memory: one SQLite file in the farm home.

A frame without a row is queued, so a job of ten million frames costs one row until it starts. Only frames have
a stored state; tasks and jobs are functions of it. Every change of a frame's state goes through `Store.record`,
which is the one place that knows which changes are allowed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from renderfarm import stamps
from renderfarm.errors import StoreError, StoreWriteError
from renderfarm.model import Build, Failed, FrameState, JobState, Request, Scene, decode, encode, to_json
from renderfarm.stamps import Stamp
from renderfarm.takes import Parts

BUSY_SECONDS = 30.0
ID_TRIES = 1000
ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

TRANSITIONS: Mapping[FrameState, frozenset[FrameState]] = {
    FrameState.QUEUED: frozenset(FrameState),
    FrameState.RUNNING: frozenset(FrameState),
    FrameState.SUCCEEDED: frozenset({FrameState.QUEUED}),
    FrameState.FAILED: frozenset({FrameState.QUEUED}),
    FrameState.CANCELED: frozenset({FrameState.QUEUED}),
}
"""From a state to those that may follow it. What is decided only changes by being queued again; a queued frame
succeeds at once when it is reused, and farm and node may be ahead of what was last written."""

SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, created REAL NOT NULL, request TEXT NOT NULL, scene TEXT NOT NULL, build TEXT NOT NULL,
    take TEXT NOT NULL, range TEXT NOT NULL, total INTEGER NOT NULL, sandbox TEXT NOT NULL,
    seconds REAL NOT NULL DEFAULT 0, begun REAL, phase TEXT NOT NULL DEFAULT '', eta REAL, rate REAL,
    video TEXT, contact_sheet TEXT, report TEXT,
    notes TEXT NOT NULL DEFAULT '[]', problems TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE frames (
    job TEXT NOT NULL, frame INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT, message TEXT, log TEXT, node TEXT, started REAL, seconds REAL,
    reused INTEGER NOT NULL DEFAULT 0, size INTEGER, mtime INTEGER, signature BLOB, finding TEXT, detail TEXT,
    PRIMARY KEY (job, frame)
) STRICT, WITHOUT ROWID;
CREATE INDEX frames_by_state ON frames (job, state);
CREATE TABLE attempts (
    job TEXT NOT NULL, frame INTEGER NOT NULL, attempt INTEGER NOT NULL, reason TEXT NOT NULL,
    message TEXT NOT NULL, node TEXT NOT NULL, seconds REAL NOT NULL, log TEXT NOT NULL, ended REAL NOT NULL
) STRICT;
CREATE INDEX attempts_by_job ON attempts (job, frame);
CREATE TABLE nodes (
    job TEXT NOT NULL, node TEXT NOT NULL, state TEXT NOT NULL, frame INTEGER, since REAL NOT NULL,
    PRIMARY KEY (job, node)
) STRICT, WITHOUT ROWID;
CREATE TABLE orders (job TEXT NOT NULL, what TEXT NOT NULL, frames TEXT NOT NULL) STRICT;
CREATE TABLE takes (take TEXT PRIMARY KEY, scene TEXT NOT NULL, used REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE cached (
    take TEXT NOT NULL, frame INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, signature BLOB,
    PRIMARY KEY (take, frame)
) STRICT, WITHOUT ROWID;
CREATE TABLE hashes (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE inspections (key TEXT PRIMARY KEY, found TEXT NOT NULL, used REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE measures (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT, WITHOUT ROWID;
"""
PARTS = "CREATE TABLE parts (job TEXT PRIMARY KEY, parts TEXT NOT NULL) STRICT, WITHOUT ROWID"
PRODUCTS = """
CREATE TABLE products (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""
POOL = "ALTER TABLE jobs ADD COLUMN pool TEXT NOT NULL DEFAULT 'null'"
HASHES = """
DROP TABLE hashes;
CREATE TABLE hashes (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID
"""
NODE_BUILDS = """
CREATE TABLE node_builds (
    nodes TEXT NOT NULL, identity TEXT NOT NULL, label TEXT NOT NULL, named REAL NOT NULL,
    PRIMARY KEY (nodes, identity)
) STRICT, WITHOUT ROWID
"""
MIGRATIONS = (SCHEMA, PARTS, PRODUCTS, POOL, HASHES, NODE_BUILDS)
"""from each version to the next one; a new home goes through all of them"""
VERSION = len(MIGRATIONS)


@dataclass(frozen=True)
class Job:
    """One job's row: what was asked, and what was found out when it was."""

    id: str
    created: float
    """seconds since the epoch, UTC"""
    request: Request
    scene: Scene
    build: Build
    take: str
    """one hash over the fingerprints of all its frames"""
    range: str
    total: int
    sandbox: str
    """how the renderer is shut in, for people"""
    seconds: float
    begun: float | None
    phase: str
    eta: float | None
    rate: float | None
    video: str | None
    contact_sheet: str | None
    report: str | None
    notes: tuple[str, ...]
    problems: tuple[str, ...]
    pool: Mapping[str, object] | None = None
    """its pool's table as it was; None in jobs of older versions"""


@dataclass(frozen=True, slots=True)
class Change:
    """A frame's new state and what is known with it."""

    frame: int
    state: FrameState
    attempts: int = 0
    reason: str | None = None
    message: str | None = None
    log: str | None = None
    node: str | None = None
    started: float | None = None
    seconds: float | None = None
    reused: int = 0
    size: int | None = None
    mtime: int | None = None
    signature: bytes | None = None


CHANGE_COLUMNS = tuple(Change.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One frame that is not simply queued."""

    frame: int
    state: FrameState
    attempts: int
    reason: str | None
    message: str | None
    log: str | None
    node: str | None
    started: float | None
    seconds: float | None
    reused: int
    size: int | None
    mtime: int | None
    signature: bytes | None
    finding: str | None
    detail: str | None


FRAME_COLUMNS = tuple(FrameRow.__dataclass_fields__)


def job_state(total: int, counts: Mapping[FrameState, int], alive: bool) -> JobState:
    """A job's state from its frames' states, and from whether somebody works on it."""
    missing = total - sum(counts.get(s, 0) for s in FrameState if s is not FrameState.QUEUED)
    if missing or counts.get(FrameState.RUNNING):
        started = missing < total
        return JobState.RUNNING if alive and started else JobState.QUEUED
    if alive:
        return JobState.RUNNING
    if counts.get(FrameState.FAILED):
        return JobState.FAILED
    return JobState.CANCELED if counts.get(FrameState.CANCELED) else JobState.SUCCEEDED


class Store:
    """An open farm memory. Used by one thread; any number of processes may have it open."""

    def __init__(self, home: Path) -> None:
        self.home = home
        path = home / "farm.sqlite"
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            message = f"The farm's memory {path} can't be opened: {error}."
            raise StoreError(message, "Move it away, or set RENDERFARM_HOME to another folder.") from error
        if version > VERSION:
            message = f"The farm's memory {path} was written by a newer renderfarm (version {version})."
            raise StoreError(message, "Upgrade renderfarm, or set RENDERFARM_HOME to another folder.")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if version < VERSION:
            self._migrate()

    def _migrate(self) -> None:
        with self.transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            for script in MIGRATIONS[version:]:
                for statement in script.split(";\n"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {max(version, VERSION)}")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises StoreWriteError when the disk is full or the file is broken."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise StoreWriteError(
                f"The farm's memory can't be written: {error}.", f"Look at {self.home}."
            ) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    # Jobs

    def create_job(
        self,
        request: Request,
        scene: Scene,
        build: Build,
        take: str,
        text: str,
        total: int,
        sandbox: str,
        pool: Mapping[str, object] | None = None,
    ) -> Job:
        """A new job with a fresh id, `<scene stem>-<4 hex digits>`."""
        name = (
            "".join(c if c in ID_CHARACTERS else "_" for c in Path(request.scene).stem).lstrip("-") or "scene"
        )
        for _ in range(ID_TRIES):
            job = f"{name}-{secrets.token_hex(2)}"
            with contextlib.suppress(sqlite3.IntegrityError):
                return self.add_job(job, time.time(), request, scene, build, take, text, total, sandbox, pool)
        raise StoreError(f"There are too many jobs named {name}.", "Give the scene another name.")

    def add_job(
        self,
        job: str,
        created: float,
        request: Request,
        scene: Scene,
        build: Build,
        take: str,
        text: str,
        total: int,
        sandbox: str,
        pool: Mapping[str, object] | None = None,
    ) -> Job:
        """A job that has its id already; raises sqlite3.IntegrityError when there is one."""
        documents = [json.dumps(encode(value), default=str) for value in (pool, request, scene, build)]
        self._db.execute(
            "INSERT INTO jobs (id, created, pool, request, scene, build, take, range, total, sandbox)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (job, created, *documents, take, text, total, sandbox),
        )
        return self.job(job)

    def has_job(self, name: str) -> bool:
        """Whether any job's id begins like this."""
        query = "SELECT 1 FROM jobs WHERE ?1 != '' AND substr(id, 1, length(?1)) = ?1"
        return self._db.execute(query, (name,)).fetchone() is not None

    def job(self, name: str) -> Job:
        """The job with this id or unambiguous prefix; raises StoreError."""
        rows = self._db.execute(
            "SELECT * FROM jobs WHERE ?1 != '' AND substr(id, 1, length(?1)) = ?1 ORDER BY created", (name,)
        ).fetchall()
        exact = [row for row in rows if row[0] == name]
        if len(exact or rows) == 1:
            return self._job((exact or rows)[0])
        if not rows:
            raise StoreError(f"There is no job {name!r}.", "See `renderfarm jobs`.")
        names = ", ".join(row[0] for row in rows[:5])
        raise StoreError(f"{name!r} can mean more than one job: {names}.", "Give more of its id.")

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        return [self._job(row) for row in self._db.execute("SELECT * FROM jobs ORDER BY created")]

    def latest_job(self, output: Path) -> Job | None:
        """The newest job that writes into this folder."""
        query = "SELECT * FROM jobs WHERE json_extract(request, '$.output') = ? ORDER BY created DESC LIMIT 1"
        row = self._db.execute(query, (str(output),)).fetchone()
        return self._job(row) if row else None

    def _job(self, row: Sequence[object]) -> Job:
        names = [column[1] for column in self._db.execute("PRAGMA table_info(jobs)")]
        fields = dict(zip(names, row, strict=True))
        for name in ("request", "scene", "build", "notes", "problems", "pool"):
            fields[name] = json.loads(str(fields[name]))
        return decode(Job, fields)

    def update_job(self, job: str, **fields: object) -> None:
        """Set columns of a job."""
        values = [json.dumps(v) if isinstance(v, list | tuple) else v for v in fields.values()]
        assignments = ", ".join(f"{name} = ?" for name in fields)
        self._db.execute(f"UPDATE jobs SET {assignments} WHERE id = ?", (*values, job))  # noqa: S608

    def parts(self, job: str) -> Parts | None:
        """What a job's frames were rendered from; None for a job that was submitted before that was kept."""
        row = self._db.execute("SELECT parts FROM parts WHERE job = ?", (job,)).fetchone()
        return decode(Parts, json.loads(row[0])) if row else None

    def set_parts(self, job: str, parts: Parts) -> None:
        """Keep what a job's frames are rendered from."""
        self._db.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", (job, to_json(parts)))

    def node_builds(self, nodes: str) -> list[tuple[str, str]]:
        """Identity and label of what these nodes of a remote pool rendered with, named last first."""
        query = "SELECT identity, label FROM node_builds WHERE nodes = ? ORDER BY named DESC"
        return self._db.execute(query, (nodes,)).fetchall()

    def name_node_build(self, nodes: str, identity: str, label: str) -> None:
        """Remember what nodes of a remote pool render with now."""
        row = (nodes, identity, label, time.time())
        self._db.execute("INSERT OR REPLACE INTO node_builds VALUES (?, ?, ?, ?)", row)

    def product(self, key: str) -> tuple[str, int, int] | None:
        """What was last made from the things that the key stands for: (path, size, mtime in ns)."""
        query = "SELECT path, size, mtime FROM products WHERE key = ?"
        found: tuple[str, int, int] | None = self._db.execute(query, (key,)).fetchone()
        return found

    def add_product(self, key: str, path: str, size: int, mtime: int) -> None:
        """Remember what was made."""
        self._db.execute("INSERT OR REPLACE INTO products VALUES (?, ?, ?, ?)", (key, path, size, mtime))

    def add_problem(self, job: str, problem: str) -> None:
        """Remember something that went wrong besides frames."""
        problems = self.job(job).problems
        self.update_job(job, problems=[*problems, problem])

    def lock_path(self, job: str) -> Path:
        """The file that whoever works on the job has claimed."""
        return self.home / "jobs" / f"{job}.lock"

    # Frames

    def record(self, job: str, changes: Iterable[Change]) -> None:
        """Change frames' states, all in the caller's transaction; raises StoreError for one not allowed."""
        by_state: dict[FrameState, list[Change]] = {}
        for change in changes:
            by_state.setdefault(change.state, []).append(change)
        for state, group in by_state.items():
            self._record_group(job, state, group)

    def _record_group(self, job: str, state: FrameState, group: Sequence[Change]) -> None:
        sources = ", ".join(f"'{source}'" for source, targets in TRANSITIONS.items() if state in targets)
        columns = ", ".join(CHANGE_COLUMNS)
        updates = ", ".join(f"{name} = excluded.{name}" for name in CHANGE_COLUMNS[1:])
        marks = ", ".join("?" * (len(CHANGE_COLUMNS) + 1))
        done = self._db.executemany(
            f"INSERT INTO frames (job, {columns}) VALUES ({marks})"  # noqa: S608 - names of ours only
            f" ON CONFLICT (job, frame) DO UPDATE SET {updates} WHERE frames.state IN ({sources})",
            [(job, *(getattr(change, name) for name in CHANGE_COLUMNS)) for change in group],
        )
        if done.rowcount != len(group):
            refused = [c.frame for c in group if self.state(job, c.frame) is not state]
            wrong = refused[0] if refused else group[0].frame
            message = f"Frame {wrong} of {job} can't become {state} from {self.state(job, wrong)}."
            raise StoreError(message, "Somebody else changed the job; look at `renderfarm status`.")

    def state(self, job: str, frame: int) -> FrameState:
        """One frame's state."""
        row = self._db.execute("SELECT state FROM frames WHERE job = ? AND frame = ?", (job, frame)).fetchone()
        return FrameState(row[0]) if row else FrameState.QUEUED

    def frames(self, job: str, *states: FrameState) -> Iterator[FrameRow]:
        """Frames that have a row, ascending; only those in some states when given."""
        columns = ", ".join(FRAME_COLUMNS)
        marks = ", ".join("?" * len(states))
        where = f" AND state IN ({marks})" if states else ""
        query = f"SELECT {columns} FROM frames WHERE job = ?{where} ORDER BY frame"  # noqa: S608
        for row in self._db.execute(query, (job, *states)):
            number, state, *rest = row
            yield FrameRow(number, FrameState(state), *rest)

    def counts(self, job: str) -> Counter[FrameState]:
        """How many frames are in each state; queued ones without a row are not counted."""
        query = "SELECT state, count(*) FROM frames WHERE job = ? GROUP BY state"
        return Counter({FrameState(state): count for state, count in self._db.execute(query, (job,))})

    def reused(self, job: str) -> int:
        """How many frames were not rendered for this job."""
        query = "SELECT count(*) FROM frames WHERE job = ? AND state = 'succeeded' AND reused = 1"
        return int(self._db.execute(query, (job,)).fetchone()[0])

    def set_findings(self, job: str, findings: Iterable[tuple[int, str, str]]) -> None:
        """Remember what the doctor suspects: (frame, finding, detail)."""
        self._db.execute(
            "UPDATE frames SET finding = NULL, detail = NULL WHERE job = ? AND finding NOT NULL", (job,)
        )
        self._db.executemany(
            "UPDATE frames SET finding = ?, detail = ? WHERE job = ? AND frame = ?",
            [(finding, detail, job, frame) for frame, finding, detail in findings],
        )

    def add_attempts(self, job: str, failures: Iterable[Failed]) -> None:
        """Remember attempts that failed."""
        now = time.time()
        self._db.executemany(
            "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (job, f.frame, f.attempt, f.reason.value, f.message, f.node, f.seconds, f.log, now)
                for f in failures
            ],
        )

    def attempts(self, job: str, frame: int | None = None) -> list[tuple[int, int, str, str, str, float, str]]:
        """Failed attempts, oldest first: (frame, attempt, reason, message, node, seconds, log)."""
        columns = "frame, attempt, reason, message, node, seconds, log"
        query = f"SELECT {columns} FROM attempts WHERE job = ?1 AND frame = ifnull(?2, frame) ORDER BY rowid"  # noqa: S608
        return self._db.execute(query, (job, frame)).fetchall()

    # What other terminals see and ask for

    def set_nodes(self, job: str, nodes: Iterable[tuple[str, str, int | None, float]]) -> None:
        """What each node does now: (node, state, frame, since when)."""
        self._db.execute("DELETE FROM nodes WHERE job = ?", (job,))
        self._db.executemany("INSERT INTO nodes VALUES (?, ?, ?, ?, ?)", [(job, *node) for node in nodes])

    def nodes(self, job: str) -> list[tuple[str, str, int | None, float]]:
        """What was last written with `set_nodes`."""
        query = "SELECT node, state, frame, since FROM nodes WHERE job = ? ORDER BY node"
        return self._db.execute(query, (job,)).fetchall()

    def order(self, job: str, what: str, frames: str = "") -> None:
        """Leave an order for whoever works on the job: `cancel`, or `retry` with frames."""
        self._db.execute("INSERT INTO orders VALUES (?, ?, ?)", (job, what, frames))

    def take_orders(self, job: str) -> list[tuple[str, str]]:
        """The orders since the last call: (what, frames)."""
        query = "DELETE FROM orders WHERE job = ? RETURNING what, frames"
        return self._db.execute(query, (job,)).fetchall()

    # Frames of earlier jobs, hashes and inspections

    def cached(self, take: str) -> dict[int, tuple[int, int, bytes | None]]:
        """Frames of a take that were rendered before: frame to (size, mtime in ns, signature)."""
        query = "SELECT frame, size, mtime, signature FROM cached WHERE take = ?"
        return {frame: (size, mtime, mark) for frame, size, mtime, mark in self._db.execute(query, (take,))}

    def cached_frame(self, take: str, frame: int) -> tuple[int, int, bytes | None] | None:
        """One frame of a take, if it was rendered before: (size, mtime in ns, signature)."""
        query = "SELECT size, mtime, signature FROM cached WHERE take = ? AND frame = ?"
        found: tuple[int, int, bytes | None] | None = self._db.execute(query, (take, frame)).fetchone()
        return found

    def add_cached(self, take: str, scene: str, rows: Iterable[tuple[int, int, int, bytes | None]]) -> None:
        """Remember rendered frames: (frame, size, mtime in ns, signature)."""
        self.touch_take(take, scene)
        self._db.executemany(
            "INSERT OR REPLACE INTO cached VALUES (?, ?, ?, ?, ?)", [(take, *row) for row in rows]
        )

    def touch_take(self, take: str, scene: str) -> None:
        """A take was used now."""
        self._db.execute("INSERT OR REPLACE INTO takes VALUES (?, ?, ?)", (take, scene, time.time()))

    def takes(self) -> list[tuple[str, str, float, int, int]]:
        """Takes, least recently used first: (take, scene, used, frames, bytes)."""
        return self._db.execute(
            "SELECT t.take, t.scene, t.used, count(c.frame), ifnull(sum(c.size), 0) FROM takes t"
            " LEFT JOIN cached c ON c.take = t.take GROUP BY t.take ORDER BY t.used"
        ).fetchall()

    def forget_cached(self, take: str, frames: Iterable[int] | None = None) -> None:
        """Frames of a take are no longer there (all when `frames` is None)."""
        if frames is None:
            self._db.execute("DELETE FROM cached WHERE take = ?", (take,))
            self._db.execute("DELETE FROM takes WHERE take = ?", (take,))
            return
        self._db.executemany("DELETE FROM cached WHERE take = ? AND frame = ?", [(take, f) for f in frames])

    def hash_of(self, path: str, found: Stamp) -> str | None:
        """The remembered SHA-256 of a file that has not changed since."""
        query = "SELECT sha256 FROM hashes WHERE path = ? AND stamp = ?"
        row = self._db.execute(query, (_plain(path), stamps.text(found))).fetchone()
        return str(row[0]) if row else None

    def add_hashes(self, rows: Iterable[tuple[str, Stamp, str]]) -> None:
        """Remember hashes: (path, settled stamp, sha256)."""
        self._db.executemany(
            "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)",
            [(_plain(path), stamps.text(found), sha256) for path, found, sha256 in rows],
        )

    def inspection(self, key: str) -> str | None:
        """What an earlier inspection found, as JSON."""
        row = self._db.execute("SELECT found FROM inspections WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def add_inspection(self, key: str, found: str) -> None:
        """Remember an inspection."""
        self._db.execute("INSERT OR REPLACE INTO inspections VALUES (?, ?, ?)", (key, found, time.time()))

    def measure(self, name: str) -> float | None:
        """A figure above zero measured on this machine before; None when there is none."""
        row = self._db.execute("SELECT value FROM measures WHERE name = ?", (name,)).fetchone()
        return float(row[0]) if row and row[0] > 0 else None

    def set_measure(self, name: str, value: float) -> None:
        """Remember a figure; what came out as nothing was not measured."""
        if value > 0:
            self._db.execute("INSERT OR REPLACE INTO measures VALUES (?, ?)", (name, value))


def _plain(path: str) -> str:
    """A path as SQLite takes it, which knows no names that are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")
