"""What there is to tell about a night: each shot beside the nights before, the worst first.

The page, report.json and JUnit XML all say what is found here. Comparing pictures is what costs time, so what
was found is kept beside the night and holds as long as the pictures do.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from renderfarm.nightly import compare
from renderfarm.nightly.model import FrameDifference, Night, ShotNight, ShotState
from renderfarm.words import files, stamps
from renderfarm.words import frames as frame_ranges
from renderfarm.words.as_json import encode, read_json, to_json
from renderfarm.words.scene import Colour

NIGHTS_BEFORE = 10
"""how far back charts go"""
KEPT = ".differences.json"
SLOWER = 1.25
"""a shot whose frames take this much longer than they used to is worth a word"""
NEARLY = 0.9
"""Frames whose differences are this close show the same change."""
WORDS = ("broken", "unfinished", "suspicious", "different", "new", "as_before")
"""how urgent a shot is, most urgent first"""
AS_BEFORE = WORDS[-1]


@dataclass(frozen=True)
class Pace:
    """Seconds per frame of a shot in one night; None when it rendered none."""

    night: str
    seconds: float | None


@dataclass(frozen=True)
class Story:
    """One shot as the morning report tells it."""

    shot: ShotNight
    frames_dir: Path
    compared_to: str | None = None
    """the night its frames were compared with"""
    before: ShotNight | None = None
    before_dir: Path | None = None
    differences: Sequence[FrameDifference] = ()
    paces: Sequence[Pace] = ()
    """this night's last"""
    new: bool = False

    @property
    def changed(self) -> tuple[int, ...]:
        """Frames that look different, ascending."""
        return tuple(found.frame for found in self.differences if found.changed)

    @property
    def most(self) -> float:
        """The largest difference of a frame."""
        return max((found.difference for found in self.differences), default=0.0)

    @property
    def urgency(self) -> str:
        """The first of the words that fits."""
        shot = self.shot
        unfinished = shot.state is not ShotState.SUCCEEDED
        facts = (shot.is_bad, unfinished, bool(shot.suspects), bool(self.changed), self.new, True)
        return WORDS[facts.index(True)]

    @property
    def usual_pace(self) -> float | None:
        """The median of the nights before, in seconds per frame."""
        known = [pace.seconds for pace in self.paces[:-1] if pace.seconds is not None]
        return statistics.median(known) if known else None

    @property
    def slower(self) -> float | None:
        """How many times as long as usual a frame took, where that is worth a word."""
        usual, now = self.usual_pace, self.shot.seconds_per_frame
        return now / usual if usual and now and now > usual * SLOWER else None

    def picture(self, frame: int) -> Path:
        """The file of a frame."""
        return self.frames_dir / _name(self.shot, frame)

    def picture_before(self, frame: int) -> Path | None:
        """The file of the same frame in the night it was compared with."""
        if self.before is None or self.before_dir is None:
            return None
        return self.before_dir / _name(self.before, frame)

    def most_changed(self, count: int) -> list[FrameDifference]:
        """The frames that look most different, ascending; of those nearly alike, ones far from each other."""
        left = [found for found in self.differences if found.changed]
        chosen: list[FrameDifference] = []
        while left and len(chosen) < count:
            least = NEARLY * max(found.difference for found in left)
            strong = [found for found in left if found.difference >= least]
            best = max(strong, key=lambda found: (_distance(found, chosen), found.difference))
            chosen.append(best)
            left.remove(best)
        return sorted(chosen, key=lambda found: found.frame)


def _distance(found: FrameDifference, others: Sequence[FrameDifference]) -> int:
    return min((abs(found.frame - other.frame) for other in others), default=0)


@dataclass(frozen=True)
class Morning:
    """A night with the stories of its shots, the most urgent first."""

    night: Night
    stories: Sequence[Story]
    earlier: Sequence[Night] = ()
    """oldest first"""
    later: Sequence[Night] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    """shots of each urgency"""


def tell(night: Night, output: Path, history: Iterable[Night]) -> Morning:
    """Set a night beside the others of its list; compares pictures where that was not done before."""
    others = sorted((other for other in history if other.night != night.night), key=lambda other: other.night)
    earlier = [other for other in others if other.night < night.night]
    kept = _read_kept(output / night.night / KEPT)
    stories = [_story(shot, night, earlier, output, kept.get(shot.name, _Kept())) for shot in night.shots]
    _keep(output / night.night / KEPT, stories)
    urgencies = [story.urgency for story in stories]
    stories.sort(key=lambda s: (WORDS.index(s.urgency), -s.shot.priority, -s.most, s.shot.name))
    counts = {word: urgencies.count(word) for word in WORDS}
    return Morning(night, stories, earlier, [o for o in others if o.night > night.night], counts)


