"""Which kinds of scene are the same picture in tiles as whole: the tables of docs/stills.md.

`python -m benchmarks.stills [--blender PATH …] [KIND …]` renders with POV-Ray, or with the Blenders given (an
executable, or a Python that can import bpy), in sessions of ours: each kind whole and in tiles, also where
`submit` would refuse it. The files are compared, of Blender the float layers too.

`--clock` submits a frame of about a minute whole and in two parts on two workers (`--quick`: of seconds), and
tells wall clocks and the most memory of each; `--big` merges and looks at a picture of 16k × 9k pixels.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from renderfarm.job.tiles import parts as cut_into
from renderfarm.node.launch import ProcessLauncher
from renderfarm.pictures.look import look
from renderfarm.pictures.merging import differing, merge, seam
from renderfarm.pictures.opening import openimageio
from renderfarm.renderers import renderer
from renderfarm.renderers.blender.builds import is_module
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.scene import Scene
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build, Part, Work

Cuts = tuple[tuple[int, ...], tuple[int, ...]]
"""columns and rows at which tiles begin"""

POV_SIZE, POV_CUTS = (203, 141), (((71,), (53,)), ((96,), (64,)))
POV_SCENE = """#version 3.7;
global_settings { assumed_gamma 1 }
#macro Eye() location <0, 1, -4> look_at 0 right x*image_width/image_height #end
camera { Eye() }
background { rgb <0.1, 0.2, 0.4> }
plane { y, -1 pigment { checker rgb 0.2 rgb 0.9 scale 0.3 } finish { reflection 0.2 } }
sphere { <-0.9, 0, 0>, 0.8 pigment { rgb <1, 0.3, 0.1> } finish { phong 0.8 } }
"""
LAMP = "light_source { <2, 4, -3> 1 }\n"
AREA = "light_source { <-3, 5, -3> 1 area_light x*2, z*2, 5, 5 adaptive 1 %s }\n"
MEDIA = "media { scattering { 1, 0.15 } intervals %s }\n"
GLASS = "sphere { <0.9, 0, 0>, 0.8 pigment { rgbt 1 } interior { ior 1.5 } photons { target refraction on } }\n"
BOX = "box { <0.3, -0.9, -0.5>, <1.5, 0.6, 0.6> pigment { rgb 0.9 } finish { %s } }\n"
LENS = "camera { Eye() aperture 0.4 blur_samples 20 focal_point <-0.9, 0, -0.8> }"
SKIN = "global_settings { subsurface { samples 20, 10 } mm_per_unit 40 }"
PLAIN = ("Antialias=off",)
AM1, AM2 = (("Antialias=on", "Antialias_Threshold=0.05", f"Sampling_Method={n}") for n in (1, 2))
POVRAY = {
    "no anti-aliasing": (LAMP, PLAIN),
    "AM1": (LAMP, (*AM1, "Jitter=off")),
    "AM1, jitter": (LAMP, (*AM1, "Jitter=on")),
    "AM1, depth 5": (LAMP, (*AM1, "Jitter=off", "Antialias_Depth=5")),
    "AM2": (LAMP, (*AM2, "Jitter=off")),
    "AM2, jitter": (LAMP, (*AM2, "Jitter=on")),
    "focal blur": (LAMP + LENS, PLAIN),
    "photons": (LAMP + GLASS + "global_settings { photons { count 5000 } }", PLAIN),
    "radiosity": ("global_settings { radiosity { count 30 } }" + LAMP, PLAIN),
    "media method 1": (LAMP + MEDIA % "5 samples 1, 3 method 1 variance 0.01", PLAIN),
    "media method 3": (LAMP + MEDIA % "1 samples 5 method 3", PLAIN),
    "area light": (AREA % "", PLAIN),
    "area light, jitter": (AREA % "jitter", PLAIN),
    "subsurface": (LAMP + SKIN + BOX % "subsurface { translucency 0.5 }", PLAIN),
    "crand": (LAMP + BOX % "crand 0.3", PLAIN),
}
BLENDER_SIZE, BLENDER_CUTS = (203, 131), ((71, 90), (53,))
COMPOSITOR = """
if hasattr(scene, 'compositing_node_group'):
    tree = scene.compositing_node_group = bpy.data.node_groups.new('Tree', 'CompositorNodeTree')
    tree.interface.new_socket('Image', in_out='OUTPUT', socket_type='NodeSocketColor')
    out = tree.nodes.new('NodeGroupOutput')
