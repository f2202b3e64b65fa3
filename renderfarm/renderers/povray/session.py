"""A POV-Ray scene, rendered: each stretch of frames is one start of POV-Ray, with the whole animation's clock.

POV-Ray parses the scene anew for every frame and sleeps in each, so where frames are known to be short a
session runs several at once; all are single-threaded (with more threads radiosity differs from run to run).
Every run gets the scene's ini as it is, then the user's options, then the farm's switches, of which the last
ones win.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.renderers import Launcher, SessionFailure
from renderfarm.renderers.povray.asking import Asking, write_options
from renderfarm.renderers.povray.hints import hints
from renderfarm.renderers.povray.logs import verdict
from renderfarm.renderers.povray.options import (
    BLOCK,
    FORMAT_SWITCHES,
    LOST,
    PATHS,
    STREAMS,
    Options,
    region,
    seams,
)
from renderfarm.renderers.povray.run import (
    SHORTEST_RUN,
    STOPPED,
    Place,
    Run,
    at_once,
    first_run,
    is_plain,
    is_whole,
    new_place,
    picture,
    quoted,
    stopped,
)
from renderfarm.renderers.povray.scene import Animation, Sheet, hinted_inis, read_text, same_but_case, span
from renderfarm.renderers.scratch import appending, cpu_seconds, end, length, memory_kills, reading, tail
from renderfarm.renderers.wildcards import kind
from renderfarm.words.request import SUFFIXES, Settings
from renderfarm.words.scene import Asset, Needs, Scene, Wild
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Work

FPS = 25.0
"""POV-Ray knows frames, not seconds"""
POLL_SECONDS = (0.01, 0.05)
_PHOTONS = "Number of photons shot"
"""said at the end of each frame that has any: how they are gathered goes on with the next one (3.7)"""
_OURS = (
    *("-D", "-P", "-V", "-C", "Output_To_File=on", "Radiosity_To_File=off"),
    *("All_Console=on", "Fatal_Console=on", "Warning_Console=on"),
)
"""Switches of every run: nobody looks at a display, and what goes wrong is read on the console"""


@dataclass
class _Begun:
    """A process that renders, and what it has told."""

    run: Run
    place: Place
    process: subprocess.Popen[bytes]
    threads: int
    log: Path
    offset: int
    """where its own words begin in the log"""
    began: float
    """when its frame began, in seconds since the epoch as files have them"""
    repeated: int = 0

    def wait_for(self, frame: int | None) -> Path | None:
        """The frame's picture (None: the only one) once it is whole; None when POV-Ray ends without it."""
        delay, longest = POLL_SECONDS
        while True:
            ended = self.process.poll() is not None
            path = picture(self.place.folder, frame)
            if path and is_whole(path):
                return path
            if ended:
                return None
            time.sleep(delay)
            delay = min(longest, delay * 1.25)

    def lap(self, now: float) -> float:
        """Seconds of the frame that ended now."""
        seconds, self.began = max(0.0, now - self.began), now
        return seconds

    def repeat(self, log: Path) -> None:
        """Add to another log what it has said since."""
        with reading(self.log) as said, appending(log) as file:
            said.seek(self.repeated)
            file.write(said.read())
            self.repeated = said.tell()


