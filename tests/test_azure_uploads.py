"""What a scene needs, brought into a real Azurite: what goes, what stays here, and what happens in between."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from povray_scenes import make_textured_scene

from renderfarm.errors import InputError, PoolError
from renderfarm.farm import copies
from renderfarm.farm.copies import Keep
from renderfarm.farm.inspector import inspect
from renderfarm.job import fingerprinting
from renderfarm.job.store import Store
from renderfarm.queues.azure import uploads
from renderfarm.queues.azure.on_node.manifest import Manifest, ManifestFile
from renderfarm.queues.azure.storage import Storage
from renderfarm.queues.azure.uploads import BLOCK_BYTES, collect, missing, send
from renderfarm.words import stamps
from renderfarm.words.as_json import to_json
from renderfarm.words.request import Settings
from renderfarm.words.scene import Asset, Scene
from renderfarm.words.stamps import sha256
from renderfarm.words.work import Build, Work
from tests.azure_storage import asked, new_storage
from tests.azurite import ACCOUNT
from tests.farm_runs import wait_for


@pytest.fixture
def storage() -> Storage:
    made = new_storage()
    made.ensure(made.assets)
    return made


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of somebody with a key in it."""
    folder = tmp_path / "ann"
    write(folder / ".ssh" / "id_rsa", b"private")
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture(params=["looked at one by one", "listed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to find out which of twenty files are there."""
    monkeypatch.setattr(uploads, "_FEW", 1 if request.param == "listed" else 1000)
    monkeypatch.setattr(uploads, "_LISTED_PER_LOOK", 1000)
    return str(request.param)


def write(path: Path, data: bytes = b"data") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def scene_of(path: Path, *assets: Path, kind: str = "image") -> Scene:
    """A scene as an inspection describes it."""
    found = tuple(Asset(str(p), kind, p.exists(), 0, p.name) for p in assets)
    return Scene(str(path), "blender", "4.2", "1-10", 24.0, (32, 18), "Camera", assets=found)


def project(folder: Path, count: int = 3, size: int = 1000) -> Scene:
    """A scene with textures, no two of which are the same."""
    textures = [write(folder / "tex" / f"{n}.png", b"%06d" % n + os.urandom(size)) for n in range(count)]
    return scene_of(write(folder / "scene.blend", os.urandom(50)), *textures)


def paths(manifest: Manifest) -> list[str]:
    return [file.path for file in manifest.files]


def sent(manifest: Manifest, storage: Storage) -> tuple[ManifestFile, ...]:
    """Upload a project; what had to go."""
    planned = missing(manifest, storage)
    upload(manifest, planned, storage)
    return planned


def upload(manifest: Manifest, files: Sequence[ManifestFile], storage: Storage, **more: Any) -> int:
    """Send files of a project; how many bytes that was."""
    return sum(send(uploads.uploads(manifest, files, more.get("copies")), storage.at(storage.assets)))


def names(storage: Storage) -> set[str]:
    return {blob.name for blob in storage.at(storage.assets).blobs()}


# What belongs to a scene


def test_the_scene_and_its_assets_are_collected_and_nothing_beside_them(tmp_path: Path, store: Store) -> None:
    texture, scene = write(tmp_path / "tex" / "wood.png", b"wood"), write(tmp_path / "shots" / "s.blend")
    write(tmp_path / "tex" / "diary.txt")
    write(tmp_path / "shots" / "s.blend1")
    manifest = collect(scene_of(scene, texture), store)
    assert (manifest.root, manifest.scene) == (str(tmp_path), "shots/s.blend")
    assert paths(manifest) == ["shots/s.blend", "tex/wood.png"]
    assert manifest.files[1].sha256 == hashlib.sha256(b"wood").hexdigest()
    assert manifest.files[1].bytes == 4


def test_a_folder_of_caches_becomes_its_files_and_what_is_not_there_is_left_out(
    tmp_path: Path, store: Store
) -> None:
    for name in ("c_1.bphys", "sub/c_2.bphys", ".hidden"):
        write(tmp_path / "blendcache" / name)
    never = tmp_path / "never.png"
    scene = scene_of(write(tmp_path / "s.blend"), tmp_path / "blendcache", never, kind="simulation")
    manifest = collect(scene, store)
    expected = ["blendcache/.hidden", "blendcache/c_1.bphys", "blendcache/sub/c_2.bphys", "s.blend"]
    assert (manifest.root, paths(manifest)) == (str(tmp_path), expected)


def test_links_are_followed(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "library" / "wood.png", b"wood")
    link = tmp_path / "project" / "wood.png"
    scene = write(tmp_path / "project" / "s.blend")
    link.symlink_to(tmp_path / "library" / "wood.png")
    manifest = collect(scene_of(scene, link), store)
    assert paths(manifest) == ["s.blend", "wood.png"]
    assert manifest.files[1].sha256 == hashlib.sha256(b"wood").hexdigest()


def test_links_in_circles_come_to_an_end(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "cache" / "a")
    (tmp_path / "cache" / "again").symlink_to(tmp_path / "cache")
    (tmp_path / "cache" / "up").symlink_to(tmp_path)
    for here, there in (("one", "two"), ("two", "one")):
        write(tmp_path / "cache" / here / "b")
        (tmp_path / "cache" / here / "left").symlink_to(tmp_path / "cache" / there)
        (tmp_path / "cache" / here / "right").symlink_to(tmp_path / "cache" / there)
    scene = scene_of(write(tmp_path / "s.blend"), tmp_path / "cache")
    each = ["b", "left/b", "right/b"]
    assert paths(collect(scene, store)) == [
        "cache/a",
        *(f"cache/{folder}/{name}" for folder in ("one", "two") for name in each),
        "s.blend",
    ]


def test_a_name_that_is_no_utf8_is_collected(tmp_path: Path, store: Store, storage: Storage) -> None:
    texture = write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))
    manifest = collect(scene_of(write(tmp_path / "s.blend", b"s"), texture), store)
    sent(manifest, storage)
    assert names(storage) == {hashlib.sha256(data).hexdigest() for data in (b"s", b"data")}


