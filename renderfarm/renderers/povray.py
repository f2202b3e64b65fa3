"""POV-Ray: no warm process to keep, but runs of frames in one start, each with the whole animation's clock.

POV-Ray parses the scene anew for every frame and sleeps between frames, so sessions are many and
single-threaded (with more threads radiosity differs from run to run). Every run gets a folder of its own with
the ini's options in one plain file; the farm's switches come after them and win. Runs on nodes: Python 3.10,
standard library only.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from renderfarm import stamps
from renderfarm.errors import SceneError
from renderfarm.model import SUFFIXES, Build, Failed, Reason, Rendered, Scene, Settings, Work
from renderfarm.renderers import Concurrency, Launcher, Preread, SessionFailure
from renderfarm.renderers.povray_assets import find_assets, outside_paths, without_comments
from renderfarm.renderers.povray_log import Verdict, signs, verdict
from renderfarm.renderers.povray_options import HARMLESS, override
from renderfarm.renderers.povray_run import (
    STOPPED,
    Meter,
    Place,
    Run,
    default_ini,
    end,
    first_run,
    is_plain,
    is_whole,
    new_place,
    picture,
    quoted,
    stopped,
    tail,
    write_ini,
)
from renderfarm.renderers.povray_scene import (
    Animation,
    Sheet,
    read_sheet,
    read_text,
    span,
)
from renderfarm.renderers.scratch import appending

FPS = 25.0
"""POV-Ray knows frames, not seconds"""
OLDEST = (3, 7)
POLL_SECONDS = (0.002, 0.05)
FREE_BYTES = 1 << 20
_VERSION = re.compile(r"POV-Ray (\d+(?:\.\d+)+)\S*")
_NEEDS = re.compile(r"#\s*version\s+(\d)\.(\d)")
_FORMAT_SWITCHES = {"png": "+FN", "exr": "+FE", "jpeg": "+FJ"}


class PovRay:
    """Knows POV-Ray's builds and scenes."""

    name = "povray"
    suffixes = (".pov", ".ini")
    settings = frozenset({"resolution", "scale", "format", "options", "frames"})
    formats = frozenset(_FORMAT_SWITCHES)
    harmless = HARMLESS
    concurrency = Concurrency(sessions_per_core=4, threads_scale=False, frames_per_run=4, short_seconds=5)
    opens_copies = True

    def builds(self, chosen: str | None = None) -> list[Build]:
        """The chosen executable, or RENDERFARM_POVRAY, then the one on PATH."""
        names = [chosen] if chosen else [os.environ.get("RENDERFARM_POVRAY", ""), "povray"]
        paths = dict.fromkeys(path for name in names if name and (path := shutil.which(name)))
        found = (_build(str(Path(path).absolute())) for path in paths)
        return [build for build in found if build]

    def preread(self, scene: Path) -> Preread:
        """Read the scene and all that it includes, as far as it is text."""
        sheet = read_sheet(scene)
        assets = find_assets(sheet).assets
        found = _NEEDS.search(without_comments(read_text(sheet.source)))
        needs = (int(found[1]), int(found[2])) if found else ()
        outside = tuple(outside_paths(sheet, assets))
        return Preread(needs=needs, paths=outside, sources=(str(sheet.source.absolute()),))

    def accepts(self, build: Build, preread: Preread) -> str:
        """POV-Ray 3.7 or newer, and not older than the scene's #version."""
        needs = max(OLDEST, preread.needs)
        if build.version[: len(needs)] >= needs:
            return ""
        return f"{build.label} is too old: the scene needs POV-Ray {'.'.join(map(str, needs))}"

    def installation(self, build: Build) -> list[Path]:
        """Folders of a POV-Ray that is not installed in /usr."""
        folder = Path(build.path).resolve().parent
        if folder.is_relative_to("/usr"):
            return []
        return [path for path in (folder, folder.parent / "share", folder.parent / "etc") if path.is_dir()]

    def named(self, scene: Path, settings: Settings) -> list[str]:
        """Library folders among the user's own options."""
        options = override(settings.options)
        return [
            os.path.normpath(scene.absolute().parent / o.value)
            for o in options
            if o.key == "library_path" and o.value
        ]

    def open(self, work: Work, launch: Launcher) -> PovRaySession:
        """Read the scene; POV-Ray itself starts with the first frames."""
        _refuse_settings(work.settings)
        try:
            return PovRaySession(work, launch, read_sheet(Path(work.scene), work.settings, work.rebase))
        except SceneError as error:
            raise SessionFailure(Reason.SCENE_ERROR, str(error)) from error

    def signs(self, log: str) -> tuple[str, ...]:
        """Parse errors first, then what could not be opened, then warnings."""
        return signs(log)


