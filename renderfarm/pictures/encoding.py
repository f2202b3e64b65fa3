"""The graphs that turn fed frames into a film: ffmpeg-python builds them and compiles them to an argument list.

Frames arrive as raw pixels on standard input: file names, gaps and numbering never reach ffmpeg
(docs/adr/video-through-ffmpeg-python.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from renderfarm.pictures.codecs import Codec, Encoding
from renderfarm.pictures.ffmpeg import encoders, url
from renderfarm.pictures.spaces import SRGB, Space

Graph = Any

SAMPLES_PER_SECOND = 48_000
"""of a sound that begins late, to the sample"""


@dataclass(frozen=True)
class Stream:
    """The raw frames that are going to be fed."""

    picture: tuple[int, int]
    """width and height of the frames"""
    size: tuple[int, int]
    """… and of what is fed: larger by one where the codec wants even numbers"""
    fps: Fraction
    frames: int
    alpha: bool
    """four channels instead of three, the last one meant to be kept when the codec can"""
    deep: bool
    aspect: Fraction = Fraction(1)
    """width to height of a pixel"""
    space: Space = SRGB
    """what the values mean; one with labels"""

    @property
    def seconds(self) -> float:
        """How long it plays."""
        return float(self.frames / self.fps)

    @property
    def labels(self) -> dict[str, str]:
        """ffmpeg's options that say so."""
        matrix, primaries, transfer = self.space.labels or SRGB.labels or ("", "", "")
        return {"colorspace": matrix, "color_primaries": primaries, "color_trc": transfer}

    @property
    def pixel_format(self) -> str:
        """ffmpeg's name for the layout of the fed bytes."""
        if self.deep:
            return "rgba64le" if self.alpha else "rgb48le"
        return "rgba" if self.alpha else "rgb24"


@dataclass(frozen=True)
class Sound:
    """A part of an audio file under a film, in seconds."""

    path: Path
    start: float = 0.0
    """when it is heard, from the first frame on; negative: it has begun before"""
    skip: float = 0.0
    """what is left out of the file's beginning"""
    length: float | None = None
    """how long it is heard; None: to its end"""
    volume: float = 1.0
    layout: str = ""
    """the speakers it is mixed to before all else; empty: as many as it has"""


def able(ffmpeg: str, encoding: Encoding, size: tuple[int, int]) -> Encoding:
    """The same encoding, by the spare encoder where the first choice isn't there or takes no such size."""
    codec = encoding.codec
    if codec.spare is None or (min(size) >= codec.smallest and codec.encoder in encoders(ffmpeg)):
        return encoding
    return replace(encoding, codec=codec.spare)


def command(
    ffmpeg: str, stream: Stream, encoding: Encoding, target: Path, sounds: Sequence[Sound]
) -> list[str]:
    """The argument list that encodes fed frames into `target`."""
    import ffmpeg as graph

    codec = encoding.codec
    keep_alpha = stream.alpha and encoding.keeps_alpha(stream.space)
    video = _picture_graph(_raw_input(graph, stream), stream, _pixels(codec, stream.space, keep_alpha))
    video = video.filter("setsar", _ratio(stream.aspect))
    tracks = [video]
    if sounds:
        tracks.append(_sound_graph(graph, sounds, stream.seconds, encoding.container.layouts))
    options: dict[str, str | int] = {
        "c:v": codec.encoder,
        **codec.options,
        **stream.labels,
        "color_range": "tv",
    }
    if encoding.crf is not None:
        options["crf"] = encoding.crf
    options |= _container(encoding, sounds)
    return _compiled(graph.output(*tracks, url(target), **options), ffmpeg)


def join_command(
    ffmpeg: str, listing: Path, encoding: Encoding, target: Path, sounds: Sequence[Sound], seconds: float
) -> list[str]:
    """The argument list that makes a film of listed parts, as they are, and of what is heard."""
    import ffmpeg as graph

    options = {"c:v": "copy", **_container(encoding, sounds)}
    tracks = [graph.input(url(listing), f="concat").video]
    if sounds:
        tracks.append(_sound_graph(graph, sounds, seconds, encoding.container.layouts))
    return _compiled(graph.output(*tracks, url(target), **options), ffmpeg)