def _story(shot: ShotNight, night: Night, earlier: Sequence[Night], output: Path, kept: _Kept) -> Story:
    frames_dir = output / night.night / shot.output / "frames"
    known = [(other.night, found) for other in earlier for found in other.shots if found.name == shot.name]
    paces = [Pace(name, found.seconds_per_frame) for name, found in known]
    paces = [*paces[-NIGHTS_BEFORE:], Pace(night.night, shot.seconds_per_frame)]
    shown = ((name, found) for name, found in reversed(known) if found.frame_files)
    compared_to, before = next(shown, (None, None))
    new = not any(found.job for _, found in known)
    if compared_to is None or before is None or not shot.frame_files:
        return Story(shot, frames_dir, paces=paces, new=new)
    before = replace(before, colour=seen_as(before.colour, shot.colour))
    before_dir = output / compared_to / before.output / "frames"
    differences = _differences(
        shot, frames_dir, before, before_dir, kept if kept.to == compared_to else _Kept()
    )
    return Story(shot, frames_dir, compared_to, before, before_dir, differences, paces, new)


def seen_as(then: Colour | None, now: Colour | None) -> Colour | None:
    """How a night's pictures were seen, by the configuration of now where theirs went with its Blender."""
    if then and now and then.config and not Path(then.config).is_file():
        return replace(then, config=now.config)
    return then


def _name(shot: ShotNight, frame: int) -> str:
    return frame_ranges.picture_names(shot.stem, frame, shot.suffix, [shot.view])[0]


def _differences(
    shot: ShotNight, now: Path, before: ShotNight, then: Path, kept: _Kept
) -> Sequence[FrameDifference]:
    """What was found before holds where neither picture was replaced since; a picture may have been pruned."""
    known: dict[int, FrameDifference] = {}
    views = encode([before.colour, shot.colour])
    told = kept.frames if kept.views == views else {}
    numbers = list(frame_ranges.parse(shot.frame_files))
    for frame in numbers:
        entry = told.get(str(frame))
        if entry and _holds(entry, _stamp(then / _name(before, frame)), _stamp(now / _name(shot, frame))):
            known[frame] = FrameDifference(frame, entry[0], entry[1])
    left = (
        (frame, then / _name(before, frame), now / _name(shot, frame))
        for frame in numbers
        if frame not in known
    )
    fresh = compare.differences(left, (before.colour, shot.colour))
    return sorted([*known.values(), *fresh], key=lambda found: found.frame)


Stamp = tuple[int, ...]
"""inode, size and time of a picture, which a hard link leaves as they are; empty: there is none"""


@dataclass(frozen=True)
class _Kept:
    """What was found of a shot."""

    to: str = ""
    """the night that it was compared to"""
    views: Any = None
    frames: Mapping[str, tuple[float, bool, Stamp, Stamp]] = field(default_factory=dict)
    """how far each is from what it was, whether that counts, and the pictures"""


def _holds(entry: tuple[float, bool, Stamp, Stamp], then: Stamp, now: Stamp) -> bool:
    _, _, kept_then, kept_now = entry
    return then in ((), kept_then) and now in ((), kept_now)


def _stamp(path: Path) -> Stamp:
    return stamps.stamp(path)[1:4]


def _read_kept(path: Path) -> dict[str, _Kept]:
    try:
        return read_json(dict[str, _Kept], files.whole(path))
    except (OSError, ValueError):
        return {}


def _keep(path: Path, stories: Sequence[Story]) -> None:
    """Only what was compared; the report is written without it, too."""
    kept = {story.shot.name: _kept(story) for story in stories if story.compared_to}
    with contextlib.suppress(OSError):
        files.write(path, to_json(kept))


def _kept(story: Story) -> _Kept:
    """Frames that are the same file are decided faster than they are remembered."""
    frames: dict[str, tuple[float, bool, Stamp, Stamp]] = {}
    for found in story.differences:
        then, now = _stamp(story.picture_before(found.frame) or Path()), _stamp(story.picture(found.frame))
        if found.difference or then != now:
            frames[str(found.frame)] = (found.difference, found.changed, then, now)
    views = [story.before and story.before.colour, story.shot.colour]
    return _Kept(story.compared_to or "", encode(views), frames)
