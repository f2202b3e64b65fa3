"""Is this machine (and a pool) ready? What is installed, what is missing, and the commands that mend it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from renderfarm.errors import InputError, RendererMissingError, RenderfarmError
from renderfarm.job.home import farm_home
from renderfarm.node import sandbox, trace
from renderfarm.queues import capacity, open_pool, open_remote_side
from renderfarm.queues.remote_side import Check
from renderfarm.renderers import Abilities, Renderer, renderers
from renderfarm.renderers.asking import ASK_SECONDS, surroundings
from renderfarm.renderers.blender import builds, wheels
from renderfarm.settings import config
from renderfarm.words.renderers import RENDERERS
from renderfarm.words.work import Build

ENCODERS = ("libx264", "libx265", "prores_ks", "libvpx-vp9", "gif")
NEEDED_ENCODERS = frozenset({"libx264"})
APT = "apt-get install -y "
CONFINED = "scenes can't reach your files or the network"
TRACED = "a frame is known again by the files that were opened for it"
LOW_DISK_BYTES = 2 << 30
SHARES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "sshfs", "ceph", "glusterfs", "lustre", "beegfs", "afs"}
)
"""file systems that several machines may have; who writes to SQLite's journal must share memory"""
PACKAGES = {"ffmpeg": "ffmpeg", "bwrap": "bubblewrap", "strace": "strace"}
"""program to its package in Debian and Ubuntu, besides those of renderers"""
TAIL_LINES = 5


def examine(pool: str = "local") -> list[Check]:
    """Everything that the main job stands on, in the order in which to mend it."""
    found = {each: each.builds() for each in renderers() if each.equipment.remedy}
    return [
        *(item for each in found for item in _renderers(each, found)),
        *_ffmpeg(),
        _useful("sandbox", sandbox.obstacle(), "bwrap", f"bubblewrap, {shutil.which('bwrap')}: {CONFINED}"),
        _useful("tracing", trace.obstacle(), "strace", f"strace: {TRACED}"),
        *_home(),
        _machine(),
        *cards(),
        *_pool(pool),
    ]


def _renderers(of: Renderer, found: Mapping[Renderer, Sequence[Build]]) -> Iterator[Check]:
    """The builds of one renderer, which is needed where there is no other one."""
    installed, title = found[of], RENDERERS[of.name].title
    needed = not any(there for other, there in found.items() if other is not of)
    if not installed:
        yield Check(title, False, "not installed", of.equipment.remedy, needed=needed)
    for build in installed:
        try:
            facts = "; ".join((f"{build.label}, {build.path}", *_facts(of.abilities(build))))
        except RendererMissingError as error:
            yield Check(title, False, error.message, error.hint, needed=needed and len(installed) == 1)
        else:
            yield Check(title, True, facts, needed=needed)


def _facts(found: Abilities) -> Iterator[str]:
    """Engines, denoiser and devices of a renderer that has engines, and its licence."""
    if found.engines:
        yield f"engines {', '.join(found.engines)}"
        yield "with OpenImageDenoise" if found.denoiser else "without OpenImageDenoise"
        yield f"devices {', '.join(found.devices)}"
    if found.licence:
        yield f"licence {found.licence}"


def _ffmpeg() -> Iterator[Check]:
    from renderfarm.pictures.ffmpeg import encoders, find_ffmpeg

    try:
        path = find_ffmpeg()
    except RenderfarmError as error:
        yield Check("ffmpeg", False, error.message, f"{APT}ffmpeg  (or: pip install imageio-ffmpeg)")
        return
    offered = encoders(path)
    have = [name for name in ENCODERS if name in offered]
    lacking = sorted(NEEDED_ENCODERS.difference(offered))
    said = subprocess.run(
        [path, "-version"], capture_output=True, text=True, check=False, env=surroundings()
    ).stdout
    detail = f"{path}, version {''.join(said.split(' ')[2:3])}; encoders {', '.join(have)}"
    yield Check("ffmpeg", not lacking, detail, f"{APT}ffmpeg" if lacking else "")


def _useful(name: str, obstacle: str, program: str, use: str) -> Check:
    """A program that nothing stands or falls with."""
    remedy = f"{APT}{PACKAGES[program]}" if obstacle else ""
    return Check(name, not obstacle, obstacle or use, remedy, needed=False)


def _home() -> Iterator[Check]:
    home = farm_home()
    free = shutil.disk_usage(home).free
    ok = free > LOW_DISK_BYTES
    detail = f"{home}, {free / (1 << 30):.0f} GiB free"
    yield Check("farm home", ok, detail, "" if ok else "make room, or set RENDERFARM_HOME to a larger disk")
    if kind := network_share(home):
        detail = f"it lies on a network's share ({kind}), where two workstations can damage its database"
        yield Check("farm home", False, detail, "set RENDERFARM_HOME to a disk of each machine", needed=False)


def network_share(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The kind of file system that a folder is on, where that is a network's; else empty."""
    there = (line.split()[1:3] for line in reversed(mounts.read_text(errors="replace").splitlines()))
    spelled = ((re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place), kind) for place, kind in there)
    around = [(Path(place), kind) for place, kind in spelled if folder.resolve().is_relative_to(place)]
    kind = max(around, key=lambda each: len(each[0].parts), default=(folder, ""))[1]
    return kind if kind.removeprefix("fuse.") in SHARES else ""


def _machine() -> Check:
    machine = capacity.this_machine()
    detail = f"{machine.cores} cores, {machine.memory_bytes / (1 << 30):.0f} GiB of memory"
    return Check("machine", True, detail, needed=False)


def cards(drivers: Path = Path("/sys/class/drm")) -> Iterator[Check]:
    """Each graphics card, with its memory: what NVIDIA's own program says, and the others' drivers."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        argv = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        said = subprocess.run(
            argv, capture_output=True, text=True, check=False, env=surroundings(), timeout=ASK_SECONDS
        )
        for number, line in enumerate(said.stdout.splitlines() if said.returncode == 0 else ()):
            yield Check(f"graphics card {number}", True, line.strip(), needed=False)
    for memory in sorted(drivers.glob("card[0-9]*/device/mem_info_vram_total")):
        name = memory.with_name("product_name")
        known = name.read_text().strip() if name.exists() else memory.parent.parent.name
        detail = f"{known}, {int(memory.read_text()) >> 20} MiB"
        yield Check("graphics card", True, detail, needed=False)


def _pool(name: str) -> Iterator[Check]:
    """The pool itself, and what a remote one stands on."""
    try:
        found = config.load().pool(name)
        open_pool(found).close()
        if not found.remote:
            yield Check(f"pool {name}", True, "ready")
            return
        with contextlib.closing(open_remote_side(found)) as side:
            for check in side.doctor():
                yield replace(check, name=f"{name}: {check.name}")
    except RenderfarmError as error:
        yield Check(f"pool {name}", False, error.message, error.hint)


# What is left to install


@dataclass(frozen=True)
class Step:
    """One command, and whether only root may run it."""

    what: str
    command: Sequence[str]
    root: bool = False
    seconds: float | None = None
    """that it may take"""

    @property
    def allowed(self) -> bool:
        """Whether this user may run it."""
        return not self.root or os.geteuid() == 0

    def take(self) -> str:
        """Run it; the last that it said where it went wrong, else empty."""
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        how: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "env": quiet}
        try:
            done = subprocess.run(self.command, timeout=self.seconds, check=False, **how)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
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
