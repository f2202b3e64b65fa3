"""What a film shows: the pictures of a folder in order, and what stands where one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import AssemblyError, InputError
from renderfarm.pictures import sequences
from renderfarm.pictures.sequences import PictureSequence, Run
from renderfarm.words.frames import listed

MOST_MISSING = 200_000
"""two hours of film"""


@dataclass(frozen=True)
class Picture:
    """One frame of a video to be; path is None where there is no picture, and a slate where it is shown."""

    frame: int
    path: Path | None
    times: int = 1
    """frames for which it is shown"""


@dataclass(frozen=True)
class Found:
    """The pictures of a folder, gaps as missing ones, and what there is to say about the choice."""

    pictures: list[Picture]
    notes: tuple[str, ...] = ()


def pictures_in(folder: Path, missing: str = "fail") -> Found:
    """The one sequence of numbered pictures in a folder (or its `frames`, if a job wrote it).

    What should be there is what the job was asked for, else the range found, in its own step. Of two views the
    left one is taken, of a job's the first. Raises InputError when there is no sequence, or more than one, or
    more gaps than any film has frames.
    """
    job = sequences.submitted(folder)
    folder = folder / "frames" if job else folder
    views = job.scene.views if job else ()
    found = [sequence for sequence in sequences.find(folder, views) if sequence.numbered]
    if not found:
        raise InputError(f"There are no numbered pictures in {folder}.", "Frames are named like shot.0001.png.")
    chosen = found[0] if len(found) == 1 else sequences.shown(found, views)
    if chosen is None:
        known = "; ".join(f"{sequence.name} ({len(sequence.files)})" for sequence in found)
        message = f"There are several sequences in {folder}: {known}."
        raise InputError(message, "Put the one you want into a folder of its own.")
    notes = [] if len(found) == 1 else [f"There are {len(found)} views: the film shows {chosen.name}."]
    there = [Picture(frame, path) for frame, path in chosen.files.items()]
    runs = list(chosen.gaps(job.frames if job else None))
    if sum(run.count for run in runs) > MOST_MISSING:
        return _far_apart(there, chosen, runs, missing, notes)
    gaps = [Picture(frame, None) for run in runs for frame in run]
    return Found(sorted([*there, *gaps], key=lambda picture: picture.frame), tuple(notes))


def _far_apart(
    there: list[Picture], chosen: PictureSequence, runs: list[Run], missing: str, notes: list[str]
) -> Found:
    """What is there of frames whose numbers leave room for more than any film has, if that is wanted."""
    span = f"{min(there[0].frame, runs[0].first)} to {max(there[-1].frame, runs[-1].last)}"
    gone = sum(run.count for run in runs)
    if missing != "skip":
        message = f"Of the frames {span} of {chosen.name} {gone:,} are missing."
        raise InputError(
            message, "Leave them out with --missing skip, or put what belongs together into a folder."
        )
    return Found(there, (*notes, f"{gone:,} of the frames {span} are missing and left out."))


def planned(frames: Sequence[Picture], policy: str) -> tuple[list[Picture], list[str]]:
    """The shots that the frames and the policy for missing ones give, and what to say about it."""
    gaps = [picture.frame for picture in frames if picture.path is None]
    if len(gaps) == len(frames):
        what = f"None of the frames {listed(gaps)} is there" if gaps else "There are no frames"
        raise AssemblyError(f"{what}, so no video.", "Render some first.")
    if not gaps:
        return list(frames), []
    if policy == "fail":
        hint = "Render them, or choose what the video does instead: --missing hold, slate or skip."
        raise AssemblyError(f"{_are(gaps)} missing.", hint)
    if policy == "hold":
        return _held(frames), [f"{_are(gaps)} missing: the nearest earlier picture is held instead."]
    if policy == "skip":
        there = [picture for picture in frames if picture.path]
        return there, [f"{_are(gaps)} missing and left out: the video is {len(gaps)} shorter."]
    return list(frames), [f"{_are(gaps)} missing: a slate says so in the video."]


def _held(frames: Sequence[Picture]) -> list[Picture]:
    """Each missing frame shows the one before it, or the first there is."""
    shots: list[Picture] = []
    waiting = 0
    for picture in frames:
        if picture.path is not None:
            shots.append(replace(picture, times=1 + waiting))
            waiting = 0
        elif shots:
            shots[-1] = replace(shots[-1], times=shots[-1].times + 1)
        else:
            waiting += 1
    return shots


def thinned(shots: Sequence[Picture], every: int) -> list[Picture]:
    """Every n-th frame of what is to be shown, held ones counted as often as they are."""
    return [replace(shot, times=1) for shot in shots for _ in range(shot.times)][::every]


def _are(frames: Sequence[int]) -> str:
    return f"Frame {frames[0]} is" if len(frames) == 1 else f"{len(frames)} frames ({listed(frames)}) are"
