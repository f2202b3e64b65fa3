"""Which frames need which file of a sequence: what is told before rendering is what the pixels show."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest
from blender_runs import build_named, opened, with_both
from blender_scenes import make_scene, write_png
from PIL import Image

from renderfarm.renderers import wildcards
from renderfarm.renderers.blender.renderer import RENDERER
from renderfarm.words.frames import parse
from renderfarm.words.scene import Scene
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build

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
CUT_STRIP = STRIP + "strip.animation_offset_start, strip.use_proxy = 2, True\n"


@pytest.mark.parametrize(
    ("name", "script"), with_both((IMAGE_NODE,), (CUT_STRIP,), (CLIP_NODE,), (STRIP,), (HELD_STRIP,))
)
def test_sequences_that_are_composited_or_edited_are_needed_when_they_are_seen(
    home: Path, tmp_path: Path, name: str, script: str
) -> None:
    build = build_named(name)
    for number in range(10):
        write_png(tmp_path / "comp" / f"f_{number:04d}.png", COLOURS[number], size=16)
    scene = make_scene(tmp_path / "s.blend", frames=FRAMES, size=(16, 16), moving=False, script=script)
    described, pictures = scene_and_pictures(build, scene, range(1, 9))
    assert without_idle(told(described, range(1, 9))) == without_idle(seen(pictures, {"comp": (0.5, 0.5)}))


# What depends on more than the frame number


def test_a_strip_that_plays_faster_is_needed_by_every_frame(tmp_path: Path) -> None:
    build = build_named("blender")
    faster = STRIP + "scene.render.use_sequencer = True\nstrip.speed_factor = 2\n"
    fill(tmp_path, "comp")
    path = make_scene(tmp_path / "s.blend", frames=FRAMES, moving=False, script=faster, saver="blender")
    with opened(build, path, tmp_path / "scratch") as session:
        assert set(plates(session.describe()).values()) == {None}


SCENE_STRIP = """
edit = scene.sequence_editor_create()
edit = edit.strips if hasattr(edit, 'strips') else edit.sequences
edit.new_scene(name='S', scene=scene.copy(), channel=1, frame_start=3)
"""
GEOMETRY_NODES = """
nodes = bpy.data.node_groups.new('N', 'GeometryNodeTree')
nodes.nodes.new('GeometryNodeImageTexture').inputs['Image'].default_value = node.image
bpy.data.objects['S'].modifiers.new('N', 'NODES').node_group = nodes
"""
PLAIN = IN_MATERIALS.replace(repr(USERS), repr(({"frame_duration": 8},)))


@pytest.fixture(scope="module")
def quick() -> Build:
    """A build that is there."""
    return RENDERER.builds()[0]


def plain_frames(build: Build, tmp_path: Path, more: str, script: str = PLAIN, **settings: object) -> Scene:
    fill(tmp_path, "s0")
    scene = make_scene(
        tmp_path / "s.blend", frames=FRAMES, size=(8, 8), moving=False, script=script + textwrap.dedent(more)
    )
    with opened(build, scene, tmp_path / "scratch", **settings) as session:
        return session.describe()


def plates(scene: Scene) -> dict[str, str | None]:
    return {Path(asset.path).name: asset.frames for asset in scene.assets if Path(asset.path).suffix == ".png"}


@pytest.mark.parametrize(
    "more",
    [
        "scene.render.frame_map_new = 200",
        "node.image_user.keyframe_insert('frame_offset', frame=1)",
        "node.image_user.driver_add('frame_offset').driver.expression = '2'",
        SCENE_STRIP,
        GEOMETRY_NODES,
    ],
    ids=["time is remapped", "keyframes", "a driver", "a scene strip", "geometry nodes"],
)
def test_where_more_than_the_frame_number_decides_all_files_are_needed_by_all_frames(
    quick: Build, tmp_path: Path, more: str
) -> None:
    assert plates(plain_frames(quick, tmp_path, more)) == {f"f_{n:04d}.png": None for n in FILES}


def test_scripts_that_may_run_can_change_everything(quick: Build, tmp_path: Path) -> None:
    script = "bpy.data.texts.new('T').from_string('pass')"
    assert plates(plain_frames(quick, tmp_path, script))["f_0003.png"] == "3"
    assert plates(plain_frames(quick, tmp_path, script, trust_scripts=True))["f_0003.png"] is None


@pytest.mark.parametrize(
    ("more", "frames"),
    [
        ("scene.render.use_motion_blur = True; scene.render.motion_blur_shutter = 0.5", "2-4"),
        ("scene.render.use_motion_blur = True; scene.render.motion_blur_shutter = 1.8", "1-5"),
        ("scene.view_layers[0].use_pass_vector = True", "2-4"),
    ],
    ids=["blur", "long blur", "vectors"],
)
def test_motion_blur_looks_at_the_frames_beside(quick: Build, tmp_path: Path, more: str, frames: str) -> None:
    described = plain_frames(quick, tmp_path, more)
    assert plates(described)["f_0003.png"] == frames
    assert not described.missing


def test_files_of_frames_outside_the_scenes_own_can_be_found(quick: Build, tmp_path: Path) -> None:
    described = plain_frames(quick, tmp_path, "")
    assert "f_0009.png" not in plates(described)
    found = {path.name for wild in described.wild if wild.by_frame for path in wildcards.files(wild)}
    assert found == {f"f_{n:04d}.png" for n in FILES}


DISPLACED = (
    STRIPES
    + """
