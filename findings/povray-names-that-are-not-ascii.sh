#!/usr/bin/env bash
# POV-Ray 3.7.0.10: a scene whose name is not ASCII is not found, whether the name is the argument or stands in an ini, bare or
# quoted. +GI shows what became of it: it ends at the first letter that is not ASCII, with U+FFFD in that letter's place.
# Needs a Debian 12 with povray's own libraries (apt-get install povray); the program itself is the pinned package.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
apt-get -q download povray=1:3.7.0.10-2+b2 >/dev/null 2>&1; dpkg -x povray_*.deb package
povray() { package/usr/bin/povray "$@" >log 2>&1 && echo "exit 0" || echo "exit $?"; }
printf 'camera { location -4*z look_at 0 } sphere { 0, 1 pigment { rgb 1 } }\n' | tee su.pov >sü.pov
printf 'Input_File_Name=sü.pov\n' >bare.ini
printf 'Input_File_Name="sü.pov"\n' >quoted.ini
seen=$(
  echo "ascii: $(povray su.pov +W16 +H12 -D)"
  echo "argument: $(povray sü.pov +W16 +H12 -D +GIargument.out)"
  echo "bare: $(povray bare.ini +W16 +H12 -D +GIbare.out)"
  echo "quoted: $(povray quoted.ini +W16 +H12 -D +GIquoted.out)"
  grep -ah '^Input_File_Name' argument.out bare.out quoted.out
)
package/usr/bin/povray --version 2>&1 | grep -m1 'POV-Ray 3'
echo "$seen"
[ "$seen" = "$(printf 'ascii: exit 0\nargument: exit 1\nbare: exit 1\nquoted: exit 1\n%s\n%s\n%s' 'Input_File_Name="s�"' 'Input_File_Name="s�"' 'Input_File_Name="s�"')" ]
