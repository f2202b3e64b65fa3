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
from typing import TypeVar

from renderfarm.errors import StoreError, StoreWriteError
from renderfarm.words import stamps
from renderfarm.words.as_json import decode, to_json
from renderfarm.words.stamps import Stamp

T = TypeVar("T")
BUSY_SECONDS = 30.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS known (
    kind TEXT NOT NULL, key TEXT NOT NULL, stamp TEXT NOT NULL, value ANY NOT NULL, PRIMARY KEY (kind, key)
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
CREATE INDEX IF NOT EXISTS sets_of_keys ON sets (key)
"""
VERSION = 13
"""of the schema"""
FIRST = 1
"""that of renderfarm 0.1.0, whose jobs stood in the database"""
_FOLDED = {
    "job": ("events", "fold", "job", "journal", "ledger", "pace", "retry"),
    "words": ("as_json", "states", "status", "updates"),
}
"""modules that make a ledger of journals"""

_HINTS = {
    sqlite3.SQLITE_BUSY: "Another program holds it: end that, and try again.",
    sqlite3.SQLITE_CORRUPT: "Move it away: it is made anew, and nothing but time is lost.",
    sqlite3.SQLITE_NOTADB: "Move it away: it is made anew, and nothing but time is lost.",
    sqlite3.SQLITE_FULL: "Make room there, or set RENDERFARM_HOME to another folder.",
}
"""what helps, by SQLite's own reasons"""


def unusable(home: Path, error: sqlite3.Error, kind: type[StoreError] = StoreError) -> StoreError:
    """The farm's memory there can't be opened, read or written: why, and what to do."""
    message = f"The farm's memory {home / 'farm.sqlite'} can't be used: {error}."
    reason = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to it
    return kind(message, _HINTS.get(reason, "Make it writable, or set RENDERFARM_HOME to another folder."))


class Store:
    """An open farm memory. Used by one thread; any number of processes may have it open."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._hashes: dict[tuple[str, Stamp], str] = {}
        """what was looked up before: the same files are asked for with every frame"""
        with ExitStack() as unless_opened:
            self._open(home / "farm.sqlite", unless_opened)
            unless_opened.pop_all()

    def _open(self, path: Path, unless_opened: ExitStack) -> None:
        try:
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            unless_opened.callback(self._db.close)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise unusable(self.home, error) from error
        if version > VERSION:
            message = f"The farm's memory {path} was written by a newer renderfarm (version {version})."
            raise StoreError(message, "Upgrade renderfarm, or set RENDERFARM_HOME to another folder.")
        self.frames = Frames(self._db)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if version < VERSION:
            self._migrate()

    def _migrate(self) -> None:
        with self.transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)
            if version == FIRST:
                from renderfarm.job import older

                older.move(self._db, self.home)
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
            raise unusable(self.home, error, StoreWriteError) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def recall(self, kind: type[T], key: str, stamp: str = "") -> T | None:
        """What was found out of this kind about a thing; None where it was under another stamp, or never."""
        query = "SELECT value FROM known WHERE kind = ? AND key = ? AND stamp = ?"
        row = self._db.execute(query, (kind.__name__, _plain(key), stamp)).fetchone()
        try:
            return decode(kind, json.loads(row[0]) if isinstance(row[0], str) else row[0]) if row else None
        except ValueError:  # of another version
            return None

    def keep(self, key: str, value: object, stamp: str = "") -> None:
        """Remember what was found out about a thing, in place of what was known of this kind before."""
        kept = value if isinstance(value, bytes) else to_json(value)
        row = (type(value).__name__, _plain(key), stamp, kept)
        self._db.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", row)

    def sha256(self, path: str, found: Stamp) -> str | None:
        """The remembered hash of a file that has not changed since."""
        if (path, found) not in self._hashes and (known := self.recall(str, path, stamps.text(found))):
            self._hashes[path, found] = known
        return self._hashes.get((path, found))

    def snapshot(self, folder: Path) -> bytes | None:
        """What was taken in of a job's journals, if the very same code did it."""
        return self.recall(bytes, str(folder), _code())

    def keep_snapshot(self, folder: Path, state: bytes) -> None:
        """Remember it, so that the next look reads on from there."""
        self.keep(str(folder), state, _code())

    def measure(self, name: str) -> float | None:
        """A figure above zero measured on this machine before; None when there is none."""
        return self.recall(float, name)

    def set_measure(self, name: str, value: float) -> None:
        """Remember a figure; what came out as nothing was not measured."""
        if value > 0:
            self.keep(name, float(value))


class Frames:
    """The frames of earlier jobs that are kept, by their fingerprints."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def any(self) -> bool:
        """Whether frames of any fingerprint are known."""
        return self._db.execute("SELECT 1 FROM takes LIMIT 1").fetchone() is not None

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


def _plain(path: str) -> str:
    """A path as SQLite takes it, which knows no names that are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


@functools.cache
def _code() -> str:
    """What stands for the modules that a snapshot is made of: another version may fold otherwise."""
    package = Path(__file__).parent.parent
    sources = (package / room / f"{name}.py" for room, names in _FOLDED.items() for name in names)
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
