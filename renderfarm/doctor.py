"""The frame doctor: every frame is opened and looked at, then judged among its neighbours.

`look` sees one picture, `judge` a whole animation, `neighbours_verdict` one frame while others still
render, and `check_folder` what somebody else rendered.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from renderfarm import pictures
from renderfarm.errors import InputError
from renderfarm.judgement import Verdict, judge, magenta_verdict, neighbours_verdict
from renderfarm.looks import Look, expect_size, look
from renderfarm.model import Finding

__all__ = [
    "Look",
    "Problem",
    "Report",
    "Verdict",
    "check_folder",
    "check_frames",
    "judge",
    "look",
    "magenta_verdict",
    "neighbours_verdict",
]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of frames looked at and their total."""
GAPS_ONE_BY_ONE = 100
"""A longer run of missing frames is told as one."""
MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of a report; `frame` is None for a picture without a number, `path` for a missing one."""

    frame: int | None
    path: str | None
    finding: Finding
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in a folder; its JSON is part of the contract."""

    checked: int
    """pictures opened"""
    good: int
    """of these, pictures without a clear defect"""
    bad: tuple[Problem, ...]
    """clear defects and missing frames"""
    suspects: tuple[Problem, ...] = ()
    """good pictures that somebody should look at"""


@dataclass(frozen=True, slots=True)
class _Sequence:
    """Pictures that belong together, ascending by frame; a picture without a number is one of its own."""

    files: dict[int, Path]
    numbered: bool = True


def check_folder(path: Path, *, stem: str | None = None, progress: Progress | None = None) -> Report:
    """Look at all frames in a folder, whoever rendered them; of an output folder, at its `frames`.

    Every animation in it is judged by itself; `stem` names the only one wanted. The size that most of an
    animation's frames have is the right one. Raises InputError when there are no pictures.
    """
    folder = path / "frames" if (path / "frames").is_dir() else path
    sequences = list(_sequences(folder, stem))
    if not sequences:
        which = f"pictures named {stem}" if stem else "pictures"
        hint = "Name the folder that the frames are in; known are " + ", ".join(sorted(pictures.SUFFIXES)) + "."
        raise InputError(f"There are no {which} in {folder}.", hint)
    total = sum(len(sequence.files) for sequence in sequences)
    count = _Counting(progress, total)
    return _merged([_check(sequence, None, count) for sequence in sequences])


def check_frames(
    files: Mapping[int, Path], *, size: tuple[int, int] | None = None, progress: Progress | None = None
) -> Report:
    """Look at the frames of one animation, by number; they should have `size`, or else that of most of them."""
    ordered = {frame: files[frame] for frame in sorted(files)}
    return _check(_Sequence(ordered), size, _Counting(progress, len(ordered)))


class _Counting:
    """Tells a progress callback, if there is one, how many frames were looked at."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def walk(self, looks: Iterable[Look]) -> Iterator[Look]:
        for seen in looks:
            self._done += 1
            if self._progress:
                self._progress(self._done, self._total)
            yield seen


def _sequences(folder: Path, stem: str | None) -> Iterator[_Sequence]:
    import fileseq

    for found in fileseq.findSequencesInList(_picture_names(folder)):
        name = found.basename().rstrip("._-")
        frames = found.frameSet()
        if stem is not None and stem not in (name, Path(found[0]).stem):
            continue
        if frames is None:
            yield _Sequence({0: folder / found[0]}, numbered=False)
        else:
            yield _Sequence({int(frame): folder / found.frame(frame) for frame in sorted(frames)})


def _picture_names(folder: Path) -> list[str]:
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        message = f"The folder {folder} can't be read: {error.strerror}."
        raise InputError(message, "Name the folder that the frames are in.") from error
    return [name for name in entries if name[0] != "." and _suffix(name) in pictures.SUFFIXES]


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _check(sequence: _Sequence, size: tuple[int, int] | None, count: _Counting) -> Report:
    looks = _sized(list(count.walk(_looks(sequence))), size)
    verdicts = sorted(judge(looks), key=lambda verdict: verdict.frame)
    told = [(_problem(sequence, verdict), verdict.certain) for verdict in verdicts]
    if size is None:
        told += [(problem, False) for problem in _disagreement(sequence, looks)]
    bad = [problem for problem, certain in told if certain]
    good = len(looks) - len({problem.frame for problem in bad})
    gaps = _gaps(list(sequence.files)) if sequence.numbered else ()
    return Report(len(looks), good, (*bad, *gaps), tuple(problem for problem, certain in told if not certain))


def _looks(sequence: _Sequence) -> Iterator[Look]:
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        yield from pool.map(look, sequence.files.values(), sequence.files)


def _sized(looks: list[Look], size: tuple[int, int] | None) -> list[Look]:
    """The looks with a finding where the size is not the one wanted, or not that of more than half of them."""
    if size is None:
        sizes = Counter(seen.size for seen in looks if seen.size)
        size, votes = max(sizes.items(), key=lambda item: item[1], default=(None, 0))
        if size is None or votes * 2 <= sizes.total():
            return looks
    return [expect_size(seen, size) for seen in looks]


def _disagreement(sequence: _Sequence, looks: list[Look]) -> Iterator[Problem]:
    """Where no size has a majority, the first frame that differs from the one before."""
    sized = [seen for seen in looks if seen.size and not seen.finding]
    for one, other in pairwise(sized):
        if one.size and other.size and one.size != other.size:
            detail = "the frames have different sizes: " + " and ".join(
                f"{seen.size[0]} × {seen.size[1]} in frame {seen.frame}" for seen in (one, other) if seen.size
            )
            yield _problem(sequence, Verdict(other.frame, Finding.WRONG_SIZE, detail, False))
            return


def _problem(sequence: _Sequence, verdict: Verdict) -> Problem:
    frame = verdict.frame if sequence.numbered else None
    return Problem(frame, str(sequence.files[verdict.frame]), verdict.finding, verdict.detail)


def _gaps(frames: list[int]) -> Iterator[Problem]:
    """Missing numbers, where the frames' common step leaves any."""
    step = math.gcd(*(later - earlier for earlier, later in pairwise(frames)))
    for earlier, later in pairwise(frames):
        missing = range(earlier + step, later, step)
        if len(missing) > GAPS_ONE_BY_ONE:
            detail = f"{len(missing):,} frames are missing, {missing[0]} to {missing[-1]}"
            yield Problem(missing[0], None, Finding.GAP, detail)
        else:
            yield from (Problem(frame, None, Finding.GAP, "the frame is missing") for frame in missing)


def _merged(reports: list[Report]) -> Report:
    return Report(
        sum(report.checked for report in reports),
        sum(report.good for report in reports),
        tuple(problem for report in reports for problem in report.bad),
        tuple(problem for report in reports for problem in report.suspects),
    )
