"""Which kinds of animation Cycles renders alike from warm (persistent data) and from cold: run it in a Blender.

`PYTHON_WITH_BPY benchmarks/warmth.py [KIND ...]` or `blender -b --factory-startup --python THIS -- [KIND ...]`.
For each kind four frames are rendered one after the other, warm and cold, and their floats compared.
"""

from __future__ import annotations

import sys
import tempfile
from array import array
from pathlib import Path

import bpy

FRAMES = range(1, 5)
KINDS = {
    "location": "key(cube, 'location', 0, 1)",
    "rotation": "key(cube, 'rotation_euler', 0, 2)",
    "scale": "key(cube, 'scale', 1, 2)",
    "parent": "cube.parent = empty; key(empty, 'location', 0, 1)",
    "constraint": "cube.constraints.new('COPY_LOCATION').target = empty; key(empty, 'location', 0, 1)",
    "camera": "key(camera, 'location', (0, -7, 2), (2, -7, 2))",
    "lens": "key(camera.data, 'lens', 30, 60)",
    "shift": "key(camera.data, 'shift_x', 0, 0.3)",
    "depth of field": "camera.data.dof.use_dof = True; key(camera.data.dof, 'focus_distance', 2, 9)",
    "orthographic": "camera.data.type = 'ORTHO'; key(camera.data, 'ortho_scale', 4, 8)",
    "markers": "marker('A', 1, camera); marker('B', 3, other)",
    "motion blur": "scene.render.use_motion_blur = True; key(cube, 'location', 0, 2)",
    "deforming motion blur": "scene.render.use_motion_blur = True; shape(); key(shape_key, 'value', 0, 1)",
    "shape keys": "shape(); key(shape_key, 'value', 0, 1)",
    "armature": "bones(); key(bone, 'rotation_euler', 0, 1)",
    "hide": "key(cube, 'hide_render', False, True)",
    "holdout": "key(cube, 'is_holdout', False, True)",
    "ray visibility": "key(cube, 'visible_camera', True, False)",
    "light energy": "key(sun.data, 'energy', 1, 5)",
    "light colour": "key(sun.data, 'color', (1, 1, 1), (1, 0, 0))",
    "light angle": "key(sun.data, 'angle', 0.01, 1)",
    "spot": "sun.data.type = 'SPOT'; sun.data.energy = 900; key(sun.data, 'spot_size', 0.4, 1.5)",
    "area": "sun.data.type = 'AREA'; sun.data.energy = 300; key(sun.data, 'size', 0.2, 3)",
    "world": "key(world.inputs['Strength'], 'default_value', 0.2, 2)",
    "world colour": "key(world.inputs['Color'], 'default_value', (1, 0, 0, 1), (0, 0, 1, 1))",
    "sky": "sky(); key(node, 'sun_elevation', 0.1, 1)",
    "colour": "key(paint.inputs['Base Color'], 'default_value', (1, 0, 0, 1), (0, 1, 0, 1))",
    "roughness": "key(paint.inputs['Roughness'], 'default_value', 0.1, 0.9)",
    "emission": "key(paint.inputs['Emission Strength'], 'default_value', 0, 3)",
    "texture": "texture('ShaderNodeTexNoise'); key(node.inputs['Scale'], 'default_value', 1, 9)",
    "material driver": "driver(paint.inputs['Roughness'], 'default_value', 'frame / 5')",
    "driver": "driver(cube, 'scale', 'frame / 3', 0)",
    "bump": "texture('ShaderNodeTexNoise'); bump(); key(node.inputs['Scale'], 'default_value', 1, 9)",
    "displacement": "displaced(); key(node.inputs['Scale'], 'default_value', 1, 5)",
    "adaptive subdivision": "dice(); displaced(); key(node.inputs['Scale'], 'default_value', 1, 5)",
    "array": "m = modifier('ARRAY'); key(m, 'count', 1, 3)",
    "subdivision": "m = modifier('SUBSURF'); key(m, 'render_levels', 1, 3)",
    "wave": "modifier('SUBSURF').render_levels = 4; modifier('WAVE')",
    "build": "m = modifier('BUILD'); m.frame_start, m.frame_duration = 1, 6",
    "bevel": "m = modifier('BEVEL'); key(m, 'width', 0.05, 0.5)",
    "boolean": "m = modifier('BOOLEAN'); m.object = second; key(second, 'location', (1, 0, 0), (0, 0, 1))",
    "solidify": "m = modifier('SOLIDIFY'); m.offset = 1; key(m, 'thickness', 0.05, 0.8)",
    "displace": "key(modifier('DISPLACE'), 'strength', 0, 1)",
    "hook": "m = modifier('HOOK'); m.object = empty; m.vertex_indices_set([0]); key(empty, 'location', 0, 1)",
    "mirror": "key(modifier('MIRROR'), 'mirror_offset_u', 0, 1); key(cube, 'location', 0, 1)",
    "smooth": "modifier('SUBSURF'); key(modifier('SMOOTH'), 'factor', 0, 1)",
    "lattice": "lattice(); key(lattice_key, 'value', 0, 1)",
    "geometry nodes": "nodes()",
    "text": "text(); key(words, 'extrude', 0, 0.5)",
    "curve": "curve(); key(line, 'bevel_depth', 0.1, 0.5)",
    "metaball": "ball(); key(meta, 'location', 0, 1)",
    "instances": "instances(); key(empty, 'location', 0, 1)",
    "image sequence": "sequence()",
    "seed": "key(scene.cycles, 'seed', 1, 9)",
    "exposure": "key(scene.cycles, 'film_exposure', 0.5, 2)",
    "linked": "linked(); key(empty, 'location', 0, 1)",
    "fog": "fog(); key(node.inputs['Density'], 'default_value', 0.05, 0.6)",
    "sequence not refreshed": "sequence(); node.image_user.use_auto_refresh = False",
    "simplification": "modifier('SUBSURF').render_levels = 3; scene.render.use_simplify = True; "
    "key(scene.render, 'simplify_subdivision_render', 0, 3)",
    "displacement by place": "displaced(); by_place(); key(cube, 'location', 0, 2)",
    "hair on a moving head": "hair(); key(cube, 'rotation_euler', 0, 2)",
}
HELPERS = """
def key(owner, path, first, last):
    for frame, value in ((1, first), (4, last)):
        now = getattr(owner, path)
        many = hasattr(now, "__len__") and not hasattr(value, "__len__")
        setattr(owner, path, [value] * len(now) if many else value)
        owner.keyframe_insert(path, frame=frame)
def driver(owner, path, expression, index=-1):
    made = owner.driver_add(path, index) if index >= 0 else owner.driver_add(path)
    made.driver.expression = expression
def modifier(kind):
    return cube.modifiers.new(kind, kind)
def marker(name, frame, camera):
    scene.timeline_markers.new(name, frame=frame).camera = camera
def link(made):
    scene.collection.objects.link(made)
    return made
def shape():
    global shape_key
    cube.shape_key_add(name="Basis")
    shape_key = cube.shape_key_add(name="Wide")
    for point in shape_key.data[:4]:
        point.co.x *= 2
def bones():
    global bone
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    cube.parent, cube.parent_type, cube.parent_bone = rig, "BONE", rig.data.bones[0].name
    bone = rig.pose.bones[0]
    bone.rotation_mode = "XYZ"
def sky():
    global node
    tree = scene.world.node_tree
    node = tree.nodes.new("ShaderNodeTexSky")
    tree.links.new(node.outputs[0], world.inputs["Color"])
def texture(kind):
    global node
    node = tree.nodes.new(kind)
    tree.links.new(node.outputs[0], paint.inputs["Base Color"])
def bump():
    made = tree.nodes.new("ShaderNodeBump")
    tree.links.new(node.outputs[0], made.inputs["Height"])
    tree.links.new(made.outputs[0], paint.inputs["Normal"])
def dice():
    if hasattr(scene.cycles, "feature_set"):
        scene.cycles.feature_set = "EXPERIMENTAL"
    modifier("SUBSURF")
    owner = cube.modifiers[0] if hasattr(cube.modifiers[0], "use_adaptive_subdivision") else cube.cycles
    owner.use_adaptive_subdivision = True
def displaced():
    if not cube.modifiers:
        modifier("SUBSURF").render_levels = 4
    texture("ShaderNodeTexNoise")
    made = tree.nodes.new("ShaderNodeDisplacement")
    tree.links.new(node.outputs[0], made.inputs["Height"])
    tree.links.new(made.outputs[0], out.inputs["Displacement"])
    owner = cube.active_material
    owner = owner if hasattr(owner, "displacement_method") else owner.cycles
    owner.displacement_method = "DISPLACEMENT"
def by_place():
    place = tree.nodes.new("ShaderNodeNewGeometry")
    tree.links.new(place.outputs["Position"], node.inputs["Vector"])
def lattice():
    global lattice_key
    made = link(bpy.data.objects.new("L", bpy.data.lattices.new("L")))
    made.scale = 4, 4, 4
    made.shape_key_add(name="Basis")
    lattice_key = made.shape_key_add(name="Bent")
    lattice_key.data[0].co.x += 1
    modifier("LATTICE").object = made
def nodes():
    group = bpy.data.node_groups.new("G", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    into, back, move, time = (group.nodes.new(kind) for kind in (
        "NodeGroupInput", "NodeGroupOutput", "GeometryNodeTransform", "GeometryNodeInputSceneTime"))
    group.links.new(into.outputs[0], move.inputs["Geometry"])
    group.links.new(time.outputs["Seconds"], move.inputs["Translation"])
    group.links.new(move.outputs[0], back.inputs[0])
    modifier("NODES").node_group = group
def text():
    global words
    words = bpy.data.curves.new("T", "FONT")
    words.body = "warm"
    link(bpy.data.objects.new("T", words)).rotation_euler.x = 1.5
def curve():
    global line
    bpy.ops.curve.primitive_bezier_circle_add(radius=2)
    line = bpy.context.object.data
def ball():
    global meta
    bpy.ops.object.metaball_add(location=(1, 0, 1))
    meta = bpy.context.object
def instances():
    group = bpy.data.collections.new("I")
    group.objects.link(second)
    empty.instance_type, empty.instance_collection = "COLLECTION", group
def picture(path, colour):
    image = bpy.data.images.new(path.stem, 4, 4)
    image.pixels = [*colour, 1] * 16
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
def sequence():
    for number in range(1, 5):
        picture(folder / f"s_{number:04d}.png", (number / 5, 0.5, 1 - number / 5))
    texture("ShaderNodeTexImage")
    node.image = bpy.data.images.load(str(folder / "s_0001.png"))
    node.image.source = "SEQUENCE"
    node.image_user.frame_duration, node.image_user.use_auto_refresh = 4, True
def linked():
    path = str(folder / "library.blend")
    bpy.data.libraries.write(path, {second})
    with bpy.data.libraries.load(path, link=True) as (there, here):
        here.objects = there.objects
    link(here.objects[0])
    second.parent = empty
def fog():
    global node
    node = tree.nodes.new("ShaderNodeVolumePrincipled")
    tree.links.new(node.outputs[0], out.inputs["Volume"])
    tree.links.remove(out.inputs["Surface"].links[0])
def hair():
    modifier("PARTICLE_SYSTEM")
    made = cube.particle_systems[0].settings
    made.type, made.count, made.hair_length = "HAIR", 50, 1
"""


