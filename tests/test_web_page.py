"""The page in a real browser, from a job's first frame to its film."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from farm_runs import Farm, card, fault

from benchmarks.page import long_job
from tests import npm

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PACKAGES = ("playwright-core@1.65.1", "axe-core@4.14.1")
LOOK_SECONDS = 400
"""a watchdog"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]


@contextlib.contextmanager
def served(farm: Farm) -> Iterator[str]:
    """The address of the farm's page."""
    process = farm.start("web")
    assert process.stderr is not None
    try:
        yield process.stderr.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def look(farm: Farm, check: str, *arguments: object) -> Any:
    """What a browser saw; nothing may have gone wrong in the page."""
    home = npm.installed("browser", *PACKAGES)
    with served(farm) as address:
        argv = [npm.node(), Path(__file__).with_name("page.mjs"), check, address, CHROMIUM, *arguments]
        done = subprocess.run(
            list(map(str, argv)),
            cwd=home,
            env=farm.environment,
            capture_output=True,
            text=True,
            timeout=LOOK_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["troubles"] == []
    return found["seen"]


def submits(farm: Farm, scene: Path, *more: str) -> str:
    """The command that submits a scene, for a browser to start when it is ready."""
    output = str(farm.folder / "out")
    return json.dumps([sys.executable, "-m", "renderfarm", "submit", "-q", *more, "-o", output, str(scene)])


def test_a_job_is_seen_from_its_first_frame_to_its_film(farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-24", size=[320, 180], seconds=0.5)
    seen = look(farm, "job", submits(farm, scene))
    assert seen["holes"] > 0
    assert "24 of 24 frames" in seen["facts"]
    assert seen["film"] == 1.0


def test_a_failed_frame_is_tried_again_by_a_click(farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-6", faults=fault("error", 6, times=1))
    failed = farm.submit(scene, "--retries", "0").json["failures"]
    seen = look(farm, "retry", failed[0]["log"])
    assert seen["read"] == [True, True, True], (
        "what is read stays, and of what follows no more is kept than is good"
    )
    assert seen["told"].startswith("Frame 6unknownthe scene asked for an error (1 try)")
    assert "frame 6: the scene asked for an error" in seen["told"]
    assert seen["orders"] == 1, "for two clicks"
    assert seen["after"] == "Nothing went wrong."


def test_why_a_frame_failed_is_told_while_others_are_rendered(farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-9000", seconds=0.05, faults=fault("error", 2))
    running, told, ended = look(farm, "early", submits(farm, scene, "--retries", "0"))
    assert running == "rendering"
    assert told.startswith("Frame 2unknownthe scene asked for an error (1 try)")
    assert ended == "failed"


def test_frames_are_scrubbed_stepped_played_linked_and_compared(farm: Farm) -> None:
    farm.submit(
        card(farm.folder / "card.testcard", "1-40", size=[320, 180], faults=fault("error", 21)),
        "--retries",
        "0",
    )
    middle, end, second, played, linked, compared = look(farm, "scrub")
    assert (middle["frame"], middle["slate"]) == ("21", "Frame 21 failed")
    assert end["frame"] == played["frame"] == linked["frame"] == "40"
    assert (second["frame"], second["slate"]) == ("2", None)
    assert second["shown"] == 320
    assert compared == {"cut": "20", "other": "Frame 39"}


def test_it_reads_well_for_everybody_on_desktop_and_phone(farm: Farm, tmp_path: Path) -> None:
    farm.submit(
        card(farm.folder / "card.testcard", "1-12", size=[320, 180], faults=fault("error", 3)), "--retries", "0"
    )
    assert look(farm, "looks", tmp_path / "looks") == []


def test_eight_tabs_share_one_stream_and_another_takes_over(farm: Farm) -> None:
    scene = card(farm.folder / "card.testcard", "1-20", seconds=0.1)
    assert look(farm, "tabs", submits(farm, scene)) == {"before": 1, "after": 2}


def test_of_a_hundred_thousand_frames_only_those_in_sight_are_asked_for(farm: Farm) -> None:
    job = long_job(farm.folder, farm.home, 100_000)
    seen = look(farm, "sight", job)
    assert seen["first"] < 100
    assert seen["blind"] == []
    assert seen["last"] == 100_000
    assert seen["cells"] < 80


def test_a_name_that_wants_to_be_markup_is_text(farm: Farm) -> None:
    name = "<img src=x onerror=alert(1)>"
    farm.submit(card(farm.folder / f"{name}.testcard", "1-2"))
    seen = look(farm, "hostile")
    assert seen["lost"] == ["There is no job 'nobodys'. See `renderfarm jobs`.", False]
    assert (seen["title"], seen["listed"], seen["strangers"]) == (f"{name}.testcard", f"{name}.testcard", 0)
