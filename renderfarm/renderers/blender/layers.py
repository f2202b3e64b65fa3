"""Parts of a frame as float layers, and a frame of the layers that parts were merged into. Runs inside Blender.

Nothing is done to a part's layers: denoiser, compositor, view transform, dither, stamp and file are Blender's,
once, of the merged ones, which take the place of what the engine would have rendered.
"""

from __future__ import annotations

import contextlib
import itertools
from array import array
from collections.abc import Iterator, Mapping

import bpy

from renderfarm.renderers.blender import compositor, sequences

MARGIN = 8
"""pixels rendered around a tile where adaptive sampling carries samples from a pixel to those beside it"""
_LIGHTS = ("diffuse", "glossy", "transmission")
QUOTIENTS = (
    *(f"{light}_{way}" for light in _LIGHTS for way in ("direct", "indirect")),
    *(f"cryptomatte_{what}" for what in ("object", "material", "asset")),
    "vector",
)
"""passes that Cycles divides by what another one sums up, or sorts"""
MEASURED = frozenset({(3, 4), (4, 2), (4, 5), (5, 0), (5, 3)})
"""releases whose tiles were seen to be the whole picture, pass by pass"""


def seams(scene: bpy.types.Scene) -> str:
    """Why tiles would not make the whole picture, for people; empty when they do."""
    return next(_seams(scene), "")


def _seams(scene: bpy.types.Scene) -> Iterator[str]:
    render, version = scene.render, bpy.app.version
    if render.engine != "CYCLES":
        yield f"that was measured with Cycles only, and {render.engine} renders it"
        return
    if version[:2] not in MEASURED:
        yield f"that was not measured with Blender {version[0]}.{version[1]}"
    if scene.cycles.use_adaptive_sampling and render.resolution_percentage * max(
        render.resolution_x, render.resolution_y
    ) > 100 * _own_tile(scene):
        yield f"its adaptive sampling differs at the edges of Cycles' own tiles of {_own_tile(scene)} pixels"
    if any(layer.cycles.denoising_store_passes for layer in scene.view_layers):
        yield "it keeps the denoiser's own passes"
    if _to_denoise(scene) and scene.cycles.denoiser != "OPENIMAGEDENOISE":
        yield f"its denoiser is {scene.cycles.denoiser}, not OPENIMAGEDENOISE"
    if any(getattr(layer.cycles, "pass_render_time", False) for layer in scene.view_layers):
        yield "its pass render_time is never the same twice"
    if scene.cycles.time_limit:
        yield "its time limit decides how many samples there are"
    if getattr(scene.cycles, "use_guiding", False):
        yield "path guiding learns from pixels that are rendered before"
    if version >= (5, 0, 0) and _has_volumes():
        yield f"Blender {version[0]} finds its way in volumes by the pixels around"
    yield from _of_others(scene)


def uneven(scene: bpy.types.Scene) -> str:
    """Why means of sample ranges would not be the whole picture, for people; empty when they are."""
    return next(itertools.chain(_seams(scene), _uneven(scene)), "")


def _uneven(scene: bpy.types.Scene) -> Iterator[str]:
    cycles = scene.cycles
    if not hasattr(cycles, "use_sample_subset"):
        yield "before 4.5 Cycles takes other samples where it takes fewer"
        return
    if cycles.use_sample_subset:
        yield "it renders a range of samples of its own"
    if cycles.use_adaptive_sampling:
        yield "its adaptive sampling looks at all samples of a pixel"
    if any(layer.samples for layer in scene.view_layers) and cycles.use_layer_samples != "IGNORE":
        yield "a view layer has its own number of samples"
    if any(item.is_shadow_catcher and item.type != "LIGHT" for item in scene.objects):
        yield "a shadow catcher divides by what all samples see"
    for layer in scene.view_layers:
        passes = (name for name in QUOTIENTS if getattr(layer, f"use_pass_{name}", False))
        yield from (f"its pass {name} is no mean of samples" for name in passes)


def _own_tile(scene: bpy.types.Scene) -> int:
    """The side of the tiles that Cycles itself renders a picture in."""
    return int(scene.cycles.tile_size) if scene.cycles.use_auto_tile else 1 << 30


def _of_others(scene: bpy.types.Scene) -> Iterator[str]:
    """What other parts of Blender than Cycles put into the picture."""
    render = scene.render
    flags = {"use_border": "a render region", "use_multiview": "stereoscopy", "use_freestyle": "Freestyle"}
    yield from (f"it has {what} of its own" for flag, what in flags.items() if getattr(render, flag))
    if any(item.type in ("GPENCIL", "GREASEPENCIL") for item in scene.objects):
        yield "it has grease pencil"
    if sequences.shows_strips(scene):
        yield "its picture is that of its video sequence"
    shown = [each for tree in compositor.trees(scene) for each in compositor.shown_scenes(tree)]
    if any(each != scene for each in shown):
        yield "its compositor shows other scenes"


