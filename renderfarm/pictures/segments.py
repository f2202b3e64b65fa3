"""A film in parts: encoded as soon as their pictures are there, joined at the end without being encoded again.

A part is found again by a hash of all that its packets depend on, so a picture that was rendered anew has
another part. Each begins with a key frame that nothing reaches across. By their containers' clocks joined parts
drift by fractions of a millisecond; the lengths that are said instead are exact over the whole film.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, pairwise, repeat
from pathlib import Path

FIRST = (16, 32)
"""frames of the first parts, which are soon there to be watched"""
LONGEST = 96
"""longer parts hardly make a smaller file"""
LAST = (4, 8, 16, 32, 64)
"""… of the last ones, from the end: they are what is waited for"""
SHORTEST = 4
"""with fewer frames an encoder that reorders them counts its clock otherwise than in the parts beside"""
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Part:
    """Some seconds of a film."""

    path: Path
    frames: int
    fps: Fraction


def spans(frames: int) -> list[range]:
    """The parts of a film, as places of its frames."""
    tail = list(_cut(frames, LAST))
    head = _cut(frames - sum(tail), chain(FIRST, repeat(LONGEST)))
    ends = [0]
    for end in accumulate([*head, *tail[::-1]]):
        if end - ends[-1] >= SHORTEST or end == frames:
            ends.append(end)
    return [range(begin, end) for begin, end in pairwise(ends)]


def _cut(frames: int, sizes: Iterable[int]) -> Iterator[int]:
    for size in sizes:
        if frames <= 0:
            return
        yield min(size, frames)
        frames -= size


def listing(parts: Sequence[Part]) -> str:
    """The parts, which lie beside the list, as ffmpeg's `concat` reads them."""
    ends = accumulate((part.frames / part.fps for part in parts), initial=Fraction(0))
    lengths = (round(end * MICROSECONDS) - round(begin * MICROSECONDS) for begin, end in pairwise(ends))
    lines = (
        f"file {part.path.name}\nduration {length // MICROSECONDS}.{length % MICROSECONDS:06d}\n"
        for part, length in zip(parts, lengths, strict=True)
    )
    return "".join(lines)
