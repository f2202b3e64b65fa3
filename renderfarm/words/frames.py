"""Frame ranges, the order in which frames are rendered, and the names of their files.

fileseq parses what artists type and keeps ranges as spans, so ten million frames cost nothing until
they are walked; nothing here turns a range into a list. One span is read without it, which spares its import.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from renderfarm.errors import FramesError

if TYPE_CHECKING:
    import fileseq

SEQUENTIAL = "sequential"
PROGRESSIVE = "progressive"
ORDERS = (SEQUENTIAL, PROGRESSIVE)
EXAMPLES = "Ranges read like 1-500, 1-500x5, 1,5,10-20 or -10-10."
LARGEST_FRAME = (1 << 31) - 1
LARGEST_DIGITS = 10
"""Python refuses to read numbers of thousands of digits"""
"""no renderer counts further"""
MOST_INTERLEAVED = 1_000_000
"""fileseq walks spans with `y` and `:` when it parses them"""
_SPAN = re.compile(r"(-?\d+)-(-?\d+)")
_PLAIN = re.compile(r"(-?[0-9]+)-(-?[0-9]+)(?:x([1-9][0-9]*))?")
MOST_FRAMES = 10_000_000
"""of a range; fileseq has no more"""
_NUMBER = re.compile(r"\d+")
_BLANKS_AROUND_SIGNS = re.compile(r" *([-,:xy]) *")


@dataclass(frozen=True)
class FrameRange:
    """The frames of a job, in the order given, each at most once; lazily walked."""

    text: str
    _set: fileseq.FrameSet | range = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self._set)

    def __iter__(self) -> Iterator[int]:
        return iter(self._set)

    def __contains__(self, frame: object) -> bool:
        return frame in self._set

    def same(self, other: FrameRange) -> bool:
        """Whether both have the same frames, in whatever order."""
        return self.text == other.text or (len(self) == len(other) and all(frame in other for frame in self))

    def __getitem__(self, index: int) -> int:
        return int(self._set[index])

    @property
    def first(self) -> int:
        """Lowest frame number."""
        if self.plain:
            return self.plain[0]
        return int(min(min(part) if _interleaved(part.frange) else part[0] for part in self._parts()))

    @property
    def last(self) -> int:
        """Highest frame number."""
        if self.plain:
            return self.plain[-1]
        return int(max(max(part) if _interleaved(part.frange) else part[-1] for part in self._parts()))

    @property
    def plain(self) -> range | None:
        """The frames as Python's own range, where they are one span; ten million of them are no memory."""
        return self._set if isinstance(self._set, range) else None

    def ascending(self) -> Iterator[int]:
        """The frames by number; a plain range is never held in memory."""
        return iter(self.plain or sorted(self))

    def beyond(self, own: FrameRange) -> Iterator[int]:
        """The frames that `own` does not have; ten million that it has are not walked to find that out."""
        whole = own.plain
        if whole and whole.step == 1 and self.first in whole and self.last in whole:
            return iter(())
        return (frame for frame in self if frame not in own)

    def _parts(self) -> Iterator[fileseq.FrameSet]:
        import fileseq

        return (found for part in self.text.split(",") if (found := fileseq.FrameSet(part)))


def parse(text: str) -> FrameRange:
    """Parse a frame range in fileseq's grammar.

    Raises FramesError for a range that is empty, reversed, larger than fileseq's ten million, or unreadable.
    """
    parts = [part for part in _BLANKS_AROUND_SIGNS.sub(r"\1", text.strip()).split(",") if part]
    if not parts:
        raise FramesError("The frame range is empty.", EXAMPLES)
    for part in parts:
        _refuse_enormous(part, text)
        _refuse_reversed(part, text)
    wanted = ",".join(parts)
    if any(map(str.isspace, wanted)):  # fileseq would read `1 5` as 15
        raise FramesError(f"{text!r} is not a frame range.", EXAMPLES)
    if (frames := _one_span(wanted)) and len(frames) <= MOST_FRAMES:
        return FrameRange(wanted, frames)
    return _read_by_fileseq(wanted, text)


def _one_span(text: str) -> range | None:
    found = _PLAIN.fullmatch(text if "-" in text[1:] else f"{text}-{text}")
    return range(int(found[1]), int(found[2]) + 1, int(found[3] or 1)) if found else None


def _read_by_fileseq(wanted: str, text: str) -> FrameRange:
    import fileseq

    try:
        frames = fileseq.FrameSet(wanted)
    except fileseq.exceptions.MaxSizeException as error:
        message = f"The frame range {text!r} has more than 10,000,000 frames."
        raise FramesError(message, "Submit it in parts.") from error
    except ValueError as error:
        raise FramesError(f"{text!r} is not a frame range.", EXAMPLES) from error
    if frames.hasSubFrames():
        raise FramesError(f"The frame range {text!r} has fractions of frames.", EXAMPLES)
    if not frames:
        raise FramesError(f"The frame range {text!r} is empty.", EXAMPLES)
    return FrameRange(str(frames.frange), frames)


def is_plain(text: str) -> bool:
    """Whether it is one number or one span that `parse` takes, as far as can be told without fileseq."""
    found = _SPAN.fullmatch(text if "-" in text[1:] else f"{text}-{text}")
    return found is not None and len(text) <= LARGEST_DIGITS and int(found[1]) <= int(found[2])


def _refuse_reversed(part: str, text: str) -> None:
    span = _SPAN.match(part)
    if span and int(span[1]) > int(span[2]):
        raise FramesError(
            f"The frame range {text!r} runs backwards: {span[1]} comes after {span[2]}.",
            f"Write {span[2]}-{span[1]}; to see the last frames early, use --order progressive.",
        )


def _refuse_enormous(part: str, text: str) -> None:
    if any(len(n.lstrip("0")) > LARGEST_DIGITS or int(n) > LARGEST_FRAME for n in _NUMBER.findall(part)):
        message = f"The frame range {text!r} has a number that is too large."
        raise FramesError(message, f"Frames go up to {LARGEST_FRAME:,}.")
    span = _SPAN.match(part)
    if span and _interleaved(part) and int(span[2]) - int(span[1]) >= MOST_INTERLEAVED:
        message = (
            f"The frame range {text!r} has more than {MOST_INTERLEAVED:,} frames in an order of their own."
        )
        raise FramesError(message, "Submit it in parts.")


def _interleaved(part: str) -> bool:
    return "y" in part or ":" in part


def compact(frames: Iterable[int]) -> str:
    """The shortest range text of some frames, ascending: [1, 2, 3, 9] reads 1-3,9."""
    numbers = sorted(set(frames))
    if numbers and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    import fileseq

    return str(fileseq.FrameSet.framesToFrameRange(numbers, sort=False, compress=False)) if numbers else ""


def listed(frames: Iterable[int]) -> str:
    """The same for people: 1-3, 9."""
    return compact(frames).replace(",", ", ")


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


def picture_names(stem: str, frame: int, suffix: str, views: Sequence[str]) -> list[str]:
    """The names of a frame's pictures, one for each view: `shot_L.0001.png`. No view names a folder."""
    return [frame_name(stem + re.sub(r"[/\0]", "_", view), frame, suffix) for view in views or ("",)]


def frame_number(frame: int) -> str:
    """A frame number padded to at least four digits, the sign in front of the padding."""
    return f"{'-' if frame < 0 else ''}{abs(frame):04d}"
