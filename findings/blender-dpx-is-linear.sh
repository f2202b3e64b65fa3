#!/usr/bin/env bash
# bpy 4.2.23 and 5.3.0: a render saved as DPX holds linear light (a world of 0.25 is 0.25), where PNG and TIFF hold colours of the
# display (0.537): the view transform is not applied. The header says Linear, which ffmpeg reports and ignores when it converts: the
# film is dark. With use_cineon_log the numbers stay the same, only the header says Printing density. Needs Python 3.11, 3.13, ffprobe.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
scene = bpy.context.scene
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(camera); scene.camera = camera
scene.world = bpy.data.worlds.new("world"); scene.world.use_nodes = True
scene.world.node_tree.nodes["Background"].inputs[0].default_value = (0.25, 0.25, 0.25, 1)
scene.render.engine, scene.cycles.samples, scene.render.dither_intensity = "CYCLES", 1, 0
scene.render.resolution_x = scene.render.resolution_y = 32
scene.view_settings.view_transform = "Standard"
pictures = scene.render.image_settings
for name, kind, log in (("a.png", "PNG", False), ("a.dpx", "DPX", False), ("log.dpx", "DPX", True)):
    if hasattr(pictures, "media_type"): pictures.media_type = "IMAGE"
    pictures.file_format, pictures.color_mode, pictures.color_depth = kind, "RGB", "16"
    pictures.use_cineon_log = log
    scene.render.filepath = os.path.abspath(name)
    bpy.ops.render.render(write_still=True)
os._exit(0)
P
cat >look.py <<'P'
import sys, OpenImageIO
for name in ("a.png", "a.dpx", "log.dpx"):
    source = OpenImageIO.ImageInput.open(name)
    tag = source.spec().get_string_attribute("dpx:Transfer")
    print(sys.argv[1], name, f"{source.read_image('float')[9, 9, 1]:.2f}", tag)
P
seen=$(for pair in 3.11:4.2.23 3.13:5.3.0; do
  version=${pair#*:}; "python${pair%:*}" -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" "openimageio==3.2.2.0" >/dev/null 2>&1
  "v$version/bin/python" scene.py >/dev/null 2>&1; "v$version/bin/python" look.py "$version"; rm -rf "v$version"
done; ffprobe -v error -show_entries stream=color_transfer -of csv=p=0 a.dpx)
echo "$seen"
[ "$seen" = "4.2.23 a.png 0.54 
4.2.23 a.dpx 0.25 Linear
4.2.23 log.dpx 0.25 Printing density
5.3.0 a.png 0.54 
5.3.0 a.dpx 0.25 Linear
5.3.0 log.dpx 0.25 Printing density
linear" ]
