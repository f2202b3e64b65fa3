"""ffmpeg: which encoder a file name means, the graph that feeds it, and the process that runs it.

ffmpeg-python builds the graph and compiles it to an argument list; the process is our own, so that it is
killed when we are stopped and its complaints reach the user (docs/adr/video-through-ffmpeg-python.md).
Frames arrive as raw pixels on standard input: file names, gaps and numbering never reach ffmpeg.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renderfarm.errors import AssemblyError, InputError
from renderfarm.pictures.spaces import SRGB, Space
from renderfarm.renderers.asking import surroundings

if TYPE_CHECKING:
    from renderfarm.pictures.colour import Pixels

    Graph = Any

POLL_SECONDS = 0.1
TAIL_LINES = 6
SAMPLES_PER_SECOND = 48_000
"""of a sound that begins late, to the sample"""
NTSC_SHARE = 0.0002
"""how far 23.98 is from 24000/1001, of which 24 is 0.001 away"""
INSTALL = "Install ffmpeg: `sudo apt-get install ffmpeg`, or `pip install 'renderfarm[ffmpeg]'`."


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

    def part(self, stream: Stream) -> Encoding | None:
        """The encoding of a part of the film; None where there can be none: only WebM and Matroska keep VP9's
        alpha."""
        if not self.codec.parts or (
            self.codec.parts == "mp4" and stream.alpha and self.keeps_alpha(stream.space)
        ):
            return None
        return replace(self, container=Container(self.codec.parts, (), self.container.audio))


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


def able(ffmpeg: str, encoding: Encoding, size: tuple[int, int]) -> Encoding:
    """The same encoding, by the spare encoder where the first choice isn't there or takes no such size."""
    codec = encoding.codec
    if codec.spare is None or (min(size) >= codec.smallest and codec.encoder in encoders(ffmpeg)):
        return encoding
    return replace(encoding, codec=codec.spare)


def encoders(ffmpeg: str) -> frozenset[str]:
    """The names of all encoders that an ffmpeg was built with."""
    answer = _run([ffmpeg, "-hide_banner", "-encoders"])
    return frozenset(line.split()[1] for line in answer.stdout.splitlines() if len(line.split()) > 1)


def rate(fps: float) -> Fraction:
    """Frames per second as an exact fraction: 23.976 and 29.97 mean 24000/1001 and 30000/1001."""
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise InputError(f"{fps:g} frames per second make no video.", "Use a number like 24, 25 or 29.97.")
    ntsc = Fraction(math.ceil(fps) * 1000, 1001)
    if abs(fps / ntsc - 1) < NTSC_SHARE:
        return ntsc
    return Fraction(fps).limit_denominator(1001) if fps > 1 else 1 / Fraction(1 / fps).limit_denominator(1001)


def find_ffmpeg() -> str:
    """The ffmpeg on PATH, else the one that imageio-ffmpeg brings; raises AssemblyError with the command."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        bundled = importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        raise AssemblyError("There is no ffmpeg on this machine, so no video.", INSTALL) from error
    return str(bundled.get_ffmpeg_exe())


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
    return _compiled(graph.output(*tracks, _url(target), **options), ffmpeg)


def join_command(
    ffmpeg: str, listing: Path, encoding: Encoding, target: Path, sounds: Sequence[Sound], seconds: float
) -> list[str]:
    """The argument list that makes a film of listed parts, as they are, and of what is heard."""
    import ffmpeg as graph

    options = {"c:v": "copy", **_container(encoding, sounds)}
    tracks = [graph.input(_url(listing), f="concat").video]
    if sounds:
        tracks.append(_sound_graph(graph, sounds, seconds, encoding.container.layouts))
    return _compiled(graph.output(*tracks, _url(target), **options), ffmpeg)


def _container(encoding: Encoding, sounds: Sequence[Sound]) -> dict[str, str | int]:
    options: dict[str, str | int] = {"f": encoding.container.format, **encoding.container.options}
    if sounds and encoding.container.audio:
        options["c:a"] = encoding.container.audio
    return options


def palette_command(ffmpeg: str, stream: Stream, target: Path) -> list[str]:
    """The argument list that makes a palette picture of fed frames: the first pass of a GIF."""
    import ffmpeg as graph

    palette = _raw_input(graph, stream).filter("palettegen", reserve_transparent=int(stream.alpha))
    return _compiled(graph.output(palette, _url(target), f="image2", update=1), ffmpeg)


def gif_command(ffmpeg: str, stream: Stream, palette: Path, target: Path) -> list[str]:
    """The argument list that encodes fed frames with a palette: the second pass of a GIF."""
    import ffmpeg as graph

    colours = graph.input(_url(palette))
    video = graph.filter([_raw_input(graph, stream), colours], "paletteuse", dither="sierra2_4a")
    video = video.filter("setsar", _ratio(stream.aspect))
    return _compiled(graph.output(video, _url(target), f="gif"), ffmpeg)


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
    track = graph.input(_url(sound.path)).audio
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
    flags = ("-hide_banner", "-nostdin", "-v", "error", "-progress", "pipe:1", "-y")
    return [str(part) for part in output.global_args(*flags).compile(cmd=ffmpeg)]


def _url(path: Path) -> str:
    """A path that ffmpeg can't take for an option, a protocol or a pattern."""
    return f"file:{path.absolute()}"


