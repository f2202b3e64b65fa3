"""POV-Ray behind the seams: its builds, and what of a scene and of its options it takes.

Runs on nodes: Python 3.10, standard library only.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from renderfarm.renderers import (
    Concurrency,
    Equipment,
    Launcher,
    Preread,
    Published,
    Renderer,
    SessionFailure,
)
from renderfarm.renderers.asking import ask
from renderfarm.renderers.povray.asking import Asking, option_text
from renderfarm.renderers.povray.logs import signs
from renderfarm.renderers.povray.options import (
    FORMAT_SWITCHES,
    HARMLESS,
    OWNED,
    Options,
    instead,
    unquoted,
)
from renderfarm.renderers.povray.scene import INSTALLED, hinted_inis, hinted_source, read_text
from renderfarm.renderers.povray.session import PovRaySession
from renderfarm.words import stamps
from renderfarm.words.request import Settings
from renderfarm.words.states import Reason
from renderfarm.words.work import Build, Work

OLDEST = (3, 7)
_VERSION = re.compile(r"POV-Ray (\d+(?:\.\d+)+)\S*")
_SAMPLE = """\
#version 3.7;
global_settings { assumed_gamma 1 }
camera { location <0, 0, -4> look_at 0 }
light_source { <3, 3, -3> rgb 1 }
sphere { 0, 1 pigment { rgb <1, 0.5, 0.2> } }
"""


class PovRay(Renderer):
    """Knows POV-Ray's builds and scenes."""

    name = "povray"
    equipment = Equipment(
        remedy="apt-get install -y povray povray-includes",
        distribution=("povray", "povray-includes"),
        suffices=True,
        variables=("POVINI",),
        published=(
            Published("deb", r"povray_(?:\d+:)?(\d+\.\d+(?:\.\d+)?)\S*\.deb", "povray_3.7.0.10-2_amd64.deb"),
        ),
        shared=INSTALLED,
        etc_files=("/etc/povray",),
    )
    suffixes = (".pov", ".ini")
    settings = frozenset({"resolution", "scale", "format", "options", "frames", "section"})
    formats = frozenset(FORMAT_SWITCHES)
    harmless = HARMLESS
    concurrency = Concurrency(spare_sessions=1, threads_scale=False, frames_per_run=4, short_seconds=5)
    writes = True
    names_stay = True

    def builds(self, chosen: str | None = None, *, confined: bool = True) -> list[Build]:
        """The chosen executable, or RENDERFARM_POVRAY, then the one on PATH."""
        names = [chosen] if chosen else [os.environ.get("RENDERFARM_POVRAY", ""), "povray"]
        paths = dict.fromkeys(path for name in names if name and (path := shutil.which(name)))
        found = (_build(str(Path(path).absolute()), confined) for path in paths)
        return [build for build in found if build]

    def preread(self, scene: Path) -> Preread:
        """See that it is text; raises SceneError. What it says is POV-Ray's to read."""
        read_text(scene)
        folder = scene.absolute().parent
        inis = (ini.absolute() for ini in hinted_inis(scene))
        outside = tuple(str(ini) for ini in inis if not ini.is_relative_to(folder))
        source = hinted_source(scene.absolute(), certain=True)
        sources = dict.fromkeys(map(str, filter(None, (scene.absolute(), source))))
        return Preread(paths=outside, sources=tuple(sources))

    def accepts(self, build: Build, preread: Preread) -> str:
        """POV-Ray 3.7 or newer; it says itself when it is older than the scene's #version."""
        if build.version[: len(OLDEST)] >= OLDEST:
            return ""
        return f"{build.label} is too old: POV-Ray {'.'.join(map(str, OLDEST))} is needed"

    def installation(self, build: Build) -> list[Path]:
        """Folders of a POV-Ray that is not installed in /usr."""
        folder = Path(build.path).resolve().parent
        if folder.is_relative_to("/usr"):
            return []
        return [path for path in (folder, folder.parent / "share", folder.parent / "etc") if path.is_dir()]

    def named(self, scene: Path, settings: Settings) -> list[str]:
        """Library folders among the user's own options."""
        keyed = [value for key, value in settings.options.items() if key.lower() == "library_path"]
        switched = [(key + value)[2:] for key, value in settings.options.items() if key[:2].lower() == "+l"]
        names = map(unquoted, (*keyed, *switched))
        return [os.path.normpath(scene.absolute().parent / name) for name in names if name]

    def sample(
        self, build: Build, folder: Path, *, denoise: bool, device: str, engine: str
    ) -> tuple[Path, Settings]:
        """A lit sphere."""
        path = folder / "sample.pov"
        path.write_text(_SAMPLE)
        return path, Settings()

    def open(self, work: Work, launch: Launcher) -> PovRaySession:
        """Ask POV-Ray for the scene's options; it starts to render with the first frames."""
        asking = Asking(work.build.path, launch, Path(work.scratch))
        _refuse_options(work.settings, asking, Path(work.scratch))
        return PovRaySession(work, launch, asking)

    def signs(self, log: str) -> tuple[str, ...]:
        """Parse errors first, then what could not be opened, then warnings."""
        return signs(log)


RENDERER = PovRay()


def _build(path: str, confined: bool) -> Build | None:
    try:
        found = _asked(path, stamps.stamp(path), confined)
        return found and replace(found, identity=" ".join([found.identity, *_marks(Path(path).resolve())]))
    except (OSError, subprocess.TimeoutExpired):
        return None


def _marks(program: Path) -> Iterator[str]:
    """What tells a program from others of its version, and what the machine's povray.ini says to all."""
    yield f"{program.stat().st_size:x}"
    for folder in dict.fromkeys((Path("/etc"), program.parent.parent / "etc")):
        yield from (stamps.sha256(ini)[:16] for ini in sorted(folder.glob("povray/*/povray.ini")))


@functools.lru_cache(maxsize=8)
def _asked(path: str, stamp: stamps.Stamp, confined: bool) -> Build | None:
    """Ask an executable for its version; one that has changed since is asked again."""
    answer = ask([path, "--version"], confined=confined)
    found = _VERSION.search((answer.stderr + answer.stdout).decode("utf-8", "replace"))
    if found is None:
        return None
    version = tuple(int(part) for part in found[1].split("."))
    return Build("povray", path, version, f"POV-Ray {found[1]}", found[0])


def _refuse_options(settings: Settings, asking: Asking, folder: Path) -> None:
    """Raise BAD_SETTING for options of the user that POV-Ray doesn't know, and for the farm's own."""
    usual = asking.alone({}, folder) if settings.options else Options()
    for key, value in settings.options.items():
        if "\n" in key + value:
            message = f"{option_text(key, value)!r} is more than one option."
            raise SessionFailure(Reason.BAD_SETTING, message)
        made = asking.alone({key: value}, folder)
        differing = [pair for pair in made.pairs if pair not in usual.pairs]
        owned = [name for name, _ in differing if name in OWNED and name != "create_ini"]
        if owned:
            message = f"The option {option_text(key, value)!r} is the farm's to set. {instead(owned[0])}"
            raise SessionFailure(Reason.BAD_SETTING, message)
