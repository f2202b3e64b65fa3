"""One job as it lies in its folder: the record, and the ledger that its journals add up to.

Any number of processes may read; who works on the job has claimed it and alone adds to the farm's journal.
"""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.job import record as records
from renderfarm.job.fold import fold
from renderfarm.job.home import claim, is_claimed
from renderfarm.job.journal import FARM, FOLDER, Entry, Journal, Reader
from renderfarm.job.ledger import Ledger, Remarks, undisturbed
from renderfarm.job.record import Record
from renderfarm.job.status import status, with_parts
from renderfarm.words import files
from renderfarm.words.frames import parse
from renderfarm.words.request import Request
from renderfarm.words.status import Status

ORDERS = "orders"
MOST_ORDER = 1 << 20
"""bytes of an order"""
PARTS = "parts"
"""folder of the job of its frames' parts"""


class Job:
    """A job's record and ledger. `tell` is for who has claimed it, `refresh` for everybody else."""

    def __init__(self, record: Record, folder: Path) -> None:
        self.record = record
        self.folder = folder
        self.forget()
        self._journal: Journal | None = None
        self.orders = folder / ORDERS
        self.parts: Job | None = None
        """the job of its frames' parts, where there is one"""

    @classmethod
    def at(cls, folder: Path) -> Job:
        """The job in a folder; raises StoreError."""
        return cls(records.read(folder), folder)

    def forget(self) -> None:
        """Know nothing of what its journals say."""
        record = self.record
        self.ledger = Ledger(parse(record.frames), record.request.retries, remarks=Remarks(list(record.notes)))
        self._reader = Reader(self.journals)

    @property
    def id(self) -> str:
        """Its name."""
        return self.record.job

    @property
    def request(self) -> Request:
        """What was asked."""
        return self.record.request

    @property
    def journals(self) -> Path:
        """The folder that nodes and farm write their journals into."""
        return self.folder / FOLDER

    @property
    def total(self) -> int:
        """Frames that it has."""
        return self.record.total

    def refresh(self) -> Job:
        """Take in what journals say that was not read yet."""
        self.news()
        return self

    def news(self) -> list[Entry]:
        """The same, and what it was, besides what became of parts of frames."""
        with undisturbed():
            entries = self._reader.news()
            for entry in entries:
                fold(self.ledger, entry.event, entry.time)
        if self.parts is None and (parts_of(self.folder) / records.RECORD).exists():
            self.parts = Job.at(parts_of(self.folder))
        if self.parts:
            self.parts.refresh()
        return entries

    def snapshot(self, *, live: bool = False) -> bytes:
        """All that was taken in, for who looks next; see `restore`.

        live: its nodes are gone, and all that they said was heard as they said it, besides journals.
        """
        self._reader.heard = 0
        return pickle.dumps((self.ledger.packed(), self._reader.sizes() if live else self._reader.read))

    def restore(self, kept: bytes) -> None:
        """Take in a snapshot of the farm's own memory, unless a journal is shorter now than it was then."""
        ledger, read = pickle.loads(kept)  # noqa: S301 - of the user's own farm home
        sizes = self._reader.sizes()
        if all(sizes.get(name, -1) >= size for name, size in read.items()):
            self.ledger = replace(ledger, range=self.ledger.range)
            self._reader = Reader(self.journals, read)

    @property
    def heard(self) -> int:
        """Events that were taken in since it was opened, restored or kept."""
        return self._reader.heard

    # Whose it is

    @property
    def alive(self) -> bool:
        """Whether somebody works on it now."""
        return is_claimed(self.folder / "lock")

    @contextlib.contextmanager
    def claimed(self, message: str, hint: str) -> Iterator[Job]:
        """Work on it, with all that was said so far taken in; raises JobBusyError when somebody else does."""
        with claim(self.folder / "lock", message, hint):
            self.refresh()
            self._journal = Journal(self.journals, FARM)
            try:
                yield self
            finally:
                self._journal.close()
                self._journal = None

    def tell(self, *events: object) -> None:
        """Note what the farm decides; the ledger knows it at once. Raises OSError when it can't be written."""
        if self._journal is None:
            raise RuntimeError(f"{self.id} is not claimed")
        now = time.time()
        self._journal.add(*events, now=now)
        for event in events:
            fold(self.ledger, event, now)

    def restate(self, record: Record) -> None:
        """Describe the job anew: what it is rendered from has changed, and somebody wants it to go on."""
        records.write(record, self.folder)
        self.record = record

    def hear(self, event: object) -> None:
        """Take in what a node said; it stands in the node's own journal."""
        fold(self.ledger, event, time.time())

    # What others ask of who works on it

    def order(self, what: str, frames: str = "") -> Path:
        """Leave an order: `cancel`, `pause`, `retry` with frames, `priority` with a number. Where it lies."""
        order = self.orders / str(time.time_ns())
        files.write(order, f"{what} {frames}")
        return order

    def take_orders(self, left: Callable[[str, str], bool] = lambda *_: False) -> list[tuple[str, str]]:
        """The orders since the last call, oldest first: (what, frames), but those that are left for later."""
        taken = []
        for path in sorted(self.orders.glob("[0-9]*")):
            with contextlib.suppress(OSError, ValueError, InputError):  # none of ours
                order = _order(files.piece(path, 0, MOST_ORDER)[0].decode())
                if not left(*order):
                    path.unlink()
                    taken.append(order)
        return taken

    def status(self, alive: bool | None = None) -> Status:
        """The job in the words of the contract, as far as was taken in."""
        alive = self.alive if alive is None else alive
        found, below = status(self.record, self.ledger, alive=alive), self.parts
        return with_parts(found, below.record, below.ledger, alive=alive) if below else found


def _order(text: str) -> tuple[str, str]:
    """What an order says, and with what; raises ValueError and InputError for what nobody would write."""
    what, _, more = text.partition(" ")
    if what == "retry" and more:
        parse(more)
    elif what == "priority":
        int(more)
    elif what not in ("cancel", "pause", "retry"):
        raise ValueError(f"{what!r:.80} is no order")
    return what, more


def extent(folder: Path) -> str:
    """How large the files of a job's folder are, which says whether anything was added to a journal."""
    journals = (place / FOLDER for place in (folder, parts_of(folder)))
    written = (path for place in journals for path in sorted(place.glob("*.jsonl")))
    paths = [folder / records.RECORD, *written]
    sizes = [f"{path.name}:{path.stat().st_size}" for path in paths if path.exists()]
    return " ".join([str(folder), *sizes])


def parts_of(folder: Path) -> Path:
    """Where the job of its frames' parts is, if there is one."""
    return records.folder_of(folder / PARTS, PARTS)
