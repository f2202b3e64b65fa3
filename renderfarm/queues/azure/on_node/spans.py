"""A task's frames as short text, in their order: 1, 2, 3, 9, -5 reads `1-3,9,-5`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SPAN = re.compile(r"(-?\d+)(?:-(-?\d+))?")


def written(frames: Iterable[int]) -> str:
    """The text of some frames; runs of ascending neighbours become spans."""
    spans: list[list[int]] = []
    for frame in frames:
        if spans and frame == spans[-1][1] + 1:
            spans[-1][1] = frame
        else:
            spans.append([frame, frame])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def read(text: str) -> tuple[int, ...]:
    """The inverse of `written`; raises ValueError."""
    return tuple(frame for span in text.split(",") for frame in _span(span))


def _span(text: str) -> Iterator[int]:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no span of frames")
    first = int(match[1])
    return iter(range(first, int(match[2] or first) + 1))