else:
    scene.use_nodes = True
    (tree := scene.node_tree).nodes.clear()
    out = tree.nodes.new('CompositorNodeComposite')
nodes = [tree.nodes.new('CompositorNode' + name) for name in ('RLayers', 'Glare', 'Blur')] + [out]
if 'Size' in nodes[2].inputs: nodes[2].inputs['Size'].default_value = (4, 4) if bpy.app.version >= (5,) else 4
if hasattr(nodes[2], 'size_x') and bpy.app.version < (4, 5): nodes[2].size_x = nodes[2].size_y = 4
for one, other in zip(nodes, nodes[1:]): tree.links.new(one.outputs['Image'], other.inputs['Image'])
"""
LAYERS = """
layers = [scene.view_layers[0], scene.view_layers.new('Second')]
for name in 'cryptomatte_object', 'z', 'mist', 'object_index', 'vector', 'normal', 'diffuse_direct':
    for layer in layers: setattr(layer, 'use_pass_' + name, True)
"""
HAIR = """
hair = cube.modifiers.new('Hair', 'PARTICLE_SYSTEM').particle_system.settings
hair.type, hair.count, hair.hair_length = 'HAIR', 400, 0.6
"""
VOLUME = """
tree, cycles.samples = cube.active_material.node_tree, 2
tree.links.clear()
smoke, noise = tree.nodes.new('ShaderNodeVolumePrincipled'), tree.nodes.new('ShaderNodeTexNoise')
tree.links.new(noise.outputs[0], smoke.inputs['Density'])
tree.links.new(smoke.outputs[0], tree.nodes['Material Output'].inputs['Volume'])
"""
NO_MARGIN = "adaptive, no margin"
ADAPTIVE = """
cycles.use_adaptive_sampling, cycles.samples = True, 64
cycles.adaptive_threshold, cycles.adaptive_min_samples = 0.05, 8
"""
DENOISED = "cycles.use_denoising = True\n"
BLENDER = {
    "plain": "",
    "compositor with glare and blur": COMPOSITOR,
    "transparent film": "scene.render.film_transparent, image.color_mode = True, 'RGBA'",
    "layers, Cryptomatte": LAYERS,
    "motion blur": "scene.render.use_motion_blur = True",
    "depth of field": "dof = camera.data.dof; dof.use_dof, dof.focus_distance, dof.aperture_fstop = 1, 5, 0.4",
    "hair": HAIR,
    "volume": VOLUME,
    NO_MARGIN: ADAPTIVE,
    "adaptive": ADAPTIVE,
    "denoised": DENOISED,
    "denoised, adaptive": DENOISED + ADAPTIVE,
}
MAKER = """
import bpy, _cycles, os
for path, script in {scenes!r}.items():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    render, cycles, image = scene.render, scene.cycles, scene.render.image_settings
    render.engine, render.resolution_percentage, cycles.device, cycles.samples = 'CYCLES', 100, 'CPU', 16
    render.resolution_x, render.resolution_y = {size!r}
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    scene.world = bpy.data.worlds.new('World')
    bpy.ops.mesh.primitive_plane_add(size=30, location=(0, 0, -1))
    bpy.ops.mesh.primitive_cube_add(size=2)
    cube, paint = bpy.context.object, bpy.data.materials.new('Paint')
    paint.use_nodes = True
    paint.node_tree.nodes['Principled BSDF'].inputs['Base Color'].default_value = (0.8, 0.2, 0.1, 1)
    cube.data.materials.append(paint)
    cube.driver_add('rotation_euler', 2).driver.expression = 'frame / 2'
    bpy.ops.object.light_add(type='AREA', location=(0, -1, 5))
    bpy.context.object.data.energy, bpy.context.object.data.size = 400, 3
    bpy.ops.object.camera_add(location=(0, -7, 2), rotation=(1.3, 0, 0))
    scene.camera = camera = bpy.context.object
    exec(script)
    if not cycles.use_denoising or _cycles.with_openimagedenoise: bpy.ops.wm.save_as_mainfile(filepath=path)
