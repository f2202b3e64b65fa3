"""Parts of a frame as float layers, and a frame of the layers that parts were merged into. Runs inside Blender.

Nothing is done to a part's layers: denoiser, compositor, view transform, dither, stamp and file are Blender's,
once, of the merged ones, which take the place of what the engine would have rendered.
"""

from __future__ import annotations

import contextlib
import math
from array import array
from collections.abc import Iterator
from typing import Any

import bpy

from renderfarm.renderers.blender import compositor, sequences

STEP, MOST_MARGIN = 16, 8
"""samples after which adaptive sampling looks which pixels need more, and pixels that it was seen to reach"""
_LIGHTS = ("diffuse", "glossy", "transmission")
QUOTIENTS = (
    *(f"{light}_{way}" for light in _LIGHTS for way in ("direct", "indirect")),
    *(f"cryptomatte_{what}" for what in ("object", "material", "asset")),
    "vector",
)
"""passes that Cycles divides by what another one sums up, or sorts"""
COSTS = "pass_render_time", "pass_debug_sample_count"
"""passes that tell what a pixel took: its time, since 5.0; how many of its tile's samples it got"""
MEASURED = frozenset({(3, 4), (4, 2), (4, 5), (5, 0), (5, 3)})
"""releases whose tiles were seen to be the whole picture, pass by pass"""


def parting(scene: bpy.types.Scene) -> dict[str, Any]:
    """What a `Scene` says of parts of its frames: what they need, or why they are not the whole picture."""
    seams = next((why for why, holds in _seams(scene) if holds), "")
    uneven = seams or next((why for why, holds in _uneven(scene) if holds), "")
    margin = 0 if seams else _margin(scene)
    return {"block": 0 if seams else 1, "seams": seams, "uneven": uneven, "margin": margin, "tiles": "exr"}


def _margin(scene: bpy.types.Scene) -> int:
    """Pixels around a tile that are rendered too: a step of adaptive sampling carries samples by one pixel.

    Steps and least samples are those of Cycles (`Integrator::get_adaptive_sampling`).
    """
    cycles = scene.cycles
    if not cycles.use_adaptive_sampling:
        return 0
    samples = max(cycles.samples, *(layer.samples for layer in scene.view_layers))
    threshold = cycles.adaptive_threshold or max(0.001, 1 / samples)
    least = max(4, cycles.adaptive_min_samples or math.ceil(16 / threshold**0.3))
    steps: int = (samples - 1) // STEP - (least + 1) // STEP
    return min(MOST_MARGIN, max(0, steps) + 1)


def _seams(scene: bpy.types.Scene) -> Iterator[tuple[str, object]]:
    """Why tiles would not make the whole picture, for people, each with whether that is so."""
    render, version = scene.render, bpy.app.version
    cycles: Any = getattr(scene, "cycles", None)
    yield f"that was measured with Cycles only, and {render.engine} renders it", render.engine != "CYCLES"
    yield f"that was not measured with Blender {version[0]}.{version[1]}", version[:2] not in MEASURED
    longer, own = max(size(render)), int(cycles.tile_size)
    larger = cycles.use_adaptive_sampling and cycles.use_auto_tile and longer > own
    yield f"its adaptive sampling differs at the edges of Cycles' own tiles of {own} pixels", larger
    kept = any(layer.cycles.denoising_store_passes for layer in scene.view_layers)
    yield "it keeps the denoiser's own passes", kept
    other = _to_denoise(scene) and cycles.denoiser != "OPENIMAGEDENOISE"
    yield f"its denoiser is {cycles.denoiser}, not OPENIMAGEDENOISE", other
    for name in COSTS:
        told = any(getattr(layer.cycles, name, False) for layer in scene.view_layers)
        yield f"its {name} is not the same in tiles", told
    yield "its time limit decides how many samples there are", cycles.time_limit
    yield "it renders a range of samples of its own", getattr(cycles, "use_sample_subset", False)
    yield "path guiding learns from pixels that are rendered before", getattr(cycles, "use_guiding", False)
    volumes = version >= (5, 0, 0) and _has_volumes()
    yield f"Blender {version[0]} finds its way in volumes by the pixels around", volumes
    yield "it has a render region of its own", render.use_border
    yield "it has stereoscopy of its own", render.use_multiview
    yield "it has Freestyle of its own", render.use_freestyle
    pencils = any(item.type in ("GPENCIL", "GREASEPENCIL") for item in scene.objects)
    yield "it has grease pencil", pencils
    yield "its picture is that of its video sequence", sequences.shows_strips(scene)
    shown = [each for tree in compositor.trees(scene) for each in compositor.shown_scenes(tree)]
    yield "its compositor shows other scenes", any(each != scene for each in shown)


