"""Makes `harbour.blend` and its image texture `cloth.png`: a harbour at dusk, 48 frames that loop.

Run it with the oldest Blender that should open the scene (ours was saved by 3.4.1, so 5.0 opens it too):

    blender -b --factory-startup --python-exit-code 1 --python scenes/blender/make_scene.py

The light is chosen so that few samples suffice: one lamp, a smooth sky that is found by chance only, and
haze that is computed from the distance to the camera instead of being scattered.
"""

from __future__ import annotations

import functools
import math
import random
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import bpy

FRAMES = 48
STEP = 3
"""frames between keys"""
FOLDER = Path(__file__).resolve().parent
SUN = (-0.115, 1.0, 0.10)
"""where the disc stands in the sky; the lamp shines from further left, so that shapes stay readable"""

Point = tuple[float, float, float]
Colour = tuple[float, float, float]


def png(width: int, height: int, pixel: Callable[[int, int], Sequence[int]]) -> bytes:
    """An 8-bit RGB PNG; Debian's Blender has neither Pillow nor numpy."""
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in pixel(x, y)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def balloon_cloth(x: int, y: int) -> Sequence[int]:
    """Red and cream gores with a zigzag belt and a golden crown, 384 x 192."""
    gore = (x // 16) % 2
    red, cream, teal, gold = (205, 44, 38), (250, 232, 196), (22, 96, 112), (240, 170, 44)
    zigzag = abs((x % 32) - 16) * 1.5
    if y < 26 or y > 150:
        colour = gold if y < 26 else teal
    elif 84 + zigzag < y < 104 + zigzag:
        colour = teal
    elif 78 + zigzag < y < 110 + zigzag:
        colour = gold
    else:
        colour = red if gore else cream
    seam = 0.78 if x % 16 == 0 else 1.0
    return [int(c * seam) for c in colour]


class Shader:
    """A node tree under construction; every method adds one node and returns its output socket."""

    def __init__(self, owner: bpy.types.ID) -> None:
        if isinstance(owner, bpy.types.NodeTree):
            self.tree = owner
        else:
            owner.use_nodes = True
            self.tree = owner.node_tree
        self.tree.nodes.clear()

    def node(self, kind: str, *inputs: object, out: int | str = 0, **attributes: object) -> object:
        """Add a node; inputs are values or sockets, None leaves a default."""
        node = self.tree.nodes.new(kind)
        for name, value in attributes.items():
            setattr(node, name, value)
        for socket, value in zip(node.inputs, inputs, strict=False):
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            elif value is not None:
                socket.default_value = value
        return node.outputs[out] if node.outputs else node

    def math(self, operation: str, a: object, b: object = None, clamp: bool = False) -> object:
        return self.node("ShaderNodeMath", a, b, operation=operation, use_clamp=clamp)

    def ramp(self, factor: object, stops: Iterable[tuple[float, Colour]]) -> object:
        """Colours by factor, eased between the stops."""
        output = self.node("ShaderNodeValToRGB", factor)
        ramp = output.node.color_ramp
        ramp.interpolation = "EASE"
        for index, (position, colour) in enumerate(stops):
            element = ramp.elements[index] if index < 2 else ramp.elements.new(position)
            element.position, element.color = position, (*colour, 1)
        return output

    def sky(self, direction: object) -> object:
        """The dusk sky in a direction: bands by height, and a glow around the sun."""
        height = self.node("ShaderNodeSeparateXYZ", direction, out="Z")
        bands = self.ramp(
            height,
            [
                (0.00, (0.95, 0.44, 0.22)),
                (0.10, (0.88, 0.34, 0.27)),
                (0.24, (0.50, 0.23, 0.36)),
                (0.45, (0.17, 0.14, 0.36)),
                (1.00, (0.035, 0.06, 0.20)),
            ],
        )
        length = math.sqrt(sum(c * c for c in SUN))
        towards = self.node(
            "ShaderNodeVectorMath",
            direction,
            tuple(c / length for c in SUN),
            operation="DOT_PRODUCT",
            out="Value",
        )
        towards = self.math("MAXIMUM", towards, 0.0)
        glow = self.math("MULTIPLY", self.math("POWER", towards, 28.0), 0.55)
        return self.node("ShaderNodeMixRGB", glow, bands, (1.0, 0.62, 0.24, 1), blend_type="ADD")

    def group(self, tree: bpy.types.NodeTree, *inputs: object) -> object:
        """A node that stands for a group of nodes."""
        node = self.tree.nodes.new("ShaderNodeGroup")
        node.node_tree = tree
        for socket, value in zip(node.inputs, inputs, strict=True):
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return node.outputs[0]

    def diffuse(self, colour: object) -> object:
        return self.group(matt_group(), (*colour, 1) if isinstance(colour, tuple) else colour)

    def glossy(self, colour: Colour, roughness: float) -> object:
        return self.node("ShaderNodeBsdfGlossy", (*colour, 1), roughness)

    def mix(self, factor: object, first: object, second: object) -> object:
        return self.node("ShaderNodeMixShader", factor, first, second)

    def hazy(self, surface: object, reach: float) -> None:
        """Finish a material: fades into the sky behind it with distance (reach: metres to 63 %)."""
        self.node("ShaderNodeOutputMaterial", self.group(haze_group(), surface, reach))


def new_group(name: str, **inputs: str) -> tuple[Shader, object]:
    """A node group that gives a shader, and the node with its inputs (name to socket type)."""
    tree = bpy.data.node_groups.new(name, "ShaderNodeTree")
    sockets = [(kind, label, "INPUT") for label, kind in inputs.items()]
    for kind, label, side in [*sockets, ("NodeSocketShader", "Shader", "OUTPUT")]:
        if bpy.app.version < (4, 0):
            (tree.inputs if side == "INPUT" else tree.outputs).new(kind, label)
        else:
            tree.interface.new_socket(label, in_out=side, socket_type=kind)
    shader = Shader(tree)
    return shader, shader.node("NodeGroupInput").node


@functools.cache
def matt_group() -> bpy.types.NodeTree:
    """The lamp's light, and a computed share of sky light where bounced light would be noise."""
    shader, given = new_group("Matt", Color="NodeSocketColor")
    colour = given.outputs["Color"]
    normal = shader.node("ShaderNodeNewGeometry", out="Normal")
    upwards = shader.node("ShaderNodeSeparateXYZ", normal, out="Z")
    height = shader.node("ShaderNodeMapRange", upwards, -1.0, 1.0)
    ambient = shader.ramp(
        height, [(0.0, (0.20, 0.14, 0.19)), (0.5, (0.48, 0.33, 0.36)), (1.0, (0.44, 0.38, 0.54))]
    )
    lit = shader.node("ShaderNodeMixRGB", 1.0, ambient, colour, blend_type="MULTIPLY")
    glow = shader.node("ShaderNodeEmission", lit, 1.0)
    body = shader.node("ShaderNodeBsdfDiffuse", colour)
    shader.node("NodeGroupOutput", shader.node("ShaderNodeAddShader", body, glow))
    return shader.tree


@functools.cache
def haze_group() -> bpy.types.NodeTree:
    shader, given = new_group("Haze", Surface="NodeSocketShader", Reach="NodeSocketFloat")
    distance = shader.node("ShaderNodeCameraData", out="View Distance")
    beyond = shader.math("MAXIMUM", shader.math("SUBTRACT", distance, 9.0), 0.0)
    thinning = shader.math(
        "EXPONENT", shader.math("DIVIDE", shader.math("MULTIPLY", beyond, -1.0), given.outputs["Reach"])
    )
    incoming = shader.node("ShaderNodeNewGeometry", out="Incoming")
    outwards = shader.node("ShaderNodeVectorMath", incoming, (-1, -1, -0.4), operation="MULTIPLY")
    haze = shader.node("ShaderNodeEmission", shader.sky(outwards), 0.9)
    shader.node("NodeGroupOutput", shader.mix(thinning, haze, given.outputs["Surface"]))
    return shader.tree


def new_material(name: str) -> bpy.types.Material:
    """A material that is not searched for light, although haze and sky light are emission: that is noise."""
    made = bpy.data.materials.new(name)
    if bpy.app.version < (3, 5):
        made.cycles.sample_as_light = False
    else:
        made.cycles.emission_sampling = "NONE"
    return made


def material(name: str, build: Callable[[Shader], object], reach: float = 95.0) -> bpy.types.Material:
    made = new_material(name)
    shader = Shader(made)
    shader.hazy(build(shader), reach)
    return made


def plain(name: str, colour: Colour, gloss: float = 0.0) -> bpy.types.Material:
    """Matt, or with a clear coat."""

    def build(shader: Shader) -> object:
        if not gloss:
            return shader.diffuse(colour)
        return shader.mix(gloss, shader.diffuse(colour), shader.glossy((1, 1, 1), 0.25))

    return material(name, build)


def cloth(name: str, image: bpy.types.Image, hue: float) -> bpy.types.Material:
    """Balloon cloth: the image with its hue turned, and a glow as of light that shines through."""

    def build(shader: Shader) -> object:
        texture = shader.node("ShaderNodeTexImage", image=image)
        turned = shader.node("ShaderNodeHueSaturation", hue, 1.1, 1.0, 1.0, texture)
        glow = shader.node("ShaderNodeEmission", turned, 0.10)
        return shader.node("ShaderNodeAddShader", shader.diffuse(turned), glow)

    return material(name, build, reach=110.0)


def water() -> bpy.types.Material:
    def build(shader: Shader) -> object:
        fresnel = shader.node("ShaderNodeFresnel", 1.45)
        return shader.mix(fresnel, shader.diffuse((0.010, 0.075, 0.115)), shader.glossy((1, 1, 1), 0.03))

    return material("Water", build, reach=95.0)


def lamp_beam() -> bpy.types.Material:
    """A cone of light: bright at the lamp, gone at its far end, and casting no shadow."""
    made = new_material("Beam")
    shader = Shader(made)
    along = shader.node("ShaderNodeSeparateXYZ", shader.node("ShaderNodeTexCoord", out="Object"), out="X")
    fade = shader.math("POWER", shader.math("SUBTRACT", 1.0, shader.math("DIVIDE", along, 14.0), True), 2.2)
    facing = shader.math("SUBTRACT", 1.0, shader.node("ShaderNodeLayerWeight", 0.5, out="Facing"))
    strength = shader.math("MULTIPLY", shader.math("MULTIPLY", fade, facing), 0.5)
    light = shader.node("ShaderNodeEmission", (1.0, 0.82, 0.5, 1), strength)
    clear = shader.node("ShaderNodeBsdfTransparent")
    shader.node("ShaderNodeOutputMaterial", shader.node("ShaderNodeAddShader", light, clear))
    return made


def mesh(
    name: str,
    vertices: Sequence[Point],
    faces: Sequence[Sequence[int]],
    surface: bpy.types.Material,
    smooth: bool = False,
) -> bpy.types.Mesh:
    made = bpy.data.meshes.new(name)
    made.from_pydata(vertices, [], faces)
    made.materials.append(surface)
    made.polygons.foreach_set("use_smooth", [smooth] * len(made.polygons))
    return made


def add(
    name: str, data: bpy.types.ID | None, at: Point = (0, 0, 0), parent: bpy.types.Object | None = None
) -> bpy.types.Object:
    """An object in the scene; an empty when there is no data. Matt surfaces get sky light from `matt_group`."""
    made = bpy.data.objects.new(name, data)
    made.location, made.parent = at, parent
    made.visible_diffuse = False
    bpy.context.scene.collection.objects.link(made)
    return made


def lathe(profile: Sequence[tuple[float, float]], around: int, puff: float = 0.0) -> tuple[list[Point], list]:
    """Vertices and quads of (radius, height) turned about z; puff swells the cloth between 24 seams."""
    vertices, faces = [], []
    for radius, height in profile:
        for step in range(around + 1):
            angle = 2 * math.pi * step / around
            swell = radius * (1 + puff * abs(math.sin(12 * angle)))
            vertices.append((swell * math.cos(angle), swell * math.sin(angle), height))
    row = around + 1
    for ring in range(len(profile) - 1):
        for step in range(around):
            first = ring * row + step
            faces.append((first, first + 1, first + 1 + row, first + row))
    return vertices, faces


def wrap(made: bpy.types.Mesh, around: int, rings: int) -> None:
    """Texture coordinates for a lathe: u around, v up."""
    uv = made.uv_layers.new(name="UVMap").data
    for loop in made.loops:
        ring, step = divmod(loop.vertex_index, around + 1)
        uv[loop.index].uv = (step / around, ring / (rings - 1))


def box(size: Point) -> tuple[list[Point], list]:
    x, y, z = (s / 2 for s in size)
    vertices = [(a * x, b * y, c * z) for c in (-1, 1) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    sides = [(i, (i + 1) % 4, 4 + (i + 1) % 4, 4 + i) for i in range(4)]
    return vertices, [(3, 2, 1, 0), (4, 5, 6, 7), *sides]


def rock(radius: float, squash: float, seed: int, detail: int = 2) -> tuple[list[Point], list]:
    """A chipped stone, or with little squash a cloud: an icosphere with its corners pushed about."""
    import bmesh

    chance = random.Random(seed)
    ball = bmesh.new()
    bmesh.ops.create_icosphere(ball, subdivisions=detail, radius=radius)
    ball.verts.ensure_lookup_table()
    vertices = []
    for vertex in ball.verts:
        push = chance.uniform(0.82, 1.12)
        vertices.append((vertex.co.x * push, vertex.co.y * push, vertex.co.z * push * squash))
    faces = [[v.index for v in face.verts] for face in ball.faces]
    ball.free()
    return vertices, faces


WAVES = ((0.55, 0.35, 0.13, 1, 0.3), (-0.35, 0.75, 0.09, 1, 1.9), (1.25, -0.55, 0.055, 2, 4.0))
"""(wave number x, y, height in metres, periods per loop, phase)"""


def swell(x: float, y: float, turn: float) -> float:
    """Height of the sea at a place; turn is the loop's angle."""
    calm = 1 / (1 + (math.hypot(x, y) / 40) ** 2)
    return calm * sum(a * math.cos(kx * x + ky * y + p - n * turn) for kx, ky, a, n, p in WAVES)


def sea(surface: bpy.types.Material) -> None:
    """A faceted sheet, finer near the camera, moved by one cosine and one sine shape per wave speed."""
    chance = random.Random(7)
    columns, rows = 41, 44
    vertices = []
    for j in range(rows + 1):
        depth = j / rows
        y = -17 + 24 * depth + 190 * depth**4
        spread = 11 + (y + 17) * 0.95
        for i in range(columns + 1):
            x = (i / columns * 2 - 1) * spread
            jitter = 0.30 * spread / columns * 2
            vertices.append((x + chance.uniform(-jitter, jitter), y + chance.uniform(-0.1, 0.1), 0.0))
    faces = []
    for j in range(rows):
        for i in range(columns):
            a = j * (columns + 1) + i
            b, c, d = a + 1, a + columns + 2, a + columns + 1
            faces.append((a, b, c, d) if (i + j) % 2 else (b, c, d, a))
    sheet = add("Sea", mesh("Sea", vertices, faces, surface))
    sheet.shape_key_add(name="Basis")
    for periods in (1, 2):
        for name, shift in (("cos", 0.0), ("sin", math.pi / 2)):
            add_wave(sheet, f"{name} {periods}", periods, shift)


def add_wave(sheet: bpy.types.Object, name: str, periods: int, shift: float) -> None:
    key = sheet.shape_key_add(name=name)
    key.slider_min = -1.0
    for point in key.data:
        x, y, _ = point.co
        calm = 1 / (1 + (math.hypot(x, y) / 40) ** 2)
        point.co.z += calm * sum(
            a * math.cos(kx * x + ky * y + p - shift) for kx, ky, a, n, p in WAVES if n == periods
        )
    animate(key, "value", lambda turn: math.cos(periods * turn - shift))


def animate(target: object, path: str, value: Callable[[float], object]) -> None:
    """Key a property all along; value gets the loop's angle, so that frame 49 would be frame 1.

    One key before the first frame and one after the last keep the curve smooth where the loop closes.
    """
    for frame in range(1 - STEP, FRAMES + 2 * STEP, STEP):
        setattr(target, path, value(2 * math.pi * (frame - 1) / FRAMES))
        target.keyframe_insert(path, frame=frame)


def balloon_mesh(surface: bpy.types.Material) -> bpy.types.Mesh:
    """The envelope, shared by all balloons."""
    radii = (0.22, 0.28, 0.43, 0.62, 0.82, 0.97, 1.04, 1.02, 0.90, 0.66, 0.35, 0.02)
    heights = (-1.46, -1.36, -1.14, -0.86, -0.54, -0.20, 0.14, 0.48, 0.82, 1.06, 1.19, 1.22)
    shape = list(zip(radii, heights, strict=True))
    made = mesh("Envelope", *lathe(shape, around=48, puff=0.035), surface, smooth=True)
    wrap(made, 48, len(shape))
    return made


def basket_mesh(surface: bpy.types.Material) -> bpy.types.Mesh:
    """Basket and four ropes, shared by all balloons."""
    parts = [((0, 0, -2.0), (0.34, 0.34, 0.28))]
    parts += [((x * 0.165, y * 0.165, -1.66), (0.02, 0.02, 0.5)) for x in (-1, 1) for y in (-1, 1)]
    vertices, faces = [], []
    for (x, y, z), size in parts:
        corners, sides = box(size)
        faces += [[len(vertices) + corner for corner in side] for side in sides]
        vertices += [(x + a, y + b, z + c) for a, b, c in corners]
    return mesh("Basket", vertices, faces, surface)


def balloon(shapes: Sequence[bpy.types.Mesh], at: Point, surface: bpy.types.Material, phase: float) -> None:
    """An envelope and its basket, floating on a small ellipse and turning to and fro."""
    envelope = add("Balloon", shapes[0], at)
    envelope.scale = (1.75, 1.75, 1.75)
    envelope.material_slots[0].link = "OBJECT"
    envelope.material_slots[0].material = surface
    add("Basket", shapes[1], parent=envelope)
    x, y, z = at
    animate(
        envelope,
        "location",
        lambda turn: (x + 0.22 * math.sin(turn + phase), y, z + 0.30 * math.cos(turn + phase)),
    )
    animate(
        envelope,
        "rotation_euler",
        lambda turn: (
            0.03 * math.sin(turn + phase),
            0.04 * math.cos(turn + phase),
            0.5 * math.sin(turn) + phase,
        ),
    )


def boat_mesh(surface: bpy.types.Material) -> bpy.types.Mesh:
    """A folded paper boat."""
    points = [(-1.5, 0, 0.62), (1.5, 0, 0.62), (0, 0.42, 0.36), (0, -0.42, 0.36), (0.75, 0, -0.22),
              (-0.75, 0, -0.22), (0, 0, 1.25), (-0.62, 0, 0.2), (0.62, 0, 0.2)]  # fmt: skip
    faces = [(0, 3, 5), (3, 4, 5), (3, 1, 4), (0, 5, 2), (2, 5, 4), (2, 4, 1), (6, 7, 3), (6, 3, 8), (6, 2, 7),
             (6, 8, 2)]  # fmt: skip
    return mesh("Boat", points, faces, surface)


def boat(shape: bpy.types.Mesh, at: tuple[float, float], size: float, heading: float) -> None:
    """A boat that rides the swell."""
    made = add("Boat", shape)
    made.scale = (size, size, size)
    x, y = at
    animate(made, "location", lambda turn: (x, y, swell(x, y, turn) + 0.16))

    def slope(turn: float, direction: float) -> float:
        dx, dy = math.cos(direction) * size, math.sin(direction) * size
        return (swell(x + dx, y + dy, turn) - swell(x - dx, y - dy, turn)) / (2 * size)

    def lean(turn: float) -> Point:
        roll = math.atan(slope(turn, heading + math.pi / 2))
        return (roll, -math.atan(slope(turn, heading)), heading)

    animate(made, "rotation_euler", lean)


def lighthouse(at: Point) -> None:
    """A striped tower on a rock; its two opposite beams make half a turn, which closes the loop."""
    x, y, z = at
    stone = plain("Stone", (0.075, 0.06, 0.075))
    for index, (dx, dy, radius) in enumerate(
        ((0, 0, 2.3), (2.0, 0.6, 1.5), (-1.9, -0.5, 1.2), (0.9, -1.7, 0.9))
    ):
        add(
            "Rock",
            mesh("Rock", *rock(radius, 0.55, index, detail=1 if index else 2), stone),
            (x + dx, y + dy, z - 0.1),
        )
    white, red = plain("White", (0.75, 0.70, 0.64)), plain("Red", (0.50, 0.035, 0.03))
    for first, paint in ((0, white), (1, red)):
        add("Tower", mesh("Tower", *tower(range(first, 5, 2)), paint), (x, y, z + 0.9))
    top = z + 0.9 + 0.95 * 5
    dark = plain("Iron", (0.02, 0.025, 0.035), 0.1)
    gallery = lathe([(0.01, 0.0), (0.66, 0.0), (0.66, 0.14), (0.01, 0.14)], 20)
    add("Gallery", mesh("Gallery", *gallery, dark), (x, y, top))
    add("Roof", mesh("Roof", *lathe([(0.58, 0.0), (0.01, 0.55)], 20), dark), (x, y, top + 0.74))
    glass = material("Lamp", lambda shader: shader.node("ShaderNodeEmission", (1, 0.72, 0.32, 1), 4.0))
    add("Lamp", mesh("Lamp", *lathe([(0.34, 0.14), (0.34, 0.74)], 20), glass), (x, y, top))
    beams((x, y, top + 0.44))


def tower(stripes: Iterable[int]) -> tuple[list[Point], list]:
    """Every other stripe of the tower, 0.95 m high each, narrowing upwards."""
    vertices, faces = [], []
    for stripe in stripes:
        low = (0.82 - 0.08 * stripe, 0.95 * stripe)
        corners, sides = lathe([low, (low[0] - 0.08, low[1] + 0.95)], around=20)
        faces += [[len(vertices) + corner for corner in side] for side in sides]
        vertices += corners
    return vertices, faces


def beams(at: Point) -> None:
    pivot = add("Beams", None, at)
    upright, faces = lathe([(0.22, 0.3), (1.7, 14.0)], 24)
    cone = mesh("Beam", [(height, x, y) for x, y, height in upright], faces, lamp_beam(), smooth=True)
    for side in (0, math.pi):
        beam = add("Beam", cone, parent=pivot)
        beam.rotation_euler = (0, 0, side)
        beam.visible_shadow = False
    animate(pivot, "rotation_euler", lambda turn: (0, 0.03, 0.35 + turn / 2))


def mountains() -> None:
    """Three ridges, each further off and paler."""
    chance = random.Random(11)
    for layer, (distance, height) in enumerate(((62, 9), (84, 15), (112, 23))):
        surface = plain(f"Ridge {layer}", (0.06, 0.05, 0.10))
        columns = 46
        vertices: list[Point] = []
        for i in range(columns + 1):
            x = (i / columns * 2 - 1) * distance * 1.15
            dip = 0.25 + 0.75 * min(1.0, abs(x + 0.30 * distance) / (0.5 * distance)) ** 1.4
            peak = height * dip * (0.35 + 0.65 * chance.random())
            vertices += [(x, distance - 5, -0.5), (x, distance, peak * 0.55), (x, distance + 6, peak)]
        faces = []
        for i in range(columns):
            a = 3 * i
            faces += [(a, a + 3, a + 1), (a + 3, a + 4, a + 1), (a + 1, a + 4, a + 2), (a + 4, a + 5, a + 2)]
        add(f"Ridge {layer}", mesh(f"Ridge {layer}", vertices, faces, surface))


def cloud_mesh(surface: bpy.types.Material) -> bpy.types.Mesh:
    """Five puffs in a row, the middle ones bigger; shared by all clouds."""
    chance = random.Random(5)
    vertices, faces = [], []
    for puff in range(-2, 3):
        radius = (1.15 - 0.30 * abs(puff)) * chance.uniform(0.85, 1.15)
        corners, sides = rock(radius, 0.62, puff)
        faces += [[len(vertices) + corner for corner in side] for side in sides]
        vertices += [(x + 0.95 * puff, y, z + 0.1 * (2 - abs(puff))) for x, y, z in corners]
    return mesh("Cloud", vertices, faces, surface)


def clouds() -> None:
    shape = cloud_mesh(plain("Cloud", (0.85, 0.62, 0.62)))
    for x, y, z, size, yaw in ((-21, 46, 15.5, 2.3, 0.2), (19, 50, 18.5, 2.6, 3.3), (3, 62, 22, 2.2, 0.0)):
        body = add("Cloud", shape)
        body.scale, body.rotation_euler = (size, size, size), (0, 0, yaw)
        animate(body, "location", lambda turn, x=x, y=y, z=z: (x + 0.5 * math.sin(turn), y, z))


def gulls(count: int) -> None:
    """Birds that glide on a ring and beat their wings four times a loop."""
    surface = plain("Gull", (0.80, 0.78, 0.78))
    wings = {
        side: mesh("Wing", [(0, 0.12, 0), (0, -0.14, 0), (side * 0.62, -0.05, 0.02)], [(0, 1, 2)], surface)
        for side in (-1, 1)
    }
    for number in range(count):
        bird = add("Gull", None)
        for side, shape in wings.items():
            flap(add("Wing", shape, parent=bird), side, 0.9 * number)
        glide(bird, number)


def flap(wing: bpy.types.Object, side: int, phase: float) -> None:
    animate(wing, "rotation_euler", lambda turn: (0, -side * (0.15 + 0.45 * math.sin(4 * turn + phase)), 0))


def glide(bird: bpy.types.Object, number: int) -> None:
    middle = (-0.6 + 0.5 * number, 5.5 + 1.1 * number, 4.9 + 0.35 * number)
    phase = 0.9 * number
    animate(
        bird,
        "location",
        lambda turn: (
            middle[0] + 0.9 * math.cos(turn + phase),
            middle[1] + 0.9 * math.sin(turn + phase),
            middle[2],
        ),
    )
    animate(bird, "rotation_euler", lambda turn: (0, 0.2, turn + phase))


def camera() -> None:
    """Drifts on an ellipse and keeps an eye on one point."""
    target = add("Target", None, (0.35, 6.0, 3.25))
    eye = add("Camera", bpy.data.cameras.new("Camera"))
    eye.data.lens = 30
    eye.data.clip_end = 400
    look = eye.constraints.new("TRACK_TO")
    look.target, look.track_axis, look.up_axis = target, "TRACK_NEGATIVE_Z", "UP_Y"
    animate(
        eye,
        "location",
        lambda turn: (1.1 * math.sin(turn), -10.6 - 0.7 * math.cos(turn), 2.5 + 0.35 * math.cos(turn)),
    )
    bpy.context.scene.camera = eye


def light() -> None:
    lamp = add("Sun", bpy.data.lights.new("Sun", "SUN"))
    lamp.data.energy, lamp.data.angle, lamp.data.color = 4.2, 0.012, (1.0, 0.66, 0.36)
    lamp.visible_diffuse = True
    lamp.rotation_euler = (math.radians(66), 0, math.radians(-62))
    world = bpy.data.worlds.new("Dusk")
    shader = Shader(world)
    direction = shader.node("ShaderNodeTexCoord", out="Generated")
    disc = sun_disc(shader, direction)
    sky = shader.node("ShaderNodeMixRGB", disc, shader.sky(direction), (1.0, 0.80, 0.42, 1))
    shader.node("ShaderNodeOutputWorld", shader.node("ShaderNodeBackground", sky, 1.0))
    world.cycles.sampling_method = "NONE"
    world.cycles_visibility.diffuse = False
    bpy.context.scene.world = world


def sun_disc(shader: Shader, direction: object) -> object:
    """1 within the disc, with a soft rim."""
    length = math.sqrt(sum(c * c for c in SUN))
    centre = tuple(c / length for c in SUN)
    away = shader.node("ShaderNodeVectorMath", direction, centre, operation="DISTANCE", out="Value")
    return shader.node("ShaderNodeMapRange", away, 0.075, 0.068, 0.0, 1.0)


def settings(samples: int) -> None:
    scene = bpy.context.scene
    scene.name = "Harbour"
    scene.frame_start, scene.frame_end, scene.frame_step = 1, FRAMES, 1
    scene.frame_set(1)
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 480, 270, 100
    scene.render.fps = 24
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.filepath = "//renders/"
    scene.view_settings.view_transform = "Standard"
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.seed = "CPU", samples, 0
    cycles.use_denoising = cycles.use_adaptive_sampling = False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 0, 2
    cycles.transparent_max_bounces = 6
    cycles.sample_clamp_indirect = 2.0
    cycles.blur_glossy = 0.5
    cycles.caustics_reflective = cycles.caustics_refractive = False


def build(samples: int = 12) -> None:
    """Everything, into the file that is open: relative paths need one that was saved."""
    (FOLDER / "cloth.png").write_bytes(png(384, 192, balloon_cloth))
    image = bpy.data.images.load("//cloth.png")
    red = cloth("Cloth red", image, 0.5)
    shapes = (balloon_mesh(red), basket_mesh(plain("Wicker", (0.10, 0.045, 0.02))))
    balloon(shapes, (-3.7, 3.0, 4.9), red, 0.0)
    balloon(shapes, (4.6, 15.0, 8.1), cloth("Cloth blue", image, 0.06), 1.7)
    balloon(shapes, (-10.5, 23.0, 9.4), cloth("Cloth violet", image, 0.30), 3.1)
    balloon(shapes, (0.9, 31.0, 9.9), cloth("Cloth green", image, 0.80), 4.4)
    balloon(shapes, (19.0, 38.0, 13.0), red, 5.5)
    lighthouse((6.2, 10.0, 0.0))
    paper = boat_mesh(plain("Paper", (0.82, 0.78, 0.72)))
    for at, heading in (((1.5, -0.6), -0.3), ((-2.3, 0.4), 0.5), ((2.3, 4.6), 0.9)):
        boat(paper, at, 0.6, heading)
    sea(water())
    mountains()
    clouds()
    gulls(4)
    camera()
    light()
    settings(samples)


def main(path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.save_version = 0
    bpy.context.preferences.filepaths.file_preview_type = "NONE"
    bpy.ops.wm.save_as_mainfile(filepath=str(path), check_existing=False)
    build()
    bpy.ops.wm.save_mainfile()
    print(f"{path.name}: saved by Blender {bpy.app.version_string}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(FOLDER / "harbour.blend")
