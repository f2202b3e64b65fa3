"""Outlives the service by a moment: when the pipe from it closes, every process group it had started is killed.

Run as a script of its own, with the folder of all nodes; lines `+N TIME` and `-N` on standard input add and
forget a group. Numbers of processes come back after a while, so a group is only killed when it is surely ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def started_at(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty when there is none."""
    fields = _status(pid)
    return fields[19] if len(fields) > 19 else ""


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the program's name: state, parent, group, …"""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def kill_group(group: int, leader_start: str, root: str, number: int = signal.SIGKILL) -> None:
    """Signals a group if its leader is still the one that was started, or a member has a node below `root`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, 0)
        if (leader_start and started_at(group) == leader_start) or any(
            _is_ours(pid, root) for pid in _members(group)
        ):
            os.killpg(group, number)


def _members(group: int) -> Iterator[int]:
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and _status(int(entry.name))[2:3] == [str(group)]:
            yield int(entry.name)


def _is_ours(pid: int, root: str) -> bool:
    try:
        environment = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return f"AZ_BATCH_NODE_ROOT_DIR={root}/".encode() in environment


class Watchdog:
    """The service's end of the pipe."""

    def __init__(self, root: Path) -> None:
        argv = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(root)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)

    def watch(self, group: int, leader_start: str) -> None:
        self._tell(f"+{group} {leader_start}\n")

    def forget(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Kills what is left, as the service's own end would."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


def main() -> None:
    groups: dict[int, str] = {}
    for line in sys.stdin:
        group, _, leader_start = line[1:].strip().partition(" ")
        if line[0] == "+":
            groups[int(group)] = leader_start
        else:
            groups.pop(int(group), None)
    for number, leader_start in groups.items():
        kill_group(number, leader_start, sys.argv[1])


if __name__ == "__main__":
    main()
