"""What is heard under a film: a track that was given, or the sounds of a scene's own timeline."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from renderfarm.errors import InputError
from renderfarm.pictures import ffmpeg
from renderfarm.pictures.codecs import Encoding
from renderfarm.pictures.encoding import Sound, Stream, heard
from renderfarm.words.frames import FrameRange
from renderfarm.words.scene import Sound as Strip


@dataclass(frozen=True)
class Soundtrack:
    """What should be heard."""

    audio: Path | None = None
    """what was given"""
    offset: float = 0.0
    """seconds into it at which the first frame is shown; negative: it begins later"""
    sounds: tuple[Sound, ...] = ()
    """what is heard where nothing was, from the first frame on"""
    unheard: str = ""
    """why the scene's sounds are none of these"""

    def fitted(self, stream: Stream, encoding: Encoding, out: Path) -> tuple[list[Sound], list[str]]:
        """What is heard in a film, and what there is to say about it; raises InputError."""
        ours = ffmpeg.find_ffmpeg()
        if self.audio is not None:
            return [self._given(self.audio, ours)], []
        wanted = [sound for sound in self.sounds if operator.lt(*heard(sound, stream.seconds))]
        if wanted and encoding.container.audio is None:
            return [], [f"A {out.suffix} file has no sound: the scene's is left out."]
        there = {sound.path for sound in wanted if sound.path.is_file()}
        there = {path for path in there if ffmpeg.has_sound(ours, path)}
        lost = sorted({sound.path for sound in wanted} - there)
        notes = [f"The scene's sound {path} can't be read: it is not in the film." for path in lost]
        return [sound for sound in wanted if sound.path in there], [*filter(None, [self.unheard]), *notes]

    def _given(self, audio: Path, ours: str) -> Sound:
        if not ffmpeg.has_sound(ours, audio):
            raise InputError(f"{audio} has no sound that ffmpeg can read.", "Use a WAV, FLAC, MP3 or M4A.")
        return Sound(audio, start=-self.offset)


def of_scene(strips: Sequence[Strip], shown: FrameRange, fps: float, own_fps: float) -> Soundtrack:
    """The sounds of a scene's timeline under the frames shown, or why not."""
    if odd := next((strip for strip in strips if not strip.plain or not strip.path), None):
        packed = "is packed into the scene, or another scene plays it"
        how = "changes while it is heard" if odd.path else packed
        why = f"The film is silent: {odd.name} {how}. Render the scene's audio and add it with --audio."
        return Soundtrack(unheard=why)
    all_there = len(shown) == shown.last - shown.first + 1
    if strips and not (all_there and math.isclose(fps, own_fps, rel_tol=1e-6)):
        lacks = "it has not all frames, or another rate, and the scene's sound would not fit"
        return Soundtrack(unheard=f"The film is silent: {lacks}.")
    return Soundtrack(sounds=tuple(_placed(strip, shown.first, own_fps) for strip in strips))


def _placed(strip: Strip, first: int, fps: float) -> Sound:
    """A strip under a film that begins with some frame, in two channels, as Blender mixes by default."""
    return Sound(
        Path(strip.path),
        start=(strip.start - first) / fps,
        skip=strip.skipped,
        length=(strip.end - strip.start) / fps,
        volume=strip.volume,
        layout="stereo",
    )
