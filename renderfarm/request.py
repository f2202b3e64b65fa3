"""From what users ask for to a `Request`.

The command line and the Python API end here; what each option may be is checked by the table in `options`, so a
wrong value reads the same everywhere. Nothing heavy is imported; the scene is not opened.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renderfarm.errors import SceneError
from renderfarm.settings.checks import output_folder, readable_name, user_path
from renderfarm.settings.options import OPTIONS, checked, nearest
from renderfarm.settings.options import Options as Options  # importable for ever
from renderfarm.words.frames import PROGRESSIVE
from renderfarm.words.renderers import PROGRAMS

if TYPE_CHECKING:
    from typing import Unpack

    from renderfarm.words.request import Request, Settings

PREVIEW = "preview"
"""folder in the output folder"""
_SECTION = re.compile(r"(.+\.ini)\[([^\[\]]+)\]", re.IGNORECASE | re.DOTALL)


def build(
    scene: str | os.PathLike[str],
    frames: str | None = None,
    output: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Request:
    """The job that these options describe, with absolute paths; output defaults to `renders/<scene stem>` here.

    Raises InputError (SceneError, FramesError) for a value that makes no sense, TypeError for an unknown name.
    """
    basics = {"frames": frames, "output": output}
    given = {name: OPTIONS[name].checked(value) for name, value in basics.items() if value is not None}
    return described(scene, {**checked(options), **given})


def described(scene: str | os.PathLike[str], given: Mapping[str, Any]) -> Request:
    """The job that checked options describe."""
    from renderfarm.pictures import codecs
    from renderfarm.settings import config
    from renderfarm.words.request import Request

    path, section = scene_and_section(scene)
    if not given.get("no_video"):
        out, sound = Path(given.get("video", "video.mp4")), "audio" in given
        codecs.choose(out, given.get("codec"), given.get("crf"), sound=sound)
    plain = {name: value for name, value in given.items() if not OPTIONS[name].setting and name not in PROGRAMS}
    folder = plain.pop("output", None) or output_folder(Path("renders", path.stem))
    pool = config.load().pool(plain.pop("pool", None)).name
    reuse = not plain.pop("no_reuse", False)
    return Request(
        scene=str(path),
        output=folder,
        pool=pool,
        settings=settings(given, section),
        reuse=reuse,
        programs=programs(given),
        **plain,
    )


def preview(wanted: Request, percent: int) -> Request:
    """The same job, small, coarse to fine, in a folder of its own, with a film whatever fails."""
    scale = max(1, (wanted.settings.scale or 100) * percent // 100)
    return replace(
        wanted,
        output=str(Path(wanted.output) / PREVIEW),
        settings=replace(wanted.settings, scale=scale),
        order=PROGRESSIVE,
        video=None,
        no_video=False,
        missing="hold",
        after="keep" if wanted.after else None,
    )


def settings(given: Mapping[str, Any], section: str | None = None) -> Settings:
    """The part of checked options that the renderer must honour, and the section of an ini."""
    from renderfarm.words.request import Settings

    values = {OPTIONS[name].setting: value for name, value in given.items() if OPTIONS[name].setting}
    return Settings(**values, section=section)


def programs(given: Mapping[str, Any]) -> dict[str, str]:
    """The renderers' programs among checked options."""
    return {name: given[name] for name in PROGRAMS if name in given}


def scene_and_section(scene: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """The scene's path, and the section that POV-Ray's `file.ini[section]` names. Raises SceneError."""
    found = _SECTION.fullmatch(os.fspath(scene))
    if found is None or user_path(scene).exists():
        return scene_path(scene), None
    return scene_path(found[1]), found[2]


def scene_path(scene: str | os.PathLike[str]) -> Path:
    """The absolute path of a readable file; links to the scene itself are kept, as assets lie beside them.

    Raises SceneError when it is missing, a folder, not a regular file or not readable.
    """
    path = user_path(scene)
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
    return readable_name(absolute_path)


def _scenes_in(folder: Path) -> str:
    from renderfarm.renderers import scene_suffixes

    try:
        names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in scene_suffixes())
    except OSError:
        names = []
    return f"Name the file in it: {', '.join(names[:5])}." if names else "Name the scene file itself."


def _neighbour(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"There is no folder {path.parent} to look in."
    alike = next((name for name in names if name.casefold() == path.name.casefold()), None)
    if alike:
        return f"There is {alike}, which differs only in capital and small letters."
    return nearest(path.name, names) or "Check the path."