def _has_volumes() -> bool:
    trees = [item.node_tree for item in (*bpy.data.materials, *bpy.data.worlds) if item.node_tree]
    outputs = (node for tree in trees for node in tree.nodes if node.bl_idname.startswith("ShaderNodeOutput"))
    return bool(bpy.data.volumes) or any(
        node.inputs["Volume"].is_linked for node in outputs if "Volume" in node.inputs
    )


def margin(scene: bpy.types.Scene) -> int:
    """Pixels around a tile that are rendered to be thrown away."""
    cycles = scene.render.engine == "CYCLES" and scene.cycles.use_adaptive_sampling
    return MARGIN if cycles else 0


@contextlib.contextmanager
def tile(
    scene: bpy.types.Scene, reach: tuple[int, int, int, int] | None, first: int = 0, samples: int = 0
) -> Iterator[None]:
    """Render but a tile, given as left, top, right and bottom, all layers as floats; all of it for None.

    Of samples so many from the first one, or all.
    """
    if reach is None:
        yield
        return
    render = scene.render
    render.use_compositing = render.use_sequencer = render.use_stamp = False
    image = render.image_settings
    if hasattr(image, "media_type"):
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth, image.exr_codec = "32", "ZIP"
    width = render.resolution_x * render.resolution_percentage // 100
    height = render.resolution_y * render.resolution_percentage // 100
    for layer in _to_denoise(scene):
        layer.cycles.denoising_store_passes = True
    scene.cycles.use_denoising = False
    left, top, right, bottom = reach
    small = reach == (0, 0, width, height) and not samples
    costs = [(layer.cycles, name, getattr(layer.cycles, name)) for layer, name in _costs(scene) if small]
    render.use_border = render.use_crop_to_border = True
    render.border_min_x, render.border_max_x = _share(left, width), _share(right, width)
    render.border_min_y, render.border_max_y = _share(height - bottom, height), _share(height - top, height)
    cycles = scene.cycles
    if samples:
        cycles.use_sample_subset, cycles.sample_offset, cycles.sample_subset_length = True, first, samples
    for owner, name, _ in costs:
        setattr(owner, name, True)
    try:
        yield
    finally:
        for owner, name, own in costs:
            setattr(owner, name, own)
        if samples:
            cycles.use_sample_subset = False


def _costs(scene: bpy.types.Scene) -> Iterator[tuple[bpy.types.ViewLayer, str]]:
    """Passes that say what a pixel takes: its time, before 5.0 its samples where those differ."""
    for layer in scene.view_layers:
        if hasattr(layer.cycles, "pass_render_time"):
            yield layer, "pass_render_time"
        elif scene.cycles.use_adaptive_sampling:
            yield layer, "pass_debug_sample_count"


def _share(edge: int, side: int) -> float:
    """An edge as Blender has it: it multiplies in 32-bit floats, and cuts off."""
    return (edge + 0.5) / side if 0 < edge < side else float(edge > 0)


@contextlib.contextmanager
def merged(scene: bpy.types.Scene, path: str | None) -> Iterator[None]:
    """Let the engine take its layers from a file; raises RuntimeError at the end when it could not."""
    if path is None:
        yield
        return
    denoised: dict[str, str] = {}
    with _taken(scene, path, denoised) as outcome:
        denoised |= {layer.name: _denoised(scene, layer, path) for layer in _to_denoise(scene)}
        outcome.clear()
        yield
    wanted = {layer.name: "it was not asked for" for layer in scene.view_layers if layer.use}
    if wrong := [f"{name}: {why}" for name, why in {**wanted, **outcome}.items() if why]:
        raise RuntimeError(f"The merged layers can't be read: {'; '.join(wrong)}")