texture = bpy.data.textures.new("T", "IMAGE")
texture.image = sequence("s0")
texture.image_user.frame_duration = 3
texture.image_user.use_auto_refresh = True
tree = stripe(3, folder)
item = bpy.data.objects["S"]
item.modifiers.new("D", "DISPLACE").texture = texture
"""
)


def test_textures_are_needed_when_they_are_seen(quick: Build, tmp_path: Path) -> None:
    assert plates(plain_frames(quick, tmp_path, "", DISPLACED)) == {
        "f_0001.png": "1", "f_0002.png": "2", "f_0003.png": "3-8",
    }  # fmt: skip


def test_not_where_physics_may_remember_them(quick: Build, tmp_path: Path) -> None:
    found = plates(plain_frames(quick, tmp_path, "item.modifiers.new('C', 'CLOTH')", DISPLACED))
    assert found == {f"f_{n:04d}.png": None for n in FILES}


# Simulations

SMOKE = """
bpy.data.objects.remove(sun)
cube.scale = (2, 2, 2)
bpy.ops.mesh.primitive_uv_sphere_add(radius=.5, location=(0, 0, -1))
source = bpy.context.object
source.hide_render = True
bpy.ops.wm.save_as_mainfile(filepath=folder + "/s.blend")
domain = cube.modifiers.new("F", "FLUID")
domain.fluid_type = "DOMAIN"
settings = domain.domain_settings
settings.domain_type, settings.resolution_max = "GAS", 8
settings.cache_directory, settings.cache_type = "//cache", "ALL"
settings.cache_frame_start, settings.cache_frame_end = 1, 4
flow = source.modifiers.new("F", "FLUID")
flow.fluid_type = "FLOW"
flow.flow_settings.flow_type, flow.flow_settings.flow_behavior = "SMOKE", "INFLOW"
bpy.context.view_layer.objects.active = cube
bpy.ops.fluid.bake_all()
scene.world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
tree = cube.data.materials[0].node_tree
tree.nodes.clear()
volume = tree.nodes.new("ShaderNodeVolumePrincipled")
volume.inputs["Density"].default_value = 50
volume.inputs["Color"].default_value = (0, 0, 0, 1)
tree.links.new(volume.outputs[0], tree.nodes.new("ShaderNodeOutputMaterial").inputs["Volume"])
"""


def smoke(folder: Path, frames: tuple[int, int] = (1, 6)) -> Path:
    return make_scene(
        folder / "s.blend", frames=frames, size=(24, 24), moving=False, script=SMOKE, saver="blender"
    )


@pytest.mark.slow
def test_baked_smoke_is_needed_when_it_is_seen(tmp_path: Path) -> None:
    """Baked for frames 1 to 4, rendered for 1 to 6."""
    build = build_named("blender")
    path = smoke(tmp_path)
    described, before = scene_and_pictures(build, path, range(1, 7))
    told = {Path(asset.path).name: asset.frames for asset in described.assets}
    assert told["fluid_data_0003.vdb"] == told["config_0003.uni"] == "3"
    assert told["fluid_data_0004.vdb"] == "4-6"
    for number in (3, 4):
        file = tmp_path / "cache" / "data" / f"fluid_data_{number:04d}.vdb"
        kept = file.read_bytes()
        shutil.copy(file.with_name("fluid_data_0001.vdb"), file)
        _, after = scene_and_pictures(build, path, range(1, 7))
        file.write_bytes(kept)
        different = {frame for frame in before if before[frame].tobytes() != after[frame].tobytes()}
        assert number in different
        assert different <= set(parse(str(told[file.name])))


def test_smoke_that_is_not_baked_is_needed_by_every_frame(tmp_path: Path) -> None:
    build = build_named("blender")
    replay = SMOKE.replace('"ALL"', '"REPLAY"').replace("bpy.ops.fluid.bake_all()", "")
    path = make_scene(tmp_path / "s.blend", script=replay, saver="blender", moving=False)
    (tmp_path / "cache").mkdir(exist_ok=True)
    with opened(build, path, tmp_path / "scratch") as session:
        assert {asset.path: asset.frames for asset in session.describe().assets} == {
            str(tmp_path / "cache"): None
        }


VOLUME = """
bpy.data.objects.remove(sun)
bpy.data.objects.remove(cube)
scene.world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
volume = bpy.data.volumes.new("V")
volume.filepath, volume.is_sequence = folder + "/smoke/v_0001.vdb", True
for name, value in SETTINGS.items():
    setattr(volume, name, value)
