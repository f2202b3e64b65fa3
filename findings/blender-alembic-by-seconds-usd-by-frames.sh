#!/usr/bin/env bash
# bpy 5.0.1 and 5.3.0: the same motion exported as Alembic and as USD at 24 frames a second, imported into a scene of 48. The Alembic
# cache is read by seconds, the USD one by frame numbers, whatever its timeCodesPerSecond says: it plays twice as fast. Imported into
# 24, both agree until somebody sets another rate (for a film's sake): then only Alembic changes speed. Needs Python 3.11 and 3.13.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
ABC, USD = os.path.abspath("a.abc"), os.path.abspath("a.usda")
def fresh(rate):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = rate
    return bpy.context.scene
def places(scene):
    found = []
    for frame in (1, 25, 49):
        scene.frame_set(frame)
        box = next(item for item in scene.objects if item.type == "MESH")
        found.append(round(box.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world.translation.x, 1))
    return found
scene = fresh(24)
scene.frame_start, scene.frame_end = 1, 49
bpy.ops.mesh.primitive_cube_add()
for frame in range(1, 50):
    bpy.context.object.location.x = frame - 1
    bpy.context.object.keyframe_insert("location", frame=frame)
bpy.ops.wm.alembic_export(filepath=ABC, start=1, end=49)
bpy.ops.wm.usd_export(filepath=USD, export_animation=True)
print("SEEN", next(line.strip() for line in open(USD) if "timeCodesPerSecond" in line), "exported", places(scene), flush=True)
for kind in ("Alembic", "USD"):
    for rate in (24, 48):
        scene = fresh(rate)
        if kind == "USD":
            bpy.ops.wm.usd_import(filepath=USD)
        else:
            bpy.ops.wm.alembic_import(filepath=ABC, as_background_job=False)
        first, scene.render.fps = places(scene), 48
        print("SEEN", kind, "imported at", rate, first, "at 48", places(scene), flush=True)
os._exit(0)
P
seen=$(for pair in 3.11:5.0.1 3.13:5.3.0; do
  version=${pair#*:}; "python${pair%:*}" -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  "v$version/bin/python" scene.py 2>/dev/null | sed -n "s/^SEEN/$version/p"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "$(for version in 5.0.1 5.3.0; do
  printf "$version timeCodesPerSecond = 24 exported [0.0, 24.0, 48.0]\n$version Alembic imported at 24 [0.0, 24.0, 48.0] at 48 [0.0, 11.5, 23.5]\n$version Alembic imported at 48 [0.0, 11.5, 23.5] at 48 [0.0, 11.5, 23.5]\n"
  printf "$version USD imported at 24 [0.0, 24.0, 48.0] at 48 [0.0, 24.0, 48.0]\n$version USD imported at 48 [0.0, 24.0, 48.0] at 48 [0.0, 24.0, 48.0]\n"
done)" ]
