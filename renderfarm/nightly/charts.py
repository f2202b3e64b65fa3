"""The drawings of the morning report as numbers: how long frames took, and which of them look different.

All coordinates are computed here, all markup is in night.html. Columns are few, however many frames there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from renderfarm.nightly.compare import CHANGED
from renderfarm.nightly.model import FrameDifference
from renderfarm.nightly.morning import Pace, Story
from renderfarm.reports.report import Bar
from renderfarm.words import frames as frame_ranges
from renderfarm.words.durations import duration

WIDTH = 1000.0
MOST_COLUMNS = 250
PACE_HEIGHT = 64.0
PACE_SIZE = (240.0, PACE_HEIGHT)
LEAST_BAR = 3.0
OVERLAP = 0.6
"""without it browsers leave hairlines between columns"""
HEATS = 6
"""colours of the strip, besides the one for alike"""
HOTTEST = 0.5
"""a difference from which on all look hottest"""


def paces(known: Sequence[Pace]) -> Sequence[Bar]:
    """One bar per night, this night's last; a night that rendered nothing is a dot on the ground."""
    most = max((pace.seconds for pace in known if pace.seconds), default=None)
    step = PACE_SIZE[0] / 11
    start = PACE_SIZE[0] - step * len(known)
    return [
        _pace(pace, start + place * step, step, most, "now" if pace is known[-1] else "then")
        for place, pace in enumerate(known)
    ]


def _pace(pace: Pace, x: float, step: float, most: float | None, kind: str) -> Bar:
    width = step - 5
    if pace.seconds is None:
        return Bar(x, PACE_HEIGHT - 2, width, 2, "none", f"{pace.night}: nothing was rendered")
    height = max(LEAST_BAR, pace.seconds / most * (PACE_HEIGHT - 4)) if most else LEAST_BAR
    title = f"{pace.night}: {duration(pace.seconds)} per frame"
    return Bar(x, PACE_HEIGHT - height, width, height, kind, title)


def strip(story: Story) -> tuple[Sequence[Bar], int, int] | None:
    """The frames of a shot from left to right and how different each is, the first and the last; None where
    nothing was compared or all is alike."""
    if not story.changed:
        return None
    numbers = sorted({*frame_ranges.parse(story.shot.frame_files), *(f.frame for f in story.shot.failures)})
    found = {difference.frame: difference for difference in story.differences}
    count = min(len(numbers), MOST_COLUMNS)
    cuts = [round(place * len(numbers) / count) for place in range(count + 1)]
    columns = [numbers[low:high] for low, high in pairwise(cuts)]
    return list(_merged([_column(column, found) for column in columns])), numbers[0], numbers[-1]


def _column(numbers: Sequence[int], found: dict[int, FrameDifference]) -> tuple[str, str]:
    """The colour of some frames, and what to say about them."""
    known = [found[frame] for frame in numbers if frame in found]
    if not known:
        return "none", ""
    worst = max(known, key=lambda difference: difference.difference)
    if not worst.changed:
        return "alike", ""
    heat = (worst.difference - CHANGED) / (HOTTEST - CHANGED)
    return f"heat{min(HEATS - 1, int(heat * HEATS))}", f"frame {worst.frame}: {worst.difference:.2f}"


def _merged(columns: Sequence[tuple[str, str]]) -> Iterator[Bar]:
    """Columns as bars; those side by side that say the same are one."""
    width, start = WIDTH / len(columns), 0
    for place, (kind, title) in enumerate(columns):
        if place + 1 < len(columns) and columns[place + 1] == (kind, title) and not title:
            continue
        yield Bar(start * width, 0, (place + 1 - start) * width + OVERLAP, 1, kind, title)
        start = place + 1
