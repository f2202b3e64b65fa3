"""The farm's end of a node on this machine: a child process that obeys lines and answers lines."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from renderfarm.errors import SessionError
from renderfarm.node import strays
from renderfarm.renderers.asking import surroundings
from renderfarm.words.as_json import decode, encode
from renderfarm.words.scene import Scene
from renderfarm.words.updates import Trouble
from renderfarm.words.work import Task, Work

STOP_SECONDS = 1.0
"""how long a node may take to kill its renderer and go"""
CHUNK_BYTES = 1 << 16
KNOWN_TO_NODES = ("HOME", "TMPDIR", "RENDERFARM_HOME")
"""of the user's environment: whose files renderers must not see. Keys stay with the farm"""

Line = tuple[str, Any]
"""An event's kind and its value as JSON gave it"""


class NodeProcess:
    """One node program. Its output is read without blocking, so one loop can serve many."""

    def __init__(self, name: str, *scene: str) -> None:
        """`scene` is one that will be opened, where that is known."""
        self.name = name
        self.born = time.monotonic()
        self.mark = strays.new_mark()
        """in the environment of all that it starts"""
        self.taken = False
        """whether a pool has taken it over"""
        package = str(Path(__file__).resolve().parents[2])
        # -P: a json.py in the folder that the user works in must not be taken for Python's own.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "renderfarm.node", "serve", name, *scene],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=surroundings(*KNOWN_TO_NODES, **{"PYTHONPATH": package, strays.VARIABLE: self.mark}),
            start_new_session=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise SessionError(f"Node {name} could not be started.")
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._rest = b""

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._stdout.fileno()

    @property
    def pid(self) -> int:
        """The node program's process id."""
        return self._process.pid

    def order(self, *command: object) -> None:
        """Send one command; a node that is gone shows at the next read."""
        try:
            self._stdin.write(
                json.dumps([encode(part) for part in command], separators=(",", ":")).encode() + b"\n"
            )
            self._stdin.flush()
        except (BrokenPipeError, ValueError):
            return

    def open(self, work: Work) -> None:
        """Make ready for a job."""
        strays.note(self.mark, Path(work.scratch))
        self.order("open", work)

    def render(self, task: Task, threads: int) -> None:
        """Queue a task."""
        self.order("task", task, threads)

    def read(self) -> Iterator[Line]:
        """The events that have come; raises SessionError when the node is gone."""
        data = os.read(self.fileno(), CHUNK_BYTES)
        if not data:
            raise SessionError(f"Node {self.name} died with exit code {self._process.wait()}.")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            kind, value, *_ = json.loads(line)
            yield kind, value

    def look(self, work: Work) -> None:
        """Load the scene, and say what it contains: see `described`."""
        self.open(work)
        self.order("describe")

    def described(self) -> tuple[Scene, str]:
        """What the scene contains, and why the renderer is not sandboxed (empty when it is).

        Waits for the renderer to load the scene; raises SessionTroubleError or SessionError.
        """
        os.set_blocking(self.fileno(), True)
        try:
            obstacle = ""
            while True:
                for kind, value in self.read():
                    if kind == "Opened":
                        obstacle = value
                    elif kind == "Described":
                        return decode(Scene, value), obstacle
                    elif kind == "Trouble":
                        raise SessionTroubleError(decode(Trouble, value))
        finally:
            os.set_blocking(self.fileno(), False)

    def stop(self) -> None:
        """Tell the node to kill its renderer and go."""
        self.order("stop")

    def close(self) -> None:
        """Tell the node to go, and make sure of it and of all that it started."""
        close_all([self])

    def wait(self) -> None:
        """Wait for the node to go, but not long."""
        with contextlib.suppress(BrokenPipeError):  # it may be gone already, with a command unread
            self._stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()


class SessionTroubleError(SessionError):
    """The renderer could not open the scene; `trouble` says why."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


def close_all(nodes: list[NodeProcess]) -> None:
    """Close nodes at the same time: all are told before any is waited for.

    A renderer that was being started just then is known to nobody but by its mark: strace, for one, begins
    with a child that waits for it for ever.
    """
    for node in nodes:
        node.stop()
    for node in nodes:
        node.wait()
    if nodes:
        strays.kill([node.mark for node in nodes])
