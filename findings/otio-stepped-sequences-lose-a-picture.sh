#!/usr/bin/env bash
# opentimelineio 0.18.1: an image sequence of every third frame of 1 to 10 (files 1, 4, 7, 10) has three pictures by
# number_of_images_in_sequence, so 10 is in no list of targets; end_frame() says 10 all the same, and frame_for_time names frames that
# have no file. With every second one of 1 to 9 it is 9 that is lost; of 1 to 10 nothing is. Needs Python 3.11.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >steps.py <<'P'
import opentimelineio as otio
from opentimelineio.opentime import RationalTime, TimeRange
for frames, step in ((10, 3), (9, 2), (10, 2)):
    shot = otio.schema.ImageSequenceReference(
        "", "a.", ".exr", start_frame=1, frame_step=step, rate=24, frame_zero_padding=2,
        available_range=TimeRange(RationalTime(0, 24), RationalTime(frames, 24)))
    count = shot.number_of_images_in_sequence()
    targets = " ".join(shot.target_url_for_image_number(n) for n in range(count))
    times = [shot.frame_for_time(RationalTime(n, 24)) for n in range(3)]
    print(f"1-{frames} by {step}: {count} ({targets}), ends with {shot.end_frame()}, at times 0, 1, 2: {times}")
P
python3.11 -m venv v
v/bin/pip -q install --disable-pip-version-check "opentimelineio==0.18.1" >/dev/null 2>&1
seen=$(v/bin/python steps.py)
echo "$seen"
[ "$seen" = "1-10 by 3: 3 (a.01.exr a.04.exr a.07.exr), ends with 10, at times 0, 1, 2: [1, 2, 3]
1-9 by 2: 4 (a.01.exr a.03.exr a.05.exr a.07.exr), ends with 9, at times 0, 1, 2: [1, 2, 3]
1-10 by 2: 5 (a.01.exr a.03.exr a.05.exr a.07.exr a.09.exr), ends with 10, at times 0, 1, 2: [1, 2, 3]" ]
