"""From loose values to a `Request`: the one place that checks what users ask for.

The command line and the Python API take the same options under the same names, so both check them here
and a wrong value reads the same everywhere. Nothing heavy is imported; the scene is not opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from renderfarm.errors import InputError, SceneError

if TYPE_CHECKING:
    from typing import Unpack

    from renderfarm.model import Request, Settings

FORMATS = ("png", "exr", "jpeg", "tiff")
ORDERS = ("sequential", "progressive")
AFTER = ("keep", "resize-0", "delete-pool")
"""what may become of a cloud pool when a job has ended"""
MOST_PRIORITY = 1000
MISSING = ("fail", "hold", "slate", "skip")
SANDBOXES = ("require", "auto", "off")
_RESOLUTION = re.compile(r"(\d+)\s*[xX×*]\s*(\d+)")
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?")


class Options(TypedDict, total=False):
    """Everything that can be said about a job besides scene, frames and output folder; None is the default."""

    pool: str | None
    """name of a pool in the configuration; default `local`, this machine"""
    chunk: int | str | None
    """frames per task, or "auto" """
    order: str | None
    """`sequential` or `progressive` (first, last, middle, then ever finer)"""
    after: str | None
    """of a cloud pool, when the job has ended: `keep`, `resize-0` or `delete-pool`"""
    priority: int | None
    """among the jobs of a cloud pool, -1000 to 1000"""
    workers: int | None
    """sessions at once; default chosen from cores, memory and frame times"""
    format: str | None
    """`png`, `exr`, `jpeg` or `tiff`"""
    resolution: tuple[int, int] | str | None
    """pixels, (1920, 1080) or "1920x1080" """
    scale: int | str | None
    """percent of the resolution"""
    samples: int | None
    camera: str | None
    scene_name: str | None
    """a scene inside the file, by name"""
    view_layer: str | None
    engine: str | None
    fps: float | None
    """frames per second of the video"""
    video: str | os.PathLike[str] | None
    """.mp4, .mov, .webm, .mkv or .gif"""
    no_video: bool | None
    audio: str | os.PathLike[str] | None
    codec: str | None
    crf: int | None
    missing: str | None
    """what the video does about gaps: `fail`, `hold`, `slate` or `skip`"""
    retries: int | None
    """tries after the first one, per frame"""
    timeout: float | str | None
    """wall clock per frame: seconds, or "90s", "10m", "1h30m" """
    allow_missing: bool | None
    """render although assets are missing"""
    trust_scripts: bool | None
    """run the scripts inside the scene"""
    sandbox: str | None
    """`require`, `auto` or `off`"""
    no_reuse: bool | None
    """render frames again that were rendered before"""
    blender: str | os.PathLike[str] | None
    povray: str | os.PathLike[str] | None
    options: Mapping[str, str] | None
    """handed to the renderer as they are"""


def build(
    scene: str | os.PathLike[str],
    frames: str | None = None,
    output: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Request:
    """The job that these options describe, with absolute paths; output defaults to `renders/<scene stem>` here.

    Raises InputError (SceneError, FramesError) for a value that makes no sense, TypeError for an unknown name.
    """
    from renderfarm import config, encoding
    from renderfarm.model import Request

    path = scene_path(scene)
    folder = _readable_name(Path(output or Path("renders", path.stem)).expanduser().resolve())
    given = checked(options)
    if not given.get("no_video"):
        encoding.choose(Path(given.get("video", "video.mp4")), given.get("codec"), given.get("crf"))
    plain = {name: given[name] for name in _PLAIN if name in given}
    return Request(
        scene=str(path),
        output=str(folder),
        frames=frame_range(frames) if frames is not None else None,
        pool=config.load().pool(given.get("pool")).name,
        settings=settings(given),
        no_video=given.get("no_video", False),
        reuse=not given.get("no_reuse", False),
        **plain,
    )


def settings(given: Mapping[str, Any]) -> Settings:
    """The part of checked options that the renderer must honour."""
    from renderfarm.model import Settings

    values = {_SETTINGS[name]: value for name, value in given.items() if name in _SETTINGS}
    return Settings(**values)


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, each in its final type; raises InputError, TypeError for unknown names."""
    from renderfarm.config import nearest

    unknown = sorted(options.keys() - _CHECKS.keys())
    if unknown:
        raise TypeError(f"There is no option {unknown[0]!r}. {nearest(unknown[0], _CHECKS)}".strip())
    given = {name: value for name, value in options.items() if value is not None}
    if given.get("video") and given.get("no_video"):
        raise InputError("A video file and no video were both asked for.", "Leave one of the two out.")
    return {name: _CHECKS[name](value) for name, value in given.items()}


def scene_path(scene: str | os.PathLike[str]) -> Path:
    """The absolute path of a readable file; links to the scene itself are kept, as assets lie beside them.

    Raises SceneError when it is missing, a folder, not a regular file or not readable.
    """
    path = Path(scene).expanduser()
    try:
        absolute_path = path.parent.resolve() / path.name
        mode = absolute_path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise SceneError(f"There is no file {path}.", _neighbour(path)) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise SceneError(f"{path} can't be read: {error}.", "Check the path and its permissions.") from error
    if stat.S_ISDIR(mode):
        raise SceneError(f"{path} is a folder, not a scene.", _scenes_in(absolute_path))
    if not stat.S_ISREG(mode):
        raise SceneError(f"{path} is not a regular file.", "Copy the scene into a file first.")
    if not os.access(absolute_path, os.R_OK):
        raise SceneError(f"{path} can't be read: permission denied.", "See its permissions with ls -l.")
    return _readable_name(absolute_path)


