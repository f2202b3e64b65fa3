"""Scenes in two states, red and blue, and people who edit them while they are rendered."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import blender_scenes
from farm_runs import Farm, ended
from PIL import Image

FRAMES = 8
WAYS = ("written", "replaced", "written, time kept", "replaced, time kept")
RED, BLUE = (1, 0, 0), (0, 0, 1)
_POV = """#version 3.7; #include "part.inc" #declare i = 0; #while (i < {work}) #declare i = i + 1; #end
camera {{ location -4*z look_at 0 }} sphere {{ 0, 3 pigment {{ {colour} }} finish {{ ambient 1 diffuse 0 }} }}
"""


@dataclass(frozen=True)
class Moving:
    """A scene whose every frame has the colour of one of its files."""

    scene: Path
    file: Path
    red: bytes
    blue: bytes

    def put(self, state: bytes, way: str = "written") -> None:
        """Save the file in a state, as different programs do."""
        before = self.file.stat()
        target = self.file.with_name(f"{self.file.name}~") if way.startswith("replaced") else self.file
        target.write_bytes(state)
        if way.endswith("kept"):
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
        target.replace(self.file)


def povray_include(folder: Path, work: int = 50_000) -> Moving:
    """A scene that includes the file."""
    scene, part = folder / "s.pov", folder / "part.inc"
    folder.mkdir(parents=True, exist_ok=True)
    scene.write_text(_POV.format(work=work, colour="C"))
    red, blue = (f"#declare C = rgb <{r},{g},{b}>;\n".encode() for r, g, b in (RED, BLUE))
    part.write_bytes(red)
    return Moving(scene, part, red, blue)


def povray_scene(folder: Path, work: int = 50_000) -> Moving:
    """The scene text itself."""
    scene = povray_include(folder).scene
    red, blue = (_POV.format(work=work, colour=f"rgb <{r},{g},{b}>").encode() for r, g, b in (RED, BLUE))
    scene.write_bytes(red)
    return Moving(scene, scene, red, blue)


def povray_ini(folder: Path) -> Moving:
    """An .ini that chooses the colour."""
    text = povray_include(folder).scene.read_text().replace("{ C }", "{ C * (1 - Blue) + z * Blue }")
    (folder / "s.pov").write_text(text)
    red, blue = (
        f'Input_File_Name="s.pov"\nDeclare=Blue={blue}\nWidth=16\nHeight=12\n'.encode() for blue in (0, 1)
    )
    (folder / "s.ini").write_bytes(red)
    return Moving(folder / "s.ini", folder / "s.ini", red, blue)


_WALL = """
made, node = textured('Wall', '//paint.png')
tree = made.node_tree
shine = tree.nodes.new('ShaderNodeEmission')
tree.links.new(node.outputs['Color'], shine.inputs['Color'])
tree.links.new(shine.outputs[0], tree.nodes['Material Output'].inputs['Surface'])
cube.data.materials[0] = made
cube.scale = (9, 1, 9)
scene.view_settings.view_transform = 'Standard'
"""


def blender_texture(folder: Path) -> Moving:
    """A texture of a .blend."""
    texture = blender_scenes.write_png(folder / "paint.png", (255, 0, 0))
    red = texture.read_bytes()
    blue = blender_scenes.write_png(folder / "paint.png", (0, 0, 255)).read_bytes()
    texture.write_bytes(red)
    scene = blender_scenes.make_scene(folder / "shot.blend", frames=(1, FRAMES), script=_WALL)
    return Moving(scene, texture, red, blue)


def blender_scene(folder: Path) -> Moving:
    """The .blend itself."""
    states = []
    for name in ("red", "blue"):
        blender_scenes.write_png(folder / f"{name}.png", (255, 0, 0) if name == "red" else (0, 0, 255))
        script = _WALL.replace("paint", name)
        states.append(
            blender_scenes.make_scene(folder / "shot.blend", frames=(1, FRAMES), script=script).read_bytes()
        )
    scene = folder / "shot.blend"
    scene.write_bytes(states[0])
    return Moving(scene, scene, *states)


KINDS: dict[str, Callable[[Path], Moving]] = {
    "an include": povray_include,
    "a .pov": povray_scene,
    "an .ini": povray_ini,
    "a texture": blender_texture,
    "a .blend": blender_scene,
}


def colours(output: Path) -> dict[int, str]:
    """Each delivered frame's colour."""
    found = {}
    for path in sorted((output / "frames").glob("*.png")):
        with Image.open(path) as picture:
            red, _, blue = picture.convert("RGB").getpixel((8, 6))  # type: ignore[misc]
        found[int(path.stem[-4:])] = "red" if red > blue else "blue"
    return found


def options(output: Path) -> tuple[object, ...]:
    """What keeps a submit short."""
    return ("-f", f"1-{FRAMES}", "--resolution", "16x12", "--no-video", "-o", output)


def wrong_frames(folder: Path, kind: str, seed: int) -> list[str]:
    """Edit a scene at random moments of a job, and end that in a random way; what came out wrong in the end.

    A job has one state in all that it delivers, and whoever submits a state gets just that.
    """
    chance = random.Random(seed)
    moving, farm = KINDS[kind](folder / "project"), Farm(folder / "farm")
    longest = 4.0 if kind in ("a texture", "a .blend") else 2.5
    job = farm.start("submit", "--json", *options(folder / "a"), "--", moving.scene)
    for state in (moving.blue, moving.red):
        time.sleep(chance.uniform(0, longest))
        moving.put(state, chance.choice(WAYS))
    _end(job, chance.choice((None, None, signal.SIGINT, signal.SIGKILL)))
    wrong = [
        f"the job has {sorted(set(found.values()))}"
        for found in [colours(folder / "a")]
        if len({*found.values()}) > 1
    ]
    for name, state in (("red", moving.red), ("blue", moving.blue)):
        moving.put(state)
        done = farm.submit(moving.scene, *options(folder / name))
        found = colours(folder / name)
        if done.code or set(found.values()) != {name} or len(found) != FRAMES:
            wrong.append(f"submitted {name}: {found}, exit code {done.code}: {done.err}")
    return wrong


def _end(job: subprocess.Popen[str], how: int | None) -> None:
    if how is not None and job.poll() is None:
        os.killpg(job.pid, how) if how == signal.SIGKILL else job.send_signal(how)
    ended(job)


def discard(folder: Path) -> None:
    """Make room for the next."""
    shutil.rmtree(folder, ignore_errors=True)
