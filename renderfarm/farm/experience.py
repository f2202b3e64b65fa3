"""What jobs of this machine took so far, and what others may take for that."""

from __future__ import annotations

import time
from pathlib import Path

from renderfarm.farm.preparation import session_measure
from renderfarm.job.job import Job
from renderfarm.job.store import Store
from renderfarm.words.request import Request
from renderfarm.words.states import FrameState

ENCODED_PIXELS_PER_SECOND = 30e6
"""until this machine has made a video; then its own figure"""


def frame_measure(fingerprint: str) -> str:
    """Name of the measure of a fingerprint's seconds per frame, all workers together."""
    return f"seconds per frame of {fingerprint}"


def encoding_measure(request: Request) -> str:
    """Name of the measure of this machine's speed with the codec of a job's video."""
    kind = request.codec or Path(request.video or "video.mp4").suffix
    return f"encoded pixels per second of {kind}"


def encoding_seconds(store: Store, request: Request, size: tuple[int, int], frames: int) -> float:
    """What a job's video will take, as far as this machine's experience tells."""
    speed = store.measure(encoding_measure(request)) or ENCODED_PIXELS_PER_SECOND
    return size[0] * size[1] * frames / speed


def seconds_after(job: Job, store: Store) -> float:
    """What the video will take once the frames are there, as far as this machine's experience tells."""
    if job.request.no_video or job.total < 2:
        return 0.0
    return encoding_seconds(store, job.request, job.record.scene.resolution, job.total)


def learn(job: Job, fingerprint: str, store: Store, *, merged: bool = False) -> None:
    """Remember what a frame of this fingerprint costs, for those who ask before they submit.

    What a session takes for one whose parts were `merged` is known by those.
    """
    good = [f for f in job.ledger.of(FrameState.SUCCEEDED) if not f.reused and f.seconds]
    if good:
        run = job.ledger.run
        worked = run.seconds + (time.time() - run.begun if run.begun else 0.0)
        store.set_measure(frame_measure(fingerprint), worked / len(good))
        if not merged:
            took = sum(frame.seconds or 0.0 for frame in good)
            store.set_measure(session_measure(job.request), took / len(good))
