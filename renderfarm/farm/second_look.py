"""The second look, now that every frame has its neighbours: what is suspicious, and what can't be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from renderfarm.farm.job_frames import JobFrames
from renderfarm.job import events
from renderfarm.job.job import Job
from renderfarm.words.states import FrameState
from renderfarm.words.status import Suspect

if TYPE_CHECKING:
    from renderfarm.pictures.judge import Verdict


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
        job.tell(events.Doubted(verdict.frame, verdict.finding.value, verdict.detail))
        frames.forget(verdict.frame)
