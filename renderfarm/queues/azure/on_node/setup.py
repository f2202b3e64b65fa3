"""Makes this machine a render node: installs what the pool wants, renders probe frames, writes `node.json`.

A probe frame is of a tiny scene; a node must render it before it may render anything else.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import RendererMissingError
from renderfarm.node.program import Event, Node
from renderfarm.queues.azure.on_node import installation, place
from renderfarm.queues.azure.on_node.exits import FAILED, GOOD, Exit
from renderfarm.queues.azure.on_node.installation import install
from renderfarm.renderers import Abilities, SessionFailure, renderer
from renderfarm.words import files
from renderfarm.words.as_json import read_json, to_json
from renderfarm.words.updates import Failed, Rendered, Trouble
from renderfarm.words.work import Build, Package, Task, Work

USERS_OWN = "users-own.sh"
FRAME_SECONDS = 600.0
"""a GPU compiles its kernels for the first frame"""
SIZE = (16, 16)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Needs:
    """What the pool's jobs ask of a node."""

    renderers: tuple[str, ...] = ()
    denoiser: bool = False
    device: str = ""
    """CPU, GPU for any, or a kind of Cycles: CUDA, OPTIX, HIP, ONEAPI; empty: what there is"""
    engine: str = ""


def set_up() -> int:
    """Do all of it; the exit code. Does no harm when it is run again. Raises Exit."""
    folder = place.shared_folder()
    _disown(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    place.shared("assets")
    needs = read_json(Needs, os.environ.get("RENDERFARM_NEEDS") or "{}")
    wanted = read_json(tuple[Package, ...], os.environ.get("RENDERFARM_PACKAGES") or "[]")
    _install_from_distribution(wanted, needs)
    found = [build for item in wanted for build in install(item, Path.cwd(), folder / "renderers")]
    _run_users_own(Path.cwd() / USERS_OWN)
    chosen = _chosen(found, needs)
    for build in chosen:
        probe(build, needs, folder)
    files.write(place.node_file(), to_json(chosen))
    place.node_file().chmod(0o644)
    return GOOD


def _disown(folder: Path) -> None:
    """Put aside a folder that is not this user's own: tasks may write beside it, and we may be root."""
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.geteuid()):
        folder.rename(folder.with_name(f"{folder.name}.{os.urandom(4).hex()}"))


def _install_from_distribution(wanted: Sequence[Package], needs: Needs) -> None:
    """Libraries, the sandbox, and renderers of the distribution; nothing where the image has it all."""
    kinds = {item.kind for item in wanted}
    if not kinds - {"image"}:
        return
    names = list(installation.SANDBOX)
    brought = {item.renderer for item in wanted if item.renderer}
    names += [name for kind in brought for name in renderer(kind).equipment.libraries]
    if "distribution" in kinds:
        lacking = (kind for kind in needs.renderers if kind not in brought)
        names += [name for kind in lacking for name in renderer(kind).equipment.distribution]
    installation.from_distribution(names)
    installation.allow_sandbox()


def _run_users_own(script: Path) -> None:
    """The user's own script, after our installation and before the proof."""
    if not script.exists():
        return
    done = subprocess.run(["/bin/bash", str(script)], check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        hint = "Its output is in the start task's stdout.txt and stderr.txt."
        raise Exit(FAILED, f"The pool's own start script ended with {done.returncode}.", hint)


def _chosen(found: list[Build], needs: Needs) -> list[Build]:
    """The build of each renderer that is needed; raises Exit when there is none."""
    chosen = []
    for name in needs.renderers:
        builds = [build for build in found if build.renderer == name] or renderer(name).builds()
        if not builds:
            hint = 'Add one (renderfarm renderer add FILE) or write renderer = "distribution" into the pool.'
            raise Exit(FAILED, f"This node has no {name}.", hint)
        chosen.append(builds[0])
    return chosen


def probe(build: Build, needs: Needs, folder: Path) -> None:
    """Render the probe frame with a build; raises Exit when that or something needed is beyond it."""
    made = renderer(build.renderer)
    with tempfile.TemporaryDirectory(prefix="probe-", dir=folder) as name:
        scratch, scene = Path(name), Path(name) / "scene"
        scene.mkdir()
        try:
            found = made.abilities(build)
            _require(build, found, needs)
            device = "gpu" if needs.device != "CPU" and _gpus(found) else "cpu"
            denoise = found.denoiser and needs.denoiser
            path, settings = made.sample(build, scene, denoise=denoise, device=device, engine=needs.engine)
        except RendererMissingError as error:
            raise Exit(FAILED, error.message, error.hint) from error
        settings = replace(settings, resolution=SIZE)
        began = time.monotonic()
        _render(Work(build.renderer, build, str(path), settings, str(scratch), frame_seconds=FRAME_SECONDS))
    _LOG.info("%s rendered its probe frame in %.1f s.", build.label, time.monotonic() - began)


def _render(work: Work) -> None:
    heard: list[Event] = []
    node = Node(work, "probe", heard.append)
    try:
        node.open()
        node.render(Task((1,)), 0)
    except SessionFailure as failure:
        raise _unfit(work.build, failure.message) from failure
    finally:
        node.drop()
    for event in heard:
        if isinstance(event, (Failed, Trouble)):
            raise _unfit(work.build, event.message)
    if not any(isinstance(event, Rendered) for event in heard):
        raise _unfit(work.build, "nothing came out")


def _gpus(found: Abilities) -> list[str]:
    return [device for device in found.devices if device != "CPU"]


def _require(build: Build, found: Abilities, needs: Needs) -> None:
    """Raise Exit when devices and denoiser of a build won't do."""
    if (needs.device == "GPU" and not _gpus(found)) or (needs.device not in ("", "GPU", *found.devices)):
        hint = "Choose a GPU vm_size with an image that has the driver (microsoft-dsvm:ubuntu-hpc:2404)."
        raise _unfit(build, f"it needs {needs.device} and finds {', '.join(found.devices) or 'nothing'}", hint)
    if needs.denoiser and not found.denoiser:
        hint = "Add the makers' own package (renderfarm renderer add) or use --option denoise=off."
        raise _unfit(build, "the scene is denoised and this build has no denoiser", hint)


def _unfit(build: Build, why: str, hint: str = "") -> Exit:
    message = f"This node can't render its probe frame with {build.label}: {why.rstrip('.')}."
    return Exit(FAILED, message, hint)