def test_what_comes_with_povray_is_not_collected(tmp_path: Path, store: Store) -> None:
    ini = make_textured_scene(tmp_path / "p")
    pov = ini.with_suffix(".pov")
    pov.write_text('#include "colors.inc"\n' + pov.read_text())
    ini.write_text(ini.read_text() + 'Library_Path="/usr/share/povray-3.7/include"\n')
    manifest = collect(inspect(ini), store)
    assert manifest.root == str(tmp_path / "p")
    assert {"textured.ini", "textured.pov", "parts/box.inc"} < set(paths(manifest))


def test_bytes_are_read_again_only_when_something_changed(tmp_path: Path, store: Store) -> None:
    scene, texture = project(tmp_path), tmp_path / "tex" / "0.png"
    first = collect(scene, store)
    times = texture.stat()
    store.keep(str(texture), "f" * 64, stamps.text(stamps.stamp(texture)))
    assert "f" * 64 in {file.sha256 for file in collect(scene, store).files}
    texture.write_bytes(bytes(times.st_size))
    os.utime(texture, ns=(times.st_atime_ns, times.st_mtime_ns))
    again = {file.sha256 for file in collect(scene, store).files}
    assert len(again - {file.sha256 for file in first.files}) == 1, "the same size and time, and other bytes"
    assert "f" * 64 not in again


def test_a_file_that_changed_since_its_job_was_fingerprinted_is_not_sent(tmp_path: Path, store: Store) -> None:
    scene = project(tmp_path)
    inputs = tuple(fingerprinting.inputs(scene, store).values())
    work = Work("blender", Build("blender", "", (), "", ""), scene.path, Settings(), "", inputs=inputs)
    assert collect(scene, store, work) == collect(scene, store)
    (tmp_path / "tex" / "0.png").write_bytes(b"edited")
    with pytest.raises(InputError, match=r"0\.png changed"):
        collect(scene, store, work)


def test_a_copy_goes_up_in_place_of_the_scene(tmp_path: Path, store: Store, storage: Storage) -> None:
    scene = project(tmp_path)
    before = Path(scene.path).read_bytes()
    own = copies.sources([scene.path], Keep(tmp_path / "kept"), store)
    work = Work("blender", Build("blender", "", (), "", ""), scene.path, Settings(), "", copies=own.copied())
    Path(scene.path).write_bytes(b"saved")
    manifest = collect(scene, store, work)
    upload(manifest, missing(manifest, storage), storage, copies=work.copies)
    name = next(file.sha256 for file in manifest.files if file.path == manifest.scene)
    storage.at(storage.assets).get(name, tmp_path / "down", name)
    assert (tmp_path / "down").read_bytes() == before


# What never leaves this machine


def refused(scene: Scene, store: Store) -> str:
    with pytest.raises(InputError) as caught:
        collect(scene, store)
    return caught.value.message


def test_a_scene_can_neither_name_nor_link_its_way_to_keys(user: Path, tmp_path: Path, store: Store) -> None:
    scene, link = write(tmp_path / "project" / "s.blend"), tmp_path / "project" / "wood.png"
    assert "hidden folder" in refused(scene_of(scene, user / ".ssh" / "id_rsa"), store)
    assert "hidden folder" in refused(scene_of(write(user / "s.blend"), user / ".ssh" / "id_rsa"), store)
    link.symlink_to(user / ".ssh" / "id_rsa")
    assert str(link) in refused(scene_of(scene, link), store)


