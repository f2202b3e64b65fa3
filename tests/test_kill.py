"""Killing and stopping the farm at any moment: nothing is spoiled, nothing is left over."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from farm_runs import (
    PATIENCE_SECONDS,
    Done,
    Farm,
    card,
    ended,
    frames_there,
    kill,
    names,
    pixels,
    processes,
    wait_for,
    wait_until_none_is_left,
)

FRAMES = 60
REAL = ("env",)
"""starts a Python, which can be killed while it starts, too"""


def rendering(farm: Farm, scene: Path, *more: object, frames: int = 2) -> subprocess.Popen[str]:
    """A submit that has delivered its first frames."""
    process = farm.start("submit", "-o", farm.folder / "out", *more, scene)
    wait_for(lambda: frames_there(farm.folder / "out") >= frames, "the first frames")
    return process


def stop(process: subprocess.Popen[str], *signals: int, pause: float = 0.1) -> Done:
    """Send signals to one process; how it ended, which it must do before its work does."""
    for place, number in enumerate(signals):
        time.sleep(pause if place else 0)
        if process.poll() is None:
            process.send_signal(number)
    return ended(process)


def disturb(farm: Farm, process: subprocess.Popen[str], dice: random.Random, kills: int) -> bool:
    """Kill some workers or renderers, then the farm itself; whether it was still at work."""
    for _ in range(kills):
        time.sleep(dice.uniform(0.02, 0.25))
        if victims := sorted(set(processes(farm.folder)) - {process.pid}):
            kill(dice.choice(victims))
    time.sleep(dice.uniform(0.0, 0.3))
    process.kill()
    return ended(process).code == -signal.SIGKILL


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_a_job_killed_again_and_again_and_resumed_has_every_frame_right(tmp_path: Path, rounds: int) -> None:
    dice = random.Random(rounds)
    calm = Farm(tmp_path / "calm")
    scene = card(tmp_path / "shot.testcard", f"1-{FRAMES}", seconds=0.02)
    assert calm.submit(scene, "--no-video").code == 0
    farm = Farm(tmp_path / "farm")
    process = farm.start("submit", "--no-video", "-o", farm.folder / "out", scene, prefix=REAL)
    wait_for(lambda: frames_there(farm.folder / "out"), "the first frame")
    job, killed = farm.only_job(), 0
    for _ in range(rounds):
        killed += disturb(farm, process, dice, kills=dice.randrange(3))
        wait_until_none_is_left(farm.folder)
        if frames_there(farm.folder / "out") > FRAMES // 2:
            unfinish(farm, dice)
        process = farm.start("resume", job, prefix=REAL)
    done = ended(process)
    assert killed >= rounds // 2
    assert done.code == 0, done.err
    assert pixels(farm.folder / "out/frames") == pixels(calm.folder / "out/frames")
    assert_each_frame_is_cached_once(farm)
    wait_until_none_is_left(farm.folder)


def unfinish(farm: Farm, dice: random.Random) -> None:
    """Lose some pictures here and in the cache, so that there is work left for the next round."""
    for frame in dice.sample(range(1, FRAMES + 1), FRAMES * 3 // 4):
        (farm.folder / f"out/frames/shot.{frame:04d}.png").unlink(missing_ok=True)
        for kept in (farm.home / "cache").glob(f"*/{frame}.png"):
            kept.unlink()


def assert_each_frame_is_cached_once(farm: Farm) -> None:
    kept = sorted(int(path.stem) for path in (farm.home / "cache").rglob("[!.]*.png"))
    assert kept == list(range(1, FRAMES + 1))
    with sqlite3.connect(farm.home / "farm.sqlite") as store:
        known = [row[0] for row in store.execute("SELECT frame FROM cached ORDER BY frame")]
    store.close()
    assert known == kept


def test_killing_workers_and_renderers_does_not_fail_a_job(farm: Farm, tmp_path: Path) -> None:
    process = rendering(farm, card(tmp_path / "shot.testcard", "1-60", seconds=0.03))
    for _ in range(3):
        have = frames_there(farm.folder / "out")
        for pid in set(processes(farm.folder)) - {process.pid}:
            kill(pid)
        wait_for(lambda: frames_there(farm.folder / "out") > have or process.poll() == 0, "another frame")  # noqa: B023
    done = ended(process)
    assert done.code == 0, done.err
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 61))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stopping_a_rendering_job_is_quick_clean_and_says_how_to_go_on(
    farm: Farm, tmp_path: Path, number: int
) -> None:
    process = rendering(farm, card(tmp_path / "shot.testcard", "1-500", seconds=0.05))
    done = stop(process, number)
    assert done.code == 130
    assert f"renderfarm resume {farm.only_job()}" in done.err
    wait_until_none_is_left(farm.folder)


def test_a_stopped_job_goes_on_with_the_command_that_it_printed(farm: Farm, tmp_path: Path) -> None:
    process = rendering(farm, card(tmp_path / "shot.testcard", "1-80", seconds=0.02))
    done = stop(process, signal.SIGINT)
    command = done.err.rpartition("renderfarm ")[2].split()
    assert farm.run(*command).code == 0
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 81))


def test_a_second_ctrl_c_changes_nothing(farm: Farm, tmp_path: Path) -> None:
    process = rendering(farm, card(tmp_path / "shot.testcard", "1-500", seconds=0.05))
    done = stop(process, signal.SIGINT, signal.SIGINT, signal.SIGINT, pause=0.02)
    assert done.code == 130
    assert f"renderfarm resume {farm.only_job()}" in done.err
    wait_until_none_is_left(farm.folder)


def test_ctrl_c_ends_a_renderer_that_hangs(farm: Farm, tmp_path: Path) -> None:
    scene = card(tmp_path / "shot.testcard", "1-9", faults={"3": {"what": "hang"}})
    done = stop(rendering(farm, scene), signal.SIGINT)
    assert done.code == 130
    wait_until_none_is_left(farm.folder)


def test_what_never_lets_go_does_not_keep_a_command_that_was_stopped() -> None:
    """As a download does from a network that swallows everything."""
    code = """if True:
        import os, signal, threading
        from renderfarm.words import stopping
        stopping.LONGEST_SECONDS = 1
        with stopping.stoppable():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                threading.Event().wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (done.returncode, done.stderr.decode().strip()) == (
        130,
        "Stopped: something did not let go. What is finished is kept.",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_stopping_during_inspection_leaves_no_job_and_no_process(
    farm: Farm, tmp_path: Path, number: int
) -> None:
    out = farm.folder / "out"
    process = farm.start("submit", "-o", out, card(tmp_path / "shot.testcard"))
    wait_for(lambda: (out / ".renderfarm/lock").exists(), "the output folder's lock")
    done = stop(process, number)
    assert done.code == 130
    assert done.err.splitlines()[-2:] == ["Interrupted before anything was rendered.", "Submit it again."]
    assert farm.run("jobs", "--json").json == {"jobs": []}
    wait_until_none_is_left(farm.folder)


def test_stopping_while_the_video_is_made_leaves_no_process_and_no_half_video(
    farm: Farm, tmp_path: Path
) -> None:
    scene = card(tmp_path / "shot.testcard", "1-150", size=[640, 360])
    process = farm.start("submit", "--video", farm.folder / "out/shot.webm", "-o", farm.folder / "out", scene)
    wait_for(lambda: any("ffmpeg" in line for line in processes(farm.folder).values()), "ffmpeg")
    done = stop(process, signal.SIGINT)
    assert done.code == 130
    wait_until_none_is_left(farm.folder)
    assert not list(farm.folder.glob("out/*webm*"))
    assert farm.status(farm.only_job())["frames"]["succeeded"] == 150


def test_ctrl_c_at_any_moment_never_shows_a_traceback(farm: Farm, tmp_path: Path) -> None:
    scene = card(tmp_path / "shot.testcard", "1-40", seconds=0.02)
    dice = random.Random(3)
    for round_number in range(4):
        out = farm.folder / f"out{round_number}"
        process = farm.start("submit", "--no-reuse", "-o", out, scene, prefix=REAL)
        time.sleep(0.25 + dice.uniform(0.0, 1.2))
        done = stop(process, signal.SIGINT)
        # Python ends itself by SIGINT when one came while a dataclass was being made; shells call that 130 too.
        assert done.code in (0, 130, -signal.SIGINT), done.err
    wait_until_none_is_left(farm.folder)


def test_a_closed_terminal_leaves_a_job_that_can_be_resumed(farm: Farm, tmp_path: Path) -> None:
    process = rendering(farm, card(tmp_path / "shot.testcard", "1-60", seconds=0.02))
    stop(process, signal.SIGHUP)
    wait_until_none_is_left(farm.folder)
    assert farm.run("resume", farm.only_job()).code == 0
