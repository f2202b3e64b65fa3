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
DISKS, STOPS, AT_ONCE = 20, 200, 20


@contextmanager
def disk(folder: Path, kib: int) -> Iterator[None]:
    """A file system of its own in a folder, of a size."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return card(tmp_path_factory.mktemp("calm") / "shot.testcard", "1-60", size=[96, 54])


@pytest.fixture(scope="module")
def right(scene: Path) -> dict[str, bytes]:
    """What comes out where nothing happens."""
    calm = Farm(scene.parent)
    assert calm.submit(scene).code == 0
    return pixels(scene.parent / "out/frames")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system that fills up can be mounted only by root")
@pytest.mark.parametrize("seed", range(DISKS))
def test_a_disk_that_fills_up_loses_no_frame(
    seed: int, scene: Path, right: dict[str, bytes], tmp_path: Path
) -> None:
    dice, farm = random.Random(seed), Farm(tmp_path / "farm")
    tight = dice.choice((farm.folder / "out", farm.home))
    with disk(tight, dice.randrange(40, 400)):
        done = farm.submit(scene, "--no-reuse")
        assert done.code == 0 or done.err
        subprocess.run(["mount", "-o", "remount,size=64m", tight], check=True)
        for job in farm.run("jobs", "--json").json["jobs"]:
            assert farm.run("resume", job["job"]).code == 0
        assert farm.submit(scene).code == 0
        assert pixels(farm.folder / "out/frames") == right
    wait_until_none_is_left(farm.folder)


@pytest.mark.parametrize("seed", range(STOPS // AT_ONCE))
def test_whenever_a_command_is_told_to_stop_it_says_so_and_leaves_with_130(seed: int, tmp_path: Path) -> None:
    assert stops.wrong(AT_ONCE, random.Random(seed), tmp_path / "farm") == []
    wait_until_none_is_left(tmp_path)
