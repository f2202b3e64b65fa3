"""Frames judged among their neighbours: what no single picture shows.

Works on looks alone, so an animation of 100,000 frames is judged without opening a file. Rather silent
than wrong: docs/checks.md says where the thresholds come from and what is left alone on purpose.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice, pairwise
from operator import sub

from renderfarm.pictures.look import CLEAR, Look
from renderfarm.words.states import Finding

MAGENTA_PROVEN = 0.0005
"""Share of the picture that counts once the renderer has reported a missing image."""
MAGENTA_JUMP = 0.02
"""Share of the picture that must appear at once to be suspicious without a report."""
MAGENTA_GONE = 0.2
"""A share that falls below this part of the one before is gone."""
MAGENTA_STEADY = 0.1
MAGENTA_DRIFT = 0.35
BLINKS = 3
"""Magenta that comes and goes more often than this is a light."""
CLOSE_LEVELS = 16.0
"""Pictures nearer than this may fade into each other in one step."""
FADE_RATIO = 1.3
"""How much farther from blank the frame before last is than the last, in a fade."""
RESUMED_RATIO = 0.35
"""A shot may go on after blank frames when both sides are this much nearer to each other than to blank …"""
RESUMED_PACE = 1.5
"""… and differ no more than its motion, this much faster, explains."""
CUT_RATIO = 3.0
OUTLIER_LEVELS = 4.0
OUTLIER_RATIO = 3.0
OUTLIER_CONTEXT = 3
"""Frames on either side of which two must be calm: the others may be defects themselves."""
NEIGHBOURS_APART = 12
"""Frames farther apart than half a second are no neighbours: they may differ as they like."""
WINDOW = 24
"""Frames on either side that are searched for what comes again regularly: one second."""
FLICKER_WINDOW = 12
STROBE_FRAMES = 4
"""Blank frames farther apart than this are no strobe."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a frame: a clear defect (`certain`), or something that a person should look at."""

    frame: int
    finding: Finding
    detail: str
    certain: bool


def judge(
    looks: Iterable[Look], *, evidence: bool | Container[int] = False, expects_magenta: bool = False
) -> Iterator[Verdict]:
    """Judge an animation by its looks, ascending by frame, gaps allowed; verdicts come roughly in that order.

    `evidence`: the renderer reported a missing image (True, or the frames of which it did).
    `expects_magenta`: it is known and wanted that textures are missing. Holds 49 looks at a time.
    """
    blanks, runs = _BlankRuns(), _MagentaRuns()
    proven = range(-(2**63), 2**63) if evidence is True else evidence or ()
    sound = _Sound(looks)
    for before, seen, after in _windows(sound):
        yield from sound.defects()
        yield from filter(None, (blanks.see(before, seen, after), _outlier(before, seen, after)))
        if expects_magenta:
            continue
        if seen.frame in proven:
            yield from filter(None, (magenta_verdict(seen),))
        else:
            runs.see(before, seen, after)
    yield from sound.defects()
    yield from blanks.verdicts()
    yield from runs.verdicts()


def magenta_verdict(seen: Look) -> Verdict | None:
    """Judge a frame for which the renderer reported a missing image."""
    if seen.magenta < MAGENTA_PROVEN:
        return None
    detail = f"{_percent(seen.magenta)} of the picture is magenta, and the renderer missed an image file"
    return Verdict(seen.frame, Finding.MISSING_TEXTURE, detail, True)


class _Sound:
    """Walks the looks that have no finding of their own; keeps the others for `defects`."""

    def __init__(self, looks: Iterable[Look]) -> None:
        self._looks = looks
        self._defects: list[Verdict] = []

    def __iter__(self) -> Iterator[Look]:
        for seen in self._looks:
            if seen.finding:
                self._defects.append(Verdict(seen.frame, seen.finding, seen.detail, True))
            else:
                yield seen

    def defects(self) -> list[Verdict]:
        """What was found since the last call."""
        found, self._defects = self._defects, []
        return found


