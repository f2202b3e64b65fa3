"""Everything that can be said about a job: one table; `checks` gives each value its type.

Flags, `RENDERFARM_*` variables, keys of files, Python's keywords and the keys of nightly lists come from it.
`Options` is a TypedDict because only that gives `**options` types; what else is known of an option stands in
its annotation. Another option is an entry here, and a field of `Settings` or of `Request`.
"""

from __future__ import annotations

import difflib
import enum
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

from renderfarm.errors import InputError
from renderfarm.settings import checks
from renderfarm.settings.checks import anything, nothing, only
from renderfarm.words.frames import ORDERS
from renderfarm.words.renderers import PROGRAMS
from renderfarm.words.request import MISSING, SUFFIXES, Settings

FORMATS = tuple(SUFFIXES)
AFTER = ("keep", "resize-0", "delete-pool")


class Place(enum.Flag):
    """Where an option may be said."""

    COMMAND = enum.auto()
    """as a flag, and as an environment variable"""
    FILE = enum.auto()
    """at the top of renderfarm.toml"""
    PYTHON = enum.auto()
    """as a keyword"""
    LIST = enum.auto()
    """on a shot of a nightly list"""


ALL = Place.COMMAND | Place.FILE | Place.PYTHON | Place.LIST
FLAT = Place.COMMAND | Place.FILE


class Names(enum.Enum):
    """What an option names on this machine; files name it relative to themselves."""

    NOTHING = enum.auto()
    INPUT = enum.auto()
    """a file that is read"""
    OUTPUT = enum.auto()
    """a file or folder that is written"""
    PROGRAM = enum.auto()
    """an executable, or a bare command that is looked for on PATH"""


@dataclass(frozen=True)
class Option:
    """One thing that can be said about a job: how it is checked, written and explained, and who may say it."""

    metavar: str
    """kind of value; empty for a switch"""
    help: str
    check: Callable[[Any], Any] | None = None
    """gives a value its final type, or raises InputError; None: as `words`, a switch or text deserve"""
    harmless: Callable[[object, Path], bool] = anything
    """whether a file in that folder may say this value before its user trusts it"""
    words: tuple[str, ...] = ()
    """all that it can be"""
    short: str = ""
    """short flag"""
    outside: str = ""
    """its name as flag, variable and key of a file, where Python's is another"""
    item: Callable[[Any], Any] | None = None
    """check of one value where there may be several"""
    names: Names = Names.NOTHING
    where: Place = ALL
    name: str = ""
    """in Python; filled in by the table, as is its group"""
    group: type = dict

    def checked(self, value: object) -> Any:
        """The value in its final type; raises InputError."""
        plain = checks.text if self.metavar else checks.switch
        check = self.check or (checks.one_of(self.words, self.name) if self.words else plain)
        return check(value)

    @property
    def setting(self) -> str:
        """The field of `Settings` that it is; empty where it is one of `Request`."""
        return next((name for name in (self.name, self.outside) if name in _SETTINGS), "")

    @property
    def written(self) -> str:
        """Its name in files, from which those of flag and variable follow."""
        return self.outside or self.name

    @property
    def flag(self) -> str:
        """The long flag."""
        return f"--{self.written.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"RENDERFARM_{self.written.upper()}"

    def beside(self, folder: Path, value: object) -> object:
        """A value as a file in that folder means it."""
        if self.names is Names.NOTHING or not isinstance(value, str):
            return value
        bare = self.names is Names.PROGRAM and not checks.names_a_file(value)
        return value if bare else str(folder / checks.user_path(value))

    def files(self, folder: Path, value: object) -> tuple[Path, ...]:
        """What a value lets the farm read or run; empty where it names nothing, or only a command."""
        if self.names not in (Names.INPUT, Names.PROGRAM):
            return ()
        try:
            path = Path(str(self.beside(folder, value)))
        except InputError:
            return ()  # it is refused where it is used
        return (path,) if path.is_absolute() else ()


# A table has a row for each option, and lines as long as that takes.
# fmt: off


