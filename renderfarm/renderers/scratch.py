"""Files in a scratch folder, opened with care, and the processes that write them, ended.

A scene's own code may have put links there. What runs in the sandbox writes nowhere else, but what runs outside
must not follow it out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

PEEK_BYTES = 65536
"""the most that is read of a log"""
KILL_SECONDS = 10.0
"""that a killed process may take to be gone; a disk may hold it"""
_CAREFUL = os.O_NOFOLLOW | os.O_NONBLOCK
"""no links; and a pipe that nobody serves does not stop us"""


def appending(path: Path) -> BinaryIO:
    """A file to add to, made when it is not there; raises OSError for a link."""
    return _opened(path, "ab", os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def reading(path: Path) -> BinaryIO:
    """A file to read; raises OSError for a link."""
    return _opened(path, "rb", os.O_RDONLY)


def length(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def tail(log: Path, start: int, end: int | None = None) -> str:
    """What a log got from `start` to `end`, or until now, the end of it where that is much."""
    if not log.exists():
        return ""
    with reading(log) as file:
        end = length(log) if end is None else end
        file.seek(start := max(start, end - PEEK_BYTES))
        return file.read(max(0, end - start)).decode("utf-8", "replace")


def end(process: subprocess.Popen[bytes], patience: float = 0.0) -> None:
    """Close a process's input, and kill its group if it is still there after that many seconds."""
    with contextlib.suppress(OSError):  # it may have died with a request unread
        if process.stdin:
            process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_SECONDS)
    if process.stdout:
        process.stdout.close()


def family(pid: int) -> Iterator[int]:
    """A process and its descendants, as far as proc(5) shows them."""
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from family(int(child))


def cpu_seconds(pid: int) -> float:
    """What a process, its descendants and those that they waited for have used so far; 0 where it is gone."""
    ticks = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_kills() -> int:
    """How many processes this machine's kernel has killed for memory so far; 0 where it doesn't tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _opened(path: Path, mode: str, flags: int) -> BinaryIO:
    opened = open(path, mode, opener=lambda name, _: os.open(name, flags | _CAREFUL, 0o666))  # noqa: SIM115
    return cast("BinaryIO", opened)


def is_own(path: Path, folder: Path) -> bool:
    """Whether it is a file, no link, and really in the folder; raises FileNotFoundError."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    above = path.parent
    if above.parent == folder and above.name != ".." and stat.S_ISDIR(above.lstat().st_mode):
        return True  # as nearly all are: nothing needs to be asked of the folders above
    return path.resolve().is_relative_to(folder.resolve())
