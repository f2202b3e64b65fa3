"""The farm's memory of what takes time to find out again: hashes, inspections, frames to reuse, measured times.

One SQLite file in the farm home. Deleted, it is made anew and nothing but time is lost: jobs are elsewhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from renderfarm.errors import StoreError, StoreWriteError
from renderfarm.words import stamps
from renderfarm.words.as_json import decode, to_json
from renderfarm.words.stamps import Stamp
from renderfarm.words.status import Status

BUSY_SECONDS = 30.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS statuses (
    job TEXT PRIMARY KEY, extent TEXT NOT NULL, status TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS snapshots (
    folder TEXT PRIMARY KEY, code TEXT NOT NULL, state BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS products (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS takes (
    take TEXT PRIMARY KEY, scene TEXT NOT NULL, used REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cached (
    take TEXT NOT NULL, frame INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, signature BLOB,
    PRIMARY KEY (take, frame)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sets (
    key TEXT NOT NULL, take TEXT PRIMARY KEY, files TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sets_of_keys ON sets (key);
CREATE TABLE IF NOT EXISTS hashes (
    path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS node_builds (
    nodes TEXT NOT NULL, identity TEXT NOT NULL, label TEXT NOT NULL, named REAL NOT NULL,
    PRIMARY KEY (nodes, identity)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inspections (
    key TEXT PRIMARY KEY, found TEXT NOT NULL, used REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS measures (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT, WITHOUT ROWID
"""
VERSION = 12
"""of the schema"""
FRESH = "nothing was found again yet"
"""measure of a memory that was made anew, until somebody looked for what is kept elsewhere as well"""
JOURNALS = 10
"""before this version, jobs stood in the database too"""
_FOLDED = {
    "job": ("events", "fold", "job", "journal", "ledger", "pace", "retry"),
    "words": ("as_json", "states", "status", "updates"),
}
"""modules that make a ledger of journals"""


class Store:
    """An open farm memory. Used by one thread; any number of processes may have it open."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.fresh = False
        """it was not there before: what is kept elsewhere as well must be found again"""
        with ExitStack() as unless_opened:
            self._open(home / "farm.sqlite", unless_opened)
            unless_opened.pop_all()

    def _open(self, path: Path, unless_opened: ExitStack) -> None:
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            unless_opened.callback(self._db.close)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            message = f"The farm's memory {path} can't be opened: {error}."
            raise StoreError(message, "Move it away, or set RENDERFARM_HOME to another folder.") from error
        if version > VERSION:
            message = f"The farm's memory {path} was written by a newer renderfarm (version {version})."
            raise StoreError(message, "Upgrade renderfarm, or set RENDERFARM_HOME to another folder.")
        self.frames, self.hashes = Frames(self._db), Hashes(self._db)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if version < VERSION:
            self._migrate()
        self.fresh = self.measure(FRESH) is not None

    def found_again(self) -> None:
        """What is kept elsewhere as well was taken in."""
        self._db.execute("DELETE FROM measures WHERE name = ?", (FRESH,))
        self.fresh = False

    def _migrate(self) -> None:
        with self.transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if 0 < version < JOURNALS:
                from renderfarm.job import older

                older.move(self._db, self.home)
                self._db.execute("DROP TABLE IF EXISTS hashes")  # they were believed by size and time only
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            if version == 0:
                self.set_measure(FRESH, 1.0)
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

    # What jobs made, and how they stood

    def known_status(self, job: str, extent: str) -> Status | None:
        """A job's status as it was when its files were as large as this."""
        query = "SELECT status FROM statuses WHERE job = ? AND extent = ?"
        row = self._db.execute(query, (job, extent)).fetchone()
        return decode(Status, json.loads(row[0])) if row else None

    def keep_status(self, job: str, extent: str, status: Status) -> None:
        """Remember how a job stood that nobody works on."""
        self._db.execute("INSERT OR REPLACE INTO statuses VALUES (?, ?, ?)", (job, extent, to_json(status)))

    def snapshot(self, folder: Path) -> bytes | None:
        """What was taken in of a job's journals, if the very same code did it."""
        query = "SELECT state FROM snapshots WHERE folder = ? AND code = ?"
        row = self._db.execute(query, (str(folder), _code())).fetchone()
        return row[0] if row else None

    def keep_snapshot(self, folder: Path, state: bytes) -> None:
        """Remember it, so that the next look reads on from there."""
        self._db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", (str(folder), _code(), state))

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


