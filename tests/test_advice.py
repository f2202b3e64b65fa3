"""What people are advised to do next fits the reason, wherever they read it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from renderfarm.words.failures import advice
from renderfarm.words.states import JobState, Phase, Reason
from renderfarm.words.status import Counts, FrameFailure, Status
from tests.farm_runs import Farm
from tests.nights import Project

MENDED = "Mend the scene, then submit it again: frames that are good are not rendered twice."
BROKEN = """\
#if (frame_number != 3) #error "the artist's own words" #end
camera {location -4*z look_at 0} light_source {<2, 4, -5> 1} sphere {0, 1 pigment {rgb 1}}
"""
povray = pytest.mark.skipif(shutil.which("povray") is None, reason="needs povray")


def ended_job(*reasons: Reason, phase: str = "done") -> Status:
    failures = tuple(FrameFailure(n, reason.value, "why", 1, None) for n, reason in enumerate(reasons))
    where = dict.fromkeys(("scene", "pool", "output", "frames_dir"), "")
    nothing = dict.fromkeys(("video", "contact_sheet", "report", "eta_seconds"))
    return Status(
        "a-1", JobState.FAILED, **where, **nothing, frames=Counts(), failures=failures, seconds=1,
        phase=Phase(phase), ended=True,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    ("reasons", "phase", "told"),
    [
        ((), "done", ""),
        ((Reason.CRASH, Reason.GIVEN_UP), "done", "Try again with: renderfarm retry a-1"),
        ((Reason.SCENE_ERROR, Reason.GIVEN_UP), "done", MENDED),
        ((Reason.CRASH, Reason.SCENE_ERROR), "done", MENDED),
        ((Reason.BAD_SETTING,), "done", MENDED.replace("Mend the scene", "Take that setting out")),
        ((Reason.MISSING_FILE,), "interrupted", MENDED.replace("Mend the scene", "Put the file back")),
        ((Reason.SCENE_ERROR,), "interrupted", "Go on with: renderfarm resume a-1"),
        (
            (Reason.CRASH, Reason.INPUT_CHANGED),
            "done",
            "Render those frames from the files as they are now: renderfarm resume a-1",
        ),
    ],
)
def test_advice_follows_from_the_reasons(reasons: tuple[Reason, ...], phase: str, told: str) -> None:
    assert str(advice(ended_job(*reasons, phase=phase)) or "") == told


def test_a_job_that_somebody_works_on_needs_no_advice() -> None:
    assert advice(replace(ended_job(Reason.CRASH), ended=False)) is None


@povray
def test_after_an_error_of_the_scene_nobody_is_told_to_retry(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    (tmp_path / "a.pov").write_text(BROKEN)
    done = farm.run("submit", "a.pov", "-f", "1-5", "--resolution", "32x24", "-o", "out", "--workers", "1")
    assert done.code == 1
    assert done.out.endswith(f"\n{MENDED}\n")
    assert "frames 1-2,4-5 failed: scene-error:" in done.out
    report = (tmp_path / "out/report.html").read_text()
    assert MENDED in report
    assert "Frames 1-2, 4-5" in report
    assert "renderfarm retry" not in done.out + done.err + report


@povray
def test_after_an_error_of_the_scene_a_night_tells_nobody_to_retry(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (project.folder / "a.pov").write_text(BROKEN)
    shot = {"scene": "a.pov", "frames": "1-4", "resolution": "32x24", "workers": 1}
    project.write(a=shot)
    done = project.run("--notify", f"tee {tmp_path / 'told.json'}")
    assert done.code == 1
    mended = MENDED.replace("submit it again", "run the list again")
    assert mended in done.out
    night = project.nights[-1]
    junit = "".join(ElementTree.parse(night / "junit.xml").getroot().itertext())
    page = (night / "index.html").read_text()
    summary = (tmp_path / "told.json").read_text()
    (failed,) = json.loads(summary)["failed"]
    assert (failed["advice"], failed["retry"]) == (mended, None)
    assert mended in junit
    assert mended in page
    assert "renderfarm retry" not in done.out + done.err + junit + page + summary
