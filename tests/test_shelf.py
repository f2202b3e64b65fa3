"""Which jobs there are: found by id, its beginning, or folder, and moved over from older farm homes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from renderfarm.errors import JobBusyError, StoreError
from renderfarm.farm import verbs
from renderfarm.job import record, snapshots
from renderfarm.job.events import Begun, Delivered, Noted
from renderfarm.job.fingerprint import Ingredients
from renderfarm.job.home import claim, farm_home, is_claimed
from renderfarm.job.job import Job
from renderfarm.job.record import Record
from renderfarm.job.shelf import Shelf, newest
from renderfarm.job.store import Store
from renderfarm.web.board import Board
from renderfarm.words.as_json import encode
from renderfarm.words.request import Request, Sandbox, Settings
from renderfarm.words.scene import Scene
from renderfarm.words.states import JobState, Phase, Reason
from renderfarm.words.status import Status
from renderfarm.words.updates import Failed, Rendered, Started
from renderfarm.words.work import Build, Work


def described(folder: Path, scene: str = "/scenes/shot.testcard", job: str = "", **more: object) -> Record:
    """The record of a job of eight frames into a folder."""
    request = Request(scene, str(folder), **more)  # type: ignore[arg-type]
    found = Scene(scene, "testcard", "1", "1-8", 24.0, (32, 18), None)
    build = Build("testcard", "/usr/bin/python3", (1,), "test card", "testcard-1")
    work = Work("testcard", build, scene, request.settings, "/scratch")
    return Record(job, 1.0, request, "1-8", 8, 24.0, found, build, work, fingerprint="take")


@pytest.fixture
def shelf(home: Path) -> Shelf:
    return Shelf(home)


def test_a_card_that_says_nothing_hides_no_other_job(shelf: Shelf, tmp_path: Path, home: Path) -> None:
    fine = shelf.add(described(tmp_path))
    (home / "jobs" / "torn-0000.json").write_text("")
    assert [each.id if isinstance(each, Job) else each.job for each in shelf.jobs()] == [fine.id, "torn-0000"]


def test_a_card_is_there_whole_or_not_at_all(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(record, "write", lambda *_: seen.append(shelf.names()))
    assert [shelf.add(described(tmp_path)).id, *seen] == [*shelf.names(), []]


def test_record_and_card_are_on_the_disk_before_they_have_their_names(
    shelf: Shelf, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut leaves empty files there: frames of a night without a job."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    job = shelf.add(described(tmp_path))
    assert synced == [path.stat().st_ino for path in (job.folder / "job.json", home / f"jobs/{job.id}.json")]


@pytest.mark.parametrize(
    ("scene", "stem"),
    [("/a/shot 01.blend", "shot_01"), ("/a/-x.pov", "x"), ("/a/ä$b.pov", "__b"), ("/a/-.pov", "scene")],
)
def test_an_id_reads_like_the_scene_and_is_safe_in_any_shell(
    shelf: Shelf, tmp_path: Path, scene: str, stem: str
) -> None:
    assert re.fullmatch(rf"{re.escape(stem)}-[0-9a-f]{{4}}", shelf.add(described(tmp_path, scene)).id)


def test_a_job_remembers_what_it_was_rendered_from(shelf: Shelf, tmp_path: Path) -> None:
    parts = Ingredients(3, "shot.testcard", "abc", "1-8", "testcard-1", "test card", assets={"a.png": "def"})
    job = shelf.add(replace(described(tmp_path), ingredients=parts))
    assert (shelf.find(job.id).record, shelf.find(job.id).record.ingredients) == (job.record, parts)


def test_a_beginning_that_only_one_job_has_names_it(shelf: Shelf, tmp_path: Path) -> None:
    job = shelf.add(described(tmp_path))
    assert shelf.find(job.id[:-2]).id == job.id


def test_a_beginning_of_several_jobs_is_refused_with_their_names(shelf: Shelf, tmp_path: Path) -> None:
    ids = [shelf.add(described(tmp_path)).id for _ in range(2)]
    with pytest.raises(StoreError, match="more than one job") as caught:
        shelf.find("shot")
    assert all(job in str(caught.value) for job in ids)


def test_a_whole_id_wins_over_a_longer_one_that_begins_with_it(shelf: Shelf, tmp_path: Path) -> None:
    for name in ("shot-00", "shot-0012"):
        shelf.add(described(tmp_path, job=name))
    assert shelf.find("shot-00").id == "shot-00"


@pytest.mark.parametrize(
    "name", ["nothing", "%", "_", "shot-%", "SHOT", "", "../home", "*", "a\0b", "x" * 5000]
)
def test_a_name_that_no_job_has_is_refused(shelf: Shelf, tmp_path: Path, name: str) -> None:
    shelf.add(described(tmp_path / "out"))
    with pytest.raises(StoreError, match="There is no job"):
        shelf.find(name)


def test_a_job_is_found_by_its_output_folder(shelf: Shelf, tmp_path: Path) -> None:
    job = shelf.add(described(tmp_path))
    assert shelf.find(str(tmp_path)).id == job.id
    found = newest(tmp_path)
    assert found is not None
    assert found.id == job.id


def test_jobs_come_newest_first_and_those_without_a_folder_are_gone(shelf: Shelf, tmp_path: Path) -> None:
    kept, lost = shelf.add(described(tmp_path / "a")), shelf.add(described(tmp_path / "b"))
    (tmp_path / "b").rename(tmp_path / "c")
    found = {one.id if isinstance(one, Job) else one.job: one for one in shelf.jobs()}
    assert list(found) == sorted((kept.id, lost.id), reverse=True)
    assert isinstance(found[kept.id], Job)
    gone = found[lost.id]
    assert isinstance(gone, Status)
    assert gone.phase == "gone"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"job": 7}', "[" * 100_000])
def test_a_record_that_is_none_is_an_error_with_its_path(shelf: Shelf, tmp_path: Path, text: str) -> None:
    job = shelf.add(described(tmp_path))
    (job.folder / "job.json").write_text(text)
    with pytest.raises(StoreError, match=re.escape(str(job.folder))):
        shelf.find(job.id)


def test_a_strangers_record_names_no_program_and_opens_no_sandbox(tmp_path: Path) -> None:
    settings = Settings(trust_scripts=True)
    evil = described(tmp_path, programs={"blender": "/evil"}, sandbox=Sandbox.OFF, settings=settings)
    request = record.harmless(evil).request
    assert request.programs == {}
    assert (request.sandbox, request.settings.trust_scripts) == (Sandbox.AUTO, False)


def test_who_works_on_a_job_tells_and_others_read(shelf: Shelf, tmp_path: Path) -> None:
    job, other = shelf.add(described(tmp_path)), Job.at(newest(tmp_path).folder)  # type: ignore[union-attr]
    with job.claimed("busy", ""):
        job.tell(Begun(), Delivered(1, 1, 10, 100), Noted("slow"))
        assert other.refresh().alive
        with pytest.raises(JobBusyError), other.claimed("busy", ""):
            pass
    assert other.status().frames.succeeded == 1
    assert other.status().notes == ("slow",)
    assert other.status().ended


def test_orders_are_taken_once_and_in_their_order(shelf: Shelf, tmp_path: Path) -> None:
    job = shelf.add(described(tmp_path))
    job.order("retry", "1-3")
    job.order("cancel")
    assert job.take_orders() == [("retry", "1-3"), ("cancel", "")]
    assert job.take_orders() == []


@pytest.mark.parametrize("frames", ["none", "1-99999999999", ""])
def test_a_record_of_no_frames_hides_no_other_job(shelf: Shelf, tmp_path: Path, frames: str) -> None:
    bad, good = shelf.add(described(tmp_path / "a")), shelf.add(described(tmp_path / "b"))
    bad.restate(replace(bad.record, frames=frames))
    assert {(job.job, job.phase) if isinstance(job, Status) else job.id for job in shelf.jobs()} == {
        (bad.id, Phase.GONE),
        good.id,
    }


@pytest.mark.parametrize("name", ["job.json", "journal/n.jsonl"])
def test_a_pipe_in_a_jobs_folder_hangs_nobody(shelf: Shelf, tmp_path: Path, name: str) -> None:
    folder = shelf.add(described(tmp_path)).folder
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(StoreError, match="no regular file"):
        Job.at(folder).refresh()


def test_what_is_no_order_stops_nobody(shelf: Shelf, tmp_path: Path) -> None:
    job = shelf.add(described(tmp_path))
    job.order("cancel")
    for number, content in enumerate(
        (b"\xff", b"retry x", b"priority x", b"priority " + b"9" * 5000, b"dance")
    ):
        (job.orders / f"0{number}").write_bytes(content)
    (job.orders / "1").mkdir()
    os.mkfifo(job.orders / "2")
    assert job.take_orders() == [("cancel", "")]


OLD = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, created REAL, request TEXT, scene TEXT, build TEXT, take TEXT, range TEXT,
    total INTEGER, sandbox TEXT, seconds REAL, begun REAL, phase TEXT, eta REAL, rate REAL, video TEXT,
    contact_sheet TEXT,
    report TEXT, notes TEXT, problems TEXT
);
CREATE TABLE frames (
    job TEXT, frame INTEGER, state TEXT, attempts INTEGER, reason TEXT, message TEXT, log TEXT, node TEXT,
    started REAL, seconds REAL, reused INTEGER, size INTEGER, mtime INTEGER, signature BLOB, finding TEXT,
    detail TEXT
);
CREATE TABLE attempts (job TEXT); CREATE TABLE nodes (job TEXT); CREATE TABLE orders (job TEXT);
CREATE TABLE hashes (path TEXT); CREATE TABLE inspections (key TEXT);
CREATE TABLE takes (take TEXT PRIMARY KEY, scene TEXT, used REAL);
CREATE TABLE cached (take TEXT, frame INTEGER, size INTEGER, mtime INTEGER, signature BLOB);
CREATE TABLE measures (name TEXT PRIMARY KEY, value REAL);
PRAGMA user_version = 1;
"""


