"""Frames that need files of their own have takes of their own, and people are told what made a difference."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from test_fingerprint import edit, fingerprints

from renderfarm.job import fingerprinting
from renderfarm.job.fingerprint import Fingerprints, Ingredients, explain
from renderfarm.job.store import Store
from renderfarm.words.as_json import decode, encode
from renderfarm.words.frames import compact, parse
from renderfarm.words.scene import Asset, Scene, Wild

PLATES = {"f1.png": "1", "f2.png": "2-3", "f4.png": "4", "wood.png": None, "idle.png": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("shot.testcard", *PLATES):
        (project / name).write_bytes(name.encode())
    return project


def scene(folder: Path, assets: dict[str, str | None] = PLATES, frames: str = "1-5") -> Scene:
    found = [Asset(str(folder / n), "image", (folder / n).exists(), frames=f) for n, f in assets.items()]
    wild = (Wild(str(folder), "f*.png", by_frame=True),) if assets is PLATES else ()
    path = str(folder / "shot.testcard")
    return Scene(path, "testcard", "1", frames, 24.0, (32, 18), None, assets=tuple(found), wild=wild)


def taken(folder: Path, store: Store, frames: range = range(1, 6), **scenes: object) -> dict[int, str]:
    wanted = parse(compact(frames))
    found = fingerprints(scene(folder, **scenes), store, frames=wanted)  # type: ignore[arg-type]
    return {frame: found.of(frame) for frame in frames}


def changed(before: dict[int, str], after: dict[int, str]) -> list[int]:
    return [frame for frame in before if before[frame] != after[frame]]


@pytest.mark.parametrize(
    ("name", "frames"),
    [("f1.png", [1]), ("f2.png", [2, 3]), ("wood.png", [1, 2, 3, 4, 5]), ("idle.png", [])],
)
def test_a_changed_file_changes_the_frames_that_need_it(
    folder: Path, store: Store, name: str, frames: list[int]
) -> None:
    before = taken(folder, store)
    edit(folder / name)
    assert changed(before, taken(folder, store)) == frames


@pytest.mark.parametrize("name", ["f2.png", "wood.png"])
def test_a_file_that_appears_changes_the_frames_that_need_it(folder: Path, store: Store, name: str) -> None:
    (folder / name).rename(folder / "away")
    before = taken(folder, store)
    (folder / "away").rename(folder / name)
    assert changed(before, taken(folder, store)) == ([2, 3] if name == "f2.png" else [1, 2, 3, 4, 5])


def test_two_frames_that_swap_their_files_change(folder: Path, store: Store) -> None:
    before = taken(folder, store)
    edit(folder / "f1.png", b"f4.png")
    edit(folder / "f4.png", b"f1.png")
    assert changed(before, taken(folder, store)) == [1, 4]


def test_a_frame_that_needs_no_file_of_its_own_has_the_base_alone(folder: Path, store: Store) -> None:
    found = fingerprints(scene(folder), store)
    assert [found.of(frame) == found.base for frame in range(1, 6)] == [False, False, False, False, True]


def test_without_files_of_single_frames_all_share_the_base(folder: Path, store: Store) -> None:
    found = fingerprints(scene(folder, {"wood.png": None}), store, frames=parse("-5-499"))
    assert (found.own, found.whole) == ({}, found.base)


@pytest.mark.parametrize("name", ["f1.png", "f9.png", "idle.png"])
def test_frames_outside_the_scenes_own_depend_on_every_file_that_could_be_theirs(
    folder: Path, store: Store, name: str
) -> None:
    before = taken(folder, store, range(1, 9))
    edit(folder / name)
    assert changed(before, taken(folder, store, range(1, 9)))[-3:] == [6, 7, 8]


def test_a_file_that_two_kinds_of_use_share_is_needed_by_all_that_need_it(folder: Path, store: Store) -> None:
    path = str(folder / "f1.png")
    twice = dataclasses.replace(
        scene(folder), assets=(Asset(path, "image", True, frames="1"), Asset(path, "text", True, frames="3"))
    )
    found = fingerprints(twice, store)
    assert [frame for frame in range(1, 6) if found.of(frame) != found.base] == [1, 3]
    whole = dataclasses.replace(twice, assets=(*twice.assets, Asset(path, "include", True)))
    assert fingerprints(whole, store).own == {}


def test_one_hash_stands_for_the_fingerprints_of_the_frames_asked_for(folder: Path, store: Store) -> None:
    def whole(frames: range) -> str:
        return fingerprints(scene(folder), store, frames=parse(compact(frames))).whole

    before = {frames: whole(frames) for frames in (range(1, 6), range(1, 3), range(4, 6))}
    edit(folder / "f4.png")
    assert [whole(frames) != fingerprint for frames, fingerprint in before.items()] == [True, False, True]


def test_fingerprints_survive_json() -> None:
    fingerprints = Fingerprints("base", {"1": "one", "-2": "two"})
    assert decode(Fingerprints, encode(fingerprints)) == fingerprints
    assert [fingerprints.of(frame) for frame in (1, -2, 3)] == ["one", "two", "base"]


# What people are told


KNOWN = Ingredients(
    scheme=fingerprinting.SCHEME, scene="shot.blend", sha256="a", frames="1-8",
    identity="b-4", label="Blender 4.2.1",
    assets={"tex/wood.png": "1", "tex/iron.png": "2"}, missing=("tex/gone.png",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ({}, ()),
        ({"sha256": "b"}, ("scene shot.blend changed",)),
        ({"sha256": "b", "frames": "1-9"}, ("scene shot.blend changed",)),
        ({"frames": "1-9"}, ("frame range changed: 1-8 → 1-9",)),
        ({"assets": {**KNOWN.assets, "tex/wood.png": "3"}}, ("asset tex/wood.png changed",)),
        ({"assets": {**KNOWN.assets, "a": "3", "b": "4"}}, ("2 assets are new: a, b",)),
        ({"assets": {"tex/wood.png": "1"}}, ("asset tex/iron.png is not needed any more",)),
        (
            {"assets": {"tex/wood.png": "1"}, "missing": ("tex/gone.png", "tex/iron.png")},
            ("asset tex/iron.png is missing",),
        ),
        (
            {"assets": {**KNOWN.assets, "tex/gone.png": "5"}, "missing": ()},
            ("asset tex/gone.png is there again",),
        ),
        ({"assets": dict.fromkeys("abcd", "1") | KNOWN.assets}, ("4 assets are new: a, b, c, …",)),
        (
            {"settings": {"options": {"device": "cpu"}, "resolution": (64, 32)}},
            ("settings changed: option device as in the scene → cpu, resolution as in the scene → 64x32",),
        ),
        (
            {"identity": "b-5", "label": "Blender 5.0.1"},
            ("renderer build changed: Blender 4.2.1 → Blender 5.0.1",),
        ),
        ({"identity": "b-4b"}, ("renderer build changed: another build of Blender 4.2.1",)),
        ({"scheme": 1}, ("renderfarm was upgraded and looks at inputs in another way",)),
    ],
)  # fmt: skip
def test_what_differs_is_told_in_words(after: dict[str, object], told: tuple[str, ...]) -> None:
    assert tuple(explain(KNOWN, dataclasses.replace(KNOWN, **after))) == told  # type: ignore[arg-type]


def test_a_setting_that_changed_is_told_with_both_values() -> None:
    before, now = (dataclasses.replace(KNOWN, settings={"samples": n}) for n in (16, 32))
    assert tuple(explain(before, now)) == ("settings changed: samples 16 → 32",)
