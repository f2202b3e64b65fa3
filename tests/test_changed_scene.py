"""Somebody saves the scene while it is rendered: said, and never mixed up with what is there."""

from __future__ import annotations

from pathlib import Path

from farm_runs import Farm, card, ended, frames_there, wait_for


def test_a_watched_scene_saved_while_it_is_rendered_is_told_and_only_frames_from_before_are_reused(
    tmp_path: Path,
) -> None:
    farm = Farm(tmp_path / "farm")
    scene = card(farm.folder / "shot.testcard", "1-40", seconds=0.1)
    process = farm.start("submit", "--json", "--no-video", "-o", farm.folder / "out", "--", scene)
    wait_for(lambda: frames_there(farm.folder / "out") >= 3, "a few frames")
    card(scene, "1-40", seconds=0.11)
    done = ended(process)
    assert done.code == 1
    assert {failure["message"] for failure in done.json["failures"]} == {
        "shot.testcard changed while rendering"
    }
    card(scene, "1-40", seconds=0.1)
    again = farm.submit(scene, "--no-video")
    assert (again.code, again.json["frames"]["reused"]) == (0, done.json["frames"]["succeeded"])
