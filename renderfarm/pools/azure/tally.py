"""What a job's journals add up to: for those who ask now and then, and do not follow."""

from __future__ import annotations

from dataclasses import dataclass, field

from renderfarm.pools.azure import hearsay, layout
from renderfarm.pools.azure.account import Account
from renderfarm.pools.azure.journals import Entry, Journals
from renderfarm.pools.azure.storage import BlobMissingError


@dataclass
class Tally:
    """Frames and nodes of one job, as far as its nodes told."""

    running: dict[str, int] = field(default_factory=dict)
    """node to the frame it was last said to have begun"""
    _rendered: set[int] = field(default_factory=set)
    _tasks: dict[int, set[str]] = field(default_factory=dict)
    _spans: dict[str, tuple[bool, float, float]] = field(default_factory=dict)
    """node to (dedicated, first word, last word)"""

    @classmethod
    def of(cls, account: Account, job: str) -> Tally:
        """Read all of a job's journals."""
        tally = cls()
        try:
            for entry in Journals(account.storage, account.container(job)).news():
                tally.add(entry)
        except BlobMissingError:
            return tally
        return tally

    @property
    def rendered(self) -> int:
        """Frames with at least one picture in storage."""
        return len(self._rendered)

    def hours(self, *, dedicated: bool) -> float:
        """Hours between these nodes' first and last words; starting and idling come on top."""
        return sum(last - first for kind, first, last in self._spans.values() if kind is dedicated) / 3600

    def tasks_of(self, frame: int) -> frozenset[str]:
        """The tasks that tried a frame, as Batch calls them."""
        return frozenset(self._tasks.get(frame, ()))

    def add(self, entry: Entry) -> None:
        """Take in one thing that a node said."""
        value = entry.value
        node = layout.node_name(hearsay.words(value.get("node", "")))
        dedicated, first, _ = self._spans.get(node, (bool(value.get("dedicated", True)), entry.time, 0.0))
        self._spans[node] = (dedicated, first, entry.time)
        frame, attempt = hearsay.number(value, "frame"), hearsay.number({"attempt": 1, **value}, "attempt")
        if frame is None or attempt is None:
            return
        self._tasks.setdefault(frame, set()).add(
            f"{value.get('task', '')}" + (f"_{attempt}" if attempt > 1 else "")
        )
        if entry.kind == "Started":
            self.running[node] = frame
        elif self.running.get(node) == frame:
            del self.running[node]
        if entry.kind == "Rendered":
            self._rendered.add(frame)