def _windows(looks: Iterable[Look]) -> Iterator[tuple[deque[Look], Look, Sequence[Look]]]:
    source = iter(looks)
    before: deque[Look] = deque(maxlen=WINDOW)
    after = deque(islice(source, WINDOW))
    while after:
        seen = after.popleft()
        after.extend(islice(source, 1))
        if before and seen.frame - before[-1].frame > NEIGHBOURS_APART:
            before.clear()
        yield before, seen, _neighbours(seen, after)
        before.append(seen)


def _neighbours(seen: Look, after: deque[Look]) -> Sequence[Look]:
    """What follows a frame up to the first that is too far from the one before it."""
    last = seen.frame
    for place, other in enumerate(after):
        if other.frame - last > NEIGHBOURS_APART:
            return list(islice(after, place))
        last = other.frame
    return after


def _distance(one: Look, other: Look) -> float:
    """Mean difference of two signatures in levels of 255."""
    return _difference(one.signature, other.signature)


@lru_cache(256)
def _difference(one: bytes, other: bytes) -> float:
    if one == other:
        return 0.0
    levels: int = sum(map(abs, map(sub, one, other)))
    return levels / len(one)


class _BlankRuns:
    """Follows runs of blank frames and judges each when it ends."""

    def __init__(self) -> None:
        self._lead: list[Look] = []
        self._first: Look | None = None
        self._count = 0
        self._all_alike: Look | None = None
        self._pictures = False

    def see(self, before: Sequence[Look], seen: Look, after: Sequence[Look]) -> Verdict | None:
        if not before:
            self._first = None
        self._all_alike = self._all_alike or seen
        if not seen.blank:
            self._first, self._pictures = None, True
            return None
        if self._first is None:
            self._first, self._lead, self._count = seen, list(before)[-2:], 0
        self._count += 1
        if not self._lead or not after or after[0].blank:
            return None
        if seen is self._first:
            return _single_blank(before, seen, after)
        return _blank_run(self._lead, self._first, seen, after, self._count)

    def verdicts(self) -> Iterator[Verdict]:
        """Call when all frames were seen."""
        first = self._all_alike
        if first and not self._pictures:
            yield _suspicion(first, Finding.BLANK, f"every frame is one colour ({first.blank})")


def _suspicion(seen: Look, finding: Finding, detail: str) -> Verdict:
    return Verdict(seen.frame, finding, detail, False)


def _single_blank(before: Sequence[Look], seen: Look, after: Sequence[Look]) -> Verdict | None:
    """One blank frame between others: a defect, unless anything speaks for intent."""
    last, following = before[-1], after[0]
    if last.blank or following.blank:
        return None
    near, apart = min(_distance(last, seen), _distance(following, seen)), _distance(last, following)
    detail = f"the whole picture is {_colour(seen)}, its neighbours are not"
    resumed = apart < RESUMED_RATIO * near
    fades = _fades(before, seen), _fades(list(after)[::-1], seen)
    if near < CLOSE_LEVELS or any(fades):
        return _suspicion(seen, Finding.BLANK, detail) if resumed and not all(fades) else None
    rhythm = _rhythm(before, seen, after)
    if rhythm:
        first = all(other.blank != seen.blank for other in before)
        detail += f", and so is every {rhythm}th frame from here: a strobe?"
        return _suspicion(seen, Finding.BLANK, detail) if first else None
    return Verdict(seen.frame, Finding.BLANK, detail, not _cut_here(before, after, apart))


def _fades(side: Sequence[Look], blank: Look) -> bool:
    """Whether the frames of one side, nearest last, approach the blank colour."""
    if len(side) < 2 or side[-2].blank:
        return False
    return _distance(side[-2], blank) > FADE_RATIO * _distance(side[-1], blank)


def _rhythm(before: Sequence[Look], seen: Look, after: Sequence[Look]) -> int:
    """How many frames apart equally blank frames stand when that is regular and dense, else 0."""
    places = [i for i, other in enumerate([*before, seen, *after]) if other.blank == seen.blank]
    step = _step(places)
    return step if step <= STROBE_FRAMES else 0


