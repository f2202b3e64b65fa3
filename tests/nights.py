"""What the tests of nightly jobs share: a project with a list, nights on chosen dates, their records."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.farm_runs import Done, Farm, card, ended, names, pixels, run, start
from tests.trusting import trusted

__all__ = ["Project", "card", "ended", "names", "pixels", "without_times"]

_LATER = """
import datetime, sys, time
real, day, later, since = datetime.datetime, datetime.date, datetime.timedelta(days=DAYS), time.time
time.time = lambda: since() + later.total_seconds()
class Then(real):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + later
class Day(day):
    @classmethod
    def today(cls):
        return (real.now() + later).date()
datetime.datetime, datetime.date = Then, Day
for module in [module for name, module in sys.modules.items() if name.startswith("renderfarm.")]:
    for name, other in (("datetime", Then), ("date", Day)):
        if hasattr(module, name):
            setattr(module, name, other)
"""
"""Some days later: nothing but the clock is another one."""
_START = "from renderfarm.__main__ import main; sys.exit(main())"


class Project:
    """A folder with a list, and a farm of its own that works through it."""

    def __init__(self, folder: Path) -> None:
        self.farm = Farm(folder / "farm")
        self.folder = folder / "project"
        self.films = False
        """whether shots become films, where their own table doesn't say"""
        self.folder.mkdir(parents=True)
        self.list = self.folder / "shots.toml"
        self.farm.folder.mkdir(exist_ok=True)

    def write(self, **shots: dict[str, object]) -> None:
        """Write the list; `top` and `defaults` are its other tables."""
        top = shots.pop("top", {})
        defaults = ({} if self.films else {"video": False}) | shots.pop("defaults", {})
        tables = {"defaults": defaults, **{f'shots."{name}"': t for name, t in shots.items()}}
        lines = [f"{key} = {json.dumps(value)}" for key, value in top.items()]
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        self.list.write_text("\n".join(lines) + "\n")
        trusted(self.list, Path(self.farm.environment["XDG_CONFIG_HOME"]))

    def card(self, name: str, frames: str = "1-4", **more: object) -> Path:
        """A test card scene of the project."""
        return card(self.folder / f"{name}.testcard", frames, **more)

    def start(self, *argv: object, day: int = 0, **environment: str) -> subprocess.Popen[str]:
        """Start `renderfarm nightly` some days later; its process is a group of its own."""
        return start(
            [sys.executable, "-c", _LATER.replace("DAYS", str(day)) + _START, "nightly", *map(str, argv)],
            cwd=self.folder,
            env={**self.farm.environment, **environment},
        )

    def nightly(self, *argv: object, day: int = 0, **environment: str) -> Done:
        """Run `renderfarm nightly` to its end, some days later."""
        before = _LATER.replace("DAYS", str(day)) if day else ""
        changed = {**self.farm.environment, **environment}
        return run("nightly", *argv, folder=self.folder, environment=changed, before=before)

    def run(self, *more: object, day: int = 0, **environment: str) -> Done:
        """A night, some days later."""
        return self.nightly("run", self.list, *more, day=day, **environment)

    @property
    def nights(self) -> list[Path]:
        return sorted(path for path in (self.folder / "nights").iterdir() if path.name[0].isdigit())

    def record(self, night: int = -1) -> Any:
        """The record of a night, the newest by default."""
        return json.loads((self.nights[night] / "night.json").read_text())

    def shots(self, night: int = -1) -> dict[str, Any]:
        """What a night did to each shot."""
        return {shot["name"]: shot for shot in self.record(night)["shots"]}

    def rendered(self, night: int = -1) -> dict[str, int]:
        """How many frames of each shot a night rendered, of those it rendered any of."""
        counts = {name: shot["frames"]["rendered"] for name, shot in self.shots(night).items()}
        return {name: count for name, count in counts.items() if count}

    def frames(self, shot: str, night: int = -1) -> list[str]:
        """The names of a shot's frames in a night."""
        return sorted(path.name for path in (self.nights[night] / shot / "frames").iterdir())


def without_times(record: Any, folder: Path) -> Any:
    """A record without what differs between undisturbed nights: times, place, names drawn by lot."""
    text = json.dumps(record).replace(str(folder), "HERE")
    for shot in record["shots"]:
        if shot["job"]:
            text = text.replace(shot["job"], "JOB")
    return _stripped(json.loads(text))


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        timed = ("started", "begun", "ended", "seconds", "seconds_per_frame", "night")
        return {key: _stripped(each) for key, each in value.items() if key not in timed}
    return [_stripped(each) for each in value] if isinstance(value, list) else value
