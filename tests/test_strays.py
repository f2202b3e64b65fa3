"""What a dead node left behind is known by the mark in it: nobody else's process is ever killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from renderfarm.node import strays
from renderfarm.node.process import NodeProcess
from renderfarm.words.temporary import Temporary
from tests.farm_runs import (
    PATIENCE_SECONDS,
    Farm,
    card,
    ended,
    frames_there,
    kill,
    processes,
    wait_for,
    wait_until_none_is_left,
)

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a process in a session of its own, ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, mark: str = "") -> subprocess.Popen[bytes]:
        environment = {**os.environ, **({strays.VARIABLE: mark} if mark else {})}
        started.append(subprocess.Popen(argv, env=environment, start_new_session=True, stdout=subprocess.PIPE))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_only_what_carries_the_mark_is_killed(start: Start) -> None:
    mark = strays.new_mark()
    stray, other = start("sleep", "60", mark=mark), start("sleep", "60", mark=strays.new_mark())
    reader = start("tail", "-f", "/dev/null", mark + "1")
    longer = start("sleep", "60", mark=mark + "1")
    strays.kill({mark})
    assert stray.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert [process.poll() for process in (other, reader, longer)] == [None, None, None]


def test_what_cleared_its_environment_is_known_by_its_session(start: Start) -> None:
    mark = strays.new_mark()
    shell = start("sh", "-c", "env -i sleep 60 & echo $!; wait", mark=mark)
    assert shell.stdout
    child = int(shell.stdout.readline())
    strays.kill({mark})
    assert shell.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    wait_for(lambda: not Path(f"/proc/{child}/exe").exists(), "the end of the child")


@pytest.mark.parametrize("text", ["", "*", "0" * 31, "0" * 33, f"{'0' * 32}\n{'1' * 32}"])
def test_what_is_no_mark_marks_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "w1.mark").write_text(text)
    assert strays.noted(tmp_path) == set()


def test_a_mark_is_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(strays.new_mark())
    (tmp_path / "w1.mark").symlink_to(tmp_path / "elsewhere")
    assert strays.noted(tmp_path) == set()


def test_a_farm_of_later_finds_the_marks_of_a_work_folder(tmp_path: Path) -> None:
    marks = {strays.new_mark(), strays.new_mark()}
    for number, mark in enumerate(marks):
        strays.note(mark, tmp_path / "work" / f"w{number}")
    assert strays.noted(tmp_path / "work") == marks


def test_what_a_node_started_ends_with_it_whoever_else_knew_of_it(start: Start) -> None:
    node = NodeProcess("w1")
    left = start("sleep", "60", mark=node.mark)
    node.close()
    assert left.wait(PATIENCE_SECONDS) == -signal.SIGKILL


def test_of_six_workers_only_the_one_that_was_killed_loses_its_frame(tmp_path: Path) -> None:
    farm = Farm(tmp_path / "farm")
    scene, out = card(tmp_path / "shot.testcard", "1-18", seconds=1.0), farm.folder / "out"
    options = ("--workers", 6, "--chunk", 1, "--retries", 0, "--no-video", "-o", out)
    process = farm.start("submit", *options, scene)
    wait_for(lambda: frames_there(out) >= 6, "a frame of each worker")
    first = [pid for pid, line in processes(farm.folder).items() if " -m renderfarm.node serve w1 " in line]
    kill(first[0])
    done = ended(process)
    assert done.code == 0, done.err
    assert frames_there(out) == 18


def test_a_resume_ends_what_a_killed_farm_left_and_nobody_who_reads_its_logs(
    tmp_path: Path, start: Start
) -> None:
    farm = Farm(tmp_path / "farm")
    scene, out = card(tmp_path / "shot.testcard", "1-20", seconds=0.2), farm.folder / "out"
    process = farm.start("submit", "--no-video", "--workers", 1, "-o", out, scene)
    wait_for(lambda: frames_there(out) >= 1, "the first frame")
    (mark,) = strays.noted(out / ".renderfarm/work")
    log = out / ".renderfarm/work/w1/said.log"
    log.touch()
    reader, left = start("tail", "-f", str(log)), start("sleep", "60", mark=mark)
    process.kill()
    ended(process)
    wait_until_none_is_left(out / ".renderfarm/work/w1/tmp")
    assert farm.run("resume", farm.only_job()).code == 0
    assert left.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert reader.poll() is None


def test_a_temporary_folder_whose_maker_was_killed_goes_and_that_of_a_living_one_stays(start: Start) -> None:
    program = (
        "import os, sys, time; from renderfarm.words.temporary import Temporary; made = Temporary()\n"
        "print(made.path, flush=True); os.utime(made.path, (0, 0)); print(flush=True); time.sleep(600)"
    )
    makers = [start(sys.executable, "-c", program) for _ in range(2)]
    dead, living = (Path(os.fsdecode(maker.stdout.readline()[:-1])) for maker in makers if maker.stdout)
    assert [maker.stdout.readline() for maker in makers if maker.stdout] == [b"\n"] * 2
    makers[0].kill()
    makers[0].wait()
    assert dead.is_dir()
    with Temporary() as new:
        assert [path.is_dir() for path in (dead, living, new)] == [False, True, True]
    makers[1].terminate()
    living.rmdir()
    assert not new.exists()


def test_a_temporary_folder_may_be_removed_again_by_who_was_stopped_while_removing_it() -> None:
    made = Temporary()
    made.remove()
    made.remove()
    assert not made.path.exists()


def test_what_a_killed_test_run_has_started_ends_with_it(start: Start) -> None:
    program = "import subprocess; from tests import tether; tether.tie()\n"
    program += "child = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    program += "print(child.pid, flush=True); child.wait()"
    run = start(sys.executable, "-c", program)
    assert run.stdout
    child = int(run.stdout.readline())
    run.kill()
    wait_for(lambda: not Path(f"/proc/{child}/exe").exists(), "the end of the child")
