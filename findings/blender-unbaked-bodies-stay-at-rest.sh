#!/usr/bin/env bash
# Blender: rigid bodies, soft bodies and cloth that are not baked don't move in an animation that is rendered without a window:
# 24 frames, one picture. Cloth that was played to frame 12 before the file was saved moves up to frame 12 and stops there.
# frame_set over the same frames does move them, so frame_set 1 to 24 and then frame 24 is another picture than frame 24 of the
# animation. Exit code 0, no warning. 5.0.1 here; `blender -b FILE -a` of Debian's 3.4.1 does the same. Needs Python 3.11, 2 GB.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import math, os, sys, bpy
kind, played = sys.argv[1], int(sys.argv[2])
bpy.ops.wm.read_factory_settings(use_empty=True)
s = bpy.context.scene
s.render.engine, s.cycles.samples, s.cycles.use_denoising = "CYCLES", 1, False
s.render.resolution_x, s.render.resolution_y = 64, 36
s.render.image_settings.file_format = "PNG"
s.world = bpy.data.worlds.new("w")
s.world.use_nodes = True
s.world.node_tree.nodes["Background"].inputs["Color"].default_value = (1, 1, 1, 1)
s.camera = bpy.data.objects.new("c", bpy.data.cameras.new("c"))
s.collection.objects.link(s.camera)
s.camera.location, s.camera.rotation_euler = (0, -12, 0), (math.pi / 2, 0, 0)
dark = bpy.data.materials.new("dark")
dark.use_nodes = True
dark.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (0, 0, 0, 1)
if kind == "rigid":
    bpy.ops.rigidbody.world_add()
if kind == "cloth":
    bpy.ops.mesh.primitive_grid_add(size=4, location=(0, 0, 1), rotation=(1, 0, 0), x_subdivisions=8, y_subdivisions=8)
else:
    bpy.ops.mesh.primitive_cube_add(size=2, location=(0, 0, 2))
body = bpy.context.object
body.data.materials.append(dark)
if kind == "rigid":
    bpy.ops.rigidbody.object_add()
elif kind == "soft":
    body.modifiers.new("m", "SOFT_BODY").settings.use_goal = False
else:
    body.modifiers.new("m", "CLOTH")
for frame in range(1, played + 1):
    s.frame_set(frame)
bpy.ops.wm.save_as_mainfile(filepath=os.path.abspath(f"{kind}.blend"))
bpy.ops.wm.open_mainfile(filepath=os.path.abspath(f"{kind}.blend"))
s = bpy.context.scene

def animate(name, first, last):
    s.frame_start, s.frame_end = first, last
    s.render.filepath = os.path.abspath(name) + "/"
    bpy.ops.render.render(animation=True)
    return [tuple(bpy.data.images.load(f"{s.render.filepath}{n:04}.png").pixels) for n in range(first, last + 1)]

whole = animate(f"{kind}{played}", 1, 24)
moves = [n for n in range(2, 25) if whole[n - 1] != whole[n - 2]]
for frame in range(1, 25):
    s.frame_set(frame)
stepped, = animate(f"{kind}{played}s", 24, 24)
print("SEEN", f"last moves at {moves[-1]}," if moves else "never moves,", "stepped to 24:", "the same" if stepped == whole[-1] else "another picture", flush=True)
os._exit(0)
P
python3.11 -m venv v; v/bin/pip -q install --disable-pip-version-check bpy==5.0.1 >/dev/null 2>&1
seen=$(for run in "rigid 0" "soft 0" "cloth 0" "cloth 12"; do
  echo "$run: $(v/bin/python scene.py $run 2>/dev/null | sed -n 's/^SEEN //p')"
done)
echo "$seen"
expected='rigid 0: never moves, stepped to 24: another picture
soft 0: never moves, stepped to 24: another picture
cloth 0: never moves, stepped to 24: another picture
cloth 12: last moves at 12, stepped to 24: another picture'
[ "$seen" = "$expected" ]
