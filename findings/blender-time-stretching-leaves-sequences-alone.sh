#!/usr/bin/env bash
# bpy 5.0.1 and 5.3.0: Time Stretching (frame_map_old, frame_map_new) moves what is keyed, and no image sequence, neither that of a
# material in Cycles nor the compositor's: with 100 to 200 frame 8 shows keys of frame 4 and picture 8. What was filmed or baked per
# frame slides out of step with what moves, without a word. Needs Python 3.11 and 3.13.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
scene.render.resolution_x = scene.render.resolution_y = 8
scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
for number in range(1, 9):
    picture = bpy.data.images.new("p", 8, 8, float_buffer=True, is_data=True)
    picture.pixels = [number, number, number, 1] * 64
    picture.filepath_raw, picture.file_format = os.path.abspath(f"s_{number:04}.exr"), "OPEN_EXR"
    picture.save()
    bpy.data.images.remove(picture)
pictures = bpy.data.images.load(os.path.abspath("s_0001.exr"))
pictures.source, pictures.colorspace_settings.name = "SEQUENCE", "Non-Color"
scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(scene.camera)
scene.camera.data.type, scene.camera.data.ortho_scale, scene.camera.location = "ORTHO", 2, (0, 0, 5)
for left in (-0.5, 0.5):
    bpy.ops.mesh.primitive_plane_add(size=1, location=(left, 0, 0))
    material = bpy.data.materials.new("m"); material.use_nodes = True
    bpy.context.object.data.materials.append(material)
    tree = material.node_tree; tree.nodes.clear()
    light, out = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(light.outputs[0], out.inputs[0])
    if left < 0:
        light.inputs[0].default_value = 1, 1, 1, 1
        for frame in range(1, 9):
            light.inputs[1].default_value = frame
            light.inputs[1].keyframe_insert("default_value", frame=frame)
    else:
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image, node.image_user.frame_duration, node.image_user.use_auto_refresh = pictures, 8, True
        tree.links.new(node.outputs[0], light.inputs[0])
def shown(wanted):
    scene.render.filepath = os.path.abspath("out_")
    scene.frame_start = scene.frame_end = wanted
    bpy.ops.render.render(animation=True)
    image = bpy.data.images.load(scene.render.frame_path(frame=wanted))
    row = [round(image.pixels[4 * (8 * 4 + column)]) for column in (2, 5)]
    bpy.data.images.remove(image)
    return row
def composited():
    scene.render.compositor_device = "CPU"
    tree = scene.compositing_node_group = bpy.data.node_groups.new("c", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    node, end = tree.nodes.new("CompositorNodeImage"), tree.nodes.new("NodeGroupOutput")
    node.image, node.frame_duration, node.use_auto_refresh = pictures, 8, True
    tree.links.new(node.outputs[0], end.inputs[0])
for new in (100, 200):
    scene.render.frame_map_old, scene.render.frame_map_new = 100, new
    print("SEEN", f"100 to {new}, frame 8: keyed and sequence {shown(8)}", flush=True)
composited()
print("SEEN", "the compositor's sequence", shown(8)[0], flush=True)
os._exit(0)
P
seen=$(for pair in 3.11:5.0.1 3.13:5.3.0; do
  version=${pair#*:}; "python${pair%:*}" -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  "v$version/bin/python" scene.py 2>/dev/null | sed -n "s/^SEEN/$version/p"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "$(for version in 5.0.1 5.3.0; do
  printf "$version 100 to 100, frame 8: keyed and sequence [8, 8]\n$version 100 to 200, frame 8: keyed and sequence [4, 8]\n$version the compositor's sequence 8\n"
done)" ]
