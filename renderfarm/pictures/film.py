"""Checked frames become a video that has every one of them, counted.

ffmpeg skips damaged pictures and stops at gaps with exit code 0, so it never sees a file: frames are read
here, in the order of an explicit list, and fed to it as raw pixels. What is not there is dealt with on
purpose (`missing`) and said in the result.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from renderfarm.errors import AssemblyError, InputError
from renderfarm.pictures import codecs, colour, encoding, ffmpeg
from renderfarm.pictures.encoding import Sound
from renderfarm.pictures.segments import Part, listing, spans
from renderfarm.pictures.shots import Picture, planned, thinned
from renderfarm.pictures.soundtrack import Soundtrack
from renderfarm.pictures.spaces import SRGB, Space, to_srgb
from renderfarm.words import files
from renderfarm.words.frames import listed
from renderfarm.words.scene import Colour

if TYPE_CHECKING:
    from renderfarm.pictures.codecs import Encoding
    from renderfarm.pictures.colour import Header, Pixels
    from renderfarm.pictures.encoding import Stream

PALETTE_FRAMES = 64
"""most frames that a GIF's palette is made from"""
CUT = "What is brighter than paper is cut off; h265, av1, vp9 and prores keep it."
MOST_ASPECT = 1000
USUAL_FPS = 24.0


@dataclass(frozen=True)
class VideoOptions:
    """How frames become a video; None means what suits the file name."""

    fps: float | None = None
    """None: what the pictures say, where they all say the same, else 24"""
    codec: str | None = None
    """h264, h265, prores, vp9, av1 or gif"""
    crf: int | None = None
    """quality: lower is better and larger"""
    soundtrack: Soundtrack = field(default_factory=Soundtrack)
    missing: str = "fail"
    """fail, hold (the frame before), slate (a picture that says so) or skip (a shorter video)"""
    colour: Colour | None = None
    """how scene-linear pictures are shown"""
    pixel_aspect: float | None = None
    """width to height of a pixel; None: what the pictures say, where they all say the same"""


@dataclass(frozen=True)
class Video:
    """A finished video; `notes` are sentences about what was done that nobody asked for."""

    path: Path
    frames: int
    notes: tuple[str, ...]
    seconds: float
    """wall clock that it took"""
    encoded: int
    """frames that were encoded then; the others had been before"""
    parts: tuple[Part, ...] = ()
    """what it was joined from"""


@dataclass(frozen=True)
class _Reel:
    """Shots, and what they are turned into."""

    shots: Sequence[Picture]
    headers: dict[Path, Header]
    stream: Stream
    encoding: Encoding
    ffmpeg: str
    view: Colour | None

    def load(self, shot: Picture) -> Pixels:
        """The pixels of one shot as the stream has them; over black where the video has no alpha."""
        stream, flat = self.stream, not self.encoding.keeps_alpha(self.stream.space)
        if shot.path is None:
            pixels = _slate(shot.frame, stream)
        else:
            try:
                pixels = colour.shown(shot.path, self.view, deep=stream.deep, flat=flat)
            except OSError as error:
                raise _unreadable(shot, error) from error
            if (space := self.headers[shot.path].space) != stream.space:
                pixels = to_srgb(pixels, space)
        if pixels.shape[1::-1] != stream.picture:
            raise _unreadable(shot, OSError("its pixels are not of the size that its header promises"))
        if stream.alpha and pixels.shape[2] == 3:
            opaque = np.full((*pixels.shape[:2], 1), np.iinfo(pixels.dtype).max, pixels.dtype)
            pixels = np.concatenate([pixels, opaque], axis=2)
        return np.ascontiguousarray(_repeated(colour.over_black(pixels) if flat else pixels, stream))

    @property
    def part(self) -> Encoding | None:
        """How a part of the film is encoded, where there can be such."""
        return self.encoding.part(self.stream.space, alpha=self.stream.alpha)

    def cut(self, shots: Sequence[Picture]) -> _Reel:
        """Some of the shots."""
        return replace(self, shots=shots, stream=replace(self.stream, frames=sum(shot.times for shot in shots)))

    def argv(self, target: Path, sounds: Sequence[Sound] = ()) -> list[str]:
        """What encodes it."""
        return encoding.command(self.ffmpeg, self.stream, self.encoding, target, sounds)

    def key(self) -> str:
        """Changes whenever a picture does, or what is made of it."""
        stamps = [Path(self.ffmpeg).stat(), *(shot.path.stat() for shot in self.shots if shot.path)]
        seen = [(stamp.st_size, stamp.st_mtime_ns) for stamp in stamps]
        shown = [(shot.frame, shot.path and shot.path.name, shot.times) for shot in self.shots]
        return hashlib.sha256(repr((self.argv(Path("/")), self.view, seen, shown)).encode()).hexdigest()[:32]


