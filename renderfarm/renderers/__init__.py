"""A module or folder for each renderer, behind two seams: `Renderer` knows scenes, `Session` renders frames.

One is added with that and its line in `words.renderers`. Runs on nodes: Python 3.10, standard
library only. Nothing here starts a process by itself: a `Launcher` is handed in, and it decides about
sandbox, process group and clean-up.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Protocol, cast

from renderfarm.errors import SceneError
from renderfarm.words.renderers import RENDERERS
from renderfarm.words.request import Settings
from renderfarm.words.scene import Scene
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Work


@dataclass(frozen=True)
class Preread:
    """What a scene file tells before any renderer starts."""

    saved_with: str = ""
    needs: tuple[int, ...] = ()
    """oldest version that may open it"""
    paths: tuple[str, ...] = ()
    """absolute paths of files outside the scene's folder that it refers to, as far as the file tells"""
    sources: tuple[str, ...] = ()
    """absolute paths of the files that are the scene itself and that a renderer can be given a copy of"""


@dataclass(frozen=True)
class Concurrency:
    """How a renderer uses a machine, as measured (docs/performance.md)."""

    spare_sessions: int = 0
    """beyond one a core, where the renderer idles at a frame's begin or end"""
    threads_scale: bool = True
    """one session can use all cores, so start with one and split when that is faster"""
    frames_per_run: int = 1
    """consecutive frames that one start of the renderer should do when they are short"""
    short_seconds: float = 0.0
    """frames shorter than this go in runs"""


@dataclass(frozen=True)
class Published:
    """A file as a renderer's makers publish it, which nodes can install."""

    kind: str
    """tarball, wheel or deb"""
    pattern: str
    """regular expression of its name; the first group is the version"""
    example: str
    program: str = ""
    """glob of the program in it, once unpacked"""


@dataclass(frozen=True)
class Equipment:
    """What a renderer needs installed."""

    remedy: str = ""
    """how to install it on this machine; empty where nothing has to be"""
    distribution: tuple[str, ...] = ()
    """its packages in Debian and Ubuntu"""
    suffices: bool = False
    """what distributions have renders any scene"""
    published: tuple[Published, ...] = ()
    libraries: tuple[str, ...] = ()
    """packages of distributions that its makers' own files link against and don't bring along"""
    source: str = ""
    """where its makers publish a `{version}`, or a `{series}` of them"""
    shared: tuple[Path, ...] = ()
    """folders of files that each installation has of its own"""
    etc_files: tuple[str, ...] = ()
    """files and folders of /etc that it reads"""
    hidden: tuple[str, ...] = ()
    """names of hidden folders that belong to the project that they are in"""
    variables: tuple[str, ...] = ()
    """of the environment: by hand it would read them, here they never reach it"""


@dataclass(frozen=True)
class Abilities:
    """What one build can do, as it says itself."""

    engines: tuple[str, ...] = ()
    denoiser: bool = False
    """OpenImageDenoise is built in"""
    devices: tuple[str, ...] = ("CPU",)
    """kinds that it can render on here: CPU, CUDA, OPTIX, HIP, ONEAPI, METAL"""
    licence: str = ""
    """that its users should know"""


