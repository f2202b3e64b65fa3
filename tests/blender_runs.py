"""What tests do with a Blender: open a scene in a session of ours, render frames, and render them by hand."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from blender_scenes import has_blender, has_bpy, warm
from PIL import Image

from renderfarm.renderers.blender.builds import is_module
from renderfarm.renderers.blender.renderer import RENDERER, BlenderSession
from renderfarm.words.request import Settings
from renderfarm.words.scene import Scene
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Work
from tests.forked import Forked, server

_FORKS = f"""
import ctypes, runpy, sys
import bpy
sys.path.append({str(Path(__file__).parent)!r})
import forked
maps = open("/proc/self/maps").read().split()
exr = next(path for path in maps if "/libOpenEXR" in path and "Core" not in path and "Util" not in path)
names = (f"_ZN7Imf_3_{{n}}20setGlobalThreadCountEi" for n in range(20))
next(filter(None, (getattr(ctypes.CDLL(exr), name, None) for name in names)))(0)  # forks have no threads
ctypes.CDLL(None).fflush(None)
runpy.run_path(forked.ordered(), run_name="__main__")
"""


@functools.cache
def forks(argv: tuple[str, ...], environment: tuple[tuple[str, str], ...]) -> socket.socket | None:
    """A Blender to fork others from; none where it can't be forked."""
    line = server([*argv, "--python-expr" if argv[1:] else "-c", _FORKS], dict(environment))
    return line if line.recv(9) else None


def launch(
    argv: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    pipes: bool = False,
    traced: bool = False,
) -> subprocess.Popen[bytes]:
    """A launcher without a sandbox, and without the second that a Blender takes to start."""
    *blender, script = argv
    line = forks(tuple(blender[:-1] or blender), tuple((environment or {}).items()))
    start = functools.partial(Forked, line, script) if line else functools.partial(subprocess.Popen, argv)
    whole, pipe = {**os.environ, **(environment or {})}, subprocess.PIPE
    with log.open("ab") as err:
        return start(cwd=cwd, env=whole, stdin=pipe, stdout=pipe, stderr=err, start_new_session=True)


@contextlib.contextmanager
def opened(build: Build, path: Path, scratch: Path, **settings: object) -> Iterator[BlenderSession]:
    work = Work("blender", build, str(path), Settings(**settings), str(scratch))  # type: ignore[arg-type]
    with opened_for(work) as session:
        yield session


@contextlib.contextmanager
def opened_for(work: Work) -> Iterator[BlenderSession]:
    Path(work.scratch).mkdir(parents=True, exist_ok=True)
    session = RENDERER.open(work, launch)
    try:
        yield session
    finally:
        session.close()


def describe(build: Build, path: Path, scratch: Path, **settings: object) -> Scene:
    with opened(build, path, scratch, **settings) as session:
        return session.describe()


def render(
    build: Build, path: Path, scratch: Path, *frames: int, threads: int = 1, **settings: object
) -> list[Rendered | Failed]:
    with opened(build, path, scratch, **settings) as session:
        return list(session.render(frames, threads, scratch, scratch / "render.log"))


def one(build: Build, path: Path, scratch: Path, frame: int = 1, **settings: object) -> Rendered:
    (done,) = render(build, path, scratch, frame, **settings)
    assert isinstance(done, Rendered), done
    return done


def pixels(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def build_named(name: str) -> Build:
    if not {"bpy": has_bpy, "blender": has_blender}[name]():
        pytest.skip(f"{name} is not installed")
    return RENDERER.builds(sys.executable if name == "bpy" else "blender")[0]


def with_both(*cases: tuple[object, ...]) -> list[object]:
    """Each case with the newer Blender, every other with the older one as well; the rest of them is slow."""
    slow = [(), pytest.mark.slow]
    newer = [pytest.param("bpy", *case) for case in cases]
    return newer + [pytest.param("blender", *case, marks=slow[n % 2]) for n, case in enumerate(cases)]


def by_hand(scene: Path, folder: Path, frames: Sequence[int], threads: int = 1) -> list[np.ndarray]:
    """What `blender -b FILE -f N,M` gives."""
    options = ["-b", "--factory-startup", "-noaudio", str(scene), "-o", f"{folder}/hand_", "-F", "PNG"]
    wanted = ["-x", "1", "-t", str(threads), "-f", ",".join(map(str, frames))]
    subprocess.run(["blender", *options, *wanted], check=True, capture_output=True)
    return [pixels(folder / f"hand_{frame:04d}.png") for frame in frames]


_ANIMATE = """
def do(order):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=order["path"])
    scene = bpy.data.scenes[order["name"]] if order["name"] else bpy.context.scene
    scene.frame_start, scene.frame_end = order["frames"] or (scene.frame_start, scene.frame_end)
    scene.render.filepath = order["folder"] + "/"
    image = scene.render.image_settings
    if not order["own"]:
        if hasattr(image, "media_type"): image.media_type = "IMAGE"
        image.file_format = "PNG"
        image.views_format = image.views_format or "INDIVIDUAL"
    bpy.ops.render.render(animation=True, scene=scene.name)
"""


def animated_by_hand(
    build: Build,
    scene: Path,
    folder: Path,
    frames: tuple[int, int] | None = None,
    name: str = "",
    *,
    own: bool = False,
) -> list[np.ndarray]:
    """What `blender -b FILE -S NAME -s FIRST -e LAST -a` gives, by any Blender; PNG, or its `own` format."""
    hand = warm(build.path, module=is_module(build))
    hand.do(_ANIMATE, path=str(scene), name=name, frames=frames, folder=str(folder), own=own)
    return [pixels(path) for path in sorted(folder.glob("*.png"))]
