"""The folder `nights`: one folder per night, and in it the record of what the night did."""

from __future__ import annotations

import contextlib
import json
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path

from renderfarm.errors import FramesError, InputError, JobBusyError
from renderfarm.job import home
from renderfarm.nightly.model import Night, ShotNight
from renderfarm.words import files
from renderfarm.words.as_json import encode, read_json
from renderfarm.words.frames import parse

RECORD = "night.json"
LOCK = ".lock"
YEARS = range(1971, 9000)
"""that all clocks can show"""


class StillRunning(JobBusyError):  # noqa: N818 - the last night takes longer, that is all
    """Another run of the list is at work; this one did nothing."""

    exit_code = 3


def all_nights(output: Path) -> list[Path]:
    """The folders of the nights that have a record, newest last."""
    if not output.is_dir():
        return []
    return sorted(path for path in output.iterdir() if _is_date(path.name) and (path / RECORD).is_file())


def _is_date(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def read(folder: Path) -> Night:
    """The record of a night; raises InputError when there is none that can be read."""
    try:
        return _sound(read_json(Night, files.whole(folder / RECORD)), folder.name)
    except (OSError, ValueError, FramesError) as error:
        message = f"{folder / RECORD} can't be read: {error}."
        raise InputError(message, "Remove that folder, or run the list again.") from error


def _sound(night: Night, name: str) -> Night:
    """The night; raises ValueError where it is another one's, says no times, or names what is not below it."""
    if night.night != name:
        raise ValueError(f"it is of {night.night!r:.80}")
    for text in filter(None, (night.started, night.begun, night.ended, night.limits.finish_by)):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or moment.year not in YEARS:
            raise ValueError(f"{text} is no time of a night")
    for shot in night.shots:
        below = (shot.name, shot.output, shot.video, shot.contact_sheet, shot.report)
        words = [part for path in filter(None, below) for part in ("/" + path).split("/")[1:]]
        if {"", ".", ".."} & {*words} or "/" in shot.stem + shot.suffix:
            raise ValueError(f"{shot.name!r:.80} names what is not its own")
        if shot.frame_files:
            parse(shot.frame_files)
    return night


def write(night: Night, output: Path) -> None:
    """Keep the record of a night, whole or not at all. Raises OSError."""
    files.write(output / night.night / RECORD, json.dumps(encode(night), indent=1) + "\n")


def history(output: Path, but: str = "") -> list[Night]:
    """All nights whose records can be read, oldest first, without one."""
    found = []
    for folder in all_nights(output):
        with contextlib.suppress(InputError):
            found += [read(folder)] if folder.name != but else []
    return found


def before(shot: str, night: str, others: list[Night]) -> tuple[str, ShotNight] | None:
    """The newest earlier night in which a shot became a job, and what that night did to it."""
    for other in reversed(others):
        if other.night < night:
            for found in other.shots:
                if found.name == shot and found.job:
                    return other.night, found
    return None


def claim(output: Path) -> AbstractContextManager[None]:
    """The claim of whoever works on a list; raises StillRunning."""
    message = f"Another run is still at work in {output}."
    return home.claim(
        output / LOCK, message, "Nothing was started; look again when it has ended.", StillRunning
    )
