"""Reads what must be known of a .blend before any Blender starts: who saved it, who may open it, what it names.

A Blender that is too old crashes on newer files instead of refusing them, so the file itself is asked. The
format: a header, then blocks up to ENDB; GLOB holds the oldest version that may read the file, DNA1 the
layout of every structure. Since 3.0 files may be compressed with Zstandard, before with gzip.
"""

from __future__ import annotations

import gzip
import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from renderfarm.errors import SceneError
from renderfarm.renderers import Preread

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SEEK_TABLE_END = b"\xb1\xea\x92\x8f"
_OLD_HEADER = re.compile(rb"BLENDER([-_])([vV])(\d)(\d\d)")
_NEW_HEADER = re.compile(rb"BLENDER(\d\d)-(\d\d)v(\d\d)(\d\d)")
_UNPACK_LIMIT_BYTES = 256 << 20
"""Compressed files are only walked this far; GLOB is at their start."""
_NAMING = {
    b"LI\0\0": "library",
    b"IM\0\0": "image",
    b"SO\0\0": "sound",
    b"MC\0\0": "clip",
    b"VF\0\0": "font",
    b"CF\0\0": "cache",
    b"VO\0\0": "volume",
}
"""Block codes of data-blocks that are read from a file."""
_WANTED = (b"GLOB", b"DNA1", *_NAMING)
_MOST_LIBRARIES = 500
_MOST_BLOCKS = 2_000_000
"""that are looked at, a few seconds' worth; what compresses well may have any number"""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def skip(self, size: int) -> bool:
        """Go forward; False when the file ends before."""


@dataclass(frozen=True)
class _Header:
    saved_with: str
    pointer: int
    order: str
    block: struct.Struct
    long_blocks: bool


@dataclass(frozen=True)
class _Block:
    code: bytes
    structure: int
    data: bytes


@dataclass(frozen=True)
class _Blend:
    header: _Header
    blocks: tuple[_Block, ...]


def preread(path: Path) -> Preread:
    """Version, oldest reader and outside files of a .blend; raises SceneError for anything else."""
    blend = _read(path)
    if blend is None:
        return Preread()
    outside = sorted(str(file) for file in _outside(path, blend))
    return Preread(blend.header.saved_with, _needs(blend), tuple(outside))


def engines(path: Path) -> dict[str, str]:
    """The render engine of each scene as saved; Blender itself forgets the name of one that it doesn't have."""
    blend = _read(path, (b"DNA1", b"SC\0\0"))
    dna = next((block.data for block in blend.blocks if block.code == b"DNA1"), None) if blend else None
    if blend is None or dna is None:
        return {}
    layout = _Layout(dna, blend.header)
    scenes = [block for block in blend.blocks if block.code == b"SC\0\0"]
    return {
        layout.text(scene, "id", "name")[2:]: layout.text(scene, "r", "engine")
        for scene in scenes
        if layout.text(scene, "r", "engine")
    }


def _read(path: Path, wanted: tuple[bytes, ...] = _WANTED) -> _Blend | None:
    """Header and telling blocks; None when the file can't be looked into on this machine."""
    try:
        if path.is_dir():
            raise SceneError(f"{path} is a folder, not a scene.", "Name the .blend file itself.")
        with path.open("rb") as file:
            return _read_open(path, file, wanted)
    except FileNotFoundError as error:
        raise SceneError(f"There is no file {path}.", "Check the spelling of the path.") from error
    except PermissionError as error:
        raise SceneError(f"{path} can't be read: permission denied.", "Allow reading: chmod u+r.") from error
    except OSError as error:
        raise SceneError(f"{path} can't be read: {error.strerror or error}.", "Is the disk there?") from error


def _read_open(path: Path, file: BinaryIO, wanted: tuple[bytes, ...]) -> _Blend | None:
    magic = file.read(4)
    file.seek(0)
    if not magic:
        raise SceneError(f"{path} is empty.", "Save the scene again from Blender.")
    if magic.startswith(_GZIP):
        return _walk(path, _Stream(gzip.GzipFile(fileobj=file)), wanted)
    if magic == _ZSTD:
        return _read_zstd(path, file, wanted)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return _walk(path, _Mapped(mapped), wanted)


def _read_zstd(path: Path, file: BinaryIO, wanted: tuple[bytes, ...]) -> _Blend | None:
    try:
        import zstandard
    except ImportError:
        return None
    file.seek(-4, os.SEEK_END)
    if file.read(4) != _SEEK_TABLE_END and path.stat().st_size > _UNPACK_LIMIT_BYTES:
        raise _truncated(path)
    file.seek(0)
    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    try:
        return _walk(path, _Stream(reader), wanted)
    except zstandard.ZstdError as error:
        raise _damaged(path) from error