def build(kind: str, folder: Path) -> bpy.types.Scene:
    """A small scene that has this kind of animation."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 4, False
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 64, 48, 100
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
    scene.world = bpy.data.worlds.new("World")
    scene.world.use_nodes = True
    found: dict[str, bpy.types.Object] = {}
    for name in ("camera", "other"):
        found[name] = bpy.data.objects.new(name, bpy.data.cameras.new(name))
        found[name].location, found[name].rotation_euler = (0, -7, 2), (1.3, 0, 0)
        scene.collection.objects.link(found[name])
    found["other"].location.x = 1.5
    scene.camera = found["camera"]
    bpy.ops.object.light_add(type="SUN", location=(2, -3, 5), rotation=(0.6, 0.3, 0))
    sun = bpy.context.object
    bpy.ops.mesh.primitive_cube_add(location=(1, 1, 1), size=1.5)
    second = bpy.context.object
    bpy.ops.object.empty_add()
    empty = bpy.context.object
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    material = bpy.data.materials.new("Paint")
    material.use_nodes = True
    cube.data.materials.append(material)
    tree = material.node_tree
    world = scene.world.node_tree.nodes["Background"]
    names = {
        **found, "bpy": bpy, "scene": scene, "sun": sun, "cube": cube, "second": second, "empty": empty,
        "tree": tree, "world": world, "folder": folder, "paint": tree.nodes["Principled BSDF"],
        "out": tree.nodes["Material Output"],
    }  # fmt: skip
    exec(HELPERS + KINDS[kind], names)
    return scene


def rendered(scene: bpy.types.Scene, stem: Path, *, warm: bool) -> list[array[float]]:
    """The floats of each frame, rendered one after the other as sessions do."""
    scene.render.use_persistent_data = warm
    scene.render.filepath = str(stem)
    found = []
    for frame in FRAMES:
        scene.frame_start = scene.frame_end = frame
        bpy.ops.render.render(animation=True)
        image = bpy.data.images.load(scene.render.frame_path(frame=frame))
        pixels = array("f", bytes(4 * len(image.pixels)))
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
        found.append(pixels)
    return found


def main(wanted: list[str]) -> None:
    """Compare and print; a kind that does not move shows nothing, and is told."""
    same, others = 0, []
    for kind in wanted or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                cold = rendered(build(kind, Path(folder)), Path(folder) / "cold_", warm=False)
                warm = rendered(build(kind, Path(folder)), Path(folder) / "warm_", warm=True)
            except (RuntimeError, AttributeError, KeyError, TypeError) as error:
                others.append(f"{kind}: not tried ({error})")
                continue
        far = max(
            abs(a - b) for one, two in zip(cold, warm, strict=True) for a, b in zip(one, two, strict=True)
        )
        still = all(picture == cold[0] for picture in cold)
        same += not far and not still
        others += [f"{kind}: {'nothing moves' if still else f'differs by {far:.1g}'}"] if far or still else []
    print(f"warmth: Blender {bpy.app.version_string}: {same} kinds the same warm and cold", *others, sep="\n  ")


main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
