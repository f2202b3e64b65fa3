"""What frames are split into: what was asked for, or what is exact and keeps all workers busy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from renderfarm.errors import InputError, SceneError
from renderfarm.farm.preparation import Ready, session_measure
from renderfarm.farm.tasks import REMOTE_START_SECONDS, busy
from renderfarm.job import tiles
from renderfarm.job.chunks import LEAST_WORK_PER_START
from renderfarm.job.store import Store
from renderfarm.settings.checks import AUTO, MOST_PARTS
from renderfarm.words.request import Request
from renderfarm.words.work import Part

HERE_START_SECONDS = 1.0
"""what a part costs besides rendering on a worker that has the scene open"""


def decided(request: Request, ready: Ready, store: Store) -> tuple[str | None, str]:
    """What frames are split into, and why `auto` splits nothing where it does not; raises InputError."""
    if request.split != AUTO:
        parts_of(ready, request.split)
        return request.split, ""
    frames, able = len(ready.frames), busy(request, ready, MOST_PARTS)
    start = REMOTE_START_SECONDS if ready.pool.remote else HERE_START_SECONDS
    seconds = store.measure(session_measure(replace(request, split=None)))
    most = int(seconds / (start * LEAST_WORK_PER_START)) if seconds else MOST_PARTS
    split, why = "", unfit(ready) or ready.scene.doubt
    if able < 2 * frames:
        why = "whole frames keep all workers busy"
    elif most < 2:
        why = f"a frame takes {seconds:.1f} s, and every part {start:.0f} s to begin with"
    if not why:
        most, apart = min(most, MOST_PARTS // frames), ready.pool.remote
        split, why = tiles.exact(ready.scene, able // frames, most, apart=apart)
    return split or None, why and f"not split: {why}"


def otherwise(
    request: Request, ready: Ready, store: Store, split: str, why: str
) -> tuple[Ready, str | None, str]:
    """What frames are split into after all that `auto` split in vain, as the scene then says, and a note of it.

    Raises SceneError where somebody asked for just that.
    """
    scene = ready.scene
    if request.split != AUTO:
        raise SceneError(f"Frames of {Path(scene.path).name} can't be split: {why}.", "Leave --split out.")
    scene = replace(scene, uneven=why) if tiles.range_count(split) else replace(scene, seams=why)
    ready = replace(ready, scene=scene)
    other, note = decided(request, ready, store)
    return ready, other, note or f"split into {other}: {why} ({split})"


def unfit(ready: Ready) -> str:
    """Why a job's frames can't be split in any way; empty where that depends on how."""
    scene = ready.scene
    if scene.views:
        return "they have several views"
    if scene.ordered:
        return "they follow from those before them"
    return ""


def parts_of(ready: Ready, split: str | None, costs: tiles.Costs = ()) -> tuple[Part, ...]:
    """What a job's frames are split into; raises InputError where that would not be the whole, or too much."""
    if split is None:
        return ()
    scene = ready.scene
    if why := unfit(ready) or tiles.obstacle(scene, split):
        raise InputError(f"Frames of {Path(scene.path).name} can't be split: {why}.", "Leave --split out.")
    cut = tiles.parts(0, scene, split, costs)
    if len(cut) * len(ready.frames) > MOST_PARTS:
        message = f"{len(ready.frames):,} frames of {len(cut)} parts are more than {MOST_PARTS:,} parts."
        raise InputError(message, "Split fewer frames, or leave --split out.")
    return tuple(replace(part, frame=frame) for frame in ready.frames for part in cut)
