#!/usr/bin/env bash
# Blender: a compositor that shows another scene, which has no camera. render(animation=True) raises nothing: 4.2, 4.5 and 5.0
# answer CANCELLED and leave no file. Whoever waits for an exception takes that for a picture. Needs Python 3.11, 2 GB of room.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
s = bpy.context.scene
other = bpy.data.scenes.new("Other")
for each in (s, other):
    each.render.engine, each.cycles.samples = "CYCLES", 1
    each.render.resolution_x = each.render.resolution_y = 8
if bpy.app.version >= (5,):
    tree = s.compositing_node_group = bpy.data.node_groups.new("c", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    end = tree.nodes.new("NodeGroupOutput")
else:
    s.use_nodes = True
    tree = s.node_tree
    tree.nodes.clear()
    end = tree.nodes.new("CompositorNodeComposite")
layers = tree.nodes.new("CompositorNodeRLayers")
layers.scene = other
tree.links.new(layers.outputs["Image"], end.inputs[0])
s.frame_start = s.frame_end = 1
s.render.image_settings.file_format = "PNG"
s.render.filepath = os.path.abspath("out_")
try:
    answer = sorted(bpy.ops.render.render(animation=True))
except RuntimeError as error:
    answer = "raised " + str(error).strip().splitlines()[0]
print("SEEN", answer, os.path.exists(s.render.filepath + "0001.png"), flush=True)
os._exit(0)
P
seen=$(for version in 4.2.23 4.5.15 5.0.1; do
  python3.11 -m venv "v$version"; "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  echo "$version $("v$version/bin/python" scene.py 2>/dev/null | sed -n 's/^SEEN //p')"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "$(printf "4.2.23 ['CANCELLED'] False\n4.5.15 ['CANCELLED'] False\n5.0.1 ['CANCELLED'] False")" ]
