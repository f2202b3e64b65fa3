"""Tiny .blend files for tests, saved by a real Blender that stays warm for the whole test session."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import struct
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

from tests.forked import OF_NO_TEST

_WARM = r"""
import json, os, sys, traceback
import bpy
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    try:
        script, order = json.loads(line)
        exec(script)
        do(order)
        answers.write("ok\n")
    except BaseException:
        answers.write(json.dumps(traceback.format_exc()) + "\n")
    answers.flush()
os._exit(0)
"""
_MAKE = r"""
def prop(obj, name, value):
    if hasattr(obj, name):
        setattr(obj, name, value)

def insert(id_data, path, keys, index=-1):
    for frame, value in keys.items():
        owner, _, attribute = path.rpartition(".")
        target = id_data.path_resolve(owner) if owner else id_data
        if index >= 0:
            getattr(target, attribute)[index] = value
        else:
            setattr(target, attribute, value)
        id_data.keyframe_insert(path, index=index, frame=frame)

def material(name, colour):
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    made.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*colour, 1)
    return made

def textured(name, path, source="FILE"):
    made = material(name, (1, 1, 1))
    image = bpy.data.images.new(name, 4, 4)
    image.source = source
    image.filepath = path
    tree = made.node_tree
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    tree.links.new(node.outputs["Color"], tree.nodes["Principled BSDF"].inputs["Base Color"])
    return made, node

def do(order):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = order["frames"]
    scene.render.resolution_x, scene.render.resolution_y = order["size"]
    scene.render.resolution_percentage = 100
    scene.render.engine = "CYCLES"
    scene.render.image_settings.color_mode = "RGB"
    scene.cycles.device = "CPU"
    scene.cycles.samples = order["samples"]
    scene.cycles.use_denoising = order["denoise"]
    scene.world = bpy.data.worlds.new("World")
    scene.world.use_nodes = True
    bpy.ops.mesh.primitive_cube_add(size=2)
    cube = bpy.context.object
    cube.name = "Cube"
    cube.data.materials.append(material("Paint", (0.8, 0.2, 0.1)))
    camera = None
    if order["camera"]:
        camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
        camera.location, camera.rotation_euler = (0, -7, 2), (1.3, 0, 0)
        scene.collection.objects.link(camera)
        scene.camera = camera
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.rotation_euler = (0.6, 0.3, 0)
    scene.collection.objects.link(sun)
    if order["moving"]:
        insert(cube, "rotation_euler", {order["frames"][0]: 0.0, order["frames"][1]: 3.0}, index=2)
    folder = os.path.dirname(order["path"])
    exec(order["script"], dict(globals(), scene=scene, cube=cube, camera=camera, sun=sun, folder=folder))
    if os.path.exists(order["path"]):
        os.remove(order["path"])
    bpy.ops.wm.save_as_mainfile(filepath=order["path"], compress=order["compress"], relative_remap=False)
"""


class Warm:
    """A Blender that does one thing after the other."""

    def __init__(self, argv: list[str]) -> None:
        pipe, none = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=none, text=True, cwd="/", env=OF_NO_TEST
        )
        atexit.register(self.stop)

    def do(self, script: str, /, **order: object) -> None:
        """Run a script there, which defines `do(order)`, and that."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([script, order]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        while answer and answer != "ok\n" and not answer.startswith('"'):
            answer = self.process.stdout.readline()
        if answer != "ok\n":
            raise RuntimeError(json.loads(answer) if answer else "the warm Blender died")

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def has_bpy() -> bool:
    """This interpreter can import Blender."""
    return find_spec("bpy") is not None


def has_blender() -> bool:
    """There is a `blender` executable on PATH."""
    return shutil.which("blender") is not None


@functools.cache
def warm(program: str, *, module: bool) -> Warm:
    """A Blender (or a Python that has it as a module), for the whole test session."""
    if module:
        return Warm([program, "-c", _WARM])
    return Warm(
        [program, "-b", "--factory-startup", "-noaudio", "--python-exit-code", "9", "--python-expr", _WARM]
    )


def make_scene(
    path: Path,
    *,
    frames: tuple[int, int] = (1, 8),
    size: tuple[int, int] = (32, 32),
    samples: int = 1,
    camera: bool = True,
    moving: bool = True,
    denoise: bool = False,
    compress: bool = False,
    script: str = "",
    saver: str | None = None,
) -> Path:
    """Save a .blend with a red cube that turns, a camera and a sun; Cycles, CPU.

    `script` runs before saving and knows bpy, scene, cube, camera, sun, folder and the maker's functions
    material, textured and insert. `saver` is `bpy` or `blender`; left out, a Blender on PATH saves (an old
    file opens in every newer build), else bpy.
    """
    saver = saver or ("blender" if has_blender() else "bpy")
    path.parent.mkdir(parents=True, exist_ok=True)
    program = sys.executable if saver == "bpy" else shutil.which("blender") or "blender"
    maker = warm(program, module=saver == "bpy")
    maker.do(
        _MAKE,
        path=str(path.absolute()),
        frames=frames,
        size=size,
        samples=samples,
        camera=camera,
        moving=moving,
        denoise=denoise,
        compress=compress,
        script=script,
    )
    return path


def write_png(path: Path, colour: tuple[int, int, int] = (0, 200, 0), size: int = 4) -> Path:
    """Write a one-coloured RGB picture."""
    rows = (b"\0" + bytes(colour) * size) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
