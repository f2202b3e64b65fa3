"""What this machine has for this process: its control group may have less than all of it (cgroups(7))."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cores(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """The cores that this process may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = (quota / period for quota, period in _numbers("cpu", "cpu.max", "cpu.cfs_{}_us", groups, own))
    return min([there, *(max(1, math.ceil(share)) for share in shares)])


def memory(groups: Path = _GROUPS, own: Path = _OWN) -> tuple[int, int]:
    """Total and available bytes; 0 where that is unknown."""
    total = available = 0
    with contextlib.suppress(OSError, ValueError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
    limits = (most for most, *_ in _numbers("memory", "memory.max", "memory.limit_in_bytes", groups, own))
    return min([total, *limits]), available


def _numbers(kind: str, name: str, older: str, groups: Path, own: Path) -> Iterator[list[int]]:
    """What files of the process's group say, and of those that it is in; nothing where there is no limit."""
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if kinds and kind not in kinds.split(","):
                continue
            top = groups / kinds
            names = [older.format("quota"), older.format("period")] if "{" in older else [older]
            for folder in (group := top / path.strip("/"), *group.parents):
                if folder.is_relative_to(top):
                    yield from _read([folder / each for each in (names if kinds else [name])])


def _read(files: list[Path]) -> Iterator[list[int]]:
    with contextlib.suppress(OSError, ValueError):  # `max` is no number
        found = [int(word) for file in files for word in file.read_text().split()]
        if min(found) > 0:
            yield found
