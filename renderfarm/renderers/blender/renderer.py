"""Blender behind the seams: which scenes it opens, which builds are here, and a warm session that renders.

Both shapes of Blender, the executable and the `bpy` module, run the same program (inside.py), which
is copied into the scratch folder together with what it imports, so that a sandbox and a zipapp can serve it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.abc import InspectLoader
from pathlib import Path
from typing import Any, NoReturn, cast

from renderfarm.renderers import Abilities, Launcher, Preread, Renderer, SessionFailure
from renderfarm.renderers.blender import abilities, blendfile, builds, logs
from renderfarm.renderers.blender.equipment import EQUIPMENT, PROJECT
from renderfarm.renderers.scratch import end, length, memory_kills, tail
from renderfarm.words.as_json import decode, encode
from renderfarm.words.request import Settings
from renderfarm.words.scene import Asset, Needs, Scene, pictures
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Work

_INSIDE = (
    *(f"words.{name}" for name in ("as_json", "states", "scene", "request", "devices")),
    "renderers.wildcards",
    *(f"renderers.blender.{name}" for name in (
        "inside", "overrides", "describe", "drivers", "assets", "sequences", "sounds", "physics", "compositor",
        "obstacles", "cards", "views", "animation", "layers", "persistence", "rebasing",
    )),
)  # fmt: skip
"""Modules that run inside Blender; the packages' own __init__ are left empty there."""
_START = """\
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from renderfarm.renderers.blender.inside import main
main()
"""
_LOST_LAYERS = re.compile(r"exr|expected channel (?!.*Noisy Image)", re.IGNORECASE)
"""what Blender says of a file of layers that it can't read, and renders black instead"""
_DECLARED = ("sequence", "simulation")
_RECORD = b"\x1e"
_MOST_BYTES = 1 << 28
"""of an answer, and of a line of chatter: scripts may write without end"""
_CLOSE_SECONDS = 1.0


class BlenderRenderer(Renderer):
    """Scenes that end in .blend."""

    name = "blender"
    equipment = EQUIPMENT
    suffixes = (".blend",)
    settings = frozenset(
        {
            "resolution",
            "scale",
            "samples",
            "camera",
            "scene",
            "view_layer",
            "engine",
            "format",
            "options",
            "trust_scripts",
            "allow_unbaked",
            "device",
        }
    )
    formats = frozenset({"png", "exr", "jpeg", "tiff"})
    harmless = frozenset({"persistent", "device", "denoise", "seed"})
    opens_copies = False

    def builds(self, chosen: str | None = None, *, confined: bool = True) -> list[Build]:
        """Every Blender on this machine, newest first."""
        return builds.builds(chosen, confined=confined)

    def preread(self, scene: Path) -> Preread:
        """Version, outside files and the project that it is in; raises SceneError for what is no .blend."""
        read = blendfile.preread(scene)
        projects = (str(folder / PROJECT) for folder in scene.absolute().parents)
        return replace(read, paths=(*read.paths, *filter(os.path.isdir, projects)), sources=(str(scene),))

    def accepts(self, build: Build, preread: Preread) -> str:
        """An older Blender than the file's own minimum crashes or refuses it."""
        if not preread.needs or build.version[:2] >= preread.needs:
            return ""
        needed = ".".join(map(str, preread.needs))
        return (
            f"{build.label} is too old: the file was saved by {preread.saved_with} and needs {needed} or newer"
        )

    def installation(self, build: Build) -> list[Path]:
        """An executable's folder, or those of Python and bpy."""
        return builds.installation(build)

    def abilities(self, build: Build) -> Abilities:
        """Engines, denoiser and devices."""
        return abilities.abilities(build)

    def sample(
        self, build: Build, folder: Path, *, denoise: bool, device: str, engine: str
    ) -> tuple[Path, Settings]:
        """A scene that the build saves itself, for Cycles unless told otherwise."""
        path = folder / "sample.blend"
        abilities.write_sample(build, path, denoise=denoise)
        return path, Settings(engine=engine or None, device=device if engine in ("", "CYCLES") else None)

    def open(self, work: Work, launch: Launcher) -> BlenderSession:
        """Start Blender and load the scene; raises SessionFailure."""
        return BlenderSession(work, launch)

    def signs(self, log: str) -> tuple[str, ...]:
        """Errors before warnings."""
        return logs.signs(log)


