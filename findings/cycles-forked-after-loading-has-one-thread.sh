#!/usr/bin/env bash
# bpy 4.5.15, 5.0.1: a process forked after a scene was loaded (os.fork, nothing rendered before) renders Cycles with one thread, whatever
# render.threads says: of oneTBB's threads, begun while the file was read, only the one that forks lives on, and no other is begun.
# So one loaded Blender can serve many sessions of one thread each, and none that is to use the whole machine. Needs Python 3.11, two cores.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >render.py <<'P'
import os, sys, bpy
bpy.ops.wm.read_factory_settings()
scene = bpy.context.scene
scene.render.engine, scene.cycles.samples = "CYCLES", 256
scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
scene.render.resolution_x, scene.render.resolution_y = 320, 180
scene.render.threads_mode, scene.render.threads = "FIXED", 2
scene.render.filepath = os.path.abspath("picture")
bpy.ops.wm.save_as_mainfile(filepath=os.path.abspath("scene.blend"))
bpy.ops.wm.open_mainfile(filepath=os.path.abspath("scene.blend"))
child = os.fork() if sys.argv[1] == "forked" else 0
if child:
    os.waitpid(child, 0)
else:
    with open("new", "w") as file:
        file.write(str(os.getpid()))
    os.rename("new", "pid")
    bpy.ops.render.render(write_still=True)
os._exit(0)
P
cat >look.py <<'P'
import pathlib, subprocess, sys, time
process = subprocess.Popen([sys.executable, "render.py", sys.argv[1]], stdout=subprocess.DEVNULL)
first, last, pid = {}, {}, pathlib.Path("pid")
while process.poll() is None:
    for stat in pathlib.Path("/proc", pid.read_text(), "task").glob("*/stat") if pid.exists() else ():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        last[stat] = int(fields[11]) + int(fields[12])
        first.setdefault(stat, last[stat])
    time.sleep(0.02)
pid.unlink()
ticks = [last[stat] - first[stat] for stat in last]
print(f"{sys.argv[1]}: {sum(each > max(ticks) / 4 for each in ticks)}", end="  ")
P
for pin in bpy==4.5.15 bpy==5.0.1; do version=${pin#*==}
  python3.11 -m venv "$version"; "$version/bin/pip" -q install "$pin" 2>/dev/null
  echo "$version: threads that rendered: $("$version/bin/python" look.py plain; "$version/bin/python" look.py forked)"
done | tee seen
[ "$(grep -c 'plain: 2  forked: 1' seen)" = 2 ]
# Seen: 4.5.15: threads that rendered: plain: 2  forked: 1
# 5.0.1: threads that rendered: plain: 2  forked: 1
