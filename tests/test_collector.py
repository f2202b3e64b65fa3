"""Frames on their way into the output folder: whole and looked at, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import fill_disk, names

from renderfarm.farm import preparation
from renderfarm.farm.cache import FrameCache
from renderfarm.farm.job_frames import JobFrames, OutputFullError, looks_from, mark
from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.job import Job
from renderfarm.job.record import Record, folder_of
from renderfarm.job.store import Store
from renderfarm.pictures.look import look
from renderfarm.renderers.testcard_inside import picture
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.request import Request
from renderfarm.words.scene import Scene
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Work

SIZE = (32, 18)
PNG = [Path("any.png")]
Collect = Callable[..., Failed | None]


@pytest.fixture
def cache(store: Store) -> FrameCache:
    return FrameCache(store)


@pytest.fixture
def collector(store: Store, tmp_path: Path) -> Iterator[JobFrames]:
    request, build = Request("/shot.testcard", str(tmp_path / "out")), Build("testcard", "", (1,), "", "")
    scene = Scene(request.scene, "testcard", "", "1-8", 24.0, SIZE, None)
    work = Work("testcard", build, request.scene, request.settings, "")
    record = Record("shot", 1.0, request, "1-8", 8, 24.0, scene, build, work, fingerprint="take")
    job = Job(record, folder_of(tmp_path / "out", "shot"))
    job.folder.mkdir(parents=True)
    with job.claimed("", ""):
        yield JobFrames(store, job, preparation.recalled(record, PoolConfig(), tmp_path))


def rendered(folder: Path, frame: int, data: bytes) -> tuple[Rendered, Path]:
    """A receipt and its file."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{frame}.png"
    file.write_bytes(data)
    return Rendered(frame, str(file), 1.5, task="f0001", attempt=2, node="w1", log="log"), file


@pytest.fixture
def collect(collector: JobFrames, tmp_path: Path) -> Collect:
    """Collects one frame, spoiled as asked."""

    def run(frame: int = 7, fault: str = "") -> Failed | None:
        return collector.collect(*rendered(tmp_path / "scratch", frame, picture(frame, SIZE, fault)))

    return run


def test_a_good_frame_is_moved_and_nothing_else_is_in_the_folder(
    collect: Collect, collector: JobFrames, tmp_path: Path
) -> None:
    collect(7)
    assert names(collector.folder) == ["shot.0007.png"]
    assert names(tmp_path / "scratch") == []


def test_a_newer_picture_replaces_an_older_one(
    collect: Collect, collector: JobFrames, cache: FrameCache
) -> None:
    collector.paths(7)[0].write_bytes(b"older")
    shelf = cache.places(Fingerprints("take"), 7, PNG)[0]
    shelf.parent.mkdir(parents=True)
    shelf.write_bytes(b"older")
    collect(7)
    assert collector.paths(7)[0].read_bytes() == shelf.read_bytes() == picture(7, SIZE, "")


def test_a_bad_picture_leaves_the_good_one_before_it_alone(collect: Collect, collector: JobFrames) -> None:
    collect(7)
    collect(7, "truncated")
    assert collector.paths(7)[0].read_bytes() == picture(7, SIZE, "")


def test_a_frame_can_be_taken_back_from_folder_and_cache(
    collect: Collect, collector: JobFrames, cache: FrameCache
) -> None:
    collect(7)
    collector.discard(7)
    assert not collector.paths(7)[0].exists()
    assert not cache.places(Fingerprints("take"), 7, PNG)[0].exists()
    collector.discard(7)


def test_a_look_comes_back_from_the_few_bytes_that_are_kept_of_it(tmp_path: Path) -> None:
    seen = look(rendered(tmp_path, 7, picture(7, SIZE, "magenta"))[1], 7, size=SIZE)
    (again,) = looks_from(7, SIZE, mark([seen]))
    assert (again.signature, again.blank) == (seen.signature, seen.blank)
    assert again.magenta == pytest.approx(seen.magenta, abs=1e-5)


def test_a_folder_in_the_way_is_named(collect: Collect, collector: JobFrames) -> None:
    (collector.folder / "shot.0007.png").mkdir()
    with pytest.raises(OutputFullError, match=r"shot\.0007\.png can't be written"):
        collect(7)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("../private.png"), os.mkfifo])
def test_what_took_the_place_of_a_picture_is_not_delivered_and_hangs_nobody(
    collector: JobFrames, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    receipt, file = rendered(tmp_path / "scratch", 7, picture(7, SIZE, ""))
    file.replace(tmp_path / "private.png")
    make(file)
    outcome = collector.collect(receipt, file)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.BAD_PICTURE
    assert names(collector.folder) == names(tmp_path / "work") == names(tmp_path / "scratch") == []


def test_a_picture_that_is_gone_when_it_is_fetched_is_a_failed_attempt(
    collector: JobFrames, tmp_path: Path
) -> None:
    receipt, file = rendered(tmp_path / "scratch", 7, b"")
    file.unlink()
    outcome = collector.collect(receipt, file)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.NO_PICTURE


def test_a_full_cache_disk_costs_no_frame_and_is_told(
    store: Store, tiny_disk: Path, collector: JobFrames, tmp_path: Path
) -> None:
    (tiny_disk / "take").mkdir()
    (store.home / "cache").symlink_to(tiny_disk)
    receipt, file = rendered(tmp_path / "scratch", 7, picture(7, SIZE, ""))
    fill_disk(tiny_disk / "filler")
    assert collector.collect(receipt, file) is None
    collector.remember()
    assert store.frames.of("take") == {}
    assert (names(collector.folder), names(tiny_disk / "take")) == (["shot.0007.png"], [])
    assert "is full" in collector._job.ledger.remarks.notes[-1]
