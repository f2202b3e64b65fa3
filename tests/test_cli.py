"""The command line: help, exit codes, what goes to which stream, and every command on real jobs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

import renderfarm
from renderfarm import cli, request
from renderfarm.cli import output
from renderfarm.cli.submit import submit
from renderfarm.errors import SceneError
from renderfarm.job import home
from renderfarm.job.events import Canceled, Delivered
from renderfarm.job.record import Record
from renderfarm.job.shelf import Shelf
from renderfarm.words.request import Request
from renderfarm.words.scene import Scene
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed
from renderfarm.words.work import Build, Work
from tests import farm_runs
from tests.farm_runs import Done, ended, wait_for
from tests.trusting import trusted

STATUS_KEYS = (
    "job state scene pool frames failures output frames_dir video contact_sheet report seconds eta_seconds"
)
COUNTS = "total succeeded failed queued running canceled reused"


def run(*argv: str) -> Done:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(argv)
    return Done(code, out.getvalue(), err.getvalue())


def start(*argv: str, **more: Any) -> subprocess.Popen[str]:
    """Start a command line in a process of its own."""
    return farm_runs.start([sys.executable, "-m", "renderfarm", *argv], **more)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with an empty farm home and configuration beside it."""
    for name in [name for name in os.environ if name.startswith("RENDERFARM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RENDERFARM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def card(path: Path, frames: str = "1-3", **more: object) -> Path:
    """A test card scene."""
    path.write_text(json.dumps({"frames": frames, "size": [32, 18], **more}))
    return path


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if not command.hidden:
            yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


# Help and completion


@pytest.mark.parametrize("command", list(commands(cli.group)), ids=" ".join)
def test_every_commands_help_has_an_example(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.code == 0
    assert f"  renderfarm {' '.join(command)}" in result.out.partition("Examples:")[2].replace('eval "$(', "  ")


@pytest.mark.parametrize("name", cli.MODULES)
def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with(name: str) -> None:
    command = cli.group.get_command(click.Context(cli.group), name)
    (said,) = (section[name][1] for section in cli.COMMANDS.values() if name in section)
    assert command
    assert command.name == name
    assert command.hidden or said == command.get_short_help_str(200)


def test_a_misspelled_command_is_told_from_one_that_is_near() -> None:
    assert "submit" in run("sumbit").err


def test_without_a_command_there_is_help_without_the_command_behind_detach() -> None:
    result = run()
    assert (result.code, result.err) == (0, "")
    assert ("Rendering:" in result.out, "_run" in result.out) == (True, False)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('option = "x"', "'x' is not KEY=VALUE"),
        ("option = 5", "5 is not KEY=VALUE"),
        ('option = ["x", "y=1"]', "'x' is not KEY=VALUE"),
        ("order = 'random'", "Choose one of"),
    ],
)
def test_an_option_that_a_file_says_wrongly_is_told_with_the_file(here: Path, said: str, told: str) -> None:
    (here / "renderfarm.toml").write_text(said)
    result = run("submit", "a.testcard", "--dry-run")
    assert (result.code, told in result.err) == (2, True)
    assert f"It comes from {here / 'renderfarm.toml'}." in result.err


def test_a_broken_configuration_file_does_not_hide_help(here: Path) -> None:
    (here / "renderfarm.toml").write_text("nonsense")
    assert run("submit", "--help").code == 0


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_prints_a_script_that_asks_renderfarm(shell: str) -> None:
    assert f"_RENDERFARM_COMPLETE={shell}_complete" in run("completion", shell).out


def test_bash_completes_commands_with_the_printed_script(tmp_path: Path) -> None:
    program = tmp_path / "renderfarm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m renderfarm "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(renderfarm completion bash)"; COMP_WORDS=(renderfarm submit --order pr); COMP_CWORD=3;'
        '_renderfarm_completion renderfarm; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["progressive"]


# Bad usage and bad input


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--frames", "10-1"], "runs backwards"),
        (["--frames", ""], "is empty"),
        (["--resolution", "1920"], "Resolutions read like 1920x1080"),
        (["--resolution", "0x5"], "not between"),
        (["--scale", "half"], "not a percentage"),
        (["--timeout", "soon"], "Durations read like"),
        (["--timeout", "0"], "Durations read like"),
        (["--retries", "-1"], "at least 0"),
        (["--workers", "0"], "at least 1"),
        (["--chunk", "some"], "whole number"),
        (["--order", "random"], "Choose one of sequential, progressive"),
        (["--format", "bmp"], "Choose one of png"),
        (["--missing", "hope"], "Choose one of fail"),
        (["--sandbox", "maybe"], "Choose one of require"),
        (["--option", "novalue"], "not KEY=VALUE"),
        (["--video", "film.avi"], "Known: .mp4"),
        (["--video", "film.gif", "--codec", "h264"], "can't hold h264"),
        (["--video", "film.gif", "--audio", "a.testcard"], "has no sound"),
        (["--crf", "99"], "out of range"),
        (["--fps", "0"], "make no video"),
        (["--audio", "nothing.wav"], "no audio file"),
        (["--video", "a.mp4", "--no-video"], "exclude each other"),
        (["--fraems", "1"], "--frames"),
    ],
)
def test_an_option_that_makes_no_sense_is_exit_2_with_the_reason(
    argv: list[str], said: str, here: Path
) -> None:
    card(here / "a.testcard")
    result = run("submit", "a.testcard", *argv)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert not (here / "renders").exists()


