"""What a Blender scene says of the sound in its timeline."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import pytest
from blender_runs import describe
from blender_scenes import has_blender, has_bpy, make_scene

from renderfarm.errors import MissingAssetsError
from renderfarm.farm import verbs
from renderfarm.words.request import Request
from renderfarm.words.scene import Sound
from renderfarm.words.work import Build

pytestmark = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")

STRIP = """
editor = scene.sequence_editor_create()
strips = editor.strips if hasattr(editor, "strips") else editor.sequences
strip = strips.new_sound(name="Tune", filepath=os.path.join(folder, "tune.wav"), channel=1, frame_start=3)
scene.render.fps = 10
"""


def write(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(2 * 8000))


def sounds(build: Build, folder: Path, script: str = "") -> tuple[Sound, ...]:
    write(folder / "tune.wav")
    scene = make_scene(folder / "s.blend", script=STRIP + script)
    described = describe(build, scene, folder / "d")
    assert not any("3D" in note for note in described.notes)
    files = {asset.path for asset in described.assets if asset.kind == "sound"}
    assert files == {sound.path for sound in described.sounds if sound.path}
    return described.sounds


def test_a_strip_is_told_with_its_file_and_its_time(tmp_path: Path, build: Build) -> None:
    (sound,) = sounds(build, tmp_path, "strip.frame_offset_start, strip.volume = 2, 0.5")
    assert (sound.name, sound.path) == ("Tune", str(tmp_path / "tune.wav"))
    assert (sound.start, sound.skipped, sound.volume, sound.plain) == (5.0, 0.2, 0.5, True)


def test_what_is_muted_is_not_heard(tmp_path: Path, build: Build) -> None:
    assert sounds(build, tmp_path, "strip.mute = True") == ()


def test_one_that_is_gone_stops_a_film_and_no_pictures(tmp_path: Path, home: Path) -> None:
    write(tmp_path / "tune.wav")
    scene = make_scene(tmp_path / "s.blend", frames=(1, 2), script=STRIP)
    (tmp_path / "tune.wav").unlink()
    wanted = Request(str(scene), str(tmp_path / "out"))
    with pytest.raises(MissingAssetsError, match=r"tune\.wav"):
        verbs.plan(wanted)
    assert verbs.plan(replace(wanted, no_video=True)).frames == 2


def test_a_volume_that_changes_is_no_plain_sound(tmp_path: Path, build: Build) -> None:
    script = 'strip.volume = 0; strip.keyframe_insert("volume", frame=1)'
    (sound,) = sounds(build, tmp_path, script)
    assert not sound.plain


def test_a_sound_in_the_scene_itself_has_no_path(tmp_path: Path, build: Build) -> None:
    (sound,) = sounds(build, tmp_path, "strip.sound.pack()")
    assert sound.path == ""
