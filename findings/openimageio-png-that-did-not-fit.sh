#!/usr/bin/env bash
# openimageio 3.2.2.0: a PNG for which there is no room (here a limit on file sizes; a full disk does the same) is a success by all
# answers: open, write_image and close say True, and the file is cut off. Only geterror() knows. EXR and TIFF answer False.
# Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >write.py <<'P'
import os, resource
import numpy, OpenImageIO
pixels = numpy.random.default_rng(1).integers(0, 256, (200, 300, 3), "uint8")
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
for kind in ("png", "exr", "tif"):
    out = OpenImageIO.ImageOutput.create(f"a.{kind}")
    answers = [out.open(f"a.{kind}", OpenImageIO.ImageSpec(300, 200, 3, "uint8")), out.write_image(pixels), out.close()]
    told = bool(out.geterror())
    print(kind, "whole" if os.path.getsize(f"a.{kind}") > 100000 else "cut off", "answers", all(answers), "error", told)
P
python3.11 -m venv v
v/bin/pip -q install --disable-pip-version-check "openimageio==3.2.2.0" "numpy==2.3.5" >/dev/null 2>&1
seen=$(v/bin/python write.py 2>/dev/null)
echo "$seen"
[ "$seen" = "png cut off answers True error True
exr cut off answers False error True
tif cut off answers False error True" ]
