"""What can't be right among its neighbours, and when the frames that are left are not worth trying."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from renderfarm.errors import MissingAssetsError, PoolError
from renderfarm.farm.inspector import withheld
from renderfarm.farm.job_frames import JobFrames
from renderfarm.job import events
from renderfarm.job.job import Job
from renderfarm.job.ledger import Ledger
from renderfarm.words.scene import Scene
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.status import Suspect
from renderfarm.words.updates import Failed, Trouble

if TYPE_CHECKING:
    from renderfarm.pictures.judge import Verdict

SHOWN_PATHS = 3
HOPELESS_FRAMES = 3
"""frames that fail for good in the same way, with none good, before the others are not tried"""


def second_look(job: Job, frames: JobFrames, *, partial: bool) -> tuple[list[Suspect], list[Verdict]]:
    """Suspicions to report, and frames that deserve a second attempt."""
    ledger = job.ledger
    evidence = {each.frame for each in ledger.of(FrameState.SUCCEEDED) if each.lacking}
    suspects, doubted = [], []
    for verdict in _verdicts(job, frames, evidence):
        twice = verdict.certain and ledger.frames[verdict.frame].doubted
        if verdict.certain and not twice and not partial:
            doubted.append(verdict)
        else:
            detail = f"{verdict.detail} (rendered twice, the same)" if verdict.certain else verdict.detail
            suspects.append(Suspect(verdict.frame, verdict.finding, detail))
    if suspects or ledger.suspects():
        job.tell(events.suspected(suspects))
    return suspects, doubted


def _verdicts(job: Job, frames: JobFrames, evidence: set[int]) -> Iterable[Verdict]:
    """What there is to say, of each frame the worst; each view is judged by itself."""
    from renderfarm.pictures.judge import judge

    scene = job.record.scene
    found: dict[int, Verdict] = {}
    for number, view in enumerate(scene.views or scene.views_inside or ("",)):
        looks = frames.looks(number)
        for verdict in judge(looks, evidence=evidence, expects_magenta=job.request.allow_missing):
            if verdict.frame not in found or verdict.certain > found[verdict.frame].certain:
                found[verdict.frame] = replace(verdict, detail=f"{view}: {verdict.detail}".removeprefix(": "))
    return found.values()


def ask_again(job: Job, frames: JobFrames, doubted: list[Verdict]) -> None:
    """Count a picture that can't be right as a failed attempt; the next rendering decides."""
    for verdict in doubted:
        frames.forget(verdict.frame)  # first: who dies before it is told renders it again
        job.tell(events.Doubted(verdict.frame, verdict.finding.value, verdict.detail))


def rendered_well(ledger: Ledger) -> int:
    """Frames that were rendered well for this job, now or before."""
    counts = ledger.counts()
    return counts.succeeded - counts.reused


def is_hopeless(ledger: Ledger) -> bool:
    """Nothing is good, and several frames failed for good in the same way.

    Those whose files changed say nothing of the others.
    """
    if ledger.counts().failed < HOPELESS_FRAMES or rendered_well(ledger):
        return False
    reasons = {frame.reason for frame in ledger.of(FrameState.FAILED)}
    return len(reasons) == 1 and Reason.INPUT_CHANGED not in reasons


def refuse_missing(scene: Scene, failures: Iterable[Failed]) -> None:
    """Raise MissingAssetsError for the first frame that lacks a file, in the renderer's own words."""
    first = next((failure for failure in failures if failure.reason is Reason.MISSING_FILE), None)
    if first is None:
        return
    kept_back = [asset for asset in scene.missing if asset.withheld]
    why = "".join(f"\n  {withheld(asset.path, asset.withheld)}" for asset in kept_back[:SHOWN_PATHS])
    hint = "Copy what the scene needs into its folder" if kept_back else "Put the file back"
    message = f"Frame {first.frame}: {first.message}{why}"
    paths = tuple(asset.path for asset in kept_back)
    raise MissingAssetsError(message, paths, f"{hint}, then submit again.")


def give_up(job: Job, trouble: Trouble | None) -> None:
    """Don't try the frames that are left: they would fail like those before. Raises PoolError for trouble."""
    first = next(job.ledger.of(FrameState.FAILED), None)
    if trouble and first is None:
        raise PoolError(trouble.message, "Run `renderfarm doctor`.")
    why = trouble.message if trouble else f"the frames before it failed: {first.message}" if first else ""
    job.tell(events.GivenUp(why))
