"""Reads what must be known of a .blend before any Blender starts: who saved it, who may open it, what it names.

A Blender that is too old crashes on newer files instead of refusing them, so the file itself is asked. The
format: a header, then blocks up to ENDB; GLOB holds the oldest version that may read the file. Since 3.0 files
may be compressed with Zstandard, before with gzip.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import itertools
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from renderfarm.errors import SceneError
from renderfarm.renderers import Preread

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SEEK_TABLE_END = b"\xb1\xea\x92\x8f"
_OLD_HEADER = re.compile(rb"BLENDER([-_])([vV])(\d)(\d\d)")
_NEW_HEADER = re.compile(rb"BLENDER(\d\d)-(\d\d)v(\d\d)(\d\d)")
_UNPACK_LIMIT_BYTES = 256 << 20
"""Compressed files are only walked this far; GLOB is at their start."""
_LIBRARY = b"LI\0\0"
_WANTED = (b"GLOB", _LIBRARY, *(b"%s\0\0" % code for code in (b"IM", b"SO", b"MC", b"VF", b"CF", b"VO")))
"""Block codes: what the file says of itself, and data-blocks that are read from files."""
_PATH = re.compile(rb"(?<=\0)//?[^\0/][^\0]{0,1022}(?=\0)")
"""a text in a block that may be a file's name"""
_MOST_LIBRARIES = 500
_MOST_BLOCKS = 2_000_000
"""that are looked at, a few seconds' worth; what compresses well may have any number"""


@dataclass(frozen=True)
class _Header:
    saved_with: str
    order: str
    block: struct.Struct
    long_blocks: bool


@dataclass(frozen=True)
class _Block:
    code: bytes
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


def _read(path: Path) -> _Blend | None:
    """Header and telling blocks; None when the file can't be looked into on this machine."""
    try:
        with path.open("rb") as file:
            return _read_open(path, file)
    except OSError as error:
        raise SceneError(f"{path} can't be read: {error.strerror or error}.", "Is the disk there?") from error


def _read_open(path: Path, file: BinaryIO) -> _Blend | None:
    magic = file.read(4)
    file.seek(0)
    if not magic:
        raise SceneError(f"{path} is empty.", "Save the scene again from Blender.")
    if magic.startswith(_GZIP):
        return _walk(path, cast("BinaryIO", gzip.GzipFile(fileobj=file)))
    if magic == _ZSTD:
        return _read_zstd(path, file)
    return _walk(path, file, os.fstat(file.fileno()).st_size)


def _read_zstd(path: Path, file: BinaryIO) -> _Blend | None:
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
        return _walk(path, reader)
    except zstandard.ZstdError as error:
        raise _damaged(path) from error


def _walk(path: Path, source: BinaryIO, size: int | None = None) -> _Blend:
    """What a file tells that can be read onwards; its size is known unless it is compressed."""
    try:
        header = _header(path, source)
        blocks = tuple(_blocks(path, source, header, size))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path) from error
    return _Blend(header, blocks)


def _header(path: Path, source: BinaryIO) -> _Header:
    start = source.read(12)
    old = _OLD_HEADER.fullmatch(start)
    if old:
        order, pointer = "<" if old[2] == b"v" else ">", "I" if old[1] == b"_" else "Q"
        block = struct.Struct(f"{order}4si{pointer}ii")
        return _Header(f"{int(old[3])}.{int(old[4])}", order, block, long_blocks=False)
    new = _NEW_HEADER.fullmatch(start + source.read(5))
    if new:
        return _Header(f"{int(new[3])}.{int(new[4])}", "<", struct.Struct("<4siQqq"), long_blocks=True)
    if b"BLENDER".startswith(start[:7]) or start.startswith(b"BLENDER"):
        raise _truncated(path)
    raise SceneError(f"{path} is not a Blender file.", "Name a file that Blender saved.")


def _blocks(path: Path, source: BinaryIO, header: _Header, size: int | None) -> Iterator[_Block]:
    """The blocks that tell something; raises SceneError when the file ends before ENDB."""
    layout = header.block
    for _ in range(_MOST_BLOCKS):
        head = source.read(layout.size)
        if head[:4] == b"ENDB":
            source.read(1)  # makes gzip check its trailer
            return
        if len(head) < layout.size:
            raise _truncated(path)
        code, *numbers = layout.unpack(head)
        length = numbers[2] if header.long_blocks else numbers[0]
        end = source.tell() + length
        if size is None and end > _UNPACK_LIMIT_BYTES:
            return
        if length < 0 or not code.strip(b"\0") or (size is not None and end > size):
            raise _truncated(path)
        if code in _WANTED:
            data = source.read(length)
            if len(data) < length:
                raise _truncated(path)
            yield _Block(code, data)
        else:
            source.seek(length, os.SEEK_CUR)


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
    """Existing files beyond the scene's own folder that it, or a library it links, refers to.

    They are shown to Blender before it asks; it says itself what it needs of them.
    """
    home = Path(os.path.normpath(path.absolute().parent))
    found: set[Path] = set()
    seen: set[Path] = set()
    ahead: list[tuple[Path, _Blend]] = [(home, blend)]
    while ahead and len(seen) < _MOST_LIBRARIES:
        folder, current = ahead.pop()
        named = [(each.code, name) for each in current.blocks for name in _PATH.findall(each.data)]
        for code, name in named:
            file = _located(folder, name)
            if file.name and not file.is_relative_to(home):
                found.add(_shown(file))
            if code == _LIBRARY and file not in seen:
                seen.add(file)
                ahead.extend(_library(file))
    return {file for file in found if file != home and os.path.exists(file)}  # noqa: PTH110


def _shown(file: Path) -> Path:
    """The file, or its folder where there are several of it: pictures of a sequence, tiles."""
    pattern = re.sub(r"\d+|<\w+>", "*", glob.escape(file.name))
    alike = glob.iglob(pattern, root_dir=file.parent)  # noqa: PTH207 - pathlib raises where a name is too long
    return file if all(each == file.name for each in itertools.islice(alike, 2)) else file.parent


def _library(file: Path) -> Iterator[tuple[Path, _Blend]]:
    """A linked file's content, for what it links in turn; a bad one is for the inspection to report."""
    with contextlib.suppress(SceneError):
        if blend := _read(file):
            yield file.parent, blend


def _located(folder: Path, name: bytes) -> Path:
    relative = name.startswith(b"//")
    text = os.fsdecode(name[2:] if relative else name).replace("\\", "/" if relative else "\\")
    return Path(os.path.normpath(folder / text))
