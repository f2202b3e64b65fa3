"""The ffmpeg of this machine: found, asked, fed frames, and ended with us.

The process is our own, so that it is killed when we are stopped and its complaints reach the user.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from renderfarm.errors import AssemblyError
from renderfarm.renderers.asking import surroundings

if TYPE_CHECKING:
    from renderfarm.pictures.colour import Pixels

POLL_SECONDS = 0.1
TAIL_LINES = 6
INSTALL = "Install ffmpeg: `sudo apt-get install ffmpeg`, or `pip install 'renderfarm[ffmpeg]'`."


def encoders(ffmpeg: str) -> frozenset[str]:
    """The names of all encoders that an ffmpeg was built with."""
    answer = _run([ffmpeg, "-hide_banner", "-encoders"])
    return frozenset(line.split()[1] for line in answer.stdout.splitlines() if len(line.split()) > 1)


def find_ffmpeg() -> str:
    """The ffmpeg on PATH, else the one that imageio-ffmpeg brings; raises AssemblyError with the command."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        bundled = importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        raise AssemblyError("There is no ffmpeg on this machine, so no video.", INSTALL) from error
    return str(bundled.get_ffmpeg_exe())


class Encoder:
    """A running ffmpeg that is fed frames; killed when its block is left before it has finished."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            start_new_session=True,
            env=surroundings(),
        )
        yield_like(self._process.pid, os.getpriority(os.PRIO_PROCESS, 0))
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        self._input = self._process.stdin

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        try:
            self._input.close()
        except BrokenPipeError:
            pass  # what was buffered had nowhere to go
        self._complaints.close()

    def feed(self, pixels: Pixels) -> None:
        """Hand over one frame; raises AssemblyError when ffmpeg has given up."""
        try:
            self._input.write(pixels.data)
        except BrokenPipeError:
            self._process.wait()
            raise self._failure() from None

    def finish(self, tick: Callable[[], None]) -> None:
        """Let ffmpeg write what it has, calling `tick` meanwhile; raises AssemblyError when it fails."""
        try:
            self._input.close()
        except BrokenPipeError:
            pass  # ffmpeg's exit code tells more
        while self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(POLL_SECONDS)
            tick()
        if self._process.returncode:
            raise self._failure()

    def _failure(self) -> AssemblyError:
        self._complaints.seek(0)
        said = self._complaints.read().decode("utf-8", "replace")
        return failure(said, self._process.returncode)


def yield_like(process: int, niceness: int) -> None:
    """A session is a group of its own to Linux, in which niceness counts for nothing beyond the group's own."""
    with contextlib.suppress(OSError):  # no Linux, or no such groups
        Path(f"/proc/{process}/autogroup").write_text(str(niceness))


def failure(said: str, code: int) -> AssemblyError:
    """The error for an ffmpeg that failed, with the end of what it said."""
    tail = [line for line in said.replace("\r", "\n").splitlines() if line.strip()][-TAIL_LINES:]
    died = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
    hint = f"This ffmpeg lacks the encoder. {INSTALL}" if "Unknown encoder" in said else ""
    if "No space left" in said:
        hint = "The disk is full; free some space."
    return AssemblyError("\n  ".join([f"ffmpeg {died}.", *tail]), hint)


def run(argv: Sequence[str], seconds: float | None = None) -> str:
    """What ffmpeg says when it does what needs no frames fed; raises AssemblyError when it fails, and
    TimeoutExpired."""
    done = _run(argv, seconds)
    if done.returncode:
        raise failure(done.stderr, done.returncode)
    return done.stdout


def count_frames(ffmpeg: str, video: Path) -> int:
    """The pictures in a finished video, counted packet by packet; raises AssemblyError if it can't be read.

    `framecrc` writes a line for each packet in every release; what `-progress` says of copied streams differs.
    """
    argv = [ffmpeg, "-nostdin", "-v", "error", "-i", url(video), "-map", "0:v:0", "-c", "copy"]
    lines = run([*argv, "-f", "framecrc", "-"]).splitlines()
    if not any(line.startswith("#tb") for line in lines):
        raise AssemblyError("ffmpeg doesn't say how many frames the video has.", INSTALL)
    return sum(line[:1].isdigit() for line in lines)


def has_sound(ffmpeg: str, audio: Path) -> bool:
    """Whether ffmpeg finds an audio track that it can decode in a file."""
    argv = [ffmpeg, "-nostdin", "-v", "error", "-t", "0.1", "-i", url(audio)]
    return _run([*argv, "-map", "0:a:0", "-f", "null", "-"]).returncode == 0


def _run(argv: Sequence[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        start_new_session=True,
        env=surroundings(),
        timeout=seconds,
    )


def url(path: Path) -> str:
    """A path that ffmpeg can't take for an option, a protocol or a pattern."""
    return f"file:{path.absolute()}"
