"""Makes this machine a render node: installs what the pool wants, renders probe frames, writes `node.json`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from renderfarm.queues.azure.on_node import nodefile, place, system
from renderfarm.queues.azure.on_node.exits import FAILED, GOOD, Exit
from renderfarm.queues.azure.on_node.installation import Wanted, install
from renderfarm.queues.azure.on_node.probe import Needs, probe
from renderfarm.renderers import renderer
from renderfarm.words.model import Build, decode

USERS_OWN = "users-own.sh"
SHARED = ("assets", "locks")


def set_up() -> int:
    """Do all of it; the exit code. Does no harm when it is run again. Raises Exit."""
    folder = place.shared_folder()
    _disown(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for name in SHARED:
        place.shared(name)
    needs = decode(Needs, json.loads(os.environ.get("RENDERFARM_NEEDS") or "{}"))
    listed = json.loads(os.environ.get("RENDERFARM_PACKAGES") or "[]")
    wanted = [decode(Wanted, item) for item in listed]
    _install_from_distribution(wanted, needs)
    found = [build for item in wanted for build in install(item, Path.cwd(), folder / "renderers")]
    _run_users_own(Path.cwd() / USERS_OWN)
    proofs = {build: probe(build, needs, folder) for build in _chosen(found, needs)}
    devices = dict.fromkeys(device for proof in proofs.values() for device in proof.devices)
    denoiser = any(proof.denoiser for proof in proofs.values())
    nodefile.write(nodefile.Found(tuple(proofs), tuple(devices), denoiser), folder)
    return GOOD


def _disown(folder: Path) -> None:
    """Put aside a folder that is not this user's own: tasks may write beside it, and we may be root."""
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.geteuid()):
        folder.rename(folder.with_name(f"{folder.name}.{os.urandom(4).hex()}"))


def _install_from_distribution(wanted: list[Wanted], needs: Needs) -> None:
    """Libraries, the sandbox, and renderers of the distribution; nothing where the image has it all."""
    kinds = {item.kind for item in wanted}
    if not kinds - {"image"}:
        return
    names = list(system.SANDBOX)
    brought = {item.renderer for item in wanted if item.renderer}
    names += [name for kind in brought for name in renderer(kind).equipment.libraries]
    if "distribution" in kinds:
        lacking = (kind for kind in needs.renderers if kind not in brought)
        names += [name for kind in lacking for name in renderer(kind).equipment.distribution]
    system.install(names)
    system.allow_sandbox()


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
