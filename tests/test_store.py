"""The farm's memory: only allowed changes happen, and what is written stays, whoever else writes."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from renderfarm import farm
from renderfarm.errors import StoreError
from renderfarm.model import Build, Failed, FrameState, JobState, Reason, Request, Scene
from renderfarm.store import SCHEMA, TRANSITIONS, VERSION, Change, Job, Store, job_state

REQUEST = Request("/scenes/shot.testcard", "/out")
SCENE = Scene("/scenes/shot.testcard", "testcard", "1", "1-8", 24.0, (32, 18), None)
BUILD = Build("testcard", "/usr/bin/python3", (1,), "test card", "testcard-1")
FRAMES = st.integers(-3, 4)
STATES = st.sampled_from(FrameState)


def new_job(store: Store, scene: str = "/scenes/shot.testcard") -> Job:
    return store.create_job(Request(scene, "/out"), SCENE, BUILD, "take", "1-8", 8, "bubblewrap")


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = Store(home)
    yield opened
    opened.close()


class FrameStates(RuleBasedStateMachine):
    """Any changes in any order, against a dict that follows TRANSITIONS."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name)
        self.store, self.other = Store(self.home), Store(self.home)
        self.job = new_job(self.store).id
        self.known: dict[int, FrameState] = {}

    def allowed(self, changes: list[Change]) -> bool:
        return all(c.state in TRANSITIONS[self.known.get(c.frame, FrameState.QUEUED)] for c in changes)

    def written(self, changes: list[Change]) -> None:
        with self.store.transaction():
            self.store.record(self.job, changes)

    @rule(frames=st.sets(FRAMES, min_size=1), data=st.data())
    def change(self, frames: set[int], data: st.DataObject) -> None:
        changes = [Change(frame, data.draw(STATES), attempts=frame + 9) for frame in sorted(frames)]
        if self.allowed(changes):
            self.written(changes)
            self.known.update((change.frame, change.state) for change in changes)
        else:
            with pytest.raises(StoreError, match="can't become"):
                self.written(changes)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store(self.home)

    @precondition(lambda self: FrameState.SUCCEEDED in self.known.values())
    @rule()
    def recording_a_success_twice_is_refused(self) -> None:
        frame = next(f for f, state in self.known.items() if state is FrameState.SUCCEEDED)
        with pytest.raises(StoreError, match=f"Frame {frame} "):
            self.written([Change(frame, FrameState.SUCCEEDED)])

    @invariant()
    def both_connections_see_what_was_recorded(self) -> None:
        for store in (self.store, self.other):
            seen = {row.frame: row.state for row in store.frames(self.job)}
            assert seen == self.known
            counts = {state: list(self.known.values()).count(state) for state in FrameState}
            assert dict(store.counts(self.job)) == {state: n for state, n in counts.items() if n}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.other.close()
            self.folder.cleanup()


TestFrameStates = FrameStates.TestCase
TestFrameStates.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_a_frame_without_a_row_is_queued(store: Store) -> None:
    assert store.state(new_job(store).id, 7) is FrameState.QUEUED


def test_what_is_decided_changes_only_by_being_queued_again() -> None:
    for state in (FrameState.SUCCEEDED, FrameState.FAILED, FrameState.CANCELED):
        assert TRANSITIONS[state] == {FrameState.QUEUED}


def test_a_transaction_that_raises_changes_nothing(store: Store) -> None:
    job = new_job(store).id

    def fail() -> None:
        with store.transaction():
            store.record(job, [Change(1, FrameState.RUNNING)])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.state(job, 1) is FrameState.QUEUED


def test_frames_come_ascending_and_by_state(store: Store) -> None:
    job = new_job(store).id
    states = {3: FrameState.FAILED, -1: FrameState.SUCCEEDED, 2: FrameState.FAILED}
    store.record(job, [Change(frame, state) for frame, state in states.items()])
    assert [row.frame for row in store.frames(job)] == [-1, 2, 3]
    assert [row.frame for row in store.frames(job, FrameState.FAILED)] == [2, 3]


