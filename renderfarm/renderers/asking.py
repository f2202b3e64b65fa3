"""Asks programs on this machine what they are, with nothing of the user's in reach.

Whoever names a renderer may have been taken in, so it gets a clean environment even for `--version`, and, where
bubblewrap works, no network, no home and nothing to write to.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

_CARDS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ONEAPI_DEVICE_SELECTOR")
"""which graphics cards a queue gave to a task"""
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", *_CARDS)
ASK_SECONDS = 60.0
"""a Blender answers within three; on a busy machine it may take ten times as long"""
BWRAP = ("bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL")
"""root keeps all rights inside otherwise, as does whoever is mapped to it: mounts could be taken away again"""
_HIDDEN = ("/tmp", "/var/tmp", "/run")  # noqa: S108 - masked, not used
"""where sockets of other programs are, which a read-only mount does not close"""


def surroundings(*more: str, **own: str) -> dict[str, str]:
    """The environment of all that we start: what programs need to run at all, and no key of anybody's.

    `more` are names of variables that are passed on as well, `own` are further ones.
    """
    kept = {name: os.environ[name] for name in (*PASSED_ON, *more) if name in os.environ}
    return {**kept, **own}


@functools.cache
def obstacle() -> str:
    """Why bubblewrap can't be used here; empty when it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt-get install bubblewrap)"
    trial = subprocess.run(
        [*BWRAP, "--ro-bind", "/", "/", "true"],
        capture_output=True,
        text=True,
        check=False,
        env=surroundings(),
    )
    return "" if trial.returncode == 0 else f"bubblewrap does not work here: {trial.stderr.strip()[:200]}"


def ask(argv: Sequence[str], *, confined: bool, **own: str) -> subprocess.CompletedProcess[bytes]:
    """What a program answers, with variables of its own; raises OSError and TimeoutExpired.

    `confined` keeps it in bubblewrap where that works.
    """
    inside = confined and not obstacle()
    return subprocess.run(
        [*_confinement(Path(argv[0])), *argv] if inside else argv,
        capture_output=True,
        timeout=ASK_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        env=surroundings(**own),
        cwd="/",  # a Python would take a json.py of the folder that the user works in for its own
    )


def _confinement(program: Path) -> list[str]:
    """All read-only; the home and where sockets are hidden, except for the program's own folders."""
    home = Path.home()
    hidden = [folder for folder in (*map(Path, _HIDDEN), home, home.resolve()) if folder.is_dir()]
    hidden = [folder for folder in dict.fromkeys(hidden) if not folder.is_symlink() and folder != Path("/")]
    words = [*BWRAP, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for folder in hidden:
        words += ["--tmpfs", str(folder)]
    for path in _own(program, hidden):
        words += ["--ro-bind-try", str(path), str(path)]
    return [*words, "--chdir", "/", "--"]


def _own(program: Path, hidden: Sequence[Path]) -> Iterator[Path]:
    """What a program needs of what is hidden: its folder, and for a Python what is installed in it."""
    for path in dict.fromkeys((program, program.resolve())):
        folder = path.parent.parent if path.name.startswith("python") else path.parent
        if any(each in folder.parents for each in hidden):
            yield folder
        elif any(each in path.parents for each in hidden):
            yield path
    if program.name.startswith("python"):
        yield Path.home() / ".local" / "lib"
