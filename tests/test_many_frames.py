"""Ten million frames of which hardly one was touched are a range: told, stopped and given up within seconds.

The limits are watchdogs, ten times what `benchmarks.many_frames` measures.
"""

from __future__ import annotations

import pytest
from farm_runs import Farm, card, fault, frames_there, wait_for

from renderfarm.job.ledger import LISTED
from renderfarm.words.frames import parse

RANGE = "1-10000000"
LIMITED = ("prlimit", "--as=3000000000")
QUICK = ("--no-video", "--workers", "1")


def test_ten_million_frames_are_canceled_while_they_render(farm: Farm) -> None:
    scene = card(farm.folder / "a.testcard", RANGE)
    assert farm.run("submit", scene, *QUICK, "--detach", "-o", "out", prefix=LIMITED).code == 0
    wait_for(lambda: frames_there(farm.folder / "out"), "the first frame")
    found = farm.run("cancel", "--json", prefix=LIMITED).json
    assert found["frames"]["canceled"] + found["frames"]["succeeded"] == 10_000_000
    assert farm.status("out")["state"] == "canceled"
    looked = farm.run("check", "out", "--json", prefix=LIMITED)
    assert [one["finding"] for one in looked.json["bad"]] == ["gap"]
    assert "are missing" in farm.run("assemble", "out", "a.mp4", prefix=LIMITED).err


def test_ten_million_frames_are_given_up_and_not_listed_one_by_one(farm: Farm) -> None:
    scene = card(farm.folder / "a.testcard", RANGE, faults=fault("error", *range(1, 9)))
    found = farm.submit(scene, *QUICK, "--retries", "0", prefix=LIMITED).json
    assert found["frames"]["failed"] == 10_000_000
    tried = [one for one in found["failures"] if one["attempts"]]
    assert len(found["failures"]) == LISTED + len(tried)
    assert "more failed" in farm.run("status", prefix=LIMITED).out


@pytest.mark.parametrize(
    ("wanted", "own", "beyond"),
    [
        ("1-10000000", "1-10000000", []),
        ("2-9,4", "1-10", []),
        ("8-12", "1-10", [11, 12]),
        ("1-9x2", "1-9x4", [3, 7]),
        ("5", "1,3", [5]),
    ],
)
def test_frames_beyond_a_range(wanted: str, own: str, beyond: list[int]) -> None:
    assert list(parse(wanted).beyond(parse(own))) == beyond
