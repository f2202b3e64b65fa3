#!/usr/bin/env bash
# bpy 5.3.0: Save Output (render.save_output, new) is for animations alone. Off, render(animation=True) answers FINISHED where a File
# Output node writes something else, and no picture is where frame_path() says; with such a node muted, or without one, it raises.
# render(write_still=True) writes its picture either way. So who renders single frames of a file gets what -a doesn't write, and a
# farm that mutes output nodes fails on a file that renders by hand. Needs Python 3.13 and 2 GB of room.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
def answer(node, animation):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    scene.render.resolution_x = scene.render.resolution_y = 8
    scene.render.compositor_device = "CPU"
    scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(scene.camera)
    tree = scene.compositing_node_group = bpy.data.node_groups.new("c", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    layers, end = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("NodeGroupOutput")
    tree.links.new(layers.outputs[0], end.inputs[0])
    if node:
        output = tree.nodes.new("CompositorNodeOutputFile")
        output.directory, output.mute = os.path.abspath("nodes"), node == "muted"
        output.file_output_items.new("RGBA", "Image")
        tree.links.new(layers.outputs[0], output.inputs[0])
    scene.render.save_output, scene.frame_start, scene.frame_end = False, 1, 1
    scene.render.filepath = os.path.abspath("out_") if animation else os.path.abspath("out_0001.png")
    try:
        said = ", ".join(bpy.ops.render.render(animation=animation, write_still=not animation))
    except RuntimeError as error:
        said = str(error).strip()
    there = os.path.exists("out_0001.png")
    if there:
        os.remove("out_0001.png")
    return f"{said}: {'a' if there else 'no'} picture"
for node in ("", "muted", "writes"):
    print("SEEN", f"{node or 'no'} node, animation:", answer(node, True), flush=True)
print("SEEN", "no node, still:", answer("", False), flush=True)
os._exit(0)
P
python3.13 -m venv v; v/bin/pip -q install --disable-pip-version-check bpy==5.3.0 >/dev/null 2>&1
seen=$(v/bin/python scene.py 2>/dev/null | sed -n 's/^SEEN //p')
echo "$seen"
off="Error: Render output disabled in Output properties and no active compositing File Output nodes"
[ "$seen" = "no node, animation: $off: no picture
muted node, animation: $off: no picture
writes node, animation: FINISHED: no picture
no node, still: FINISHED: a picture" ]
