#!/usr/bin/env bash
# bpy 5.0.1 and 5.3.0: a simulation of geometry nodes that was baked to disk is read only where its folder can be written (its JSON
# files are opened for reading and writing). On a read-only share, medium or mount the object has no points, so it is in no picture,
# and nothing is raised. Needs Python 3.11 and 3.13, bubblewrap and 4 GB of room.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >make.py <<'P'
import os, bpy
scene, cube = bpy.context.scene, bpy.data.objects["Cube"]
scene.frame_start, scene.frame_end = 1, 4
tree = bpy.data.node_groups.new("Drift", "GeometryNodeTree")
for way in ("INPUT", "OUTPUT"):
    tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
kinds = "NodeGroupInput", "GeometryNodeSimulationInput", "GeometryNodeSimulationOutput", "NodeGroupOutput"
begin, first, last, end = map(tree.nodes.new, kinds)
first.pair_with_output(last)
move = tree.nodes.new("GeometryNodeTransform")
move.inputs["Translation"].default_value = (1, 0, 0)
tree.links.new(begin.outputs[0], first.inputs["Geometry"])
tree.links.new(first.outputs["Geometry"], move.inputs["Geometry"])
tree.links.new(move.outputs[0], last.inputs["Geometry"])
tree.links.new(last.outputs["Geometry"], end.inputs[0])
modifier = cube.modifiers.new("Drift", "NODES")
modifier.node_group = tree
os.mkdir("project")
bpy.ops.wm.save_as_mainfile(filepath=os.path.abspath("project/scene.blend"))
modifier.bake_target, modifier.bake_directory = "DISK", "//bake"
bpy.ops.object.simulation_nodes_cache_bake(selected=True)
bpy.ops.wm.save_mainfile()
os._exit(0)
P
cat >look.py <<'P'
import os, bpy
bpy.ops.wm.open_mainfile(filepath=os.path.abspath("project/scene.blend"))
bpy.context.scene.frame_set(4)
cube = bpy.data.objects["Cube"].evaluated_get(bpy.context.evaluated_depsgraph_get())
points = [point.co.x for point in cube.data.vertices]
print("SEEN", f"{len(points)} points", f"at {sum(points) / len(points):.0f}" if points else "", flush=True)
os._exit(0)
P
seen=$(for version in 5.0.1:3.11 5.3.0:3.13; do
  bpy=${version%:*}; rm -rf project
  "python${version#*:}" -m venv "v$bpy"; "v$bpy/bin/pip" -q install --disable-pip-version-check "bpy==$bpy" >/dev/null 2>&1
  "v$bpy/bin/python" make.py >/dev/null 2>&1
  for way in --bind --ro-bind; do
    bwrap --dev-bind / / "$way" "$folder/project" "$folder/project" "v$bpy/bin/python" look.py 2>/dev/null | sed -n "s/^SEEN/$bpy $way:/p"
  done
done)
echo "$seen"
[ "$seen" = "5.0.1 --bind: 8 points at 4
5.0.1 --ro-bind: 0 points 
5.3.0 --bind: 8 points at 4
5.3.0 --ro-bind: 0 points " ]
