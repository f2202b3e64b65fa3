"""The morning report: one HTML file per night that needs nothing else, and the same facts for programs.

All markup is in night.html. Pictures share a budget of bytes, so the page of twenty shots stays small.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from renderfarm.errors import RenderfarmError
from renderfarm.farm.products import excerpt_of
from renderfarm.nightly import charts, compare, junit, morning
from renderfarm.nightly.model import FrameDifference, Night, ShotFailure, ShotNight, ShotState
from renderfarm.nightly.morning import Morning, Story
from renderfarm.pictures.excerpt import excerpt
from renderfarm.pictures.small import data_url, small, url_within
from renderfarm.reports.report import link, template
from renderfarm.words import files
from renderfarm.words import frames as frame_ranges
from renderfarm.words.as_json import encode
from renderfarm.words.durations import duration
from renderfarm.words.failures import alike

PAGE, FACTS, JUNIT, LATEST = "index.html", "report.json", "junit.xml", "latest.html"
PICTURE_BYTES = 3_000_000
"""of all pictures of a page, before they become text (4 bytes for 3)"""
MOST_SHOT_BYTES = MOST_FILM_BYTES = 400_000
SHEET_SHARE = 0.34
"""of a shot's bytes for its contact sheet where it has other pictures, too"""
SHEET_BOX, TRIPLE_BOX, SUSPECT_BOX = (1000, 900), (480, 480), (320, 320)
MOST_CHANGED = 3
MOST_FAILURES, MOST_SUSPECTS = 4, 4
NIGHTS_LINKED = 14
Block = dict[str, Any]
"""what the page shows of one shot"""
LATER_MARK = "<!--later-->"
"""where the page of a night gets its link to the night after it"""


