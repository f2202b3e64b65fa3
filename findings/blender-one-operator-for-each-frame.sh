#!/usr/bin/env bash
# Blender: rendering an animation frame by frame, one animation operator for each, is not rendering it with one operator. After
# an operator the scene is evaluated at the frame that the file was saved at, which starts unbaked particles anew: with a file
# saved at frame 4, frames 1 to 5 are the same, and from 6 on they differ. Saved at frame 1, all ten are the same.
# 5.0.1 here; Debian's 3.4.1 does the same. Needs Python 3.11 and 2 GB of room.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import math, os, sys, bpy
saved = int(sys.argv[1])
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
s.camera.location, s.camera.rotation_euler = (0, -6, 0), (math.pi / 2, 0, 0)
bpy.ops.mesh.primitive_cube_add(size=1, location=(50, 0, 0))
mote = bpy.context.object
bpy.ops.mesh.primitive_cube_add(size=1)
emitter = bpy.context.object
emitter.modifiers.new("p", "PARTICLE_SYSTEM")
dust = emitter.particle_systems[0].settings
dust.count, dust.frame_start, dust.frame_end, dust.brownian_factor = 60, 1, 8, 30
dust.render_type, dust.instance_object, dust.particle_size = "OBJECT", mote, 0.3
s.frame_set(saved)
path = os.path.abspath("dust.blend")
bpy.ops.wm.save_as_mainfile(filepath=path)

def animate(name, spans):
    bpy.ops.wm.open_mainfile(filepath=path)
    s = bpy.context.scene
    s.render.filepath = os.path.abspath(f"{name}{saved}") + "/"
    for s.frame_start, s.frame_end in spans:
        bpy.ops.render.render(animation=True)
    return [list(bpy.data.images.load(f"{s.render.filepath}{n:04}.png").pixels) for n in range(1, 11)]

def differing(one, other):
    return sum(one[i:i + 4] != other[i:i + 4] for i in range(0, len(one), 4))

whole, again = animate("whole", [(1, 10)]), animate("again", [(1, 10)])
each = animate("each", [(n, n) for n in range(1, 11)])
print("pixels that differ, of 2304:", [differing(*pair) for pair in zip(whole, each)], file=sys.stderr)
print("SEEN again", "the same" if again == whole else "differs", "each differs at", [n + 1 for n in range(10) if whole[n] != each[n]], flush=True)
os._exit(0)
P
python3.11 -m venv v; v/bin/pip -q install --disable-pip-version-check bpy==5.0.1 >/dev/null 2>&1
seen=$(for saved in 1 4; do echo "saved at $saved: $(v/bin/python scene.py $saved 2>"log$saved" | sed -n 's/^SEEN //p')"; done)
grep -h 'pixels that differ' log1 log4; echo "$seen"
[ "$seen" = "$(printf 'saved at 1: again the same each differs at []\nsaved at 4: again the same each differs at [6, 7, 8, 9, 10]')" ]
