from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import pytest
import zstandard
from blender_scenes import has_blender, has_bpy, make_scene, write_png

from renderfarm.errors import SceneError
from renderfarm.renderers.blender.blendfile import preread

needs_any = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here to save a scene")
needs_bpy = pytest.mark.skipif(not has_bpy(), reason="bpy is not installed")
needs_34 = pytest.mark.skipif(not has_blender(), reason="no blender executable on PATH")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene(tmp_path_factory.mktemp("scene") / "cube.blend")


def handmade(order: str, pointer: bytes, *, version: bytes = b"279", minimum: int = 270) -> bytes:
    """A .blend of header, GLOB and ENDB, as old machines wrote it."""
    layout = struct.Struct(f"{order}4si{'I' if pointer == b'_' else 'Q'}ii")
    glob = struct.pack(f"{order}4shhh", b"0000", 0, minimum, 0)
    header = b"BLENDER" + pointer + (b"v" if order == "<" else b"V") + version
    return header + layout.pack(b"GLOB", len(glob), 1, 0, 1) + glob + layout.pack(b"ENDB", 0, 0, 0, 0)


@needs_34
def test_an_old_header_tells_version_and_minimum(tmp_path: Path) -> None:
    read = preread(make_scene(tmp_path / "old.blend", saver="blender"))
    assert read.saved_with == "3.4"
    assert read.needs <= (3, 4)


@needs_bpy
def test_the_header_of_blender_5_tells_version_and_minimum(tmp_path: Path) -> None:
    read = preread(make_scene(tmp_path / "new.blend", saver="bpy"))
    assert read.saved_with == "5.0"
    assert read.needs == (4, 5)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pointer", [b"_", b"-"])
def test_every_pointer_size_and_byte_order_is_read(tmp_path: Path, order: str, pointer: bytes) -> None:
    path = tmp_path / "old.blend"
    path.write_bytes(handmade(order, pointer))
    assert preread(path).saved_with == "2.79"
    assert preread(path).needs == (2, 70)


@needs_any
def test_a_gzip_file_reads_like_the_plain_one(tmp_path: Path, scene: Path) -> None:
    packed = tmp_path / "packed.blend"
    packed.write_bytes(gzip.compress(scene.read_bytes(), mtime=0))
    assert preread(packed) == preread(scene)


@needs_any
def test_a_scene_that_blender_compressed_reads_like_the_plain_one(tmp_path: Path, scene: Path) -> None:
    packed = make_scene(tmp_path / "packed.blend", compress=True)
    assert packed.read_bytes()[:4] == b"\x28\xb5\x2f\xfd"
    assert preread(packed) == preread(scene)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"BLEN", "cut short"),
        (b"BLENDER-v3", "cut short"),
        (b"x", "not a Blender file"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 400, "not a Blender file"),
        (b'#include "shapes.inc"\n' * 40, "not a Blender file"),
        (b"\x1f\x8b" + b"garbage" * 9, "damaged compressed"),
        (b"\x28\xb5\x2f\xfd" + b"garbage" * 9, "damaged compressed"),
        (gzip.compress(b"no scene in here", mtime=0), "not a Blender file"),
        (gzip.compress(b"BLENDER-v279" + bytes(100 << 20), 1, mtime=0), "cut short"),
        (zstandard.compress(b"no scene in here"), "not a Blender file"),
    ],
)
def test_a_file_that_is_no_scene_is_refused_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.blend"
    path.write_bytes(content)
    with pytest.raises(SceneError, match=said) as caught:
        preread(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@needs_any
@pytest.mark.parametrize("pack", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("left", [0.3, 0.9, 0.9999])
def test_a_truncated_scene_is_noticed(tmp_path: Path, scene: Path, pack: str, left: float) -> None:
    packers = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}
    whole = packers[pack](scene.read_bytes())
    path = tmp_path / "short.blend"
    path.write_bytes(whole[: int(len(whole) * left)])
    with pytest.raises(SceneError, match=r"cut short|damaged"):
        preread(path)


@needs_any
def test_a_block_with_a_nonsense_length_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "bad.blend"
    good = handmade("<", b"-")
    path.write_bytes(good[:16] + struct.pack("<i", -5) + good[20:])
    with pytest.raises(SceneError):
        preread(path)


def test_a_huge_scene_is_not_read_into_memory(tmp_path: Path) -> None:
    """A sparse block of 8 GB: reading it would take minutes and all memory."""
    path = tmp_path / "huge.blend"
    layout = struct.Struct("<4siQqq")
    size = 8 << 30
    with path.open("wb") as file:
        file.write(b"BLENDER17-01v0500" + layout.pack(b"DATA", 0, 1, size, 1))
        file.seek(size, os.SEEK_CUR)
        file.write(layout.pack(b"ENDB", 0, 0, 0, 0))
    assert preread(path).saved_with == "5.0"


@needs_any
@pytest.mark.parametrize("saver", ["bpy", "blender"])
def test_only_existing_files_outside_the_folder_are_named(tmp_path: Path, saver: str) -> None:
    if not {"bpy": has_bpy, "blender": has_blender}[saver]():
        pytest.skip(f"{saver} is not installed")
    write_png(tmp_path / "shared" / "outside.png")
    write_png(tmp_path / "shot" / "beside.png")
    names = ("//../shared/outside.png", "//beside.png", "//../shared/missing.png")
    script = f"for name in {names}: textured(name, name)"
    scene = make_scene(tmp_path / "shot" / "s.blend", script=script, saver=saver)
    assert preread(scene).paths == (str(tmp_path / "shared" / "outside.png"),)


@needs_any
def test_a_sequence_outside_is_named_by_its_folder(tmp_path: Path) -> None:
    for number in (1, 2):
        write_png(tmp_path / "shared" / f"seq_000{number}.png")
    script = 'textured("T", "//../shared/seq_0001.png", "SEQUENCE")'
    scene = make_scene(tmp_path / "shot" / "s.blend", script=script)
    assert preread(scene).paths == (str(tmp_path / "shared"),)


def test_what_is_no_name_of_a_file_is_none(tmp_path: Path) -> None:
    block = struct.Struct("<4siQii")
    names = b"\0".join([b"", b"/" + b"a" * 600, b"//" + b"../" * 40, b"/\xff[<UDIM>1**", b"/\x01/\x02", b""])
    whole = handmade("<", b"-")
    path = tmp_path / "s.blend"
    path.write_bytes(whole[:12] + block.pack(b"IM\0\0", len(names), 1, 0, 1) + names + whole[12:])
    assert preread(path).paths == ()


@needs_any
def test_what_a_linked_library_refers_to_is_named_too(tmp_path: Path) -> None:
    write_png(tmp_path / "textures" / "deep.png")
    library = make_scene(
        tmp_path / "library" / "props.blend",
        script='made, _ = textured("T", "//../textures/deep.png"); cube.data.materials[0] = made',
    )
    link = f"""
with bpy.data.libraries.load({str(library)!r}, link=True) as (there, here):
    here.objects = ["Cube"]
scene.collection.objects.link(here.objects[0])
"""
    scene = make_scene(tmp_path / "shot" / "s.blend", script=link)
    assert set(preread(scene).paths) == {str(library), str(tmp_path / "textures" / "deep.png")}