def assemble(
    frames: Sequence[Picture],
    out: Path,
    options: VideoOptions,
    *,
    progress: Callable[[int], None] | None = None,
    folder: Path | None = None,
) -> Video:
    """Encode frames, in the order given, into `out`, which appears whole or not at all.

    `progress` is called with the number of frames that the encoder has so far. Where `folder` has parts of
    the film (`encode_part`) only the others are encoded, and all are joined. Raises InputError for wishes that
    can't be met, AssemblyError naming the frames that are missing, damaged or of another size.
    """
    started = time.monotonic()
    reel, notes = _reel(frames, out, options)
    sounds, said = options.soundtrack.fitted(reel.stream, reel.encoding, out)
    parts = _parts(reel, frames, folder) if folder else []
    there = sum(part.frames for _, part in parts if part.path.exists())
    with _draft(out) as unfinished:
        if there:
            for each, part in parts:
                _encode_part(each, part.path)
            _join([part for _, part in parts], reel.encoding, unfinished, sounds)
        elif reel.encoding.container.audio is None:
            _encode_gif(reel, unfinished, progress)
        else:
            _encode(reel.argv(unfinished, sounds), reel, progress)
        _verify(reel.ffmpeg, unfinished, reel.stream.frames)
    if folder and parts:
        kept = {part.path for _, part in parts}  # for when a few frames are rendered again
        for path in {*folder.glob("*")} - kept:
            path.unlink(missing_ok=True)
    seconds, frame_count = time.monotonic() - started, reel.stream.frames
    joined = tuple(part for _, part in parts) if there else ()
    return Video(out, frame_count, (*notes, *said), seconds, frame_count - there, joined)


def encode_part(
    frames: Sequence[Picture],
    out: Path,
    options: VideoOptions,
    folder: Path,
    progress: Callable[[int], None] | None = None,
) -> Part | None:
    """Encode some frames of the film that `out` is going to be, for `assemble` to find; None where it can't
    be made of parts. Raises what `assemble` does."""
    reel, _ = _reel(frames, out, options)
    part = _part(reel, folder)
    if part:
        _encode_part(reel, part.path, progress)
    return part


def show(parts: Sequence[Part], out: Path) -> None:
    """Join parts, from the first one on, into a silent film for those who can't wait."""
    with _draft(out) as unfinished:
        _join(parts, codecs.choose(out), unfinished)


def _reel(frames: Sequence[Picture], out: Path, options: VideoOptions) -> tuple[_Reel, list[str]]:
    """What the film is made of, and what there is to say about it."""
    encoding_ = codecs.choose(out, options.codec, options.crf, sound=options.soundtrack.audio is not None)
    shots, notes = planned(frames, options.missing)
    headers = {shot.path: _header(shot, options.colour) for shot in shots if shot.path}
    fps = codecs.rate(options.fps or _told(header.fps for header in headers.values()) or USUAL_FPS)
    if (every := encoding_.container.every(fps)) > 1:
        fps, shots = fps / every, thinned(shots, every)
        which = {2: "second", 3: "third"}.get(every, f"{every}th")
        told = f"it has every {which} frame, {float(fps):g} a second"
        notes.append(f"A {out.suffix} can't play that fast: {told}.")
    stream = _stream(shots, headers, encoding_, fps)
    space, said = _space(headers.values(), encoding_)
    notes += said
    if layers := sorted({header.layer for header in headers.values() if header.layer}):
        notes.append(f"The frames have layers: the film shows {', '.join(layers)}.")
    stream = replace(stream, aspect=_aspect(options, headers.values()), space=space)
    if any(header.linear for header in headers.values()):
        notes += [concern] if (concern := colour.concern(options.colour)) else []
    ours = ffmpeg.find_ffmpeg()
    encoding_ = encoding.able(ours, encoding_, stream.size)
    return _Reel(shots, headers, stream, encoding_, ours, options.colour), notes


