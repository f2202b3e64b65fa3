"""What a job's film is made of, and where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renderfarm.farm.preparation import Ready
from renderfarm.job.job import Job
from renderfarm.job.record import SCRATCH
from renderfarm.words import frames as frame_ranges

if TYPE_CHECKING:
    from renderfarm.pictures.film import VideoOptions

FOLDER = "film"
"""parts, in the hidden folder of the output"""
SMALL = "small"
"""… and the same for the report, until that is there"""


def is_wanted(job: Job) -> bool:
    """Whether a job is to have a film."""
    return bool(job.request.video or (job.total > 1 and not job.request.no_video))


def folder(job: Job) -> Path:
    """Where the parts of an output folder's film are."""
    return job.record.output / SCRATCH / FOLDER


def small_folder(job: Job) -> Path:
    """Where parts of the film are that were made small."""
    return job.record.output / SCRATCH / SMALL


def seconds(job: Job) -> float:
    """How long a film of all frames plays."""
    return job.total / job.record.fps


def default_place(job: Job) -> Path:
    """Where the film of a job is that names no other place."""
    return Path(job.request.output) / f"{Path(job.request.scene).stem}.mp4"


def so_far(job: Job) -> Path:
    """Where the film is up to the first part that is not there, for those who can't wait; without sound."""
    return folder(job) / f"so-far{Path(job.request.video or default_place(job)).suffix}"


def options(job: Job, ready: Ready) -> VideoOptions:
    """What was asked, and what the scene says."""
    from renderfarm.pictures.film import VideoOptions
    from renderfarm.pictures.soundtrack import Soundtrack, of_scene

    request, fps, scene = job.request, job.record.fps, ready.inspection.scene
    # A sound track belongs to the whole animation: a later first frame starts later in it.
    offset = (ready.frames.first - frame_ranges.parse(scene.frames).first) / fps
    given = Soundtrack(Path(request.audio), offset) if request.audio else None
    return VideoOptions(
        fps=fps,
        codec=request.codec,
        crf=request.crf,
        soundtrack=given or of_scene(scene.sounds, ready.frames, fps, scene.fps),
        missing=request.missing,
        colour=scene.colour,
        pixel_aspect=scene.pixel_aspect,
    )