def old_home(home: Path, output: Path) -> None:
    """A farm home as version 0.1.0 left it: a job of three frames, one of them failed."""
    (output / "frames").mkdir(parents=True)
    found = described(output)
    documents = [json.dumps(encode(value)) for value in (found.request, found.scene, found.renderer)]
    with closing(sqlite3.connect(home / "farm.sqlite")) as database:
        database.executescript(OLD)
        database.execute(
            "INSERT INTO jobs VALUES ('shot-0001', 1.0, ?, ?, ?, 'take', '1-8', 8, 'bubblewrap', 7.5, NULL,"
            " 'done', NULL, NULL, NULL, NULL, NULL, '[\"slow\"]', '[]')",
            documents,
        )
        row = "INSERT INTO frames (job, frame, state, attempts, reason, message, reused, size, mtime, seconds)"
        database.executemany(
            f"{row} VALUES ('shot-0001', ?, ?, ?, ?, ?, ?, ?, ?, 1.5)",
            [
                (1, "succeeded", 1, None, None, 0, 10, 100),
                (2, "succeeded", 0, None, None, 1, 20, 200),
                (3, "failed", 3, "crash", "died", 0, None, None),
            ],
        )
        database.execute("INSERT INTO measures VALUES ('speed', 2.5)")
        database.commit()


