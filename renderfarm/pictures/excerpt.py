"""A film made small enough to lie inside a page that needs nothing else."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from renderfarm.errors import RenderfarmError
from renderfarm.pictures.ffmpeg import find_ffmpeg, run
from renderfarm.pictures.segments import Part, listing
from renderfarm.words import files
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
ALPHA_TOO = ("-c:v", "libvpx-vp9")
"""ffmpeg's own decoder leaves it out"""
FAILED = (OSError, subprocess.SubprocessError, RenderfarmError)


def excerpt(
    film: Path,
    seconds: float,
    most: int = LARGEST_BYTES,
    parts: Sequence[Part] = (),
    folder: Path | None = None,
) -> bytes:
    """The whole film without sound as an MP4 of at most so many bytes; empty where that can't be.

    `parts` are what it was joined from, some of which may be small in `folder` already (`shrink`).
    """
    rate = _rate(seconds, most)
    if rate < LEAST_RATE:
        return b""
    with Temporary() as temporary:
        out = temporary / "film.mp4"
        begun = folder and any(_small(part, folder).exists() for part in parts)
        makes = [partial(_join, parts, seconds, folder, out)] if folder and begun else []
        makes += [partial(_encode, film, rate, out, ALPHA_TOO)] if film.suffix.lower() == ".webm" else []
        for make in (*makes, partial(_encode, film, rate, out)):
            with contextlib.suppress(*FAILED):
                make()
                if out.stat().st_size <= most:
                    return out.read_bytes()
    return b""


def shrink(part: Part, seconds: float, folder: Path) -> Path:
    """A part of a film of so many seconds, small; raises what `FAILED` names."""
    out, rate = _small(part, folder), _rate(seconds, LARGEST_BYTES)
    if rate >= LEAST_RATE and not out.exists():
        with files.draft(out, out.suffix) as made:
            _encode(part.path, rate, made)
    return out


def _small(part: Part, folder: Path) -> Path:
    return folder / f"{part.path.stem}.mp4"


def _rate(seconds: float, most: int) -> int:
    return int(most * 8 * HEADROOM / max(seconds, 1.0))


def _join(parts: Sequence[Part], seconds: float, folder: Path, out: Path) -> None:
    small = [replace(part, path=shrink(part, seconds, folder)) for part in parts]
    found = folder / "parts.txt"
    files.write(found, listing(small))
    _run(["-f", "concat", "-i", f"file:{found}"], "-c:v", "copy", out=out)


def _encode(film: Path, rate: int, out: Path, decoder: Sequence[str] = ()) -> None:
    """… over black, where it is transparent."""
    flat = "format=yuva444p,premultiply=inplace=1," if film.suffix.lower() != ".mp4" else ""
    shape = f"{flat}scale='trunc(min({WIDTH},iw)/2)*2':-2:flags=area,format=yuv420p"
    coded = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "27")
    limits = ("-maxrate", str(rate), "-bufsize", str(rate))
    _run([*decoder, "-i", f"file:{film}"], "-an", "-vf", shape, *coded, *limits, out=out)


def _run(source: Sequence[str], *options: str, out: Path) -> None:
    quietly, at_once = ("-v", "error", "-nostdin", "-y"), ("-movflags", "+faststart")
    run([find_ffmpeg(), *quietly, *source, *options, *at_once, str(out)], MOST_SECONDS)
