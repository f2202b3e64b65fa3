"""The farm's memory: what is written stays, whoever else writes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from renderfarm.errors import StoreError
from renderfarm.farm import verbs
from renderfarm.job.store import SCHEMA, VERSION, Store
from renderfarm.words import stamps


def test_a_transaction_that_raises_changes_nothing(store: Store) -> None:
    with pytest.raises(StoreError), store.transaction():
        store.frames.add("t1", "/a", [(1, 10, 100, None), (2, None, 100, None)])  # type: ignore[list-item]
    assert store.frames.of("t1") == {}


@pytest.mark.parametrize("nothing", [0.0, -1.0])
def test_what_came_out_as_nothing_was_not_measured(store: Store, nothing: float) -> None:
    store.set_measure("speed", nothing)
    assert store.measure("speed") is None
    store.set_measure("speed", 2.5)
    store.set_measure("speed", nothing)
    assert store.measure("speed") == 2.5


def test_a_new_store_has_this_version(store: Store, home: Path) -> None:
    with closing(sqlite3.connect(home / "farm.sqlite")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_an_empty_database_file_is_filled(home: Path) -> None:
    (home / "farm.sqlite").touch()
    opened = Store(home)
    assert opened.frames.fingerprints() == []
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
    with pytest.raises(StoreError, match=r"farm\.sqlite can't be used") as caught:
        Store(home)
    assert "Move it away" in caught.value.hint


def test_a_folder_in_the_place_of_the_file_is_refused(home: Path) -> None:
    (home / "farm.sqlite").mkdir()
    with pytest.raises(StoreError, match="can't be used"):
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


@pytest.mark.parametrize("used", [False, True])
def test_a_home_that_is_read_only_is_refused(home: Path, used: bool) -> None:
    Store(home).close() if used else None
    with read_only(home), pytest.raises(StoreError) as caught:
        Store(home)
    assert "Make it writable" in caught.value.hint or not used


def test_a_damaged_page_is_a_store_error(home: Path) -> None:
    first = Store(home)
    with first.transaction():
        first.frames.add("t1", "/a", ((frame, 10, 100, b"x" * 400) for frame in range(2000)))
    first.close()
    path = home / "farm.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="can't be used") as caught:
        verbs.cache_usage()
    assert "Move it away" in caught.value.hint


WRITER = """
import sys
from pathlib import Path
from renderfarm.job.store import Store
store = Store(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
for frame in range(int(sys.argv[2]), int(sys.argv[2]) + 60):
    with store.transaction():
        store.frames.add("t1", "/a", [(frame, 10, 100, None)])
"""


def test_two_processes_that_write_at_once_lose_nothing(store: Store, home: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, home, str(start)],
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
    assert sorted(store.frames.of("t1")) == list(range(120))


def test_many_processes_may_open_a_new_home_at_once(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from renderfarm.job.store import Store; Store(Path(sys.argv[1]))"
    )
    openers = [subprocess.Popen([sys.executable, "-c", program, home]) for _ in range(6)]
    assert [opener.wait() for opener in openers] == [0] * 6


def test_cached_frames_are_remembered_and_forgotten_by_fingerprint(store: Store) -> None:
    store.frames.add("t1", "/a", [(1, 10, 100, b"x"), (2, 20, 200, None)])
    store.frames.add("t2", "/b", [(1, 30, 300, None)])
    assert store.frames.of("t1") == {1: (10, 100, b"x"), 2: (20, 200, None)}
    store.frames.forget("t1", [1])
    assert list(store.frames.of("t1")) == [2]
    store.frames.forget("t1")
    assert [(fingerprint, frames, size) for fingerprint, _, _, frames, size in store.frames.fingerprints()] == [
        ("t2", 1, 30)
    ]


def test_a_hash_is_known_only_for_the_same_stamp(store: Store) -> None:
    stamp = (1, 2, 10, 100, 200)
    store.keep("/f", "abc", stamps.text(stamp))
    assert store.sha256("/f", stamp) == "abc"
    assert {store.sha256("/f", (*stamp[:n], 9, *stamp[n + 1 :])) for n in range(5)} == {None}