class Frames:
    """The frames of earlier jobs that are kept, by their fingerprints."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def of(self, fingerprint: str) -> dict[int, tuple[int, int, bytes | None]]:
        """Frames of a fingerprint that were rendered before: frame to (size, mtime in ns, signature)."""
        query = "SELECT frame, size, mtime, signature FROM cached WHERE take = ?"
        return {
            frame: (size, mtime, mark) for frame, size, mtime, mark in self._db.execute(query, (fingerprint,))
        }

    def one(self, fingerprint: str, frame: int) -> tuple[int, int, bytes | None] | None:
        """One frame of a fingerprint, if it was rendered before: (size, mtime in ns, signature)."""
        query = "SELECT size, mtime, signature FROM cached WHERE take = ? AND frame = ?"
        found: tuple[int, int, bytes | None] | None = self._db.execute(query, (fingerprint, frame)).fetchone()
        return found

    def add(self, fingerprint: str, scene: str, rows: Iterable[tuple[int, int, int, bytes | None]]) -> None:
        """Remember rendered frames: (frame, size, mtime in ns, signature)."""
        self.touch(fingerprint, scene)
        self._db.executemany(
            "INSERT OR REPLACE INTO cached VALUES (?, ?, ?, ?, ?)", [(fingerprint, *row) for row in rows]
        )

    def touch(self, fingerprint: str, scene: str) -> None:
        """A fingerprint was used now."""
        self._db.execute("INSERT OR REPLACE INTO takes VALUES (?, ?, ?)", (fingerprint, scene, time.time()))

    def fingerprints(self) -> list[tuple[str, str, float, int, int]]:
        """Fingerprints, least recently used first: (fingerprint, scene, used, frames, bytes)."""
        return self._db.execute(
            "SELECT t.take, t.scene, t.used, count(c.frame), ifnull(sum(c.size), 0) FROM takes t"
            " LEFT JOIN cached c ON c.take = t.take GROUP BY t.take ORDER BY t.used"
        ).fetchall()

    def forget(self, fingerprint: str, frames: Iterable[int] | None = None) -> None:
        """Frames of a fingerprint are no longer there (all when `frames` is None)."""
        if frames is None:
            self._db.execute("DELETE FROM cached WHERE take = ?", (fingerprint,))
            self._db.execute("DELETE FROM takes WHERE take = ?", (fingerprint,))
            self._db.execute("DELETE FROM sets WHERE take = ?", (fingerprint,))
            return
        self._db.executemany(
            "DELETE FROM cached WHERE take = ? AND frame = ?", [(fingerprint, f) for f in frames]
        )

    def sets(self, key: str) -> list[tuple[str, dict[str, str]]]:
        """The fingerprints that frames with a key were seen to have, each with its files and their hashes."""
        rows = self._db.execute("SELECT take, files FROM sets WHERE key = ?", (key,))
        return [(fingerprint, json.loads(files)) for fingerprint, files in rows]

    def sets_of(self, fingerprint: str) -> list[tuple[str, dict[str, str]]]:
        """What frames of a fingerprint were seen to be rendered from, each set with its key."""
        rows = self._db.execute("SELECT key, files FROM sets WHERE take = ?", (fingerprint,))
        return [(key, json.loads(files)) for key, files in rows]

    def add_set(self, key: str, fingerprint: str, files: Mapping[str, str]) -> None:
        """Remember what frames of a fingerprint were rendered from."""
        self._db.execute(
            "INSERT OR IGNORE INTO sets VALUES (?, ?, ?)", (key, fingerprint, json.dumps(dict(files)))
        )


class Hashes:
    """The hashes of files, each with the stamp under which it holds."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._known: dict[str, tuple[Stamp, str]] = {}
        """what was looked up before: the same files are asked for with every frame"""

    def of(self, path: str, found: Stamp) -> str | None:
        """The remembered SHA-256 of a file that has not changed since."""
        known = self._known.get(path)
        if known is None or known[0] != found:
            query = "SELECT sha256 FROM hashes WHERE path = ? AND stamp = ?"
            row = self._db.execute(query, (_plain(path), stamps.text(found))).fetchone()
            if row is None:
                return None
            known = self._known[path] = (found, str(row[0]))
        return known[1]

    def add(self, rows: Iterable[tuple[str, Stamp, str]]) -> None:
        """Remember hashes: (path, settled stamp, sha256)."""
        self._db.executemany(
            "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)",
            [(_plain(path), stamps.text(found), sha256) for path, found, sha256 in rows],
        )


def _plain(path: str) -> str:
    """A path as SQLite takes it, which knows no names that are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


@functools.cache
def _code() -> str:
    """What stands for the modules that a snapshot is made of: another version may fold otherwise."""
    package = Path(__file__).parent.parent
    sources = (package / room / f"{name}.py" for room, names in _FOLDED.items() for name in names)
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
