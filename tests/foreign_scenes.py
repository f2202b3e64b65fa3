"""Scenes that others made, each as Blender animates it by hand and as it is submitted.

`python -m tests.foreign_scenes FOLDER [BLENDER [FIRST-LAST]]` prints a line for each .blend below it, or for
some, say of Debian's `openshot-qt` (`apt-get download openshot-qt && dpkg -x openshot-qt_*.deb FOLDER`), or
of Khronos' glTF-Blender-IO (`tests/scenes` of its repository). BLENDER is one, or a Python with bpy.
All are rendered by Cycles, small and with one sample: without a graphics card EEVEE takes minutes for each.
A scene that lacks a camera is compared once more with one, and a sun, in a copy that lies beside it meanwhile.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import renderfarm
from renderfarm.errors import InputError
from renderfarm.renderers.blender.builds import is_module
from renderfarm.renderers.blender.renderer import RENDERER
from renderfarm.words.work import Build
from tests.povray_examples import contents

Pictures = dict[str, np.ndarray]
"""by the number at the end of their names, and the view behind it"""

SCALE = 5
FRAMES = 3
PATIENCE_SECONDS = 240
BY_HAND = """
import bpy, os
bpy.ops.wm.open_mainfile(filepath={path!r})
scene = bpy.context.scene
render, image = scene.render, scene.render.image_settings
render.engine, render.resolution_percentage, scene.cycles.samples = "CYCLES", {scale}, 1
scene.frame_end = min(scene.frame_end, scene.frame_start + {frames} - 1)
if hasattr(image, "media_type"):
    image.media_type = "IMAGE"
image.file_format, render.use_file_extension = "PNG", True
render.threads_mode, render.threads = "FIXED", 1
render.filepath = {folder!r} + "/"
open({folder!r} + "/range", "w").write(f"{{scene.frame_start}}-{{scene.frame_end}}")
bpy.ops.render.render(animation=True)
os._exit(0)
"""

WITH_CAMERA = """
import bpy, os
bpy.ops.wm.open_mainfile(filepath={path!r})
scene = bpy.context.scene
camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
point = type(camera.location)
corners = [each.matrix_world @ point(corner) for each in scene.objects for corner in each.bound_box]
for each in (camera, sun):
    each.rotation_euler = (1.1, 0, 0.8)
    scene.collection.objects.link(each)
scene.camera = camera
bpy.context.view_layer.update()
if corners:
    flat = [number for corner in corners for number in corner]
    camera.location, _ = camera.camera_fit_coords(bpy.context.evaluated_depsgraph_get(), flat)
bpy.ops.wm.save_as_mainfile(filepath={copy!r}, copy=True)
os._exit(0)
"""
NO_CAMERA = "no active camera"


def compared_with_camera(scene: Path, build: Build) -> str:
    """The same of the scene with a camera and a sun added to it."""
    copy = scene.with_name(f"{scene.stem}.camera.blend")
    try:
        run(build, WITH_CAMERA.format(path=str(scene), copy=str(copy)))
        return f"{compared(copy, build)} (with a camera)" if copy.exists() else "no camera can be added"
    finally:
        copy.unlink(missing_ok=True)


def compared(scene: Path, build: Build) -> str:
    """What became of the first frames: equal, fails (both ways), slow (by hand), refused by name, DIFFERENT."""
    with tempfile.TemporaryDirectory(prefix="foreign-") as folder:
        hand = Path(folder) / "hand"
        hand.mkdir()
        try:
            right = by_hand(scene, build, hand)
        except subprocess.TimeoutExpired:
            return "slow"
        span = hand / "range"
        frames = span.read_text() if span.exists() else "1"
        before = contents(scene.parent)
        ours, why = submitted(scene, build, frames, Path(folder) / "ours")
        refusal = ""
        if right and isinstance(why, InputError):
            refusal = f", but refused by name: {why.message}"
            ours, why = submitted(scene, build, frames, Path(folder) / "allowed", allowed=True)
        if contents(scene.parent) != before:
            return "DIFFERENT: the folder is not as it was"
    if not right:
        return "DIFFERENT: Blender fails" if ours else f"fails: {why}"
    if not ours:
        return f"DIFFERENT: ours fails: {why}"
    wrong = [frame for frame in right if not np.array_equal(right[frame], ours.get(frame))]
    return f"DIFFERENT: frames {wrong}" if wrong or len(ours) != len(right) else f"equal{refusal}"


def by_hand(scene: Path, build: Build, folder: Path) -> Pictures:
    """The first frames by Blender's own animation."""
    run(build, BY_HAND.format(path=str(scene), scale=SCALE, frames=FRAMES, folder=str(folder)))
    return pictures(folder)


def run(build: Build, program: str) -> None:
    """Let a Blender do something."""
    argv = [build.path, "-b", "--factory-startup", "-noaudio", "--python-expr", program]
    argv = [build.path, "-c", program] if is_module(build) else argv
    subprocess.run(argv, check=False, capture_output=True, timeout=PATIENCE_SECONDS)


def submitted(
    scene: Path, build: Build, frames: str, folder: Path, *, allowed: bool = False
) -> tuple[Pictures, InputError | str]:
    """The same frames as a job delivers them, and why not; what it names may be `allowed`."""
    try:
        status = renderfarm.submit(
            scene, frames, folder, blender=build.path, engine="cycles", scale=SCALE, samples=1,
            allow_missing=allowed, allow_older=allowed, no_video=True, together=True,
        )  # fmt: skip
    except InputError as refusal:
        return {}, refusal
    return pictures(Path(status.frames_dir)), "; ".join({each.message for each in status.failures})


def pictures(folder: Path) -> Pictures:
    """A folder's pictures."""
    found = {}
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            found[re.findall(r"-?\d+\D*$", path.stem)[0]] = np.asarray(picture)
    return found


def main(folder: str, blender: str | None = None, which: str = "1-") -> int:
    """Compare all, or the first to the last in the order of their paths; how many are wrong."""
    first, _, last = which.partition("-")
    build = RENDERER.builds(blender)[0]
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="foreign-home-") as home:
        os.environ["RENDERFARM_HOME"] = home
        for scene in sorted(Path(folder).rglob("*.blend"))[int(first) - 1 : int(last) if last else None]:
            outcome = compared(scene.absolute(), build)
            outcome = compared_with_camera(scene.absolute(), build) if NO_CAMERA in outcome else outcome
            outcome = " ".join(outcome.split())
            counts[outcome.partition(":")[0]] += 1
            sys.stdout.write(f"{scene.stem}: {outcome}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{build.label}: {dict(counts)}\n")
    return counts["DIFFERENT"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
