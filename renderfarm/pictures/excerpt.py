"""A film made small enough to lie inside a page that needs nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from renderfarm.errors import RenderfarmError
from renderfarm.pictures.encoding import find_ffmpeg
from renderfarm.renderers.asking import surroundings
from renderfarm.words.temporary import Temporary

LARGEST_BYTES = 700_000
"""as text in a page a third more: below 1 MB"""
WIDTH = 640
LEAST_RATE = 24_000
"""bits per second below which nothing can be seen"""
HEADROOM = 0.85
"""of the bytes, as encoders keep to a rate only on the whole"""
MOST_SECONDS = 60.0
"""to make it: after that the page does without"""


def excerpt(film: Path, seconds: float, most: int = LARGEST_BYTES) -> bytes:
    """The whole film without sound as an MP4 of at most so many bytes; empty where that can't be."""
    rate = int(most * 8 * HEADROOM / max(seconds, 1.0))
    if rate < LEAST_RATE:
        return b""
    with Temporary() as folder:
        out = folder / "film.mp4"
        shape = f"scale='trunc(min({WIDTH},iw)/2)*2':-2:flags=area,format=yuv420p"
        codec = (
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-crf",
            "27",
            "-maxrate",
            str(rate),
            "-bufsize",
            str(rate),
        )
        try:
            source = (find_ffmpeg(), "-v", "error", "-nostdin", "-i", f"file:{film}", "-an", "-vf", shape)
            subprocess.run(
                [*source, *codec, "-movflags", "+faststart", str(out)],
                env=surroundings(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=MOST_SECONDS,
                check=True,
            )
            made = out.read_bytes()
        except (OSError, subprocess.SubprocessError, RenderfarmError):
            return b""
    return made if len(made) <= most else b""
