"""The visual difference: what counts as a change, measured on pictures of real renderers."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renderfarm.nightly import compare, morning
from renderfarm.words.scene import Colour
from tests.blender_scenes import has_blender, has_bpy, make_scene
from tests.povray_scenes import make_still

Pictures = dict[str, Image.Image]
Change = Callable[[Image.Image], Image.Image]

ROOM = """
scene.render.image_settings.file_format = "PNG"
prop(scene.cycles, "use_adaptive_sampling", False)
scene.view_settings.view_transform = "Standard"
bpy.data.objects.remove(sun)
cube.dimensions, cube.location = (9, 18, 7), (0, 0, 2.5)
wall = material("Wall", (0.7, 0.6, 0.5))
marble = wall.node_tree.nodes.new("ShaderNodeTexNoise")
marble.inputs["Scale"].default_value = 9
wall.node_tree.links.new(marble.outputs["Color"], wall.node_tree.nodes["Principled BSDF"].inputs["Base Color"])
cube.data.materials[0] = wall
for place, colour in enumerate(((0.8, 0.1, 0.1), (1, 0.7, 0.2), (0.1, 0.2, 0.8), (0.9, 0.9, 0.9))):
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.9, location=(place * 1.9 - 2.9, 0.4 * place, 0))
    ball = bpy.context.object
    ball.data.materials.append(material(f"Ball{place}", colour))
    ball.data.materials[0].node_tree.nodes["Principled BSDF"].inputs["Roughness"].default_value = 0.2
bpy.ops.mesh.primitive_plane_add(size=2, location=(1, 0, 5.9))
lamp = bpy.context.object
lamp.data.materials.append(bpy.data.materials.new("Lamp"))
lamp.data.materials[0].use_nodes = True
tree = lamp.data.materials[0].node_tree
light = tree.nodes.new("ShaderNodeEmission")
light.inputs[1].default_value = 30
tree.links.new(light.outputs[0], tree.nodes["Material Output"].inputs[0])

def render(name, samples, seed):
    scene.cycles.samples, scene.cycles.seed = samples, seed
    scene.render.filepath = os.path.join(folder, name + ".png")
    bpy.ops.render.render(write_still=True)

for samples in (4, 16, 48):
    for seed in (0, 1):
        render(f"{samples}-{seed}", samples, seed)
ball.location.x += 0.5
render("moved", 16, 1)
ball.location.x -= 0.5
light.inputs[1].default_value = 40
render("brighter", 16, 1)
light.inputs[1].default_value = 30
scene.cycles.use_denoising = True
render("denoised-0", 16, 0)
render("denoised-1", 16, 1)
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """A closed room full of reflected light: the noise is as strong as it gets."""
    if not (has_blender() or has_bpy()):
        pytest.skip("needs Blender")
    folder = tmp_path_factory.mktemp("room")
    make_scene(
        folder / "room.blend", size=(160, 90), moving=False, script=ROOM, saver="bpy" if has_bpy() else None
    )
    return {path.stem: Image.open(path).convert("RGB") for path in folder.glob("*.png")}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Image.Image:
    """A picture without noise: edges, a checker, a gradient."""
    if shutil.which("povray") is None:
        pytest.skip("needs POV-Ray")
    folder = tmp_path_factory.mktemp("povray")
    scene = make_still(folder, extra="sky_sphere { pigment { gradient y color_map { [0 rgb 1] [1 rgb 0] } } }")
    argv = ["povray", f"+I{scene.name}", "+Oout.png", "+W240", "+H135", "-D", "+A0.3", "+K0.5"]
    subprocess.run(argv, cwd=folder, capture_output=True, check=True)
    return Image.open(folder / "out.png").convert("RGB")


