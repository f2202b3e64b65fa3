"""Where a job stands, in the words of the contract: a `Status` from the store, for whoever asks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from renderfarm.home import is_claimed
from renderfarm.model import (
    Counts,
    Finding,
    FrameFailure,
    FrameState,
    JobState,
    NodeStatus,
    Status,
    Suspect,
)
from renderfarm.store import FrameRow, Job, Store, job_state


def status_of(store: Store, job: Job) -> Status:
    """The status of a job that may be running anywhere on this machine."""
    alive = is_claimed(store.lock_path(job.id))
    counts = store.counts(job.id)
    failures = [failure_of(row) for row in store.frames(job.id, FrameState.FAILED)]
    suspects = [] if alive else suspects_of(store.frames(job.id, FrameState.SUCCEEDED))
    now = time.time()
    nodes = [NodeStatus(n, state, frame, now - since) for n, state, frame, since in store.nodes(job.id)]
    return compose(
        job,
        frames=count(job.total, counts, store.reused(job.id)),
        state=job_state(job.total, counts, alive),
        phase=phase_of(job, counts, alive),
        failures=failures,
        suspects=suspects,
        nodes=nodes if alive else (),
        seconds=job.seconds + (now - job.begun if alive and job.begun else 0.0),
        eta=job.eta if alive else None,
        rate=job.rate if alive else None,
    )


def final_status_of(store: Store, job: Job) -> Status:
    """The status that a job will have as soon as whoever works on it, the caller, lets go of it."""
    counts = store.counts(job.id)
    found = status_of(store, job)
    suspects = suspects_of(store.frames(job.id, FrameState.SUCCEEDED))
    state, phase = job_state(job.total, counts, alive=False), phase_of(job, counts, alive=False)
    return replace(found, state=state, phase=phase, nodes=(), suspects=tuple(suspects), eta_seconds=None)


def phase_of(job: Job, counts: Mapping[FrameState, int], alive: bool) -> str:
    """The phase as stored while somebody works on the job; else whether anything is left."""
    if alive:
        return job.phase
    decided = sum(counts.get(s, 0) for s in (FrameState.SUCCEEDED, FrameState.FAILED, FrameState.CANCELED))
    return "done" if decided == job.total else "interrupted"


def count(total: int, counts: Mapping[FrameState, int], reused: int) -> Counts:
    """Frames by state; those without a row are queued."""
    known = {state: counts.get(state, 0) for state in FrameState if state is not FrameState.QUEUED}
    return Counts(
        total=total,
        succeeded=known[FrameState.SUCCEEDED],
        failed=known[FrameState.FAILED],
        queued=total - sum(known.values()),
        running=known[FrameState.RUNNING],
        canceled=known[FrameState.CANCELED],
        reused=reused,
    )


def failure_of(row: FrameRow) -> FrameFailure:
    """A failed frame as the contract has it."""
    return FrameFailure(row.frame, row.reason or "unknown", row.message or "", row.attempts, row.log)


def suspects_of(rows: Iterable[FrameRow]) -> list[Suspect]:
    """Delivered frames that the doctor doubts."""
    return [Suspect(row.frame, Finding(row.finding), row.detail or "") for row in rows if row.finding]


def compose(
    job: Job,
    *,
    frames: Counts,
    state: JobState,
    phase: str,
    failures: Iterable[FrameFailure],
    suspects: Iterable[Suspect],
    nodes: Iterable[NodeStatus],
    seconds: float,
    eta: float | None,
    rate: float | None,
) -> Status:
    """A status from what is stored with the job and what changes."""
    return Status(
        job=job.id,
        state=state,
        scene=job.request.scene,
        pool=job.request.pool,
        frames=frames,
        failures=tuple(failures),
        output=job.request.output,
        frames_dir=str(Path(job.request.output) / "frames"),
        video=job.video,
        contact_sheet=job.contact_sheet,
        report=job.report,
        seconds=seconds,
        eta_seconds=eta,
        phase=phase,
        frames_per_minute=None if rate is None else rate * 60,
        suspects=tuple(suspects),
        nodes=tuple(nodes),
        notes=job.notes,
        problems=job.problems,
    )