def _cut_here(before: Sequence[Look], after: Sequence[Look], apart: float) -> bool:
    """Whether the shot before differs from the shot after, both being steady."""
    if len(before) < 2 or len(after) < 2:
        return False
    return apart > CUT_RATIO * _unrest(before, after) + CLOSE_LEVELS


def _unrest(before: Sequence[Look], after: Sequence[Look]) -> float:
    """How much the pictures change from frame to frame just before and just after."""
    pairs = (list(before)[-2:], list(after)[:2])
    return max((_distance(*pair) for pair in pairs if len(pair) == 2), default=0.0)


def _blank_run(
    lead: Sequence[Look], first: Look, seen: Look, after: Sequence[Look], count: int
) -> Verdict | None:
    """Several blank frames: suspicious only where the same shot goes on after them."""
    near, apart = min(_distance(lead[-1], first), _distance(after[0], seen)), _distance(lead[-1], after[0])
    motion = RESUMED_PACE * (count + 1) * _unrest(lead, after)
    resumed = apart < min(RESUMED_RATIO * near, OUTLIER_LEVELS + motion)
    if near < CLOSE_LEVELS or not resumed or _fades(lead, first) or _fades(list(after)[1::-1], seen):
        return None
    detail = f"frames {first.frame} to {seen.frame} are {_colour(seen)} in the middle of a shot"
    return _suspicion(first, Finding.BLANK, detail)


def _colour(seen: Look) -> str:
    return str(seen.blank) if seen.blank == CLEAR else f"one colour ({seen.blank})"


def _outlier(before: Sequence[Look], seen: Look, after: Sequence[Look]) -> Verdict | None:
    """A frame far outside of what lies between its neighbours, while what is around it is calm."""
    if seen.blank:
        return None
    earlier, later = list(before)[: -OUTLIER_CONTEXT - 1 : -1], list(after)[:OUTLIER_CONTEXT]
    for last, following, unrest in _calm_places(earlier, later):
        near = min(_distance(seen, last), _distance(seen, following))
        limit = OUTLIER_LEVELS + OUTLIER_RATIO * unrest
        if near <= limit or _beyond(seen, last, following) <= limit:
            continue
        skipped = [*earlier[: earlier.index(last)], *later[: later.index(following)]]
        if _goes_with(seen, skipped, last, following, limit) or _flickers(before, seen, after, near):
            return None
        detail = (
            f"differs by {near:.0f} of 255 levels from frames {last.frame} and {following.frame}, "
            f"which differ by {_distance(last, following):.1f}"
        )
        return _suspicion(seen, Finding.OUTLIER, detail)
    return None


def _calm_places(earlier: Sequence[Look], later: Sequence[Look]) -> Iterator[tuple[Look, Look, float]]:
    """A frame before, one after (both lists have the nearest first), and how much moves around them."""
    for last, before_it in _pairs(earlier):
        for following, after_it in _pairs(later):
            pairs = ((last, following), (last, before_it), (following, after_it))
            yield last, following, max(_distance(*pair) for pair in pairs)


def _pairs(side: Sequence[Look]) -> Iterator[tuple[Look, Look]]:
    """Two pictures of one side, the nearest first; the same twice where there is only one."""
    pictures = [other for other in side if not other.blank]
    return combinations(pictures, 2) if len(pictures) > 1 else ((one, one) for one in pictures)


def _beyond(seen: Look, one: Look, other: Look) -> float:
    """How far a frame lies off the line from one to the other: 0 in steady motion and in fades."""
    return (_distance(seen, one) + _distance(seen, other) - _distance(one, other)) / 2


def _goes_with(seen: Look, skipped: Sequence[Look], last: Look, following: Look, limit: float) -> bool:
    """Whether the frames beside this one explain it: a flash of several frames, a fade to or from a colour."""
    fades = [_beyond(seen, end, other) for other in skipped if other.blank for end in (last, following)]
    alike = [_distance(seen, other) for other in skipped if not other.blank]
    return min([*fades, *alike], default=limit + 1) <= limit