class Encoder:
    """A running ffmpeg that is fed frames; killed when its block is left before it has finished."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.encoded = 0
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            start_new_session=True,
            env=surroundings(),
        )
        yield_like(self._process.pid, os.getpriority(os.PRIO_PROCESS, 0))
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._output.fileno(), False)

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        try:
            self._input.close()
        except BrokenPipeError:
            pass  # what was buffered had nowhere to go
        self._output.close()
        self._complaints.close()

    def feed(self, pixels: Pixels) -> None:
        """Hand over one frame; raises AssemblyError when ffmpeg has given up."""
        try:
            self._input.write(pixels.data)
        except BrokenPipeError:
            self._process.wait()
            raise self._failure() from None
        self._read_progress()

    def finish(self, tick: Callable[[], None]) -> None:
        """Let ffmpeg write what it has, calling `tick` meanwhile; raises AssemblyError when it fails."""
        try:
            self._input.close()
        except BrokenPipeError:
            pass  # ffmpeg's exit code tells more
        while self._read_progress():
            select.select([self._output], [], [], POLL_SECONDS)
            tick()
        if self._process.wait():
            raise self._failure()

    def _read_progress(self) -> bool:
        """`-progress` writes blocks of KEY=VALUE lines, the last whole frame= counts; false at its end."""
        said = self._output.read()
        self.encoded = _frame_counts((said or b"").decode("ascii", "replace"), self.encoded)
        return said != b""

    def _failure(self) -> AssemblyError:
        self._complaints.seek(0)
        said = self._complaints.read().decode("utf-8", "replace")
        return failure(said, self._process.returncode)


def yield_like(process: int, niceness: int) -> None:
    """A session is a group of its own to Linux, in which niceness counts for nothing beyond the group's own."""
    with contextlib.suppress(OSError):  # no Linux, or no such groups
        Path(f"/proc/{process}/autogroup").write_text(str(niceness))


def failure(said: str, code: int) -> AssemblyError:
    """The error for an ffmpeg that failed, with the end of what it said."""
    tail = [line for line in said.replace("\r", "\n").splitlines() if line.strip()][-TAIL_LINES:]
    died = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
    hint = f"This ffmpeg lacks the encoder. {INSTALL}" if "Unknown encoder" in said else ""
    if "No space left" in said:
        hint = "The disk is full; free some space."
    return AssemblyError("\n  ".join([f"ffmpeg {died}.", *tail]), hint)


def run(argv: Sequence[str], seconds: float | None = None) -> str:
    """What ffmpeg says when it does what needs no frames fed; raises AssemblyError when it fails, and
    TimeoutExpired."""
    done = _run(argv, seconds)
    if done.returncode:
        raise failure(done.stderr, done.returncode)
    return done.stdout


def count_frames(ffmpeg: str, video: Path) -> int:
    """The pictures in a finished video, counted packet by packet; raises AssemblyError if it can't be read.

    `framecrc` writes a line for each packet in every release; what `-progress` says of copied streams differs.
    """
    argv = [ffmpeg, "-nostdin", "-v", "error", "-i", _url(video), "-map", "0:v:0", "-c", "copy"]
    lines = run([*argv, "-f", "framecrc", "-"]).splitlines()
    if not any(line.startswith("#tb") for line in lines):
        raise AssemblyError("ffmpeg doesn't say how many frames the video has.", INSTALL)
    return sum(line[:1].isdigit() for line in lines)


def has_sound(ffmpeg: str, audio: Path) -> bool:
    """Whether ffmpeg finds an audio track that it can decode in a file."""
    argv = [ffmpeg, "-nostdin", "-v", "error", "-t", "0.1", "-i", _url(audio)]
    return _run([*argv, "-map", "0:a:0", "-f", "null", "-"]).returncode == 0


def _run(argv: Sequence[str], seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        start_new_session=True,
        env=surroundings(),
        timeout=seconds,
    )


def _frame_counts(progress: str, before: int) -> int:
    """The last frame= in some `-progress` output, or `before` where there is none."""
    counts = [line.partition("=")[2].strip() for line in progress.splitlines() if line.startswith("frame=")]
    return int(counts[-1]) if counts and counts[-1].isdigit() else before