def encoded(image: Image.Image, form: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return Image.open(buffer).convert("RGB")


def patched(image: Image.Image, levels: int, place: tuple[float, float], share: float = 0.01) -> Image.Image:
    """A square of a share of the pixels, at a place given as parts of height and width, so many levels off."""
    pixels = np.asarray(image).astype(int)
    height, width = pixels.shape[:2]
    side = round((height * width * share) ** 0.5)
    top, left = int(place[0] * (height - side)), int(place[1] * (width - side))
    pixels[top : top + side, left : left + side] += levels
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def scattered(image: Image.Image, levels: list[int]) -> Image.Image:
    """One pixel in a hundred, anywhere, so many levels off."""
    random = np.random.default_rng(7)
    pixels = np.asarray(image).astype(int)
    chosen = random.random(pixels.shape[:2]) < 0.01
    pixels[chosen] += random.choice(levels, pixels.shape[:2])[chosen][:, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def changed(before: Image.Image, after: Image.Image) -> bool:
    return compare.of_pictures(before, after) >= compare.CHANGED


PLACES = [(0.15, 0.2), (0.5, 0.5), (0.62, 0.31), (0.85, 0.9), (0.3, 0.7)]


@pytest.mark.slow
@pytest.mark.parametrize("samples", [4, 16, 48])
def test_noise_of_another_seed_is_no_change(room: Pictures, samples: int) -> None:
    assert not changed(room[f"{samples}-0"], room[f"{samples}-1"])


@pytest.mark.slow
def test_what_a_denoiser_makes_of_another_seed_is_no_change(room: Pictures) -> None:
    assert not changed(room["denoised-0"], room["denoised-1"])


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("levels", [10, -10])
def test_one_percent_of_a_noisy_picture_by_ten_levels_is_a_change(
    room: Pictures, levels: int, place: tuple[float, float]
) -> None:
    assert changed(room["16-0"], patched(room["16-0"], levels, place))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_change_is_found_through_the_noise_of_another_seed(
    room: Pictures, place: tuple[float, float]
) -> None:
    assert changed(room["48-0"], patched(room["48-1"], -10, place))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("levels", [10, -10])
def test_one_percent_of_a_clean_picture_by_ten_levels_is_a_change(
    clean: Image.Image, levels: int, place: tuple[float, float]
) -> None:
    assert changed(clean, patched(clean, levels, place))


@pytest.mark.parametrize(
    ("side", "what", "is_change"), [(12, "a thing", True), (3, "a firefly", False), (60, "noise", False)]
)
def test_something_small_is_a_change_where_nothing_else_differs_unless_it_is_noise(
    side: int, what: str, is_change: bool
) -> None:
    pixels = np.asarray(Image.linear_gradient("L").resize((960, 540)).convert("RGB")).copy()
    before, random = pixels.copy(), np.random.default_rng(1)
    for picture in (before, pixels) if what == "noise" else ():
        picture[200 : 200 + side, 300 : 300 + side] = random.normal(90, 9, (side, side, 1)).clip(0, 255)
    if what != "noise":
        pixels[200 : 200 + side, 300 : 300 + side] += 60
    assert changed(Image.fromarray(before), Image.fromarray(pixels)) is is_change


@pytest.mark.parametrize("levels", [[10], [-10], [10, -10]])
def test_single_pixels_all_over_are_a_change_when_they_are_one_percent(
    clean: Image.Image, levels: list[int]
) -> None:
    assert changed(clean, scattered(clean, levels))


@pytest.mark.slow
@pytest.mark.parametrize("quality", [75, 85, 95])
def test_a_jpeg_of_the_same_picture_is_no_change(room: Pictures, clean: Image.Image, quality: int) -> None:
    for picture in (clean, room["48-0"], room["16-0"], room["4-0"]):
        once = encoded(picture, "JPEG", quality=quality)
        assert not changed(picture, once)
        assert not changed(once, encoded(once, "JPEG", quality=90))


def test_a_change_is_found_behind_a_jpeg_encoder(clean: Image.Image) -> None:
    for place in PLACES:
        assert changed(clean, encoded(patched(clean, -10, place), "JPEG", quality=85))


@pytest.mark.slow
def test_a_moved_object_and_another_light_are_changes(room: Pictures) -> None:
    assert changed(room["16-0"], room["moved"])
    assert changed(room["16-0"], room["brighter"])


@pytest.mark.slow
def test_a_greater_change_has_a_greater_difference(room: Pictures) -> None:
    small, large = (patched(room["16-0"], 60, (0.5, 0.5), share) for share in (0.01, 0.1))
    assert compare.of_pictures(room["16-0"], small) < compare.of_pictures(room["16-0"], large)


@pytest.mark.slow
def test_a_firefly_is_no_change(room: Pictures) -> None:
    pixels = np.asarray(room["48-0"]).copy()
    pixels[50:53, 80:83] = 255
    assert not changed(room["48-0"], Image.fromarray(pixels))


def test_what_became_transparent_is_a_change_and_a_colour_that_can_t_be_seen_is_none() -> None:
    solid, clear, odd = (
        Image.new("RGBA", (64, 36), (each, 9, 9, a)) for each, a in ((9, 255), (9, 0), (99, 0))
    )
    assert (changed(solid, clear), compare.of_pictures(clear, odd)) == (True, 0)


BLACK_AND_WHITE = [Image.new("RGB", (64, 36), colour) for colour in ("black", "white")]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (17, 5), (33, 31)])
def test_pictures_of_any_shape_are_compared(size: tuple[int, int]) -> None:
    grey, same = Image.new("RGB", size, "grey"), Image.new("RGB", size, "grey")
    assert compare.of_pictures(grey, same) == 0
    assert 0 <= compare.of_pictures(grey, Image.new("RGB", size, "white")) <= 1
    assert compare.of_pictures(*BLACK_AND_WHITE) == pytest.approx(1, abs=0.01), "they have nothing in common"


