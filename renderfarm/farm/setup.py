"""What rendering needs on this machine and isn't here, as commands: packages of the system, and a Blender."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from renderfarm.errors import InputError
from renderfarm.renderers import renderers
from renderfarm.renderers.blender import builds, wheels

PACKAGES = {"ffmpeg": "ffmpeg", "bwrap": "bubblewrap", "strace": "strace"}
"""program to its package in Debian and Ubuntu, besides those of renderers"""
TAIL_LINES = 5


@dataclass(frozen=True)
class Step:
    """One command, and whether only root may run it."""

    what: str
    command: tuple[str, ...]
    root: bool = False

    @property
    def allowed(self) -> bool:
        """Whether this user may run it."""
        return not self.root or os.geteuid() == 0

    def take(self) -> str:
        """Run it; the last that it said where it went wrong, else empty."""
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            self.command, capture_output=True, text=True, errors="replace", env=quiet, check=False
        )
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-TAIL_LINES:]
        return "\n".join(said) or f"code {done.returncode}" if done.returncode else ""


def steps(versions: Sequence[str] = ()) -> Iterator[Step]:
    """What is left to do: for these versions of Blender, else for one where there is none.

    Raises InputError where an environment for a Blender can't be made.
    """
    wanted = list(versions) or ([] if builds.builds() else [wheels.NEWEST])
    if missing := _missing_packages():
        yield Step("Asking for the list of packages", ("apt-get", "update"), root=True)
        install = ("apt-get", "install", "-y", "--no-install-recommends", *missing)
        yield Step(f"Installing {' '.join(missing)}", install, root=True)
    for version in wanted:
        yield from _blender(version)


def _missing_packages() -> list[str]:
    """Packages of Debian or Ubuntu that are not installed; elsewhere `doctor` names programs instead."""
    if not shutil.which("dpkg-query") or not shutil.which("apt-get"):
        return []
    found = [each.equipment for each in renderers()]
    named = [name for each in found if each.suffices for name in each.distribution]
    named += [name for each in found for name in each.libraries]
    named += [package for program, package in PACKAGES.items() if not shutil.which(program)]
    return [name for name in dict.fromkeys(named) if not _is_installed(name)]


def _is_installed(package: str) -> bool:
    """Whether dpkg knows it as such; some libraries have other names since 64-bit times (`…t64`)."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", package, f"{package}t64"]
    said = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return "ii" in said


def _blender(version: str) -> Iterator[Step]:
    if sys.prefix == sys.base_prefix:
        message = "A Blender is installed beside renderfarm, and this renderfarm has no environment of its own."
        raise InputError(message, "Install renderfarm with pipx or `uv tool install`, or in a venv.")
    place = wheels.environment(version)
    if any(place.glob("lib/python3*/site-packages/bpy-*.dist-info")):
        return
    commands = wheels.commands(version)
    if commands is None:
        message = (
            f"Blender {version} as a Python package needs Python 3.13 (before 5.1: 3.11), which is not here."
        )
        hint = "Install that Python, or uv (https://docs.astral.sh/uv), or the distribution's blender."
        raise InputError(message, hint)
    make, install = commands
    yield Step(f"Making {place}", make)
    yield Step(f"Installing Blender ({install[-1]}, some 370 MB) into {place}", install)
