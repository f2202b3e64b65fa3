"""Runs inside Blender: installs the add-on, saves a small scene, uses the panel's operators."""

import json
import sys
import time
from pathlib import Path

import bpy

step, archive, scene, out = sys.argv[sys.argv.index("--") + 1 :]
NAME = "renderfarm_addon"
if bpy.app.version >= (4, 2):
    bpy.ops.extensions.package_install_files(repo="user_default", filepath=archive, enable_on_install=True)
    NAME = f"bl_ext.user_default.{NAME}"
else:
    bpy.ops.preferences.addon_install(filepath=archive, overwrite=True)
    bpy.ops.preferences.addon_enable(module=NAME)
addon = sys.modules[NAME]

render = bpy.context.scene.render
render.resolution_x, render.resolution_y, render.engine = 32, 18, "BLENDER_WORKBENCH"
bpy.context.scene.frame_end = 2
bpy.ops.wm.save_as_mainfile(filepath=scene)
before = Path(scene).read_bytes()

if step == "refused":
    bpy.ops.mesh.primitive_cube_add()
    bpy.context.scene.frame_end = 9
    bpy.ops.ed.undo_push()  # marks the file as changed, which nobody does without a window
    settings, context = bpy.context.window_manager.renderfarm, bpy.context
    untyped, settings.frames = settings.argv(), "1-9"
    argv, own = [untyped, settings.argv()], addon.renderfarm
    asked = []
    for addon.renderfarm in (lambda _: ["false"], own):
        asked.append(addon.pools(settings, context, ""))
        while not (addon.POOLS[addon.folder()].names or addon.POOLS[addon.folder()].failed):
            time.sleep(0.01)
    asked.append(addon.pools(settings, context, ""))
    settings.frames = "7-x"
bpy.ops.renderfarm.submit()
job = addon.current()
job.wait(150)
found = {
    **job.status,
    "error": job.error,
    "note": job.note,
    "dirty": bpy.data.is_dirty,
    "same": Path(scene).read_bytes() == before,
    "panel": hasattr(bpy.types, "RENDER_PT_renderfarm"),
}
if step == "refused":
    found |= {"argv": argv, "asked": asked}
if step == "rendered":
    bpy.ops.renderfarm.show()
    addon.current().wait(60)
    found["again"] = addon.current().id
    bpy.ops.renderfarm.page()
    for _ in range(200):
        time.sleep(0.1 * (not Path("opened").exists()))
    addon.unregister()
Path(out).write_text(json.dumps(found))
