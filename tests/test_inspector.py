"""Inspection: the renderer is asked once, and again as soon as something changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from renderfarm.errors import InputError, RendererMissingError, SceneError
from renderfarm.farm.inspector import Inspection, choose_build, inspect, warm
from renderfarm.job.store import Store
from renderfarm.node import sandbox
from renderfarm.renderers import Preread
from renderfarm.renderers.testcard import TestcardRenderer
from renderfarm.words.request import Request, Sandbox, Settings
from renderfarm.words.work import Build

pytestmark = pytest.mark.usefixtures("nothing_left_running")

Card = Callable[..., Path]
Look = Callable[..., AbstractContextManager[Inspection]]


@pytest.fixture
def look(store: Store, tmp_path: Path) -> Look:
    """Inspects a scene without a sandbox unless asked for one."""

    def open_warm(
        scene: Path, settings: Settings | None = None, choice: Sandbox = Sandbox.OFF
    ) -> AbstractContextManager[Inspection]:
        request = Request(str(scene), "", settings=settings or Settings(), sandbox=choice)
        return warm(request, tmp_path / "scratch", store)

    return open_warm


def remembered(look: Look, scene: Path, settings: Settings | None = None) -> bool:
    """Whether an inspection needs no renderer."""
    with look(scene, settings) as inspection:
        return inspection.node is None


@pytest.fixture
def scene(tmp_path: Path, testcard: Card) -> Path:
    path = testcard(tmp_path / "scene", assets=["wood.png", "gone.png"], notes=["no denoiser"])
    (path.parent / "wood.png").write_bytes(b"wood")
    return path


def test_a_scene_says_what_it_contains_and_what_is_missing(scene: Path) -> None:
    found = inspect(scene)
    assert (found.frames, found.resolution, found.renderer) == ("1-8", (32, 18), "testcard")
    assert found.notes == ("no denoiser",)
    assert [(Path(asset.path).name, asset.exists, asset.bytes) for asset in found.assets] == [
        ("wood.png", True, 4),
        ("gone.png", False, 0),
    ]


def test_settings_are_applied(scene: Path) -> None:
    assert inspect(scene, Settings(resolution=(200, 100), scale=50)).resolution == (100, 50)


def test_the_node_that_looked_stays_warm_until_the_end(look: Look, scene: Path) -> None:
    with look(scene) as inspection:
        assert inspection.node is not None
        os.kill(inspection.node.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(inspection.node.pid, 0)


def test_a_node_that_was_taken_over_is_left_alone(look: Look, scene: Path) -> None:
    with look(scene) as inspection:
        assert inspection.node is not None
        inspection.node.taken = True
    os.kill(inspection.node.pid, 0)
    inspection.node.close()


def test_what_was_found_is_remembered(look: Look, scene: Path) -> None:
    with look(scene) as first, look(scene) as second:
        assert second.node is None
        assert (second.scene, second.unconfined) == (first.scene, first.unconfined)


def test_a_changed_scene_is_looked_at_again(look: Look, scene: Path, testcard: Card) -> None:
    remembered(look, scene)
    testcard(scene.parent, frames="1-9000")
    assert not remembered(look, scene)


@pytest.mark.parametrize("name", ["wood.png", "gone.png"])
def test_a_changed_asset_and_one_that_appears_make_it_look_again(look: Look, scene: Path, name: str) -> None:
    remembered(look, scene)
    (scene.parent / name).write_bytes(b"other wood")
    assert not remembered(look, scene)
    assert remembered(look, scene)


def test_an_asset_that_disappears_makes_it_look_again(look: Look, scene: Path) -> None:
    remembered(look, scene)
    (scene.parent / "wood.png").unlink()
    with look(scene) as inspection:
        assert len(inspection.scene.missing) == 2


def test_other_settings_are_looked_at_apart(look: Look, scene: Path) -> None:
    remembered(look, scene)
    assert not remembered(look, scene, Settings(scale=50))
    assert remembered(look, scene)


@pytest.mark.skipif(bool(sandbox.obstacle()), reason="no bubblewrap")
def test_assets_outside_the_scenes_folder_are_shown_to_the_sandbox(
    look: Look, tmp_path: Path, testcard: Card
) -> None:
    wood = tmp_path / "library" / "wood.png"
    wood.parent.mkdir()
    wood.write_bytes(b"wood")
    scene = testcard(tmp_path / "scene", assets=[str(wood)])
    with look(scene, choice=Sandbox.REQUIRE) as inspection:
        assert inspection.work.readable == (str(wood),)
        assert inspection.scene.missing == ()
    with look(scene, choice=Sandbox.REQUIRE) as again:
        assert (again.node, again.work) == (None, inspection.work)


def test_a_folder_a_missing_file_and_a_pipe_are_no_scenes(tmp_path: Path) -> None:
    (tmp_path / "folder.testcard").mkdir()
    os.mkfifo(tmp_path / "pipe.testcard")
    for name, why in [("folder", "is a folder"), ("none", "There is no file"), ("pipe", "not a regular file")]:
        with pytest.raises(InputError, match=why):
            inspect(tmp_path / f"{name}.testcard")


def test_a_suffix_that_no_renderer_knows_is_refused_with_those_known(tmp_path: Path) -> None:
    (tmp_path / "shot.max").write_text("")
    with pytest.raises(SceneError, match="not a scene") as caught:
        inspect(tmp_path / "shot.max")
    assert ".blend" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00\xff"])
def test_a_file_that_is_no_scene_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.testcard"
    path.write_text(text)
    with pytest.raises(SceneError, match=r"card\.testcard"):
        inspect(path)


@pytest.mark.parametrize("settings", [Settings(samples=4), Settings(camera="Other"), Settings(format="exr")])
def test_an_override_that_the_renderer_does_not_know_is_refused(scene: Path, settings: Settings) -> None:
    with pytest.raises(InputError):
        inspect(scene, settings)


class Picky(TestcardRenderer):
    """A renderer of which two builds are installed, one of them too old for any scene."""

    def builds(self, chosen: str | None = None) -> list[Build]:
        names = [chosen] if chosen in ("old", "new") else [] if chosen else ["old", "new"]
        return [Build(self.name, name, (1,), name, name) for name in names]

    def accepts(self, build: Build, preread: Preread) -> str:
        return "" if build.path == "new" else "old is too old for it."


def test_the_first_build_that_may_open_the_scene_is_taken(scene: Path) -> None:
    assert choose_build(Picky(), scene, None).path == "new"


def test_a_build_that_is_too_old_is_refused_in_its_own_words(scene: Path) -> None:
    with pytest.raises(RendererMissingError, match=r"(?s)old is too old.*name one with --testcard"):
        choose_build(Picky(), scene, "old")


def test_a_build_that_is_not_there_is_named(scene: Path) -> None:
    with pytest.raises(RendererMissingError, match="/nowhere is not a testcard that runs"):
        choose_build(Picky(), scene, "/nowhere")
