"""Puts renderers' packages onto the node: checked, unpacked beside, then renamed, so none is half there."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from renderfarm.queues.azure.on_node import system
from renderfarm.queues.azure.on_node.exits import FAILED, Exit
from renderfarm.renderers import renderer
from renderfarm.words import stamps
from renderfarm.words.model import Build

MARK = ".sha256"
"""holds the checksum of the file that a folder was unpacked from"""
_PYTHON = re.compile(r"-cp(\d)(\d+)-")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """One thing to install, as the start task's environment says it."""

    kind: str
    """tarball, wheel, deb, distribution or image"""
    name: str
    renderer: str = ""
    version: str = ""
    file: str = ""
    sha256: str = ""


def install(wanted: Wanted, files: Path, renderers: Path) -> list[Build]:
    """Install a package from the folder `files`; the builds that it brought. Raises Exit."""
    if wanted.kind in ("image", "distribution"):
        return []
    if wanted.kind == "deb":
        _verify(files / wanted.file, wanted)
        if not _has_version(wanted):
            system.install([f"./{wanted.file}"])
        return renderer(wanted.renderer).builds()
    unpack = {"tarball": _unpack_tarball, "wheel": _unpack_wheel}[wanted.kind]
    folder = renderers / wanted.name
    if _mark(folder) != wanted.sha256:
        _verify(files / wanted.file, wanted)
        _LOG.info("Unpacking %s.", wanted.file)
        _unpacked(folder, wanted, lambda draft: unpack(files / wanted.file, draft))
    return _builds_in(folder, wanted)


def _unpacked(folder: Path, wanted: Wanted, unpack: Callable[[Path], None]) -> None:
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        unpack(draft)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise Exit(
            FAILED, f"{wanted.file} can't be unpacked: {error}.", "Add it again, or use larger disks."
        ) from error
    (draft / MARK).write_text(wanted.sha256)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def _verify(path: Path, wanted: Wanted) -> None:
    if stamps.sha256(path) != wanted.sha256:
        hint = f"Put it into storage again: renderfarm renderer remove {wanted.name}, then add."
        raise Exit(FAILED, f"{wanted.file} is not the file that was added: its checksum differs.", hint)


def _mark(folder: Path) -> str:
    try:
        return (folder / MARK).read_text()
    except OSError:
        return ""


def _unpack_tarball(file: Path, folder: Path) -> None:
    with tarfile.open(file) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)  # noqa: S202 - its checksum is the one that the user added


def _unpack_wheel(file: Path, folder: Path) -> None:
    """A Python of its own with nothing but the wheel in it, which needs no network."""
    found = _PYTHON.search(file.name)
    python = f"python{found[1]}.{found[2]}" if found else "python3"
    if shutil.which(python) is None:
        hint = "Choose an image that has it (Debian 12 has 3.11), or add a tarball instead."
        raise Exit(FAILED, f"{file.name} needs {python}, which this image doesn't have.", hint)
    made = subprocess.run(
        [python, "-m", "venv", "--without-pip", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise Exit(FAILED, f"{python} can't make an environment: {made.stderr.strip()}")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(next(folder.glob("lib/python*/site-packages")))  # noqa: S202 - checked


def _builds_in(folder: Path, wanted: Wanted) -> list[Build]:
    """What was unpacked, by the names that a renderer's makers give to the program; raises Exit."""
    published = renderer(wanted.renderer).equipment.published
    patterns = [each.program for each in published if each.kind == wanted.kind]
    programs = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    for path in programs:
        if found := renderer(wanted.renderer).builds(str(path)):
            return found
    missing = _missing_libraries(programs[0]) if programs else ""
    message = f"{wanted.name} is unpacked, but does not start on this image.{missing}"
    raise Exit(FAILED, message, "Choose another image.")


def _missing_libraries(program: Path) -> str:
    """Shared libraries that the executable asks for and nobody has, in a sentence."""
    if shutil.which("ldd") is None:
        return ""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    missing = [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]
    return f" It lacks {', '.join(missing)}." if missing else ""


def _has_version(wanted: Wanted) -> bool:
    """Whether the renderer is there in just this version."""
    found = renderer(wanted.renderer).builds()
    return any(".".join(map(str, build.version)).startswith(wanted.version) for build in found)
