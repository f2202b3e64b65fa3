"""Graphics cards: which are shown, how sessions share them, and what becomes of frames that one fails.

No card was seen: folders of made-up devices, and test cards that pretend to have some.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import write_testcard

import renderfarm
from renderfarm.errors import InputError
from renderfarm.farm import doctor
from renderfarm.settings.checks import device
from renderfarm.words.devices import chosen, devices

pytestmark = pytest.mark.usefixtures("nothing_left_running")


@pytest.mark.parametrize(
    ("there", "shown"),
    [
        (
            "nvidia0 nvidia1 nvidiactl nvidia-uvm nvidia-uvm-tools",
            "nvidia0 nvidia1 nvidiactl nvidia-uvm nvidia-uvm-tools",
        ),
        ("kfd dri/card0 dri/renderD128 dri/renderD129", "dri/renderD128 dri/renderD129 kfd"),
        ("dri/card0 nvidiactl null", ""),
    ],
)
def test_every_card_is_shown_and_nothing_without_one(tmp_path: Path, there: str, shown: str) -> None:
    for name in there.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert devices(tmp_path) == [str(tmp_path / name) for name in shown.split()]


@pytest.mark.parametrize(
    ("said", "wanted", "cards"),
    [("auto", None, "ABC"), ("GPU", "gpu", "ABC"), ("2, 0,2", "0,2", "AC"), ("0,3", "0,3", "")],
)
def test_cards_are_named_by_number(said: str, wanted: str | None, cards: str) -> None:
    assert device(said) == wanted
    assert chosen("ABC", wanted or "auto") == list(cards)


@pytest.mark.parametrize("said", ["quantum", "0;1", "-1", "", "1,"])
def test_what_names_no_device_is_refused(said: str) -> None:
    with pytest.raises(InputError, match="auto, cpu, gpu"):
        device(said)


@pytest.mark.usefixtures("home")
def test_each_card_has_a_session_and_a_frame_that_a_card_fails_is_rendered_by_the_processor(
    tmp_path: Path,
) -> None:
    fails = {"5": {"what": "card"}}
    scene = write_testcard(tmp_path, cards=["A", "B"], faults=fails, seconds=0.05, frames="1-12")
    status = renderfarm.submit(scene, output=tmp_path / "out", no_video=True)
    assert status.frames.succeeded == 12
    assert any("a graphics card failed" in note for note in status.notes)
    logs = "".join(path.read_text() for path in (tmp_path / "out" / "logs").iterdir())
    assert all(line in logs for line in ("done on A\n", "done on B\n", "frame 5: done\n"))
    # what cards rendered is known again; pictures of the processor are others
    assert renderfarm.submit(scene, output=tmp_path / "again", no_video=True).frames.reused == 11
    by_hand = renderfarm.submit(scene, output=tmp_path / "cpu", no_video=True, device="cpu")
    assert (by_hand.frames.succeeded, by_hand.frames.reused) == (12, 0)


def test_doctor_lists_cards_with_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A10, 23028 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    driver = tmp_path / "drm" / "card1" / "device"
    driver.mkdir(parents=True)
    (driver / "mem_info_vram_total").write_text(f"{16 << 30}\n")
    said = [check.detail for check in doctor.cards(tmp_path / "drm")]
    assert said == ["NVIDIA A10, 23028 MiB", "card1, 16384 MiB"]
