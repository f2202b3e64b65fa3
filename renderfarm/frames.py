"""Frame ranges, the order in which frames are rendered, and the names of their files.

fileseq parses what artists type and keeps ranges as spans, so ten million frames cost nothing until
they are walked; nothing here turns a range into a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from renderfarm.errors import FramesError

if TYPE_CHECKING:
    import fileseq

SEQUENTIAL = "sequential"
PROGRESSIVE = "progressive"
ORDERS = (SEQUENTIAL, PROGRESSIVE)
EXAMPLES = "Ranges read like 1-500, 1-500x5, 1,5,10-20 or -10-10."
_SPAN = re.compile(r"(-?\d+)-(-?\d+)")


@dataclass(frozen=True)
class FrameRange:
    """The frames of a job, in the order given, each at most once; lazily walked."""

    text: str
    _set: fileseq.FrameSet = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self._set)

    def __iter__(self) -> Iterator[int]:
        return iter(self._set)

    def __contains__(self, frame: int) -> bool:
        return bool(self._set.hasFrame(frame))

    def __getitem__(self, index: int) -> int:
        return int(self._set[index])

    @property
    def first(self) -> int:
        """Lowest frame number."""
        return min(self[0], self[len(self) - 1]) if self._consecutive() else min(self)

    @property
    def last(self) -> int:
        """Highest frame number."""
        return max(self[0], self[len(self) - 1]) if self._consecutive() else max(self)

    def _consecutive(self) -> bool:
        return "," not in self.text and "y" not in self.text and ":" not in self.text


def parse(text: str) -> FrameRange:
    """Parse a frame range in fileseq's grammar.

    Raises FramesError for a range that is empty, reversed, larger than fileseq's ten million, or unreadable.
    """
    import fileseq

    wanted = text.strip().replace(" ", "")
    if not wanted:
        raise FramesError("The frame range is empty.", EXAMPLES)
    for part in wanted.split(","):
        _refuse_reversed(part, text)
    try:
        frames = fileseq.FrameSet(wanted)
    except fileseq.exceptions.MaxSizeException as error:
        message = f"The frame range {text!r} has more than 10,000,000 frames."
        raise FramesError(message, "Submit it in parts.") from error
    except ValueError as error:
        raise FramesError(f"{text!r} is not a frame range.", EXAMPLES) from error
    if frames.hasSubFrames():
        raise FramesError(f"The frame range {text!r} has fractions of frames.", EXAMPLES)
    return FrameRange(str(frames.frange), frames)


def _refuse_reversed(part: str, text: str) -> None:
    span = _SPAN.match(part)
    if span and int(span[1]) > int(span[2]):
        raise FramesError(
            f"The frame range {text!r} runs backwards: {span[1]} comes after {span[2]}.",
            f"Write {span[2]}-{span[1]}; to see the last frames early, use --order progressive.",
        )


def compact(frames: Iterable[int]) -> str:
    """The shortest range text of some frames, ascending: [1, 2, 3, 9] reads 1-3,9."""
    import fileseq

    numbers = sorted(set(frames))
    return str(fileseq.FrameSet.framesToFrameRange(numbers, sort=False, compress=False)) if numbers else ""


def ordered(frames: FrameRange, order: str) -> Iterator[int]:
    """Walk the frames as given, or `progressive`: first, last, middle, then ever finer halves.

    Progressive order needs no memory: each level's midpoints are computed, not queued.
    """
    if order != PROGRESSIVE:
        yield from frames
        return
    count = len(frames)
    yield frames[0]
    if count > 1:
        yield frames[count - 1]
    for depth in range(count.bit_length()):
        for branch in range(1 << depth):
            middle = _midpoint(count - 1, depth, branch)
            if middle is not None:
                yield frames[middle]


def _midpoint(last: int, depth: int, branch: int) -> int | None:
    """The middle of the branch-th interval after halving 0..last depth times, or None if it is empty."""
    low, high = 0, last
    for level in reversed(range(depth)):
        middle = (low + high) // 2
        if not low < middle:
            return None
        if branch >> level & 1:
            low = middle
        else:
            high = middle
    middle = (low + high) // 2
    return middle if low < middle else None


def frame_name(stem: str, frame: int, suffix: str) -> str:
    """The file name of a frame: `shot.0001.png`, `shot.-0005.png`; suffix without a dot."""
    return f"{stem}.{frame_number(frame)}.{suffix}"


def frame_number(frame: int) -> str:
    """A frame number padded to at least four digits, the sign in front of the padding."""
    return f"{'-' if frame < 0 else ''}{abs(frame):04d}"
