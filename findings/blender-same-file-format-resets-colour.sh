#!/usr/bin/env bash
# bpy 4.5.15 and 5.0.1: assigning to image_settings.file_format the value that it has resets the colour space of an output whose
# colour management is overridden: a scene that saves ACEScg then saves Rec.709. No message. Needs Python 3.11, 2 GB of room.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
pictures = bpy.context.scene.render.image_settings
pictures.file_format = "OPEN_EXR"
pictures.color_management = "OVERRIDE"
pictures.linear_colorspace_settings.name = "ACEScg"
before = pictures.linear_colorspace_settings.name
pictures.file_format = pictures.file_format
print("SEEN", before, "->", pictures.linear_colorspace_settings.name, flush=True)
os._exit(0)
P
seen=$(for version in 4.5.15 5.0.1; do
  python3.11 -m venv "v$version"; "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  echo "$version $("v$version/bin/python" scene.py 2>/dev/null | sed -n 's/^SEEN //p')"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "4.5.15 ACEScg -> Linear Rec.709
5.0.1 ACEScg -> Linear Rec.709" ]
