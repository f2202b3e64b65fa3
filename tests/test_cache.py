"""The frame cache: what was rendered comes back as it was, and what is not whole any more does not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import names

from renderfarm.errors import ConfigError
from renderfarm.farm.cache import FrameCache, limit_bytes, place
from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.store import Store

SHARED_MEMORY = Path("/dev/shm")
T = Fingerprints("t")
PNG = [Path("any.png")]


@pytest.fixture
def cache(store: Store) -> FrameCache:
    return FrameCache(store)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        yield Path(folder)


def kept(
    cache: FrameCache, store: Store, folder: Path, frame: int, fingerprint: str = "t", size: int = 10
) -> Path:
    """A picture that was delivered into folder and kept."""
    folder.mkdir(exist_ok=True)
    picture = folder / f"{fingerprint}.{frame:04d}.png"
    picture.write_bytes(os.urandom(size))
    cache.put(Fingerprints(fingerprint), frame, [picture])
    status = picture.stat()
    store.frames.add(fingerprint, "/scene", [(frame, status.st_size, status.st_mtime_ns, b"mark")])
    return picture


def restored(cache: FrameCache, target: Path, frame: int = 1) -> list[int]:
    known = cache.known(T)
    return cache.restore(T, known, {frame: [target]} if frame in known else {})


def test_a_kept_frame_comes_back_with_its_bytes_and_time(
    cache: FrameCache, store: Store, tmp_path: Path
) -> None:
    picture = kept(cache, store, tmp_path / "a", 1)
    before = (picture.read_bytes(), picture.stat().st_mtime_ns)
    picture.unlink()
    assert restored(cache, picture) == [1]
    assert (picture.read_bytes(), picture.stat().st_mtime_ns) == before
    assert cache.known(T) == {1: (10, before[1], b"mark")}


def test_a_frame_is_kept_and_comes_back_across_file_systems(
    cache: FrameCache, store: Store, elsewhere: Path
) -> None:
    picture = kept(cache, store, elsewhere, 1)
    data = picture.read_bytes()
    picture.unlink()
    cache.places(T, 1, PNG)[0].chmod(0o400)
    assert len(restored(cache, picture)) == 1
    assert picture.read_bytes() == data
    assert picture.stat().st_mode & 0o200, "not every disk takes permissions, so none are brought along"


def test_restoring_what_is_there_already_leaves_one_file(
    cache: FrameCache, store: Store, tmp_path: Path
) -> None:
    picture = kept(cache, store, tmp_path / "a", 1)
    assert len(restored(cache, picture)) == 1
    assert names(picture.parent) == [picture.name]


def test_an_older_picture_in_the_way_is_replaced(cache: FrameCache, store: Store, tmp_path: Path) -> None:
    picture = kept(cache, store, tmp_path / "a", 1)
    target = tmp_path / "older.png"
    target.write_bytes(b"an older picture")
    assert len(restored(cache, target)) == 1
    assert target.read_bytes() == picture.read_bytes()


def test_a_frame_that_somebody_edited_does_not_come_back_and_is_forgotten(
    cache: FrameCache, store: Store, tmp_path: Path
) -> None:
    picture = kept(cache, store, tmp_path / "a", 1)
    picture.write_bytes(b"painted over")  # one file with the cache's
    assert restored(cache, tmp_path / "new.png") == []
    assert not (tmp_path / "new.png").exists()
    assert store.frames.of("t") == {}


def test_a_frame_that_is_gone_is_forgotten_and_the_others_come_back(
    cache: FrameCache, store: Store, tmp_path: Path
) -> None:
    for frame in (1, 2, 3):
        kept(cache, store, tmp_path / "a", frame)
    cache.places(Fingerprints("t"), 2, PNG)[0].unlink()
    targets = {frame: [tmp_path / f"{frame}.png"] for frame in (1, 2, 3)}
    assert cache.restore(T, cache.known(T), targets) == [1, 3]
    assert sorted(store.frames.of("t")) == [1, 3]


def test_placing_on_a_full_disk_leaves_no_half_file(tmp_path: Path, tiny_disk: Path) -> None:
    source = tmp_path / "large.png"
    source.write_bytes(os.urandom(1 << 20))
    with pytest.raises(OSError, match="No space left"):
        place(source, tiny_disk / "picture.png")
    assert names(tiny_disk) == []


def test_usage_counts_frames_and_bytes_by_fingerprint(cache: FrameCache, store: Store, tmp_path: Path) -> None:
    kept(cache, store, tmp_path, 1, size=10)
    kept(cache, store, tmp_path, 2, size=20)
    kept(cache, store, tmp_path, 1, fingerprint="u", size=5)
    usage = cache.usage()
    assert (usage.frames, usage.bytes) == (3, 35)
    assert [(entry.fingerprint, entry.frames, entry.bytes) for entry in usage.entries] == [
        ("t", 2, 30),
        ("u", 1, 5),
    ]


@pytest.fixture
def three_fingerprints(cache: FrameCache, store: Store, tmp_path: Path) -> FrameCache:
    """Takes b, c, a of 100 bytes each, used in this order."""
    for fingerprint in ("a", "b", "c"):
        kept(cache, store, tmp_path, 1, fingerprint=fingerprint, size=100)
    store.frames.touch("a", "/scene")
    return cache


def left(cache: FrameCache) -> list[str]:
    on_disk = sorted(path.name for path in cache.places(Fingerprints("a"), 1, PNG)[0].parent.parent.iterdir())
    assert on_disk == sorted(entry.fingerprint for entry in cache.usage().entries)
    return [entry.fingerprint for entry in cache.usage().entries]


def test_pruning_removes_the_frames_that_were_used_longest_ago_but_no_delivered_pictures(
    three_fingerprints: FrameCache, tmp_path: Path
) -> None:
    pruned = three_fingerprints.prune(150)
    assert ([entry.fingerprint for entry in pruned.entries], pruned.frames, pruned.bytes) == (
        ["b", "c"],
        2,
        200,
    )
    assert left(three_fingerprints) == ["a"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a.0001.png", "b.0001.png", "c.0001.png"]


def test_a_dry_run_says_what_would_go_and_removes_nothing_and_so_does_what_fits(
    three_fingerprints: FrameCache,
) -> None:
    assert [entry.fingerprint for entry in three_fingerprints.prune(250, dry_run=True).entries] == ["b"]
    assert three_fingerprints.prune(300).entries == ()
    assert left(three_fingerprints) == ["b", "c", "a"]


def test_the_limit_comes_from_the_environment(
    three_fingerprints: FrameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDERFARM_CACHE_GB", str(150 / (1 << 30)))
    three_fingerprints.prune()
    assert left(three_fingerprints) == ["a"]


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDERFARM_CACHE_GB", text)
    with pytest.raises(ConfigError, match="RENDERFARM_CACHE_GB"):
        limit_bytes()


def test_frames_are_known_again_when_somebody_else_opened_the_new_memory_first(home: Path) -> None:
    fingerprint = home / "cache" / "t"
    fingerprint.mkdir(parents=True)
    (fingerprint / "1.png").write_bytes(b"picture")
    (fingerprint / "take.json").write_text('{"scene": "shot"}')
    Store(home).close()
    with closing(Store(home)) as store:
        assert 1 in FrameCache(store).known(T)


def test_frames_are_known_again_after_the_farms_memory_was_deleted(home: Path, tmp_path: Path) -> None:
    with closing(Store(home)) as store:
        cache = FrameCache(store)
        picture = kept(cache, store, tmp_path / "a", 7)
        status = picture.stat()
        store.frames.add_set("key", "t", {"a.png": "hash"})
        cache.keep(T, "/scene", [(7, status.st_size, status.st_mtime_ns, b"mark")])
    for path in home.glob("farm.sqlite*"):
        path.unlink()
    with closing(Store(home)) as store:
        found = FrameCache(store).known(T)
        assert (dict(found), store.frames.sets("key")) == (
            {7: (status.st_size, status.st_mtime_ns, None)},
            [("t", {"a.png": "hash"})],
        )