os._exit(0)
"""
HEADLESS = ("-b", "--factory-startup", "-noaudio", "--python-exit-code", "9")
FRAME = 3


def parts_of(size: tuple[int, int], cuts: Cuts, margin: int = 0) -> list[Part]:
    """Tiles that begin at the given columns and rows."""
    across, down = ((0, *inner, side) for inner, side in zip(cuts, size, strict=True))
    boxes = [(left, top, right, bottom) for top, bottom in pairwise(down) for left, right in pairwise(across)]
    return [Part(FRAME, *box, margin=margin) for box in boxes]


def rendered(work: Work, *numbers: int) -> tuple[list[Path], Scene]:
    """Files of frames or parts, rendered in a session of ours, and what that says of the scene."""
    (scratch := Path(work.scratch)).mkdir(parents=True)
    with closing(renderer(work.renderer).open(work, ProcessLauncher(work))) as session:
        scene = session.describe()
        done = list(session.render(numbers, 1 if work.renderer == "povray" else 2, scratch, scratch / "log"))
    paths = [Path(each.path) for each in done if isinstance(each, Rendered)]
    if len(paths) < len(numbers):
        raise SystemExit(f"{work.scene}: {done[-1]}\n{(scratch / 'log').read_text()[-2000:]}")
    return paths, scene


def difference(one: Path, other: Path) -> str:
    """How two files differ."""
    buffers: list[Any] = [openimageio().ImageBuf(str(path)) for path in (one, other)]
    a, b = (buffer.get_pixels(buffer.spec().format).astype(int) for buffer in buffers)
    differs, most = (a != b).any(-1), 65535 if "16" in str(buffers[0].spec().format) else 255
    if not differs.any():
        return "equal"
    return f"{differs.sum()} pixels ({differs.mean():.2%}) by up to {abs(a - b).max()} of {most}"


def submitted(scene: Scene) -> str:
    """What `submit --split` makes of it."""
    return f"refused: {scene.seams}" if scene.seams else "split"


def povray(kind: str, build: Build, folder: Path) -> list[str]:
    """A row: how the tiles of each cut differ from the whole."""
    extra, options = POVRAY[kind]
    folder.mkdir()
    (folder / "scene.pov").write_text(POV_SCENE + extra)
    lines = ["Input_File_Name=scene.pov", "Bits_Per_Color=16", f"Final_Frame={FRAME}", *options]
    (ini := folder / "scene.ini").write_text("\n".join(lines) + "\n")
    work = Work("povray", build, str(ini), Settings(POV_SIZE), str(folder / "whole"), sandbox=Sandbox.OFF)
    (whole,), scene = rendered(work, FRAME)
    found = []
    for number, cuts in enumerate(POV_CUTS):
        parts = tuple(parts_of(POV_SIZE, cuts))
        work = replace(work, scratch=str(folder / f"tiles{number}"), parts=parts, size=POV_SIZE)
        files = rendered(work, *range(len(parts)))[0]
        merge(list(zip(parts, files, strict=True)), POV_SIZE, folder / "merged.png")
        found.append(difference(folder / "merged.png", whole))
    return [*found, submitted(scene)]


def blender(kind: str, build: Build, path: Path) -> list[str]:
    """A row: how the layers of the tiles, their picture and that of sample ranges differ from the whole."""
    if not path.exists():
        return ["not in this build", "", "", ""]
    folder, every = path.with_suffix(""), Part(FRAME, 0, 0, *BLENDER_SIZE)
    whole = Work("blender", build, str(path), Settings(), str(folder / "whole"), sandbox=Sandbox.OFF)
    (theirs,), scene = rendered(whole, FRAME)
    parts = parts_of(BLENDER_SIZE, BLENDER_CUTS, 0 if kind == NO_MARGIN else scene.margin)
    tiles = replace(whole, scratch=str(folder / "tiles"), settings=Settings(format="exr"), size=BLENDER_SIZE)
    layers, *files = rendered(replace(tiles, parts=(every, *parts)), *range(len(parts) + 1))[0]
    sampled = means(whole, tiles, scene, theirs)
    pairs, merged = list(zip(parts, files, strict=True)), folder / "merged.exr"
    if where := seam(pairs, BLENDER_SIZE):
        return [f"refused: {where}", "", sampled, ""]
    merge(pairs, BLENDER_SIZE, merged)
    share = differing(every, layers, merged)
    ours = finished(whole, merged)
    layers_differ = f"{share:.2%} differ" if share else "equal"
    return [layers_differ, difference(ours, theirs), sampled, submitted(scene)]


def means(whole: Work, tiles: Work, scene: Scene, theirs: Path) -> str:
    """How the picture of three ranges of samples differs from the whole."""
    if scene.uneven:
        return f"refused: {scene.uneven}"
    parts = cut_into(FRAME, scene, "samples=3")
    files, _ = rendered(replace(tiles, parts=parts, scratch=f"{tiles.scratch}-ranges"), *range(len(parts)))
    merge(list(zip(parts, files, strict=True)), BLENDER_SIZE, merged := files[0].parent / "merged.exr")
    return difference(finished(whole, merged), theirs)


def finished(whole: Work, merged: Path) -> Path:
    """The picture that Blender makes of merged layers."""
    scratch = str(merged.parent / f"last-{merged.parent.name}")
    return rendered(replace(whole, scratch=scratch, merged={str(FRAME): str(merged)}), FRAME)[0][0]


def made(build: Build, folder: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """The scenes, saved by the Blender that renders them."""
    paths = {kind: folder / f"{number}.blend" for number, kind in enumerate(kinds)}
    make(build, {str(path): BLENDER[kind] for kind, path in paths.items()}, BLENDER_SIZE)
    return paths


def make(build: Build, scenes: dict[str, str], size: tuple[int, int]) -> None:
    """Save scenes by what is to be changed of the usual one."""
    start = ["-c"] if is_module(build) else [*HEADLESS, "--python-expr"]
    argv = [build.path, *start, MAKER.format(scenes=scenes, size=size)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


CLOCK = """
cycles.samples, paint = {samples}, cube.active_material.node_tree.nodes['Principled BSDF'].inputs
paint['Roughness'].default_value, paint['Metallic'].default_value = 0.2, 1
"""
PARTS = "tiles=2x1", "samples=2"


def clock(samples: int) -> None:
    """Wall clock, CPU and the most memory of a process: a frame whole, and in two parts on two workers."""
    with tempfile.TemporaryDirectory(prefix="stills-") as name:
        folder, build = Path(name), renderer("blender").builds()[0]
        make(build, {str(folder / "scene.blend"): CLOCK.format(samples=samples)}, (1920, 1080))
        print("| frame | seconds | of the whole's | CPU seconds | peak of a process |")
        first = None
        for split in ("none", *PARTS):
            seconds, cpu, peak = submit(folder, split)
            first = first or seconds
            row = [split, f"{seconds:.1f}", f"{seconds / first:.2f}", f"{cpu:.1f}", f"{peak >> 20} MB"]
            print(f"| {' | '.join(row)} |", flush=True)


def submit(folder: Path, split: str) -> tuple[float, float, int]:
    """Seconds of a command that renders one frame, CPU seconds of its renders, and the largest one's memory."""
    output = folder / split
    argv = [sys.executable, "-m", "renderfarm", "submit", "--json", "-q", "--no-reuse", "-o", str(output)]
    argv += ["-f", str(FRAME), "--split", split, str(folder / "scene.blend")]
    argv += [] if split == "none" else ["--workers", "2"]
    environment = {**os.environ, "RENDERFARM_HOME": str(folder / "home")}
    begin = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds = time.monotonic() - begin
    lines = [line for path in output.rglob("journal/*.jsonl") for line in path.read_text().splitlines()]
    told = [value for kind, value, _ in map(json.loads, lines) if kind == "Rendered"]
    cpu = sum(each["cpu_seconds"] for each in told)
    return seconds, cpu, max(each["peak_bytes"] for each in told)


