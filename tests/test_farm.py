"""The farm's verbs as scripts see them: JSON, exit codes, what lies in the output folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from cloud import video_frames
from farm_runs import (
    PATIENCE_SECONDS,
    Farm,
    card,
    ended,
    fault,
    frames_there,
    kill,
    names,
    pixels,
    processes,
    wait_for,
)
from test_film_sound import tone

from renderfarm.job.store import Store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Farm, Any]:
    """A job of twelve frames, done with video and all, and what was said about it."""
    farm = Farm(tmp_path_factory.mktemp("finished"))
    (farm.folder / "somebody").mkdir()
    done = farm.submit(card(farm.folder / "shot.testcard"), HOME=str(farm.folder / "somebody"))
    assert done.code == 0, done.err
    return farm, done.json


def test_collecting_a_job_of_this_machine_says_where_it_stands(finished: tuple[Farm, Any]) -> None:
    farm, said = finished
    assert farm.look("collect", said["job"]) == farm.status(said["job"])


def test_nothing_unfinished_stays_in_the_scratch_folder(finished: tuple[Farm, Any]) -> None:
    farm, _ = finished
    scratch = farm.folder / "out/.renderfarm"
    assert {path.name for path in scratch.iterdir() if path.is_file()} <= {"lock", "made.json", "film.mp4"}
    kept = {"job.json", "journal", "lock"}
    for folder in (path for path in scratch.iterdir() if path.is_dir()):
        assert {path.name for path in folder.iterdir()} == (set() if folder.name == "work" else kept), folder


def test_a_renderer_that_looked_and_had_nothing_to_render_leaves_no_folder(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-4")
    assert farm.submit(scene, "--no-video").code == 0
    for path in farm.home.glob("farm.sqlite*"):  # and with it what was known of the scene
        path.unlink()
    again = farm.run("submit", scene, "--no-video", "-o", farm.folder / "again", "--json")
    assert again.json["frames"]["reused"] == 4
    assert not list((farm.folder / "again/.renderfarm").glob("work/*"))


def test_a_second_range_does_not_replace_the_film_of_the_first(farm: Farm) -> None:
    scene, out = card(farm.folder / "shot.testcard", "1-6"), farm.folder / "out"
    videos = [farm.submit(scene, "-f", frames).json["video"] for frames in ("1-3", "1-6", "3,1,2", "1-6")]
    assert videos == [str(out / name) for name in ("shot.mp4", "shot.1-6.mp4") * 2]
    assert [video_frames(out / name) for name in ("shot.mp4", "shot.1-6.mp4")] == [3, 6]
    notes = farm.run("status", "out").out
    assert "so this one is shot.1-6.mp4" in notes


def test_a_film_is_made_again_when_its_sound_is_another(farm: Farm) -> None:
    scene, sound = card(farm.folder / "shot.testcard", "1-3"), tone(farm.folder / "a.wav")
    films = []
    for _ in range(2):
        films.append(Path(farm.submit(scene, "--audio", sound).json["video"]).read_bytes())
        sound.write_bytes(sound.read_bytes()[:1000] + bytes(190_000))
    assert films[0] != films[1]


def test_a_film_grows_while_the_job_runs_and_only_its_part_follows_a_frame_that_is_rendered_again(
    farm: Farm,
) -> None:
    scene = card(farm.folder / "shot.testcard", "1-24", faults=fault("hang", 24, times=1))
    out = farm.folder / "out"
    farm.home.mkdir()
    with contextlib.closing(Store(farm.home)) as store:
        store.set_measure("encoded pixels per second of .mp4", 1.0)  # a film that is worth the while
    process = farm.start("submit", "--workers", "1", "-o", out, scene)
    grown = out / ".renderfarm/film/so-far.mp4"
    wait_for(grown.exists, "the first part")
    assert video_frames(grown) >= 8
    wait_for(
        lambda: 24 in {node["frame"] for node in farm.status(farm.only_job())["nodes"]}, "the frame that hangs"
    )
    assert process.poll() is None, "it is there before the job has ended"
    for pid, line in processes(farm.folder).items():
        if "testcard_inside" in line:
            kill(pid)
    assert ended(process).code == 0
    before = {path.name for path in grown.parent.iterdir()}
    assert (len(before), video_frames(out / "shot.mp4")) == (3, 24)
    assert farm.run("retry", "out", "--frames", "20").code == 0
    assert len({path.name for path in grown.parent.iterdir()} & before) == 2
    assert video_frames(out / "shot.mp4") == 24


def test_logs_of_a_running_job_can_be_read(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-60", seconds=0.05)
    process = farm.start("submit", "--no-video", "-o", farm.folder / "out", scene)
    wait_for(lambda: frames_there(farm.folder / "out") > 2, "the first frames")
    shown = farm.run("logs", farm.only_job())
    process.kill()
    ended(process)
    assert shown.code == 0, shown.err
    assert "frame 1: done" in shown.out


def test_progressive_order_renders_the_ends_and_the_middle_first(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-9", seconds=0.05)
    assert farm.submit(scene, "--order", "progressive", "--no-video", "--chunk", "1").code == 0
    times = {path.name: path.stat().st_mtime_ns for path in (farm.folder / "out/frames").iterdir()}
    first = sorted(times, key=times.__getitem__)[:3]
    assert first == ["shot.0001.png", "shot.0009.png", "shot.0005.png"]


def test_workers_render_the_same_pictures_however_many_there_are(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-20", seconds=0.01)
    for workers in (1, 3):
        out = farm.folder / f"with{workers}"
        done = farm.submit(scene, "-o", out, "--workers", workers, "--no-reuse", "--no-video")
        assert done.code == 0, done.err
    assert pixels(farm.folder / "with1/frames") == pixels(farm.folder / "with3/frames")


def test_a_reader_who_leaves_does_not_stop_a_job(farm: Farm) -> None:
    scene = card(farm.folder / "shot.testcard", "1-40", seconds=0.02)
    process = farm.start("submit", "--no-video", "-o", farm.folder / "out", scene)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    process.wait(PATIENCE_SECONDS)
    assert list(pixels(farm.folder / "out/frames")) == names("shot", range(1, 41))


def test_nothing_is_written_into_the_users_home(finished: tuple[Farm, Any]) -> None:
    assert not list((finished[0].folder / "somebody").iterdir())