def _uneven(scene: bpy.types.Scene) -> Iterator[tuple[str, object]]:
    """The same of means of sample ranges, besides that."""
    cycles, view_layers = scene.cycles, scene.view_layers
    before = not hasattr(cycles, "use_sample_subset")
    yield "before 4.5 Cycles takes other samples where it takes fewer", before
    yield "its adaptive sampling looks at all samples of a pixel", cycles.use_adaptive_sampling
    own = cycles.use_layer_samples != "IGNORE" and any(layer.samples for layer in view_layers)
    yield "a view layer has its own number of samples", own
    catchers = any(item.is_shadow_catcher and item.type != "LIGHT" for item in scene.objects)
    yield "a shadow catcher divides by what all samples see", catchers
    for name in QUOTIENTS:
        shown = any(getattr(layer, f"use_pass_{name}", False) for layer in view_layers)
        yield f"its pass {name} is no mean of samples", shown


def _has_volumes() -> bool:
    trees = [item.node_tree for item in (*bpy.data.materials, *bpy.data.worlds) if item.node_tree]
    outputs = (node for tree in trees for node in tree.nodes if node.bl_idname.startswith("ShaderNodeOutput"))
    return bool(bpy.data.volumes) or any(
        node.inputs["Volume"].is_linked for node in outputs if "Volume" in node.inputs
    )


def tile(
    scene: bpy.types.Scene, left: int, top: int, right: int, bottom: int, first: int, samples: int
) -> None:
    """Render but a tile from now on, all layers as floats; of samples so many from the first one, 0 for all."""
    render, cycles, image = scene.render, scene.cycles, scene.render.image_settings
    render.use_compositing = render.use_sequencer = render.use_stamp = False
    if hasattr(image, "media_type"):
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth, image.exr_codec = "32", "ZIP"
    for layer in _to_denoise(scene):
        layer.cycles.denoising_store_passes = True
    cycles.use_denoising = False
    width, height = size(render)
    whole = (left, top, right, bottom) == (0, 0, width, height) and not samples
    for layer in scene.view_layers:
        for name in COSTS:
            if hasattr(layer.cycles, name):
                setattr(layer.cycles, name, whole)
    render.use_border = render.use_crop_to_border = True
    render.border_min_x, render.border_max_x = _share(left, width), _share(right, width)
    render.border_min_y, render.border_max_y = _share(height - bottom, height), _share(height - top, height)
    if hasattr(cycles, "use_sample_subset"):
        cycles.use_sample_subset, cycles.sample_offset = samples > 0, first
        cycles.sample_subset_length = samples or cycles.samples


def size(render: bpy.types.RenderSettings) -> tuple[int, int]:
    """Pixels of the whole picture, as Blender rounds them."""
    share = render.resolution_percentage
    return render.resolution_x * share // 100, render.resolution_y * share // 100


def _share(edge: int, side: int) -> float:
    """An edge as Blender has it: it multiplies in 32-bit floats, and cuts off."""
    return (edge + 0.5) / side if 0 < edge < side else float(edge > 0)


@contextlib.contextmanager
def merged(scene: bpy.types.Scene, path: str | None) -> Iterator[None]:
    """Let the engine take its layers from a file; raises RuntimeError at the end when it could not."""
    if path is None:
        yield
        return
    kinds = bpy.types.RenderEngine.__subclasses__()
    kind = next(kind for kind in kinds if getattr(kind, "bl_idname", "") == scene.render.engine)
    denoised, outcome = dict[str, str](), dict[str, str]()

    def render(self: bpy.types.RenderEngine, depsgraph: bpy.types.Depsgraph) -> None:
        name = depsgraph.view_layer_eval.name
        outcome[name] = "nothing was read"
        outcome[name] = _load(self, depsgraph, path, denoised.get(name))

    saved, kind.update, kind.render = (kind.update, kind.render), (lambda *_: None), render
    try:
        denoised |= {layer.name: _denoised(scene, layer, path) for layer in _to_denoise(scene)}
        outcome.clear()
        yield
    finally:
        kind.update, kind.render = saved
    wanted = {layer.name: "it was not asked for" for layer in scene.view_layers if layer.use}
    if wrong := [f"{name}: {why}" for name, why in {**wanted, **outcome}.items() if why]:
        raise RuntimeError(f"The merged layers can't be read: {'; '.join(wrong)}")


def _load(
    engine: bpy.types.RenderEngine, depsgraph: bpy.types.Depsgraph, path: str, denoised: str | None
) -> str:
    """Give the engine's result the layers of a file, and what was denoised; what went wrong."""
    whole = size(depsgraph.scene_eval.render)
    result = engine.begin_result(0, 0, *whole, layer=depsgraph.view_layer_eval.name)
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
