"""Renderers that users keep in their own storage, and the choice among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderfarm.errors import InputError, PoolError
from renderfarm.queues.azure import uploads
from renderfarm.queues.azure.packages import Packages, blob_name, choose, without_file
from renderfarm.queues.azure.storage import Storage
from renderfarm.words.scene import Scene
from renderfarm.words.work import Build, Package
from tests.azure_storage import new_storage


@pytest.fixture
def storage() -> Storage:
    return new_storage()


BEGINNINGS = {".xz": b"\xfd7zXZ\0", ".whl": b"PK\x03\x04", ".deb": b"!<arch>\n"}


def file(folder: Path, name: str, data: bytes = b"a renderer") -> Path:
    """A file that begins as its name says."""
    (folder / name).write_bytes(BEGINNINGS.get(Path(name).suffix, b"") + data)
    return folder / name


@pytest.mark.parametrize(
    ("name", "of_kind", "called", "version"),
    [
        ("blender-4.5.3-linux-x64.tar.xz", "tarball", "blender-4.5.3", "4.5.3"),
        ("blender-5.1.0-alpha-linux-x64.tar.xz", "tarball", "blender-5.1.0", "5.1.0"),
        ("blender-2.93.18-linux-x64.tar.xz", "tarball", "blender-2.93.18", "2.93.18"),
        ("bpy-5.0.1-cp311-cp311-manylinux_2_28_x86_64.whl", "wheel", "blender-5.0.1", "5.0.1"),
        ("povray_3.7.0.10-2_amd64.deb", "deb", "povray-3.7.0", "3.7.0"),
        ("povray_1:3.7.0.10-2_amd64.deb", "deb", "povray-3.7.0", "3.7.0"),
    ],
)
def test_a_file_is_known_by_its_name(
    storage: Storage, tmp_path: Path, name: str, of_kind: str, called: str, version: str
) -> None:
    package = Packages(storage).add(file(tmp_path, name))
    assert (package.kind, package.name, package.version) == (of_kind, called, version)
    assert storage.at(storage.packages).read(blob_name(package)).endswith(b"a renderer")
    assert Packages(storage).all() == [package]


def test_a_file_that_is_not_what_its_name_says_is_refused(storage: Storage, tmp_path: Path) -> None:
    impostor = tmp_path / "blender-4.5.3-linux-x64.tar.xz"
    impostor.write_bytes(b"<html>Not found</html>")
    with pytest.raises(InputError, match="is not what its name says"):
        Packages(storage).add(impostor)
    assert Packages(storage).all() == []


IN_VAIN = "blender-4.5.3-windows-x64.zip blender-4.5.3-macos-arm64.dmg bpy-5.0.1-cp311-cp311-win_amd64.whl x"


@pytest.mark.parametrize("name", IN_VAIN.split())
def test_what_nodes_can_t_install_is_refused(storage: Storage, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is no renderer that nodes can install") as refused:
        Packages(storage).add(file(tmp_path, name))
    assert "blender-4.5.3-linux-x64.tar.xz" in refused.value.hint


def test_the_same_file_is_sent_once_and_another_one_of_its_name_replaces_it(
    storage: Storage, tmp_path: Path
) -> None:
    said: list[str] = []
    path = tmp_path / "blender-4.5.3-linux-x64.tar.xz"
    with pytest.raises(InputError, match="can't be read: No such file"):
        Packages(storage).add(path)
    first = [Packages(storage).add(file(tmp_path, path.name), progress=said.append) for _ in range(2)]
    assert (first[0] == first[1], len(said)) == (True, 1)
    package = Packages(storage).add(file(tmp_path, path.name, b"second"))
    assert storage.at(storage.packages).read(blob_name(package)).endswith(b"second")
    assert Packages(storage).all() == [package]


def test_what_was_sent_before_an_interruption_is_not_sent_again(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "BLOCK_BYTES", 4)
    path = file(tmp_path, "blender-4.5.3-linux-x64.tar.xz", b"one two three")

    def give_up(words: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Packages(storage).add(path, progress=give_up)
    there = storage.at(storage.packages).staged("blender-4.5.3/blender-4.5.3-linux-x64.tar.xz")
    assert Packages(storage).all() == []
    package = Packages(storage).add(path)
    assert there
    assert storage.at(storage.packages).read(blob_name(package)) == path.read_bytes()


def test_a_package_can_be_named_found_and_removed(storage: Storage, tmp_path: Path) -> None:
    path = file(tmp_path, "blender-4.5.3-linux-x64.tar.xz")
    for name in ("image", "distribution", "Über", "a/b", "../x", "node"):
        with pytest.raises(InputError, match="can't be called"):
            Packages(storage).add(path, name)
    package = Packages(storage).add(path, "studio")
    assert Packages(storage).find("studio") == package
    with pytest.raises(InputError, match="no renderer 'studi'") as refused:
        Packages(storage).remove("studi")
    assert refused.value.hint == "Did you mean 'studio'?"
    Packages(storage).remove("studio")
    assert Packages(storage).all() == []
    assert list(storage.at(storage.packages).blobs()) == []


def kept(*versions: str, renderer: str = "blender") -> list[Package]:
    return [Package(f"{renderer}-{v}", renderer, v, f"blender-{v}-linux-x64.tar.xz", v, 1) for v in versions]


def scene(saved_with: str = "4.2", renderer: str = "blender") -> Scene:
    return Scene("/a.blend", renderer, saved_with, "1-1", 24.0, (64, 36), None)


def build(*version: int) -> Build:
    return Build("blender", "/usr/bin/blender", version, "Blender", "blender")


@pytest.mark.parametrize(
    ("versions", "looked_at_with", "chosen"),
    [
        (("4.2.1", "4.5.3", "5.0.1"), (4, 5, 3), "blender-4.5.3"),
        (("4.2.1", "4.5.3", "5.0.1"), (4, 5, 1), "blender-4.5.3"),
        (("4.1.0", "4.2.1", "5.0.1"), (4, 5, 1), "blender-4.2.1"),
        (("4.1.0", "5.0.1"), (3, 4, 1), "blender-5.0.1"),
    ],
)
def test_the_choice_is_the_build_at_hand_or_the_oldest_that_opens_the_scene(
    versions: tuple[str, ...], looked_at_with: tuple[int, ...], chosen: str
) -> None:
    (package,) = choose(kept(*versions), (), scene(), build(*looked_at_with))
    assert package.name == chosen


def test_without_a_package_that_fits_the_command_is_told() -> None:
    with pytest.raises(
        PoolError, match=r"no Blender that opens /a\.blend, which Blender 4\.2 saved"
    ) as refused:
        choose(kept("4.1.0"), (), scene(), build(4, 5, 3))
    assert "renderfarm renderer add blender-4.5.3-linux-x64.tar.xz" in refused.value.hint
    assert "https://download.blender.org/release/Blender4.5/" in refused.value.hint


def test_a_configured_package_that_is_not_there_is_told() -> None:
    with pytest.raises(PoolError, match=r"'blender-4\.5', which is not in storage") as refused:
        choose(kept("4.5.3"), ("blender-4.5",), scene(), build(4, 5, 3))
    assert "Did you mean 'blender-4.5.3'?" in refused.value.hint


@pytest.mark.parametrize(
    ("known", "wanted", "renderer", "chosen"),
    [
        (("4.5.3",), ("distribution",), "blender", "distribution"),
        ((), (), "povray", "distribution"),
        ((), (), "testcard", "image"),
    ],
)
def test_the_configuration_beats_the_choice_and_some_need_no_package(
    known: tuple[str, ...], wanted: tuple[str, ...], renderer: str, chosen: str
) -> None:
    assert choose(kept(*known), wanted, scene("", renderer), build(4, 5, 3)) == (without_file(chosen),)