class _Mapped:
    """An uncompressed file, of which only the pages that are looked at are read."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.size = data, 0, len(data)

    def read(self, size: int, /) -> bytes:
        part = self.data[self.at : self.at + size]
        self.at += size
        return part

    def skip(self, size: int) -> bool:
        self.at += size
        return self.at <= self.size


class _Stream:
    """A compressed file, which can only be read onwards; at its limit it says so by ending."""

    def __init__(self, file: _Readable) -> None:
        self.file, self.left = file, _UNPACK_LIMIT_BYTES

    def read(self, size: int, /) -> bytes:
        self.left -= size
        if self.left < 0:
            raise _TooLong
        parts = []
        while size > 0 and (part := self.file.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> bool:
        while size > 0:
            part = len(self.read(min(size, 1 << 20)))
            if not part:
                return False
            size -= part
        return True


class _TooLong(Exception):  # noqa: N818 - a signal, not an error
    """A compressed file is longer than we want to unpack."""


def _walk(path: Path, source: _Source, wanted: tuple[bytes, ...]) -> _Blend:
    try:
        header = _header(path, source)
        blocks = tuple(_blocks(path, source, header, wanted))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path) from error
    return _Blend(header, blocks)


def _header(path: Path, source: _Source) -> _Header:
    start = source.read(12)
    old = _OLD_HEADER.fullmatch(start)
    if old:
        order, pointer = "<" if old[2] == b"v" else ">", 4 if old[1] == b"_" else 8
        pointer_code = "I" if pointer == 4 else "Q"
        return _Header(
            f"{int(old[3])}.{int(old[4])}", pointer, order, struct.Struct(f"{order}4si{pointer_code}ii"), False
        )
    new = _NEW_HEADER.fullmatch(start + source.read(5))
    if new:
        return _Header(f"{int(new[3])}.{int(new[4])}", 8, "<", struct.Struct("<4siQqq"), True)
    if b"BLENDER".startswith(start[:7]) or start.startswith(b"BLENDER"):
        raise _truncated(path)
    raise SceneError(f"{path} is not a Blender file.", "Name a file that Blender saved.")


def _blocks(path: Path, source: _Source, header: _Header, wanted: tuple[bytes, ...]) -> Iterator[_Block]:
    """The blocks that tell something; raises SceneError when the file ends before ENDB."""
    layout = header.block
    try:
        for _ in range(_MOST_BLOCKS):
            head = source.read(layout.size)
            if head[:4] == b"ENDB":
                source.read(1)  # makes gzip check its trailer
                return
            if len(head) < layout.size:
                raise _truncated(path)
            code, *numbers = layout.unpack(head)
            structure, length = (numbers[0], numbers[2]) if header.long_blocks else (numbers[2], numbers[0])
            if length < 0 or not code.strip(b"\0"):
                raise _truncated(path)
            if code in wanted:
                data = source.read(length)
                if len(data) < length:
                    raise _truncated(path)
                yield _Block(code, structure, data)
            elif not source.skip(length):
                raise _truncated(path)
    except _TooLong:
        return


def _truncated(path: Path) -> SceneError:
    return SceneError(
        f"{path} is cut short: it ends in the middle.", "Copy it again, or save it again in Blender."
    )


def _damaged(path: Path) -> SceneError:
    return SceneError(f"{path} is a damaged compressed file.", "Copy it again, or save it again in Blender.")


def _needs(blend: _Blend) -> tuple[int, ...]:
    """Oldest (major, minor) that may open the file; its sub-version counts format changes, not releases."""
    for block in blend.blocks:
        if block.code == b"GLOB":
            minimum, _ = struct.unpack_from(f"{blend.header.order}hh", block.data, 6)
            return divmod(minimum, 100) if minimum > 0 else ()
    return ()


def _outside(path: Path, blend: _Blend) -> set[Path]:
    """Existing files and folders beyond the scene's own folder that it, or a library it links, refers to."""
    home = Path(os.path.normpath(path.absolute().parent))
    found: set[Path] = set()
    seen: set[Path] = set()
    ahead: list[tuple[Path, _Blend]] = [(home, blend)]
    while ahead and len(seen) < _MOST_LIBRARIES:
        folder, current = ahead.pop()
        for kind, name, several in _named(current):
            file = _located(folder, name)
            if several:
                file = file.parent
            if home not in file.parents and file != home and file.exists():
                found.add(file)
            if kind == "library" and file not in seen:
                seen.add(file)
                ahead.extend(_library(file))
    return found


