#!/usr/bin/env bash
# POV-Ray 3.7.0.10: with photons a frame follows from those before it in the same process. The frames of a scene in which nothing
# moves differ among each other when one run renders them (+KFF3), and are equal when each has a run of its own (+SFn +EFn, same
# clock). So a run by hand and a farm, or two farms that cut it in another way, have other pictures, one thread and no warning.
# Needs a Debian 12 with povray's own libraries (apt-get install povray); the program itself is the pinned package.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
apt-get -q download povray=1:3.7.0.10-2+b2 >/dev/null 2>&1; dpkg -x povray_*.deb package
cat >s.pov <<'P'
global_settings { photons { spacing 0.05 } }
camera { location <0, 3, -5> look_at 0 }
light_source { <2, 6, -3> rgb 1 photons { refraction on } }
plane { y, -1 pigment { rgb 1 } }
sphere { y, 0.8 pigment { rgbt 0.9 } interior { ior 1.5 } photons { target refraction on } }
P
pixels() { tail -c $((64 * 48 * 3)) "$1.ppm"; }  # the header tells the time
render() { package/usr/bin/povray s.pov +W64 +H48 -D +WT1 +FP8 +KFF3 "$@" >/dev/null 2>&1; }
render +Oall; for frame in 1 2 3; do render "+SF$frame" "+EF$frame" +Oone; done
package/usr/bin/povray --version 2>&1 | grep -m1 'POV-Ray 3'
seen=$(for frame in 1 2 3; do for way in all one; do
  cmp -s <(pixels one1) <(pixels "$way$frame") && echo "$way, frame $frame: as the first" || echo "$way, frame $frame: another"
done; done)
echo "$seen"
[ "$seen" = "all, frame 1: as the first
one, frame 1: as the first
all, frame 2: another
one, frame 2: as the first
all, frame 3: another
one, frame 3: as the first" ]
