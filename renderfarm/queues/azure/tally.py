"""What a job's journals add up to: for those who ask now and then, and do not follow.

What was added up is kept in the farm home, with how far each journal was read, so that the next look only reads
what is new. Thrown away, it is added up again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.depots.blobs import BlobMissingError
from renderfarm.job.home import farm_home
from renderfarm.queues.azure import hearsay, layout
from renderfarm.queues.azure.account import Account
from renderfarm.queues.azure.journals import Entry, Journals
from renderfarm.queues.azure.on_node import spans
from renderfarm.words.model import decode, encode

EDITION = 1
"""of what is kept"""


@dataclass
class Tally:
    """Frames and nodes of one job, as far as its nodes told."""

    running: dict[str, int] = field(default_factory=dict)
    """node to the frame it was last said to have begun"""
    _rendered: set[int] = field(default_factory=set)
    _spans: dict[str, tuple[bool, float, float]] = field(default_factory=dict)
    """node to (dedicated, first word, last word)"""

    @classmethod
    def of(cls, account: Account, job: str) -> Tally:
        """What a job's journals add up to by now."""
        place = _place(account, job)
        return _read(account, job, _kept(place), place) or _read(account, job, _Kept(), place) or cls()

    @property
    def rendered(self) -> int:
        """Frames with at least one picture in storage."""
        return len(self._rendered)

    def hours(self, *, dedicated: bool) -> float:
        """Hours between these nodes' first and last words; starting and idling come on top."""
        return sum(last - first for kind, first, last in self._spans.values() if kind is dedicated) / 3600

    def add(self, entry: Entry) -> None:
        """Take in one thing that a node said."""
        value = entry.value
        node = layout.node_name(hearsay.words(value.get("node", "")))
        dedicated, first, _ = self._spans.get(node, (bool(value.get("dedicated", True)), entry.time, 0.0))
        self._spans[node] = (dedicated, first, entry.time)
        frame = hearsay.number(value, "frame")
        if frame is None:
            return
        if entry.kind == "Started":
            self.running[node] = frame
        elif self.running.get(node) == frame:
            del self.running[node]
        if entry.kind == "Rendered":
            self._rendered.add(frame)

    def kept(self, read: Mapping[str, int]) -> _Kept:
        """All that it holds, and how far the journals were read for that."""
        return _Kept(EDITION, dict(read), self.running, spans.written(sorted(self._rendered)), self._spans)


def tasks_of(account: Account, job: str, frame: int) -> frozenset[str]:
    """The tasks that tried a frame, as Batch calls them."""
    journals = Journals(account.storage, account.container(job))
    found = set()
    with contextlib.suppress(BlobMissingError):
        for entry in journals.news():
            attempt = hearsay.number({"attempt": 1, **entry.value}, "attempt")
            if attempt is not None and hearsay.number(entry.value, "frame") == frame:
                found.add(f"{entry.value.get('task', '')}" + (f"_{attempt}" if attempt > 1 else ""))
    return frozenset(found)


@dataclass(frozen=True)
class _Kept:
    """A tally on disk: what it costs to read grows with nodes and gaps, not with frames."""

    edition: int = EDITION
    read: dict[str, int] = field(default_factory=dict)
    """bytes of each journal that are in it"""
    running: dict[str, int] = field(default_factory=dict)
    rendered: str = ""
    nodes: dict[str, tuple[bool, float, float]] = field(default_factory=dict)


def _read(account: Account, job: str, kept: _Kept, place: Path) -> Tally | None:
    """What was kept, with what is new; None when what was kept is of other journals."""
    rendered = set(spans.read(kept.rendered)) if kept.rendered else set()
    tally = Tally(dict(kept.running), rendered, dict(kept.nodes))
    journals = Journals(account.storage, account.container(job), kept.read)
    try:
        for entry in journals.news():
            tally.add(entry)
    except BlobMissingError:
        return tally
    if journals.has_shrunk:
        return None
    if journals.read != kept.read:
        _keep(place, tally.kept(journals.read))
    return tally


def _place(account: Account, job: str) -> Path:
    name = hashlib.sha256(f"{account.storage.url}/{account.container(job)}".encode()).hexdigest()
    return farm_home() / "tallies" / f"{name[:32]}.json"


def _kept(place: Path) -> _Kept:
    """What was kept; nothing where that is not what this version keeps."""
    try:
        found = decode(_Kept, json.loads(place.read_bytes()))
        spans.read(found.rendered or "0")
    except (OSError, ValueError, RecursionError):
        return _Kept()
    return found if found.edition == EDITION else _Kept()


def _keep(place: Path, kept: _Kept) -> None:
    """Whole or not at all; a farm home that can't be written only costs time."""
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(encode(kept)), encoding="utf-8")
        draft.replace(place)
