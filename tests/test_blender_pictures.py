"""What a .blend says about its pictures: files of views, layers of EXR, and their colours, each as by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO
import pytest
from blender_runs import animated_by_hand, build_named, opened, pixels, with_both
from blender_scenes import has_blender, has_bpy, make_scene
from conftest import names

from renderfarm.pictures.colour import shown
from renderfarm.pictures.look import look
from renderfarm.words.scene import pictures
from renderfarm.words.updates import Rendered

pytestmark = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")
both = pytest.mark.parametrize("name", ["bpy", "blender"])


VIEWS = """
scene.render.use_multiview, scene.render.views_format = True, "MULTIVIEW"
for view in scene.render.views: view.use = False
for name in ("north", "south"):
    twin = camera.copy()
    twin.name = "Camera_" + name
    scene.collection.objects.link(twin)
    view = scene.render.views.new(name)
    view.camera_suffix = view.file_suffix = "_" + name
    scene.camera = twin
"""
STEREO = "scene.render.use_multiview = True\n"
TWO_IN_ONE = """
scene.render.image_settings.views_format = "STEREO_3D"
scene.render.image_settings.stereo_3d_format.display_mode = "SIDEBYSIDE"
"""


@pytest.mark.parametrize(
    ("name", "script", "views"),
    with_both(
        (VIEWS, ("_north", "_south")),
        (VIEWS + "view.use = False", ()),
        (STEREO, ("_L", "_R")),
        (VIEWS + "view.file_suffix = '_north'", ()),
        (STEREO + TWO_IN_ONE, ()),
        (STEREO + "scene.render.views['left'].file_suffix = ''", ("", "_R")),
    ),
)
def test_a_frame_has_the_pictures_of_its_views_that_it_has_by_hand(
    tmp_path: Path, home: Path, name: str, script: str, views: tuple[str, ...]
) -> None:
    scene = make_scene(tmp_path / "s.blend", script=script)
    build = build_named(name)
    with opened(build, scene, tmp_path) as session:
        described = session.describe()
        (done,) = session.render([2], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Rendered)
    assert described.views == views
    animated_by_hand(build, scene, tmp_path / "hand", (2, 2))
    found = [pixels(path) for path in pictures(done.path, done.views)]
    by_hand = [f"0002{view}.png" for view in views] or names(tmp_path / "hand")
    theirs = [pixels(tmp_path / "hand" / name) for name in by_hand]
    assert len(found) == len(theirs) == len(names(tmp_path / "hand"))
    assert all(map(np.array_equal, found, theirs))
    assert found[0].shape[:2] == described.resolution[::-1]


@both
def test_frames_below_zero_and_frames_in_order_have_all_their_views(
    tmp_path: Path, home: Path, name: str
) -> None:
    physics = STEREO + "cube.modifiers.new('C', 'CLOTH'); cube.location.z = 1"
    for number, (script, frames) in enumerate([(STEREO, [-3]), (physics, [2, 3])]):
        scene = make_scene(tmp_path / f"{number}.blend", script=script)
        with opened(build_named(name), scene, tmp_path / str(number)) as session:
            done = list(session.render(frames, 1, tmp_path / str(number), tmp_path / "log"))
        assert [each.frame for each in done] == frames
        for each in done:
            assert isinstance(each, Rendered), each
            left, right = map(pixels, pictures(each.path, each.views))
            assert not np.array_equal(left, right)


def parts(path: Path) -> list[tuple[object, np.ndarray]]:
    """Each part of a file: its name, view, channels, colour tags and compression, and its pixels."""
    source, found = OpenImageIO.ImageInput.open(str(path)), []
    while source.seek_subimage(len(found), 0):
        spec = source.spec()
        tags = ("oiio:subimagename", "view", "multiView", "chromaticities", "colorInteropID", "compression")
        told = [spec.channelnames, str(spec.format), *map(spec.getattribute, tags)]
        found.append((told, source.read_image(len(found), 0, 0, spec.nchannels, "float")))
    return found


EXR = """
image = scene.render.image_settings
def write(kind, media="IMAGE"):
    if hasattr(image, "media_type"): image.media_type = media
    image.file_format = kind
layer = scene.view_layers[0]
layer.use_pass_z = layer.use_pass_normal = layer.use_pass_emit = True
write("OPEN_EXR")
"""
LAYERED = EXR + "write('OPEN_EXR_MULTILAYER', 'MULTI_LAYER_IMAGE')\n"
IN_ONE = STEREO + "image.views_format = 'MULTIVIEW'\n"
WHITE = """
view = scene.view_settings
if hasattr(view, "use_white_balance"):
    view.use_white_balance, view.white_balance_temperature, view.white_balance_tint = True, 3500, 30
"""
BRIGHT = """
try:
    scene.display_settings.display_device = "Rec.2100-PQ"
    scene.view_settings.view_transform, scene.view_settings.gamma = "AgX - HDR 1000 nits", 1.3
except TypeError:
    pass  # since 5.0
"""
ACESCG = """
image.color_management = "OVERRIDE"
known = image.linear_colorspace_settings.bl_rna.properties["name"].enum_items.keys()
image.linear_colorspace_settings.name = "ACEScg" if "ACEScg" in known else "XYZ"
"""


@pytest.mark.parametrize(
    ("name", "script"),
    with_both(
        (EXR + "image.color_mode, image.color_depth, image.exr_codec = 'RGB', '32', 'PIZ'" + WHITE,),
        (LAYERED,),
        (LAYERED + IN_ONE,),
        (EXR + IN_ONE + BRIGHT,),
        (LAYERED + ACESCG,),
        (EXR + ACESCG,),
    ),
)
def test_an_exr_has_the_parts_layers_and_tags_that_it_has_by_hand(
    tmp_path: Path, home: Path, name: str, script: str
) -> None:
    scene = make_scene(tmp_path / "s.blend", script=script, saver=name)
    build = build_named(name)
    with opened(build, scene, tmp_path, format="exr") as session:
        described = session.describe()
        (done,) = session.render([2], 1, tmp_path, tmp_path / "log")
    assert isinstance(done, Rendered)
    assert described.layered is ("LAYER" in script)
    animated_by_hand(build, scene, tmp_path / "hand", (2, 2), own=True)
    ours, theirs = parts(Path(done.path)), parts(tmp_path / "hand/0002.exr")
    assert [told for told, _ in ours] == [told for told, _ in theirs]
    assert all(np.array_equal(mine, other) for (_, mine), (_, other) in zip(ours, theirs, strict=True))
    seen = look(Path(done.path), 2, size=described.resolution)
    assert (seen.finding, len(seen.views)) == (None, "MULTIVIEW" in script)
    first, *_ = animated_by_hand(build, scene, tmp_path / "png", (2, 2))
    assert np.abs(shown(Path(done.path), described.colour).astype(int)[..., :3] - first[..., :3]).max() <= 1
