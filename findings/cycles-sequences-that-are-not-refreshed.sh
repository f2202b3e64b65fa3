#!/usr/bin/env bash
# Cycles, bpy 5.0.1 and 5.3.0: an image sequence without Auto Refresh, which nodes made by a script have off, shows each frame's own
# picture all the same, and neither the one it was saved with nor the first. With Persistent Data it stands still at the first frame
# that a session renders: one frame's picture depends on those before it in the same process. Needs Python 3.11 and 3.13.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
def shown(kept, refreshed, frames):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    scene.render.resolution_x = scene.render.resolution_y = 8
    scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
    scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(scene.camera)
    scene.world = bpy.data.worlds.new("world"); scene.world.use_nodes = True
    scene.world.cycles.sampling_method = "NONE"
    tree = scene.world.node_tree
    node = tree.nodes.new("ShaderNodeTexEnvironment")
    node.image = bpy.data.images.load(os.path.abspath("s_0001.exr"))
    node.image.source, node.image.colorspace_settings.name, node.image_user.frame_duration = "SEQUENCE", "Non-Color", 9
    if refreshed is not None:
        node.image_user.use_auto_refresh = refreshed
    tree.links.new(node.outputs[0], tree.nodes["Background"].inputs[0])
    scene.frame_set(3)
    bpy.ops.wm.save_as_mainfile(filepath=os.path.abspath("a.blend"))
    bpy.ops.wm.open_mainfile(filepath=os.path.abspath("a.blend"))
    scene = bpy.context.scene
    scene.render.use_persistent_data, scene.render.filepath = kept, os.path.abspath("out_")
    found = []
    for frame in frames:
        scene.frame_start = scene.frame_end = frame
        bpy.ops.render.render(animation=True)
        image = bpy.data.images.load(scene.render.frame_path(frame=frame))
        found.append(round(image.pixels[4 * 27]))
        bpy.data.images.remove(image)
    return found
bpy.ops.wm.read_factory_settings(use_empty=True)
for number in range(1, 10):
    picture = bpy.data.images.new("p", 8, 8, float_buffer=True, is_data=True)
    picture.pixels = [number, number, number, 1] * 64
    picture.filepath_raw, picture.file_format = os.path.abspath(f"s_{number:04}.exr"), "OPEN_EXR"
    picture.save()
print("SEEN", "a new node, not kept:", shown(False, None, (5, 8)), "kept:", shown(True, None, (5, 8)), shown(True, None, (8, 5)), flush=True)
print("SEEN", "refreshed, not kept:", shown(False, True, (5, 8)), "kept:", shown(True, True, (5, 8)), shown(True, True, (8, 5)), flush=True)
os._exit(0)
P
seen=$(for pair in 3.11:5.0.1 3.13:5.3.0; do
  version=${pair#*:}; "python${pair%:*}" -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  "v$version/bin/python" scene.py 2>/dev/null | sed -n "s/^SEEN/$version/p"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "$(for version in 5.0.1 5.3.0; do
  printf "$version a new node, not kept: [5, 8] kept: [5, 5] [8, 8]\n$version refreshed, not kept: [5, 8] kept: [5, 8] [8, 5]\n"
done)" ]