def saved(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def test_a_picture_of_another_size_or_none_any_more_is_a_change_and_another_compression_is_none(
    tmp_path: Path, clean: Image.Image
) -> None:
    one, other = saved(tmp_path / "a.png", clean), saved(tmp_path / "b.png", clean.resize((120, 68)))
    found = compare.difference(one, other, frame=3)
    assert (found.frame, found.difference, found.changed) == (3, 1.0, True)
    clean.save(other, compress_level=1)
    assert compare.difference(one, other).difference == 0
    other.write_bytes(b"\x89PNG and no more")
    assert compare.difference(one, other).changed


def test_a_linear_picture_is_compared_as_the_artist_sees_it(tmp_path: Path) -> None:
    """Two values far above white look alike, two dark ones do not, nor does one through another view."""
    import OpenImageIO

    def exr(value: float) -> Path:
        image = OpenImageIO.ImageBuf(OpenImageIO.ImageSpec(96, 54, 3, "half"))
        OpenImageIO.ImageBufAlgo.fill(image, (value, value, value))
        assert image.write(str(tmp_path / f"{value}.exr"))
        return tmp_path / f"{value}.exr"

    views = (Colour(), Colour())
    assert not compare.difference(exr(9.0), exr(12.0), views=views).changed
    assert compare.difference(exr(0.02), exr(0.03), views=views).changed
    assert compare.difference(exr(0.2), exr(0.2), views=(Colour(), Colour(exposure=1.0))).changed


def test_a_blender_that_is_gone_changes_no_colours(tmp_path: Path) -> None:
    there, gone = (tmp_path / name for name in ("there.ocio", "gone.ocio"))
    there.touch()
    then, now = Colour(str(gone), view="AgX"), Colour(str(there), view="AgX")
    assert morning.seen_as(then, now) == now
    assert morning.seen_as(now, then) == now


def test_frames_that_are_the_same_file_are_not_opened(tmp_path: Path) -> None:
    """They are no pictures: opening them would count as a change."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    (before / "1").write_text("not a picture")
    os.link(before / "1", after / "1")
    shutil.copy(before / "1", before / "2")
    shutil.copy(before / "1", after / "2")
    found = compare.differences((frame, before / str(frame), after / str(frame)) for frame in (1, 2))
    assert [(line.frame, line.difference) for line in found] == [(1, 0.0), (2, 0.0)]


def test_only_frames_that_both_nights_have_are_compared(tmp_path: Path, clean: Image.Image) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for frame in (1, 2):
        saved(before / f"{frame}.png", clean)
    for frame in (2, 3):
        saved(after / f"{frame}.png", clean)
    found = compare.differences((frame, before / f"{frame}.png", after / f"{frame}.png") for frame in range(5))
    assert [line.frame for line in found] == [2]


def test_the_difference_picture_is_bright_where_something_changed_and_dim_elsewhere(clean: Image.Image) -> None:
    shown = np.asarray(compare.picture(clean, patched(clean, -10, (0.5, 0.5)))).astype(int).max(axis=2)
    height, width = shown.shape
    assert shown[height // 2, width // 2] > 200 > 100 > shown[: height // 4].max()


def test_the_difference_picture_tells_brighter_from_darker() -> None:
    grey, light, dark = (Image.new("RGB", (64, 36), (v, v, v)) for v in (100, 130, 70))
    brighter = np.asarray(compare.picture(grey, light))[18, 32]
    darker = np.asarray(compare.picture(grey, dark))[18, 32]
    assert brighter[0] > brighter[2]
    assert darker[2] > darker[0]
