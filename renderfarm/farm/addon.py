"""The add-on for Blender: one archive for all versions, and its way into the Blenders of this machine.

It lies in a folder of its own with a licence of its own, and is never imported here: it only runs the command
line of the renderfarm that wrote the archive.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.farm.doctor import Step
from renderfarm.renderers.blender import builds, extension

FOLDER = Path(__file__).parents[1] / "addon"
NAME = "renderfarm_addon"
"""of the add-on in Blender; `renderfarm` could be imported there already, being this package"""
PROGRAM = "program.json"
INSTALL_SECONDS = 120.0


@dataclass(frozen=True)
class Installed:
    """One Blender that was given the add-on."""

    blender: str
    ok: bool
    detail: str
    """where it went wrong"""


def write(path: Path) -> Path:
    """Write the archive, with one folder at its top: without one, Blender 3.4 would spill the files."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError("it is no regular file")
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(FOLDER.iterdir()):
                if file.is_file():
                    archive.write(file, f"{NAME}/{file.name}")
            archive.writestr(f"{NAME}/{PROGRAM}", json.dumps([sys.executable, "-P", "-m", "renderfarm"]))
    except OSError as error:
        raise InputError(f"The add-on can't be written to {path}: {error}.", "Name another file.") from error
    return path


def install(archive: Path, chosen: str | None = None) -> Iterator[Installed]:
    """Give it to that Blender, or to every one on this machine that has a window."""
    for build in builds.builds(chosen):
        if builds.is_module(build) or build.version < extension.OLDEST:
            continue
        trouble = Step("", extension.command(build, str(archive), NAME), seconds=INSTALL_SECONDS).take()
        yield Installed(build.label, not trouble, trouble.rpartition("\n")[2])
