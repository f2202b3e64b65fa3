"""Packs the node program into one zipapp file that any Python >= 3.10 runs.

The same sources give the same bytes on every machine, so the file can be named by its checksum.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

PARTS = (
    "errors.py",
    "words/__init__.py",
    "words/as_json.py",
    "words/devices.py",
    "words/files.py",
    "words/renderers.py",
    "words/request.py",
    "words/scene.py",
    "words/stamps.py",
    "words/states.py",
    "words/status.py",
    "words/temporary.py",
    "words/updates.py",
    "words/work.py",
    "renderers",
    "job/__init__.py",
    "job/events.py",
    "job/journal.py",
    "job/fold.py",
    "job/home.py",
    "job/ledger.py",
    "job/pace.py",
    "job/retry.py",
    "depots/__init__.py",
    "depots/folder.py",
    "node",
)
"""All that a node needs of the package"""
_PACKAGE = Path(__file__).resolve().parent.parent
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""the oldest date that a zip knows"""
_MAIN = """\
import importlib, sys
more = {more!r}
name, arguments = "renderfarm.node.__main__", sys.argv[1:]
if arguments and arguments[0] in more:
    name, arguments = more[arguments[0]], arguments[1:]
sys.exit(importlib.import_module(name).main(arguments))
"""


def build(target: Path, extra: tuple[str, ...] = (), commands: Mapping[str, str] | None = None) -> Path:
    """Write the archive; `python target task ORDER NUMBER NODE CORES MEGABYTES` then renders a task.

    `extra` names more modules and folders of the package; `commands` maps a first argument to the module whose
    `main` gets the others.
    """
    contents = {"__main__.py": _MAIN.format(more=dict(commands or {})).encode()}
    for part in (*PARTS, *extra):
        contents.update(_files(part))
    for folder in {parent for name in contents for parent in Path(name).parents} - {Path()}:
        contents.setdefault(f"{folder}/__init__.py", b"")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # zlib's bytes differ between versions
        for name in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), contents[name])
    target.write_bytes(b"#!/usr/bin/env python3\n" + buffer.getvalue())
    return target


def _files(part: str) -> Iterator[tuple[str, bytes]]:
    """A module or the files of a folder, by their names in the archive."""
    source = _PACKAGE / part
    for path in [source] if source.is_file() else source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(_PACKAGE.parent).as_posix(), path.read_bytes()