def test_jobs_and_measured_times_of_an_older_home_are_moved_over(home: Path, tmp_path: Path) -> None:
    old_home(home, tmp_path / "out")
    with closing(Store(home)) as store:
        assert store.measure("speed") == 2.5
    status = Shelf(home).find("shot-0001").refresh().status()
    counts = status.frames
    assert (counts.succeeded, counts.reused, counts.failed, counts.queued) == (2, 1, 1, 5)
    assert (status.failures[0].reason, status.failures[0].attempts) == ("crash", 3)
    assert (status.notes, status.seconds, status.state) == (("slow",), 7.5, JobState.QUEUED)


def test_an_older_version_at_work_is_not_disturbed(home: Path, tmp_path: Path) -> None:
    old_home(home, tmp_path / "out")
    before = claim(home / "jobs" / "shot-0001.lock", "")
    with before, pytest.raises(JobBusyError, match="older renderfarm"):
        Store(home)
    Store(home).close()
    assert Shelf(home).has("shot-0001")


def test_an_older_job_without_its_folder_is_forgotten(home: Path, tmp_path: Path) -> None:
    old_home(home, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    Store(home).close()
    assert not Shelf(home).has("shot-0001")


def test_a_look_that_takes_long_is_no_claim(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as looks, ThreadPoolExecutor(1) as others:
        fcntl.flock(looks, fcntl.LOCK_SH)
        others.submit(lambda: (time.sleep(0.5), fcntl.flock(looks, fcntl.LOCK_UN)))
        with claim(tmp_path / "lock", "busy"), pytest.raises(JobBusyError), claim(tmp_path / "lock", "busy"):
            pass


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_folder, os.mkfifo])
def test_what_is_no_lock_is_nobodys_claim_and_hangs_none(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "lock")
    assert not is_claimed(tmp_path / "lock")


