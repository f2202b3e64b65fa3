"""The node program's two ways in.

`python -m renderfarm.node serve NAME [SCENE]` takes JSON commands on standard input and says JSON events on
standard output, until its input ends: so a node never outlives its farm.
`python -m renderfarm.node task ORDER NUMBER NODE CORES MEGABYTES` renders one task of an order that a queue
left in the job's folder: what a cluster's nodes run.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from renderfarm.errors import SceneError
from renderfarm.job.journal import Journal, line
from renderfarm.node import sandbox, trace
from renderfarm.node.program import Event, Node
from renderfarm.renderers import SessionFailure, renderer_for
from renderfarm.words.as_json import decode, encode
from renderfarm.words.updates import Trouble
from renderfarm.words.work import Task, Work

_SAY_LOCK = threading.Lock()


def say(kind: str, value: object = None) -> None:
    """Write one event: a line `[kind, value]`."""
    put(json.dumps([kind, encode(value)], separators=(",", ":")).encode() + b"\n")


def put(line: bytes) -> None:
    """Write a line; one of a journal ends in a time besides."""
    with _SAY_LOCK:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


class Server:
    """Commands in, events out; a thread reads the input so that an order to stop is heard while rendering."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._commands: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self._node: Node | None = None
        self._work: Work | None = None
        self._journal: Journal | None = None

    def serve(self, scene: str = "") -> None:
        """Obey until told to stop or until the farm is gone; a `scene` is one that will be asked about."""
        threading.Thread(target=self._listen, daemon=True).start()
        if scene:  # the farm is still being imported
            with contextlib.suppress(SceneError):  # the farm will say so
                renderer_for(Path(scene))
            sandbox.obstacle()
            trace.obstacle()
        try:
            while True:
                name, *arguments = self._commands.get()
                getattr(self, f"do_{name}")(*arguments)
        except BrokenPipeError:
            self._leave()

    def _listen(self) -> None:
        with contextlib.suppress(ValueError):  # the farm died in the middle of a line
            for order in sys.stdin:
                command = json.loads(order)
                if command[0] == "stop":
                    break
                self._commands.put(command)
        self._leave()

    def _leave(self) -> None:
        """End at once; nobody listens any more."""
        if self._node:
            self._node.kill()
        os._exit(0)

    def do_open(self, work: dict[str, Any]) -> None:
        """Make ready for a job; a session that has just this work open stays."""
        wanted = decode(Work, work)
        bare = replace(wanted, journal="", inputs=(), since=0.0)
        if self._node is None or bare != self._work:
            if self._node:
                self._node.drop()
            self._work, self._node = bare, Node(bare, self._name, self._tell)
            say("Opened", self._node.sandboxed)
        self._node.expect(wanted.inputs, wanted.since)
        if wanted.journal and self._journal is None:
            self._journal = Journal(Path(wanted.journal), f"{self._name}-{os.getpid()}")

    def _tell(self, event: Event) -> None:
        """Write an event down, then say it: what the farm hears stands already."""
        told = line(event, time.time())
        if self._journal:
            with contextlib.suppress(OSError):  # on a full disk the farm still hears it
                self._journal.write(told)
        put(told)

    def do_describe(self) -> None:
        """Say what the scene contains."""
        if self._node is None:
            return
        try:
            say("Described", self._node.describe())
        except SessionFailure as failure:
            say("Trouble", Trouble(failure.reason, failure.message, self._name))

    def do_task(self, task: dict[str, Any], threads: int) -> None:
        """Render one task."""
        if self._node:
            self._node.render(decode(Task, task), threads)
            say("Ended", task)


def main(arguments: Sequence[str]) -> int:
    """Start the way that the first argument names."""
    if len(arguments) in (2, 3) and arguments[0] == "serve":
        Server(arguments[1]).serve(*arguments[2:])
        return 0
    if len(arguments) == 6 and arguments[0] == "task":
        from renderfarm.node import machine
        from renderfarm.node.task import Machine, render_task

        order, number, name, cores, megabytes = arguments[1:]
        share = min(1.0, int(cores or 0) / machine.cores()) or 1.0
        return render_task(Path(order), int(number), Machine(name, share, (int(megabytes or 0) << 20) or None))
    sys.stderr.write(
        "usage: python -m renderfarm.node serve NAME [SCENE] | task ORDER NUMBER NODE CORES MEGABYTES\n"
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
