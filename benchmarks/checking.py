"""What checking costs: CPU per frame of 1080p PNGs by stage, and of the smallest PNG there is.

    python benchmarks/checking.py [--frames N]

The pictures are made here: smooth, as a denoised render; grainy, as one without denoiser. Medians.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from renderfarm.pictures import damage, png, reading
from renderfarm.pictures import look as look_module
from renderfarm.pictures.judge import judge
from renderfarm.pictures.look import Look, look

SIZE = (1920, 1080)
GRAIN = {"smooth": 0.4, "grainy": 6.0, "noise": 25.0}


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - start))
    return median(spent)


def write_frame(path: Path, grain: float) -> None:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    smooth = np.stack([x / 10, y / 6, (x + y) / 18], -1) + 30
    pixels = smooth + np.random.default_rng(1).normal(0, grain, smooth.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, compress_level=2)


def stages(path: Path, repeats: int) -> dict[str, float]:
    data, sample = path.read_bytes(), reading.scan(path).sample
    whole = milliseconds(lambda: png.decoded(data), repeats)
    checksums = milliseconds(lambda: list(damage.png_chunks(data)), repeats)
    return {
        "read": milliseconds(path.read_bytes, repeats),
        "checksums": checksums,
        "decode": whole - checksums,
        "magenta": milliseconds(lambda: look_module._magenta(sample), repeats),
        "signature": milliseconds(lambda: look_module._signature(sample), repeats),
        "all": milliseconds(lambda: look(path, 1), repeats),
    }


def judging(path: Path) -> float:
    seen = look(path, 1)
    turned = bytes(255 - level for level in seen.signature)
    frames = [
        Look(i, None, "", seen.size, None, 0.0, turned[i % 300 :] + turned[: i % 300]) for i in range(2000)
    ]
    return milliseconds(lambda: list(judge(frames)), 3) / len(frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=15, help="measurements per figure")
    repeats = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as folder:
        for name, grain in GRAIN.items():
            path = Path(folder) / f"{name}.png"
            write_frame(path, grain)
            costs = stages(path, repeats)
            print(f"{name} ({path.stat().st_size / 1e6:.1f} MB), ms CPU")
            print("  " + ", ".join(f"{stage} {cost:.2f}" for stage, cost in costs.items()))
        dot = Path(folder) / "dot.png"
        Image.new("RGB", (1, 1)).save(dot)
        print(f"1 × 1 pixel: {milliseconds(lambda: look(dot, 1), 40 * repeats):.3f} ms CPU")
        print(f"judging: {judging(Path(folder) / 'smooth.png'):.3f} ms CPU a frame")


if __name__ == "__main__":
    main()
