#!/usr/bin/env bash
# Blender: a timeline whose only strip is muted. 4.2 still renders the (empty, black) timeline; from 4.5 on the 3D scene is
# rendered. Same file, same settings, exit code 0 both times. Needs Python 3.11 and 2 GB of room.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >muted.py <<'P'
import os, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
s = bpy.context.scene
s.render.engine, s.cycles.samples = "CYCLES", 1
s.render.resolution_x = s.render.resolution_y = 8
s.world = bpy.data.worlds.new("w")
s.world.use_nodes = True
s.world.node_tree.nodes["Background"].inputs["Color"].default_value = (1, 1, 1, 1)
s.camera = bpy.data.objects.new("c", bpy.data.cameras.new("c"))
s.collection.objects.link(s.camera)
editor = s.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
strip = strips.new_effect(name="red", type="COLOR", channel=1, frame_start=1, **({"length": 5} if bpy.app.version >= (5,) else {"frame_end": 6}))
strip.color, strip.mute = (1, 0, 0), True
s.frame_start = s.frame_end = 1
s.render.image_settings.file_format = "PNG"
s.render.filepath = os.path.abspath("out_")
bpy.ops.render.render(animation=True)
pixel = [round(v, 2) for v in bpy.data.images.load(s.render.filepath + "0001.png").pixels[:3]]
print("SEEN", "black" if max(pixel) < 0.05 else "the 3D scene" if min(pixel) > 0.5 else pixel, flush=True)
os._exit(0)
P
seen=$(for version in 4.2.23 4.5.15 5.0.1; do
  python3.11 -m venv "v$version"; "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  echo "$version $("v$version/bin/python" muted.py 2>/dev/null | sed -n 's/^SEEN //p')"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "$(printf '4.2.23 black\n4.5.15 the 3D scene\n5.0.1 the 3D scene')" ]
