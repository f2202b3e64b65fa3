"""What values of options may be: the checks that give each its type, and what a stranger's file may say."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from renderfarm.errors import InputError
from renderfarm.words import frames
from renderfarm.words.request import Sandbox

SANDBOXES = tuple(map(str, Sandbox))
MOST_PARTS = 4096
AUTO = "auto"
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
_SPLIT = re.compile(r"tiles=([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?|samples=([1-9]\d{0,3})")
_CARDS = re.compile(r"\d{1,3}( *, *\d{1,3})*")
_PLAIN_KEY = re.compile(r"[A-Za-z_]+")


# The type of each value


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
    written = str(value).strip()
    if not frames.is_plain(written):
        frames.parse(written)
    return written


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


def days(value: object) -> float:
    """So many days, as a number or with `d`."""
    match = re.fullmatch(r"([0-9]{1,5}(?:\.[0-9]{1,3})?) *d?", str(value).strip())
    if not match:
        raise InputError(f"{value!r} is not a number of days.", "Write 30 or 30d.")
    return float(match[1])


def chunk(value: object) -> int | None:
    """Frames per task; None for `auto`."""
    return None if str(value).strip().lower() == "auto" else at_least(1, "chunk")(value)


def device(value: object) -> str | None:
    """`cpu`, `gpu` or numbers of graphics cards, each once; None for `auto`."""
    written = str(value).strip().lower()
    if written in (AUTO, "cpu", "gpu"):
        return None if written == AUTO else written
    if not _CARDS.fullmatch(written):
        raise InputError(f"device can't be {value!r}.", "Write auto, cpu, gpu, or numbers such as 0,2.")
    return ",".join(map(str, sorted({int(number) for number in written.split(",")})))


def split(value: object) -> str | None:
    """`tiles=3x2` in columns and rows, `tiles=6`, `samples=4` in ranges, or `auto`; None for `none`."""
    written = str(value).strip().lower()
    if written == "none":
        return None
    if written == AUTO:
        return AUTO
    found = _SPLIT.fullmatch(written)
    if not found or not 1 < math.prod(map(int, filter(None, found.groups()))) <= MOST_PARTS:
        message = f"{value!r} is no way to split a frame."
        ways = "none, auto, tiles (tiles=6), columns and rows (tiles=3x2), or ranges (samples=4)"
        raise InputError(message, f"Write {ways}, at most {MOST_PARTS:,} parts.")
    return written


def output_folder(value: object) -> str:
    """The absolute path of a folder, wherever links lead."""
    try:
        return str(readable_name(user_path(value).resolve()))
    except (OSError, RuntimeError) as error:
        raise InputError(f"The folder {value} can't be found: {error}.", "Name another one.") from error


def video(value: object) -> str:
    """The absolute path of a video file whose suffix names a container that can be written."""
    from renderfarm.pictures import codecs

    path = absolute(value)
    codecs.choose(Path(path))
    return path


def to_url(value: object) -> str:
    """An http or https address."""
    address = str(value)
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not address.isascii() or any(character.isspace() for character in address):
        raise InputError(f"{value!r} is no http or https address.", "It has no spaces: write %20 for them.")
    return address


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
    from renderfarm.pictures import codecs

    try:
        number = float(str(value))
    except ValueError:
        raise InputError(f"{value!r} is not a frame rate.", "Write a number like 24, 25 or 29.97.") from None
    codecs.rate(number)
    return number


def at_least(least: int, name: str, most: int = LARGEST) -> Callable[[object], int]:
    """A check for whole numbers."""

    def check(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise InputError(f"{value!r} is not a whole number for {name}.") from None
        if not least <= number <= most:
            bound = f"least {least}" if number < least else f"most {most}"
            raise InputError(f"{name} must be at {bound}, not {number}.")
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


# What a file that nobody trusts may say


def anything(value: object, folder: Path) -> bool:
    """The verdict on an option that only says how to render."""
    return True


def nothing(value: object, folder: Path) -> bool:
    """The verdict on an option that gives power over this machine, or costs money."""
    return False


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
