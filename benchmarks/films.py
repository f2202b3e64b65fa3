"""How soon after its last frame a job's film is there, and the job ended, against encoding all of it then.

Test cards of 1080p, in order, by one worker that sleeps before each so that the encoder keeps up, as it does
beside heavier scenes. Reach: the film 0.05 with 500 frames, the end 0.15 with 150.

    python -m benchmarks.films [--quick] [--frames 500] [--rounds 3] [--seconds 0.4]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.cases import FARM
from benchmarks.measure import run
from renderfarm.pictures.film import VideoOptions, assemble
from renderfarm.pictures.shots import pictures_in

Round = tuple[float, float, float]
"""seconds from the last frame to the film and to the job's end, and of encoding all frames"""


def main() -> None:
    """Print a line per round, and ratios of medians and of the fastest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.4, help="that the renderer sleeps before each frame")
    parser.add_argument("--quick", action="store_true", help="one round of 150 frames, a minute and a half")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.frames, arguments.rounds = 150, 1
    rounds = [_round(arguments.frames, arguments.seconds) for _ in range(arguments.rounds)]
    for name, choose in (("medians", statistics.median), ("fastest", min)):
        film, end, whole = (choose(column) for column in zip(*rounds, strict=True))
        print(f"{name}: film {film / whole:.3f}, end {end / whole:.3f}")


def _round(frames: int, seconds: float) -> Round:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene, out = folder / "card.testcard", folder / "out"
        scene.write_text(json.dumps({"frames": f"1-{frames}", "size": [1920, 1080], "seconds": seconds}))
        argv = [*FARM, "submit", "--workers", "1", "-o", str(out), str(scene)]
        done = run(argv, folder, {"RENDERFARM_HOME": str(folder / "home")})
        ended = time.time()
        last = (out / "frames" / f"card.{frames:04d}.png").stat().st_mtime
        film, end = (out / "card.mp4").stat().st_mtime - last, ended - last
        began = time.monotonic()
        assemble(pictures_in(out / "frames").pictures, folder / "whole.mp4", VideoOptions())
        whole = time.monotonic() - began
        print(f"film {film:.2f} s, end {end:.2f} s, encoding afterwards {whole:.2f} s", end="; ", flush=True)
        print(f"CPU {done.cpu_seconds:.1f} s, of the farm's own {done.farm_cpu_seconds:.1f} s", flush=True)
        return film, end, whole


if __name__ == "__main__":
    main()
