"""Everything that can be said about a job: one table, and the checks that give each value its type.

Flags, `RENDERFARM_*` variables, keys of files, Python's keywords and the keys of nightly lists come from it.
`Options` is a TypedDict because only that gives `**options` types; what else is known of an option stands in
its annotation. Another option is an entry here, and a field of `model.Settings` or of `model.Request`.
"""

from __future__ import annotations

import difflib
import enum
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict
from urllib.parse import urlsplit

from renderfarm.errors import InputError
from renderfarm.words.renderers import PROGRAMS

if TYPE_CHECKING:
    from renderfarm.words.model import Sandbox

FORMATS = ("png", "exr", "jpeg", "tiff")
ORDERS = ("sequential", "progressive")
AFTER = ("keep", "resize-0", "delete-pool")
MISSING = ("fail", "hold", "slate", "skip")
SANDBOXES = ("require", "auto", "off")
MOST_PARTS = 4096
MOST_PRIORITY = 1000
MOST_WORKERS_UNASKED = 64
"""that a project's file may start"""
LARGEST = 2**31 - 1
"""of whole numbers"""
LONGEST_SECONDS = 1e9
LONGEST_NAME_BYTES, LONGEST_PATH_BYTES = 255, 4096
"""limits.h of Linux: NAME_MAX and PATH_MAX"""
SHOWN_CHARACTERS = 60
"""of a name that is too long"""

_RESOLUTION = re.compile(r"(\d+)\s*[xX×*]\s*(\d+)")
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")
_TILES = re.compile(r"tiles=([1-9]\d{0,3})x([1-9]\d{0,3})")
_PLAIN_KEY = re.compile(r"[A-Za-z_]+")


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


class Group(enum.Enum):
    """Options that commands take together."""

    JOB = enum.auto()
    SCENE = enum.auto()
    RESULT = enum.auto()
    VIDEO = enum.auto()
    POLICY = enum.auto()
    RENDERER = enum.auto()
    NEWS = enum.auto()


def anything(value: object, folder: Path) -> bool:
    """The verdict on an option that only says how to render."""
    return True


def nothing(value: object, folder: Path) -> bool:
    """The verdict on an option that gives power over this machine, or costs money."""
    return False


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

    group: Group
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
    setting: str = ""
    """the field of `model.Settings` that it is; the others are fields of `model.Request`"""
    item: Callable[[Any], Any] | None = None
    """check of one value where there may be several"""
    names: Names = Names.NOTHING
    where: Place = ALL
    name: str = ""
    """in Python; filled in by the table"""

    def checked(self, value: object) -> Any:
        """The value in its final type; raises InputError."""
        check = self.check or (
            one_of(self.words, self.name) if self.words else text if self.metavar else switch
        )
        return check(value)

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
        bare = self.names is Names.PROGRAM and not names_a_file(value)
        return value if bare else str(folder / user_path(value))

    def files(self, folder: Path, value: object) -> tuple[Path, ...]:
        """What a value lets the farm read or run; empty where it names nothing, or only a command."""
        if self.names not in (Names.INPUT, Names.PROGRAM):
            return ()
        try:
            path = Path(str(self.beside(folder, value)))
        except InputError:
            return ()  # it is refused where it is used
        return (path,) if path.is_absolute() else ()


class Basics(TypedDict, total=False):
    """What Python's verbs take by position."""

    frames: Annotated[
        str | None,
        Option(
            Group.JOB,
            "RANGE",
            "Frames such as 1-500, 1-500x5 or 1,5,10-20.",
            frame_range,
            short="-f",
            where=FLAT,
        ),
    ]
    output: Annotated[
        str | os.PathLike[str] | None,
        Option(
            Group.JOB,
            "DIR",
            "Output folder; default renders/<scene stem>.",
            output_folder,
            inside,
            short="-o",
            names=Names.OUTPUT,
            where=FLAT,
        ),
    ]


