#!/usr/bin/env bash
# Cycles with Persistent Data, frames rendered one by one: vertices displaced by world position (Geometry node) stay where the session's
# first frame put them though the object moves (bpy 4.5.15, 5.0.1, 5.3.0), and keyed samples that become fewer give other pixels than a cold
# frame with as many (4.5.15 and 5.3.0, not 5.0.1). So on a farm pixels depend on where a chunk begins. Needs Python 3.11 and 3.13.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
def build(kind):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 4, False
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
    scene.world = bpy.data.worlds.new("white"); scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = 1, 1, 1, 1
    scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(scene.camera); scene.camera.location = 0, 0, 9
    bpy.ops.mesh.primitive_monkey_add(size=2)
    item = bpy.context.object
    paint = bpy.data.materials.new("paint"); paint.use_nodes = True; item.data.materials.append(paint)
    if kind == "samples":
        for frame, samples in ((1, 9), (2, 1)):
            scene.cycles.samples = samples; scene.cycles.keyframe_insert("samples", frame=frame)
        return scene
    paint.displacement_method = "DISPLACEMENT"
    tree = paint.node_tree
    place, bend = tree.nodes.new("ShaderNodeNewGeometry"), tree.nodes.new("ShaderNodeDisplacement")
    tree.links.new(place.outputs["Position"], bend.inputs["Height"])
    tree.links.new(bend.outputs[0], tree.nodes["Material Output"].inputs["Displacement"])
    for frame, where in ((1, 0), (2, 1)):
        item.location.x = where; item.keyframe_insert("location", frame=frame)
    return scene
def frames(kind, kept):
    scene, found = build(kind), []
    scene.render.use_persistent_data, scene.render.filepath = kept, os.path.abspath("out_")
    for frame in (1, 2):
        scene.frame_start = scene.frame_end = frame
        bpy.ops.render.render(animation=True)
        image = bpy.data.images.load(scene.render.frame_path(frame=frame))
        found.append(tuple(image.pixels)); bpy.data.images.remove(image)
    return found
for kind in ("samples", "displacement"):
    pairs = zip(frames(kind, False), frames(kind, True))
    print("SEEN", f"{kind}, warm as cold:", *(one == other for one, other in pairs), flush=True)
os._exit(0)
P
seen=$(for pair in 3.11:4.5.15 3.11:5.0.1 3.13:5.3.0; do
  version=${pair#*:}; "python${pair%:*}" -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  "v$version/bin/python" scene.py 2>/dev/null | sed -n "s/^SEEN/$version/p"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "4.5.15 samples, warm as cold: True False
4.5.15 displacement, warm as cold: True False
5.0.1 samples, warm as cold: True True
5.0.1 displacement, warm as cold: True False
5.3.0 samples, warm as cold: True False
5.3.0 displacement, warm as cold: True False" ]
