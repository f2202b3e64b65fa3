"""How much of a list fits into the time that there is, and what to render next.

Every shot gets something before any is finished: first a few frames of each, from which seconds per frame are
known; then an eighth of each, most important first; then the rest of each, most important first. Frames come in
progressive order, so whatever is there is spread evenly over the shot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from renderfarm.errors import InputError
from renderfarm.settings.checks import duration

PROBE_FRAMES = 3
"""first, last and middle frame of those that are left"""
FIRST_SHARE = 8
"""the part of each shot that comes before the rest of any"""
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


@dataclass(frozen=True)
class Prospect:
    """A shot that is not finished; a sequence of them is ordered by importance."""

    name: str
    total: int
    left: int
    seconds: float | None
    """of wall clock per frame; None: not measured"""

    @property
    def coarse(self) -> int:
        """Frames that are missing of its first share."""
        return max(0, -(-self.total // FIRST_SHARE) - (self.total - self.left))


def turns(prospects: Sequence[Prospect], seconds: float) -> list[tuple[str, int]]:
    """Which shot to render and how many frames of it in one go, in that order, as far as the seconds last."""
    found = []
    for wanted, prospect in _wishes(prospects, seconds):
        fitting = _fitting(wanted, prospect.seconds, seconds)
        if fitting:
            found.append((prospect.name, fitting))
        seconds -= fitting * (prospect.seconds or 0.0)
    return found


def _fitting(wanted: int, each: float | None, seconds: float) -> int:
    """How many of the wanted frames fit; of what was never measured all do, as long as there is time."""
    if seconds <= 0:
        return 0
    return min(wanted, int(seconds / each)) if each and wanted * each > seconds else wanted


def _wishes(prospects: Sequence[Prospect], seconds: float) -> Iterator[tuple[int, Prospect]]:
    """What is left of each, in two goes where not all of it is known to fit."""
    times = [each.left * each.seconds for each in prospects if each.seconds is not None]
    if len(times) == len(prospects) and sum(times) <= seconds:
        yield from ((each.left, each) for each in prospects)
        return
    yield from ((min(each.coarse, each.left), each) for each in prospects)
    yield from ((each.left - min(each.coarse, each.left), each) for each in prospects)


def forecast(prospects: Sequence[Prospect], seconds: float) -> dict[str, int]:
    """How many more frames of each shot fit."""
    found = {each.name: 0 for each in prospects}
    for name, frames in turns(prospects, seconds):
        found[name] += frames
    return found


def told(prospects: Iterable[Prospect], fitting: Mapping[str, int], until: str) -> str:
    """What will fit, in one sentence."""
    several = list(prospects)
    left = sum(each.left for each in several)
    fits = sum(fitting[each.name] for each in several if each.seconds is not None)
    if fits == left:
        return f"all {left:,} frames that are left should be there by {until}"
    parts = (
        f"{each.name} is not measured yet"
        if each.seconds is None
        else f"{each.name} {fitting[each.name]:,} of {each.left:,}"
        for each in several
    )
    return f"about {fits:,} of the {left:,} frames that are left fit until {until}: {', '.join(parts)}"


def moment(text: str, now: datetime) -> datetime:
    """When `07:00` comes next, or the end of a duration such as `90m` or `5h`; `now` has a time zone."""
    if _CLOCK.fullmatch(text.strip()):
        found, today = clock(text), now.astimezone().date()
        return next(due for days in range(3) if (due := _on(today + timedelta(days=days), found)) > now)
    try:
        return now + timedelta(seconds=duration(text))
    except InputError:
        hint = "Write a time of day such as 07:00, or a duration such as 5h or 90m."
        raise InputError(f"{text!r} is neither a time of day nor a duration.", hint) from None


def last(text: str, now: datetime) -> datetime:
    """When a time of day was last; raises InputError."""
    found, today = clock(text), now.astimezone().date()
    return next(due for days in range(3) if (due := _on(today - timedelta(days=days), found)) <= now)


def clock(text: str) -> time:
    """A time of day; raises InputError."""
    try:
        match = _CLOCK.fullmatch(text.strip())
        hour, minute, second = (int(part or 0) for part in (match.groups() if match else ("",)))
        return time(hour, minute, second)
    except ValueError:
        raise InputError(f"{text!r} is no time of day.", "Times read like 07:00 or 23:30.") from None


def _on(day: date, clock: time) -> datetime:
    """A time of day here. Of two that read alike it is the first; one that the clock skips is as much later."""
    return datetime.fromtimestamp(datetime.combine(day, clock).timestamp(), UTC).astimezone()
