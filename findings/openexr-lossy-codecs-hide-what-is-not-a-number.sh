#!/usr/bin/env bash
# OpenEXR 3.5.3: what is not a number, or infinite, in a colour becomes a number in DWAA, DWAB and (half floats) B44: black, or 64704;
# in LJ2K, which is new, a light of hundreds to thousands. Depth keeps both, but for B44's halfs; so do all colours in ZIP, PXR24 and
# HTJ2K. Who looks for NaN in delivered frames finds none in the codecs that farms choose to save room. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >codecs.py <<'P'
import numpy, OpenEXR
def told(value):
    return "black" if value < 0.001 else f"{value:.0f}"
def read(codec, kind, bad):
    colour = numpy.full((64, 64, 3), 0.5, kind)
    colour[20, 20, 0] = bad
    header = {"compression": getattr(OpenEXR, f"{codec}_COMPRESSION"), "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": colour, "Z": colour[..., 0].copy()}) as file:
        file.write("a.exr")
    with OpenEXR.File("a.exr") as file:
        found = {name: each.pixels.copy() for name, each in file.channels().items()}
    return told(found["RGB"][20, 20, 0]), told(found["Z"][20, 20])
for codec in ("ZIP", "PXR24", "HTJ2K256", "B44", "DWAA", "DWAB", "LJ2K"):
    for kind in ("float16", "float32"):
        (red, depth), (bright, far) = (read(codec, kind, bad) for bad in (numpy.nan, numpy.inf))
        print(f"{codec} {kind}: nan and inf are {red} and {bright}, in Z {depth} and {far}")
P
python3.11 -m venv v
v/bin/pip -q install --disable-pip-version-check "OpenEXR==3.5.3" "numpy==2.3.5" >/dev/null 2>&1
seen=$(v/bin/python codecs.py)
echo "$seen"
[ "$seen" = "ZIP float16: nan and inf are nan and inf, in Z nan and inf
ZIP float32: nan and inf are nan and inf, in Z nan and inf
PXR24 float16: nan and inf are nan and inf, in Z nan and inf
PXR24 float32: nan and inf are nan and inf, in Z nan and inf
HTJ2K256 float16: nan and inf are nan and inf, in Z nan and inf
HTJ2K256 float32: nan and inf are nan and inf, in Z nan and inf
B44 float16: nan and inf are black and black, in Z black and black
B44 float32: nan and inf are nan and inf, in Z nan and inf
DWAA float16: nan and inf are black and black, in Z nan and inf
DWAA float32: nan and inf are black and 64704, in Z nan and inf
DWAB float16: nan and inf are black and black, in Z nan and inf
DWAB float32: nan and inf are black and 64704, in Z nan and inf
LJ2K float16: nan and inf are 43136 and 43136, in Z nan and inf
LJ2K float32: nan and inf are 186 and 186, in Z nan and inf" ]
