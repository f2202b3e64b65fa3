#!/usr/bin/env bash
# ffmpeg 9.0.2 (imageio-ffmpeg 0.8.1): an EXR of half floats is read as such (gbrpf16le), and every change to gbrpf32le cuts off what
# is above 1, also the silent one before exposure or tonemap: highlights are gone before they are mapped. 7.0.2 (0.6.0) reads it as
# gbrpf32le at once, and both do so with an EXR of floats: nothing is lost. Who changes ffmpeg gets another film. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >light.py <<'P'
import subprocess, sys
import numpy, OpenImageIO
def write(kind):
    out = OpenImageIO.ImageOutput.create("a.exr")
    pixels = numpy.full((16, 16, 3), 4.0, "float32")
    assert out.open("a.exr", OpenImageIO.ImageSpec(16, 16, 3, kind)) and out.write_image(pixels) and out.close()
def read(ffmpeg, *filters):
    argv = [ffmpeg, "-v", "error", "-i", "a.exr", *filters, "-f", "rawvideo", "-pix_fmt", "gbrpf32le", "-"]
    raw = subprocess.run(argv, capture_output=True, check=True)
    assert not raw.stderr, raw.stderr
    return f"{numpy.frombuffer(raw.stdout, '<f4')[100]:.2f}"
for ffmpeg, version in zip(sys.argv[1:], ("7.0.2", "9.0.2")):
    for kind in ("float", "half"):
        write(kind)
        darker = read(ffmpeg, "-vf", "exposure=-2")
        print(f"{version}, {kind} of 4.0: {read(ffmpeg)} in gbrpf32le, two stops darker {darker}")
P
python3.11 -m venv v; v/bin/pip -q install --disable-pip-version-check "openimageio==3.2.2.0" "numpy==2.3.5" >/dev/null 2>&1
for version in 0.6.0 0.8.1; do v/bin/pip -q install --disable-pip-version-check --no-deps --target "f$version" "imageio-ffmpeg==$version" >/dev/null 2>&1; done
seen=$(v/bin/python light.py f*/imageio_ffmpeg/binaries/ffmpeg-*)
echo "$seen"
[ "$seen" = "7.0.2, float of 4.0: 4.00 in gbrpf32le, two stops darker 1.00
7.0.2, half of 4.0: 4.00 in gbrpf32le, two stops darker 1.00
9.0.2, float of 4.0: 4.00 in gbrpf32le, two stops darker 1.00
9.0.2, half of 4.0: 1.00 in gbrpf32le, two stops darker 0.25" ]
