"""Is this machine (and a pool) ready? What is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from renderfarm.errors import RendererMissingError, RenderfarmError
from renderfarm.job.home import farm_home
from renderfarm.node import sandbox, trace
from renderfarm.queues import capacity, open_pool, open_remote_side
from renderfarm.renderers import Abilities, Renderer, renderers
from renderfarm.renderers.asking import surroundings
from renderfarm.settings import config
from renderfarm.words.renderers import RENDERERS
from renderfarm.words.work import Build

ENCODERS = ("libx264", "libx265", "prores_ks", "libvpx-vp9", "gif")
NEEDED_ENCODERS = frozenset({"libx264"})
APT = "apt-get install -y "
LOW_DISK_BYTES = 2 << 30


@dataclass(frozen=True)
class Item:
    """One thing that was looked at."""

    name: str
    ok: bool
    needed: bool
    """whether the main job can't run without it"""
    detail: str
    remedy: str
    """the command that mends it; empty when it is fine"""


def examine(pool: str = "local") -> list[Item]:
    """Everything that the main job stands on, in the order in which to mend it."""
    found = {each: each.builds() for each in renderers() if each.equipment.remedy}
    return [
        *(item for each in found for item in _renderers(each, found)),
        *_ffmpeg(),
        _sandbox(),
        _tracing(),
        _home(),
        _machine(),
        *_pool(pool),
    ]


def _renderers(of: Renderer, found: Mapping[Renderer, Sequence[Build]]) -> Iterator[Item]:
    """The builds of one renderer, which is needed where there is no other one."""
    builds, title = found[of], RENDERERS[of.name].title
    needed = not any(builds for other, builds in found.items() if other is not of)
    if not builds:
        yield Item(title, False, needed, "not installed", of.equipment.remedy)
    for build in builds:
        try:
            facts = "; ".join((f"{build.label}, {build.path}", *_facts(of.abilities(build))))
        except RendererMissingError as error:
            yield Item(title, False, needed and len(builds) == 1, error.message, error.hint)
        else:
            yield Item(title, True, needed, facts, "")


def _facts(found: Abilities) -> Iterator[str]:
    """Engines, denoiser and devices of a renderer that has engines, and its licence."""
    if found.engines:
        yield f"engines {', '.join(found.engines)}"
        yield "with OpenImageDenoise" if found.denoiser else "without OpenImageDenoise"
        yield f"devices {', '.join(found.devices)}"
    if found.licence:
        yield f"licence {found.licence}"


def _ffmpeg() -> Iterator[Item]:
    from renderfarm.pictures.encoding import encoders, find_ffmpeg

    try:
        path = find_ffmpeg()
    except RenderfarmError as error:
        yield Item("ffmpeg", False, True, error.message, f"{APT}ffmpeg  (or: pip install imageio-ffmpeg)")
        return
    offered = encoders(path)
    have = [name for name in ENCODERS if name in offered]
    lacking = sorted(NEEDED_ENCODERS.difference(offered))
    said = subprocess.run(
        [path, "-version"], capture_output=True, text=True, check=False, env=surroundings()
    ).stdout
    detail = f"{path}, version {''.join(said.split(' ')[2:3])}; encoders {', '.join(have)}"
    yield Item("ffmpeg", not lacking, True, detail, f"{APT}ffmpeg" if lacking else "")


def _sandbox() -> Item:
    obstacle = sandbox.obstacle()
    detail = obstacle or f"bubblewrap, {shutil.which('bwrap')}: scenes can't reach your files or the network"
    return Item("sandbox", not obstacle, False, detail, f"{APT}bubblewrap" if obstacle else "")


def _tracing() -> Item:
    obstacle = trace.obstacle()
    detail = obstacle or "strace: a frame is known again by the files that were opened for it"
    return Item("tracing", not obstacle, False, detail, f"{APT}strace" if obstacle else "")


def _home() -> Item:
    home = farm_home()
    free = shutil.disk_usage(home).free
    ok = free > LOW_DISK_BYTES
    detail = f"{home}, {free / (1 << 30):.0f} GiB free"
    return Item(
        "farm home", ok, True, detail, "" if ok else "make room, or set RENDERFARM_HOME to a larger disk"
    )


def _machine() -> Item:
    machine = capacity.this_machine()
    detail = f"{machine.cores} cores, {machine.memory_bytes / (1 << 30):.0f} GiB of memory"
    return Item("machine", True, False, detail, "")


def _pool(name: str) -> Iterator[Item]:
    """The pool itself, and what a remote one stands on."""
    try:
        found = config.load().pool(name)
        open_pool(found).close()
        if not found.remote:
            yield Item(f"pool {name}", True, True, "ready", "")
            return
        with contextlib.closing(open_remote_side(found)) as side:
            for check in side.doctor():
                yield Item(f"{name}: {check.name}", check.ok, True, check.detail, check.remedy)
    except RenderfarmError as error:
        yield Item(f"pool {name}", False, True, error.message, error.hint)
