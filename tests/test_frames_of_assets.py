"""Which frames need which file of a sequence: what is told before rendering is what the pixels show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from blender_scenes import has_blender, has_bpy, make_scene, write_png
from PIL import Image
from test_blender import opened

from renderfarm.frames import parse
from renderfarm.model import Build, Rendered, Scene
from renderfarm.renderers.blender import RENDERER

FILES = range(10)
FRAMES = (1, 8)
COLOURS = {n: (255 if n & 1 else 0, 255 if n & 2 else 0, 128 if n & 4 else 0) for n in range(1, 8)} | {
    0: (128, 128, 128), 8: (0, 128, 255), 9: (255, 128, 255),
}  # fmt: skip
"""of each file of a sequence; black is none"""
Shown = dict[str, dict[int, set[int]]]
"""for each sequence the frames by the number of the file"""

STRIPES = """
def stripe(number, folder):
    x = number - 3.5
    mesh = bpy.data.meshes.new("S")
    mesh.from_pydata([(x - .5, -2, 0), (x + .5, -2, 0), (x + .5, 2, 0), (x - .5, 2, 0)], [], [(0, 1, 2, 3)])
    scene.collection.objects.link(bpy.data.objects.new("S", mesh))
    made = bpy.data.materials.new("M")
    made.use_nodes = True
    mesh.materials.append(made)
    made.node_tree.nodes.clear()
    return made.node_tree

def shown(tree, image):
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    return node

def sequence(name):
    image = bpy.data.images.new(name, 4, 4)
    image.source = "SEQUENCE"
    image.filepath = "//" + name + "/f_0001.png"
    return image

def lit(tree, colour):
    glow = tree.nodes.new("ShaderNodeEmission")
    out = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(colour, glow.inputs["Color"])
    tree.links.new(glow.outputs[0], out.inputs["Surface"])

def flat():
    bpy.data.objects.remove(cube)
    bpy.data.objects.remove(sun)
    camera.data.type, camera.data.ortho_scale = "ORTHO", 8
    camera.location, camera.rotation_euler = (0, 0, 5), (0, 0, 0)
    scene.view_settings.view_transform = "Standard"
    scene.render.dither_intensity = 0

flat()
"""
USERS = (
    {"frame_duration": 8},
    {"frame_duration": 8, "frame_start": 3},
    {"frame_duration": 3},
    {"frame_duration": 3, "use_cyclic": True},
    {"frame_duration": 4, "frame_offset": 5},
    {"frame_duration": 3, "frame_start": 4, "frame_offset": 2, "use_cyclic": True},
    {"frame_duration": 8, "use_auto_refresh": False},
    {"frame_duration": 1, "frame_start": 6},
)
IN_MATERIALS = (
    STRIPES
    + f"""
for number, settings in enumerate({USERS!r}):
    tree = stripe(number, folder)
    node = shown(tree, sequence("s" + str(number)))
    node.image_user.use_auto_refresh = True
    for name, value in settings.items():
        setattr(node.image_user, name, value)
    lit(tree, node.outputs["Color"])
"""
)


def build_of(name: str) -> Build:
    if not (has_bpy() if name == "bpy" else has_blender()):
        pytest.skip(f"{name} is not installed")
    return RENDERER.builds(sys.executable if name == "bpy" else "blender")[0]


@pytest.fixture(params=["blender", "bpy"])
def build(request: pytest.FixtureRequest) -> Build:
    return build_of(request.param)


def fill(folder: Path, name: str, numbers: range = FILES) -> None:
    for number in numbers:
        write_png(folder / name / f"f_{number:04d}.png", COLOURS[number])


def scene_and_pictures(build: Build, path: Path, frames: range) -> tuple[Scene, dict[int, Image.Image]]:
    """What the renderer says about the scene, and its frames in an order of no use."""
    scratch = path.parent / "scratch"
    with opened(build, path, scratch) as session:
        scene = session.describe()
        order = [*frames][1::2] + [*frames][::2]
        done = list(session.render(order, 2, scratch, scratch / "log"))
    pictures = {}
    for picture in done:
        assert isinstance(picture, Rendered), picture
        with Image.open(picture.path) as image:
            pictures[picture.frame] = image.convert("RGB")
    return scene, pictures


def told(scene: Scene, frames: range) -> Shown:
    """Frames by file, as the assets say."""
    found: Shown = {}
    for asset in scene.assets:
        path = Path(asset.path)
        if path.suffix == ".png" and asset.exists:
            needed = (
                set(frames) if asset.frames is None else set(parse(asset.frames)) if asset.frames else set()
            )
            found.setdefault(path.parent.name, {})[int(path.stem[-4:])] = needed
    return found


def seen(pictures: dict[int, Image.Image], places: dict[str, tuple[float, float]]) -> Shown:
    """Frames by file, from the colours at some places (parts of width and height)."""
    found: Shown = {name: {} for name in places}
    for frame, picture in pictures.items():
        for name, (x, y) in places.items():
            pixel = picture.getpixel((int(x * picture.width), int(y * picture.height)))
            assert isinstance(pixel, tuple)
            number = min(
                COLOURS, key=lambda n: sum((a - b) ** 2 for a, b in zip(COLOURS[n], pixel, strict=True))
            )
            if sum((a - b) ** 2 for a, b in zip(COLOURS[number], pixel, strict=True)) < 2000:
                found[name].setdefault(number, set()).add(frame)
    return found


def without_idle(shown: Shown) -> Shown:
    return {name: {n: frames for n, frames in files.items() if frames} for name, files in shown.items()}


def test_sequences_in_materials_are_needed_when_they_are_seen(build: Build, tmp_path: Path) -> None:
    places = {f"s{number}": ((number + 0.5) / 8, 0.5) for number in range(len(USERS))}
    for name in places:
        fill(tmp_path, name)
    scene = make_scene(tmp_path / "s.blend", frames=FRAMES, size=(64, 8), moving=False, script=IN_MATERIALS)
    described, pictures = scene_and_pictures(build, scene, range(1, 9))
    assert told(described, range(1, 9)) == seen(pictures, places)


IN_OTHERS = (
    STRIPES
    + """
