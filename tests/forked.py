"""Processes without their start: one that has imported all that they need forks them.

To start Python and to import costs more than most command lines do, and a Blender takes a second to start. What
comes out of the fork is a process like any other: a session, folder, environment and files of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TREE = str(Path(__file__).parents[1])
LEFT_OUT = ("RENDERFARM", "PYTHONDONTWRITEBYTECODE")
OF_NO_TEST = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
"""no test that looks for its own processes finds this one"""
AT_START = ("PYTHON", "LC_", "LANG")
"""variables that Python reads when it starts, and then never again"""
ROOMS = ("cli", "farm", "nightly", "queues", "reports", "settings", "web")
IMPORTED_LATE = ("PIL.ImageDraw", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "ffmpeg", "jinja2", "numpy")


class Forked(subprocess.Popen[Any]):
    """A process that another one forks and waits for, which tells how it ended."""

    def __init__(self, line: socket.socket, what: object, **more: Any) -> None:
        self._line, self._what = line, what
        super().__init__("a fork", **more)

    def _execute_child(self, *given: Any) -> None:
        folder, environment, ends = given[5], given[6], given[10:16]
        told, telling = os.pipe()
        order = json.dumps([self._what, str(folder), dict(environment)]).encode()
        socket.send_fds(self._line, [order], [ends[0], ends[3], ends[5], telling])
        os.close(telling)
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]
        self._told = os.fdopen(told, "rb")
        self.pid, self._child_created = int(self._told.readline()), True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if not select.select([self._told], [], [], 0 if wait_flags else None)[0]:
            return 0, 0
        with self._told:
            return self.pid, int(self._told.read())

    def _internal_poll(self, *_: object, **_more: object) -> int | None:
        if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode


def start(argv: Sequence[str], folder: Path, environment: Mapping[str, str], before: str = "") -> Forked:
    """Start a command line whose words are read, and code in its process `before`."""
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    what = [before, [*argv]]
    return Forked(_server(), what, cwd=folder, env=environment, stdin=none, stdout=pipe, stderr=pipe, text=True)


@functools.cache
def _server() -> socket.socket:
    return server([sys.executable, __file__], {"PYTHONPATH": TREE, "OPENBLAS_NUM_THREADS": "1"})


def server(argv: Sequence[str], environment: Mapping[str, str]) -> socket.socket:
    """Start a process that forks others; it ends with our end of the line."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    none, number = subprocess.DEVNULL, theirs.fileno()
    with theirs:
        process = subprocess.Popen(
            argv, cwd="/", env={**OF_NO_TEST, **environment, "FORKS": str(number)}, pass_fds=[number],
            stdin=none, stdout=none, stderr=none,
        )  # fmt: skip
    atexit.register(_stop, process, ours)
    return ours


def _stop(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    line.close()
    process.kill()
    process.wait()


def ordered() -> Any:
    """Fork a process for each order, and return in it what was ordered; leaves when none can come any more."""
    line = socket.socket(fileno=int(os.environ["FORKS"]))
    line.send(b"ready")
    while True:
        order, ends, _, _ = socket.recv_fds(line, 1 << 20, 4)
        if not order:
            os._exit(0)
        if not os.fork():
            break
        for end in ends:
            os.close(end)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    line.close()
    return _become(*json.loads(order), *ends)


def _become(what: Any, folder: str, environment: dict[str, str], *ends: int) -> Any:
    """Make a fork of this process what was ordered; this one waits for it, and tells."""
    *files, told = ends
    if pid := os.fork():
        for end in files:
            os.close(end)
        os.write(told, b"%d" % os.waitpid(pid, 0)[1])
        os._exit(0)
    os.setsid()
    os.write(told, b"%d\n" % os.getpid())
    os.close(told)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, end in enumerate(files):
        os.dup2(end, number)
    for end in {*files} - {0, 1, 2}:
        os.close(end)
    return what


def serve() -> None:
    """Fork command lines, and return in them."""
    for room in ROOMS:
        package = importlib.import_module(f"renderfarm.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    gc.freeze()
    before, sys.argv[1:] = ordered()
    sys.path[0] = str(Path.cwd())  # as with `-m`
    exec(before, {})


if __name__ == "__main__":
    serve()
    from renderfarm.__main__ import main

    main()