class PovRaySession:
    """One scene; every call of `render` starts POV-Ray once per stretch of evenly spaced frames."""

    device = ""

    def __init__(self, work: Work, launch: Launcher, asking: Asking) -> None:
        self._work = work
        self._launch = launch
        scene = Path(work.scene).absolute()
        self._asked = asking.scene(self._arguments, scene)
        self._sheet = Sheet(scene, _rebased(self._asked, work.rebase))
        self._animation = self._sheet.animation(work.settings.frames)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._cost = 0.0
        """CPU seconds of a frame; 0 before one was seen"""
        self._reached: int | None = None
        """the last frame whose files lie beside the scene, where frames read what those before them wrote;
        None: the next process finds nothing there that one before it wrote"""
        self._closed = False
        self._memory_kills = memory_kills()

    @property
    def keeps(self) -> bool:
        """Frames that read what others wrote need what those needed."""
        return self._is_ordered

    def describe(self) -> Scene:
        """What POV-Ray says of the options, and what the texts hint at."""
        hinted = hints(self._sheet, self._work.copies)
        own = dict.fromkeys(filter(None, (*hinted_inis(self._sheet.scene), self._sheet.source)))
        return Scene(
            path=self._work.scene,
            renderer="povray",
            saved_with="",
            frames=self._animation.frames,
            fps=FPS,
            resolution=self._work.settings.size(self._sheet.size),
            camera=None,
            engine="povray",
            assets=(
                *(_asset(path) for path in own if path != self._sheet.scene),
                *(_asset(path, name) for path, name in hinted.files.items() if path not in own),
            ),
            wild=(Wild(str(self._sheet.folder), "povray.ini"),),
            alpha=self._asked.flag("output_alpha"),
            notes=(*self._notes(), *_range_notes(self._animation, self._work.settings)),
            ordered=not self._animation.still and hinted.ordered,
            block=0
            if (why := seams(self._asked, self._work.settings.format))
            else max(2, int(self._asked.number("render_block_size", BLOCK))),
            seams=why,
            doubt=f"its texts have {hinted.chance}" if hinted.chance else "",
            folders=tuple(os.path.normpath(path) for path in self._sheet.library if path.exists()),
            needs=Needs.OPENED,
        )

    @property
    def _is_ordered(self) -> bool:
        return self._work.ordered and not self._animation.still

    def _notes(self) -> Iterator[str]:
        if commands := self._asked.commands():
            yield f"Shell commands of the ini do not run: {', '.join(commands)}."

    def render(
        self, frames: Sequence[int], threads: int, folder: Path, log: Path
    ) -> Iterator[Rendered | Failed]:
        """Render in the order given; a frame that fails ends its run, and the rest goes on in another."""
        left, beside = list(frames), 1 if self._is_ordered else at_once(self._cost)
        while left:
            gone = 0
            if file := self._work.merged.get(str(left[0])):
                gone = 1
                yield _delivered(left[0], Path(file), folder)
            elif runs := list(self._runs(left, beside)):
                for gone, outcome in enumerate(self._render_runs(runs, threads, folder, log), 1):
                    yield replace(outcome, frame=left[gone - 1])
                beside = beside if gone == sum(len(run.frames) for run in runs) else 1
            else:
                gone = 1
                yield Failed(
                    left[0], Reason.SCENE_ERROR, f"POV-Ray has no negative frames, so no frame {left[0]}."
                )
            del left[:gone]

    def _runs(self, left: Sequence[int], most: int) -> Iterator[Run]:
        """The first frames, for so many processes at most."""
        size = max(1 if self._animation.alone else SHORTEST_RUN, -(-len(left) // most))
        for _ in range(most):
            merged = not left or str(left[0]) in self._work.merged
            parts, gapless = self._work.parts, self._is_ordered
            run = None if merged else first_run(left[:size], self._animation, parts, gapless=gapless)
            if run is None:
                return
            yield run
            left = left[len(run.frames) :]

    def _render_runs(
        self, runs: Sequence[Run], threads: int, folder: Path, log: Path
    ) -> Iterator[Rendered | Failed]:
        """The frames of processes that run at once, up to the first that fails.

        That one is only told of a process that was alone: what it said, and what it opened, is then its own.
        """
        with contextlib.ExitStack() as stack:
            begun = [stack.enter_context(self._begun(run, threads, folder, log, len(runs))) for run in runs]
            for one in begun:
                left = len(one.run.frames)
                for outcome in self._outcomes(one, log, len(begun)):
                    left -= 1
                    yield replace(outcome, log=str(log))
                if left:
                    return

    @contextlib.contextmanager
    def _begun(self, run: Run, threads: int, folder: Path, log: Path, beside: int) -> Iterator[_Begun]:
        """A process in a folder of its own; of several each has a log of its own, too."""
        with new_place(folder) as place:
            said = log if beside == 1 else place.folder / "said.txt"
            offset, began = length(said), time.time()
            process = self._process_of(run, threads, place, said)
            try:
                yield _Begun(run, place, process, threads, said, offset, began)
            finally:
                end(process)

    def _process_of(self, run: Run, threads: int, place: Place, log: Path) -> subprocess.Popen[bytes]:
        """The one that renders, or the one that could not get as far as to its first frame."""
        before = self._before(run.frames[0]) if self._is_ordered else ()
        if before:
            with new_place(place.folder.parent) as aside:
                process = self._start(Run(before), 1, aside, log, ("+W1", "+H1", "Output_To_File=off"))
                if process.wait():
                    return process
            self._reached = before[-1]
        return self._start(run, threads, place, log)

    def _outcomes(self, one: _Begun, log: Path, beside: int) -> Iterator[Rendered | Failed]:
        """The frames of one process of several, up to and including the first that fails."""
        for frame in one.run.frames:
            path = one.wait_for(None if self._animation.still else frame)
            if path and frame != one.run.frames[0] and _PHOTONS in tail(one.log, one.offset):
                self._animation, self._reached = replace(self._animation, alone=True), None
                return
            self._reached = frame if path else None
            if one.log != log:
                one.repeat(log)
            if path is None:
                if beside == 1:
                    yield self._failure(frame, one, one.process.wait())
                return
            seconds = one.lap(path.stat().st_mtime) / beside
            if frame == one.run.frames[-1]:
                cost = cpu_seconds(one.process.pid) / len(one.run.frames)
                self._cost = cost or self._cost or seconds
            yield Rendered(frame, str(path), seconds, threads=one.threads)

    def _before(self, frame: int) -> tuple[int, ...]:
        """The frames to run through for the files that they write."""
        if self._reached is not None and self._reached >= frame:
            self._reached = None
        first = self._animation.start if self._reached is None else self._reached + self._animation.step
        return tuple(range(first, frame, self._animation.step))

    def _start(
        self, run: Run, threads: int, place: Place, log: Path, more: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        if self._closed:
            raise SessionFailure(Reason.CRASH, "The session is closed.")
        command = place.argv([*self._command(run, threads, place), *more])
        line = f"$ cd {shlex.quote(str(self._sheet.folder))} && {shlex.join(command)}\n"
        with appending(log) as file:
            file.write(line.encode(errors="surrogateescape"))
        environment, anew = {"HOME": str(place.folder)}, self._is_ordered and self._reached is None
        try:
            process = self._launch(
                command, cwd=self._sheet.folder, log=log, environment=environment, anew=anew, traced=True
            )
        except OSError as error:
            message = f"POV-Ray could not be started: {error}."
            raise SessionFailure(Reason.UNKNOWN, message) from error
        self._processes = [*(each for each in self._processes if each.poll() is None), process]
        return process

    def _arguments(self, place: Place) -> list[str]:
        """The scene as it is named to POV-Ray, and after it the user's options."""
        section = f"[{self._work.settings.section}]" if self._work.settings.section else ""
        scene = Path(self._work.scene).absolute()
        is_ini = scene.suffix.lower() == ".ini"
        copy = self._work.copies.get(str(scene)) if is_ini else None
        name = place.under_its_name(copy, str(scene)) if copy else _plain_name(place, scene)
        named = quoted(f"{name}{section}") if is_ini else f"+I{quoted(name)}"
        options = self._work.settings.options
        return [named, *([write_options(place, options)] if options else [])]

    def _moved(self, place: Place) -> Iterator[str]:
        """Switches for files whose names POV-Ray lost, or which are elsewhere here, as copies are."""
        before, now, source = self._asked, self._sheet.options, self._sheet.source
        named = now.text("input_file_name")
        copy = self._work.copies.get(str(source))
        if copy:
            yield f"+I{quoted(place.under_its_name(copy, str(source)))}"
        elif source and before.text("input_file_name") != ("" if LOST in named else named):
            yield f"+I{quoted(place.plain(str(source)))}"
        if (header := now.text("include_header")) != before.text("include_header"):
            yield f"+HI{quoted(place.plain(header))}"
        for folder in now.all("library_path"):
            if folder not in before.all("library_path"):
                yield f"+L{quoted(place.plain(folder))}"

    def _command(self, run: Run, threads: int, place: Place) -> list[str]:
        settings = self._work.settings
        width, height = settings.size(self._sheet.size)
        bits = self._sheet.bits if settings.format == "png" and self._sheet.bits > 8 else ""
        streams = [name for name, _ in self._asked.pairs if name in STREAMS and name.endswith("file")]
        return [
            self._work.build.path,
            *self._arguments(place),
            *self._moved(place),
            f"+O{quoted(place.seen(f'frame_.{SUFFIXES[settings.format]}'))}",
            f"{FORMAT_SWITCHES[settings.format]}{bits}",
            f"+W{width}",
            f"+H{height}",
            *self._animation.switches(run.frames[0], run.frames[-1], run.step),
            *region(run.part),
            f"+WT{max(1, threads)}",
            *_OURS,
            f"+GI{quoted(place.seen('made.ini'))}",  # there is no way to take one back
            *(f"{name}={name}.txt" for name in dict.fromkeys(streams)),  # they lie beside the picture
            *(f"{name}=" for name in self._asked.commands()),
            *(("+W1", "+H1", "+Q0") if self._work.rehearsal else ()),
        ]

    def _failure(self, frame: int, begun: _Begun, code: int) -> Failed:
        """Say why the run ended before this frame; raises SessionFailure when somebody else ended it."""
        if self._closed or code in STOPPED:
            raise SessionFailure(*stopped(code, memory_kills() - self._memory_kills))
        said, seconds = tail(begun.log, begun.offset), begun.lap(time.time())
        found = verdict(code, said, lambda file, line: self._source_line(file, line, begun.place))
        message, other = found.message, self._other_name(found.lacks)
        if other:
            message = f"{message} There is {other.name!r}: upper and lower case make a difference here."
        return Failed(frame, found.reason, message, seconds, log=str(begun.log), lacks=found.lacks)

    def _other_name(self, name: str) -> Path | None:
        """The file that is there instead of one, but for upper and lower case."""
        folders = (self._sheet.folder, *self._sheet.library) if name else ()
        return next(filter(None, (same_but_case(folder / name) for folder in folders)), None)

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
        for process in self._processes:
            end(process)


def _plain_name(place: Place, scene: Path) -> str:
    return scene.name if is_plain(scene.name) else place.plain(str(scene))


def _delivered(frame: int, merged: Path, folder: Path) -> Rendered:
    """A frame whose parts were merged into what POV-Ray would have written."""
    begin, path = time.monotonic(), folder / f"{frame}{merged.suffix}"
    shutil.copyfile(merged, path)
    return Rendered(frame, str(path), time.monotonic() - begin)


def _asset(path: Path, hinted: str = "") -> Asset:
    """A file of the scene; one that is only `hinted` at by a name in it may not be needed."""
    name, size = hinted or path.name, path.stat().st_size
    return Asset(str(path.absolute()), kind(path.name), True, size, name, certain=not hinted)


def _rebased(options: Options, rebase: tuple[str, str] | None) -> Options:
    """The options with their files where the project is on this machine."""
    if rebase is None:
        return options
    old, new = (folder.rstrip("/") + "/" for folder in rebase)

    def moved(name: str, value: str) -> str:
        there = name in PATHS and value.startswith(old) and Path(new + value[len(old) :]).exists()
        return new + value[len(old) :] if there else value

    return Options(tuple((name, moved(name, value)) for name, value in options.pairs))


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
