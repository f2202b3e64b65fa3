"""What the tests of the whole farm share: a command line with its own home, its processes, its pictures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from renderfarm import cli
from tests import forked

PATIENCE_SECONDS = 120.0
"""a watchdog of all tests: what ends at all ends in a tenth of it"""


STARTED: list[subprocess.Popen[str]] = []
"""command lines of the test that runs"""


@dataclass(frozen=True)
class Done:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON object and nothing else."""
        return json.loads(self.out)


class Farm:
    """The command line in processes of its own, with a home of its own, started in a folder."""

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.home = home or folder / "home"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RENDERFARM_")},
            "RENDERFARM_HOME": str(self.home),
            "XDG_CONFIG_HOME": str(folder / "xdg"),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }

    def start(self, *argv: object, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
        """Start a command line; its process is a group of its own, and a Python of its own behind a prefix."""
        words, env = [*map(str, argv)], {**self.environment, **environment}
        if prefix or any(name.startswith(forked.AT_START) for name in environment):
            return start([*prefix, sys.executable, "-m", "renderfarm", *words], cwd=self.folder, env=env)
        STARTED.append(forked.start(words, self.folder, env))
        return STARTED[-1]

    def run(self, *argv: object, prefix: tuple[str, ...] = (), **environment: str) -> Done:
        """Run a command line to its end; never may it show a traceback."""
        return ended(self.start(*argv, prefix=prefix, **environment))

    def look(self, *argv: str) -> Any:
        """The JSON of a command that only looks, from this process: starting one costs more than looking."""
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
            patch.chdir(self.folder)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            assert cli.main([*argv, "--json"]) == 0
        return json.loads(out.getvalue())

    def submit(self, scene: Path, *more: object, prefix: tuple[str, ...] = (), **environment: str) -> Done:
        """Submit a scene with --json; the output folder is `out` unless `more` names another."""
        output = () if "-o" in more else ("-o", self.folder / "out")
        return self.run("submit", "--json", *output, *more, "--", scene, prefix=prefix, **environment)

    def status(self, job: str) -> Any:
        """`status --json` of a job."""
        return self.look("status", job)

    def only_job(self) -> str:
        """The id of the one job that there is."""
        jobs = self.look("jobs")["jobs"]
        assert len(jobs) == 1
        return str(jobs[0]["job"])


def run(*argv: object, folder: Path, environment: Mapping[str, str], before: str = "") -> Done:
    """Run a command line to its end, in a fork of a process that has imported it."""
    return ended(forked.start([*map(str, argv)], folder, environment, before))


def kill(pid: int) -> None:
    """Kill a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def start(argv: Sequence[str], **more: Any) -> subprocess.Popen[str]:
    """Start a program whose words are read; it is a group of its own, and does not outlive its test."""
    pipe = subprocess.PIPE
    process: subprocess.Popen[str] = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True, **more
    )
    STARTED.append(process)
    return process


def end_all() -> None:
    """End what a test that fell short left running: it is no fault of the next one."""
    while STARTED:
        with STARTED.pop() as process:  # closes its pipes
            if process.poll() is None:
                kill(process.pid)


def ended(process: subprocess.Popen[str], seconds: float = PATIENCE_SECONDS) -> Done:
    """Wait for a command line to end."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"{process.args!r} did not end: {out}{err}") from None
    return decent(Done(process.returncode, out, err))


def decent(done: Done) -> Done:
    """A command line that shows no traceback."""
    assert "Traceback" not in done.err, done.err
    assert "renderfarm itself failed" not in done.err, done.err
    return done


def card(path: Path, frames: str = "1-12", **more: object) -> Path:
    """A test card scene."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"frames": frames, "size": [32, 18], **more}))
    return path


def fault(what: str, *frames: int, times: int | None = None) -> dict[str, object]:
    """A `faults` entry that spoils these frames."""
    return {str(frame): {"what": what, **({} if times is None else {"times": times})} for frame in frames}


def pixels(folder: Path) -> dict[str, bytes]:
    """Each picture of a folder, decoded; fails for one that is not whole."""
    from PIL import Image

    found = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            found[path.name] = image.convert("RGB").tobytes()
    return found


def names(stem: str, frames: range) -> list[str]:
    """The file names of frames, sorted."""
    return [f"{stem}.{frame:04d}.png" for frame in frames]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each file: what changes when a file is written anew."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


def processes(folder: Path) -> dict[int, str]:
    """Living processes that name the folder in their command line, environment or working directory."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid() and _belongs(entry, str(folder)):
            found[int(entry.name)] = _line(entry)
    return found


def _belongs(entry: Path, folder: str) -> bool:
    try:
        if (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return False
        texts = [(entry / name).read_bytes() for name in ("cmdline", "environ")]
        return folder in str((entry / "cwd").readlink()) or any(folder.encode() in text for text in texts)
    except OSError:
        return False


def _line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds; fails with `what` when it never does."""
    deadline, pause = time.monotonic() + seconds, 0.01
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(pause)
        pause = min(1.2 * pause, 0.05)  # what is waited for needs the processor, too


def wait_until_none_is_left(folder: Path) -> None:
    """Fail when a process that belongs to the folder stays alive."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := processes(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def frames_there(output: Path) -> int:
    """How many frames have been delivered so far."""
    return sum(1 for _ in _visible(output / "frames"))


def _visible(folder: Path) -> Iterator[Path]:
    if folder.exists():
        yield from (path for path in folder.iterdir() if not path.name.startswith("."))


def one_sentence_with_a_next_step(err: str) -> bool:
    """Whether an error reads as promised: what happened, what to do next, and no more than six lines."""
    lines = err[max(err.find("Error: "), 0) :].splitlines()
    return bool(lines) and lines[0].startswith("Error: ") and 2 <= len(lines) <= 6
