"""A preview: the whole animation small and first, with a film, beside the job itself."""

from __future__ import annotations

from PIL import Image

from tests.farm_runs import Farm, card, names, wait_for


def test_a_preview_is_all_frames_small_and_a_film_before_the_frames_themselves(farm: Farm) -> None:
    scene = card(farm.folder / "a.testcard", "1-4", size=[64, 36])
    done = farm.submit(scene, "--preview", 50, "--scale", 50, "--no-video")
    out = farm.folder / "out"
    assert (done.code, done.json["video"]) == (0, None)
    assert f"The preview, 4 of 4 frames: {out / 'preview' / 'a.mp4'}" in done.err
    for folder, size in ((out / "preview", (16, 9)), (out, (32, 18))):
        assert sorted(path.name for path in (folder / "frames").iterdir()) == names("a", range(1, 5))
        with Image.open(folder / "frames" / "a.0003.png") as picture:
            assert picture.size == size
    told = [job["output"] for job in farm.look("jobs")["jobs"]]
    assert told == [str(out / "preview"), str(out)], "two jobs, the preview first"


def test_in_the_background_the_job_waits_behind_its_preview(farm: Farm) -> None:
    done = farm.submit(card(farm.folder / "a.testcard", "1-3"), "--preview", 50, "--detach")
    wait_for(lambda: farm.status(done.json["job"])["ended"], "the job behind its preview")
    assert {job["state"] for job in farm.look("jobs")["jobs"]} == {"succeeded"}
    assert (farm.folder / "out" / "preview" / "a.mp4").is_file()