RENDERER = PovRay()


def _build(path: str) -> Build | None:
    try:
        return _asked(path, stamps.stamp(path))
    except (OSError, subprocess.TimeoutExpired):
        return None


@functools.lru_cache(maxsize=8)
def _asked(path: str, stamp: stamps.Stamp) -> Build | None:
    """Ask an executable for its version; one that has changed since is asked again."""
    command = [path, "--version"]
    answer = subprocess.run(command, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    found = _VERSION.search((answer.stderr + answer.stdout).decode("utf-8", "replace"))
    if found is None:
        return None
    version = tuple(int(part) for part in found[1].split("."))
    return Build("povray", path, version, f"POV-Ray {found[1]}", found[0])


def _refuse_settings(settings: Settings) -> None:
    """Raise BAD_SETTING for what POV-Ray can't honour."""
    refused = sorted(set(settings.overridden()) - PovRay.settings)
    if refused:
        words = ", ".join(name.replace("_", "-") for name in refused)
        raise SessionFailure(Reason.BAD_SETTING, f"POV-Ray scenes have no {words} to choose; take it out.")
    if settings.format not in PovRay.formats:
        known = ", ".join(sorted(PovRay.formats))
        raise SessionFailure(
            Reason.BAD_SETTING, f"POV-Ray can't write {settings.format} here; formats: {known}."
        )
    try:
        override(settings.options)
        span(settings.frames or "1")
    except SceneError as error:
        raise SessionFailure(Reason.BAD_SETTING, str(error)) from error


class PovRaySession:
    """One scene; every call of `render` starts POV-Ray once per stretch of evenly spaced frames."""

    def __init__(self, work: Work, launch: Launcher, sheet: Sheet) -> None:
        self._work = work
        self._launch = launch
        self._sheet = sheet
        self._animation = sheet.animation(work.settings.frames)
        self._needs = find_assets(sheet, self._animation, work.copies)
        self._process: subprocess.Popen[bytes] | None = None
        self._same: list[Verdict] = []
        self._closed = False

    def describe(self) -> Scene:
        """What the files say; POV-Ray isn't asked."""
        return Scene(
            path=self._work.scene,
            renderer="povray",
            saved_with="",
            frames=self._animation.frames,
            fps=FPS,
            resolution=self._size(),
            camera=None,
            engine="povray",
            assets=self._needs.assets,
            wild=self._needs.wild,
            alpha=self._sheet.flag("output_alpha"),
            notes=(*self._sheet.notes, *self._needs.notes, *_range_notes(self._animation, self._work.settings)),
        )

    def _size(self) -> tuple[int, int]:
        settings = self._work.settings
        width, height = settings.resolution or self._sheet.size
        percent = settings.scale or 100
        return max(1, width * percent // 100), max(1, height * percent // 100)

    def render(
        self, frames: Sequence[int], threads: int, folder: Path, log: Path
    ) -> Iterator[Rendered | Failed]:
        """Render in the order given; a frame that fails ends its run, and the rest goes on in another."""
        left = list(frames)
        while left:
            run, gone = first_run(left, self._animation), 0
            if run is None:
                gone = 1
                yield Failed(
                    left[0], Reason.SCENE_ERROR, f"POV-Ray has no negative frames, so no frame {left[0]}."
                )
            elif self._hopeless():
                gone = 1
                yield Failed(left[0], self._same[-1].reason, self._same[-1].message)
            else:
                for outcome in self._render_run(run, threads, folder, log):
                    gone += 1
                    yield outcome
            del left[:gone]
            if not left:
                self._same = self._same[-1:]

    def _hopeless(self) -> bool:
        """The same error of the scene twice in a row: no frame will do better."""
        return len(self._same) > 1 and self._same[-1] == self._same[-2]

    def _render_run(self, run: Run, threads: int, folder: Path, log: Path) -> Iterator[Rendered | Failed]:
        """The frames of one process, up to and including the first that fails."""
        place = new_place(folder)
        begin = time.monotonic()
        offset = log.stat().st_size if log.exists() else 0
        process = self._start(run, threads, place, log)
        meter = Meter(process)
        try:
            for frame in run.frames:
                path = self._wait_for(frame, place, process)
                seconds, begin = time.monotonic() - begin, time.monotonic()
                if path is None:
                    yield self._failure(frame, seconds, process.wait(), place, log, offset)
                    return
                self._same.clear()
                yield Rendered(
                    frame, str(path), seconds, meter.lap(), meter.peak_bytes(), threads, log=str(log)
                )
                begin = time.monotonic()
        finally:
            end(process)
            place.clean()

    def _start(self, run: Run, threads: int, place: Place, log: Path) -> subprocess.Popen[bytes]:
        if self._closed:
            raise SessionFailure(Reason.CRASH, "The session is closed.")
        command = place.argv(self._command(run, threads, place))
        line = f"$ cd {shlex.quote(str(self._sheet.folder))} && {shlex.join(command)}\n"
        with appending(log) as file:
            file.write(line.encode(errors="surrogateescape"))
        environment = {"HOME": str(place.folder), "POVINI": default_ini(place)}
        try:
            self._process = self._launch(command, cwd=self._sheet.folder, log=log, environment=environment)
        except OSError as error:
            message = f"POV-Ray could not be started: {error}."
            raise SessionFailure(Reason.UNKNOWN, message) from error
        return self._process

    def _command(self, run: Run, threads: int, place: Place) -> list[str]:
        settings, (width, height) = self._work.settings, self._size()
        write_ini(self._sheet, place)
        bits = self._sheet.bits if settings.format == "png" and self._sheet.bits > 8 else ""
        return [
            self._work.build.path,
            quoted(place.seen("run.ini")),
            f"+I{quoted(self._source(place))}",
            f"+O{quoted(place.seen(f'frame_.{SUFFIXES[settings.format]}'))}",
            f"{_FORMAT_SWITCHES[settings.format]}{bits}",
            f"+W{width}",
            f"+H{height}",
            *self._animation.switches(run.frames[0], run.frames[-1], run.step),
            f"+WT{max(1, threads)}",
            "-D",
            "-P",
            "-V",
            "-C",
        ]

    def _source(self, place: Place) -> str:
        """The scene text, or a copy of the same name: POV-Ray looks for files from its working folder on."""
        source = self._sheet.source
        if copy := self._work.copies.get(str(source.absolute())):
            return place.under_its_name(copy, str(source))
        with contextlib.suppress(ValueError):
            source = source.relative_to(self._sheet.folder)
        return str(source) if is_plain(str(source)) else place.plain(str(self._sheet.source))

    def _wait_for(self, frame: int, place: Place, process: subprocess.Popen[bytes]) -> Path | None:
        """The frame's picture once it is whole; None when POV-Ray ends without it."""
        delay, longest = POLL_SECONDS
        while True:
            ended = process.poll() is not None
            path = picture(place.folder, None if self._animation.still else frame)
            if path and is_whole(path):
                return path
            if ended:
                return None
            time.sleep(delay)
            delay = min(longest, delay * 1.25)

    def _failure(self, frame: int, seconds: float, code: int, place: Place, log: Path, offset: int) -> Failed:
        """Say why the run ended before this frame; raises SessionFailure when somebody else ended it."""
        if self._closed or code in STOPPED:
            raise SessionFailure(*stopped(code))
        found = verdict(code, tail(log, offset), lambda file, line: self._source_line(file, line, place))
        if (
            found.reason in (Reason.NO_PICTURE, Reason.CRASH)
            and shutil.disk_usage(place.folder).free < FREE_BYTES
        ):
            found = Verdict(Reason.DISK_FULL, "POV-Ray could not write its picture: the disk is full.")
        if found.reason in (Reason.SCENE_ERROR, Reason.MISSING_FILE, Reason.BAD_SETTING):
            self._same.append(found)
        return Failed(frame, found.reason, found.message, seconds, log=str(log))

    def _source_line(self, file: str, line: int, place: Place) -> tuple[str, str]:
        """A file's own name and one of its lines, empty when it can't be read."""
        real = Path(place.links.get(file, file))
        for folder in (self._sheet.folder, *self._sheet.library):
            if (folder / real).is_file():
                with contextlib.suppress(SceneError, IndexError):
                    text = read_text(folder / real).split("\n")[line - 1]
                    return (real.name if real.is_absolute() else str(real)), text
        return str(real), ""

    def close(self) -> None:
        """End POV-Ray if it runs."""
        self._closed = True
        if self._process:
            end(self._process)


def _range_notes(animation: Animation, settings: Settings) -> Iterator[str]:
    if not settings.frames:
        return
    low, high = span(settings.frames)
    if low < 0:
        yield "POV-Ray has no negative frames; they will fail."
    if animation.own and (max(low, 0) < animation.first or high > animation.last):
        yield (
            f"Frames outside the scene's own {animation.first}-{animation.last} are asked for; "
            "its clock goes on evenly beyond its ends."
        )
