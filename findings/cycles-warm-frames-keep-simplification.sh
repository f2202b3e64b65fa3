#!/usr/bin/env bash
# Cycles with Persistent Data, bpy 5.0.1 and 5.3.0: keyed Simplify settings (levels of subdivision, Simplify itself) stay for the
# whole session as they were in its first frame; without Persistent Data each frame has its own. So on a farm the shape depends on
# where a chunk begins. A key on the modifier's own levels is followed either way. Needs Python 3.11 and 3.13.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import os, bpy
def shapes(kept, owner, name, values):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    scene.render.resolution_x = scene.render.resolution_y = 32
    scene.world = bpy.data.worlds.new("white"); scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = 1, 1, 1, 1
    scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(scene.camera)
    scene.camera.location, scene.camera.data.type, scene.camera.data.ortho_scale = (0, 0, 9), "ORTHO", 3
    bpy.ops.mesh.primitive_cube_add()
    black = bpy.data.materials.new("black"); black.use_nodes = True
    black.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = 0, 0, 0, 1
    bpy.context.object.data.materials.append(black)
    modifier = bpy.context.object.modifiers.new("s", "SUBSURF")
    modifier.render_levels, scene.render.use_simplify, scene.render.simplify_subdivision_render = 3, True, 6
    if name == "use_simplify":
        scene.render.simplify_subdivision_render = 0
    keyed = modifier if owner == "modifier" else scene.render
    for frame, value in zip((1, 2), values):
        setattr(keyed, name, value)
        keyed.keyframe_insert(name, frame=frame)
    scene.render.use_persistent_data = kept
    scene.render.filepath = os.path.abspath("out_")
    corners = []
    for frame in (1, 2):
        scene.frame_start = scene.frame_end = frame
        bpy.ops.render.render(animation=True)
        image = bpy.data.images.load(scene.render.frame_path(frame=frame))
        corners.append("cube" if image.pixels[4 * (32 * 7 + 7)] < 0.5 else "ball")
        bpy.data.images.remove(image)
    return ", ".join(corners)
for owner, name, values in (
    ("scene", "simplify_subdivision_render", (0, 3)), ("scene", "use_simplify", (True, False)), ("modifier", "render_levels", (0, 3)),
):
    print("SEEN", f"{name}: {shapes(False, owner, name, values)}; data kept: {shapes(True, owner, name, values)}", flush=True)
os._exit(0)
P
seen=$(for pair in 3.11:5.0.1 3.13:5.3.0; do
  version=${pair#*:}; "python${pair%:*}" -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" >/dev/null 2>&1
  "v$version/bin/python" scene.py 2>/dev/null | sed -n "s/^SEEN/$version/p"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "$(for version in 5.0.1 5.3.0; do
  printf "$version simplify_subdivision_render: cube, ball; data kept: cube, cube\n$version use_simplify: cube, ball; data kept: cube, cube\n$version render_levels: cube, ball; data kept: cube, ball\n"
done)" ]