class Options(TypedDict, total=False):
    """Everything that can be said about a job besides scene, frames and output folder; None is the default."""

    pool: Annotated[
        str | None,
        Option(
            Group.JOB,
            "NAME",
            "Pool that renders; default local, this machine.",
            harmless=nothing,
            short="-p",
            where=ALL ^ Place.FILE,
        ),
    ]
    chunk: Annotated[
        int | str | None, Option(Group.JOB, "N|auto", "Frames per task; default auto, by frame times.", chunk)
    ]
    order: Annotated[
        str | None, Option(Group.JOB, "ORDER", "Order of the frames; default sequential.", words=ORDERS)
    ]
    split: Annotated[
        str | None,
        Option(
            Group.JOB,
            "none|tiles=CxR",
            "Render each frame in parts, on as many workers; default none.",
            split,
        ),
    ]
    workers: Annotated[
        int | None,
        Option(
            Group.JOB,
            "N",
            "Renderers at once on this machine; default by cores and memory.",
            at_least(1, "workers"),
            few,
        ),
    ]
    format: Annotated[
        str | None,
        Option(Group.JOB, "FORMAT", "File format of the frames; default png.", words=FORMATS, setting="format"),
    ]
    resolution: Annotated[
        tuple[int, int] | str | None,
        Option(Group.SCENE, "WxH", "Size of the picture in pixels.", resolution, setting="resolution"),
    ]
    scale: Annotated[
        int | str | None, Option(Group.SCENE, "PERCENT", "Percent of the resolution.", percent, setting="scale")
    ]
    samples: Annotated[
        int | None, Option(Group.SCENE, "N", "Samples per pixel.", at_least(1, "samples"), setting="samples")
    ]
    camera: Annotated[str | None, Option(Group.SCENE, "NAME", "Camera to look through.", setting="camera")]
    scene_name: Annotated[
        str | None, Option(Group.SCENE, "NAME", "Scene inside the file.", outside="scene", setting="scene")
    ]
    view_layer: Annotated[
        str | None, Option(Group.SCENE, "NAME", "Only this view layer.", setting="view_layer")
    ]
    engine: Annotated[
        str | None, Option(Group.SCENE, "NAME", "Render engine, such as CYCLES.", setting="engine")
    ]
    options: Annotated[
        Mapping[str, str] | None,
        Option(
            Group.SCENE,
            "KEY=VALUE",
            "Handed to the renderer; repeatable.",
            key_values,
            harmless_to_renderers,
            outside="option",
            setting="options",
            item=key_value,
        ),
    ]
    trust_scripts: Annotated[
        bool | None,
        Option(
            Group.SCENE, "", "Run the scripts inside the scene.", harmless=only(False), setting="trust_scripts"
        ),
    ]
    video: Annotated[
        str | os.PathLike[str] | None,
        Option(
            Group.RESULT,
            "FILE",
            "The video: .mp4, .mov, .webm, .mkv or .gif.",
            video,
            inside,
            names=Names.OUTPUT,
            where=ALL ^ Place.LIST,
        ),
    ]
    no_video: Annotated[bool | None, Option(Group.RESULT, "", "Make no video.", where=ALL ^ Place.LIST)]
    fps: Annotated[
        float | None,
        Option(Group.VIDEO, "RATE", "Frames per second of the video; the scene's own by default.", fps),
    ]
    audio: Annotated[
        str | os.PathLike[str] | None,
        Option(Group.VIDEO, "FILE", "Sound track of the video.", audio, inside, names=Names.INPUT),
    ]
    codec: Annotated[str | None, Option(Group.VIDEO, "NAME", "Video codec: h264, h265, av1, prores or vp9.")]
    crf: Annotated[
        int | None,
        Option(Group.VIDEO, "N", "Quality of the video: smaller is better and bigger.", at_least(0, "crf")),
    ]
    missing: Annotated[
        str | None, Option(Group.VIDEO, "WHAT", "What the video does about gaps; default fail.", words=MISSING)
    ]
    retries: Annotated[
        int | None,
        Option(Group.POLICY, "N", "Tries after the first one, per frame; default 2.", at_least(0, "retries")),
    ]
    timeout: Annotated[
        float | str | None,
        Option(Group.POLICY, "DURATION", "Wall clock per frame: 90, 90s, 10m or 1h30m.", duration),
    ]
    allow_missing: Annotated[bool | None, Option(Group.POLICY, "", "Render although assets are missing.")]
    allow_older: Annotated[
        bool | None,
        Option(Group.POLICY, "", "Render although a newer version of the renderer saved the scene."),
    ]
    allow_unbaked: Annotated[
        bool | None,
        Option(
            Group.POLICY,
            "",
            "Split what is not baked, though frames follow from those before them.",
            setting="allow_unbaked",
        ),
    ]
    priority: Annotated[
        int | None,
        Option(
            Group.POLICY,
            "N",
            "Whose turn comes first, -1000 to 1000; default 0.",
            priority,
            nothing,
            where=ALL ^ Place.LIST,
        ),
    ]
    together: Annotated[
        bool | None,
        Option(
            Group.POLICY,
            "",
            "Share this machine with other jobs: don't wait for them.",
            harmless=only(False),
            where=ALL ^ Place.LIST,
        ),
    ]
    after: Annotated[
        str | None,
        Option(
            Group.POLICY,
            "WHAT",
            "What becomes of a cloud pool's nodes afterwards.",
            harmless=nothing,
            words=AFTER,
        ),
    ]
    no_reuse: Annotated[bool | None, Option(Group.POLICY, "", "Render frames again that were rendered before.")]
    # Of each renderer the table makes an option; these two have types as well.
    blender: str | os.PathLike[str] | None
    povray: str | os.PathLike[str] | None
    sandbox: Annotated[
        str | None,
        Option(
            Group.RENDERER,
            "WHEN",
            "Run renderers inside bubblewrap; default auto.",
            sandbox,
            only("require"),
            words=SANDBOXES,
        ),
    ]