def test_a_folder_of_caches_can_not_hold_a_link_to_keys(user: Path, tmp_path: Path, store: Store) -> None:
    write(tmp_path / "project" / "cache" / "a")
    (tmp_path / "project" / "cache" / "keys").symlink_to(user / ".ssh")
    scene = scene_of(write(tmp_path / "project" / "s.blend"), tmp_path / "project" / "cache")
    assert "hidden folder" in refused(scene, store)


def test_neither_the_systems_own_files_nor_a_home_are_assets(user: Path, tmp_path: Path, store: Store) -> None:
    scene = write(tmp_path / "p" / "s.blend")
    for name in ("/etc/passwd", "/proc/self/environ"):
        assert name in refused(scene_of(scene, Path(name)), store)
    for folder in (user, user.parent, Path("/")):
        assert "no folder of its own" in refused(scene_of(scene, folder), store)


def test_a_project_may_lie_in_a_hidden_folder(user: Path, store: Store) -> None:
    folder = user / ".cache" / "project"
    manifest = collect(scene_of(write(folder / "s.blend"), write(folder / "wood.png")), store)
    assert paths(manifest) == ["s.blend", "wood.png"]


def test_what_is_no_file_or_went_away_is_named(tmp_path: Path, store: Store) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is no file" in refused(scene_of(write(tmp_path / "s.blend"), tmp_path / "pipe"), store)
    scene = project(tmp_path)
    (tmp_path / "tex" / "1.png").unlink()
    assert "tex/1.png can't be read" in refused(scene, store)


def test_whole_paths_of_this_machine_are_refused_where_a_renderer_can_t_be_told_of_others(
    tmp_path: Path, store: Store
) -> None:
    texture = write(tmp_path / "wood.png")
    scene = scene_of(write(tmp_path / "s.pov"), texture)
    named = dataclasses.replace(scene, assets=(dataclasses.replace(scene.assets[0], used_by=str(texture)),))
    assert paths(collect(named, store)) == ["s.pov", "wood.png"]
    assert str(texture) in refused(dataclasses.replace(named, renderer="povray"), store)


# What must be sent


def test_what_was_uploaded_is_not_sent_again_and_what_changed_or_was_deleted_is(
    way: str, tmp_path: Path, store: Store, storage: Storage
) -> None:
    scene = project(tmp_path, 20)
    manifest = collect(scene, store)
    assert len(missing(manifest, new_storage())) == 21, "a plan needs no container"
    sent(manifest, storage)
    sent(collect(project(tmp_path / "somebody else's", 5), store), storage)
    assert missing(manifest, storage) == ()
    storage.at(storage.assets).delete(manifest.files[1].sha256)
    assert missing(manifest, storage) == (manifest.files[1],)
    write(tmp_path / "tex" / "1.png", b"new")
    changed = {file.path for file in sent(collect(scene, store), storage)}
    assert changed == {"tex/1.png", manifest.files[1].path}


@pytest.mark.parametrize(("most", "looks"), [(1000, 1), (2, 22)], ids=["not many", "very many"])
def test_assets_are_listed_unless_there_are_very_many_of_them(
    most: int, looks: int, tmp_path: Path, store: Store, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_FEW", 1)
    monkeypatch.setattr(uploads, "_LISTED_PER_LOOK", most)
    manifest = collect(project(tmp_path, 20), store)
    sent(manifest, storage)
    seen = asked(storage, monkeypatch)
    assert missing(manifest, storage) == ()
    found = sum(line.startswith(f"HEAD /{ACCOUNT}/{storage.assets}/") for line in seen)
    assert found == looks, "one of them asks for the time"


def test_an_old_asset_that_is_needed_is_made_young(tmp_path: Path, store: Store, storage: Storage) -> None:
    manifest = collect(project(tmp_path), store)
    sent(manifest, storage)
    before = {blob.name: blob.etag for blob in storage.at(storage.assets).blobs()}
    missing(manifest, storage, grace=timedelta(days=1))
    assert {blob.name: blob.etag for blob in storage.at(storage.assets).blobs()} == before
    missing(manifest, storage, grace=timedelta(seconds=-20))
    after = {blob.name: blob.etag for blob in storage.at(storage.assets).blobs()}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())


# Sending


