"""What nodes saw frames open: their fingerprints follow from it, and whether they depend on each other."""

from __future__ import annotations

import os
from dataclasses import replace

from renderfarm.farm.preparation import Ready, lacking
from renderfarm.farm.rehearsal import entangled, not_shown
from renderfarm.farm.terms import Entangled
from renderfarm.job import events, observed
from renderfarm.job.events import Event
from renderfarm.job.job import Job
from renderfarm.job.store import Store
from renderfarm.node.sandbox import View, wanted
from renderfarm.renderers import renderer
from renderfarm.words.updates import Failed, Observed, Rendered, Update
from renderfarm.words.work import Input


class Observation:
    """What was seen of one job's frames in this run."""

    def __init__(self, store: Store, job: Job, ready: Ready) -> None:
        self._store = store
        self._job = job
        self._ready = ready
        self._seen: dict[str, Observed] = {}
        """what nodes told of the files that frames opened, by its name"""
        self._lists: dict[str, dict[str, str]] = {}
        """what stands in them, by their names; files that nodes compare after each frame are looked at once"""
        self._disjoint = 0
        """how many of them were compared with each other"""
        self._inputs: dict[str, Input] = {}
        work = ready.work
        self._lacking = lacking(job.request, ready.scene)
        self._view = View(work) if ready.fingerprints.observed and wanted(work.sandbox) else None

    def note(self, update: Update | Event) -> None:
        """Take in what a node tells of the files that a frame opened; it tells each set of them once."""
        if isinstance(update, Rendered | Failed) and update.observed:
            known = self._seen.setdefault(update.observed.name, update.observed)
            told = not_shown(self._view, known) if known is update.observed and self._view else ""
            if told:
                self._job.tell(
                    events.Noted(f"{told} Move it beside the scene, or trust it with --sandbox off.")
                )

    def lacks(self, receipt: Rendered) -> str:
        """A file that the frame looked for, and that nobody allowed to be missing; empty when there is none.

        Where nobody saw what it looked for, it may have been any of them.
        """
        seen = self._seen.get(receipt.observed.name) if receipt.observed else None
        absent = map(os.path.normpath, seen.absent) if seen else self._lacking
        return next(filter(self._lacking.__contains__, absent), "")

    def fingerprint_of(self, receipt: Rendered) -> str:
        """A frame's fingerprint by what it was seen to open; empty where that is not certain, or not asked."""
        fingerprints = self._ready.fingerprints
        if not fingerprints.observed:
            return ""
        fingerprints.own.pop(str(receipt.frame), None)
        own = [self._files(receipt)] if receipt.observed else []
        files = observed.together([*own, *self._sets_of_parts(receipt.frame)])
        if files is None:
            return ""
        fingerprint = fingerprints.own[str(receipt.frame)] = observed.fingerprint(
            fingerprints.key(receipt.frame), files
        )
        if fingerprint not in self._job.ledger.sets:
            self._job.tell(events.Saw(fingerprint, dict(files)))
            self._store.frames.add_set(fingerprints.key(receipt.frame), fingerprint, files)
        return fingerprint

    def _files(self, receipt: Rendered) -> dict[str, str] | None:
        """What a frame was seen to open, with what is in it; None where that is not certain."""
        work, told = self._ready.work, receipt.observed
        seen = self._seen.get(told.name, told) if told else Observed("")
        self._refuse_entangled()
        self._inputs = self._inputs or {each.path: each for each in work.inputs}
        known = self._lists.get(seen.name)
        if known is None and self._view and not all(map(self._view.shows, seen.opened)):
            return None  # nobody can have opened that: what a node says is no reason to read it
        if known is not None:
            seen = replace(seen, opened=tuple(path for path in seen.opened if path not in self._inputs))
        folder = os.path.dirname(work.scene)  # noqa: PTH120
        found = observed.files(seen, folder, self._inputs, work.since, self._store)
        return None if found is None else self._lists.setdefault(seen.name, found)

    def _sets_of_parts(self, frame: int) -> list[dict[str, str] | None]:
        """What each of its parts was seen to open."""
        below = self._job.parts
        parts = enumerate(below.record.work.parts) if below else ()
        return [below.ledger.seen(n) for n, part in parts if below and part.frame == frame]

    def _refuse_entangled(self) -> None:
        """Stop when frames that were rendered side by side turn out to depend on each other."""
        scene = self._ready.scene
        if not renderer(scene.renderer).writes or scene.ordered:
            return
        if self._job.total == 1 or self._disjoint == len(self._seen):
            return
        if both := entangled(self._seen.values()):
            raise Entangled(min(both))
        self._disjoint = len(self._seen)
