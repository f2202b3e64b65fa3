"""Debian's POV-Ray examples (package povray-examples), each rendered by hand and by a session in the sandbox.

`python -m tests.povray_examples [NAME…]` prints a line for each that differs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from renderfarm.errors import SceneError
from renderfarm.node.launch import ProcessLauncher
from renderfarm.renderers import SessionFailure
from renderfarm.renderers.povray.renderer import RENDERER
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Work

EXAMPLES = Path("/usr/share/doc/povray/examples")
SIZE = (32, 24)
FRAMES = 2
"""of an animation"""
PATIENCE_SECONDS = 240
AT_ONCE = 4


@dataclass(frozen=True)
class Compared:
    """One file, and how the two went."""

    name: str
    outcome: str
    """equal, fails (both), slow (by hand), or what is wrong"""

    @property
    def good(self) -> bool:
        """Whether ours did what POV-Ray does."""
        return self.outcome in ("equal", "fails", "slow")


def names() -> list[str]:
    """Every scene and ini, by its path."""
    found = (path for path in EXAMPLES.rglob("*") if path.suffix in (".pov", ".ini"))
    return sorted(str(path.relative_to(EXAMPLES)) for path in found)


def compared(name: str) -> Compared:
    """Render one of them both ways, each in a copy of its category."""
    with tempfile.TemporaryDirectory(prefix="examples-") as folder:
        hand, ours, scratch = (Path(folder) / part for part in ("hand", "ours", "scratch"))
        for copy in (hand, ours):
            category = name.partition("/")[0]
            shutil.copytree(EXAMPLES / category, copy / category, ignore=shutil.ignore_patterns("*.htm"))
        scratch.mkdir()
        before = contents(ours)
        outcome = _outcome(hand / name, ours / name, scratch)
        if outcome == "equal" and contents(ours) != before:
            outcome = "the project folder is not as it was"
        return Compared(name, outcome)


def contents(folder: Path) -> dict[str, bytes]:
    """All files with what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _outcome(hand: Path, scene: Path, scratch: Path) -> str:
    try:
        theirs = by_hand(hand, scratch)
    except subprocess.TimeoutExpired:
        return "slow"
    try:
        pictures = session_pictures(scene, scratch, sorted(theirs) or [1])
    except (SessionFailure, SceneError) as failure:
        return "fails" if not theirs else f"ours fails: {failure}"
    if not theirs:
        return "fails" if isinstance(pictures, str) else "ours renders what POV-Ray doesn't"
    if isinstance(pictures, str):
        return f"ours fails: {pictures}"
    wrong = [frame for frame, picture in theirs.items() if not np.array_equal(picture, pictures[frame])]
    return f"frames {wrong} differ" if wrong else "equal"


def by_hand(scene: Path, scratch: Path) -> dict[int, np.ndarray]:
    """What POV-Ray gives; its first frames where there are several."""
    out = scratch / "hand"
    out.mkdir()
    argv = ["povray", scene.name, f"+O{out}/hand_.png", *f"+FN +W{SIZE[0]} +H{SIZE[1]} +WT1 -D -V".split()]
    if scene.suffix == ".ini":
        argv += ["+SF1", f"+EF{FRAMES}"]
    subprocess.run(argv, cwd=scene.parent, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    return {
        int("0" + path.stem.removeprefix("hand_")) or 1: pixels(path) for path in sorted(out.glob("hand_*.png"))
    }


def session_pictures(scene: Path, scratch: Path, frames: list[int]) -> dict[int, np.ndarray] | str:
    """What a session gives, or why it fails."""
    build = RENDERER.builds()[0]
    settings = Settings(resolution=SIZE)
    paths = RENDERER.preread(scene).paths
    work = Work("povray", build, str(scene), settings, str(scratch), readable=paths, sandbox=Sandbox.REQUIRE)
    first = RENDERER.open(work, ProcessLauncher(work))
    described = first.describe()
    first.close()
    named = (*described.folders, *(asset.path for asset in described.assets if asset.exists))
    work = replace(work, readable=(*paths, *named), ordered=described.ordered, traced=True)
    session = RENDERER.open(work, ProcessLauncher(work))
    try:
        found = {}
        for outcome in session.render(frames, 1, scratch, scratch / "log"):
            if isinstance(outcome, Failed):
                return outcome.message
            assert isinstance(outcome, Rendered)
            found[outcome.frame] = pixels(Path(outcome.path))
        return found
    finally:
        session.close()


def pixels(path: Path) -> np.ndarray:
    """A picture's pixels."""
    with Image.open(path) as image:
        return np.asarray(image)


def all_compared(wanted: list[str]) -> Iterator[Compared]:
    """Several at once, as POV-Ray sleeps most of the time."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(compared, wanted)


if __name__ == "__main__":
    counts: dict[str, int] = {}
    for each in all_compared(sys.argv[1:] or names()):
        kind = each.outcome if each.good else "WRONG"
        counts[kind] = counts.get(kind, 0) + 1
        if not each.good:
            print(each.name, each.outcome, sep=": ", flush=True)  # noqa: T201 - a program of its own
    print(counts)  # noqa: T201