class BlenderSession:
    """One Blender process with the scene open."""

    keeps = True

    def __init__(self, work: Work, launch: Launcher) -> None:
        self._work = work
        self._log = Path(work.scratch) / "blender.log"
        self._log_start = length(self._log)
        self._memory_kills = memory_kills()
        self._home = Path(tempfile.mkdtemp(prefix="blender-", dir=work.scratch))
        start = _unpack(self._home)
        build = work.build
        argv = _command(build, start, work.settings.trust_scripts)
        environment = builds.environment(build)
        self._process = launch(
            argv, cwd=self._home, log=self._log, environment=environment, pipes=True, traced=True
        )
        cards = {"card": work.card, "processor": work.processor}
        self._ask(scene=work.scene, settings=encode(work.settings), rebase=work.rebase, **cards)
        self.device = self._answer("ready")["device"]

    def describe(self) -> Scene:
        """What Blender says the scene contains."""
        self._ask(do="describe")
        scene = decode(Scene, self._answer("scene")["scene"])
        scene = replace(scene, path=self._work.scene)
        if not self._work.traced:
            return scene
        assets = tuple(replace(asset, certain=_is_certain(asset)) for asset in scene.assets)
        return replace(scene, assets=assets, needs=Needs.OPENED)

    def render(
        self, frames: Sequence[int], threads: int, folder: Path, log: Path
    ) -> Iterator[Rendered | Failed]:
        """Render frames one after the other in the open scene."""
        self._log, self._log_start = log, length(log)
        request = {"frames": list(frames), "threads": threads, "folder": str(folder), "log": str(log)}
        request |= {"parts": self._parts(frames), "merged": self._merged(frames, folder)}
        self._ask(do="render", **request)
        read = self._log_start
        for _ in frames:
            answer = self._answer("rendered", "failed")
            told = logs.signs(tail(log, read, answer["said"]))
            read = answer["said"]
            if "failed" in answer:
                yield self._failure(answer["failed"], told)
            else:
                yield self._receipt(answer["rendered"], told)

    def _parts(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """Frame, reach and samples of the parts that numbers stand for."""
        work = self._work
        wanted = ((number, work.parts[number]) for number in numbers if work.parts)
        return {n: [part.frame, *part.reach(work.size), part.first, part.samples] for n, part in wanted}

    def _merged(self, frames: Sequence[int], folder: Path) -> dict[int, str]:
        """Files of merged layers, by names that the sandbox shows."""
        found = {frame: folder / f"layers{frame}.exr" for frame in frames if str(frame) in self._work.merged}
        for frame, path in found.items():
            path.unlink(missing_ok=True)
            _linked(Path(self._work.merged[str(frame)]), path)
        return {frame: str(path) for frame, path in found.items()}

    def _receipt(self, receipt: dict[str, Any], told: tuple[str, ...]) -> Rendered | Failed:
        wanted = map(Path, pictures(receipt["path"], receipt["views"]))
        if path := next((path for path in wanted if length(path) == 0), None):
            why = logs.reason("\n".join(told))
            why = Reason.NO_PICTURE if why is Reason.UNKNOWN else why
            message = told[0] if told else f"Blender said it was done and left no picture at {path}."
            return Failed(receipt["frame"], why, message, receipt["seconds"], log=str(self._log))
        bad = [line for line in told if _LOST_LAYERS.search(line)]
        if bad and str(receipt["frame"]) in self._work.merged:
            message = f"The merged layers can't be read: {bad[0]}"
            return Failed(receipt["frame"], Reason.BAD_PICTURE, message, receipt["seconds"], log=str(self._log))
        return replace(decode(Rendered, receipt), lacking=logs.lacking(told), log=str(self._log))

    def _failure(self, failure: dict[str, Any], told: tuple[str, ...]) -> Failed:
        message = " ".join(failure["message"].removeprefix("Error: ").split())
        known = failure.get("reason")
        why = Reason(known) if known else logs.reason("\n".join((message, *told)))
        return Failed(failure["frame"], why, message, failure.get("seconds", 0.0), log=str(self._log))

    def close(self) -> None:
        """End the requests, give Blender a second, then kill its process group."""
        end(self._process, _CLOSE_SECONDS)
        shutil.rmtree(self._home, ignore_errors=True)

    def _ask(self, **request: object) -> None:
        assert self._process.stdin  # noqa: S101 - pipes were asked for
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            self._die()

    def _answer(self, *expected: str) -> dict[str, Any]:
        """The next answer of those expected; other lines on standard output are Blender's chatter."""
        assert self._process.stdout  # noqa: S101 - pipes were asked for
        for line in iter(functools.partial(self._process.stdout.readline, _MOST_BYTES), b""):
            if not line.startswith(_RECORD):
                continue
            answer: dict[str, Any] = json.loads(line[1:])
            if any(name in answer for name in expected):
                return answer
            if "failure" in answer:
                self.close()
                raise SessionFailure(Reason(answer["failure"]["reason"]), answer["failure"]["message"])
        return self._die()

    def _die(self) -> NoReturn:
        self.close()
        told = logs.signs(tail(self._log, self._log_start))
        kills = memory_kills() - self._memory_kills
        raise SessionFailure(*logs.death(self._process.returncode, told, kills))


def _is_certain(asset: Asset) -> bool:
    """Whether it counts before a frame is seen to open it, as seeing tells more.

    Not of what frames share out, what is too large to be read, and what no frame looks for: a sound, or a
    data-block that is not in its library any more.
    """
    unseen = asset.kind in ("sound", "library") and not asset.exists
    return asset.frames is not None or asset.kind in _DECLARED or unseen


def _linked(source: Path, target: Path) -> None:
    """Another name of a file; a copy on another file system."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _unpack(home: Path) -> Path:
    """Write the inside program below home; returns the script to start."""
    package = home / "renderfarm"
    for name in _INSIDE:
        target = package.joinpath(*name.split(".")).with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_source(f"renderfarm.{name}"), encoding="utf-8")
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__init__.py").touch()
    start = home / "start.py"
    start.write_text(_START)
    return start


def _source(module: str) -> str:
    """A module's text, from a folder or out of a zipapp."""
    spec = importlib.util.find_spec(module)
    assert spec is not None  # noqa: S101 - it is a part of ourselves
    return cast("InspectLoader", spec.loader).get_source(module) or ""


def _command(build: Build, start: Path, trust_scripts: bool) -> list[str]:
    if builds.is_module(build):
        return [build.path, str(start)]
    scripts = "--enable-autoexec" if trust_scripts else "--disable-autoexec"
    options = ["-b", "--factory-startup", "-noaudio", scripts, "--python-exit-code", "9"]
    return [build.path, *options, "--python", str(start)]


RENDERER = BlenderRenderer()
