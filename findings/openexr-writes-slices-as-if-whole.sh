#!/usr/bin/env bash
# OpenEXR 3.5.3, its own Python module: a channel that is a slice of another array (RGB of RGBA, depth of a stack of passes, a turned
# picture) is written as if its values lay one after the other: other channels' values, or other rows', and no error. A copy is
# written as given. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >slices.py <<'P'
import numpy, OpenEXR
render = numpy.arange(8 * 8 * 5, dtype="float32").reshape(8, 8, 5)
def written(pixels, name):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {name: pixels}) as file:
        file.write("a.exr")
    with OpenEXR.File("a.exr") as file:
        return file.channels()[name].pixels.copy()
for what, pixels, name in (
    ("colours of a render with alpha and depth", render[..., :3], "RGB"),
    ("its depth", render[..., 4], "Z"),
    ("rows and columns swapped", render[..., :3].copy().transpose(1, 0, 2), "RGB"),
):
    for way, given in (("slice", pixels), ("copy", numpy.ascontiguousarray(pixels))):
        share = (written(given, name) == pixels).mean()
        print(OpenEXR.__version__, f"{what}, {way}: {share:.0%} as given")
P
python3.11 -m venv v
v/bin/pip -q install --disable-pip-version-check "OpenEXR==3.5.3" "numpy==2.3.5" >/dev/null 2>&1
seen=$(v/bin/python slices.py)
echo "$seen"
[ "$seen" = "3.5.3 colours of a render with alpha and depth, slice: 2% as given
3.5.3 colours of a render with alpha and depth, copy: 100% as given
3.5.3 its depth, slice: 2% as given
3.5.3 its depth, copy: 100% as given
3.5.3 rows and columns swapped, slice: 12% as given
3.5.3 rows and columns swapped, copy: 100% as given" ]