class Basics(TypedDict, total=False):
    """What Python's verbs take by position."""

    frames: Annotated[str | None, Option(
        "RANGE", "Frames such as 1-500, 1-500x5 or 1,5,10-20.", checks.frame_range, short="-f", where=FLAT)]
    output: Annotated[str | os.PathLike[str] | None, Option(
        "DIR", "Output folder; default renders/<scene stem>.", checks.output_folder, checks.inside,
        short="-o", names=Names.OUTPUT, where=FLAT)]


class JobOptions(TypedDict, total=False):
    """How a job is cut up, and where it goes."""

    pool: Annotated[str | None, Option(
        "NAME", "Pool that renders; default local, this machine.", harmless=nothing,
        short="-p", where=ALL ^ Place.FILE)]
    chunk: Annotated[int | str | None, Option(
        "N|auto", "Frames per task; default auto, by frame times.", checks.chunk)]
    order: Annotated[str | None, Option("ORDER", "Order of the frames; default sequential.", words=ORDERS)]
    split: Annotated[str | None, Option(
        "none|auto|tiles=CxR|samples=N", "Render each frame in parts, on as many workers; default none.",
        checks.split)]
    workers: Annotated[int | None, Option(
        "N", "Renderers at once on this machine; default by cores and memory.",
        checks.at_least(1, "workers"), checks.few)]
    format: Annotated[str | None, Option("FORMAT", "File format of the frames; default png.", words=FORMATS)]


class SceneOptions(TypedDict, total=False):
    """What the renderer does differently from the scene."""

    resolution: Annotated[tuple[int, int] | str | None, Option(
        "WxH", "Size of the picture in pixels.", checks.resolution)]
    scale: Annotated[int | str | None, Option("PERCENT", "Percent of the resolution.", checks.percent)]
    samples: Annotated[int | None, Option("N", "Samples per pixel.", checks.at_least(1, "samples"))]
    camera: Annotated[str | None, Option("NAME", "Camera to look through.")]
    scene_name: Annotated[str | None, Option("NAME", "Scene inside the file.", outside="scene")]
    view_layer: Annotated[str | None, Option("NAME", "Only this view layer.")]
    engine: Annotated[str | None, Option("NAME", "Render engine, such as CYCLES.")]
    device: Annotated[str | None, Option(
        "auto|cpu|gpu|0,2", "Processor, graphics cards, or some by number; default auto, as the scene says.",
        checks.device)]
    options: Annotated[Mapping[str, str] | None, Option(
        "KEY=VALUE", "Handed to the renderer; repeatable.", checks.key_values, checks.harmless_to_renderers,
        outside="option", item=checks.key_value)]
    trust_scripts: Annotated[bool | None, Option("", "Run the scripts inside the scene.", harmless=only(False))]


class ResultOptions(TypedDict, total=False):
    """Whether there is a video, and where."""

    video: Annotated[str | os.PathLike[str] | None, Option(
        "FILE", "The video: .mp4, .mov, .webm, .mkv or .gif.", checks.video, checks.inside,
        names=Names.OUTPUT, where=ALL ^ Place.LIST)]
    no_video: Annotated[bool | None, Option("", "Make no video.", where=ALL ^ Place.LIST)]


class VideoOptions(TypedDict, total=False):
    """How frames become a video."""

    fps: Annotated[float | None, Option(
        "RATE", "Frames per second of the video; the scene's own by default.", checks.fps)]
    audio: Annotated[str | os.PathLike[str] | None, Option(
        "FILE", "Sound track of the video.", checks.audio, checks.inside, names=Names.INPUT)]
    codec: Annotated[str | None, Option("NAME", "Video codec: h264, h265, av1, prores or vp9.")]
    crf: Annotated[int | None, Option(
        "N", "Quality of the video: smaller is better and bigger.", checks.at_least(0, "crf"))]
    missing: Annotated[str | None, Option(
        "WHAT", "What the video does about gaps; default fail.", words=MISSING)]