class Launcher(Protocol):
    """Starts the renderer's processes: in a process group of their own, sandboxed, dying with the node."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        pipes: bool = False,
        anew: bool = False,
        traced: bool = False,
    ) -> Popen[bytes]:
        """Start argv with stdout and stderr appended to `log`.

        `anew` forgets what processes before it wrote beside the scene. One that is `traced` renders frames:
        what it opens is what they need.

        With `pipes`, stdin and stdout are pipes (stderr still goes to the log). What it sees follows from the
        work and from `Renderer.installation` alone; the scratch folder is writable and is where TMPDIR points.
        """


class Session(Protocol):
    """A warm renderer with one scene open. Methods raise `SessionFailure`; the process may die at any time."""

    @property
    def keeps(self) -> bool:
        """Whether a frame may be rendered from what was opened for those before it."""

    @property
    def device(self) -> str:
        """The kind of graphics card that it renders on; empty: the processor."""

    def describe(self) -> Scene:
        """What the scene contains, with the settings applied."""

    def render(
        self, frames: Sequence[int], threads: int, folder: Path, log: Path
    ) -> Iterator[Rendered | Failed]:
        """Render frames into `folder`, yielding each as soon as its file is complete, in the order given.

        A frame that fails is yielded as `Failed` and the next one is tried. `threads` is the number of render
        threads; `log` receives the renderer's own output. Rendered.path may have any name inside folder.
        Raises SessionFailure when the session can't go on: all frames not yielded are then undecided.
        """

    def close(self) -> None:
        """End the renderer; never raises, never waits long."""


class SessionFailure(Exception):  # noqa: N818 - a fact that the node turns into Failed or Trouble
    """The session is dead or was never born; says why, classified from exit code and log."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Renderer(Protocol):
    """What the farm must know about a renderer besides rendering; what has a default may be left out."""

    name: str
    suffixes: tuple[str, ...]
    """scene file suffixes, lower case with a dot"""
    settings: frozenset[str]
    """names of the `Settings` that it can honour"""
    formats: frozenset[str]
    equipment: Equipment = Equipment()
    harmless: frozenset[str] = frozenset()
    """options, in lower case, that only say how to render: they name no file, no folder and no program"""
    concurrency: Concurrency = Concurrency()
    writes: bool = False
    """its scenes are programs: they may write files beside themselves, which each node lets them in a layer of
    its own, and only what they open tells what they need"""
    opens_copies: bool = True
    """it renders a copy of the scene (`Work.copies`) as well; else the sandbox must put that in place"""
    names_stay: bool = False
    """what its scenes name by absolute paths can't be found elsewhere (`Work.rebase`)"""

    def builds(self, chosen: str | None = None, *, confined: bool = True) -> list[Build]:
        """Installed builds, best first; only `chosen` (an executable) when given. Empty when there are none.

        Who is asked for a version is kept in bubblewrap where that works, unless the user wants no sandbox.
        """

    def preread(self, scene: Path) -> Preread:
        """Read the scene file itself; raises SceneError when it is no scene of this renderer."""

    def accepts(self, build: Build, preread: Preread) -> str:
        """Empty when the build may open the scene, else the reason why not, for people."""
        return ""

    def installation(self, build: Build) -> list[Path]:
        """The build's own files and folders, as far as they lie outside the system's."""
        return []

    def named(self, scene: Path, settings: Settings) -> list[str]:
        """Absolute paths of files and folders that the user's own options name."""
        return []

    def abilities(self, build: Build) -> Abilities:
        """What a build can do; raises RendererMissingError when it does not answer."""
        return Abilities()

    def sample(
        self, build: Build, folder: Path, *, denoise: bool, device: str, engine: str
    ) -> tuple[Path, Settings]:
        """Write a tiny scene of one frame, with the settings that make it show what is asked for.

        Raises RendererMissingError when the build can't.
        """

    def open(self, work: Work, launch: Launcher) -> Session:
        """Start a session and load the scene; raises SessionFailure."""

    def signs(self, log: str) -> tuple[str, ...]:
        """The lines of a log that tell what went wrong, most telling first, at most ten."""


def renderer(name: str) -> Renderer:
    """The renderer of that name."""
    if name not in RENDERERS:
        raise SceneError(f"There is no renderer {name!r}.", f"Known: {', '.join(RENDERERS)}.")
    return cast("Renderer", importlib.import_module(f"{__name__}.{RENDERERS[name].module}").RENDERER)


def renderers() -> Iterator[Renderer]:
    """All that there are."""
    return map(renderer, RENDERERS)


def scene_suffixes() -> list[str]:
    """Of scenes that need something installed: what people call scenes."""
    return [suffix for each in renderers() if each.equipment.remedy for suffix in each.suffixes]


@functools.cache
def harmless_options() -> frozenset[str]:
    """Names of options that a renderer calls harmless; the others don't know them."""
    return frozenset().union(*(renderer(name).harmless for name in RENDERERS))


def renderer_for(scene: Path) -> Renderer:
    """The renderer that opens this kind of file, by suffix; raises SceneError."""
    for each in renderers():  # no more of them is imported than it takes
        if scene.suffix.lower() in each.suffixes:
            return each
    known = sorted(suffix for each in renderers() for suffix in each.suffixes)
    raise SceneError(f"{scene} is not a scene that renderfarm knows.", f"Scenes end in {', '.join(known)}.")