BIG = 16384, 9216


def big() -> None:
    """The most memory of merging tiles and ranges of a large picture, and of looking at it."""
    with tempfile.TemporaryDirectory(prefix="stills-") as name:
        scene = Scene("", "blender", "", "1", 24.0, BIG, None, samples=64, block=1)
        for what, split in (("8 tiles", "tiles=4x2"), ("2 ranges", "samples=2")):
            parts = cut_into(1, scene, split)
            files = [Path(name, f"{number}.exr") for number in range(len(parts))]
            for part, path in zip(parts, files, strict=True):
                write(part, path)
            steps: dict[str, tuple[Callable[..., object], tuple[object, ...]]] = {
                f"merge {what}": (merge, (list(zip(parts, files, strict=True)), BIG, Path(name, "merged.exr"))),
                "look": (look, (Path(name, "merged.exr"), 1)),
            }
            for step, (function, arguments) in steps.items():
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    seconds, peak, result = pool.apply(measured, (function, arguments))
                found = getattr(result, "finding", None) or "good"
                print(f"{step}: {seconds:.0f} s, {peak >> 20} MB, {found}", flush=True)


def measured(function: Callable[..., object], arguments: tuple[object, ...]) -> tuple[float, int, object]:
    """Seconds of a call, the most memory of its process, and what it returned."""
    begin = time.monotonic()
    result = function(*arguments)
    return time.monotonic() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, result


