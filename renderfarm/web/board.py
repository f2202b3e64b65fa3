"""Which jobs there are, and what is new about them. A board is used by one thread.

Jobs at work stay open and read on where they ended; of the others the last word is kept, and they are looked
at again when their files have changed.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renderfarm.errors import InputError, StoreError
from renderfarm.farm import verbs
from renderfarm.farm.announcer import in_motion
from renderfarm.farm.remote import marked
from renderfarm.job import events
from renderfarm.job.home import is_claimed
from renderfarm.job.job import Job, extent
from renderfarm.job.shelf import Shelf
from renderfarm.job.snapshots import read_on
from renderfarm.job.store import Store
from renderfarm.web import views
from renderfarm.web.views import Json, Shown
from renderfarm.words import files
from renderfarm.words import frames as frame_ranges
from renderfarm.words.as_json import read_json
from renderfarm.words.states import FrameState

MOST_JOBS = 500
"""that are listed, the newest"""
REST_SECONDS = 2.0
"""between two looks at a job that nobody works on, where there are at most a hundred"""
CLOCK_SECONDS = 1.0
"""after so long a job at work is told anew, as its clocks move"""
MOST_KEPT = 100_000
"""frames of jobs that nobody works on whose ledgers are kept together, or those of the newest one alone"""
MOST_TOLD = 3000
"""frames that are told one by one; of more, the page asks for all"""
SILENT = "Its folder does not answer: a disk, or a network's share, that hangs."
REPORT, NIGHT_PAGE = "report.html", "index.html"
SWEEPING = (
    events.Begun,
    events.Left,
    events.Canceled,
    events.GivenUp,
    events.Retried,
    events.Suspected,
    events.Made,
    events.Noted,
)
"""events that change more than a frame"""


@dataclass
class _Seen:
    """What is known of a job."""

    said: Json
    looked: float
    folder: Path | None = None
    """None where it could not be looked at"""
    extent: str = ""
    job: Job | None = None
    """kept open while somebody works on it"""

    @property
    def moved(self) -> bool:
        """Whether somebody works on it, or did since it was looked at."""
        return not self.folder or is_claimed(self.folder / "lock") or extent(self.folder) != self.extent


class Board:
    """All jobs of a farm home, but for those whose folders are known to be silent."""

    def __init__(self, home: Path, silent: Container[str] = ()) -> None:
        self._home = home
        self._silent = silent
        self.at = ""
        """the job whose files are looked at, or were last"""
        self._store = Store(home)
        self._shelf = Shelf(home)
        self._seen: dict[str, _Seen] = {}
        self._listed: tuple[int, list[str]] = (-1, [])
        self._open: dict[str, tuple[str, Job]] = {}

    @property
    def busy(self) -> bool:
        """Whether somebody works on any job."""
        return any(seen.job for seen in self._seen.values())

    def jobs(self) -> list[Json]:
        """Every job's summary, the newest last."""
        if not self._seen:
            self.news()
        return [seen.said for seen in self._seen.values()]

    def news(self) -> Json:
        """What changed since the last call: summaries of jobs, their frames, and jobs to be asked for anew."""
        names = self._names()
        found: Json = {"jobs": [], "frames": {}, "anew": [], "gone": [*self._seen.keys() - set(names)]}
        before, self._seen = self._seen, {}
        for name in names:
            self._seen[name] = self._again(name, before.get(name), found)
        return {what: told for what, told in found.items() if told}

    def _names(self) -> list[str]:
        """The newest jobs, listed anew when one came or went, and for a second after that."""
        folder = self._home / "jobs"
        changed = folder.stat().st_mtime_ns if folder.is_dir() else 0
        if changed != self._listed[0] or time.time_ns() - changed < 1_000_000_000:
            self._listed = (changed, self._shelf.names()[-MOST_JOBS:])
        return self._listed[1]

    def _again(self, name: str, seen: _Seen | None, found: Json) -> _Seen:
        """What is known of a job now; one that can't be looked at says so, and is looked at again."""
        try:
            self._reach(name)
            return self._fresh(name, seen, found)
        except (OSError, StoreError) as error:
            why = error.message if isinstance(error, StoreError) else f"It can't be read: {error.strerror}."
            blind = _Seen({"id": name, "problem": why}, time.monotonic())
            if not seen or seen.said != blind.said:
                found["jobs"].append(blind.said)
            return blind

    def _reach(self, name: str) -> None:
        if name in self._silent:
            raise StoreError(SILENT)
        self.at = name

    def _fresh(self, name: str, seen: _Seen | None, found: Json) -> _Seen:
        now = time.monotonic()
        if seen and seen.job and seen.job.alive:
            self._follow(seen, seen.job, found)
            return seen
        if seen and not seen.job:
            if now - seen.looked < REST_SECONDS * max(1.0, len(self._listed[1]) / 100):
                return seen
            seen.looked = now
            if not seen.moved:
                return seen
        fresh = self._look(name)
        found["jobs"].append(fresh.said)
        if seen:
            found["anew"].append(name)
        return fresh

    def _look(self, name: str) -> _Seen:
        job = self._shelf.named(name)
        at, alive = extent(job.folder), job.alive
        said = views.summary(job, marked(job, verbs.look(self._store, job)))
        return _Seen(said, time.monotonic(), job.folder, at, job if alive else None)

    def _follow(self, seen: _Seen, job: Job, found: Json) -> None:
        news = job.news()
        if not news and time.monotonic() - seen.looked < CLOCK_SECONDS:
            return
        seen.looked = time.monotonic()
        said = views.summary(job, in_motion(job.status(), job, self._store))
        seen.said = said | {"film": views.film_stamp(job)}
        found["jobs"].append(seen.said)
        touched = views.touched(news)
        if len(touched) > MOST_TOLD or any(isinstance(entry.event, SWEEPING) for entry in news):
            found["anew"].append(job.id)
        elif touched:
            found["frames"][job.id] = [views.told(job.ledger, frame) for frame in touched]

    def expect(self, name: str) -> None:
        """Something was asked of a job: look at it next time."""
        if seen := self._seen.get(name):
            seen.looked = 0.0

    # One job

    def job(self, name: str) -> Job:
        """A job with all that its journals say; raises StoreError for none of this farm."""
        self._reach(name)
        seen = self._seen.get(name)
        if seen and seen.job:
            return seen.job
        kept = self._open.pop(name, None)
        if kept is None or kept[0] != extent(kept[1].folder):
            job = self._shelf.named(name)
            # Ledgers that were asked for longest ago make room for one of so many frames.
            while self._open and job.total + sum(each.total for _, each in self._open.values()) > MOST_KEPT:
                del self._open[next(iter(self._open))]
            kept = (extent(job.folder), read_on(self._store, job))
        self._open[name] = kept
        return kept[1]

    def whole(self, name: str) -> Json:
        """All that the page needs to show a job."""
        job = self.job(name)
        status = marked(job, in_motion(job.status(), job, self._store))
        more = {"before": self._before(job), "report": (job.record.output / REPORT).is_file()}
        return views.whole(job, status) | more

    def _before(self, job: Job) -> str | None:
        """The job of the same scene before this one."""
        earlier = itertools.takewhile(lambda name: name != job.id, self._seen)
        alike = [name for name in earlier if self._seen[name].said.get("path") == job.request.scene]
        return alike[-1] if alike else None

    def picture(self, name: str, frame: int) -> Shown:
        """A frame's picture; raises InputError where there is none."""
        return views.picture(self.job(name), frame, self._home)

    def poster(self, name: str) -> tuple[int, Shown]:
        """The frame that stands for a job, the newest while it renders; raises InputError for none."""
        self._reach(name)
        seen = self._seen.get(name)
        if seen and seen.job and (latest := seen.job.ledger.run.newest) is not None:
            return latest, self.picture(name, latest)
        if seen and seen.job and seen.job.parts:
            running = next(seen.job.ledger.of(FrameState.RUNNING), None)
            return (frame := running.frame if running else 0), self.picture(name, frame)
        job = self._shelf.named(name)
        frames = frame_ranges.parse(job.record.frames)
        for frame in (frames[len(frames) // 2], frames[0], frames[-1]):
            with suppress(OSError):
                return frame, views.on_disk(job, job.record.pictures(frame))
        raise InputError("There is no frame yet.")

    def output(self, name: str, file: str) -> Path | str:
        """A job's report; for what its links name, the address where the page shows it."""
        job = self.job(name)
        if file == REPORT:
            return job.record.output / file
        log = str(job.record.output / file)
        frames = (failed.frame for failed in job.status().failures if failed.log == log)
        return f"/jobs/{name}" + "".join(f"/frames/{frame}" for frame in itertools.islice(frames, 1))

    # What the nights made

    def nights(self) -> list[Json]:
        """Nights that the farm's jobs belong to, the newest first."""
        found = [_night(key, folder) for (key, _), folder in self._nights().items()]
        return sorted(found, key=lambda night: str(night["night"]), reverse=True)

    def night(self, series: str, night: str, file: str) -> Path | str:
        """The page of a night; for what its links name of a shot, the address of the same of its job."""
        folder = self._nights().get((series, night))
        if folder is None:
            raise StoreError("There is no such night.")
        shot, _, rest = file.partition("/")
        for name, seen in reversed(self._seen.items()):
            if seen.said.get("output") == str(folder / shot):
                return f"/jobs/{name}/out/{rest}"
        return folder / NIGHT_PAGE

    def _nights(self) -> dict[tuple[str, str], Path]:
        """Folders of nights by what stands for them in addresses."""
        found = {}
        for name, seen in self._seen.items():
            self.at = name
            folder = Path(seen.said.get("output", "/")).parent
            if folder not in found and os.path.isfile(folder / "night.json"):  # noqa: PTH113 - never raises
                series = hashlib.sha256(os.fsencode(folder.parent)).hexdigest()[:12]
                found[folder] = (series, folder.name)
        return {key: folder for folder, key in found.items()}


def _night(key: str, folder: Path) -> Json:
    told = {"id": key, "night": folder.name, "page": (folder / NIGHT_PAGE).is_file()}
    try:
        record = read_json(dict[str, Any], files.whole(folder / "night.json"))
        states = [shot["state"] for shot in record["shots"]]
        title = str(record.get("title") or folder.parent.name)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return told | {"title": folder.parent.name, "shots": 0, "bad": 0}
    return told | {"title": title, "shots": len(states), "bad": sum(state != "succeeded" for state in states)}
