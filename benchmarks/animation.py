"""Frames of a warm session against Blender's own animation of the same scene: pixels, and CPU seconds.

`python -m benchmarks.animation blender PYTHON_WITH_BPY …` makes the Blender scenes of `benchmarks/scenes.py`
with the first Blender given (take the oldest), and lets each of them render them both ways, without load.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.scenes import QUICK, SCENES
from renderfarm.node.launch import ProcessLauncher
from renderfarm.renderers.blender.builds import is_module
from renderfarm.renderers.blender.renderer import RENDERER
from renderfarm.words.request import Settings
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build, Work

HEAD = "| Blender | scene | equal | `-a` | session | ratio |\n|---|---|--:|--:|--:|--:|"
BY_HAND = """
import bpy, os, time
bpy.ops.wm.open_mainfile(filepath={path!r})
scene = bpy.context.scene
scene.frame_end = {frames}
scene.render.filepath, scene.render.image_settings.file_format = {folder!r} + "/", "PNG"
started = time.process_time()
bpy.ops.render.render(animation=True)
print("seconds", time.process_time() - started, flush=True)
os._exit(0)
"""


def main() -> None:
    """Print the table; exit code 1 when a pixel differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("blenders", nargs="+", help="executables, or Pythons that can import bpy")
    parser.add_argument("--quick", action="store_true", help="small scenes, four frames")
    asked = parser.parse_args()
    same = True
    print(HEAD)
    with tempfile.TemporaryDirectory() as folder:
        for row, equal in rows(Path(folder), asked.blenders, quick=asked.quick):
            same &= equal
            print(row, flush=True)
    sys.exit(not same)


def rows(folder: Path, blenders: list[str], *, quick: bool) -> Iterator[tuple[str, bool]]:
    """A line of the table for each Blender and scene, and whether all pixels are equal."""
    builds = [build for chosen in blenders for build in RENDERER.builds(chosen)]
    for name in (name for name in SCENES if name.endswith(".blend")):
        scene = SCENES[name](folder / "scenes", QUICK if quick else 1.0, blender=blenders[0])
        for build in builds:
            yield compared(build, scene, folder, 4 if quick else 12)


def compared(build: Build, scene: Path, folder: Path, frames: int) -> tuple[str, bool]:
    """One scene both ways in one Blender."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        theirs = by_hand(build, scene, Path(scratch) / "hand", frames)
        hand = sorted((Path(scratch) / "hand").glob("*.png"))
        done = session(build, scene, Path(scratch), frames)
        equal = sum(_same(Path(one.path), other) for one, other in zip(done, hand, strict=True))
    ours = sum(one.cpu_seconds for one in done)
    facts = [build.label, scene.stem, f"{equal} of {frames}"]
    facts += [f"{theirs / frames:.2f} s", f"{ours / frames:.2f} s", f"{ours / theirs:.2f}"]
    return f"| {' | '.join(facts)} |", equal == frames


def by_hand(build: Build, scene: Path, folder: Path, frames: int) -> float:
    """Seconds of CPU that Blender's own animation into a folder takes."""
    program = BY_HAND.format(path=str(scene), frames=frames, folder=str(folder))
    argv = [build.path, "-b", "--factory-startup", "-noaudio", "--python-expr", program]
    if is_module(build):
        argv = [build.path, "-c", program]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return float(next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("seconds ")))


def session(build: Build, scene: Path, scratch: Path, frames: int) -> list[Rendered]:
    """The receipts of one warm session with all threads."""
    work = Work("blender", build, str(scene), Settings(), str(scratch))
    opened = RENDERER.open(work, ProcessLauncher(work))
    try:
        done = list(opened.render(range(1, frames + 1), 0, scratch, scratch / "log"))
    finally:
        opened.close()
    return [one for one in done if isinstance(one, Rendered)]


def _same(one: Path, other: Path) -> bool:
    with Image.open(one) as ours, Image.open(other) as theirs:
        return np.array_equal(np.asarray(ours), np.asarray(theirs))


if __name__ == "__main__":
    main()
