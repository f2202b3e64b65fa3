#!/usr/bin/env bash
# ffmpeg 7.0.2 and 9.0.2 (imageio-ffmpeg 0.6.0, 0.8.1), Debian's 5.1.9 as 7.0.2: an EXR whose display window doesn't begin at 0, 0 is
# read as if it did: data stands where its own window says, so the picture slides out to the right and below, or all of it is black.
# With overscan (data beyond the display on all sides) 7.0.2 is right, unless compression is DWAA or DWAB: then it stands half an
# overscan too far to the right. Exit code 0 and no word each time. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >windows.py <<'P'
import subprocess, sys
import numpy, OpenImageIO
def write(name, data, shown, compression):
    """Red is a pixel's column divided by 64, green its row."""
    left, size = data
    spec = OpenImageIO.ImageSpec(size, size, 3, "half")
    spec.x = spec.y = left
    spec.full_x = spec.full_y = shown
    spec.full_width = spec.full_height = 32
    spec.attribute("compression", compression)
    along = numpy.arange(left, left + size, dtype="float32") / 64
    pixels = numpy.zeros((size, size, 3), "float32")
    pixels[..., 0], pixels[..., 1] = along[None], along[:, None]
    out = OpenImageIO.ImageOutput.create(name)
    assert out.open(name, spec) and out.write_image(pixels) and out.close()
def middle(ffmpeg, name):
    raw = subprocess.run([ffmpeg, "-v", "error", "-i", name, "-f", "rawvideo", "-pix_fmt", "rgb48le", "-"], capture_output=True, check=True)
    assert not raw.stderr
    red, green, _ = numpy.frombuffer(raw.stdout, "<u2").reshape(32, 32, 3)[16, 16] / 65535 * 64
    return f"{red:.0f}, {green:.0f}"
for ffmpeg, version in zip(sys.argv[1:], ("7.0.2", "9.0.2")):
    for what, data, shown, compression in (
        ("begins at 0", (0, 32), 0, "zip"), ("begins at 8", (8, 32), 8, "zip"), ("begins at 40", (40, 32), 40, "zip"),
        ("overscan of 8", (-8, 48), 0, "zip"), ("overscan of 8, DWAA", (-8, 48), 0, "dwaa:45"), ("no overscan, DWAA", (0, 32), 0, "dwaa:45"),
    ):
        write("a.exr", data, shown, compression)
        print(f"{version}, {what}: in the middle {shown + 16}, {shown + 16}, read as {middle(ffmpeg, 'a.exr')}")
P
python3.11 -m venv v; v/bin/pip -q install --disable-pip-version-check "openimageio==3.2.2.0" "numpy==2.3.5" >/dev/null 2>&1
for version in 0.6.0 0.8.1; do v/bin/pip -q install --disable-pip-version-check --no-deps --target "f$version" "imageio-ffmpeg==$version" >/dev/null 2>&1; done
seen=$(v/bin/python windows.py f*/imageio_ffmpeg/binaries/ffmpeg-*)
echo "$seen"
[ "$seen" = "7.0.2, begins at 0: in the middle 16, 16, read as 16, 16
7.0.2, begins at 8: in the middle 24, 24, read as 16, 16
7.0.2, begins at 40: in the middle 56, 56, read as 0, 0
7.0.2, overscan of 8: in the middle 16, 16, read as 16, 16
7.0.2, overscan of 8, DWAA: in the middle 16, 16, read as 12, 16
7.0.2, no overscan, DWAA: in the middle 16, 16, read as 16, 16
9.0.2, begins at 0: in the middle 16, 16, read as 16, 16
9.0.2, begins at 8: in the middle 24, 24, read as 16, 16
9.0.2, begins at 40: in the middle 56, 56, read as 0, 0
9.0.2, overscan of 8: in the middle 16, 16, read as 16, 16
9.0.2, overscan of 8, DWAA: in the middle 16, 16, read as 16, 16
9.0.2, no overscan, DWAA: in the middle 16, 16, read as 16, 16" ]