group = bpy.data.node_groups.new("G", "ShaderNodeTree")
if hasattr(group, "interface"):
    group.interface.new_socket("Color", in_out="OUTPUT", socket_type="NodeSocketColor")
else:
    group.outputs.new("NodeSocketColor", "Color")
inside = shown(group, sequence("grouped"))
inside.image_user.frame_duration, inside.image_user.frame_start = 8, 2
group.links.new(inside.outputs["Color"], group.nodes.new("NodeGroupOutput").inputs[0])
tree = stripe(0, folder)
node = tree.nodes.new("ShaderNodeGroup")
node.node_tree = group
lit(tree, node.outputs[0])

tree = stripe(2, folder)
shared = sequence("shared")
first, second = shown(tree, shared), shown(tree, shared)
first.image_user.frame_duration, second.image_user.frame_duration = 2, 8
mix = tree.nodes.new("ShaderNodeMixRGB")
mix.inputs[0].default_value = 0
tree.links.new(first.outputs["Color"], mix.inputs[1])
tree.links.new(second.outputs["Color"], mix.inputs[2])
lit(tree, mix.outputs[0])

world = scene.world.node_tree
scene.world.cycles.sampling_method = "NONE"
sky = world.nodes.new("ShaderNodeTexEnvironment")
sky.image = sequence("sky")
sky.image_user.frame_duration = 5
world.links.new(sky.outputs["Color"], world.nodes["Background"].inputs["Color"])
"""
)


def test_sequences_in_groups_and_in_the_world_are_needed_when_they_are_seen(
    build: Build, tmp_path: Path
) -> None:
    for name in ("grouped", "shared", "sky"):
        fill(tmp_path, name)
    scene = make_scene(tmp_path / "s.blend", frames=FRAMES, size=(64, 8), moving=False, script=IN_OTHERS)
    described, pictures = scene_and_pictures(build, scene, range(1, 9))
    found, places = told(described, range(1, 9)), {"grouped": (0.5 / 8, 0.5), "sky": (7.5 / 8, 0.5)}
    assert {name: found[name] for name in places} == seen(pictures, places)
    assert found["shared"] == {n: {n} for n in (1, 3, 4, 5, 6, 7, 8)} | {2: set(range(2, 9))}


COMPOSITED = (
    STRIPES
    + """
scene.use_nodes = True
tree = getattr(scene, "node_tree", None)
if tree is None:
    tree = bpy.data.node_groups.new("C", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    scene.compositing_node_group = tree
    out = tree.nodes.new("NodeGroupOutput")
else:
    tree.nodes.clear()
    out = tree.nodes.new("CompositorNodeComposite")
"""
)
IMAGE_NODE = (
    COMPOSITED
    + """
node = tree.nodes.new("CompositorNodeImage")
node.image = sequence("comp")
node.frame_duration, node.frame_start, node.frame_offset = 4, 3, 1
tree.links.new(node.outputs["Image"], out.inputs[0])
"""
)
CLIP_NODE = (
    COMPOSITED
    + """
clip = bpy.data.movieclips.load(folder + "/comp/f_0002.png")
clip.frame_start, clip.frame_offset = 3, 1
node = tree.nodes.new("CompositorNodeMovieClip")
node.clip = clip
tree.links.new(node.outputs["Image"], out.inputs[0])
"""
)
STRIP = (
    STRIPES
    + """
editor = scene.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
strip = strips.new_image(name="I", filepath=folder + "/comp/f_0001.png", channel=1, frame_start=0)
for number in range(2, 9):
    strip.elements.append("f_%04d.png" % number)
strip.frame_final_start, strip.frame_final_end = 2, 7
"""
)
HELD_STRIP = STRIP + "strip.frame_offset_end = 5\nstrip.frame_final_end = 12\nstrip.frame_start = 3\n"
CUT_STRIP = STRIP + "strip.animation_offset_start = 2\n"


@pytest.mark.parametrize(
    "script",
    [IMAGE_NODE, CLIP_NODE, STRIP, HELD_STRIP, CUT_STRIP],
    ids=["image node", "clip node", "strip", "held strip", "cut strip"],
)
def test_sequences_that_are_composited_or_edited_are_needed_when_they_are_seen(
    build: Build, tmp_path: Path, script: str
) -> None:
    for number in range(10):
        write_png(tmp_path / "comp" / f"f_{number:04d}.png", COLOURS[number], size=16)
    scene = make_scene(tmp_path / "s.blend", frames=FRAMES, size=(16, 16), moving=False, script=script)
    described, pictures = scene_and_pictures(build, scene, range(1, 9))
    assert without_idle(told(described, range(1, 9))) == without_idle(seen(pictures, {"comp": (0.5, 0.5)}))
