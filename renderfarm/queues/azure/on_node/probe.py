"""The probe frame: a tiny scene that a node must render before it may render anything else."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import RendererMissingError
from renderfarm.node.program import Event, Node
from renderfarm.queues.azure.on_node.exits import FAILED, Exit
from renderfarm.renderers import Abilities, SessionFailure, renderer
from renderfarm.words.model import Build, Failed, Rendered, Task, Trouble, Work

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


def probe(build: Build, needs: Needs, folder: Path) -> Abilities:
    """Render the probe frame with a build, which shows what it can; raises Exit with the reason when not."""
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
    return found


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