class Asides(TypedDict, total=False):
    """What a command does besides the job; never kept with it, as its folder travels."""

    preview: Annotated[
        int | None,
        Option(
            Group.RESULT,
            "PERCENT",
            "First all frames at so little of the size, coarse to fine, with a film.",
            percent,
            where=FLAT,
        ),
    ]
    notify: Annotated[
        str | None,
        Option(
            Group.NEWS,
            "COMMAND",
            "Gets the job as JSON on standard input; `desktop` shows a message.",
            harmless=nothing,
            where=FLAT,
        ),
    ]
    notify_url: Annotated[
        str | None,
        Option(Group.NEWS, "URL", "The job is posted there as JSON.", to_url, nothing, where=FLAT),
    ]


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


def options_of(place: Place | None = None, *groups: Group) -> Iterator[Option]:
    """The options that may be said at a place and are of these groups, in the table's order."""
    for option in OPTIONS.values():
        if (place is None or place in option.where) and (not groups or option.group in groups):
            yield option


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?`, or nothing when no known word is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""


# What a file that nobody trusts may say


def only(word: object) -> Callable[[object, Path], bool]:
    """The verdict on an option of which one value takes power away."""
    return lambda value, folder: value == word and type(value) is type(word)


def few(value: object, folder: Path) -> bool:
    """Not so many workers that they would bring a machine down."""
    return isinstance(value, int) and value <= MOST_WORKERS_UNASKED


def inside(value: object, folder: Path) -> bool:
    """A path below the folder, wherever links lead, and not among hidden files; a home is no project."""
    from renderfarm.job.home import home_folder

    root, home = folder.resolve(), home_folder().resolve()
    if root == home or root in home.parents:
        return False
    try:
        below = (root / user_path(value)).resolve().relative_to(root)
    except (InputError, OSError, RuntimeError, ValueError):
        return False
    return not any(part.startswith(".") for part in below.parts)


def harmless_to_renderers(value: object, folder: Path) -> bool:
    """Options that some renderer calls harmless; another one that is handed them doesn't know them."""
    from renderfarm.renderers import harmless_options

    try:
        given = key_values(value)
    except InputError:
        return True  # it is refused where it is used
    known = harmless_options()
    return all(
        _PLAIN_KEY.fullmatch(key) and key.lower() in known and item.isprintable() for key, item in given.items()
    )


# Checks


def text(value: object) -> str:
    """A name."""
    if not isinstance(value, str):
        raise InputError(f"{value!r} is not text.")
    return value


def switch(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise InputError(f"{value!r} is neither true nor false.")
    return value


def frame_range(value: object) -> str:
    """A frame range as it was written, once it has been understood; raises FramesError."""
    from renderfarm.words import frames

    frames.parse(str(value))
    return str(value).strip()


def resolution(value: object) -> tuple[int, int]:
    """Width and height from "1920x1080" or a pair."""
    pair: Sequence[object] = ()
    if isinstance(value, str) and (match := _RESOLUTION.fullmatch(value.strip())):
        pair = match.groups()
    elif isinstance(value, (tuple, list)) and len(value) == 2:
        pair = value
    try:
        width, height = (int(str(number)) for number in pair)
    except ValueError:
        raise InputError(f"{value!r} is not a resolution.", "Resolutions read like 1920x1080.") from None
    if not (0 < width <= 65536 and 0 < height <= 65536):
        raise InputError(f"The resolution {width}x{height} is not between 1x1 and 65536x65536.")
    return width, height


def percent(value: object) -> int:
    """A whole percentage from 1 to 32767 (Blender's limit), `50` or `50%`."""
    written = str(value).strip().removesuffix("%").strip()
    if not re.fullmatch(r"0*[0-9]{1,5}", written) or not 1 <= int(written[-5:]) <= 32767:
        raise InputError(f"{value!r} is not a percentage.", "Write 50 or 50% for half the size.")
    return int(written[-5:])


def duration(value: object) -> float:
    """Seconds from a number, `90`, `90s`, `10m` or `1h30m`."""
    written = str(value).strip().lower().replace(" ", "")
    match = _DURATION.fullmatch(f"{written}s" if re.fullmatch(_NUMBER, written) else written)
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total = hours * 3600 + minutes * 60 + seconds
    if not 0 < total <= LONGEST_SECONDS or isinstance(value, bool):
        raise InputError(f"{value!r} is not a duration.", "Durations read like 90, 90s, 10m or 1h30m.")
    return total


def chunk(value: object) -> int | None:
    """Frames per task; None for `auto`."""
    return None if str(value).strip().lower() == "auto" else at_least(1, "chunk")(value)


def split(value: object) -> str | None:
    """`tiles=3x2` in columns and rows; None for `none`."""
    written = str(value).strip().lower()
    if written == "none":
        return None
    found = _TILES.fullmatch(written)
    if not found or not 1 < int(found[1]) * int(found[2]) <= MOST_PARTS:
        message = f"{value!r} is no way to split a frame."
        raise InputError(message, f"Write none, or columns and rows: tiles=3x2, at most {MOST_PARTS:,} tiles.")
    return f"tiles={int(found[1])}x{int(found[2])}"


def output_folder(value: object) -> str:
    """The absolute path of a folder, wherever links lead."""
    try:
        return str(readable_name(user_path(value).resolve()))
    except (OSError, RuntimeError) as error:
        raise InputError(f"The folder {value} can't be found: {error}.", "Name another one.") from error


def video(value: object) -> str:
    """The absolute path of a video file whose suffix names a container that can be written."""
    from renderfarm.pictures import encoding

    path = absolute(value)
    encoding.choose(Path(path))
    return path


def to_url(value: object) -> str:
    """An http or https address."""
    parts = urlsplit(str(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{value!r} is no http or https address.")
    return str(value)


def audio(value: object) -> str:
    """The absolute path of an existing sound file."""
    path = absolute(value)
    if not is_file(Path(path)):
        raise InputError(f"There is no audio file {value}.", "Check the path after --audio.")
    return path


def executable(value: object) -> str:
    """A renderer's executable: a bare command stays, a path becomes absolute."""
    return absolute(value) if names_a_file(value) else str(user_path(value))


def names_a_file(value: object) -> bool:
    """Whether a program is named by a path, and not looked for on PATH."""
    return os.sep in str(value) or str(value).startswith("~")


def key_values(value: object) -> dict[str, str]:
    """Renderer options from a mapping or from `KEY=VALUE` texts."""
    if isinstance(value, Mapping):
        return {str(key): str(item) for key, item in value.items()}
    items = value if isinstance(value, (list, tuple)) else (value,)
    return dict(key_value(item) for item in items)


def key_value(value: object) -> tuple[str, str]:
    """One `KEY=VALUE`; the value may contain more equals signs."""
    if isinstance(value, tuple) and len(value) == 2:
        return str(value[0]), str(value[1])
    key, equals, rest = str(value).partition("=")
    if not equals or not key.strip():
        raise InputError(f"{value!r} is not KEY=VALUE.", "Write --option KEY=VALUE, once per option.")
    return key.strip(), rest


def fps(value: object) -> float:
    """Frames per second of a video."""
    from renderfarm.pictures import encoding

    try:
        number = float(str(value))
    except ValueError:
        raise InputError(f"{value!r} is not a frame rate.", "Write a number like 24, 25 or 29.97.") from None
    encoding.rate(number)
    return number


def priority(value: object) -> int:
    """A whole number from -1000 to 1000 (Azure Batch's range)."""
    try:
        number = int(str(value))
    except ValueError:
        number = MOST_PRIORITY + 1
    if abs(number) > MOST_PRIORITY:
        raise InputError(f"{value!r} is no priority.", "Write a whole number from -1000 to 1000.")
    return number


def at_least(least: int, name: str) -> Callable[[object], int]:
    """A check for whole numbers."""

    def check(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise InputError(f"{value!r} is not a whole number for {name}.") from None
        if number < least:
            raise InputError(f"{name} must be at least {least}, not {number}.")
        if number > LARGEST:
            raise InputError(f"{name} must be at most {LARGEST}, not {number}.")
        return number

    return check


def one_of(words: Sequence[str], name: str) -> Callable[[object], str]:
    """A check for words."""

    def check(value: object) -> str:
        if str(value) not in words:
            raise InputError(f"{name} can't be {str(value)!r}.", f"Choose one of {', '.join(words)}.")
        return str(value)

    return check


def sandbox(value: object) -> Sandbox:
    """Whether renderers run inside bubblewrap."""
    from renderfarm.words.model import Sandbox

    return Sandbox(one_of(SANDBOXES, "sandbox")(value))


def absolute(value: object) -> str:
    """The absolute path, with a link at its end kept as it is."""
    path = user_path(value)
    try:
        return str(readable_name(path.parent.resolve() / path.name))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} can't be found: {error}.", "Check the path.") from error


def user_path(value: object) -> Path:
    """A path as it was written, with `~` taken apart; raises InputError for what can name no file."""
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(f"{value!r} is not a path.")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        message = f"There is no user whose home {value} could be in."
        raise InputError(message, "Write the path in full.") from None
    if "\0" in os.fspath(path):
        raise InputError(f"{str(value)!r} is not a path.")
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > LONGEST_NAME_BYTES or len(os.fsencode(path.absolute())) >= LONGEST_PATH_BYTES:
        raise InputError(f"{str(value)[:SHOWN_CHARACTERS]}… is longer than the name of any file.")
    return path


def readable_name(path: Path) -> Path:
    """The path, if it is text: reports, videos and the farm's memory can't name it otherwise."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"The name of {path} is not UTF-8.", "Rename the file or folder.") from None
    return path


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _table() -> dict[str, Option]:
    """The options by their names in Python; each renderer's program is one, before how it is shut in."""
    hints = {**typing.get_type_hints(Basics, include_extras=True)}
    hints |= typing.get_type_hints(Options, include_extras=True)
    hints |= typing.get_type_hints(Asides, include_extras=True)
    found = {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}
    for name, title in PROGRAMS.items():
        help = f"The {title} to use."
        found[name] = Option(Group.RENDERER, "PATH", help, executable, nothing, names=Names.PROGRAM)
    for name in ("sandbox", "notify", "notify_url"):
        found[name] = found.pop(name)
    return {name: replace(option, name=name) for name, option in found.items()}


OPTIONS = _table()
