"""Puts renderers onto the node: packages, checked and unpacked, and by apt-get what Debian and Ubuntu have."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from renderfarm.queues.azure.on_node.exits import FAILED, Exit
from renderfarm.renderers import renderer
from renderfarm.words import stamps
from renderfarm.words.work import Build, Package

MARK = ".sha256"
"""holds the checksum of the file that a folder was unpacked from"""
SANDBOX = ("bubblewrap",)
_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")
_RESTRICTION = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_PROFILE = Path("/etc/apparmor.d/renderfarm-bwrap")
_PROFILE_TEXT = """\
abi <abi/4.0>,
include <tunables/global>

profile renderfarm-bwrap /usr/bin/bwrap flags=(unconfined) {
  userns,
}
"""
_PYTHON = re.compile(r"-cp(\d)(\d+)-")
_LOG = logging.getLogger(__name__)


def install(wanted: Package, files: Path, renderers: Path) -> list[Build]:
    """Install a package from the folder `files`; the builds that it brought. Raises Exit."""
    if wanted.kind in ("image", "distribution"):
        return []
    if wanted.kind == "deb":
        _verify(files / wanted.file, wanted)
        found = renderer(wanted.renderer).builds()
        if not any(".".join(map(str, build.version)).startswith(wanted.version) for build in found):
            from_distribution([f"./{wanted.file}"])
        return renderer(wanted.renderer).builds()
    unpack = {"tarball": _unpack_tarball, "wheel": _unpack_wheel}[wanted.kind]
    folder = renderers / wanted.name
    if _mark(folder) != wanted.sha256:
        _verify(files / wanted.file, wanted)
        _LOG.info("Unpacking %s.", wanted.file)
        _unpacked(folder, wanted, lambda draft: unpack(files / wanted.file, draft))
    return _builds_in(folder, wanted)


def _unpacked(folder: Path, wanted: Package, unpack: Callable[[Path], None]) -> None:
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


def _verify(path: Path, wanted: Package) -> None:
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
    made = _run(python, "-I", "-m", "venv", "--without-pip", str(folder))
    if made.returncode:
        raise Exit(FAILED, f"{python} can't make an environment: {made.stderr.strip()}")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(next(folder.glob("lib/python*/site-packages")))  # noqa: S202 - checked


def _builds_in(folder: Path, wanted: Package) -> list[Build]:
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
    done = _run("ldd", str(program))
    missing = [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]
    return f" It lacks {', '.join(missing)}." if missing else ""


def from_distribution(names: Sequence[str]) -> None:
    """Install what is not there yet, files (`./x.deb`) included; raises Exit with apt-get's last words."""
    missing = [name for name in names if name.startswith("./") or not _is_installed(name)]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        hint = "Choose an image of Ubuntu or Debian, or one that has all that is needed."
        raise Exit(FAILED, f"This image lacks {', '.join(missing)} and has no apt-get.", hint)
    _LOG.info("Installing %s.", ", ".join(missing))
    if said := _apt("update") or _apt("install", "-y", "--no-install-recommends", *missing):
        hint = "Look whether the pool's network lets nodes reach their distribution, or use a container image."
        raise Exit(FAILED, f"{', '.join(missing)} can't be installed: {said}", hint)


def allow_sandbox() -> None:
    """Let renderers be sandboxed where Ubuntu (from 24.04 on) keeps that from ordinary users; needs root."""
    try:
        restricted = _RESTRICTION.read_text().strip() == "1"
    except OSError:
        return
    if not restricted or os.geteuid() or shutil.which("apparmor_parser") is None:
        return
    _PROFILE.write_text(_PROFILE_TEXT)
    done = _run("apparmor_parser", "-r", str(_PROFILE))
    if done.returncode:
        _LOG.info("Renderers run without a sandbox: %s", done.stderr.strip())


def _is_installed(name: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    # Ubuntu 24.04 renamed some libraries; what provides the old name counts.
    done = _run("dpkg-query", "-W", "-f", "${db:Status-Status}\\n", name, f"{name}t64")
    return "installed" in done.stdout.split()


def _apt(*arguments: str) -> str:
    """Run apt-get; empty, or what went wrong."""
    done = _run(*_APT, *arguments, DEBIAN_FRONTEND="noninteractive")
    if done.returncode == 0:
        return ""
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("E:")] or lines[-1:]
    return telling[0] if telling else f"apt-get ended with {done.returncode}"


def _run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program without input, and keep what it says."""
    own, nothing = {**os.environ, **environment}, subprocess.DEVNULL
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=own, stdin=nothing)
