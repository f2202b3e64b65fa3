"""Frames to H.264: renderfarm's assembler against plain ffmpeg with the same encoder settings.

Makes moderately noisy 1080p PNGs, encodes them with both in turn, and prints the ratio of the medians.
Reach: at most 1.10. `--frames 500` is the full size and takes minutes a round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from renderfarm.pictures.ffmpeg import count_frames, find_ffmpeg
from renderfarm.pictures.film import VideoOptions, assemble
from renderfarm.pictures.shots import pictures_in

SIZE = (1920, 1080)
DISTINCT = 50
"""pictures really drawn; the others are links to them, forwards and backwards"""
NOISE_LEVELS = 4


def main() -> None:
    """Run the comparison and print one line per round and the ratio."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        ours, plain = compare(Path(name), arguments.frames, arguments.rounds)
    print(f"renderfarm {ours:.2f} s, ffmpeg {plain:.2f} s, ratio {ours / plain:.3f} (reach 1.10)")
    sys.exit(ours / plain > 1.10)


def compare(folder: Path, frames: int, rounds: int) -> tuple[float, float]:
    """Median seconds of renderfarm's assembler and of plain ffmpeg."""
    make_frames(folder / "frames", frames)
    times = [_round(folder, frames) for _ in range(rounds)]
    ours, plain = (statistics.median(column) for column in zip(*times, strict=True))
    return ours, plain


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=None, help="where the frames go for the time being")
    return parser.parse_args()


def make_frames(folder: Path, count: int) -> None:
    """Write `count` 1080p PNGs: slow gradients with the noise of a render that was not denoised."""
    folder.mkdir()
    random = np.random.default_rng(1)
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]].astype(np.float32)
    for index in range(min(count, DISTINCT)):
        waves = (np.sin(x / 200 + index / 10), np.cos(y / 150 + index / 14), np.sin((x + y) / 300 - index / 8))
        picture = 127 + 90 * np.stack(waves, axis=-1) + random.normal(0, NOISE_LEVELS, (*x.shape, 3))
        pixels = picture.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"f.{index + 1:04d}.png", compress_level=3)
    for index in range(DISTINCT, count):
        turn, place = divmod(index, DISTINCT)
        source = place if turn % 2 == 0 else DISTINCT - 1 - place
        (folder / f"f.{index + 1:04d}.png").hardlink_to(folder / f"f.{source + 1:04d}.png")


def _round(folder: Path, frames: int) -> tuple[float, float]:
    ours, plain = folder / "ours.mp4", folder / "plain.mp4"
    started = time.monotonic()
    assemble(pictures_in(folder / "frames").pictures, ours, VideoOptions(fps=24))
    between = time.monotonic()
    subprocess.run(plain_ffmpeg(folder / "frames", plain), check=True, stdin=subprocess.DEVNULL)
    ended = time.monotonic()
    assert count_frames(find_ffmpeg(), ours) == count_frames(find_ffmpeg(), plain) == frames
    print(f"renderfarm {between - started:.2f} s, ffmpeg {ended - between:.2f} s", flush=True)
    return between - started, ended - between


def plain_ffmpeg(frames: Path, out: Path) -> list[str]:
    """What an expert types: the same conversion, encoder, quality and container."""
    argv = [find_ffmpeg(), "-v", "error", "-y", "-framerate", "24", "-start_number", "1"]
    argv += [
        "-i",
        str(frames / "f.%04d.png"),
        "-vf",
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
    ]
    argv += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    return [*argv, "-c:v", "libx264", "-preset", "medium", "-crf", "18", "-movflags", "+faststart", str(out)]


if __name__ == "__main__":
    main()
