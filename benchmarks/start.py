"""What a start costs: `--help` against `import click`, the first delivered frame against the renderer's own.

The farm's home knows which Blenders there are and nothing of the scene. Reach: 1.4, and 0.4 s more.

    python -m benchmarks.start SCENE.blend [--quick] [--rounds 5] [--blender blender]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import FARM, FLAGS, Bench
from benchmarks.measure import run


def main() -> None:
    """Pairs in turn; medians and the fastest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scene", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blender", default="blender")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    arguments = parser.parse_args()
    arguments.rounds = 2 if arguments.quick else arguments.rounds
    with tempfile.TemporaryDirectory() as name:
        folder, scene = Path(name), arguments.scene.resolve()
        click = [sys.executable, "-c", "import click"]
        helps = [(_took([*FARM, "--help"], folder), _took(click, folder)) for _ in range(arguments.rounds)]
        firsts = [_firsts(folder, scene, arguments.blender) for _ in range(arguments.rounds)]
    for how, choose in (("medians", statistics.median), ("fastest", min)):
        ours, theirs = (choose(column) for column in zip(*helps, strict=True))
        farm, own = (choose(column) for column in zip(*firsts, strict=True))
        print(f"{how}: --help {ours / theirs:.2f}", end="; ")
        print(f"first frame {farm:.2f} s, by hand {own:.2f} s, {farm - own:+.2f} s")


def _took(argv: Sequence[str], folder: Path) -> float:
    return run(argv, folder).seconds


def _firsts(folder: Path, scene: Path, blender: str) -> tuple[float, float]:
    """Seconds to the first frame's file, delivered by the farm and written by hand."""
    home = Bench(folder, blender=blender).new_home(folder / "home")
    submit = [*FARM, "submit", str(scene), "-o", "out", "-f", "1", "--no-video", "--blender", blender]
    began = time.time()
    run(submit, folder, {"RENDERFARM_HOME": str(home)})
    ours = next((folder / "out" / "frames").iterdir()).stat().st_ctime - began
    began = time.time()
    run([blender, *FLAGS, str(scene), "-o", str(folder / "f_####"), "-F", "PNG", "-f", "1"], folder)
    theirs = (folder / "f_0001.png").stat().st_mtime - began
    for left in (home, folder / "out"):
        shutil.rmtree(left)
    return ours, theirs


if __name__ == "__main__":
    main()
