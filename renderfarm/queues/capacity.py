"""How many sessions a machine should run, and with how many threads each.

One session with all threads shows the first picture soonest and takes the memory of one; one session a core
wastes nothing on the parts of a frame that can't be split. The first frames tell which is faster: from wall
clock W and CPU time C of a frame at T threads follow its serial part s and parallel part p
(Amdahl: C = s + p, W = s + p / T), and k sessions of T / k threads need (s + p k / T) / k a frame. A frame that
took long because others used the machine is told from one with a long serial part by the time that was idle.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.node.machine import cores, memory
from renderfarm.renderers import Concurrency

MEMORY_SHARE = 0.8
"""of the machine's memory that sessions may plan with"""
SHORTEST_MEASURED_SECONDS = 0.1
"""the kernel counts idle time in hundredths of a second"""
WORTH_SHARE = 0.95
"""more sessions must promise at least this ratio of the time"""
LIKENESS = 1.25
"""frames whose CPU seconds differ by no more can be compared"""
OTHERS_SHARE = 0.1
"""of the machine that others may have used where times are compared"""


@dataclass(frozen=True)
class Machine:
    """What a pool may use of a machine."""

    cores: int
    memory_bytes: int
    """0 when unknown"""


@dataclass(frozen=True)
class Sample:
    """A frame that was rendered with one session."""

    seconds: float
    cpu_seconds: float
    threads: int
    peak_bytes: int
    start_seconds: float
    """from starting a session's process to its first picture, less one warm frame"""
    idle_share: float = 1.0
    """of the machine's CPU time while the frame was rendered; what others used can't be gained"""


@dataclass(frozen=True)
class Layout:
    """Sessions, and render threads of each."""

    sessions: int
    threads: int


def this_machine() -> Machine:
    """Cores that this process may use, and the machine's memory."""
    return Machine(cores(), memory()[0])


def idle_seconds() -> float:
    """Seconds that the machine's mean core has been idle since it started (proc(5), stat; 0 without /proc)."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    return (int(fields[3]) + int(fields[4])) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)


def first_layout(machine: Machine, traits: Concurrency, frames: int, workers: int | None) -> Layout:
    """What to begin with, before anything is measured."""
    if workers:
        return Layout(min(workers, max(1, frames)), _threads(machine, traits, workers))
    if traits.threads_scale:
        return Layout(1, machine.cores)
    return Layout(max(1, min(machine.cores + traits.spare_sessions, frames)), 1)


def _threads(machine: Machine, traits: Concurrency, sessions: int) -> int:
    return max(1, machine.cores // sessions) if traits.threads_scale else 1


def best_layout(machine: Machine, sample: Sample, frames_left: int) -> Layout:
    """The layout that renders what is left soonest, within the machine's memory."""
    serial, parallel = _split(sample)
    best = Layout(1, machine.cores)
    best_seconds = _makespan(machine, serial, parallel, sample.start_seconds, frames_left, 1) * WORTH_SHARE
    for sessions in range(2, machine.cores + 1):
        if machine.cores % sessions or sessions > frames_left:
            continue
        if machine.memory_bytes and sessions * sample.peak_bytes > machine.memory_bytes * MEMORY_SHARE:
            continue
        seconds = _makespan(machine, serial, parallel, sample.start_seconds, frames_left, sessions)
        if seconds < best_seconds:
            best, best_seconds = Layout(sessions, machine.cores // sessions), seconds
    return best


def is_like(cpu_seconds: float, others: float) -> bool:
    """Whether frames that cost so much can be compared."""
    return max(cpu_seconds, others) <= LIKENESS * min(cpu_seconds, others)


@dataclass
class Stretch:
    """Frames that are rendered with more sessions than one, as a sample promised that they pay."""

    machine: Machine
    sample: Sample
    sessions: int
    frames: int = 0
    cpu_seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)
    idle_before: float = field(default_factory=idle_seconds)

    def rendered(self, cpu_seconds: float) -> None:
        """Take in what a frame took."""
        self.frames += 1
        self.cpu_seconds += cpu_seconds

    def was_in_vain(self) -> bool:
        """Whether one session would have been as fast, now that all is rendered; false where unsure."""
        if not self.frames:
            return False
        seconds, idle = time.monotonic() - self.began, idle_seconds() - self.idle_before
        own = self.cpu_seconds + self.sample.start_seconds * (self.sessions - 1)
        comparable = is_like(self.cpu_seconds / self.frames, self.sample.cpu_seconds)
        alone = seconds - idle - own / self.machine.cores <= OTHERS_SHARE * seconds
        return comparable and alone and seconds >= self.frames * self.sample.seconds


def _split(sample: Sample) -> tuple[float, float]:
    """Serial and parallel CPU seconds of a frame."""
    threads = max(1, sample.threads)
    if threads == 1:
        return sample.cpu_seconds, 0.0
    idle = max(0.0, sample.seconds - sample.cpu_seconds / threads)
    idle = min(idle, sample.idle_share * sample.seconds)
    serial = min(sample.seconds, idle / (1 - 1 / threads))
    return serial, max(0.0, sample.cpu_seconds - serial)


def _makespan(
    machine: Machine, serial: float, parallel: float, start: float, frames: int, sessions: int
) -> float:
    """Seconds until all frames are there; the sessions that must still start cost CPU and time."""
    threads = machine.cores // sessions
    frame = serial + parallel / threads
    starting = start * (sessions - 1) / machine.cores
    return starting + frame * max(1.0, frames / sessions)
