"""The command line without its start: a process that has imported all of it forks one for each command.

To start Python and to import costs more than most commands do. What comes out of the fork is a process like any
other: a session, folder, environment and pipes of its own.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

TREE = str(Path(__file__).parents[1])
LEFT_OUT = ("RENDERFARM", "PYTHONDONTWRITEBYTECODE")
OF_NO_TEST = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
"""no test that looks for its own processes finds this one"""
AT_START = ("PYTHON", "LC_", "LANG")
"""variables that Python reads when it starts, and then never again"""
ROOMS = ("cli", "farm", "nightly", "queues", "reports", "settings", "web")
IMPORTED_LATE = ("PIL.ImageDraw", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "ffmpeg", "jinja2", "numpy")


def run(
    argv: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float, before: str = ""
) -> tuple[int, str, str]:
    """Run a command line to its end, and code in its process `before`: exit code, standard output and error."""
    order = json.dumps([before, argv, str(folder), dict(environment)]).encode()
    try:
        return _ended(_server(), order, time.monotonic() + seconds)
    except BaseException:  # its next answer would be for this command
        _server.cache_clear()
        raise


def _ended(line: socket.socket, order: bytes, deadline: float) -> tuple[int, str, str]:
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    try:
        socket.send_fds(line, [order], [out_end, err_end])
    finally:
        os.close(out_end)
        os.close(err_end)
    pid = int(line.recv(20))
    found = _read([out, err], deadline, pid)
    return int(line.recv(20)), found[out], found[err]


def _read(ends: Sequence[int], deadline: float, pid: int) -> dict[int, str]:
    """All that comes out of pipes until nobody has them any more; kills a process that takes too long."""
    found = dict.fromkeys(ends, b"")
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0.0))
            if not ready:
                os.killpg(pid, signal.SIGKILL)
                raise AssertionError(f"did not end: {found}")
            for key, _ in ready:
                if more := os.read(key.fd, 1 << 16):
                    found[key.fd] += more
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return {end: text.decode().replace("\r\n", "\n").replace("\r", "\n") for end, text in found.items()}


@functools.cache
def _server() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        none = subprocess.DEVNULL
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            cwd="/",
            env={**OF_NO_TEST, "PYTHONPATH": TREE, "OPENBLAS_NUM_THREADS": "1"},
            pass_fds=[theirs.fileno()],
            stdin=none,
            stdout=none,
            stderr=none,
        )
    atexit.register(_stop, process, ours)
    return ours


def _stop(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    line.close()
    process.kill()
    process.wait()


def serve(line: socket.socket) -> None:
    """Fork a command line for each order, and return in it; or when there will be none any more."""
    for room in ROOMS:
        package = importlib.import_module(f"renderfarm.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in IMPORTED_LATE:
        importlib.import_module(name)
    gc.freeze()
    while True:
        order, ends, _, _ = socket.recv_fds(line, 1 << 20, 2)
        if not order:
            sys.exit()
        if not (pid := os.fork()):
            return become(line, ends, *json.loads(order))
        for end in ends:
            os.close(end)
        line.send(str(pid).encode())
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def become(
    line: socket.socket,
    ends: Sequence[int],
    before: str,
    argv: list[str],
    folder: str,
    environment: dict[str, str],
) -> None:
    """Make this process the one that was ordered."""
    line.close()
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for end, number in zip(ends, (1, 2), strict=True):
        os.dup2(end, number)
        os.close(end)
    sys.argv[1:] = argv
    sys.path[0] = folder  # as with `-m`
    exec(before, {})


def end() -> NoReturn:
    """Run the command line and leave as Python does, but for taking a thousand modules to pieces."""
    from renderfarm.__main__ import main

    try:
        main()
    except SystemExit as leaving:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(leaving.code or 0))
    sys.exit("a command line that does not leave")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
    end()
