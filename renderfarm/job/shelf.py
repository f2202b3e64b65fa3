"""The farm's list of jobs: one small file for each in the farm home, naming the folder where all else is.

So the database may be lost without losing a job, and a job may be found in its output folder by any machine
that sees it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import StoreError
from renderfarm.job import record as records
from renderfarm.job.job import Job
from renderfarm.job.record import RECORD, SCRATCH, Record, moment
from renderfarm.words import files
from renderfarm.words.as_json import encode, read_json
from renderfarm.words.states import JobState, Phase
from renderfarm.words.status import Counts, Status

ID_TRIES = 1000
ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True)
class Card:
    """Where a job lies, and what is said of it when it lies there no more."""

    folder: str
    """of its record and journals"""
    created: float
    """seconds since the epoch, UTC"""
    scene: str
    output: str
    pool: str


class Shelf:
    """The jobs of one farm home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "jobs"

    def add(self, record: Record) -> Job:
        """Write a new job down, with an id if it has none, `<scene stem>-<4 hex digits>`. Raises StoreError."""
        self._folder.mkdir(exist_ok=True)
        for _ in range(ID_TRIES):
            named = record if record.job else replace(record, job=_name(record.request.scene))
            if self._add(named):
                return Job(named, records.folder_of(named.output, named.job))
            if record.job:
                raise StoreError(f"There is a job {record.job} already.", "See `renderfarm jobs`.")
        raise StoreError(f"There are too many jobs of {record.request.scene}.", "Give the scene another name.")

    def _add(self, record: Record) -> bool:
        """Write record and card, which appears whole; False where the id is somebody else's."""
        path, draft = self._path(record.job), self._folder / f"{record.job}.new"
        with contextlib.suppress(FileExistsError), draft.open("x", encoding="utf-8") as file:
            try:
                if path.exists():
                    return False
                card = card_of(record)
                records.write(record, Path(card.folder))
                file.write(json.dumps(encode(card)))
                file.flush()
                os.fsync(file.fileno())
                draft.rename(path)
                return True
            finally:
                draft.unlink(missing_ok=True)
        return False

    def names(self) -> list[str]:
        """The ids of all jobs, the newest last."""
        ages = []
        for card in self._folder.glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                ages.append((card.stat().st_mtime_ns, card.stem))
        return [name for _, name in sorted(ages)]

    def named(self, name: str) -> Job:
        """The job with exactly this id, which may come from a stranger; raises StoreError."""
        if name not in self._named(name):
            raise StoreError(f"There is no job {name!r}.", "See `renderfarm jobs`.")
        return self._open(name)

    def has(self, name: str) -> bool:
        """Whether a job's name begins like this, or its output folder is this."""
        return bool(name and self._named(name)) or _in_folder(name) is not None

    def find(self, name: str) -> Job:
        """The job with this name, unambiguous beginning of a name, or output folder; raises StoreError."""
        names = self._named(name) if name else []
        exact = [found for found in names if found == name]
        if len(exact or names) == 1:
            return self._open((exact or names)[0])
        if folder := _in_folder(name):
            return self._found(folder)
        if not names:
            raise StoreError(f"There is no job {name!r}.", "See `renderfarm jobs`.")
        several = ", ".join(names[:5])
        raise StoreError(f"{name!r} can mean more than one job: {several}.", "Give more of its id.")

    def jobs(self, since: float = 0.0) -> Iterator[Job | Status]:
        """Jobs, the newest first; of those whose folder is gone, what is known of them.

        since: when they were submitted, in seconds since the epoch.
        """
        cards = [(self._card_or_none(name), name) for name in self._named("")]
        wanted = [(card, name) for card, name in cards if card.created >= since]
        for card, name in sorted(wanted, key=lambda pair: (pair[0].created, pair[1]), reverse=True):
            try:
                yield Job.at(Path(card.folder))
            except StoreError as error:
                yield lost(name, card, error)

    def _card_or_none(self, name: str) -> Card:
        """The card, or one that says nothing: one bad file hides no other job."""
        try:
            return self._card(name)
        except StoreError:
            return Card("", 0.0, "", "", "")

    def _found(self, folder: Path) -> Job:
        """A job in a folder that somebody named; one that this farm did not make is not believed everything."""
        record = records.read(folder)
        path = self._path(record.job)
        own = "/" not in record.job and path.exists() and Path(self._card(record.job).folder) == folder
        return Job(record if own else records.harmless(record), folder)

    def _open(self, name: str) -> Job:
        folder = Path(self._card(name).folder)
        if not (folder / RECORD).exists():
            message = f"The folder of {name}, {folder}, is gone."
            raise StoreError(message, "Submit the scene again: frames that are in the cache are not rendered.")
        return Job.at(folder)

    def _card(self, name: str) -> Card:
        path = self._path(name)
        try:
            return read_json(Card, files.whole(path))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} does not say where the job is: {error}.", "Remove it.") from error

    def _named(self, start: str) -> list[str]:
        """Names that begin like this."""
        return sorted(path.stem for path in self._folder.glob("*.json") if path.stem.startswith(start))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def newest(output: Path) -> Job | None:
    """The job that was submitted last of those that write into this folder."""
    jobs = []
    for path in (output / SCRATCH).glob(f"*/{RECORD}"):
        with contextlib.suppress(StoreError):
            jobs.append(Job.at(path.parent))
    return max(jobs, key=lambda job: job.record.created, default=None)


def _in_folder(name: str) -> Path | None:
    """The folder of an output folder's newest job, if it has any; raises StoreError where none can be read."""
    with contextlib.suppress(OSError, ValueError):
        output = Path(os.path.expanduser(name)).absolute()  # noqa: PTH111 - pathlib raises for unknown users
        if found := newest(output):
            return found.folder
        for record in (output / SCRATCH).glob(f"*/{RECORD}"):
            records.read(record.parent)  # says why
    return None


def _name(scene: str) -> str:
    stem = "".join(c if c in ID_CHARACTERS else "_" for c in Path(scene).stem).lstrip("-.") or "scene"
    return f"{stem}-{secrets.token_hex(2)}"


def card_of(record: Record) -> Card:
    """What is kept of a job in the farm home."""
    asked = record.request
    folder = records.folder_of(record.output, record.job)
    return Card(str(folder), record.created, asked.scene, asked.output, asked.pool)


def lost(name: str, card: Card, error: Exception) -> Status:
    """A job whose folder is gone, or can't be read."""
    return Status(
        job=name,
        state=JobState.CANCELED,
        scene=card.scene,
        pool=card.pool,
        frames=Counts(),
        failures=(),
        output=card.output,
        frames_dir=str(Path(card.output) / "frames"),
        video=None,
        contact_sheet=None,
        report=None,
        seconds=0.0,
        eta_seconds=None,
        phase=Phase.GONE,
        problems=(error.message if isinstance(error, StoreError) else str(error),),
        submitted=moment(card.created),
        ended=True,
    )