def test_every_blob_holds_the_bytes_of_its_name_and_goes_once(
    tmp_path: Path, store: Store, storage: Storage
) -> None:
    scene, before = project(tmp_path), threading.active_count()
    large = write(tmp_path / "large.vdb", os.urandom(2 * BLOCK_BYTES + 5))
    same = [write(tmp_path / name, b"same") for name in ("a.png", "b.png")]
    extra = tuple(
        Asset(str(path), "volume", True) for path in (large, *same, write(tmp_path / "empty.txt", b""))
    )
    manifest = collect(dataclasses.replace(scene, assets=(*scene.assets, *extra)), store)
    files = {file.sha256: file.bytes for file in manifest.files}
    assert upload(manifest, missing(manifest, storage), storage) == sum(files.values())
    assert names(storage) == files.keys()
    assert len(files) == 7
    for name in names(storage):
        assert hashlib.sha256(storage.at(storage.assets).read(name)).hexdigest() == name
    wait_for(lambda: threading.active_count() <= before, "the end of all threads")


@pytest.mark.parametrize("size", [1000, BLOCK_BYTES + 1000], ids=["small", "large"])
@pytest.mark.parametrize("more", [0, 1, -1], ids=["other bytes", "longer", "shorter"])
def test_a_file_that_changes_before_it_is_sent_is_never_published(
    size: int, more: int, tmp_path: Path, store: Store, storage: Storage
) -> None:
    texture = write(tmp_path / "wood.png", os.urandom(size))
    manifest = collect(scene_of(write(tmp_path / "s.blend", b"s"), texture), store)
    planned = missing(manifest, storage)
    write(texture, os.urandom(size + more))
    with pytest.raises(InputError, match=r"wood\.png changed while it was being uploaded"):
        upload(manifest, planned, storage)
    assert names(storage) <= {hashlib.sha256(b"s").hexdigest()}


def test_two_who_send_the_same_at_once_both_succeed(tmp_path: Path, store: Store, storage: Storage) -> None:
    scene = project(tmp_path, 10)
    large = write(tmp_path / "large", os.urandom(BLOCK_BYTES + 1))
    scene = dataclasses.replace(scene, assets=(*scene.assets, Asset(str(large), "volume", True)))
    manifest = collect(scene, store)
    planned = missing(manifest, storage)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: upload(manifest, planned, storage), range(2)))
    assert missing(manifest, storage) == ()


def test_blocks_of_a_large_file_that_were_sent_are_not_sent_again(
    tmp_path: Path, store: Store, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = write(tmp_path / "large.vdb", os.urandom(4 * BLOCK_BYTES + 1))
    manifest = collect(scene_of(write(tmp_path / "s.blend"), large), store)
    planned = missing(manifest, storage)

    sending = send(uploads.uploads(manifest, planned), storage.at(storage.assets), 1)
    arrived = 0
    while arrived < 2 * BLOCK_BYTES:
        arrived += next(sending)
    sending.close()
    staged = len(storage.at(storage.assets).staged(sha256(large)))
    seen = asked(storage, monkeypatch)
    upload(manifest, planned, storage)
    puts = sum("comp=block&" in line for line in seen)
    assert staged >= 2
    assert puts == 5 - staged
    assert missing(manifest, storage) == ()


PROGRAM = """
import sys, time
from pathlib import Path
from renderfarm.queues.azure.on_node.manifest import from_json
from renderfarm.queues.azure.uploads import missing, send, uploads
from tests.azure_storage import account
manifest = from_json(Path(sys.argv[1]).read_text())
storage = account(sys.argv[2], sys.argv[3])
for size in send(uploads(manifest, missing(manifest, storage)), storage.at(storage.assets)):
    print(size, flush=True)
    time.sleep(0.02)
"""


@pytest.mark.slow
def test_what_was_sent_before_a_kill_is_not_sent_again(tmp_path: Path, store: Store, storage: Storage) -> None:
    manifest = collect(project(tmp_path, 60), store)
    description = write(tmp_path / "manifest.json", to_json(manifest).encode())
    argv = [sys.executable, "-c", PROGRAM, str(description), storage.url, storage.prefix]
    folder = Path(__file__).parents[1]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=folder) as sender:
        assert sender.stdout is not None
        for _ in range(20):
            sender.stdout.readline()
        sender.send_signal(signal.SIGKILL)
    rest = sent(manifest, storage)
    assert 0 < len(rest) <= 41
    assert missing(manifest, storage) == ()


def test_an_upload_goes_on_where_storage_failed(tmp_path: Path, store: Store) -> None:
    manifest, away = collect(project(tmp_path, 3), store), new_storage()
    planned = missing(manifest, away)
    with pytest.raises(PoolError, match="ContainerNotFound"):
        upload(manifest, planned, away)
    away.ensure(away.assets)
    upload(manifest, planned, away)
    assert missing(manifest, away) == ()