item = bpy.data.objects.new("V", volume)
item.scale, item.location = (4, 4, 4), (-2, 0, -2)
scene.collection.objects.link(item)
made = bpy.data.materials.new("M")
made.use_nodes = True
volume.materials.append(made)
made.node_tree.nodes.clear()
shader = made.node_tree.nodes.new("ShaderNodeVolumePrincipled")
shader.inputs["Density"].default_value = 50
shader.inputs["Color"].default_value = (0, 0, 0, 1)
out = made.node_tree.nodes.new("ShaderNodeOutputMaterial")
made.node_tree.links.new(shader.outputs[0], out.inputs["Volume"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"frame_duration": 3, "frame_start": 2, "sequence_mode": "CLIP"},
        {"frame_duration": 3, "frame_start": 2, "sequence_mode": "EXTEND"},
        {"frame_duration": 3, "frame_start": 3, "sequence_mode": "REPEAT"},
        {"frame_duration": 3, "frame_start": 2, "sequence_mode": "PING_PONG", "frame_offset": 1},
    ],
    ids=["clip", "extend", "repeat", "ping pong"],
)
def test_volumes_are_needed_when_they_are_seen(
    tmp_path: Path, vdb_files: Path, settings: dict[str, object]
) -> None:
    """In Blender 3.4: bpy 5.0 needs seconds for each of these frames."""
    build = build_named("blender")
    shutil.copytree(vdb_files, tmp_path / "smoke")
    script = VOLUME.replace("SETTINGS", repr(settings))
    path = make_scene(tmp_path / "s.blend", frames=FRAMES, size=(24, 24), moving=False, script=script)
    described, before = scene_and_pictures(build, path, range(1, 9))
    told = {Path(a.path).name: set(parse(str(a.frames))) for a in described.assets}
    assert len(told) > 1
    for name, frames in told.items():
        kept = (tmp_path / "smoke" / name).read_bytes()
        shutil.copy(vdb_files / "v_0009.vdb", tmp_path / "smoke" / name)
        _, after = scene_and_pictures(build, path, range(1, 9))
        (tmp_path / "smoke" / name).write_bytes(kept)
        assert {frame for frame in before if before[frame].tobytes() != after[frame].tobytes()} == frames


def test_a_volume_that_has_ended_is_gone_in_whatever_order_frames_are_rendered(
    tmp_path: Path, vdb_files: Path
) -> None:
    shutil.copytree(vdb_files, tmp_path / "smoke")
    settings = {"frame_duration": 3, "frame_start": 2, "sequence_mode": "CLIP"}
    script = VOLUME.replace("SETTINGS", repr(settings))
    path = make_scene(tmp_path / "s.blend", frames=FRAMES, size=(24, 24), moving=False, script=script)
    _, pictures = scene_and_pictures(build_named("blender"), path, range(1, 9))
    assert len({pictures[frame].tobytes() for frame in (1, 5, 6, 7, 8)}) == 1


@pytest.fixture(scope="module")
def vdb_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smoke in files 1 to 4, and much more of it in file 9."""
    build_named("blender")
    folder = tmp_path_factory.mktemp("vdb")
    smoke(folder / "made")
    for number, target in ((1, 1), (1, 2), (2, 3), (2, 4), (4, 9)):
        source = folder / "made" / "cache" / "data" / f"fluid_data_{number:04d}.vdb"
        shutil.copy(source, folder / f"v_{target:04d}.vdb")
    shutil.rmtree(folder / "made")
    return folder


CACHE = (
    STRIPES
    + """
import mathutils
for number in range(1, 9):
    mesh = bpy.data.meshes.new("C")
    size = number * 0.4
    corners = [(-size, -size, 0), (size, -size, 0), (size, size, 0), (-size, size, 0)]
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    item = bpy.data.objects.new("C", mesh)
    scene.collection.objects.link(item)
    for other in bpy.data.objects:
        other.select_set(other == item)
    bpy.ops.wm.alembic_export(filepath=folder + "/c_%04d.abc" % number, selected=True, start=1, end=1)
    bpy.data.meshes.remove(mesh)
bpy.ops.wm.alembic_import(filepath=folder + "/c_0001.abc", is_sequence=True)
made = material("M", (0, 0, 0))
for item in bpy.data.objects:
    if item.type == "MESH":
        item.data.materials.append(made)
scene.world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
scene.frame_start, scene.frame_end = 1, 8
"""
)


def test_alembic_sequences_are_needed_when_they_are_seen(tmp_path: Path) -> None:
    build = build_named("bpy")
    path = make_scene(
        tmp_path / "s.blend", frames=FRAMES, size=(32, 32), moving=False, script=CACHE, saver="bpy"
    )
    described, before = scene_and_pictures(build, path, range(1, 9))
    told = {Path(a.path).name: a.frames for a in described.assets}
    assert told == {f"c_{n:04d}.abc": str(n) for n in range(1, 9)}
    for number in (3, 6):
        kept = (tmp_path / f"c_{number:04d}.abc").read_bytes()
        shutil.copy(tmp_path / "c_0001.abc", tmp_path / f"c_{number:04d}.abc")
        _, after = scene_and_pictures(build, path, range(1, 9))
        (tmp_path / f"c_{number:04d}.abc").write_bytes(kept)
        assert {frame for frame in before if before[frame].tobytes() != after[frame].tobytes()} == {number}
