#!/usr/bin/env bash
# POV-Ray 3.7.0.10: a picture that is rendered in regions (+SC +EC) and anti-aliased with AM1 equals the whole one only where
# the regions begin at multiples of Render_Block_Size (32): AM1 compares a pixel with neighbours inside its block, and the blocks
# of a region begin at its own corner. AM2 is equal wherever one cuts. One thread, 16 bit.
# Needs a Debian 12 with povray's own libraries (apt-get install povray) and Python 3; the program itself is the pinned package.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
apt-get -q download povray=1:3.7.0.10-2+b2 >/dev/null 2>&1; dpkg -x povray_*.deb package
cat >s.pov <<'P'
#version 3.7;
camera { location <0, 1, -4> look_at 0 }
light_source { <4, 6, -5> rgb 1 }
plane { y, -1 pigment { checker rgb 0.1 rgb 0.9 scale 0.2 } }
sphere { 0, 1 pigment { rgb <1, 0.5, 0.2> } finish { phong 1 } }
P
render() { out=$1; shift; package/usr/bin/povray s.pov "+O$out" +W203 +H141 +FP16 -D +WT1 +A0.1 "$@" >log 2>&1; }
cat >compare.py <<'P'
import sys
def pixels(name):
    data = open(name, "rb").read()
    head, place = [], 0
    while len(head) < 4:
        line, place = data[place:].split(b"\n", 1)[0], data.index(b"\n", place) + 1
        head += [] if line.startswith(b"#") else line.split()
    width, height, most = map(int, head[1:])
    step = 3 if most < 256 else 6
    return [data[place + at * step : place + at * step + step] for at in range(width * height)], width, height
whole, width, height = pixels(sys.argv[1])
part, _, _ = pixels(sys.argv[2])
left = int(sys.argv[3])
same = all(whole[y * width + x] == part[y * width + x] for y in range(height) for x in range(left, width))
print("equal" if same else "differs")
P
seen=$(for method in 1 2; do
  render "whole$method.ppm" "+AM$method"
  for left in 64 71; do
    render "part$method-$left.ppm" "+AM$method" "+SC$((left + 1))"
    echo "AM$method from column $left: $(python3 compare.py "whole$method.ppm" "part$method-$left.ppm" $left)"
  done
done)
package/usr/bin/povray --version 2>&1 | grep -m1 'POV-Ray 3'
echo "$seen"
[ "$seen" = "AM1 from column 64: equal
AM1 from column 71: differs
AM2 from column 64: equal
AM2 from column 71: equal" ]
