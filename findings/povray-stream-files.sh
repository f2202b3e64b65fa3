#!/usr/bin/env bash
# POV-Ray 3.7.0.10: an empty All_File= does not switch the stream file off, it names it alltext.out; "off" is a name too;
# and a stream file that is not beside the picture ends the run with exit code 1 after the scene was parsed, no picture.
# Needs a Debian 12 with povray's own libraries (apt-get install povray); the program itself is the pinned package.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
apt-get -q download povray=1:3.7.0.10-2+b2 >/dev/null 2>&1; dpkg -x povray_*.deb package
printf 'camera { location -4*z look_at 0 } sphere { 0, 1 pigment { rgb 1 } }\n' >s.pov
render() { mkdir "$1"; cp s.pov "$1"; (cd "$1"; mkdir other; ../package/usr/bin/povray s.pov +W16 +H12 -D "$2" >log 2>&1 && echo "exit 0" || echo "exit $?"; ls -p | tr '\n' ' '; grep -c 'must reside in same directory' log || true); }
seen=$(for option in All_File= All_File=off All_File=other/all.txt; do echo "$option"; render "run$RANDOM$RANDOM" "$option"; done)
expected='All_File=
exit 0
alltext.out log other/ s.png s.pov 0
All_File=off
exit 0
log off other/ s.png s.pov 0
All_File=other/all.txt
exit 1
log other/ s.pov 2'
package/usr/bin/povray --version 2>&1 | grep -m1 'POV-Ray 3'
echo "$seen"
[ "$seen" = "$expected" ]