class PolicyOptions(TypedDict, total=False):
    """What may go wrong, and what it may cost."""

    retries: Annotated[int | None, Option(
        "N", "Tries after the first one, per frame; default 2.", checks.at_least(0, "retries"))]
    timeout: Annotated[float | str | None, Option(
        "DURATION", "Wall clock per frame: 90, 90s, 10m or 1h30m.", checks.duration)]
    allow_missing: Annotated[bool | None, Option("", "Render although assets are missing.")]
    allow_older: Annotated[bool | None, Option(
        "", "Render although a newer version of the renderer saved the scene.")]
    allow_unbaked: Annotated[bool | None, Option(
        "", "Split what is not baked, though frames follow from those before them.")]
    priority: Annotated[int | None, Option(
        "N", "Whose turn comes first, -1000 to 1000; default 0.", checks.at_least(-1000, "priority", 1000),
        nothing, where=ALL ^ Place.LIST)]
    together: Annotated[bool | None, Option(
        "", "Share this machine with other jobs: don't wait for them.", harmless=only(False),
        where=ALL ^ Place.LIST)]
    after: Annotated[str | None, Option(
        "WHAT", "What becomes of a cloud pool's nodes afterwards.", harmless=nothing, words=AFTER)]
    no_reuse: Annotated[bool | None, Option("", "Render frames again that were rendered before.")]


class RendererOptions(TypedDict, total=False):
    """The programs that render, and how they are shut in."""

    # Of each renderer the table makes an option; these two have types as well.
    blender: str | os.PathLike[str] | None
    povray: str | os.PathLike[str] | None
    sandbox: Annotated[str | None, Option(
        "WHEN", "Run renderers inside bubblewrap; default auto.", checks.sandbox, only("require"),
        words=checks.SANDBOXES)]


class Options(
    JobOptions, SceneOptions, ResultOptions, VideoOptions, PolicyOptions, RendererOptions, total=False
):
    """Everything that can be said about a job besides scene, frames and output folder; None is the default."""


class Previews(TypedDict, total=False):
    """What a command does before the job itself."""

    preview: Annotated[int | None, Option(
        "PERCENT", "First all frames at so little of the size, coarse to fine, with a film.",
        checks.percent, where=FLAT)]


class NewsOptions(TypedDict, total=False):
    """Whom a command tells how the job went; never kept with it, as its folder travels."""

    notify: Annotated[str | None, Option(
        "COMMAND", "Gets the job as JSON on standard input; `desktop` shows a message.",
        harmless=nothing, where=FLAT)]
    notify_url: Annotated[str | None, Option(
        "URL", "The job is posted there as JSON.", checks.to_url, nothing, where=FLAT)]


# fmt: on


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, each in its final type; raises InputError, TypeError for unknown names."""
    known = [option.name for option in options_of(Place.PYTHON)]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise TypeError(f"There is no option {unknown[0]!r}. {nearest(unknown[0], known)}".strip())
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("video") and given.get("no_video"):
        raise InputError("A video file and no video were both asked for.", "Leave one of the two out.")
    return {name: OPTIONS[name].checked(value) for name, value in given.items()}


def options_of(place: Place, *groups: type) -> Iterator[Option]:
    """The options that may be said at a place and are of these groups, in the table's order."""
    for option in OPTIONS.values():
        if place in option.where and (not groups or option.group in groups):
            yield option


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?`, or nothing when no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


def _table() -> dict[str, Option]:
    """The options by their names in Python; each renderer's program is one, before how it is shut in."""
    found: dict[str, Option] = {}
    for group in GROUPS:
        if group is RendererOptions:
            for name, title in PROGRAMS.items():
                text = f"The {title} to use."
                found[name] = Option("PATH", text, checks.executable, nothing, names=Names.PROGRAM, group=group)
        for name, hint in typing.get_type_hints(group, include_extras=True).items():
            if hasattr(hint, "__metadata__"):
                found[name] = replace(hint.__metadata__[0], group=group)
    return {name: replace(option, name=name) for name, option in found.items()}


_SETTINGS = {each.name for each in fields(Settings)} - {"frames", "section"}
"""fields that options are; the frames there are those that a clock runs over"""
GROUPS: dict[type, str] = {
    Basics: "Job",
    JobOptions: "Job",
    SceneOptions: "Scene",
    ResultOptions: "Video",
    VideoOptions: "Video",
    PolicyOptions: "Trouble and cost",
    Previews: "Video",
    RendererOptions: "Renderers",
    NewsOptions: "When it is over",
}
"""Options that commands take together, with the heading of their help"""
OPTIONS = _table()
