"""Are frames good? Every one is opened and looked at, then judged among its neighbours.

`look` sees one picture, `judge` a whole animation, and `check_folder` what somebody else rendered.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from renderfarm.errors import InputError
from renderfarm.pictures import sequences
from renderfarm.pictures.judge import Verdict, judge
from renderfarm.pictures.look import Look, expect_size, look
from renderfarm.pictures.sequences import PictureSequence
from renderfarm.words.frames import FrameRange
from renderfarm.words.states import Finding

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


def check_folder(path: Path, *, progress: Progress | None = None) -> Report:
    """Look at all frames in a folder, whoever rendered them; of an output folder, at its `frames`.

    Every animation in it is judged by itself. The size that most of its frames have is the right one; a job's
    own record says which frames should be there. Raises InputError when there are no pictures.
    """
    job = sequences.submitted(path)
    folder = path / "frames" if (path / "frames").is_dir() else path
    found = sequences.find(folder, job.scene.views if job else ())
    if not found:
        known = ", ".join(sorted(sequences.SUFFIXES))
        hint = f"Name the folder that the frames are in; known are {known}."
        raise InputError(f"There are no pictures in {folder}.", hint)
    done, total = itertools.count(1), sum(len(sequence.files) for sequence in found)
    wanted = job.frames if job and len({sequence.base for sequence in found}) == 1 else None

    def tell() -> None:
        if progress:
            progress(next(done), total)

    return _merged([_check(sequence, tell, wanted) for sequence in found])


def _check(sequence: PictureSequence, tell: Callable[[], None], wanted: FrameRange | None) -> Report:
    looks = _sized(list(_looks(sequence, tell)))
    others = zip(*(seen.views for seen in looks if seen.views), strict=False)
    verdicts = [verdict for view in (looks, *others) for verdict in judge(view)]
    verdicts.sort(key=lambda verdict: verdict.frame)
    told = [(_problem(sequence, verdict), verdict.certain) for verdict in verdicts]
    told += [(problem, False) for problem in _disagreement(sequence, looks)]
    bad = [problem for problem, certain in told if certain]
    good = len(looks) - len({problem.frame for problem in bad})
    gaps = _gaps(sequence, wanted) if sequence.numbered else ()
    return Report(len(looks), good, (*bad, *gaps), tuple(problem for problem, certain in told if not certain))


def _looks(sequence: PictureSequence, tell: Callable[[], None]) -> Iterator[Look]:
    """Of each frame; `tell` is called after each."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        for seen in pool.map(look, sequence.files.values(), sequence.files):
            tell()
            yield seen


def _sized(looks: list[Look]) -> list[Look]:
    """The looks with a finding where the size is not that of more than half of them."""
    sizes = Counter(seen.size for seen in looks if seen.size)
    usual = [size for size, votes in sizes.items() if votes * 2 > sizes.total()]
    return [expect_size(seen, usual[0]) for seen in looks] if usual else looks


def _disagreement(sequence: PictureSequence, looks: list[Look]) -> Iterator[Problem]:
    """Where no size has a majority, the first frame that differs from the one before."""
    sized = [seen for seen in looks if seen.size and not seen.finding]
    for one, other in pairwise(sized):
        if one.size and other.size and one.size != other.size:
            detail = "the frames have different sizes: " + " and ".join(
                f"{seen.size[0]} × {seen.size[1]} in frame {seen.frame}" for seen in (one, other) if seen.size
            )
            yield _problem(sequence, Verdict(other.frame, Finding.WRONG_SIZE, detail, False))
            return


def _problem(sequence: PictureSequence, verdict: Verdict) -> Problem:
    frame = verdict.frame if sequence.numbered else None
    return Problem(frame, str(sequence.files[verdict.frame]), verdict.finding, verdict.detail)


def _gaps(sequence: PictureSequence, wanted: FrameRange | None) -> Iterator[Problem]:
    """Missing frames: of those wanted, or of the range that the others span; long runs told as one."""
    for run in sequence.gaps(wanted):
        if run.count > GAPS_ONE_BY_ONE:
            detail = f"{run.count:,} frames are missing, {run.first} to {run.last}"
            yield Problem(run.first, None, Finding.GAP, detail)
        else:
            yield from (Problem(frame, None, Finding.GAP, "the frame is missing") for frame in run)


def _merged(reports: list[Report]) -> Report:
    return Report(
        sum(report.checked for report in reports),
        sum(report.good for report in reports),
        tuple(problem for report in reports for problem in report.bad),
        tuple(problem for report in reports for problem in report.suspects),
    )
