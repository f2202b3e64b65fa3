"""A take changes with all that pixels depend on, and with nothing else."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from renderfarm.job import fingerprinting
from renderfarm.job.fingerprint import Fingerprints
from renderfarm.job.store import Store
from renderfarm.renderers import wildcards
from renderfarm.words import files, stamps
from renderfarm.words.frames import FrameRange
from renderfarm.words.request import Settings
from renderfarm.words.scene import Asset, Scene, Wild
from renderfarm.words.work import Build

BUILD = Build("testcard", "/usr/bin/python3", (1,), "test card", "testcard-1")

Taken = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "cache").mkdir(parents=True)
    (folder / "shot.testcard").write_text("{}")
    (folder / "wood.png").write_bytes(b"wood")
    (folder / "cache" / "smoke_0001").write_bytes(b"smoke")
    return folder


@pytest.fixture
def taken(store: Store, project: Path) -> Taken:
    """The take of the project's scene with these of its files, settings, build and own range."""

    def fingerprint(
        folder: Path = project,
        *,
        assets: tuple[str, ...] = ("wood.png",),
        frames: str = "1-8",
        settings: Settings | None = None,
        build: Build = BUILD,
    ) -> str:
        found = tuple(Asset(str(folder / name), "image", (folder / name).exists()) for name in assets)
        path = str(folder / "shot.testcard")
        scene = Scene(path, "testcard", "1", frames, 24.0, (32, 18), None, assets=found)
        return fingerprints(scene, store, build, settings or Settings()).base

    return fingerprint


def fingerprints(
    scene: Scene,
    store: Store,
    build: Build = BUILD,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    frames: FrameRange | None = None,
) -> Fingerprints:
    found = fingerprinting.ingredients(scene, build, settings, fingerprinting.inputs(scene, store))
    return fingerprinting.fingerprints_of(found, scene, store, frames)


def edit(path: Path, data: bytes = b"other") -> None:
    """Change a file for sure, even where its clock is coarse."""
    path.write_bytes(data)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


@pytest.mark.parametrize("name", ["shot.testcard", "wood.png"])
def test_bytes_of_scene_and_assets_matter_and_their_times_do_not(
    taken: Taken, project: Path, name: str
) -> None:
    before = taken()
    assert len(bytes.fromhex(before)) == 32
    os.utime(project / name, (0, 0))
    assert taken() == before
    edit(project / name, b"other")
    assert taken() != before


@pytest.mark.parametrize("assets", [("wood.png",), ("wood.png", "gone.png")], ids=["complete", "one missing"])
def test_the_folder_does_not_matter(
    taken: Taken, project: Path, tmp_path: Path, assets: tuple[str, ...]
) -> None:
    moved = shutil.copytree(project, tmp_path / "moved")
    assert taken(moved, assets=assets) == taken(assets=assets)


def test_the_order_of_assets_does_not_matter(taken: Taken, project: Path) -> None:
    (project / "iron.png").write_bytes(b"iron")
    assert taken(assets=("wood.png", "iron.png")) == taken(assets=("iron.png", "wood.png", "wood.png"))


def test_a_missing_asset_matters(taken: Taken, project: Path) -> None:
    assert len({taken(), taken(assets=("wood.png", "gone.png")), taken(assets=("wood.png", "lost.png"))}) == 3


@pytest.mark.parametrize(
    "settings",
    [
        Settings(resolution=(64, 36)),
        Settings(scale=50),
        Settings(samples=1),
        Settings(camera="Other"),
        Settings(format="exr"),
        Settings(options={"a": "b"}),
        Settings(trust_scripts=True),
    ],
    ids=lambda settings: next(iter(settings.overridden())),
)
def test_settings_matter(taken: Taken, settings: Settings) -> None:
    assert taken(settings=settings) != taken()


def test_the_build_matters_by_its_identity_alone(taken: Taken) -> None:
    assert taken(build=dataclasses.replace(BUILD, identity="testcard-2")) != taken()
    assert taken(build=dataclasses.replace(BUILD, path="/opt/python3", label="other")) == taken()


def test_the_range_asked_for_matters_only_as_the_scenes_own(taken: Taken) -> None:
    assert taken(settings=Settings(frames="1-4")) == taken()
    assert taken(frames="1-4") != taken()


def test_a_folder_of_cache_files_counts_by_its_listing(taken: Taken, project: Path) -> None:
    before = taken(assets=("cache",))
    (project / "cache" / "smoke_0002").write_bytes(b"more")
    assert taken(assets=("cache",)) != before


def test_a_hash_is_remembered_until_the_file_changes(store: Store, project: Path) -> None:
    wood = project / "wood.png"
    first = fingerprinting.file_hash(str(wood), store)
    assert store.sha256(str(wood), stamps.stamp(wood)) == first
    edit(wood, b"iron")
    assert fingerprinting.file_hash(str(wood), store) == stamps.sha256(wood) != first


def test_what_is_no_file_is_neither_listed_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "a.inc").write_text("")
    (tmp_path / "b.inc").symlink_to("a.inc")
    there = wildcards.files(Wild(str(tmp_path), "*", deep=True))
    assert sorted(path.name for path in there) == ["a.inc", "b.inc"]
    with pytest.raises(OSError, match="no regular file"):
        stamps.sha256(tmp_path / "pipe")


def test_what_is_taken_away_is_waited_for_in_no_pipe_and_followed_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    os.mkfifo(tmp_path / "folder" / "pipe")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine")
    for path in list(tmp_path.iterdir()):
        if path.name != "mine":
            files.remove(path)
    files.remove(tmp_path / "nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
