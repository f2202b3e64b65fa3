"""What options may be: each kind of nonsense ends in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from renderfarm import request
from renderfarm.errors import InputError, RenderfarmError
from renderfarm.farm import api
from renderfarm.job.home import farm_home
from renderfarm.settings.options import OPTIONS
from renderfarm.words.as_json import decode
from renderfarm.words.scene import Scene
from tests.farm_runs import Farm, card

LONG = "n" * 300
DEEP = "x/" * 3000


@pytest.mark.parametrize("name", ["output", "video", "audio", "blender", "povray"])
@pytest.mark.parametrize(
    "value", ["~nobody-here/x.mp4", f"{LONG}.mp4", f"{DEEP}x.mp4", "x\0.mp4", "\udcff.mp4", 3, b"x"]
)
def test_a_path_that_can_name_no_file_is_told_in_a_sentence(name: str, value: object) -> None:
    if name in ("blender", "povray") and value == "\udcff.mp4":
        pytest.skip("a bare command is looked for on PATH")
    with pytest.raises(InputError):
        OPTIONS[name].checked(value)


def test_a_link_that_leads_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("output", "video", "audio"):
        with pytest.raises(InputError):
            OPTIONS[name].checked(str(tmp_path / "loop" / "x.mp4"))


@pytest.mark.parametrize(
    "name", ["chunk", "workers", "samples", "scale", "retries", "timeout", "priority", "crf", "fps"]
)
@pytest.mark.parametrize(
    "value", ["9" * 5000, 10**30, 2**63, "1e400", float("inf"), float("nan"), True, [], {}]
)
def test_a_number_beyond_everything_is_told(name: str, value: object) -> None:
    with pytest.raises(InputError):
        OPTIONS[name].checked(value)


@pytest.mark.parametrize("value", ["9" * 5000, f"1-{'9' * 5000}", f"1-5x{'9' * 5000}"])
def test_a_frame_beyond_everything_is_told(value: str) -> None:
    with pytest.raises(InputError, match="too large"):
        OPTIONS["frames"].checked(value)


@pytest.mark.parametrize("name", ["no_video", "allow_missing", "no_reuse", "trust_scripts"])
@pytest.mark.parametrize("value", ["no", 0, 1.5, []])
def test_a_switch_is_true_or_false(name: str, value: object) -> None:
    with pytest.raises(InputError, match="neither true nor false"):
        request.checked({name: value})


def test_a_number_of_json_that_nothing_can_hold_is_no_number() -> None:
    with pytest.raises(ValueError, match="beyond 64 bits"):
        decode(Scene, {"path": "", "renderer": "", "saved_with": "", "frames": "1-2", "fps": 10**400})


@pytest.mark.parametrize("name", [f"~nobody-here{os.sep}x", LONG, DEEP])
def test_a_folder_that_can_not_be_is_told(name: str) -> None:
    with pytest.raises(RenderfarmError):
        api.check(name)


@pytest.mark.parametrize("line", ["trust_scripts = 3", "no_video = [1]", "allow_missing = {a = 1}", "fps = {}"])
def test_a_value_of_the_wrong_type_in_a_file_is_exit_2_and_names_the_file(line: str, tmp_path: Path) -> None:
    farm = Farm(tmp_path / "farm")
    (farm.folder / "xdg" / "renderfarm").mkdir(parents=True)
    (farm.folder / "xdg" / "renderfarm" / "renderfarm.toml").write_text(f"{line}\n")
    done = farm.run("submit", card(farm.folder / "a.testcard"), "--dry-run")
    assert (done.code, "renderfarm.toml" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME", "RENDERFARM_HOME"])
@pytest.mark.parametrize("value", ["~nobody-here/x", LONG])
def test_a_home_that_can_not_be_is_told(name: str, value: str, tmp_path: Path) -> None:
    farm = Farm(tmp_path / "farm")
    scene = card(farm.folder / "a.testcard", "1-2")
    assert farm.run("submit", scene, "--dry-run", **{name: value}).code in (0, 2)


def test_a_relative_data_folder_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDERFARM_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "here")
    assert farm_home() == tmp_path / ".local" / "share" / "renderfarm"


def test_a_name_that_is_not_utf8_is_no_job(tmp_path: Path) -> None:
    for verb in ("status", "logs", "resume", "retry", "cancel", "check"):
        assert Farm(tmp_path / "farm").run(verb, os.fsdecode(b"\xff")).code == 2
        assert Farm(tmp_path / "farm").run(verb, "~nobody-here").code == 2


def test_a_link_to_itself_among_frames_is_no_frame(tmp_path: Path) -> None:
    farm = Farm(tmp_path / "farm")
    assert farm.submit(card(farm.folder / "a.testcard", "1-3")).code == 0
    picture = farm.folder / "out" / "frames" / "a.0002.png"
    picture.unlink()
    picture.symlink_to(picture)
    (found,) = farm.run("check", farm.folder / "out", "--json").json["bad"]
    assert (found["frame"], found["finding"]) == (2, "gap")


def test_a_name_that_differs_only_in_case_from_a_file_that_is_there_says_so(tmp_path: Path) -> None:
    card(tmp_path / "Shot.testcard")
    with pytest.raises(InputError) as caught:
        request.scene_path(tmp_path / "shot.TESTCARD")
    assert "There is Shot.testcard, which differs only in capital and small letters." in caught.value.hint
