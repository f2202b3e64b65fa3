"""Finds what a dead node left running by the mark that the farm put into it, never by what it looks like.

Each node process has a random mark in its environment and hands it to all that it starts. The kernel keeps the
environment that a process began with in /proc (proc(5)).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from renderfarm.renderers.scratch import reading

VARIABLE = "NODE_MARK"
LOOKS, LOOK_SECONDS = 100, 0.01
"""at a process that is becoming another program"""
_SUFFIX = ".mark"
_MARK = re.compile(rb"[0-9a-f]{32}")


def new_mark() -> str:
    """A mark that nobody else has."""
    return secrets.token_hex(16)


def note(mark: str, scratch: Path) -> None:
    """Leave the mark beside a scratch folder, where a farm of later finds it and the renderer can't write."""
    with contextlib.suppress(OSError):  # a full disk is told when there is no room for the frames either
        scratch.parent.mkdir(parents=True, exist_ok=True)
        scratch.with_name(scratch.name + _SUFFIX).write_text(mark)


def noted(folder: Path) -> set[str]:
    """The marks of the nodes that had their scratch in the folder."""
    return {mark for path in folder.glob(f"*{_SUFFIX}") if (mark := _read(path))}


def _read(path: Path) -> str:
    with contextlib.suppress(OSError), reading(path) as file:
        found = _MARK.fullmatch(file.read(64))
        return found[0].decode() if found else ""
    return ""


def kill(marks: Collection[str]) -> None:
    """Kill all that carries one of the marks, and what shares a session with it: every renderer begins its own.

    A process with another environment is not seen where none is left in its session that carries a mark.
    """
    wanted = {f"{VARIABLE}={mark}".encode() for mark in marks}
    pids = {int(folder.name) for folder in Path("/proc").glob("[0-9]*")} - {os.getpid()}
    marked = {pid for pid in pids if wanted & _environment(pid)}
    sessions = set(_sessions(marked)) - {os.getsid(0)}
    for pid in pids:
        if pid in marked or sessions.intersection(_sessions([pid])):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _environment(pid: int) -> set[bytes]:
    """What it began with; empty for other users' processes and those that have ended.

    While execve(2) works a process has neither environment nor arguments, but a program.
    """
    folder, begun = Path(f"/proc/{pid}"), False
    with contextlib.suppress(OSError):
        for _ in range(LOOKS):
            found = (folder / "environ").read_bytes()
            if found or begun:
                return set(found.split(b"\0"))
            begun = bool((folder / "cmdline").read_bytes()) or not (folder / "exe").readlink().name
            if not begun:
                time.sleep(LOOK_SECONDS)
    return set()


def _sessions(pids: Collection[int]) -> Iterator[int]:
    for pid in pids:
        with contextlib.suppress(OSError):
            yield os.getsid(pid)