def test_what_is_known_of_a_frame_comes_back(store: Store) -> None:
    job = new_job(store).id
    change = Change(5, FrameState.SUCCEEDED, 2, None, "m", "log", "w1", 1.5, 2.5, 1, 10, 1 << 61, b"\x00\xff")
    store.record(job, [change])
    (row,) = store.frames(job)
    assert (row.attempts, row.log, row.node, row.mtime, row.signature) == (2, "log", "w1", 1 << 61, b"\x00\xff")
    assert store.reused(job) == 1


def test_a_new_state_replaces_all_that_was_known_of_the_last_one(store: Store) -> None:
    job = new_job(store).id
    store.record(job, [Change(1, FrameState.FAILED, 3, "crash", "boom", "log", "w1")])
    store.record(job, [Change(1, FrameState.QUEUED, 3)])
    (row,) = store.frames(job)
    assert (row.attempts, row.reason, row.message, row.log) == (3, None, None, None)


def test_frames_of_one_job_are_not_those_of_another(store: Store) -> None:
    one, other = new_job(store).id, new_job(store).id
    store.record(one, [Change(1, FrameState.RUNNING)])
    assert (list(store.frames(other)), store.state(other, 1)) == ([], FrameState.QUEUED)


def test_findings_replace_earlier_ones(store: Store) -> None:
    job = new_job(store).id
    store.record(job, [Change(1, FrameState.SUCCEEDED), Change(2, FrameState.SUCCEEDED)])
    store.set_findings(job, [(1, "blank", "black")])
    store.set_findings(job, [(2, "outlier", "odd")])
    assert [(row.frame, row.finding, row.detail) for row in store.frames(job) if row.finding] == [
        (2, "outlier", "odd")
    ]


def test_attempts_come_oldest_first_and_by_frame(store: Store) -> None:
    job = new_job(store).id
    failures = [Failed(2, Reason.CRASH, "a"), Failed(1, Reason.TIMEOUT, "b"), Failed(2, Reason.CRASH, "c")]
    store.add_attempts(job, failures)
    assert [row[3] for row in store.attempts(job)] == ["a", "b", "c"]
    assert [row[3] for row in store.attempts(job, 2)] == ["a", "c"]


def test_orders_are_taken_once(store: Store) -> None:
    job = new_job(store).id
    store.order(job, "retry", "1-3")
    store.order(job, "cancel")
    assert store.take_orders(job) == [("retry", "1-3"), ("cancel", "")]
    assert store.take_orders(job) == []


# Jobs and their ids


@pytest.mark.parametrize(
    ("scene", "stem"),
    [
        ("shot.testcard", "shot"),
        ("ein Stück.blend", "ein_St_ck"),
        ("-rf.blend", "rf"),
        ("--.blend", "scene"),
        ("a'b\"c\n.pov", "a_b_c_"),
        ("日本.blend", "__"),
    ],
)
def test_an_id_reads_like_the_scene_and_is_safe_in_any_shell(store: Store, scene: str, stem: str) -> None:
    assert re.fullmatch(re.escape(stem) + "-[0-9a-f]{4}", new_job(store, f"/scenes/{scene}").id)


def test_a_job_comes_back_as_it_was_created(store: Store) -> None:
    job = new_job(store)
    assert (store.job(job.id), store.jobs()) == (job, [job])
    assert (job.request, job.scene, job.build) == (REQUEST, SCENE, BUILD)


def test_columns_of_a_job_can_be_set(store: Store) -> None:
    job = new_job(store)
    store.update_job(job.id, phase="rendering", eta=2.5, notes=["a", "b"])
    store.add_problem(job.id, "no video")
    found = store.job(job.id)
    assert (found.phase, found.eta, found.notes, found.problems) == (
        "rendering",
        2.5,
        ("a", "b"),
        ("no video",),
    )


