"""How many sessions a machine gets: from its cores and memory, and from what a frame was measured to take."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderfarm.node import machine
from renderfarm.queues.capacity import (
    Layout,
    Machine,
    Sample,
    Stretch,
    best_layout,
    first_layout,
    idle_seconds,
    this_machine,
)
from renderfarm.renderers import Concurrency, renderer

GIB = 1 << 30
EIGHT = Machine(8, 32 * GIB)
IDLING = Concurrency(spare_sessions=1, threads_scale=False, frames_per_run=12, short_seconds=1.0)


def sample(seconds: float, serial: float, threads: int = 8, peak: int = GIB, start: float = 0.0) -> Sample:
    """A frame of which `serial` seconds can't be split over threads."""
    return Sample(seconds, serial + (seconds - serial) * threads, threads, peak, start)


def test_this_machine_has_cores_and_memory() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_bytes > 0


@pytest.mark.parametrize(
    ("own", "files", "found"),
    [
        ("0::/", {"memory.max": "3221225472", "cpu.max": "150000 100000"}, (2, 3 * GIB)),
        ("0::/job/step", {"job/memory.max": "1073741824", "job/step/memory.max": "max"}, (None, GIB)),
        ("0::/", {"memory.max": "max", "cpu.max": "max 100000"}, (None, None)),
        ("4:memory:/elsewhere", {"memory/memory.limit_in_bytes": "1073741824"}, (None, GIB)),
        (
            "2:cpu,cpuacct:/job",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "50000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            (1, None),
        ),
        ("2:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, (None, None)),
        ("", {}, (None, None)),
    ],
)
def test_no_more_is_used_than_the_control_group_may(
    tmp_path: Path, own: str, files: dict[str, str], found: tuple[int | None, int | None]
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    none, here = tmp_path / "none", (tmp_path, tmp_path / "own")
    cores, memory = machine.cores(none, none), machine.memory(none, none)[0]
    assert machine.cores(*here) == min(cores, found[0] or cores)
    assert machine.memory(*here)[0] == min(memory, found[1] or memory)


def test_no_session_starts_without_a_frame() -> None:
    assert first_layout(EIGHT, IDLING, 3, None).sessions == 3
    assert first_layout(EIGHT, Concurrency(), 3, 8).sessions == 3


@pytest.mark.parametrize(("cores", "frames", "sessions"), [(2, 8, 3), (2, 48, 3), (2, 2, 2), (64, 1000, 65)])
def test_povray_gets_one_session_more_than_cores(cores: int, frames: int, sessions: int) -> None:
    layout = first_layout(Machine(cores, 0), renderer("povray").concurrency, frames, None)
    assert layout == Layout(sessions, 1)


def test_at_first_cores_are_shared_as_the_renderer_likes_it_or_the_user_says() -> None:
    assert first_layout(EIGHT, Concurrency(), 100, None) == Layout(1, 8)
    assert first_layout(EIGHT, IDLING, 100, None) == Layout(9, 1)
    for workers, threads in ((1, 8), (2, 4), (3, 2), (8, 1), (20, 1)):
        assert first_layout(EIGHT, Concurrency(), 100, workers) == Layout(workers, threads)


@pytest.mark.parametrize(
    ("machine", "taken", "left", "layout"),
    [
        (EIGHT, sample(2.0, serial=1.8), 100, Layout(8, 1)),
        (EIGHT, sample(2.0, serial=0.0), 100, Layout(1, 8)),
        (EIGHT, sample(2.0, serial=1.8), 1, Layout(1, 8)),
        (Machine(1, 0), sample(2.0, serial=2.0, threads=1), 100, Layout(1, 1)),
    ],
    ids=["mostly serial", "splits perfectly", "one frame", "a single core"],
)
def test_what_was_measured_says_how_cores_are_shared(
    machine: Machine, taken: Sample, left: int, layout: Layout
) -> None:
    assert best_layout(machine, taken, left) == layout


@pytest.mark.parametrize(
    ("cpu_seconds", "seconds", "idle", "in_vain"),
    [(90.0, 21.0, 9.0, True), (90.0, 10.0, 3.0, False), (90.0, 50.0, 2.0, False), (180.0, 42.0, 18.0, False)],
    ids=["slower", "faster", "others used the machine", "frames that cost more"],
)
def test_sessions_that_did_not_pay_are_told_from_those_that_cannot_be_compared(
    cpu_seconds: float, seconds: float, idle: float, in_vain: bool
) -> None:
    measured = Sample(2.0, 9.0, 8, GIB, 1.0)
    before = (time.monotonic() - seconds, idle_seconds() - idle)
    assert Stretch(EIGHT, measured, 2, 10, cpu_seconds, *before).was_in_vain() is in_vain


def test_sessions_that_do_not_fit_into_memory_are_not_started() -> None:
    assert best_layout(EIGHT, sample(2.0, serial=1.8, peak=10 * GIB), 100).sessions == 2
    assert best_layout(EIGHT, sample(2.0, serial=1.8, peak=30 * GIB), 100).sessions == 1


def test_few_frames_are_not_worth_a_long_start() -> None:
    slow_start = sample(2.0, serial=1.0, start=60.0)
    assert best_layout(EIGHT, slow_start, 3).sessions == 1
    assert best_layout(EIGHT, slow_start, 1000).sessions > 1


SAMPLES = st.builds(
    Sample,
    st.floats(0, 1000),
    st.floats(0, 10_000),
    st.integers(0, 64),
    st.integers(0, 64 * GIB),
    st.floats(0, 100),
)
MACHINES = st.builds(Machine, st.integers(1, 64), st.sampled_from([0, 2 * GIB, 64 * GIB]))


@given(MACHINES, SAMPLES, st.integers(0, 10_000))
def test_a_layout_never_asks_for_more_than_the_machine_has(machine: Machine, taken: Sample, left: int) -> None:
    layout = best_layout(machine, taken, left)
    assert layout.sessions * layout.threads <= machine.cores
    assert layout.sessions == 1 or layout.sessions <= left
    fits = not machine.memory_bytes or layout.sessions * taken.peak_bytes <= machine.memory_bytes
    assert layout.sessions == 1 or fits


@given(MACHINES, st.integers(1, 1000), st.none() | st.integers(1, 100))
def test_there_is_always_a_session_with_a_thread(machine: Machine, frames: int, workers: int | None) -> None:
    for traits in (Concurrency(), IDLING, Concurrency(threads_scale=False)):
        layout = first_layout(machine, traits, frames, workers)
        assert layout.sessions >= 1
        assert layout.threads >= 1