@pytest.mark.parametrize(
    "make",
    [
        make_folder,
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to("/nowhere/at/all"),
        lambda path: (path.parent.rmdir(), path.parent.touch()),
    ],
    ids=["folder", "loop", "dangling", "below-a-file"],
)
def test_what_can_be_no_lock_is_told(tmp_path: Path, make: Callable[[Path], None]) -> None:
    tmp_path = tmp_path / "job"
    tmp_path.mkdir()
    make(tmp_path / "lock")
    with pytest.raises(StoreError, match="lock, which says who works on what, can't be opened"):
        claim(tmp_path / "lock", "busy").__enter__()


def test_a_snapshot_and_the_tail_add_up_to_what_all_journals_do(tmp_path: Path) -> None:
    job = told(tmp_path, 40)
    kept = Job.at(job.folder).refresh().snapshot()
    with job.claimed("", ""):
        job.tell(Failed(41, Reason.SCENE_ERROR, "no", attempt=1), Delivered(42, 1, 5, 6))
    later = Job.at(job.folder)
    later.restore(kept)
    assert later.refresh().heard == 2
    assert later.status(False) == Job.at(job.folder).refresh().status(False)


def test_a_snapshot_of_other_journals_is_not_believed(tmp_path: Path) -> None:
    job = told(tmp_path, 40)
    kept = Job.at(job.folder).refresh().snapshot()
    journal = job.journals / "farm.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:3]))
    later = Job.at(job.folder)
    later.restore(kept)
    assert later.refresh().status(False) == Job.at(job.folder).refresh().status(False)


def test_status_of_a_long_job_reads_on_from_its_snapshot(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SNAPSHOT_EVENTS", 10)
    job = told(tmp_path, 40)
    first = verbs.status(str(job.record.output))
    with job.claimed("", ""):
        job.tell(Delivered(41, 1, 5, 6))
        assert verbs.status(str(job.record.output)).frames.succeeded == first.frames.succeeded + 1
    with closing(Store(home)) as store:
        assert store.snapshot(job.folder)


def told(tmp_path: Path, frames: int) -> Job:
    """A job of a hundred frames, of which some are delivered."""
    record = replace(described(tmp_path), frames="1-100", total=100)
    job = Shelf(farm_home()).add(record)
    with job.claimed("", ""):
        job.tell(*(Delivered(frame, 1, 5, 6) for frame in range(1, frames + 1)))
    return job


def test_the_page_counts_the_film_into_what_is_left_however_it_learns_of_a_job(
    shelf: Shelf, tmp_path: Path, home: Path
) -> None:
    job = shelf.add(described(tmp_path))
    with closing(Store(home)) as store:
        store.set_measure("encoded pixels per second of .mp4", 1.0)
    with job.claimed("", ""):
        job.tell(Begun(), Started(1, "t", 1, "w1"), Rendered(1, "", 1.0, attempt=1, node="w1"))
        board = Board(home)
        left = [board.jobs()[0]["eta_seconds"]]
        job.tell(Noted("something else"))
        left += [told["eta_seconds"] for told in board.news()["jobs"]]
    assert len(left) == 2
    assert min(left) > 32 * 18 * 8
