"""What a test run has started ends with it, however it ends: killed workers run neither fixtures nor `atexit`.

A process of its own reads a pipe that nobody writes to; the pipe ends with the run. Then it kills what has the
run's mark in its environment, as everything inherits it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NAME = "OF_TEST_RUN"


def tie() -> None:
    """Mark what this process will start; it dies with it."""
    os.environ[NAME] = secrets.token_hex(8)
    end, _held = os.pipe()  # never closed but by the kernel, and handed to nobody
    argv = [sys.executable, "-I", "-S", __file__]
    os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, end, 0)], setpgroup=0)
    os.close(end)


def _marked(mark: bytes) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                yield int(folder.name)


def main() -> None:
    os.read(0, 1)
    mark = f"{NAME}={os.environ[NAME]}".encode()
    while found := list(_marked(mark)):  # those that were just started, too
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
