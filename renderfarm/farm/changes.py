"""What became of the inputs of a job that goes on: which frames are of another state, and whether it may."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.farm.preparation import Ready
from renderfarm.job import events, fingerprinting, observed
from renderfarm.job.fingerprint import Fingerprints, Ingredients, explain
from renderfarm.job.job import Job
from renderfarm.job.store import Store
from renderfarm.words.frames import compact
from renderfarm.words.states import FrameState, Reason


def in_order(ready: Ready) -> Ready:
    """The job with its frames rendered one after the other."""
    scene, work = replace(ready.scene, ordered=True), replace(ready.work, ordered=True)
    return replace(ready, scene=scene, work=work)


def recall(job: Job, ready: Ready) -> None:
    """Learn from the journals what delivered frames were seen to be rendered from."""
    if ready.fingerprints.observed:
        there = (frame for frame in job.ledger.of(FrameState.SUCCEEDED) if frame.fingerprint)
        ready.fingerprints.own.update((str(frame.frame), frame.fingerprint) for frame in there)


def begin_again(store: Store, job: Job, ready: Ready) -> None:
    """Queue parts of frames again that are of other files than those there now, or nobody knows of which."""
    if ready.fingerprints.observed:
        unknown = [frame.frame for frame in job.ledger.of(FrameState.SUCCEEDED) if not frame.fingerprint]
        for number in (*stale(store, job), *unknown):
            job.tell(events.Missed(number))
        recall(job, ready)


def stale(store: Store, job: Job) -> list[int]:
    """Delivered frames whose files are not as they were seen."""
    now = observed.now(store, str(Path(job.request.scene).parent))
    moved = {of for of, files in job.ledger.sets.items() if not observed.holds(files, now)}
    return [frame.frame for frame in job.ledger.of(FrameState.SUCCEEDED) if frame.fingerprint in moved]


def take_changes(store: Store, job: Job, ready: Ready, *, waited: bool) -> None:
    """Go on with other inputs where they changed while the job waited, or under frames that so could not be
    rendered; the others stay.

    Raises InputError for any other job: its frames would be of two states without anybody having noticed.
    """
    before, now = job.record.ingredients, ready.ingredients
    asked_for = waited or any(
        frame.reason == Reason.INPUT_CHANGED for frame in job.ledger.of(FrameState.FAILED)
    )
    why = "; ".join(explain(with_seen(job, before), _now(store, job, now))) if before and now else ""
    if not (before and now and asked_for) or ready.frames.text != job.record.frames:
        message = f"What frames are made of changed since {job.id} was submitted{why and f': {why}'}."
        raise InputError(message, "Submit it again: frames that are the same are not rendered twice.")
    older = compact(_older(store, job, ready, before))
    note = f"frames {older} are of before this: {why}. Submit again to have all frames of one state"
    taken, scene = ready.fingerprints, ready.scene
    known = replace(job.record, fingerprint=taken.whole, fingerprints=taken, scene=scene)
    job.restate(replace(known, ingredients=now))
    if older:
        job.tell(events.Noted(note))
    elif waited:
        job.tell(events.Noted(f"rendered from the files as they were when its turn came: {why}"))


def _older(store: Store, job: Job, ready: Ready, before: Ingredients) -> list[int]:
    """Delivered frames that another state of the inputs shows."""
    good = [frame.frame for frame in job.ledger.of(FrameState.SUCCEEDED)]
    if ready.fingerprints.observed:
        known, moved = job.record.fingerprints or Fingerprints(job.record.fingerprint), stale(store, job)
        return [frame for frame in good if known.key(frame) != ready.fingerprints.key(frame) or frame in moved]
    then = fingerprinting.fingerprints_of(before, job.record.scene, store, ready.frames)
    return [frame for frame in good if then.of(frame) != ready.fingerprints.of(frame)]


def with_seen(job: Job, known: Ingredients) -> Ingredients:
    """The ingredients with what delivered frames were seen to be rendered from."""
    fingerprints = {frame.fingerprint for frame in job.ledger.of(FrameState.SUCCEEDED)}
    seen = [files for fingerprint, files in job.ledger.sets.items() if fingerprint in fingerprints]
    there = {name: held for files in seen for name, held in files.items() if held != fingerprinting.ABSENT}
    return replace(known, assets={**known.assets, **there})


def _now(store: Store, job: Job, known: Ingredients) -> Ingredients:
    """The ingredients with what those files hold now."""
    now = observed.now(store, str(Path(job.request.scene).parent))
    held = {name: now(name) for name in with_seen(job, known).assets if name not in known.assets}
    there = {name: content for name, content in held.items() if content != fingerprinting.ABSENT}
    return replace(known, assets={**known.assets, **there})