def _parts(reel: _Reel, frames: Sequence[Picture], folder: Path) -> list[tuple[_Reel, Part]]:
    """The parts of a film, each with where it is when it has been encoded."""
    shots = {shot.frame: shot for shot in reel.shots}
    found = []
    for span in spans(len(frames)):
        pictures = (frames[place] for place in span)
        some = reel.cut([shots[picture.frame] for picture in pictures if picture.frame in shots])
        if some.shots and (part := _part(some, folder)):
            found.append((some, part))
    return found


def _part(reel: _Reel, folder: Path) -> Part | None:
    if reel.part is None:
        return None
    path = folder / f"{reel.key()}.{reel.encoding.codec.parts}"
    return Part(path, reel.stream.frames, reel.stream.fps)


def _encode_part(reel: _Reel, path: Path, progress: Callable[[int], None] | None = None) -> None:
    """Encode a part that is not there."""
    part = reel.part
    if part is None or path.exists():
        return
    with _draft(path) as unfinished:
        _encode(replace(reel, encoding=part).argv(unfinished), reel, progress)
        _verify(reel.ffmpeg, unfinished, reel.stream.frames)


def _join(parts: Sequence[Part], encoding_: Encoding, target: Path, sounds: Sequence[Sound] = ()) -> None:
    """Make a film of its parts and of what is heard."""
    seconds = float(sum(part.frames / part.fps for part in parts))
    found = parts[0].path.with_name("parts.txt")
    files.write(found, listing(parts))
    ffmpeg.run(encoding.join_command(ffmpeg.find_ffmpeg(), found, encoding_, target, sounds, seconds))


def _header(shot: Picture, view: Colour | None) -> Header:
    try:
        return colour.header(shot.path or Path(), view)
    except OSError as error:
        raise _unreadable(shot, error) from error


def _unreadable(shot: Picture, error: OSError) -> AssemblyError:
    message = f"Frame {shot.frame} can't be read: {shot.path}: {error}"
    return AssemblyError(message, "Render it again, or move it away and choose --missing hold, slate or skip.")


def _stream(
    shots: Sequence[Picture], headers: dict[Path, Header], encoding_: Encoding, fps: Fraction
) -> Stream:
    """What is going to be fed; raises AssemblyError when the frames have different sizes."""
    sizes = Counter(header.size for header in headers.values())
    usual = sizes.most_common(1)[0][0]
    odd = [shot for shot in shots if shot.path and headers[shot.path].size != usual]
    if odd:
        others = ", ".join(f"{w}×{h}" for w, h in sorted(sizes) if (w, h) != usual)
        which = f"{'frame' if len(odd) == 1 else 'frames'} {listed(shot.frame for shot in odd)}"
        message = f"The frames differ in size: most are {usual[0]}×{usual[1]}, but {which} {others}."
        raise AssemblyError(message, "Render them again, or put them into folders of their own.")
    return encoding.Stream(
        picture=usual,
        size=(usual[0] + usual[0] % 2, usual[1] + usual[1] % 2) if encoding_.codec.even else usual,
        fps=fps,
        frames=sum(shot.times for shot in shots),
        alpha=any(header.alpha for header in headers.values()),
        deep=any(header.deep and (encoding_.codec.deep or header.space.hdr) for header in headers.values()),
    )


def _aspect(options: VideoOptions, headers: Iterable[Header]) -> Fraction:
    """The shape of a pixel, as a ratio of numbers that fit into every container."""
    said = options.pixel_aspect or _told(header.aspect for header in headers) or 1
    return Fraction(said).limit_denominator(MOST_ASPECT)


def _told(values: Iterable[float | None]) -> float | None:
    """What all say; None where they don't say the same."""
    said = set(values)
    return said.pop() if len(said) == 1 else None


