"""A night as JUnit XML, for dashboards of CI services: a test suite whose test cases are the shots.

Valid for both schemas in use: the one of Ant's task and the one of Jenkins' xUnit plug-in.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from renderfarm.nightly.model import ShotNight, ShotState
from renderfarm.nightly.morning import Morning, Story
from renderfarm.words import files

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""
NO_TOKEN = re.compile(r"[^A-Za-z0-9._:-]")
MOST_CHARACTERS = 20_000
"""of what a failure tells"""


def write(told: Morning, path: Path) -> None:
    """Write the file, whole or not at all; raises OSError."""
    root = ElementTree.Element("testsuites")
    _suite(root, told)
    ElementTree.indent(root)
    files.write(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _suite(root: ElementTree.Element, told: Morning) -> None:
    night = told.night
    stories = sorted(told.stories, key=lambda story: story.shot.name)
    kinds = [_kind(story.shot) for story in stories]
    facts = {
        "id": "0",
        "package": "renderfarm",
        "name": _text(night.title or "nightly"),
        "timestamp": night.started[:19],
        "hostname": NO_TOKEN.sub("-", socket.gethostname()) or "localhost",
        "tests": str(len(stories)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": f"{sum(story.shot.seconds for story in stories):.3f}",
    }
    suite = ElementTree.SubElement(root, "testsuite", facts)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("night", night.night), ("exit_code", str(night.exit_code))):
        ElementTree.SubElement(properties, "property", {"name": name, "value": _text(value)})
    for story, kind in zip(stories, kinds, strict=True):
        _case(suite, story.shot, kind)
    ElementTree.SubElement(suite, "system-out").text = _text("\n".join(filter(None, map(_line, stories))))
    ElementTree.SubElement(suite, "system-err").text = _text("\n".join(night.problems))


def _kind(shot: ShotNight) -> str:
    """A shot that never became a job is an error, one with bad frames or without its video a failure."""
    if shot.state is ShotState.FAILED and not shot.job:
        return "error"
    if shot.is_bad:
        return "failure"
    return "" if shot.state is ShotState.SUCCEEDED else "skipped"


def _case(suite: ElementTree.Element, shot: ShotNight, kind: str) -> None:
    facts = {
        "classname": suite.get("name", ""),
        "name": _text(shot.name),
        "time": f"{shot.seconds:.3f}",
    }
    case = ElementTree.SubElement(suite, "testcase", facts)
    if kind == "skipped":
        message = f"{shot.state}: {shot.frames.left:,} of {shot.frames.total:,} frames are left"
        ElementTree.SubElement(case, "skipped", message=message)
    elif kind:
        reason = shot.failures[0].reason if shot.failures else "shot"
        outcome = ElementTree.SubElement(case, kind, {"type": _text(reason), "message": _text(_message(shot))})
        outcome.text = _text("\n".join(_details(shot)))[:MOST_CHARACTERS]


def _message(shot: ShotNight) -> str:
    if shot.error:
        return shot.error
    if shot.frames.failed:
        return f"{shot.frames.failed:,} of {shot.frames.total:,} frames failed"
    return shot.problems[0] if shot.problems else f"{shot.frames.left:,} frames are left"


def _details(shot: ShotNight) -> Iterator[str]:
    yield from filter(None, (shot.advice, shot.error, shot.hint, *shot.problems))
    for failure in shot.failures:
        yield f"frame {failure.frame}: {failure.reason}: {failure.message}"
        yield from (f"    {sign}" for sign in failure.signs)


def _line(story: Story) -> str:
    """What is no failure, but somebody should look at."""
    shot = story.shot
    parts = [f"{len(story.changed):,} frames look different from {story.compared_to}"] if story.changed else []
    parts += [f"frame {suspect.frame}: {suspect.finding}" for suspect in shot.suspects]
    return f"{shot.name}: {', '.join(parts)}" if parts else ""


def _text(text: str) -> str:
    return NO_XML.sub("\ufffd", text)
