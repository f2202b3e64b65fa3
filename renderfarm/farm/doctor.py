"""Is this machine (and a pool) ready? What is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from renderfarm.errors import RendererMissingError, RenderfarmError
from renderfarm.job.home import farm_home
from renderfarm.node import sandbox, trace
from renderfarm.queues import capacity, open_pool, open_remote_side
from renderfarm.queues.remote_side import Check
from renderfarm.renderers import Abilities, Renderer, renderers
from renderfarm.renderers.asking import surroundings
from renderfarm.settings import config
from renderfarm.words.renderers import RENDERERS
from renderfarm.words.work import Build

ENCODERS = ("libx264", "libx265", "prores_ks", "libvpx-vp9", "gif")
NEEDED_ENCODERS = frozenset({"libx264"})
APT = "apt-get install -y "
LOW_DISK_BYTES = 2 << 30


def examine(pool: str = "local") -> list[Check]:
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


def _renderers(of: Renderer, found: Mapping[Renderer, Sequence[Build]]) -> Iterator[Check]:
    """The builds of one renderer, which is needed where there is no other one."""
    builds, title = found[of], RENDERERS[of.name].title
    needed = not any(builds for other, builds in found.items() if other is not of)
    if not builds:
        yield Check(title, False, "not installed", of.equipment.remedy, needed=needed)
    for build in builds:
        try:
            facts = "; ".join((f"{build.label}, {build.path}", *_facts(of.abilities(build))))
        except RendererMissingError as error:
            yield Check(title, False, error.message, error.hint, needed=needed and len(builds) == 1)
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
    from renderfarm.pictures.encoding import encoders, find_ffmpeg

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


def _sandbox() -> Check:
    obstacle = sandbox.obstacle()
    detail = obstacle or f"bubblewrap, {shutil.which('bwrap')}: scenes can't reach your files or the network"
    return Check("sandbox", not obstacle, detail, f"{APT}bubblewrap" if obstacle else "", needed=False)


def _tracing() -> Check:
    obstacle = trace.obstacle()
    detail = obstacle or "strace: a frame is known again by the files that were opened for it"
    return Check("tracing", not obstacle, detail, f"{APT}strace" if obstacle else "", needed=False)


def _home() -> Check:
    home = farm_home()
    free = shutil.disk_usage(home).free
    ok = free > LOW_DISK_BYTES
    detail = f"{home}, {free / (1 << 30):.0f} GiB free"
    return Check("farm home", ok, detail, "" if ok else "make room, or set RENDERFARM_HOME to a larger disk")


def _machine() -> Check:
    machine = capacity.this_machine()
    detail = f"{machine.cores} cores, {machine.memory_bytes / (1 << 30):.0f} GiB of memory"
    return Check("machine", True, detail, needed=False)


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
