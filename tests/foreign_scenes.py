"""OpenShot's title animations (or others), each as Blender animates it by hand and by a session.

`python -m tests.openshot_titles FOLDER [BLENDER]` prints a line for each. FOLDER holds the .blend files:
`apt-get download openshot-qt && dpkg -x openshot-qt_*.deb FOLDER`. BLENDER is one, or a Python with bpy.
All are rendered by Cycles, small and with one sample: without a graphics card EEVEE takes minutes for each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from renderfarm.node.launch import ProcessLauncher
from renderfarm.renderers import SessionFailure
from renderfarm.renderers.blender.builds import is_module
from renderfarm.renderers.blender.renderer import RENDERER
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build, Work

SCALE = 5
FRAMES = 3
PATIENCE_SECONDS = 240
BY_HAND = """
import bpy, os
bpy.ops.wm.open_mainfile(filepath={path!r})
scene = bpy.context.scene
render, image = scene.render, scene.render.image_settings
render.engine, render.resolution_percentage, scene.cycles.samples = "CYCLES", {scale}, 1
scene.frame_end = scene.frame_start + {frames} - 1
if hasattr(image, "media_type"):
    image.media_type = "IMAGE"
image.file_format, render.use_file_extension = "PNG", True
render.threads_mode, render.threads = "FIXED", 1
render.filepath = {folder!r} + "/"
bpy.ops.render.render(animation=True)
os._exit(0)
"""


def compared(scene: Path, build: Build) -> str:
    """What became of the first frames: equal, fails (in both), slow (by hand), or what is wrong."""
    with tempfile.TemporaryDirectory(prefix="openshot-") as folder:
        hand, scratch = Path(folder) / "hand", Path(folder) / "scratch"
        hand.mkdir()
        scratch.mkdir()
        try:
            right = by_hand(scene, build, hand)
        except subprocess.TimeoutExpired:
            return "slow"
        try:
            ours = list(rendered(scene, build, scratch, max(1, len(right))))
        except (SessionFailure, RuntimeError) as failure:
            return f"refused: {failure}" if right else "fails"
        same = len(ours) == len(right) and all(map(np.array_equal, ours, right))
        return "equal" if same else f"differs: {len(ours)} of {len(right)} pictures"


def by_hand(scene: Path, build: Build, folder: Path) -> list[np.ndarray]:
    """The first frames by Blender's own animation."""
    program = BY_HAND.format(path=str(scene), scale=SCALE, frames=FRAMES, folder=str(folder))
    argv = [build.path, "-b", "--factory-startup", "-noaudio", "--python-expr", program]
    argv = [build.path, "-c", program] if is_module(build) else argv
    subprocess.run(argv, check=False, capture_output=True, timeout=PATIENCE_SECONDS)
    return [pixels(path) for path in sorted(folder.glob("*.png"))]


def rendered(scene: Path, build: Build, scratch: Path, count: int) -> Iterator[np.ndarray]:
    """The same frames by a session in the sandbox; raises SessionFailure, RuntimeError for one that failed."""
    work = Work("blender", build, str(scene), Settings(), str(scratch), sandbox=Sandbox.AUTO)
    engine = RENDERER.open(work, ProcessLauncher(work))
    try:
        found = engine.describe()
    finally:
        engine.close()
    first = int(found.frames.split("-")[0])
    settings = Settings(scale=SCALE, samples=1, engine="CYCLES")
    shown = tuple(asset.path for asset in found.assets if Path(asset.path).exists())
    work = Work("blender", build, str(scene), settings, str(scratch), shown, Sandbox.AUTO)
    session = RENDERER.open(work, ProcessLauncher(work))
    try:
        for done in session.render(range(first, first + count), 1, scratch, scratch / "log"):
            if not isinstance(done, Rendered):
                raise RuntimeError(done.message)
            yield pixels(Path(done.path))
    finally:
        session.close()


def pixels(path: Path) -> np.ndarray:
    """A picture's pixels."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def main(folder: str, blender: str | None = None) -> int:
    """Compare all; how many are wrong."""
    build = RENDERER.builds(blender)[0]
    wrong = 0
    for scene in sorted(Path(folder).rglob("*.blend")):
        outcome = compared(scene.absolute(), build)
        wrong += outcome not in ("equal", "fails", "slow")
        sys.stdout.write(f"{scene.stem}: {outcome}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{build.label}: {wrong} wrong\n")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
