"""Times whole commands from outside, and says which of their processes the CPU went to."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK_SECONDS = 0.02
TICK = os.sysconf("SC_CLK_TCK")
_AS_INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""modules are compiled once, as pip compiles them; else each start would do so"""
FARM_WORDS = ("renderfarm submit", "renderfarm.node serve", "-m renderfarm")
"""in the command line of a process of ours; renderers and ffmpeg have none of them"""


@dataclass(frozen=True)
class Run:
    """One command from start to end."""

    seconds: float
    cpu_seconds: float
    """of all its processes, as last seen"""
    farm_cpu_seconds: float
    """of those that are neither renderer nor ffmpeg"""
    first_cpu_seconds: float
    """of its first process"""
    peak_bytes: int
    """largest resident memory of its first process (VmHWM)"""


def run(argv: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command; raises SystemExit with its last words when it fails."""
    log = cwd / "output.txt"
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**_AS_INSTALLED, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        watch = _Watch(process.pid)
        code = process.wait()
        seconds = time.monotonic() - started
    watch.end()
    if code != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {code}:\n{log.read_text(errors='replace')[-2000:]}")
    cpu, first = watch.cpu, watch.cpu.get(process.pid, 0.0)
    return Run(seconds, sum(cpu.values()), sum(watch.farm.values()), first, watch.peak_bytes)


class _Watch:
    """Follows a process tree through proc(5): what a killed process used is not in anybody's rusage."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.cpu: dict[int, float] = {}
        self.farm: dict[int, float] = {}
        self.peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def end(self) -> None:
        """Stop following."""
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._look(self._root)
            self.peak_bytes = max(self.peak_bytes, _peak_bytes(self._root))

    def _look(self, pid: int) -> None:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return
        self.cpu[pid] = (int(fields[11]) + int(fields[12])) / TICK
        if any(word in command for word in FARM_WORDS) and not command.startswith("bwrap"):
            self.farm[pid] = self.cpu[pid]
        for child in children:
            self._look(int(child))


def _peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)
