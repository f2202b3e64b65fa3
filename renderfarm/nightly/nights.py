"""The folder `nights`: one folder per night, and in it the record of what the night did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.job import home
from renderfarm.nightly.model import Night, ShotNight
from renderfarm.words import files
from renderfarm.words.as_json import decode, encode

RECORD = "night.json"
LOCK = ".lock"
_NIGHT = re.compile(r"\d{4}-\d{2}-\d{2}")


def all_nights(output: Path) -> list[Path]:
    """The folders of the nights that have a record, newest last."""
    if not output.is_dir():
        return []
    folders = (path for path in output.iterdir() if _NIGHT.fullmatch(path.name))
    return sorted(path for path in folders if (path / RECORD).is_file())


def read(folder: Path) -> Night:
    """The record of a night; raises InputError when there is none that can be read."""
    try:
        return decode(Night, json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        message = f"{folder / RECORD} can't be read: {error}."
        raise InputError(message, "Remove that folder, or run the list again.") from error


def write(night: Night, output: Path) -> None:
    """Keep the record of a night, whole or not at all. Raises OSError."""
    files.write(output / night.night / RECORD, json.dumps(encode(night), indent=1) + "\n")


def history(output: Path, but: str = "") -> list[Night]:
    """All nights whose records can be read, oldest first, without one."""
    return [night for folder in all_nights(output) if folder.name != but for night in _readable(folder)]


def _readable(folder: Path) -> Iterator[Night]:
    try:
        yield read(folder)
    except InputError:
        return


def before(shot: str, night: str, others: list[Night]) -> tuple[str, ShotNight] | None:
    """The newest earlier night in which a shot became a job, and what that night did to it."""
    for other in reversed(others):
        if other.night < night:
            for found in other.shots:
                if found.name == shot and found.job:
                    return other.night, found
    return None


def claim(output: Path) -> AbstractContextManager[None]:
    """The claim of whoever works on a list; the kernel drops it when the holder dies."""
    message = f"Another run is still at work in {output}."
    return home.claim(output / LOCK, message, "Nothing was started; look again when it has ended.")
