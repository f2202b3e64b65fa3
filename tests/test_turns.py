"""Jobs that render on one machine take turns."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from farm_runs import (
    PATIENCE_SECONDS,
    Done,
    Farm,
    card,
    ended,
    frames_there,
    names,
    pixels,
    processes,
    stamps,
    wait_for,
    wait_until_none_is_left,
)

import renderfarm
from renderfarm.queues import turns
from renderfarm.queues.turns import Turn


def has_come(turn: Turn) -> bool:
    """Whether a turn comes in good time."""
    return any(turn.wait(0.1) for _ in range(round(PATIENCE_SECONDS / 0.1)))


def standing(home: Path) -> list[str]:
    """The jobs in line, those that render with a star."""
    return [f"{ticket.job}{'*' if ticket.renders else ''}" for ticket in turns.line(home)]


# The line itself


Take = Callable[..., Turn]


@pytest.fixture
def take(home: Path) -> Iterator[Take]:
    """Lines up a job: `take("a", 5, together=True)`."""
    taken = []

    def take(job: str, priority: int = 0, *, together: bool = False, at: Path = home) -> Turn:
        taken.append(Turn(at, job, priority, together=together))
        return taken[-1]

    yield take
    for turn in taken:
        turn.leave()


def test_the_first_renders_and_the_others_wait_by_priority_and_arrival(take: Take, home: Path) -> None:
    line = {job: take(job, priority) for job, priority in [("a", 0), ("b", 0), ("c", -5), ("d", 5)]}
    line["e"] = take("e", 5)
    assert standing(home) == ["a*", "d", "e", "b", "c"]
    assert [turns.place(home, job) for job in "abcde"] == [None, (3, "e"), (4, "b"), (1, "a"), (2, "d")]
    for job in "adebc":
        assert has_come(line[job])
        assert standing(home)[0] == f"{job}*"
        line.pop(job).leave()
        assert not any(turn.wait(0) for other, turn in line.items() if turns.place(home, other) != (1, None))
    assert standing(home) == []


def test_who_gives_up_waiting_is_passed_over(take: Take, home: Path) -> None:
    first, second, third = (take(job) for job in "abc")
    second.leave()
    assert not third.wait(0.2)
    assert turns.place(home, "c") == (1, "a")
    first.leave()
    assert has_come(third)


def test_a_more_important_job_does_not_push_out_the_one_that_renders(take: Take, home: Path) -> None:
    first = take("a", -1000)
    assert not take("b", 1000).wait(0.1)
    assert first.wait(0)


def test_jobs_that_share_the_machine_start_at_once_and_are_counted(take: Take, home: Path) -> None:
    first, second = take("a"), take("b", together=True)
    assert second.wait(0)
    assert first.others() == second.others() == 1
    waiting = take("c")
    assert not waiting.wait(0)
    assert take("d", together=True).others() == 2


def test_a_place_that_somebody_removed_makes_no_rivals(take: Take, home: Path) -> None:
    first = take("a")
    shutil.rmtree(home / "machine")
    assert first.others() == 0


def test_jobs_that_share_the_machine_never_hold_up_one_that_came_before_them(take: Take, home: Path) -> None:
    first, waiting = take("a"), take("b")
    later = take("c", together=True)
    assert turns.place(home, "b") == (1, "a")
    first.leave()
    assert has_come(waiting)
    assert not take("d").wait(0)
    later.leave()


def test_machines_of_two_homes_are_two_lines(take: Take, tmp_path: Path) -> None:
    assert take("a", at=tmp_path / "one").wait(0)
    assert take("b", at=tmp_path / "two").wait(0)


@pytest.fixture
def holder(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process whose job renders on this machine."""
    program = (
        "import sys; from pathlib import Path; from renderfarm.queues.turns import Turn\n"
        "turn = Turn(Path(sys.argv[1]), 'gone'); print('renders', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == b"renders\n"
    yield process
    process.kill()
    process.communicate()


def test_who_was_killed_holds_nobody_up_and_is_cleaned_up(
    take: Take, home: Path, holder: subprocess.Popen[bytes]
) -> None:
    waiting = take("a")
    assert not waiting.wait(0.1)
    holder.kill()
    assert has_come(waiting)
    assert standing(home) == ["a*"]
    waiting.leave()
    take("b").leave()
    assert {path.name for path in (home / "machine").iterdir()} == {"door"}


# Whole jobs


class Line:
    """A farm, and jobs that render or wait on its machine, each with its own output folder."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.farm = Farm(folder, home)
        self.runs: dict[str, subprocess.Popen[str]] = {}

    def output(self, name: str) -> Path:
        return self.farm.folder / name

    def start(
        self, name: str, *more: object, frames: str = "1-4", seconds: float = 0.0, **more_card: object
    ) -> str:
        """Submit a scene of that name, and wait until its job is in line, or done; its id."""
        scene = card(self.farm.folder / f"{name}.testcard", frames, seconds=seconds, **more_card)
        argv = ("submit", "--json", "--no-video", "-o", self.output(name), *more, "--", scene)
        self.runs[name] = self.farm.start(*argv)
        wait_for(lambda: name in self.scenes() or self.runs[name].poll() is not None, f"{name} in line")
        return next(path.stem for path in (self.farm.home / "jobs").glob(f"{name}-*"))

    def begin(self, name: str, *more: object) -> str:
        """Submit a long job, and wait for its first frames."""
        job = self.start(name, *more, frames="1-500", seconds=0.1)
        wait_for(lambda: frames_there(self.output(name)) > 1, f"frames of {name}")
        return job

    def scenes(self) -> list[str]:
        """Those of the jobs in line."""
        return [ticket.job.rpartition("-")[0] for ticket in turns.line(self.farm.home)]

    def end(self, name: str) -> Done:
        return ended(self.runs.pop(name))


@pytest.fixture
def line(tmp_path: Path, home: Path) -> Iterator[Line]:
    line = Line(tmp_path / "farm", home)
    yield line
    for run in line.runs.values():
        os.killpg(run.pid, signal.SIGTERM) if run.poll() is None else None
        run.communicate()
    wait_until_none_is_left(line.farm.folder)


@pytest.fixture
def busy(home: Path) -> Iterator[Turn]:
    """Somebody who renders on the machine until he leaves."""
    turn = Turn(home, "busy-0000")
    yield turn
    turn.leave()


def waits(job: str) -> bool:
    return renderfarm.status(job).phase == "waiting"


@pytest.mark.usefixtures("busy")
def test_a_waiting_job_says_where_it_stands_and_runs_nothing(line: Line) -> None:
    second, third = line.start("second"), line.start("third", "--priority", 3)
    wait_for(lambda: waits(third), "the third job waits")
    found = line.farm.status(second)
    assert [found[key] for key in ("state", "phase", "place", "behind", "ended", "nodes", "seconds")] == [
        "queued", "waiting", 2, third, False, [], 0.0,
    ]  # fmt: skip
    listed = line.farm.run("jobs").out
    assert "waiting behind busy-0000, next in line" in listed
    assert f"waiting behind {third}, number 2 in line" in listed
    assert not [text for text in processes(line.output("second")).values() if "renderfarm.node" in text]
    assert frames_there(line.output("second")) == 0


def test_those_who_wait_render_by_priority_then_by_arrival(line: Line, busy: Turn) -> None:
    second, _, third = (line.start(f"{n}", "--priority", p) for n, p in ((2, 0), (4, 7), (3, 0)))
    assert line.scenes() == ["busy", "4", "2", "3"]
    wait_for(lambda: waits(third), "the last job waits")
    busy.leave()
    ends = {name: line.end(name) for name in ("4", "2", "3")}
    assert [end.code for end in ends.values()] == [0, 0, 0]
    times = {name: [mtime for _, mtime in stamps(line.output(name) / "frames").values()] for name in "423"}
    assert max(times["4"]) < min(times["2"])
    assert max(times["2"]) < min(times["3"])
    assert f"{third}: waiting behind {second}, " in ends["3"].err


def test_who_waits_goes_on_when_the_one_ahead_is_killed(line: Line) -> None:
    line.begin("first")
    line.start("second")
    line.runs["first"].kill()
    assert line.end("second").code == 0
    assert list(pixels(line.output("second") / "frames")) == names("second", range(1, 5))


def test_ctrl_c_while_waiting_leaves_a_job_that_can_be_resumed(line: Line, busy: Turn) -> None:
    job = line.start("shot")
    wait_for(lambda: waits(job), "the job waits")
    line.runs["shot"].send_signal(signal.SIGINT)
    left = line.end("shot")
    assert left.code == 130
    assert f"renderfarm resume {job}" in left.err
    assert line.scenes() == ["busy"]
    busy.leave()
    assert line.farm.run("resume", job).code == 0


@pytest.mark.usefixtures("busy")
def test_a_waiting_job_is_canceled_and_paused_like_any_other(line: Line) -> None:
    one, other = line.start("one"), line.start("other")
    assert renderfarm.cancel(one).state == "canceled"
    paused = renderfarm.pause(other)
    assert (paused.state, paused.frames.queued) == ("queued", 4)
    done = line.end("other")
    assert [done.code, done.json["phase"], done.json["ended"]] == [130, "paused", True]
    assert line.end("one").code == 1
    assert line.scenes() == ["busy"]


def test_a_retry_of_a_waiting_job_is_taken_up_by_it(line: Line, home: Path) -> None:
    job = line.start("shot")
    assert line.end("shot").code == 0
    busy = Turn(home, "busy-0000")
    before = stamps(line.output("shot") / "frames")
    line.runs["shot"] = line.farm.start("retry", job, "--frames", "2")
    wait_for(lambda: waits(job), "the retry waits")
    assert line.farm.run("retry", job, "--frames", "3").code == 0
    wait_for(lambda: renderfarm.status(job).frames.queued == 2, "the order is taken")
    busy.leave()
    assert line.end("shot").code == 0
    after = stamps(line.output("shot") / "frames")
    assert [name for name in after if after[name] != before[name]] == ["shot.0002.png", "shot.0003.png"]


def test_a_detached_job_waits_in_the_background(line: Line, busy: Turn) -> None:
    job = line.start("shot", "--detach")
    told = line.end("shot").json
    assert [told["state"], told["phase"], told["behind"]] == ["queued", "waiting", "busy-0000"]
    busy.leave()
    assert line.farm.run("status", job, "--watch").code == 0


@pytest.mark.usefixtures("busy")
def test_a_job_that_shares_the_machine_does_not_wait(line: Line) -> None:
    line.start("shot", "--together")
    assert line.end("shot").code == 0


def test_frames_that_the_one_ahead_rendered_are_not_rendered_again(line: Line) -> None:
    line.start("first", frames="1-16", seconds=0.1)
    again = ("submit", "--json", "--no-video", "-o", line.output("again"), line.farm.folder / "first.testcard")
    assert ended(line.farm.start(*again)).json["frames"]["reused"] == 16


def test_files_that_change_while_a_job_waits_are_rendered_as_they_are_when_its_turn_comes(
    line: Line, busy: Turn
) -> None:
    picture = line.farm.folder / "wood.png"
    picture.write_bytes(b"oak")
    job = line.start("shot", assets=["wood.png"])
    wait_for(lambda: waits(job), "the job waits")
    picture.write_bytes(b"beech")
    busy.leave()
    done = line.end("shot")
    assert [done.code, done.json["frames"]["succeeded"]] == [0, 4]
    note = "rendered from the files as they were when its turn came: asset wood.png changed"
    assert note in done.json["notes"]
    assert line.scenes() == []


def test_a_paused_job_finishes_what_is_in_hand_and_goes_on_after_resume(line: Line) -> None:
    job = line.start("shot", "--workers", 2, frames="1-5", seconds=1.5)
    wait_for(lambda: renderfarm.status(job).frames.running == 2, "two frames in hand")
    time.sleep(0.3)  # until the farm knows it, too
    in_hand = {f"shot.{node.frame:04d}.png" for node in renderfarm.status(job).nodes if node.frame}
    assert renderfarm.pause(job).phase in ("pausing", "paused")
    done = line.end("shot")
    assert [done.code, done.json["state"], done.json["phase"]] == [130, "queued", "paused"]
    assert in_hand <= {path.name for path in (line.output("shot") / "frames").iterdir()}
    assert 2 <= done.json["frames"]["succeeded"] < 5
    assert line.scenes() == []
    assert done.json["seconds"] > 1
    assert f"Go on with: renderfarm resume {job}" in line.farm.run("status", job).out
    resumed = line.farm.run("resume", job, "--json")
    assert [resumed.code, resumed.json["frames"]["succeeded"]] == [0, 5]


def test_a_job_that_nobody_works_on_can_be_paused_and_one_that_is_done_stays_done(line: Line) -> None:
    first = line.begin("first")
    line.runs["first"].kill()
    line.end("first")
    assert renderfarm.pause(first).phase == "paused"
    second = line.start("second")
    assert line.end("second").code == 0
    assert renderfarm.pause(second).phase == "done"


# Another order


def test_a_waiting_job_moves_ahead_and_those_it_passed_wait_for_it(take: Take, home: Path) -> None:
    first, second, third = take("first"), take("second"), take("third")
    assert turns.priorities(home, ["third", "second"]) == {"third": 1}
    third.rank(1)
    assert standing(home) == ["first*", "third", "second"]
    first.leave()
    assert has_come(third)
    assert not second.wait(0)
    third.leave()
    assert has_come(second)


def test_as_few_priorities_change_as_an_order_needs(take: Take, home: Path) -> None:
    for job in "abcd":
        take(job)
    assert turns.priorities(home, ["b", "c", "d"]) == {}
    assert turns.priorities(home, ["d", "b", "c"]) == {"d": 1}
    assert turns.priorities(home, ["b", "d", "c"]) == {"b": 1, "d": 1}
    assert turns.priorities(home, ["a", "gone", "d"]) == {}