def test_a_prefix_that_only_one_job_has_names_it(store: Store) -> None:
    shot, other = new_job(store), new_job(store, "/scenes/other.testcard")
    assert (store.job("s").id, store.job("oth").id) == (shot.id, other.id)


def test_a_prefix_of_several_jobs_is_refused_with_their_names(store: Store) -> None:
    one, other = new_job(store), new_job(store)
    with pytest.raises(StoreError, match=one.id) as caught:
        store.job("shot")
    assert other.id in caught.value.message


def test_a_whole_id_wins_over_a_longer_one_that_begins_with_it(store: Store) -> None:
    short = new_job(store)
    new_job(store, f"/scenes/{short.id}.testcard")
    assert store.job(short.id) == short


@pytest.mark.parametrize("name", ["nothing", "%", "_", "shot-%", "SHOT", ""])
def test_a_name_that_no_job_has_is_refused(store: Store, name: str) -> None:
    new_job(store)
    with pytest.raises(StoreError, match="no job"):
        store.job(name)


STATE_COUNTS = st.dictionaries(STATES, st.integers(0, 3))


@pytest.mark.parametrize(
    ("counts", "alive", "state"),
    [
        ({}, False, JobState.QUEUED),
        ({}, True, JobState.QUEUED),
        ({FrameState.SUCCEEDED: 1}, True, JobState.RUNNING),
        ({FrameState.SUCCEEDED: 1}, False, JobState.QUEUED),
        ({FrameState.SUCCEEDED: 3}, True, JobState.RUNNING),
        ({FrameState.SUCCEEDED: 3}, False, JobState.SUCCEEDED),
        ({FrameState.SUCCEEDED: 2, FrameState.FAILED: 1}, False, JobState.FAILED),
        ({FrameState.SUCCEEDED: 2, FrameState.CANCELED: 1}, False, JobState.CANCELED),
        ({FrameState.FAILED: 2, FrameState.CANCELED: 1}, False, JobState.FAILED),
        ({FrameState.SUCCEEDED: 2, FrameState.RUNNING: 1}, False, JobState.QUEUED),
        ({FrameState.SUCCEEDED: 2, FrameState.QUEUED: 1}, False, JobState.QUEUED),
    ],
)
def test_a_job_of_three_frames_is_in_the_state_that_they_make(
    counts: dict[FrameState, int], alive: bool, state: JobState
) -> None:
    assert job_state(3, counts, alive) is state


@given(STATE_COUNTS)
def test_a_job_that_nobody_works_on_is_never_running(counts: dict[FrameState, int]) -> None:
    assert job_state(12, counts, alive=False) is not JobState.RUNNING


@given(STATE_COUNTS)
def test_a_job_has_succeeded_only_when_all_its_frames_have(counts: dict[FrameState, int]) -> None:
    total = max(1, sum(counts.values()))
    good = counts.get(FrameState.SUCCEEDED, 0) == total
    assert (job_state(total, counts, alive=False) is JobState.SUCCEEDED) == good


# What is on disk


@pytest.mark.parametrize("nothing", [0.0, -1.0])
def test_what_came_out_as_nothing_was_not_measured(store: Store, nothing: float) -> None:
    store.set_measure("speed", nothing)
    assert store.measure("speed") is None
    store.set_measure("speed", 2.5)
    store.set_measure("speed", nothing)
    assert store.measure("speed") == 2.5


def test_everything_survives_closing(home: Path) -> None:
    first = Store(home)
    job = new_job(first).id
    first.record(job, [Change(1, FrameState.SUCCEEDED)])
    first.set_measure("speed", 2.5)
    first.close()
    again = Store(home)
    assert (again.state(job, 1), again.measure("speed")) == (FrameState.SUCCEEDED, 2.5)
    again.close()


def test_a_new_store_has_this_version(store: Store, home: Path) -> None:
    assert sqlite3.connect(home / "farm.sqlite").execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_an_empty_database_file_is_migrated(home: Path) -> None:
    (home / "farm.sqlite").touch()
    opened = Store(home)
    assert new_job(opened).total == 8
    opened.close()


