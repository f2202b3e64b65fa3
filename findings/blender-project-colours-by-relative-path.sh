#!/usr/bin/env bash
# bpy 5.3.0: a project (.blender_project/project.toml) whose ocio_config is a path from the project's folder, with or without //, is
# skipped with a line in the log: no file is looked for, and every picture gets Blender's own colours. Only a whole path counts (or
# ocio://), so a project that is moved, or lies elsewhere on another machine, changes its colours. Needs Python 3.13.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3.13 -m venv v; v/bin/pip -q install --disable-pip-version-check bpy==5.3.0 >/dev/null 2>&1
mkdir -p show/.blender_project show/shot
cat >show/config.ocio <<'O'
ocio_profile_version: 2
roles: {default: raw, scene_linear: lin, default_byte: lin}
displays: {Ours: [!<View> {name: Plain, colorspace: lin}]}
colorspaces:
  - !<ColorSpace> {name: lin}
  - !<ColorSpace> {name: raw, isdata: true}
O
cp show/config.ocio show/.blender_project
cat >scene.py <<'P'
import os, sys, bpy
path = os.path.abspath("show/shot/s.blend")
if not os.path.exists(path):
    bpy.ops.wm.save_as_mainfile(filepath=path)
bpy.ops.wm.open_mainfile(filepath=path)
print("SEEN", bpy.data.project.name, bpy.context.scene.display_settings.display_device, flush=True)
os._exit(0)
P
v/bin/python scene.py >/dev/null 2>&1 || true
seen=$(for name in config.ocio //config.ocio "$PWD/show/config.ocio"; do
  printf 'schema_version = 1\nname = "show"\nocio_config = "%s"\n' "$name" >show/.blender_project/project.toml
  v/bin/python scene.py >log 2>&1
  echo "${name#"$PWD"}: $(sed -n 's/^SEEN show //p' log), skipped $(grep -c 'Invalid project config path, skipping' log || true)"
done)
echo "$seen"
[ "$seen" = "config.ocio: sRGB, skipped 1
//config.ocio: sRGB, skipped 1
/show/config.ocio: Ours, skipped 0" ]
