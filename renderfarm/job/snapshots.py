"""What a job adds up to, remembered, so that a look reads on where the last one ended."""

from __future__ import annotations

from renderfarm.job.job import Job
from renderfarm.job.store import Store

SNAPSHOT_EVENTS = 5000
"""news of a job that are worth a snapshot: folding them takes a tenth of a second"""


def read_on(store: Store, job: Job) -> Job:
    """The job with all that its journals say, read from where the last look ended."""
    if kept := store.snapshot(job.folder):
        job.restore(kept)
    keep(store, job.refresh())
    return job


def keep(store: Store, job: Job) -> None:
    """Remember what a job adds up to, where a good deal was said since that was done."""
    if job.heard > SNAPSHOT_EVENTS:
        store.keep_snapshot(job.folder, job.snapshot())
