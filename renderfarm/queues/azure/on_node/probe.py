"""The probe frame: a tiny scene that a node must render before it may render anything else."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import RendererMissingError
from renderfarm.node.program import Event, Node
from renderfarm.queues.azure.on_node.exits import FAILED, Exit
from renderfarm.renderers import SessionFailure
from renderfarm.words.model import Build, Failed, Rendered, Settings, Task, Trouble, Work

FRAME_SECONDS = 600.0
"""a GPU compiles its kernels for the first frame"""
SIZE = (16, 16)
_SPHERE = """\
#version 3.7;
global_settings { assumed_gamma 1 }
camera { location <0, 0, -4> look_at 0 }
light_source { <3, 3, -3> rgb 1 }
sphere { 0, 1 pigment { rgb <1, 0.5, 0.2> } }
"""


@dataclass(frozen=True)
class Needs:
    """What the pool's jobs ask of a node."""

    renderers: tuple[str, ...] = ()
    denoiser: bool = False
    device: str = ""
    """CPU, GPU for any, or a kind of Cycles: CUDA, OPTIX, HIP, ONEAPI; empty: what there is"""
    engine: str = ""


@dataclass(frozen=True)
class Proof:
    """What a build has shown."""

    label: str
    seconds: float
    devices: tuple[str, ...] = ("CPU",)
    denoiser: bool = False
    notes: tuple[str, ...] = field(default=())


def probe(build: Build, needs: Needs, folder: Path) -> Proof:
    """Render the probe frame with a build; raises Exit with the reason when it can't."""
    with tempfile.TemporaryDirectory(prefix="probe-", dir=folder) as name:
        scratch = Path(name)
        scene, settings = scratch / "scene", Settings(resolution=SIZE)
        scene.mkdir()
        devices: tuple[str, ...] = ("CPU",)
        denoiser = False
        if build.renderer == "blender":
            devices, denoiser = _abilities(build, needs)
            path, settings = _blender_scene(build, needs, scene / "probe.blend", devices, denoiser)
        elif build.renderer == "povray":
            path = scene / "probe.pov"
            path.write_text(_SPHERE)
        else:
            path = scene / "probe.testcard"
            path.write_text(json.dumps({"frames": "1-1", "size": SIZE}))
        work = Work(build.renderer, build, str(path), settings, str(scratch), frame_seconds=FRAME_SECONDS)
        seconds = _render(work)
    return Proof(build.label, round(seconds, 3), devices, denoiser)


def _render(work: Work) -> float:
    heard: list[Event] = []
    began = time.monotonic()
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
    return time.monotonic() - began


def _abilities(build: Build, needs: Needs) -> tuple[tuple[str, ...], bool]:
    """Devices and denoiser of a Blender, as far as they will do; raises Exit when they won't."""
    from renderfarm.renderers.blender.abilities import abilities

    try:
        found = abilities(build)
    except RendererMissingError as error:
        raise Exit(FAILED, error.message, error.hint) from error
    devices = found.devices
    gpus = [device for device in devices if device != "CPU"]
    if (needs.device == "GPU" and not gpus) or (needs.device not in ("", "GPU", *devices)):
        hint = "Choose a GPU vm_size with an image that has the driver (microsoft-dsvm:ubuntu-hpc:2404)."
        raise _unfit(build, f"it needs {needs.device} and finds {', '.join(devices) or 'nothing'}", hint)
    if needs.denoiser and not found.denoiser:
        hint = "Add Blender's own tarball (renderfarm renderer add) or use --option denoise=off."
        raise _unfit(build, "the scene is denoised and this build has no denoiser", hint)
    return devices, found.denoiser


def _blender_scene(
    build: Build, needs: Needs, path: Path, devices: tuple[str, ...], denoiser: bool
) -> tuple[Path, Settings]:
    from renderfarm.renderers.blender.abilities import write_probe

    try:
        write_probe(build, path, denoise=denoiser and needs.denoiser)
    except RendererMissingError as error:
        raise Exit(FAILED, error.message, error.hint) from error
    gpu = needs.device != "CPU" and any(device != "CPU" for device in devices)
    options = {"device": "gpu" if gpu else "cpu"}
    engine = needs.engine or None
    if engine not in (None, "CYCLES"):
        options = {}
    return path, Settings(resolution=SIZE, engine=engine, options=options)


def _unfit(build: Build, why: str, hint: str = "") -> Exit:
    message = f"This node can't render its probe frame with {build.label}: {why.rstrip('.')}."
    return Exit(FAILED, message, hint)
