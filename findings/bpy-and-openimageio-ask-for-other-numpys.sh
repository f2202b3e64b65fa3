#!/usr/bin/env bash
# Python packaging: OpenImageIO 3.2.1.3 asks for numpy >= 2, bpy 4.5.15 and 5.0.1 for numpy < 2, so on Python 3.11 they can't be
# installed together, and pip says so. Given a range instead, pip goes back, with exit code 0 and no warning, to bpy 4.4.0, whose
# metadata names no bound for numpy; it was built for numpy 1 all the same, and says so when it is imported beside numpy 2.
# (The range here leaves most wheels between out; with >=4.2,<6 pip tries and drops 17 of them, and ends at 4.4.0 too.)
# Needs Python 3.11 and 4 GB of room.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3.11 -m venv v; pip() { v/bin/pip --disable-pip-version-check --cache-dir "$folder/cache" "$@"; }
resolve() { pip install --dry-run "$@" openimageio==3.2.1.3 >log 2>&1 && echo "exit 0" || echo "exit $?"; }
seen=$(
  for version in 4.5.15 5.0.1; do
    echo "bpy==$version: $(resolve "bpy==$version")"
    grep -h '^ *\(bpy\|openimageio\) .* depends on numpy' log | sed 's/^ *//' | sort -u
  done
  echo "a range: $(resolve 'bpy>=4.4,<=5.0.1,!=5.0.0,!=4.5.*'), $(grep -c '^WARNING.*bpy-4' log || true) warnings, $(grep -o 'bpy-[0-9.]*[0-9]' log | tail -1)"
  pip -q install bpy==4.4.0 openimageio==3.2.1.3 >log 2>&1 && echo "installed" || echo "not installed"
  v/bin/python -c 'import numpy, bpy; print("numpy", numpy.__version__.split(".")[0])' >out 2>log; tail -1 out
  grep -m1 'compiled using NumPy 1.x' log
)
echo "$seen"
expected='bpy==4.5.15: exit 1
bpy 4.5.15 depends on numpy<2.0 and >=1.26
openimageio 3.2.1.3 depends on numpy<3 and >=2.0
bpy==5.0.1: exit 1
bpy 5.0.1 depends on numpy<2.0 and >=1.26
openimageio 3.2.1.3 depends on numpy<3 and >=2.0
a range: exit 0, 0 warnings, bpy-4.4.0
installed
numpy 2
A module that was compiled using NumPy 1.x cannot be run in'
[ "$seen" = "$expected" ]
