"""Which container, codec and quality a file name means: what can be asked for, as data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.pictures.spaces import SRGB, Space

NTSC_SHARE = 0.0002
"""how far 23.98 is from 24000/1001, of which 24 is 0.001 away"""


@dataclass(frozen=True)
class Codec:
    """How one codec is asked for."""

    encoder: str
    pixels: str
    alpha_pixels: str | None = None
    crf: int | None = None
    """quality unless the user says otherwise; None where the codec has no such number"""
    worst_crf: int = 51
    deep: bool = False
    """keeps more than 8 bits a channel"""
    hdr_pixels: str | None = None
    """for high dynamic range, which 8 bits can't hold; None where no player shows it"""
    even: bool = False
    """width and height must be even; odd pictures get their last column or row twice"""
    options: Mapping[str, str | int] = field(default_factory=dict)
    smallest: int = 1
    """the least width and height that it takes"""
    spare: Codec | None = None
    """does the same where an ffmpeg lacks the encoder"""
    parts: str = "mp4"
    """the container of a film's parts, with a clock that is exact; empty where a film is made at once"""


_AOM = Codec(
    "libaom-av1",
    "yuv420p",
    crf=28,
    worst_crf=63,
    even=True,
    hdr_pixels="yuv420p10le",
    options={"b:v": 0, "row-mt": 1, "cpu-used": 6},
)


CODECS = {
    "h264": Codec("libx264", "yuv420p", crf=18, even=True, options={"preset": "medium"}),
    "h265": Codec(
        "libx265",
        "yuv420p",
        crf=20,
        even=True,
        hdr_pixels="yuv420p10le",
        options={"preset": "medium", "tag:v": "hvc1", "x265-params": "log-level=error"},
    ),
    "prores": Codec(
        "prores_ks",
        "yuv444p10le",
        "yuva444p10le",
        deep=True,
        hdr_pixels="yuv444p10le",
        options={"profile:v": "4444", "vendor": "apl0"},
        parts="mov",
    ),
    "vp9": Codec(
        "libvpx-vp9",
        "yuv420p",
        "yuva420p",
        crf=24,
        worst_crf=63,
        hdr_pixels="yuv420p10le",
        options={"b:v": 0, "row-mt": 1, "cpu-used": 2, "auto-alt-ref": 0},
    ),
    "av1": replace(_AOM, encoder="libsvtav1", options={"preset": 8}, smallest=64, spare=_AOM),
    "gif": Codec("gif", "rgb8", parts=""),
}


@dataclass(frozen=True)
class Container:
    """What a file suffix stands for; the first codec is the default."""

    format: str
    codecs: tuple[str, ...]
    audio: str | None
    layouts: str = ""
    """the speakers that the audio codec knows, in ffmpeg's words; empty where it takes any"""
    most_fps: int | None = None
    """players show no more"""
    options: Mapping[str, str] = field(default_factory=dict)

    def every(self, fps: Fraction) -> int:
        """1 where all frames of this rate can be shown, 2 where only every second one can, and so on."""
        return math.ceil(fps / self.most_fps) if self.most_fps else 1


FASTSTART = {"movflags": "+faststart"}


AAC = ("aac", "mono|stereo|3.0|4.0|5.0|5.1|7.1")


OPUS = ("libopus", "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1")


CONTAINERS = {
    ".mp4": Container("mp4", ("h264", "h265", "av1"), *AAC, options=FASTSTART),
    ".mov": Container("mov", ("prores", "h264", "h265"), "pcm_s16le", options=FASTSTART),
    ".webm": Container("webm", ("vp9", "av1"), *OPUS),
    ".mkv": Container("matroska", ("h264", "h265", "vp9", "av1", "prores"), *AAC),
    ".gif": Container("gif", ("gif",), None, most_fps=50),
}
"""A GIF counts in hundredths of a second, and browsers slow down what is shown for less than two."""


@dataclass(frozen=True)
class Encoding:
    """A container, a codec that fits into it, and the quality."""

    container: Container
    codec: Codec
    crf: int | None

    def holds(self, space: Space) -> bool:
        """Whether a film can be tagged with this space, and its pixels are fine enough for it."""
        if self.container.audio is None or space.labels is None:
            return space == SRGB
        return not space.hdr or self.codec.hdr_pixels is not None

    def keeps_alpha(self, space: Space) -> bool:
        """Whether frames may stay transparent; VP9 has alpha in 8 bits only."""
        if self.container.audio is None:
            return True
        return self.codec.alpha_pixels is not None and (self.codec.deep or not space.hdr)

    def part(self, space: Space, *, alpha: bool) -> Encoding | None:
        """The encoding of a part of the film; None where there can be none: only WebM and Matroska keep VP9's
        alpha."""
        if not self.codec.parts or (self.codec.parts == "mp4" and alpha and self.keeps_alpha(space)):
            return None
        return replace(self, container=Container(self.codec.parts, (), self.container.audio))


def choose(out: Path, codec: str | None = None, crf: int | None = None, *, sound: bool = False) -> Encoding:
    """The encoding that a file name and the user's wishes mean; raises InputError naming what is known."""
    container = CONTAINERS.get(out.suffix.lower())
    if container is None:
        known = ", ".join(CONTAINERS)
        raise InputError(f"{out.name} has no suffix that stands for a video.", f"Known: {known}.")
    if sound and container.audio is None:
        raise InputError(f"A {out.suffix} file has no sound.", "Leave the audio out, or write an .mp4.")
    name = codec or container.codecs[0]
    if name not in container.codecs:
        known = ", ".join(container.codecs)
        raise InputError(f"A {out.suffix} file can't hold {name}.", f"Codecs for {out.suffix}: {known}.")
    chosen = CODECS[name]
    if crf is not None and chosen.crf is None:
        raise InputError(f"{name} has no quality number (crf).", "Leave crf out, or choose another codec.")
    if crf is not None and not 0 <= crf <= chosen.worst_crf:
        raise InputError(f"crf {crf} is out of range for {name}.", f"0 (best) to {chosen.worst_crf} (worst).")
    return Encoding(container, chosen, chosen.crf if crf is None else crf)


def rate(fps: float) -> Fraction:
    """Frames per second as an exact fraction: 23.976 and 29.97 mean 24000/1001 and 30000/1001."""
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise InputError(f"{fps:g} frames per second make no video.", "Use a number like 24, 25 or 29.97.")
    ntsc = Fraction(math.ceil(fps) * 1000, 1001)
    if abs(fps / ntsc - 1) < NTSC_SHARE:
        return ntsc
    return Fraction(fps).limit_denominator(1001) if fps > 1 else 1 / Fraction(1 / fps).limit_denominator(1001)