def _container(encoding: Encoding, sounds: Sequence[Sound]) -> dict[str, str | int]:
    options: dict[str, str | int] = {"f": encoding.container.format, **encoding.container.options}
    if sounds and encoding.container.audio:
        options["c:a"] = encoding.container.audio
    return options


def palette_command(ffmpeg: str, stream: Stream, target: Path) -> list[str]:
    """The argument list that makes a palette picture of fed frames: the first pass of a GIF."""
    import ffmpeg as graph

    palette = _raw_input(graph, stream).filter("palettegen", reserve_transparent=int(stream.alpha))
    return _compiled(graph.output(palette, url(target), f="image2", update=1), ffmpeg)


def gif_command(ffmpeg: str, stream: Stream, palette: Path, target: Path) -> list[str]:
    """The argument list that encodes fed frames with a palette: the second pass of a GIF."""
    import ffmpeg as graph

    colours = graph.input(url(palette))
    video = graph.filter([_raw_input(graph, stream), colours], "paletteuse", dither="sierra2_4a")
    video = video.filter("setsar", _ratio(stream.aspect))
    return _compiled(graph.output(video, url(target), f="gif"), ffmpeg)


def _raw_input(graph: Graph, stream: Stream) -> Graph:
    return graph.input(
        "pipe:0",
        f="rawvideo",
        pix_fmt=stream.pixel_format,
        s=f"{stream.size[0]}x{stream.size[1]}",
        framerate=str(stream.fps),
    )


def _pixels(codec: Codec, space: Space, alpha: bool) -> str:
    """ffmpeg's name for the layout of the encoded pixels."""
    if alpha and codec.alpha_pixels:
        return codec.alpha_pixels
    return codec.hdr_pixels if space.hdr and codec.hdr_pixels else codec.pixels


def _picture_graph(video: Graph, stream: Stream, pixels: str) -> Graph:
    """The matrix on purpose: left alone, ffmpeg takes BT.601's and doesn't say so in the file."""
    matrix = stream.labels["colorspace"].removesuffix("nc")
    video = video.filter("scale", out_color_matrix=matrix, out_range="tv")
    return video.filter("format", pixels).filter("setparams", range="tv", **stream.labels)


def _ratio(aspect: Fraction) -> str:
    return f"{aspect.numerator}/{aspect.denominator}"


def _sound_graph(graph: Graph, sounds: Sequence[Sound], seconds: float, layouts: str) -> Graph:
    """All that is heard under the frames, mixed as loud as it is."""
    tracks = [_track(graph, sound, seconds) for sound in sounds]
    track = tracks[0] if len(tracks) == 1 else graph.filter(tracks, "amix", inputs=len(tracks), normalize=0)
    return track.filter("aformat", channel_layouts=layouts) if layouts else track


def _track(graph: Graph, sound: Sound, seconds: float) -> Graph:
    """The part of a sound that belongs under the frames: cut at both ends, or begun late."""
    begin, end = heard(sound, seconds)
    cut = sound.skip + begin - sound.start
    track = graph.input(url(sound.path)).audio
    track = track.filter("atrim", start=f"{cut:.6f}", end=f"{cut + end - begin:.6f}")
    track = track.filter("asetpts", "PTS-STARTPTS")
    if sound.layout:
        track = track.filter("aformat", channel_layouts=sound.layout)
    if sound.volume != 1.0:
        track = track.filter("volume", f"{sound.volume:.6f}")
    if not begin:
        return track
    track = track.filter("aresample", SAMPLES_PER_SECOND)
    return track.filter("adelay", delays=f"{round(begin * SAMPLES_PER_SECOND)}S", all=1)


def heard(sound: Sound, seconds: float) -> tuple[float, float]:
    """From when to when a sound is heard in a film; the second is not later where it isn't."""
    end = seconds if sound.length is None else min(seconds, sound.start + sound.length)
    return max(0.0, sound.start), end


def _compiled(output: Graph, ffmpeg: str) -> list[str]:
    flags = ("-hide_banner", "-nostdin", "-v", "error", "-y")
    return [str(part) for part in output.global_args(*flags).compile(cmd=ffmpeg)]
