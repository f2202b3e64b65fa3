"""What a Blender build can do, which only it can tell: engines, denoiser, devices."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from renderfarm.errors import RendererMissingError
from renderfarm.renderers import Abilities
from renderfarm.renderers.asking import ask
from renderfarm.renderers.blender.builds import environment, is_module
from renderfarm.words.work import Build

MARK = "renderfarm-abilities:"
DONE = "renderfarm-done"
PROGRAM = f"""
import json, os, sys
import bpy

def available(kind):
    try:
        return _cycles.available_devices(kind)
    except ValueError:
        return ()

try:
    import _cycles
    denoiser = bool(getattr(_cycles, "with_openimagedenoise", False))
    kinds = ("CPU", "CUDA", "OPTIX", "HIP", "ONEAPI", "METAL")
    devices = sorted({{device[1] for kind in kinds for device in available(kind)}})
except ImportError:
    denoiser, devices = False, []
engines = {{"CYCLES"}} if devices else set()
scene = bpy.context.scene
for engine in ("BLENDER_EEVEE", "BLENDER_EEVEE_NEXT", "BLENDER_WORKBENCH"):
    try:
        scene.render.engine = engine
        engines.add(engine)
    except TypeError:
        pass
print("{MARK}" + json.dumps([sorted(engines), denoiser, devices]))
print("{DONE}", flush=True)
os._exit(0)
"""
SAMPLE = """
import os
import bpy

scene = bpy.context.scene
scene.frame_start = scene.frame_end = 1
scene.render.engine = "CYCLES"
scene.cycles.samples = 2
scene.cycles.use_denoising = {denoise!r}
bpy.ops.wm.save_as_mainfile(filepath={path!r})
print("renderfarm-done", flush=True)
os._exit(0)
"""


def abilities(build: Build) -> Abilities:
    """Start the build and ask; raises RendererMissingError when it does not answer."""
    for line in _run(build, PROGRAM).splitlines():
        if line.startswith(MARK):
            engines, denoiser, devices = json.loads(line.removeprefix(MARK))
            licence = "GPL-3.0-or-later" if is_module(build) else ""
            return Abilities(tuple(engines), denoiser, tuple(devices), licence)
    raise RendererMissingError(f"{build.label} did not say what it can do.", "Install it again.")


def write_sample(build: Build, path: Path, *, denoise: bool) -> None:
    """Let the build save a tiny scene of one frame; raises RendererMissingError when it can't."""
    _run(build, SAMPLE.format(path=str(path), denoise=denoise))
    if not path.exists():
        raise RendererMissingError(f"{build.label} could not save a scene.", "Install it again.")


def _run(build: Build, program: str) -> str:
    """What a program inside the build prints; raises RendererMissingError."""
    argv = [build.path, "-c", program]
    if not is_module(build):
        argv = [build.path, "-b", "--factory-startup", "-noaudio", "--python-expr", program]
    try:
        answer = ask(argv, confined=False, **environment(build))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RendererMissingError(f"{build.label} does not start: {error}.", "Install it again.") from error
    told, complained = (each.decode("utf-8", "replace") for each in (answer.stdout, answer.stderr))
    if DONE in told:
        return told
    words = (complained or told).strip().splitlines()[-1:]
    message = f"{build.label} ended with {answer.returncode}: {' '.join(words)}"
    raise RendererMissingError(message, "Libraries may be missing; the message names them.")
