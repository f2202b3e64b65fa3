"""Jobs take turns on a machine: one renders, the others wait in line, the more important first.

Each holds a lock on a file of its own in `<home>/machine`, which says who it is. Who waits, waits on the lock
of the one ahead: the kernel drops it when its holder dies. No service, nothing to clean up.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from renderfarm.words import files
from renderfarm.words.as_json import read_json, to_json

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Ticket:
    """A job that renders on this machine, or waits for it."""

    number: int
    """by the order in which they came"""
    job: str
    priority: int = 0
    together: bool = False
    """renders beside others, and others that were there before it need not wait for it"""
    renders: bool = False

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Orders tickets: who renders, then who waits, by priority and arrival."""
        return (not self.renders, 0 if self.renders else -self.priority, self.number)

    def holds_up(self, other: Ticket) -> bool:
        """Whether the other one has to wait for this one."""
        return self.rank < other.rank and not (self.together and self.number > other.number)


class Turn:
    """One job's place in the line, and its presence on the machine once its turn has come."""

    def __init__(self, home: Path, job: str, priority: int = 0, *, together: bool = False) -> None:
        self._folder = home / "machine"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] | None = None
        self._gone = threading.Event()
        self._looked = 0.0
        self._others = 0
        with self._door():
            number = max([time.time_ns(), *(1 + ticket.number for ticket in line(home))])
            self._put(Ticket(number, job, priority, together, together))
        if not together:
            self._enter()

    def wait(self, seconds: float) -> bool:
        """Whether the job may render; waits at most so long for the one ahead to leave."""
        if not self._ticket.renders and self._gone.wait(seconds):
            self._enter()
        return self._ticket.renders

    def rank(self, priority: int) -> None:
        """Wait at another place from now on; who waited for this one looks anew whom to wait for."""
        if not self._ticket.renders:
            with self._door():
                self._put(replace(self._ticket, priority=priority))
            self._enter()

    def others(self) -> int:
        """How many other jobs render here; looked up every few seconds."""
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            own = self._ticket.number
            self._others = sum(ticket.renders for ticket in self._line() if ticket.number != own)
        return self._others

    def leave(self) -> None:
        """Give the machine, or the place in its line, to those behind."""
        self._path(self._ticket).unlink(missing_ok=True)
        if self._file:
            self._file.close()

    def _line(self) -> list[Ticket]:
        return line(self._folder.parent)

    def _enter(self) -> None:
        """Take the machine, or wait on the lock of the one directly ahead."""
        self._gone.clear()
        with self._door():
            ahead = [ticket for ticket in self._line() if ticket.holds_up(self._ticket)]
            if not ahead:
                self._put(replace(self._ticket, renders=True))
                return
            # Opened in here: its place may be taken by the same job's next ticket, which is behind this one.
            try:
                file = self._path(ahead[-1]).open(encoding="utf-8")
            except FileNotFoundError:  # it left just now
                self._gone.set()
                return
        threading.Thread(target=_outwait, args=(file, self._gone), daemon=True).start()

    def _put(self, ticket: Ticket) -> None:
        """Say who it is, in a file that is locked before anybody sees it."""
        draft = self._folder / "draft"
        draft.unlink(missing_ok=True)
        file = draft.open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(to_json(ticket))
        file.flush()
        draft.replace(self._path(ticket))
        if self._file:
            self._file.close()
        self._file, self._ticket = file, ticket

    def _path(self, ticket: Ticket) -> Path:
        return self._folder / str(ticket.number)

    @contextlib.contextmanager
    def _door(self) -> Iterator[None]:
        """One at a time takes a number or enters; it removes what the dead left behind."""
        with (self._folder / "door").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for path in _numbers(self._folder.parent):
                if _read(path) is None:
                    path.unlink(missing_ok=True)
            yield


def line(home: Path) -> list[Ticket]:
    """Who renders on this machine and who waits for it, in this order."""
    return sorted(filter(None, map(_read, _numbers(home))), key=lambda ticket: ticket.rank)


def place(home: Path, job: str) -> tuple[int, str | None] | None:
    """A waiting job's place in the line, 1 for the next, and the job directly ahead; None: it does not wait."""
    tickets = line(home)
    own = next((ticket for ticket in tickets if ticket.job == job and not ticket.renders), None)
    if own is None:
        return None
    ahead = [ticket for ticket in tickets if ticket.holds_up(own)]
    return 1 + sum(not ticket.renders for ticket in ahead), ahead[-1].job if ahead else None


def priorities(home: Path, jobs: Sequence[str]) -> dict[str, int]:
    """The priorities that put waiting jobs into this order, of as few of them as may be."""
    tickets = {ticket.job: ticket for ticket in line(home) if not ticket.renders}
    changed: dict[str, int] = {}
    behind: Ticket | None = None
    for job in reversed([job for job in jobs if job in tickets]):
        ticket = tickets[job]
        if behind and behind.rank < ticket.rank:
            ticket = replace(ticket, priority=behind.priority + (ticket.number > behind.number))
            changed[job] = ticket.priority
        behind = ticket
    return changed


def _outwait(file: IO[str], gone: threading.Event) -> None:
    """Until nobody holds the file."""
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
    gone.set()


def _numbers(home: Path) -> Iterator[Path]:
    return (home / "machine").glob("[0-9]*")


def _read(path: Path) -> Ticket | None:
    """The ticket of a living job; None for what a dead one left."""
    try:
        with files.opened(path) as file:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            return read_json(Ticket, file.read())
    except (OSError, ValueError):
        return None
