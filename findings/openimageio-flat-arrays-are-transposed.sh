#!/usr/bin/env bash
# openimageio 3.1.19.0 and 3.2.2.0: one channel (depth, a mask) given as rows and columns, without an axis for channels, is written
# with both swapped: write_image and set_pixels answer True, a square picture is transposed, another one is scrambled. With that axis
# (a[..., None]) it is as given, and so it is by ImageBuf(a). Who tries it with a symmetric picture sees nothing. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >depth.py <<'P'
import numpy, OpenImageIO
depth = numpy.arange(16, dtype="float32").reshape(4, 4)
def written(pixels):
    out = OpenImageIO.ImageOutput.create("depth.exr")
    answers = [out.open("depth.exr", OpenImageIO.ImageSpec(4, 4, 1, "float")), out.write_image(pixels), out.close()]
    return answers, OpenImageIO.ImageBuf("depth.exr").get_pixels("float")
def told(way, answers, found):
    same = "as given" if (found[..., 0] == depth).all() else "transposed" if (found[..., 0] == depth.T).all() else "scrambled"
    print(OpenImageIO.__version__, way, all(answers), same)
told("write_image, two axes:", *written(depth))
told("write_image, three axes:", *written(depth[..., None]))
held = OpenImageIO.ImageBuf(OpenImageIO.ImageSpec(4, 4, 1, "float"))
told("set_pixels, two axes:", [held.set_pixels(held.roi, depth)], held.get_pixels("float"))
told("ImageBuf, two axes:", [True], OpenImageIO.ImageBuf(depth).get_pixels("float"))
P
seen=$(for version in 3.1.19.0 3.2.2.0; do
  python3.11 -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "openimageio==$version" "numpy==2.3.5" >/dev/null 2>&1
  "v$version/bin/python" depth.py
done)
echo "$seen"
[ "$seen" = "3.1.19.0 write_image, two axes: True transposed
3.1.19.0 write_image, three axes: True as given
3.1.19.0 set_pixels, two axes: True transposed
3.1.19.0 ImageBuf, two axes: True as given
3.2.2.0 write_image, two axes: True transposed
3.2.2.0 write_image, three axes: True as given
3.2.2.0 set_pixels, two axes: True transposed
3.2.2.0 ImageBuf, two axes: True as given" ]
