"""A night as JUnit XML, for dashboards of CI services: a test suite whose test cases are the shots.

All markup is in junit.xml.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

from renderfarm.nightly.model import ShotNight, ShotState
from renderfarm.nightly.morning import Morning, Story
from renderfarm.reports.report import template
from renderfarm.words import files

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""
NO_TOKEN = re.compile(r"[^A-Za-z0-9._:-]")
MOST_CHARACTERS = 20_000
"""of what a failure tells"""


def write(told: Morning, path: Path) -> None:
    """Write the file, whole or not at all; raises OSError."""
    stories = sorted(told.stories, key=lambda story: story.shot.name)
    page = template(Path(__file__).with_name("junit.xml"), legal, message, details, remark)
    host = NO_TOKEN.sub("-", socket.gethostname()) or "localhost"
    kinds = [_kind(story.shot) for story in stories]
    files.write(path, page.render(night=told.night, stories=stories, kinds=kinds, host=host))


def _kind(shot: ShotNight) -> str:
    """A shot that never became a job is an error, one with bad frames or without its video a failure."""
    if shot.state is ShotState.FAILED and not shot.job:
        return "error"
    if shot.is_bad:
        return "failure"
    return "" if shot.state is ShotState.SUCCEEDED else "skipped"


def message(shot: ShotNight) -> str:
    """What went wrong, in a sentence."""
    if shot.error:
        return shot.error
    if shot.frames.failed:
        return f"{shot.frames.failed:,} of {shot.frames.total:,} frames failed"
    return shot.problems[0] if shot.problems else f"{shot.frames.left:,} frames are left"


def details(shot: ShotNight) -> str:
    """All that is known about it."""

    def lines() -> Iterator[str]:
        yield from filter(None, (shot.advice, shot.error, shot.hint, *shot.problems))
        for failure in shot.failures:
            yield f"frame {failure.frame}: {failure.reason}: {failure.message}"
            yield from (f"    {sign}" for sign in failure.signs)

    return "\n".join(lines())[:MOST_CHARACTERS]


def remark(story: Story) -> str:
    """What is no failure, but somebody should look at."""
    shot = story.shot
    parts = [f"{len(story.changed):,} frames look different from {story.compared_to}"] if story.changed else []
    parts += [f"frame {suspect.frame}: {suspect.finding}" for suspect in shot.suspects]
    return f"{shot.name}: {', '.join(parts)}" if parts else ""


def legal(text: str) -> str:
    """Text that XML can write."""
    return NO_XML.sub("\ufffd", text)