@contextlib.contextmanager
def _taken(scene: bpy.types.Scene, path: str, denoised: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give the engine's place to files; what went wrong with each view layer that was asked for."""
    kinds = bpy.types.RenderEngine.__subclasses__()
    kind = next(kind for kind in kinds if getattr(kind, "bl_idname", "") == scene.render.engine)
    saved, outcome = (kind.update, kind.render), dict[str, str]()

    def render(self: bpy.types.RenderEngine, depsgraph: bpy.types.Depsgraph) -> None:
        name = depsgraph.view_layer_eval.name
        outcome[name] = "nothing was read"
        outcome[name] = _load(self, depsgraph, name, path, denoised.get(name))

    kind.update, kind.render = (lambda *_: None), render
    try:
        yield outcome
    finally:
        kind.update, kind.render = saved


def _load(
    engine: bpy.types.RenderEngine,
    depsgraph: bpy.types.Depsgraph,
    layer: str,
    path: str,
    denoised: str | None,
) -> str:
    """Give the engine's result the layers of a file, and what was denoised; what went wrong."""
    render = depsgraph.scene_eval.render
    width = render.resolution_x * render.resolution_percentage // 100
    height = render.resolution_y * render.resolution_percentage // 100
    result = engine.begin_result(0, 0, width, height, layer=layer)
    try:
        result.load_from_file(path)
        if denoised:
            _replace_combined(result.layers[0], denoised)
    except RuntimeError as error:
        return str(error)
    finally:
        engine.end_result(result)
    return ""


def _replace_combined(layer: bpy.types.RenderLayer, denoised: str) -> None:
    """Give a layer its denoised picture; what it had is the noisy one."""
    passes = {each.name: each for each in layer.passes}
    combined = passes["Combined"]
    pixels = array("f", bytes(4 * 4 * len(combined.rect)))
    if noisy := passes.get("Noisy Image"):
        combined.rect.foreach_get(pixels)
        noisy.rect.foreach_set(pixels)
    image = bpy.data.images.load(denoised)
    try:
        image.colorspace_settings.name = "Non-Color"
        if len(image.pixels) != len(pixels):
            raise RuntimeError(f"{denoised} is not of the picture's size")
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    combined.rect.foreach_set(pixels)


def _to_denoise(scene: bpy.types.Scene) -> list[bpy.types.ViewLayer]:
    """The view layers that Cycles would denoise."""
    cycles = scene.render.engine == "CYCLES" and scene.cycles.use_denoising
    return [layer for layer in scene.view_layers if cycles and layer.use and layer.cycles.use_denoising]


def _denoised(scene: bpy.types.Scene, layer: bpy.types.ViewLayer, path: str) -> str:
    """Denoise a layer as Cycles does, to a level: by the compositor's node, not by cycles.denoise_animation."""
    stage = bpy.data.scenes.new("Denoise")
    render, image = stage.render, stage.render.image_settings
    for name in ("engine", "resolution_x", "resolution_y", "resolution_percentage"):
        setattr(render, name, getattr(scene.render, name))
    image.file_format, image.color_depth, image.color_mode = "OPEN_EXR", "32", "RGBA"
    render.filepath = target = f"{path}.{scene.view_layers.find(layer.name)}.exr"
    layer.cycles.denoising_store_passes = True
    tree = _denoising(stage, scene, layer)
    try:
        bpy.ops.render.render(write_still=True, scene=stage.name)
    finally:
        layer.cycles.denoising_store_passes = False
        if hasattr(stage, "compositing_node_group"):
            bpy.data.node_groups.remove(tree)
        bpy.data.scenes.remove(stage)
    return target


def _denoising(
    stage: bpy.types.Scene, scene: bpy.types.Scene, layer: bpy.types.ViewLayer
) -> bpy.types.NodeTree:
    """A compositor that denoises a layer of the scene."""
    if hasattr(stage, "compositing_node_group"):
        tree = stage.compositing_node_group = bpy.data.node_groups.new("Denoise", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        out = tree.nodes.new("NodeGroupOutput")
    else:
        stage.use_nodes = True
        tree = stage.node_tree
        tree.nodes.clear()
        out = tree.nodes.new("CompositorNodeComposite")
    source, node = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeDenoise")
    source.scene, source.layer = scene, layer.name
    cycles = scene.cycles
    _choose(node, "Prefilter", cycles.denoising_prefilter)
    _choose(node, "Quality", getattr(cycles, "denoising_quality", "HIGH"))
    for guide in ("Albedo", "Normal"):
        if guide.upper() in cycles.denoising_input_passes:
            tree.links.new(source.outputs[f"Denoising {guide}"], node.inputs[guide])
    tree.links.new(source.outputs["Image"], node.inputs["Image"])
    tree.links.new(node.outputs["Image"], out.inputs[0])
    return tree


def _choose(node: bpy.types.Node, name: str, value: str) -> None:
    """Set a choice of a node, which is a socket since 5.0, with words in place of names."""
    if name in node.inputs:
        node.inputs[name].default_value = value.capitalize()
    elif hasattr(node, name.lower()):
        setattr(node, name.lower(), value)


def numbered(
    parts: Mapping[str, list[int]], number: int
) -> tuple[int, tuple[int, int, int, int] | None, int, int]:
    """The frame that a number stands for, and what of it is to be rendered: tile, first sample, samples."""
    if str(number) not in parts:
        return number, None, 0, 0
    frame, left, top, right, bottom, first, samples = parts[str(number)]
    return frame, (left, top, right, bottom), first, samples