def _space(headers: Iterable[Header], encoding_: Encoding) -> tuple[Space, list[str]]:
    """What the film is in, and what to say: what all frames are in where a tag can tell it, else sRGB."""
    found = Counter(header.space for header in headers)
    film = next(iter(found)) if len(found) == 1 else SRGB
    film = film if encoding_.holds(film) else SRGB
    notes = [] if film == SRGB else [f"The film is tagged {film.name}, as its frames are."]
    others = [space for space in found if space != film]
    if others:
        count, names = sum(found[space] for space in others), ", ".join(sorted(space.name for space in others))
        cut = f" {CUT}" if any(space.hdr for space in others) else ""
        are = "frame is" if count == 1 else "frames are"
        notes.append(f"{count} {are} in {names}: converted to sRGB.{cut}")
    return film, notes


@contextlib.contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """An empty file beside `out` that takes its place once it is whole; the next one takes a killed one's."""
    if out.is_dir():
        raise InputError(f"{out} is a folder.", "Name a file.")
    unfinished = out.with_name(f".{out.stem[:40]}.unfinished{out.suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)  # it may be a link to anything, in a stranger's project
        unfinished.write_bytes(b"")
    except OSError as error:
        hint = "Choose another place for the video."
        raise AssemblyError(f"{out} can't be written: {error.strerror}.", hint) from error
    try:
        yield unfinished
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(argv: Sequence[str], reel: _Reel, progress: Callable[[int], None] | None) -> None:
    tell, fed = progress or (lambda _: None), itertools.count(1)
    with ffmpeg.Encoder(argv) as encoder:
        for shot, pixels in _ahead(reel):
            for _ in range(shot.times):
                encoder.feed(pixels)
                tell(next(fed))
        encoder.finish(lambda: tell(reel.stream.frames))


def _encode_gif(reel: _Reel, target: Path, progress: Callable[[int], None] | None) -> None:
    """Two passes, palette first: in one pass ffmpeg would keep every frame in memory."""
    palette = target.with_name(f"{target.stem}.palette.png")
    palette.unlink(missing_ok=True)
    every = math.ceil(len(reel.shots) / PALETTE_FRAMES)
    some = reel.cut([replace(shot, times=1) for shot in reel.shots[::every]])
    try:
        _encode(encoding.palette_command(reel.ffmpeg, reel.stream, palette), some, None)
        _encode(encoding.gif_command(reel.ffmpeg, reel.stream, palette, target), reel, progress)
    finally:
        palette.unlink(missing_ok=True)


def _ahead(reel: _Reel) -> Iterator[tuple[Picture, Pixels]]:
    """Load pictures on all cores, in order, only a few ahead of what is used."""
    cores = len(os.sched_getaffinity(0))
    waiting: deque[tuple[Picture, Future[Pixels]]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for shot in reel.shots:
            waiting.append((shot, pool.submit(reel.load, shot)))
            if len(waiting) > cores:
                first, pixels = waiting.popleft()
                yield first, pixels.result()
        while waiting:
            first, pixels = waiting.popleft()
            yield first, pixels.result()


def _repeated(pixels: Pixels, stream: Stream) -> Pixels:
    """The picture with its last column and row twice where more is fed than it has."""
    if stream.picture == stream.size:
        return pixels
    (width, height), (wide, high) = stream.picture, stream.size
    return np.pad(pixels, ((0, high - height), (0, wide - width), (0, 0)), "edge")


def _slate(frame: int, stream: Stream) -> Pixels:
    """A dark picture that says which frame is missing."""
    width, height = stream.picture
    image = Image.new("RGB", stream.picture, (26, 28, 33))
    draw = ImageDraw.Draw(image)
    text = f"frame {frame}\nmissing"
    font = ImageFont.load_default(max(6, min(height // 6, width // 9)))
    draw.rectangle((0, 0, width - 1, height - 1), outline=(200, 70, 60), width=max(1, height // 60))
    draw.text((width / 2, height / 2), text, (225, 225, 225), font, anchor="mm", align="center")
    pixels = np.asarray(image)
    return pixels.astype(np.uint16) * 257 if stream.deep else pixels


def _verify(ours: str, video: Path, frames: int) -> None:
    found = ffmpeg.count_frames(ours, video)
    if found != frames:
        message = f"The video came out with {found} frames instead of {frames}, so it was thrown away."
        raise AssemblyError(message, "Try another codec or file type, and please report it.")