def _readable_name(path: Path) -> Path:
    """The path, if it is text: reports, videos and the farm's memory can't name it otherwise."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        raise SceneError(f"The name of {path} is not UTF-8.", "Rename the file or folder.") from None
    return path


def _scenes_in(folder: Path) -> str:
    try:
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in (".blend", ".pov", ".ini"))
    except OSError:
        names = []
    return f"Name the file in it: {', '.join(names[:5])}." if names else "Name the scene file itself."


def _neighbour(path: Path) -> str:
    from renderfarm.config import nearest

    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"There is no folder {path.parent} to look in."
    return nearest(path.name, names) or "Check the path."


def frame_range(text: object) -> str:
    """A frame range as it was written, once it has been understood; raises FramesError."""
    from renderfarm import frames

    frames.parse(str(text))
    return str(text).strip()


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
    text = str(value).strip().removesuffix("%").strip()
    if not text.isdecimal() or not 1 <= int(text) <= 32767:
        raise InputError(f"{value!r} is not a percentage.", "Write 50 or 50% for half the size.")
    return int(text)


def duration(value: object) -> float:
    """Seconds from a number, `90`, `90s`, `10m` or `1h30m`."""
    text = str(value).strip().lower().replace(" ", "")
    match = _DURATION.fullmatch(f"{text}s" if re.fullmatch(_NUMBER, text) else text)
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0 or isinstance(value, bool):
        raise InputError(f"{value!r} is not a duration.", "Durations read like 90, 90s, 10m or 1h30m.")
    return total


def chunk(value: object) -> int | None:
    """Frames per task; None for `auto`."""
    return None if str(value).strip().lower() == "auto" else _at_least(1, "chunk")(value)


def video(value: object) -> str:
    """The absolute path of a video file whose suffix names a container that can be written."""
    from renderfarm import encoding

    path = absolute(value)
    encoding.choose(Path(path))
    return path


def audio(value: object) -> str:
    """The absolute path of an existing sound file."""
    path = absolute(value)
    if not Path(path).is_file():
        raise InputError(f"There is no audio file {value}.", "Check the path after --audio.")
    return path


def executable(value: object) -> str:
    """A renderer's executable: a bare command stays, a path becomes absolute."""
    text = str(value)
    return absolute(text) if os.sep in text or text.startswith("~") else text


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
    key, equals, text = str(value).partition("=")
    if not equals or not key.strip():
        raise InputError(f"{value!r} is not KEY=VALUE.", "Write --option KEY=VALUE, once per option.")
    return key.strip(), text


def absolute(value: object) -> str:
    """The absolute path, with a link at its end kept as it is."""
    path = Path(str(value)).expanduser()
    return str(path.parent.resolve() / path.name)


def _at_least(least: int, name: str) -> Callable[[object], int]:
    def check(value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            raise InputError(f"{value!r} is not a whole number for {name}.") from None
        if number < least:
            raise InputError(f"{name} must be at least {least}, not {number}.")
        return number

    return check


def _one_of(words: Sequence[str], name: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if str(value) not in words:
            raise InputError(f"{name} can't be {str(value)!r}.", f"Choose one of {', '.join(words)}.")
        return str(value)

    return check


def _sandbox(value: object) -> object:
    from renderfarm.model import Sandbox

    return Sandbox(_one_of(SANDBOXES, "sandbox")(value))


def fps(value: object) -> float:
    """Frames per second of a video."""
    from renderfarm import encoding

    try:
        number = float(str(value))
    except ValueError:
        raise InputError(f"{value!r} is not a frame rate.", "Write a number like 24, 25 or 29.97.") from None
    encoding.rate(number)
    return number


def priority(value: object) -> int:
    """A whole number from -1000 to 1000 (Azure Batch's range); raises InputError."""
    try:
        number = int(str(value))
    except ValueError:
        number = MOST_PRIORITY + 1
    if abs(number) > MOST_PRIORITY:
        raise InputError(f"{value!r} is no priority.", "Write a whole number from -1000 to 1000.")
    return number


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "pool": str,
    "chunk": chunk,
    "order": _one_of(ORDERS, "order"),
    "workers": _at_least(1, "workers"),
    "after": _one_of(AFTER, "after"),
    "priority": priority,
    "format": _one_of(FORMATS, "format"),
    "resolution": resolution,
    "scale": percent,
    "samples": _at_least(1, "samples"),
    "camera": str,
    "scene_name": str,
    "view_layer": str,
    "engine": str,
    "fps": fps,
    "video": video,
    "no_video": bool,
    "audio": audio,
    "codec": str,
    "crf": _at_least(0, "crf"),
    "missing": _one_of(MISSING, "missing"),
    "retries": _at_least(0, "retries"),
    "timeout": duration,
    "allow_missing": bool,
    "trust_scripts": bool,
    "sandbox": _sandbox,
    "no_reuse": bool,
    "blender": executable,
    "povray": executable,
    "options": key_values,
}
_SETTINGS = {
    "resolution": "resolution",
    "scale": "scale",
    "samples": "samples",
    "camera": "camera",
    "scene_name": "scene",
    "view_layer": "view_layer",
    "engine": "engine",
    "format": "format",
    "options": "options",
    "trust_scripts": "trust_scripts",
}
_PLAIN = tuple(
    name for name in _CHECKS if name not in _SETTINGS and name not in ("pool", "no_video", "no_reuse")
)
