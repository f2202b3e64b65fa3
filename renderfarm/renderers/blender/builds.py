"""Finds the Blenders on this machine: executables, and Pythons that can import `bpy`.

Asking an executable for its version costs more than half a second, so the answer is kept in the farm home
for as long as the file stays the same. bpy is asked through its package metadata, never imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from renderfarm.renderers.asking import ask
from renderfarm.words import files, stamps
from renderfarm.words.as_json import read_json
from renderfarm.words.work import Build

_PLACES = (
    ("/opt", "blender*/blender"),
    ("~", "blender*/blender"),
    ("/Applications", "Blender*.app/Contents/MacOS/Blender"),
)
_VERSION = re.compile(r"^Blender (\d+)\.(\d+)(?:\.(\d+))?", re.MULTILINE)
_HASH = re.compile(r"build hash:\s*(\S+)")
_MODULE = "(bpy)"
_ASK_PYTHON = (
    "import importlib.metadata as m, importlib.util as u, json, os, sys;"
    "spec = u.find_spec('bpy');"
    "folder = os.path.dirname(os.path.dirname(spec.origin));"
    "print(json.dumps([m.version('bpy'), folder, sys.prefix, sys.base_prefix]))"
)


def builds(chosen: str | None = None, *, confined: bool = True) -> list[Build]:
    """Every Blender, newest first; with `chosen`, only that executable or Python, if it is one."""
    if chosen is not None:
        path = shutil.which(str(Path(chosen).expanduser()))
        return list(_asked(Path(path).absolute(), confined)) if path else []
    found = [
        *_own_module(),
        *_modules_beside(),
        *(build for path in _executables() for build in _executable(path)),
    ]
    return sorted(found, key=_version_of, reverse=True)


def _version_of(build: Build) -> tuple[int, ...]:
    return build.version


def is_module(build: Build) -> bool:
    """The build is `bpy` in a Python, not an executable."""
    return build.label.endswith(_MODULE)


def installation(build: Build) -> list[Path]:
    """Folders that the build's files are in."""
    if not is_module(build):
        return [Path(build.path).parent, Path(build.path).resolve().parent]
    _, packages, *prefixes = _python_facts(build.path) or ("", "")
    folders = {Path(folder) for folder in (packages, *prefixes) if folder}
    return sorted(folders | {folder.resolve() for folder in folders})


def environment(build: Build) -> dict[str, str]:
    """What the build's process needs to see in its environment."""
    facts = _python_facts(build.path) if is_module(build) else None
    return {"PYTHONPATH": facts[1]} if facts else {}


def _asked(path: Path, confined: bool) -> Iterator[Build]:
    """A path that the user named: a Blender, or a Python with bpy."""
    if path.name.startswith("python"):
        facts = _python_facts(str(path), confined)
        if facts:
            yield _module(str(path), facts[0])
        return
    yield from _executable(path, confined)


def _own_module() -> Iterator[Build]:
    if importlib.util.find_spec("bpy") and (version := _own_version()):
        yield _module(sys.executable, version)


def _own_version() -> str:
    """Of this Python's bpy by its package; empty where it came without one."""
    from importlib import metadata  # costs more than all other imports together

    try:
        return metadata.version("bpy")
    except metadata.PackageNotFoundError:
        return ""


def _modules_beside() -> Iterator[Build]:
    """Blenders that set-up put into environments of their own, as a Python can have but one."""
    for package in sorted(Path(sys.prefix).glob("blenders/*/lib/python3*/site-packages/bpy-*.dist-info")):
        python = package.parents[3] / "bin" / "python"
        yield _module(str(python), package.name.removeprefix("bpy-").removesuffix(".dist-info"))


def _module(python: str, version: str) -> Build:
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return Build("blender", python, numbers, f"Blender {version} {_MODULE}", f"bpy-{version}")


def _python_facts(python: str, confined: bool = True) -> list[str] | None:
    """Version of bpy, the folder it is in, and the prefixes of the Python; None when it has no bpy."""
    if python == sys.executable:
        spec = importlib.util.find_spec("bpy")
        if spec is None or spec.origin is None:
            return None
        packages = str(Path(spec.origin).parent.parent)
        return [_own_version(), packages, sys.prefix, sys.base_prefix]
    answer = _run([python, "-c", _ASK_PYTHON], confined)
    return [str(part) for part in json.loads(answer)] if answer else None


def _executables() -> Iterator[Path]:
    """Blenders on this machine, each real file once."""
    named = [os.environ.get("RENDERFARM_BLENDER"), shutil.which("blender")]
    places = [(Path(place).expanduser(), pattern) for place, pattern in _PLACES]
    candidates = [Path(path).absolute() for path in named if path]
    candidates += [path for place, pattern in places for path in sorted(place.glob(pattern))]
    seen = set()
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK) and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def _executable(path: Path, confined: bool = True) -> Iterator[Build]:
    text = _version_text(path, confined)
    match = _VERSION.search(text)
    if match is None:
        return
    numbers = tuple(int(part) for part in match.groups(default="0"))
    version = ".".join(map(str, numbers))
    made = _HASH.search(text)
    made_of = made[1] if made else f"{path.resolve().stat().st_size:x}"
    yield Build("blender", str(path), numbers, f"Blender {version} ({path})", f"blender-{version}-{made_of}")


def _version_text(path: Path, confined: bool) -> str:
    """What `--version` prints, remembered for as long as the file is the same."""
    real = path.resolve()
    key = hashlib.sha256(f"{real}\0{stamps.text(stamps.stamp(real))}".encode()).hexdigest()
    known = _remembered()
    if key not in known:
        known[key] = _run([str(path), "--version"], confined)
        _remember(known)
    return known[key]


def _memory() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser())
    home = os.environ.get("RENDERFARM_HOME") or str(Path(data) / "renderfarm")
    return Path(home) / "cache" / "blender-versions.json"


def _remembered() -> dict[str, str]:
    try:
        return read_json(dict[str, str], files.whole(_memory()))
    except (OSError, ValueError):
        return {}


def _remember(known: dict[str, str]) -> None:
    """Write the memory; a farm home that can't be written only costs time."""
    with contextlib.suppress(OSError):
        files.write(_memory(), json.dumps(known))


def _run(argv: list[str], confined: bool) -> str:
    """What a program prints; empty when it fails, hangs or can't be started."""
    try:
        done = ask(argv, confined=confined)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