def _flickers(before: Sequence[Look], seen: Look, after: Sequence[Look], near: float) -> bool:
    """Whether two more frames look like this one, close by or at equal distances: a light that blinks."""
    here = len(before)
    alike = [_distance(seen, other) < near / 2 for other in (*before, seen, *after)]
    places = [place for place, same in enumerate(alike) if same]
    close = [place for place in places if abs(place - here) <= FLICKER_WINDOW]
    return len(close) > 2 or _step(places) > 0


def _step(places: list[int]) -> int:
    """The distance at which three or more places follow each other, 0 when it is not always the same."""
    gaps = {later - earlier for earlier, later in pairwise(places)}
    return gaps.pop() if len(places) > 2 and len(gaps) == 1 else 0


@dataclass(slots=True)
class _Run:
    """Consecutive frames with a steady share of magenta."""

    first: Look
    last: Look
    sudden: bool
    """it appeared from one frame to the next in an otherwise equal picture"""


class _MagentaRuns:
    """Finds magenta that appears or vanishes at once while the rest of the picture stays."""

    def __init__(self) -> None:
        self._open: _Run | None = None
        self._found: list[_Run] = []

    def see(self, before: Sequence[Look], seen: Look, after: Sequence[Look]) -> None:
        last = before[-1] if before else None
        if last is None:
            self._close()
        if self._open and not self._goes_on(self._open, seen):
            self._open = None
        if self._open is None and seen.magenta >= MAGENTA_JUMP:
            sudden = last is not None and _jumps(last, seen) and _settles(seen, after)
            if sudden or last is None:
                self._open = _Run(seen, seen, sudden)

    def _goes_on(self, run: _Run, seen: Look) -> bool:
        if abs(seen.magenta - run.last.magenta) <= MAGENTA_DRIFT * run.last.magenta:
            run.last = seen
            return True
        if _jumps(seen, run.last):
            self._found.append(run)
        return False

    def _close(self) -> None:
        if self._open and self._open.sudden:
            self._found.append(self._open)
        self._open = None

    def verdicts(self) -> Iterator[Verdict]:
        """Call when all frames were seen."""
        self._close()
        if len(self._found) > BLINKS:
            first = self._found[0].first
            detail = f"magenta like that of a missing texture comes and goes {len(self._found)} times: a light?"
            yield _suspicion(first, Finding.MISSING_TEXTURE, detail)
            return
        for run in self._found:
            frames = _span(run.first.frame, run.last.frame)
            detail = f"{_percent(run.first.magenta)} of the picture is magenta at once ({frames})"
            yield _suspicion(run.first, Finding.MISSING_TEXTURE, f"{detail}: a missing texture?")


def _jumps(clean: Look, magenta: Look) -> bool:
    return clean.magenta <= MAGENTA_GONE * magenta.magenta and _same_elsewhere(clean, magenta)


def _settles(seen: Look, after: Sequence[Look]) -> bool:
    """Whether the share stays or is gone again, unlike that of a thing that enters the picture."""
    if not after:
        return False
    share = after[0].magenta
    return share <= MAGENTA_GONE * seen.magenta or abs(share - seen.magenta) <= MAGENTA_STEADY * seen.magenta


def _same_elsewhere(clean: Look, magenta: Look) -> bool:
    """Whether two pictures differ only where one of them is magenta, so there is no cut between them."""
    one, other = clean.signature, magenta.signature
    differences = [
        abs(one[i] - other[i]) + abs(one[i + 1] - other[i + 1]) + abs(one[i + 2] - other[i + 2])
        for i in range(0, len(other), 3)
        if min(other[i], other[i + 2]) - other[i + 1] < 12
    ]
    return len(differences) >= 15 and sum(differences) / len(differences) / 3 < 10


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _span(first: int, last: int) -> str:
    return f"frame {first}" if first == last else f"frames {first} to {last}"