@pytest.mark.parametrize("command", ["submit", "inspect"])
@pytest.mark.parametrize(
    ("name", "said"),
    [("shto.testcard", "Did you mean 'shot.testcard'?"), ("folder", "is a folder, not a scene")],
)
def test_a_scene_that_is_no_file_is_exit_2(command: str, name: str, said: str, here: Path) -> None:
    card(here / "shot.testcard")
    (here / "folder").mkdir()
    result = run(command, name)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_a_pipe_is_no_scene(here: Path) -> None:
    os.mkfifo(here / "a.testcard")
    with pytest.raises(SceneError, match="not a regular file"):
        request.scene_path("a.testcard")


def test_a_file_whose_name_begins_with_a_dash_is_recognised_among_options(here: Path) -> None:
    card(here / "-a.testcard")
    result = run("submit", "-a.testcard")
    assert result.code == 2
    assert "-a.testcard is a file here: write ./-a.testcard" in result.err
    assert run("submit", "a.testcard", f"--nonsense={'x' * 5000}").code == 2  # which can name no file


# Where options come from


def retries(*argv: str) -> object:
    """The retries that submit would use."""
    return submit.make_context("submit", ["a.testcard", *argv]).params["retries"]


def test_flags_beat_the_environment_which_beats_the_project_which_beats_the_user(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retries() is None
    user = tmp_path / "xdg" / "renderfarm" / "renderfarm.toml"
    user.parent.mkdir(parents=True)
    user.write_text("retries = 1")
    assert retries() == 1
    (here / "renderfarm.toml").write_text("retries = 2")
    assert retries() == 2
    monkeypatch.setenv("RENDERFARM_RETRIES", "3")
    assert retries() == 3
    assert retries("--retries", "4") == 4


@pytest.mark.parametrize("option", submit.params[1:], ids=lambda option: str(option.name))
def test_every_option_of_submit_has_its_variable(option: click.Option, monkeypatch: pytest.MonkeyPatch) -> None:
    long = next(flag for flag in option.opts if flag.startswith("--"))
    monkeypatch.setenv(f"RENDERFARM_{long[2:].replace('-', '_').upper()}", "1")
    context = click.Context(submit, auto_envvar_prefix="RENDERFARM")
    assert option.resolve_envvar_value(context) == "1"


def test_a_bad_value_from_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDERFARM_SCALE", "huge")
    assert "'huge' is not a percentage" in (said := run("submit", "a.testcard").err)
    assert "It comes from the environment." in said


def test_a_video_asked_for_by_flag_beats_no_video_from_a_file(here: Path) -> None:
    (here / "renderfarm.toml").write_text("no_video = true\n")
    card(here / "a.testcard", "1-2")
    assert run("submit", "a.testcard", "--video", "a.mp4").code == 0
    assert (here / "a.mp4").is_file()


# The boundary


@click.group()
def broken() -> None:
    """Commands that go wrong."""


@broken.command()
def crash() -> None:
    """Fail in a way that nobody thought of."""
    raise ZeroDivisionError("by\x1bzero")


@broken.command()
def interrupt() -> None:
    """Be interrupted."""
    raise KeyboardInterrupt


def test_an_unexpected_error_is_one_line_and_a_saved_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert output.run(broken, ["crash"]) == 1
    said = capsys.readouterr().err
    assert r"renderfarm itself failed: ZeroDivisionError: by\x1bzero" in said
    assert "Traceback" not in said
    (saved,) = (tmp_path / "home" / "crashes").iterdir()
    assert str(saved) in said
    assert "ZeroDivisionError" in saved.read_text()


def test_debugging_prints_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDERFARM_DEBUG", "1")
    assert output.run(broken, ["crash"]) == 1
    assert "Traceback" in capsys.readouterr().err


@broken.command()
def pipe() -> None:
    """Lose a renderer."""
    raise BrokenPipeError(32, "Broken pipe")


def test_a_broken_pipe_that_is_not_ours_is_not_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert output.run(broken, ["pipe"]) == 1
    assert "BrokenPipeError" in capsys.readouterr().err


def test_ctrl_c_is_exit_130() -> None:
    assert output.run(broken, ["interrupt"]) == 130


def test_a_reader_who_left_is_no_drama() -> None:
    with start("completion", "zsh") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""


# Pools, cache, doctor


def test_pools_are_listed_with_the_default_and_shown_as_the_file_says(here: Path) -> None:
    assert run("pool", "list").out.split() == ["*", "local", "local"]
    tables = '[pools.big]\ntype = "local"\nworkers = 3\n[pools.cluster]\ntype = "slurm"\nnodes = 5\n'
    (here / "renderfarm.toml").write_text(tables)
    trusted(here / "renderfarm.toml")
    shown = run("pool", "show", "big", "--json").json
    assert shown == {"name": "big", "type": "local", "options": {"workers": 3}}
    assert run("pool", "show", "cluster", "--json").json["options"] == {"nodes": 5}


@pytest.mark.parametrize("pool", ["local", "cluster"])
def test_what_only_a_cloud_pool_has_is_refused_elsewhere(here: Path, pool: str) -> None:
    card(here / "a.testcard")
    (here / "renderfarm.toml").write_text('[pools.cluster]\ntype = "slurm"\n')
    trusted(here / "renderfarm.toml")
    result = run("submit", "a.testcard", "--pool", pool, "--after", "keep")
    assert result.code == 2
    assert "has no nodes of its own" in result.err


def test_doctors_exit_code_says_whether_all_that_is_needed_is_there() -> None:
    result = run("doctor", "--json")
    items = result.json["items"]
    assert isinstance(items, list)
    ready = all(item["ok"] for item in items if item["needed"])
    assert (result.json["ready"], result.code) == (ready, 0 if ready else 3)
    assert all(item["remedy"] for item in items if not item["ok"])


def test_cache_prune_makes_room(here: Path) -> None:
    assert run("cache", "show").out.startswith("0 frames, 0 B of at most")
    card(here / "a.testcard", "1-2")
    run("submit", "a.testcard", "--no-video")
    prune = ("cache", "prune", "--to", "0", "--json")
    asked = [(*prune, "--dry-run"), ("cache", "show", "--json"), prune, ("cache", "show", "--json")]
    assert [run(*argv).json["frames"] for argv in asked] == [2, 2, 2, 0]


# Jobs


def test_submit_json_is_one_object_with_the_contracts_keys(here: Path) -> None:
    card(here / "a.testcard", "1-2")
    result = run("submit", "a.testcard", "-o", "out", "--json")
    status = result.json
    assert set(status) >= {*STATUS_KEYS.split(), "eta_seconds"}
    assert (status["state"], status["output"]) == ("succeeded", str(here / "out"))
    assert isinstance(status["frames"], dict)
    assert set(status["frames"]) >= set(COUNTS.split())


def test_inspect_json_has_the_contracts_keys_and_people_see_first_what_is_missing(here: Path) -> None:
    (here / "there.png").write_bytes(b"x")
    card(here / "a.testcard", "1-250", assets=["there.png", "gone.png"])
    found = run("inspect", "a.testcard", "--json").json
    wanted = "path renderer saved_with frames fps resolution camera cameras engine outputs assets"
    assert set(found) >= {*wanted.split(), "missing", "warnings"}
    assert (found["frames"], found["resolution"]) == ("1-250", [32, 18])
    assert found["missing"] == [str(here / "gone.png")]
    rows = [line for line in run("inspect", "a.testcard").out.splitlines() if line.endswith(".png")]
    assert [row.split("/")[-1] for row in rows] == ["gone.png", "there.png"], "what is missing comes first"
    assert "MISSING" in rows[0]


def test_leaving_a_watch_does_not_stop_the_job(here: Path) -> None:
    card(here / "a.testcard", "1-400", seconds=0.2)
    job = str(ended(start("submit", "a.testcard", "--detach", "--no-video", "--json")).json["job"])
    watch = start("status", job, "--watch")
    assert watch.stderr
    watch.stderr.readline()
    watch.send_signal(signal.SIGINT)
    done = ended(watch)
    assert done.code == 130
    assert f"renderfarm cancel {job}" in done.err
    wait_for(lambda: run("status", job, "--json").json["state"] == "running", "the job to render")
    known("interrupted", here)
    assert run("cancel", "--json").json["job"] == job


def test_on_a_terminal_there_is_a_view_that_cleans_up_after_itself(here: Path) -> None:
    card(here / "a.testcard", "1-10", seconds=0.2)
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "renderfarm", "submit", "a.testcard", "--no-video"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        seen = b"".join(iter(lambda: _read(master), b"")).decode()
    assert process.returncode == 0, seen
    assert "━" in seen
    assert "frames/min" in seen
    assert "\x1b[?" not in seen
    assert "succeeded" in seen.rpartition("\x1b[J")[2]


def _read(terminal: int) -> bytes:
    """What is there, or nothing when the other end has closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@dataclass(frozen=True)
class Finished:
    """A job with one bad frame, shared by the tests that only look."""

    id: str
    environment: dict[str, str]
    output: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    card(folder / "shot.testcard", "1-5", faults={"3": {"what": "error"}})
    environment = {"RENDERFARM_HOME": str(folder / "home")}
    process = start(
        "submit",
        str(folder / "shot.testcard"),
        *("-o", str(folder / "out"), "--retries", "0", "--no-video", "--json"),
        env={**os.environ, **environment},
    )
    return Finished(ended(process).json["job"], environment, folder / "out")


@pytest.fixture
def job(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of the finished job, its farm home chosen."""
    for name, value in finished.environment.items():
        monkeypatch.setenv(name, value)
    return finished.id


def test_jobs_lists_the_job(job: str) -> None:
    lines = run("jobs").out.splitlines()
    assert lines[0].split() == ["JOB", "STATE", "FRAMES", "SUBMITTED", "TIME", "SCENE"]
    assert lines[1].split()[:3] == [job, "failed", "4/5"]


def test_status_of_a_failed_job_is_exit_0_as_it_could_be_told_and_a_watch_returns_its_own(
    job: str,
) -> None:
    assert run("status", "shot", "--json").json["job"] == job, "a prefix will do"
    result = run("status", job)
    assert result.code == 0
    assert f"{job} failed: 4 of 5 frames" in result.out
    assert f"renderfarm retry {job}" in result.out
    assert run("status", job, "--watch").code == 1


@pytest.mark.parametrize("command", ["status", "logs", "resume", "retry", "cancel", "collect"])
def test_an_unknown_job_or_none_at_all_is_exit_2(
    command: str, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(command, "nothing-ffff")
    assert (result.code, result.out) == (2, "")
    assert "nothing-ffff" in result.err
    monkeypatch.setenv("RENDERFARM_HOME", str(tmp_path / "home"))
    result = run(command)
    assert (result.code, result.out) == (2, "")
    assert "There " in result.err or command == "collect"


def test_frames_to_submit_in_the_environment_are_none_to_retry(
    job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDERFARM_FRAMES", "nonsense")
    assert "nothing-ffff" in run("retry", "nothing-ffff").err


def test_check_finds_the_frame_that_is_not_there(job: str) -> None:
    result = run("check", job, "--json")
    bad = result.json["bad"]
    assert isinstance(bad, list)
    assert result.code == 1
    assert [(one["frame"], one["finding"]) for one in bad] == [(3, "gap")]


def test_assemble_refuses_gaps_until_it_is_told_to_hold_frames(job: str, here: Path) -> None:
    result = run("assemble", job, "a.mp4")
    assert (result.code, "--missing hold" in result.err) == (1, True)
    result = run("assemble", job, "a.mp4", "--missing", "hold", "--json")
    assert (result.code, result.json["frames"], result.json["path"]) == (0, 5, str(here / "a.mp4"))
    assert (here / "a.mp4").stat().st_size > 0
    result = run("assemble", "nowhere", "a.mp4")
    assert (result.code, "neither a folder nor a job" in result.err) == (2, True)


def test_jobs_are_completed_by_the_shell(job: str) -> None:
    asked = {"_RENDERFARM_COMPLETE": "bash_complete", "COMP_WORDS": "renderfarm status sh", "COMP_CWORD": "2"}
    assert ended(start(env={**os.environ, **asked})).out.split() == [f"plain,{job}"]


# The Python API


def test_the_api_renders_and_calls_the_observer(here: Path) -> None:
    card(here / "a.testcard", "1-3")
    seen: list[renderfarm.Status] = []
    status = renderfarm.submit("a.testcard", frames="1-2", output="out", no_video=True, observer=seen.append)
    assert status.state is renderfarm.JobState.SUCCEEDED
    assert status.output == str(here / "out")
    assert seen
    assert renderfarm.status(status.job).frames == status.frames
    assert [one.job for one in renderfarm.jobs()] == [status.job]


def test_the_api_inspects_plans_and_refuses_an_option_that_it_does_not_know(here: Path) -> None:
    card(here / "a.testcard", "3-9")
    assert renderfarm.inspect("a.testcard", resolution="64x36").resolution == (64, 36)
    assert renderfarm.plan("a.testcard", frames="3-6").frames == 4
    with pytest.raises(TypeError, match="Did you mean 'workers'"):
        renderfarm.submit("a.testcard", worker=2)  # type: ignore[call-arg]


# Jobs that nobody names


def known(name: str, folder: Path, days_ago: float = 0.0, *happened: object) -> str:
    """A job of two frames that was submitted some days ago, and what happened to it."""
    request = Request(f"/scenes/{name}.testcard", str(folder / name))
    scene = Scene(request.scene, "testcard", "1", "1-2", 24.0, (32, 18), None)
    build = Build("testcard", "/usr/bin/python3", (1,), "test card", "testcard-1")
    work = Work("testcard", build, request.scene, request.settings, "/scratch")
    created = time.time() - days_ago * 86400
    job = Shelf(home.farm_home()).add(Record(name, created, request, "1-2", 2, 24.0, scene, build, work))
    with job.claimed("", ""):
        job.tell(*happened)
    return name


WAITING = "--state interrupted --limit 1"
BAD = (Failed(1, Reason.CRASH, "died", final=True), Failed(2, Reason.CRASH, "died", final=True))


def test_without_a_job_status_and_logs_mean_the_newest(here: Path) -> None:
    known("new", here), known("old", here, 3.0)
    assert run("status", "--json").json["job"] == "new"
    assert run("logs").code == 0


@pytest.mark.parametrize(
    ("command", "happened"), [("resume", ()), ("resume", (Canceled(),)), ("retry", BAD)], ids=str
)
def test_a_job_may_be_left_out_where_only_one_fits(
    here: Path, command: str, happened: tuple[object, ...]
) -> None:
    known("fits", here, 2.0, *happened)
    known("done", here, 1.0, Delivered(1, 1, 1, 1), Delivered(2, 1, 1, 1))
    known("other", here, 0.0, *(BAD if command == "resume" else ()))
    result = run(command)
    assert result.code == 2
    assert "There is no file /scenes/fits.testcard" in result.err


def test_a_file_where_a_folder_of_a_job_should_be_is_told(here: Path) -> None:
    (folder,) = (here / known("a", here) / ".renderfarm").iterdir()
    shutil.rmtree(folder / "journal")
    (folder / "journal").touch()
    result = run("cancel", "a")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"Error: {folder / 'journal'} can't be used: File exists.")


def test_cancel_without_a_job_means_the_only_one_that_was_interrupted(here: Path) -> None:
    known("left", here), known("stopped", here, 1.0, Canceled())
    assert run("cancel", "--json").json["job"] == "left"
    assert "There is no job to cancel" in run("cancel").err


def test_a_job_whose_observer_raised_is_interrupted(here: Path) -> None:
    def broken(status: renderfarm.Status) -> None:
        raise ValueError(status.job)

    with pytest.raises(ValueError, match="a-") as raised:
        renderfarm.submit(card(here / "a.testcard"), observer=broken)
    found = run("status", str(raised.value), "--json").json
    assert (found["state"], found["phase"], found["ended"]) == ("queued", "interrupted", True)


def test_where_several_jobs_fit_they_are_listed(here: Path) -> None:
    known("b", here), known("a", here, 1.0), known("c", here, 0.0, *BAD)
    result = run("resume")
    assert (result.code, result.out) == (2, "")
    assert [line.split()[0] for line in result.err.splitlines()[2:4]] == ["a", "b"]
    assert result.err.endswith("Name one: renderfarm resume b\n")


def test_jobs_are_listed_by_state_by_age_and_the_newest_last(here: Path) -> None:
    known("c", here), known("a", here, 2.0, *BAD), known("b", here, 1.0)
    found = {
        options: [one["job"] for one in run("jobs", "--json", *options.split()).json["jobs"]]  # type: ignore[attr-defined]
        for options in ("", "--state failed", "--state queued", "--since 36h", "--limit 2", WAITING)
    }
    assert list(found.values()) == [["a", "b", "c"], ["a"], ["b", "c"], ["b", "c"], ["b", "c"], ["c"]]
    day = datetime.now().astimezone() - timedelta(days=1)
    line = run("jobs", "--since", f"{day:%Y-%m-%d}").out.splitlines()[1]
    assert line.split()[:4] == ["b", "interrupted", "0/2", f"{day:%Y-%m-%d}"]


def test_what_is_no_time_is_told_with_examples() -> None:
    result = run("jobs", "--since", "later")
    assert result.code == 2
    assert "Write 2026-11-30" in result.err
