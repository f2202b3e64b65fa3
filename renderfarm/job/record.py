"""The one description of a job: what was asked, and what was found out when it was.

`<output>/.renderfarm/<id>/job.json`, with the journals beside it; `<output>/job.json` is a copy of the newest
job's. A remote pool keeps the same record beside the frames.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from renderfarm.errors import FramesError, StoreError
from renderfarm.job.fingerprint import Fingerprints, Ingredients
from renderfarm.words import files
from renderfarm.words.as_json import encode, read_json
from renderfarm.words.frames import parse, picture_names
from renderfarm.words.renderers import PROGRAMS
from renderfarm.words.request import SUFFIXES, Request, Sandbox
from renderfarm.words.scene import Scene
from renderfarm.words.work import Build, Work

SCRATCH = ".renderfarm"
"""folder in the output folder for what is not for people; on its file system, so delivering is a rename"""
RECORD = "job.json"
FRAMES = "frames"
"""folder in the output folder for whole pictures"""
LOGS = "logs"
"""folder in the output folder for what renderers say"""
MOST_BYTES = 1 << 28
"""of a record; one of a scene with a hundred thousand assets has some 30 MB"""


@dataclass(frozen=True)
class Record:
    """A job. Field names are the keys of job.json, which people's scripts read."""

    job: str
    """its id, `<scene stem>-<4 hex digits>`"""
    created: float
    """seconds since the epoch, UTC"""
    request: Request
    """paths are those of the machine that submitted it"""
    frames: str
    """the range that was asked for, or the scene's own"""
    total: int
    fps: float
    """of the video"""
    scene: Scene
    renderer: Build
    work: Work
    """for nodes of any name"""
    sandbox: str = ""
    """how renderers are shut in, for people; empty for nodes elsewhere, which nobody has asked"""
    fingerprint: str = field(default="", metadata={"json": "take"})
    """one hash over the fingerprints of all frames"""
    fingerprints: Fingerprints | None = field(default=None, metadata={"json": "takes"})
    """the fingerprints behind `fingerprint`; None in records of older versions, where all frames share it"""
    ingredients: Ingredients | None = field(default=None, metadata={"json": "parts"})
    """what the fingerprints are made of"""
    whole: Record | None = None
    """the job of whose frames it has parts"""
    split: str | None = None
    """what each of its frames is rendered in, where `auto` was asked for too; None: as a whole"""
    notes: tuple[str, ...] = ()
    """what the user should know before looking at pictures"""
    service: str = ""
    """address of the remote service that runs it; empty in records of older versions"""
    pool: Mapping[str, Any] = field(default_factory=dict)
    """the pool's table when the job was submitted; credentials are in none"""

    def frame_of(self, number: int) -> int:
        """The frame that a number of its stands for, which may be that of a part."""
        parts = self.work.parts
        return parts[number].frame if parts else number

    @property
    def output(self) -> Path:
        """The output folder, as the machine that submitted the job called it."""
        return Path(self.request.output)

    def picture(self, frame: int) -> Path:
        """Where a frame is once it is delivered; of several views the one that is shown."""
        return self.pictures(frame)[0]

    def pictures(self, frame: int) -> list[Path]:
        """The same for all its views."""
        folder, stem, suffix = self._named
        return [Path(folder + name) for name in picture_names(stem, frame, suffix, self.scene.views)]

    @functools.cached_property
    def _named(self) -> tuple[str, str, str]:
        """Folder, stem and suffix of pictures, which are asked for again and again."""
        suffix = SUFFIXES[self.request.settings.format]
        return f"{self.output / FRAMES}/", Path(self.request.scene).stem, suffix

    def log(self, name: str) -> Path:
        """Where a log is, wherever the output folder was when it was written."""
        return self.output / LOGS / Path(name).name


def moment(seconds: float) -> str:
    """A time in seconds since the epoch as ISO 8601 has it; empty for one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return ""


def folder_of(output: Path, job: str) -> Path:
    """Where a job's record and journals are."""
    return output / SCRATCH / job


def write(record: Record, folder: Path) -> None:
    """Write a record, whole or not at all; raises OSError."""
    document = encode(record)
    # People's scripts read these keys, one for each renderer.
    document["request"] |= {name: record.request.programs.get(name) for name in PROGRAMS}
    files.write(folder / RECORD, json.dumps(document, indent=2) + "\n", lasting=True)


def read(folder: Path) -> Record:
    """The record in a job's folder; raises StoreError when there is none, or when it is none of ours."""
    path = folder / RECORD
    try:
        record = _whole(read_json(Record, files.whole(path, MOST_BYTES)))
        return _at_home(record, folder.parent.parent)
    except FileNotFoundError as error:
        raise StoreError(f"There is no job in {folder}.", "See `renderfarm jobs`.") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError, FramesError) as error:
        raise StoreError(f"{path} is no record of a job: {error}.", "Submit the scene again.") from error


def _whole(record: Record) -> Record:
    """The record; raises FramesError, and ValueError when its frames stand for parts that it does not have."""
    frames, parts = parse(record.frames), record.work.parts
    if parts and list(frames) != list(range(len(parts))):
        raise ValueError(f"its frames {record.frames} are not its {len(parts)} parts")
    return record


def _at_home(record: Record, output: Path) -> Record:
    """The record with its output folder as it is called here, wherever that was moved or mounted."""
    before, request = record.output, record.request
    if before == output:
        return record
    video = request.video
    if video and Path(video).is_relative_to(before):
        video = str(output / Path(video).relative_to(before))
    return replace(record, request=replace(request, output=str(output), video=video))


def harmless(record: Record) -> Record:
    """A record that somebody else may have written: it starts no program and opens no sandbox of the user's."""
    request = record.request
    sandbox = Sandbox.AUTO if request.sandbox is Sandbox.OFF else request.sandbox
    settings = replace(request.settings, trust_scripts=False)
    video = request.video if request.video and Path(request.video).is_relative_to(record.output) else None
    own = replace(request, programs={}, audio=None, sandbox=sandbox, settings=settings, video=video)
    return replace(record, request=own)
