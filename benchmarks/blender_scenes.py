"""Runs inside Blender: builds one benchmark scene. `blender -b --python THIS -- NAME FILE SIZE`."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import bpy


def settle(frames: int, samples: int, width: int) -> bpy.types.Scene:
    """Settings of a 16:9 Cycles scene; no denoiser, because Debian's Blender has none."""
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, frames
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = width, width * 9 // 16
    scene.render.resolution_percentage = 100
    scene.cycles.samples, scene.cycles.device = samples, "CPU"
    scene.cycles.use_adaptive_sampling = scene.cycles.use_denoising = False
    scene.cycles.max_bounces = 3
    scene.world = bpy.data.worlds.new("World")
    scene.world.color = (0.25, 0.30, 0.40)
    return scene


def add_camera(frames: int, radius: float) -> None:
    """A camera on a quarter of a circle, looking at the middle."""
    target = bpy.data.objects.new("Target", None)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    for made in (target, camera):
        bpy.context.collection.objects.link(made)
    look = camera.constraints.new("TRACK_TO")
    look.target, look.track_axis, look.up_axis = target, "TRACK_NEGATIVE_Z", "UP_Y"
    for frame in (1, (1 + frames) // 2, frames):
        angle = math.pi / 2 * frame / frames
        camera.location = (radius * math.cos(angle), -radius * math.sin(angle), radius * 0.45)
        camera.keyframe_insert("location", frame=frame)
    bpy.context.scene.camera = camera


def add_sun() -> None:
    bpy.ops.object.light_add(type="SUN", rotation=(0.7, 0.2, 0.4))
    bpy.context.object.data.energy = 3.0


def picture(folder: Path, name: str, side: int) -> bpy.types.Image:
    """A square image beside the scene, referred to by a relative path."""
    image = bpy.data.images.new(name, side, side)
    image.generated_type = "COLOR_GRID"
    image.filepath_raw = str(folder / f"{name}.png")
    image.file_format = "PNG"
    image.save()
    bpy.data.images.remove(image)
    return bpy.data.images.load(f"//{name}.png")


def textured(name: str, image: bpy.types.Image, roughness: float = 0.5) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = roughness
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    return material


def spin(target: bpy.types.Object, frames: int, turns: float) -> None:
    """Turns and rises: transforms only."""
    x, y, z = target.location
    for frame in (1, (1 + frames) // 2, frames):
        target.location = (x, y, z + 0.4 * math.sin(3 * frame / frames))
        target.rotation_euler = (0, 0, 2 * math.pi * turns * frame / frames)
        target.keyframe_insert("location", frame=frame)
        target.keyframe_insert("rotation_euler", frame=frame)


def crumpled(subdivisions: int, material: bpy.types.Material) -> bpy.types.Object:
    """A dense mesh: a monkey that modifiers subdivide and crumple, once, when it is loaded."""
    bpy.ops.mesh.primitive_monkey_add(size=2)
    made = bpy.context.object
    surface = made.modifiers.new("Subdivision", "SUBSURF")
    surface.levels = surface.render_levels = subdivisions
    noise = made.modifiers.new("Displace", "DISPLACE")
    noise.texture = bpy.data.textures.new("Noise", "CLOUDS")
    noise.texture.noise_scale, noise.strength = 0.15, 0.12
    made.data.materials.clear()
    made.data.materials.append(material)
    return made


def heavy(folder: Path, size: float) -> None:
    """A walk through a still set: load, sync and BVH are over half of a cold frame."""
    heavy_set(folder, size, moving=False)


def heavy_moving(folder: Path, size: float) -> None:
    """The same with every object moving, so that the BVH is built anew for each frame whatever is kept."""
    heavy_set(folder, size, moving=True)


def heavy_set(folder: Path, size: float, *, moving: bool) -> None:
    """Geometry and textures that cost more than the sampling."""
    frames = 12
    settle(frames, samples=12, width=480)
    add_sun()
    add_camera(frames, 9.0)
    chance = random.Random(1)
    subdivisions, side = (4, 2048) if size >= 1 else (3, 1024)
    for number in range(max(2, round(12 * size))):
        material = textured(f"Skin {number}", picture(folder, f"heavy-{number}", side))
        made = crumpled(subdivisions, material)
        angle = number * 2.4
        reach = 0.9 + 0.3 * number
        made.location = (reach * math.cos(angle), reach * math.sin(angle), chance.uniform(-1, 1))
        if moving:
            spin(made, frames, 0.25)


def light(folder: Path, size: float) -> None:
    """Water that is one dense deforming mesh, and small objects: part of each frame is one thread's work."""
    frames = 48 if size >= 1 else 12
    settle(frames, samples=1, width=352)
    add_sun()
    add_camera(frames, 8.0)
    image = picture(folder, "light", 512)
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=460, y_subdivisions=460, size=14, location=(0, 0, -1.2))
    floor = bpy.context.object
    wave = floor.modifiers.new("Wave", "WAVE")
    wave.height, wave.width, wave.speed = 0.25, 2.0, 0.2
    floor.data.materials.append(textured("Floor", image, 0.2))
    for number in range(4):
        add_monkey(number, frames, textured(f"Skin {number}", image))


def add_monkey(number: int, frames: int, material: bpy.types.Material) -> None:
    """A monkey that twists to and fro while it turns."""
    angle = number * math.pi / 2
    bpy.ops.mesh.primitive_monkey_add(size=1.6, location=(2.4 * math.cos(angle), 2.4 * math.sin(angle), 0.2))
    made = bpy.context.object
    surface = made.modifiers.new("Subdivision", "SUBSURF")
    surface.levels = surface.render_levels = 2 if number == 0 else 1
    twist = made.modifiers.new("Twist", "SIMPLE_DEFORM")
    twist.deform_method, twist.deform_axis = "TWIST", "Z"
    for frame in (1, (1 + frames) // 2, frames):
        twist.angle = 1.5 * math.sin(6 * frame / frames + number)
        twist.keyframe_insert("angle", frame=frame)
    made.data.materials.append(material)
    spin(made, frames, 0.5)


def very_light(folder: Path, size: float) -> None:
    """Six monkeys that turn: a frame is mostly what Blender does for any frame."""
    frames = 48
    settle(frames, samples=4, width=320)
    add_sun()
    add_camera(frames, 7.0)
    for number in range(6):
        angle = number * math.pi / 3
        bpy.ops.mesh.primitive_monkey_add(location=(2.5 * math.cos(angle), 2.5 * math.sin(angle), 0))
        spin(bpy.context.object, frames, 0.5)


def busy(folder: Path, size: float) -> None:
    """Sampling that keeps all cores busy."""
    very_light(folder, size)
    bpy.context.scene.cycles.samples = round(160 * size)


def geometry(folder: Path, size: float) -> None:
    """Four meshes of 650,000 faces that lie in the file, and a camera that moves."""
    frames = 48
    settle(frames, samples=4, width=320)
    add_sun()
    add_camera(frames, 9.0)
    side = round(806 * size**0.5)
    for number in range(4):
        place = (3 * (number % 2) - 1.5, 3 * (number // 2) - 1.5, 0)
        bpy.ops.mesh.primitive_grid_add(x_subdivisions=side, y_subdivisions=side, size=3, location=place)
        for vertex in bpy.context.object.data.vertices:
            vertex.co.z = 0.2 * math.sin(9 * vertex.co.x) * math.cos(7 * vertex.co.y)


def textures(folder: Path, size: float) -> None:
    """Large pictures on few faces."""
    frames = 48
    settle(frames, samples=4, width=320)
    add_sun()
    add_camera(frames, 9.0)
    for number in range(round(12 * size)):
        bpy.ops.mesh.primitive_cube_add(location=(2.5 * (number % 4) - 4, 2.5 * (number // 4) - 2.5, 0))
        skin = textured(f"Skin {number}", picture(folder, f"textures-{number}", 4096))
        bpy.context.object.data.materials.append(skin)


KINDS = {"heavy": heavy, "heavy-moving": heavy_moving, "light": light, "very-light": very_light}
KINDS |= {"busy": busy, "geometry": geometry, "textures": textures}


def main(name: str, file: str, size: str) -> None:
    """Saved once before it is built, because relative paths need a saved file."""
    path = Path(file).resolve()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.save_version = 0
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    KINDS[name](path.parent, float(size))
    bpy.ops.wm.save_as_mainfile(filepath=str(path))


if __name__ == "__main__":
    main(*sys.argv[sys.argv.index("--") + 1 :])