def write(part: Part, path: Path) -> None:
    """A part as Cycles writes it, of 32-bit floats, with colours that change along both sides."""
    oiio = openimageio()
    width, height = part.size
    spec = oiio.ImageSpec(width, height, 4, "float")
    spec.attribute("compression", "zip")
    output, across = oiio.ImageOutput.create(str(path)), np.arange(width, dtype="float32") / width
    output.open(str(path), spec)
    for top in range(0, height, 16):
        rows = np.arange(top, min(top + 16, height), dtype="float32")[:, None, None]
        output.write_scanlines(top, top + len(rows), 0, np.repeat(across[None, :, None] + rows, 4, axis=2))
    output.close()


def main() -> None:
    """Print the tables, a line at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--blender", default=[], metavar="PATH", action="append")
    for flag in ("--clock", "--quick", "--big"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("kinds", nargs="*", metavar="KIND")
    asked = parser.parse_args()
    if asked.clock:
        clock(2 if asked.quick else 38)
    elif asked.big:
        big()
    else:
        tables(asked.blender, asked.kinds)


def tables(blenders: Sequence[str], named: Sequence[str]) -> None:
    """A table for each build, with a row for each kind, or for those that were named."""
    wanted = [kind for kind in (BLENDER if blenders else POVRAY) if kind in (named or [kind])]
    builds = [renderer("blender").builds(path)[0] for path in blenders]
    for build in builds or renderer("povray").builds()[:1]:
        with tempfile.TemporaryDirectory(prefix="stills-") as folder:
            scenes = made(build, Path(folder), wanted) if builds else {}
            cuts = (
                ["layers", "picture", "ranges of samples"]
                if builds
                else [f"cut at {x[0]}, {y[0]}" for x, y in POV_CUTS]
            )
            print(f"| {' | '.join([build.label, *cuts, 'submit'])} |")
            for kind in wanted:
                row = blender(kind, build, scenes[kind]) if builds else povray(kind, build, Path(folder, kind))
                print(f"| {' | '.join([kind, *row])} |", flush=True)


if __name__ == "__main__":
    main()
