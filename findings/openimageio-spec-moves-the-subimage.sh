#!/usr/bin/env bash
# OpenImageIO 3.2.1.3: asking an ImageInput for the spec of another part, spec(subimage, miplevel), makes that part the current one:
# read_image() without numbers then reads it. Who lists the parts of a multi-part EXR first and reads after gets the last part
# in place of the first. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3.11 -m venv v; v/bin/pip -q install --disable-pip-version-check openimageio==3.2.1.3 >/dev/null 2>&1
cat >parts.py <<'P'
import numpy, OpenImageIO as oiio
specs = []
for name in ("first", "second"):
    spec = oiio.ImageSpec(4, 4, 1, "float")
    spec.attribute("oiio:subimagename", name)
    specs.append(spec)
out = oiio.ImageOutput.create("two.exr")
out.open("two.exr", tuple(specs))
out.write_image(numpy.full((4, 4, 1), 1.0, "float32"))
out.open("two.exr", specs[1], "AppendSubimage")
out.write_image(numpy.full((4, 4, 1), 2.0, "float32"))
out.close()
file = oiio.ImageInput.open("two.exr")
print("read at once:", file.read_image("float").ravel()[0])
parts = [file.spec(number, 0).getattribute("oiio:subimagename") for number in (0, 1)]
print("after listing", parts, file.current_subimage(), file.read_image("float").ravel()[0])
P
seen=$(v/bin/python parts.py)
echo "$seen"
[ "$seen" = "read at once: 1.0
after listing ['first', 'second'] 1 2.0" ]
