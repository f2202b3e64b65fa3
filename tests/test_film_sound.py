"""What a scene sounds like: mixed into the film as Blender mixes it, or said that it isn't."""

from __future__ import annotations

import json
import subprocess
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blender_runs import build_named, describe
from blender_scenes import has_blender, has_bpy, make_scene
from PIL import Image

from renderfarm.pictures.ffmpeg import find_ffmpeg
from renderfarm.pictures.film import Video, VideoOptions, assemble
from renderfarm.pictures.shots import Picture
from renderfarm.pictures.soundtrack import of_scene
from renderfarm.words.as_json import encode
from renderfarm.words.frames import parse
from renderfarm.words.scene import Scene, Sound
from renderfarm.words.work import Build

pytestmark = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")

STRIPS = """
editor = scene.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
low = strips.new_sound(name="low", filepath=TONE, channel=1, frame_start=1)
late = strips.new_sound(name="late", filepath=TONE, channel=2, frame_start=-3)
late.frame_offset_start, late.frame_offset_end, late.volume = 9, 10, 0.5
"""
HARD = {
    "a fade": 'low.keyframe_insert("volume", frame=1)',
    "a place": "low.pan = 0.5",
    "a speaker": """
speaker = bpy.data.speakers.new("S")
speaker.sound = low.sound
scene.collection.objects.link(bpy.data.objects.new("S", speaker))
""",
    "a packed file": "low.sound.pack()",
    "another timeline": """
outer = bpy.data.scenes.new("Outer")
outer.frame_start, outer.frame_end, outer.camera = 1, 24, scene.camera
editor = outer.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
strips.new_scene(name="S", scene=scene, channel=1, frame_start=1).scene_input = "SEQUENCER"
bpy.context.window.scene = outer
""",
    "a meta strip": """
meta = strips.new_meta(name="M", channel=5, frame_start=1)
low.move_to_meta(meta)
""",
}
MIXED = """
if "sound" in dir(bpy.ops) and hasattr(bpy.ops.sound, "mixdown"):
    try:
        bpy.ops.sound.mixdown(filepath=MIX, container="WAV", codec="PCM", format="S16")
    except RuntimeError:
        pass
"""


@pytest.fixture(scope="module")
def newest() -> Build:
    return build_named("bpy" if has_bpy() else "blender")


def tone(path: Path) -> Path:
    """Two seconds that change all the time, so that a shift is heard."""
    time = np.arange(2 * 48_000) / 48_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes((8000 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype("<i2").tobytes())
    return path


def heard(path: Path) -> np.ndarray:
    argv = [
        find_ffmpeg(),
        "-v",
        "error",
        "-i",
        str(path),
        "-vn",
        "-f",
        "s16le",
        "-ac",
        "1",
        "-ar",
        "48000",
        "-",
    ]
    return np.frombuffer(subprocess.run(argv, check=True, capture_output=True).stdout, "<i2").astype(float)


def described(build: Build, folder: Path, more: str = "") -> Scene:
    names = {"TONE": str(tone(folder / "t.wav")), "MIX": str(folder / "mix.wav")}
    script = "".join(f"{name} = {value!r}\n" for name, value in names.items()) + STRIPS + more
    scene = make_scene(
        folder / "s.blend", frames=(1, 24), script=script, saver="blender" if build.version < (5, 0) else "bpy"
    )
    return describe(build, scene, folder / "d")


def strip(path: Path) -> Sound:
    return Sound("s", str(path), start=1.0, end=25.0, skipped=0.0)


def film(scene: Scene, folder: Path, frames: str = "1-24", name: str = "v.mov", **options: object) -> Video:
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    shown = parse(frames)
    track = of_scene(scene.sounds, shown, scene.fps, scene.fps)
    wanted = VideoOptions(fps=scene.fps, codec="h264" if name == "v.mov" else None, soundtrack=track)
    pictures = [Picture(frame, folder / "a.png") for frame in shown]
    return assemble(pictures, folder / name, replace(wanted, **options))


def test_the_film_sounds_like_blender_s_own_mix(tmp_path: Path, build: Build) -> None:
    scene = described(build, tmp_path, MIXED)
    if not (tmp_path / "mix.wav").is_file():
        pytest.skip("this Blender has no Audaspace")
    ours, theirs = heard(film(scene, tmp_path).path), heard(tmp_path / "mix.wav")
    length = min(len(ours), len(theirs)) - 600
    assert length > 40_000
    assert np.corrcoef(ours[:length], theirs[:length])[0, 1] > 0.99
    assert np.abs(ours[:length]).mean() == pytest.approx(np.abs(theirs[:length]).mean(), rel=0.03)


def test_a_part_of_the_frames_has_its_part_of_the_sound(tmp_path: Path, newest: Build) -> None:
    scene = described(newest, tmp_path)
    whole, part = (
        heard(film(scene, tmp_path).path),
        heard(film(scene, tmp_path, "13-24", "p.mov", codec="h264").path),
    )
    start = round(12 / scene.fps * 48_000)
    assert np.corrcoef(whole[start : start + 20_000], part[:20_000])[0, 1] > 0.99


@pytest.mark.parametrize("kind", HARD)
def test_what_only_blender_can_mix_is_said_to_be_missing(tmp_path: Path, newest: Build, kind: str) -> None:
    made = film(described(newest, tmp_path, HARD[kind]), tmp_path)
    (note,) = made.notes
    assert "silent" in note
    assert "--audio" in note


def test_sound_that_a_film_can_t_have_is_said(tmp_path: Path) -> None:
    sounds = (strip(tone(tmp_path / "t.wav")), strip(tmp_path / "gone.wav"))
    scene = Scene("s", "blender", "", "1-24", 24.0, (32, 32), None, sounds=sounds)
    assert "gone.wav can't be read" in " ".join(film(scene, tmp_path).notes)
    assert "has no sound" in " ".join(film(scene, tmp_path, name="v.gif").notes)
    assert "silent" in " ".join(film(scene, tmp_path, "1-24x2").notes)


def test_an_output_folder_s_film_has_the_scene_s_sound(tmp_path: Path) -> None:
    from renderfarm.farm import api

    (tmp_path / "frames").mkdir()
    for n in range(1, 13):
        Image.new("RGB", (32, 32)).save(tmp_path / "frames" / f"s.{n:04d}.png")
    heard_in_it = (strip(tone(tmp_path / "t.wav")),)
    scene = Scene("s", "blender", "", "1-12", 24.0, (32, 32), None, sounds=heard_in_it)
    (tmp_path / "job.json").write_text(json.dumps({"frames": "1-12", "scene": encode(scene)}))
    assert np.abs(heard(api.assemble(tmp_path, tmp_path / "v.mp4").path)).mean() > 1000