def _library(file: Path) -> Iterator[tuple[Path, _Blend]]:
    """A linked file's content, for what it links in turn; a bad one is for the inspection to report."""
    try:
        blend = _read(file)
    except SceneError:
        return
    if blend is not None:
        yield file.parent, blend


def _located(folder: Path, name: bytes) -> Path:
    relative = name.startswith(b"//")
    text = os.fsdecode(name[2:] if relative else name).replace("\\", "/" if relative else "\\")
    return Path(os.path.normpath(folder / text))


def _named(blend: _Blend) -> Iterator[tuple[str, bytes, bool]]:
    """Kind and path of each data-block that is read from a file, and whether it is one of several files."""
    naming = [block for block in blend.blocks if block.code in _NAMING]
    dna = next((block.data for block in blend.blocks if block.code == b"DNA1"), None)
    if not naming or dna is None:
        return
    layout = _Layout(dna, blend.header)
    for block in naming:
        fields = layout.fields(block.structure)
        start, length = fields.get("filepath") or fields.get("name") or (0, 0)
        name = block.data[start : start + length].split(b"\0")[0]
        if name and not name.startswith(b"<"):
            yield _NAMING[block.code], name, _several(_NAMING[block.code], fields, block.data)


def _several(kind: str, fields: dict[str, tuple[int, int]], data: bytes) -> bool:
    """An image sequence (2) or tiled image (6), a clip of pictures (1), a sequence of volumes or caches."""
    if kind in {"image", "clip"}:
        start, _ = fields.get("source", (0, 0))
        return max(data[start : start + 2]) in ({2, 6} if kind == "image" else {1})
    start, length = fields.get("is_sequence", (0, 0))
    return any(data[start : start + length])


class _Layout:
    """DNA1: where the fields of a structure are."""

    def __init__(self, dna: bytes, header: _Header) -> None:
        self.order, self.pointer = header.order, header.pointer
        names, at = self._texts(dna, dna.index(b"NAME") + 4)
        self.names = names
        self.types, at = self._texts(dna, dna.index(b"TYPE", at) + 4)
        at = dna.index(b"TLEN", at) + 4
        self.sizes = struct.unpack_from(f"{self.order}{len(self.types)}h", dna, at)
        at = dna.index(b"STRC", at + 2 * len(self.types)) + 8
        self.structures = list(self._structures(dna, at))

    def _texts(self, dna: bytes, at: int) -> tuple[list[bytes], int]:
        (count,) = struct.unpack_from(f"{self.order}i", dna, at)
        texts = dna[at + 4 :].split(b"\0", count)[:count]
        return texts, at + 4 + sum(map(len, texts)) + count

    def _structures(self, dna: bytes, at: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The type of each structure and its fields: type and name in turn."""
        (count,) = struct.unpack_from(f"{self.order}i", dna, at - 4)
        for _ in range(count):
            kind, fields = struct.unpack_from(f"{self.order}hh", dna, at)
            yield kind, struct.unpack_from(f"{self.order}{2 * fields}h", dna, at + 4)
            at += 4 + 4 * fields

    def text(self, block: _Block, outer: str, inner: str) -> str:
        """A text in a structure that is a field of the block's structure; empty when there is none."""
        start, _ = self.fields(block.structure).get(outer, (0, 0))
        kind = self.kinds(block.structure).get(outer)
        nested = next((n for n, (of, _) in enumerate(self.structures) if of == kind), -1)
        at, size = self.fields(nested).get(inner, (0, 0))
        return block.data[start + at : start + at + size].split(b"\0")[0].decode("utf-8", "replace")

    def kinds(self, structure: int) -> dict[str, int]:
        """Name to type of a structure's fields."""
        _, pairs = self.structures[structure]
        return {self._name(name): kind for kind, name in zip(pairs[::2], pairs[1::2])}  # noqa: B905

    def fields(self, structure: int) -> dict[str, tuple[int, int]]:
        """Name to offset and size of a structure's fields, arrays without their brackets."""
        if not 0 <= structure < len(self.structures):
            return {}
        pairs, at, found = self.structures[structure][1], 0, {}
        for kind, index in zip(pairs[::2], pairs[1::2]):  # noqa: B905 - as long as each other by construction
            name = self.names[index]
            size = self._size(kind, name)
            found[self._name(index)] = (at, size)
            at += size
        return found

    def _name(self, index: int) -> str:
        return self.names[index].split(b"[")[0].decode("ascii", "replace")

    def _size(self, kind: int, name: bytes) -> int:
        single = self.pointer if name.startswith((b"*", b"(*")) else self.sizes[kind]
        for length in re.findall(rb"\[(\d+)\]", name):
            single *= int(length)
        return single