def write(night: Night, output: Path, history: Sequence[Night]) -> Path:
    """Write index.html, report.json and junit.xml of a night, and latest.html where it is the newest.

    `output` is the folder `nights`, `history` the list's other nights in any order. Raises RenderfarmError.
    """
    folder = output / night.night
    try:
        folder.mkdir(parents=True, exist_ok=True)
        told = morning.tell(night, output, history)
        files.write(folder / FACTS, json.dumps(facts(told), indent=1) + "\n")
        junit.write(told, folder / JUNIT)
        each = min(MOST_SHOT_BYTES, PICTURE_BYTES // max(1, len(told.stories)))
        pictures = [_pictures(story, folder, each) for story in told.stories]
        files.write(folder / PAGE, _html(told, output, pictures, folder))
        if not told.later:
            files.write(output / LATEST, _html(told, output, pictures, output))
        if told.earlier:
            _link_forward(output / told.earlier[-1].night / PAGE, night.night)
    except OSError as error:
        message = f"The morning report in {folder} can't be written: {error.strerror or error}."
        raise RenderfarmError(
            message, "Make room or give rights there, then: renderfarm nightly report"
        ) from error
    return folder / PAGE


def facts(told: Morning) -> dict[str, Any]:
    """What the report tells as JSON-ready values: the night's record, and what looks different."""
    record = encode(told.night)
    record["summary"] = dict(told.counts)
    record["previous"] = told.earlier[-1].night if told.earlier else None
    record["shots"] = [_shot_facts(story) for story in told.stories]
    return dict(record)


def _shot_facts(story: Story) -> dict[str, Any]:
    apart = {str(f.frame): f.difference for f in story.differences if f.difference}
    looks = {
        "compared_to": story.compared_to,
        "compared": len(story.differences),
        "changed": frame_ranges.compact(story.changed),
        "most": [{"frame": f.frame, "difference": f.difference} for f in story.most_changed(MOST_CHANGED)],
        "differences": apart,
    }
    history = [encode(pace) for pace in story.paces[:-1]]
    return {
        **encode(story.shot),
        "urgency": story.urgency,
        "new": story.new,
        "looks": looks,
        "history": history,
    }


def _link_forward(path: Path, later: str) -> None:
    """The page of the night before gets its link to this night, once."""
    try:
        text = files.whole(path).decode()
    except (OSError, ValueError):
        return
    if LATER_MARK in text:
        files.write(path, text.replace(LATER_MARK, f'<a href="../{quote(later)}/{PAGE}">{later} →</a>', 1))


def _pictures(story: Story, folder: Path, budget: int) -> Block:
    """The pictures of one shot as data URLs; made once, shown by two pages."""
    shot = story.shot
    changed = story.most_changed(MOST_CHANGED)
    suspects = shot.suspects[:MOST_SUSPECTS]
    others = 3 * len(changed) + len(suspects)
    sheet_bytes = int(budget * SHEET_SHARE) if others else budget
    each = (budget - sheet_bytes) // max(1, others)
    sheet = folder / shot.contact_sheet if shot.contact_sheet else None
    return {
        "film": data_url(_film(story, folder, min(MOST_FILM_BYTES, budget)), "video/mp4"),
        "sheet": url_within(small(sheet, SHEET_BOX), sheet_bytes),
        "triples": [triple for found in changed for triple in _triple(story, found, each)],
        "suspects": [
            (suspect, url_within(small(story.picture(suspect.frame), SUSPECT_BOX, shot.colour), each))
            for suspect in suspects
        ],
    }


def _film(story: Story, folder: Path, most: int) -> bytes:
    """The small film of the shot's own report, smaller where it must be; none of what is as before."""
    film = excerpt_of(str(folder / story.shot.output))
    if story.urgency == morning.AS_BEFORE or not story.shot.video or not film.is_file():
        return b""
    if film.stat().st_size <= most:
        return film.read_bytes()
    return excerpt(film, story.shot.frames.total / (story.shot.fps or 25), most)


def _triple(story: Story, found: FrameDifference, budget: int) -> Iterator[tuple[Any, ...]]:
    """A frame, its difference, before, now and what is apart; nothing when a picture is gone by now."""
    view = story.before.colour if story.before else None
    before = small(story.picture_before(found.frame), TRIPLE_BOX, view)
    after = small(story.picture(found.frame), TRIPLE_BOX, story.shot.colour)
    if before and after:
        pictures = (before, after, compare.picture(before, after))
        yield found.frame, found.difference, *(url_within(picture, budget) for picture in pictures)


def _html(told: Morning, output: Path, pictures: Sequence[Block], beside: Path) -> str:
    """The page as it lies in the folder `beside`, to which its links are relative."""
    folder, by = output / told.night.night, told.night.limits.finish_by
    blocks = [
        {"anchor": f"shot-{place}", **shown, **_block(story, partial(_file, folder, beside))}
        for place, (story, shown) in enumerate(zip(told.stories, pictures, strict=True), 1)
    ]
    page = {night.night: link(output / night.night / PAGE, beside) for night in (*told.earlier, *told.later)}
    return template(Path(__file__).with_name("night.html"), money, day, outcome).render(
        night=told.night,
        told=told,
        blocks=blocks,
        counts=told.counts,
        headline=headline(told),
        totals=_totals(told.night),
        when=_when(told.night),
        finish_by=f"{datetime.fromisoformat(by).astimezone():%H:%M}" if by else "",
        before=told.earlier[-1].night if told.earlier else None,
        after=told.later[0].night if told.later else None,
        nights=[*told.earlier, told.night, *told.later][-NIGHTS_LINKED:],
        page=page,
        mark=LATER_MARK,
        pace_size=charts.PACE_SIZE,
    )


def _file(night: Path, beside: Path, name: str | None) -> str:
    """The link to a file that is named relative to a night's folder; empty when there is none."""
    try:
        return link(night / name, beside) if name and (night / name).exists() else ""
    except OSError:  # a name that no file can have
        return ""


def _block(story: Story, file: Callable[[str | None], str]) -> Block:
    """What the page shows of one shot besides its pictures."""
    shot = story.shot
    groups = list(_groups(shot, file))
    return {
        "story": story,
        "urgency": story.urgency,
        "paces": charts.paces(story.paces),
        "strip": charts.strip(story),
        "failures": groups[:MOST_FAILURES],
        "other_failures": ", ".join(frames for frames, *_ in groups[MOST_FAILURES:]),
        "other_suspects": frame_ranges.listed(suspect.frame for suspect in shot.suspects[MOST_SUSPECTS:]),
        "folder": file(shot.output),
        "frames": file(f"{shot.output}/frames" if shot.output else None),
        "video": file(shot.video),
        "report": file(shot.report),
        "sheet_file": file(shot.contact_sheet),
    }


def _groups(shot: ShotNight, file: Callable[[str | None], str]) -> Iterator[tuple[str, ShotFailure, str]]:
    """Frames that failed in the same way, the one whose log speaks for all, and the link to that."""
    for failures in alike(shot.failures):
        first = next((failure for failure in failures if failure.signs), failures[0])
        yield frame_ranges.listed(failure.frame for failure in failures), first, file(first.log)


def headline(told: Morning) -> str:
    """The night in one sentence."""
    counts, shots = told.counts, len(told.stories)
    if not shots:
        return "The list has no shots."
    if counts["as_before"] == shots:
        return "All as it was." if shots > 1 else "As it was."
    parts = (
        (counts["broken"], "is broken", "are broken"),
        (counts["unfinished"], "is not finished", "are not finished"),
        (counts["suspicious"], "needs a look", "need a look"),
        (counts["different"], "looks different", "look different"),
        (counts["new"], "is new", "are new"),
        (counts["as_before"], "is as before", "are as before"),
    )
    said = [f"{count} {one if count == 1 else many}" for count, one, many in parts if count]
    first, _, rest = said[0].partition(" ")
    said[0] = f"{first} {'shot' if first == '1' else 'shots'} {rest}"
    return f"{', '.join(said)}."


def _totals(night: Night) -> dict[str, Any]:
    currencies = {shot.currency for shot in night.shots if shot.cost is not None}
    paid = [shot.cost for shot in night.shots if shot.cost is not None]
    cost = sum(paid) if len(currencies) == 1 else None
    currency = next(iter(currencies), None) if cost is not None else None
    return {**encode(night.frames), "cost": cost, "currency": currency}


def _when(night: Night) -> str:
    """From when to when, in the local time of this machine."""
    start = datetime.fromisoformat(night.started).astimezone()
    end = datetime.fromisoformat(night.ended).astimezone() if night.ended else None
    if end is None:
        return f"since {start:%H:%M}, still going on"
    return f"{start:%H:%M} to {end:%H:%M}, {duration((end - start).total_seconds())}"


def money(amount: float) -> str:
    """Two digits after the point."""
    return f"{amount:,.2f}"


def day(night: str) -> str:
    """2026-11-22 as people say it: Sunday, 22 November 2026."""
    return f"{datetime.fromisoformat(night):%A, %-d %B %Y}"


def outcome(night: Night) -> str:
    """The colour of a night among others."""
    if any(shot.is_bad for shot in night.shots):
        return "broken"
    return "good" if all(shot.state is ShotState.SUCCEEDED for shot in night.shots) else "unfinished"