def test_a_store_of_a_newer_version_is_refused_and_left_alone(home: Path) -> None:
    database = sqlite3.connect(home / "farm.sqlite")
    database.executescript(f"{SCHEMA}; PRAGMA user_version = {VERSION + 1}")
    database.close()
    before = (home / "farm.sqlite").read_bytes()
    with pytest.raises(StoreError, match="newer renderfarm") as caught:
        Store(home)
    assert "Upgrade" in caught.value.hint
    assert (home / "farm.sqlite").read_bytes() == before


def test_a_file_that_is_no_database_is_refused(home: Path) -> None:
    (home / "farm.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match=r"farm\.sqlite can't be opened") as caught:
        Store(home)
    assert "RENDERFARM_HOME" in caught.value.hint


def test_a_folder_in_the_place_of_the_file_is_refused(home: Path) -> None:
    (home / "farm.sqlite").mkdir()
    with pytest.raises(StoreError, match="can't be opened"):
        Store(home)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only: for root that takes a mount."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    mount = ["mount", "-o", "bind,ro", str(folder), str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root can write anywhere, and may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_home_that_is_read_only_from_the_start_is_refused(home: Path) -> None:
    with read_only(home), pytest.raises(StoreError):
        Store(home)


def test_a_home_that_became_read_only_is_refused(home: Path) -> None:
    Store(home).close()
    with read_only(home), pytest.raises(StoreError):
        Store(home)


def test_a_damaged_page_is_a_store_error(home: Path) -> None:
    first = Store(home)
    job = new_job(first).id
    with first.transaction():
        first.record(job, [Change(frame, FrameState.QUEUED) for frame in range(2000)])
    first.close()
    path = home / "farm.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="can't be used"):
        farm.status(job)


WRITER = """
import sys
from pathlib import Path
from renderfarm.model import FrameState
from renderfarm.store import Change, Store
store = Store(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
for frame in range(int(sys.argv[3]), int(sys.argv[3]) + 60):
    for state in (FrameState.RUNNING, FrameState.SUCCEEDED):
        with store.transaction():
            store.record(sys.argv[2], [Change(frame, state)])
"""


def test_two_processes_that_write_at_once_lose_nothing(store: Store, home: Path) -> None:
    job = new_job(store).id
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, home, job, str(start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for start in (0, 60)
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "open\n"
    for writer in writers:
        writer.communicate("go\n")
    assert [writer.returncode for writer in writers] == [0, 0]
    assert store.counts(job) == {FrameState.SUCCEEDED: 120}


def test_many_processes_may_open_a_new_home_at_once(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from renderfarm.store import Store; Store(Path(sys.argv[1]))"
    )
    openers = [subprocess.Popen([sys.executable, "-c", program, home]) for _ in range(6)]
    assert [opener.wait() for opener in openers] == [0] * 6


def test_cached_frames_are_remembered_and_forgotten_by_take(store: Store) -> None:
    store.add_cached("t1", "/a", [(1, 10, 100, b"x"), (2, 20, 200, None)])
    store.add_cached("t2", "/b", [(1, 30, 300, None)])
    assert store.cached("t1") == {1: (10, 100, b"x"), 2: (20, 200, None)}
    store.forget_cached("t1", [1])
    assert list(store.cached("t1")) == [2]
    store.forget_cached("t1")
    assert [(take, frames, size) for take, _, _, frames, size in store.takes()] == [("t2", 1, 30)]


def test_a_hash_is_known_only_for_the_same_stamp(store: Store) -> None:
    stamp = (1, 2, 10, 100, 200)
    store.add_hashes([("/f", stamp, "abc")])
    assert store.hash_of("/f", stamp) == "abc"
    assert {store.hash_of("/f", (*stamp[:n], 9, *stamp[n + 1 :])) for n in range(5)} == {None}
