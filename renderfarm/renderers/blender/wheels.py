"""Blender as a Python package (`bpy`): a version fits one version of Python, so it gets its own environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

NEWEST = "newest"
_PYTHONS = (("3.13", "bpy>=5.1,<6"), ("3.11", "bpy>=4.2,<5.1"))
"""Pythons that there are wheels for, and which, newest first"""


def environment(version: str) -> Path:
    """Where the Blender of a version goes: beside renderfarm's own packages, where it is looked for."""
    return Path(sys.prefix, "blenders", version)


def commands(version: str) -> list[tuple[str, ...]] | None:
    """What makes the environment and installs the wheel; None where no Python here fits and none can be had."""
    wanted = [
        (python, f"bpy=={version}.*" if version != NEWEST else newest)
        for python, newest in _PYTHONS
        if version == NEWEST or python == _python_of(version)
    ]
    place = str(environment(version))
    for number, requirement in wanted:
        if python := _found(number):
            pip = (
                f"{place}/bin/python",
                "-I",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            )
            return [(python, "-I", "-m", "venv", place), (*pip, "--only-binary", ":all:", requirement)]
    if uv := shutil.which("uv"):
        number, requirement = wanted[0]
        install = (uv, "pip", "install", "--quiet", "--only-binary", ":all:", "--python", place, requirement)
        return [(uv, "venv", "--quiet", "--python", number, place), install]
    return None


def _python_of(version: str) -> str:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return "3.11" if numbers < (5, 1) else "3.13"


def _found(number: str) -> str | None:
    """A Python of that version that can make environments; some can't, and some names lead nowhere."""
    own = number == "{}.{}".format(*sys.version_info)
    python = sys.executable if own else shutil.which(f"python{number}")
    asked = [python, "-I", "-c", "import ensurepip, venv"] if python else ["false"]
    return None if subprocess.run(asked, capture_output=True).returncode else python
