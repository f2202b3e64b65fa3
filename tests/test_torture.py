"""What has to hold whatever happens, at length; `python -m tests.torture` runs it with the rest of its kind."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import stops
from tests.farm_runs import Farm, card, pixels, wait_until_none_is_left

pytestmark = pytest.mark.slow
DISKS, STOPS = 20, 200


@contextmanager
def disk(folder: Path, kib: int) -> Iterator[None]:
    """A file system of its own in a folder, of a size."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system that fills up can be mounted only by root")
def test_a_disk_that_is_full_at_any_moment_loses_no_frame(tmp_path: Path) -> None:
    dice = random.Random(1)
    scene = card(tmp_path / "shot.testcard", "1-60", size=[96, 54])
    calm = Farm(tmp_path / "calm")
    assert calm.submit(scene).code == 0
    right, full = pixels(calm.folder / "out/frames"), 0
    for number in range(DISKS):
        farm = Farm(tmp_path / f"farm{number}")
        tight = dice.choice((farm.folder / "out", farm.home))
        with disk(tight, dice.randrange(40, 1200)):
            done = farm.submit(scene, "--no-reuse")
            full += done.code != 0
            assert done.code == 0 or done.err
            subprocess.run(["mount", "-o", "remount,size=64m", tight], check=True)
            for job in farm.run("jobs", "--json").json["jobs"]:
                assert farm.run("resume", job["job"]).code == 0
            assert farm.submit(scene).code == 0
            assert pixels(farm.folder / "out/frames") == right
        wait_until_none_is_left(farm.folder)
    assert full > DISKS // 4


def test_whenever_a_command_is_told_to_stop_it_says_so_and_leaves_with_130(tmp_path: Path) -> None:
    assert stops.wrong(STOPS, random.Random(1), tmp_path / "farm") == []
    wait_until_none_is_left(tmp_path)
