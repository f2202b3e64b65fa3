"""Frames rendered in tiles: the merged picture is the whole one, pixel for pixel, or it is refused by name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813 - its documentation calls it so
import pytest
from blender_runs import build_named, describe, opened_for
from blender_scenes import has_blender, has_bpy
from blender_scenes import make_scene as blend
from farm_runs import Farm, ended, wait_for
from hypothesis import given
from hypothesis import strategies as st
from povray_scenes import make_scene, make_still

from renderfarm.errors import InputError
from renderfarm.farm import preparation, stills, verbs
from renderfarm.farm.terms import Terms
from renderfarm.job.job import Job
from renderfarm.job.observed import together
from renderfarm.job.record import Record, folder_of
from renderfarm.job.snapshots import read_on
from renderfarm.job.store import Store
from renderfarm.job.tiles import exact, proof
from renderfarm.job.tiles import parts as cut_into
from renderfarm.pictures.look import look
from renderfarm.pictures.merging import costs, differing, merge, seam, steps
from renderfarm.settings.pool import PoolConfig
from renderfarm.web import views
from renderfarm.web.thumbnails import Thumbnails
from renderfarm.words.request import Request, Sandbox, Settings
from renderfarm.words.scene import Scene
from renderfarm.words.status import Counts
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build, Part, Work

SIZE = (107, 75)
AREA = "light_source { <-3, 5, -3> 1 area_light x*2, z*2, 3, 3 adaptive 1 %s }"
BROKEN = """#!/bin/sh
echo "$@" >> {folder}/started
case "$*" in *+SC65*) [ -e {folder}/mended ] || exit 1;; esac
exec /usr/bin/env povray "$@"
"""


def stand_in(folder: Path, script: str, **more: str) -> Path:
    """A program that does something of its own before it is POV-Ray."""
    folder.mkdir()
    (folder / "povray").write_text(script.format(folder=folder, **more))
    (folder / "povray").chmod(0o755)
    return folder / "povray"


def still(size: tuple[int, int], block: int = 1, **more: Any) -> Scene:
    return Scene("s", "blender", "", "1", 24.0, size, None, block=block, **more)


def pixels(path: Path | str) -> np.ndarray:
    return np.asarray(oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT))


def by_hand(ini: Path, *options: str) -> np.ndarray:
    """The whole picture as POV-Ray itself renders it."""
    argv = ["povray", ini.name, "+Owhole.png", "-D", "+WT1", *options]
    subprocess.run(argv, cwd=ini.parent, check=True, capture_output=True)
    (found,) = ini.parent.glob("whole*.png")
    return pixels(found)


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        (
            ("Antialias=on", "Sampling_Method=1", "Antialias_Threshold=0.05", "Bits_Per_Color=16"),
            AREA % "" + f"#declare radiosity_on = 0; #if (0) {AREA % 'jitter'} #end",
        ),
        pytest.param(
            ("Antialias=on", "Sampling_Method=2", "Jitter=on", "Output_Alpha=on"), "", marks=pytest.mark.slow
        ),
    ],
)
def test_a_picture_of_tiles_is_the_whole_picture(farm: Farm, options: tuple[str, ...], extra: str) -> None:
    ini = make_scene(farm.folder, frames=2, size=SIZE, extra=extra, options=options)
    done = farm.submit(ini, "--split", "tiles=3x2", "-f", "2", "--no-video")
    assert done.code == 0, done.err
    assert done.json["frames"]["total"] == 1
    assert (done.json["parts"]["succeeded"], done.json["parts"]["total"]) == (6, 6)
    assert np.array_equal(pixels(farm.folder / "out/frames/tiny.0002.png"), by_hand(ini, "+SF2", "+EF2"))
    again = farm.submit(ini, "-f", "2", "--no-video", "-o", farm.folder / "unsplit")
    assert again.json["frames"]["reused"] == 1, "a split frame is the same as any other"


def test_a_part_that_fails_is_named_and_is_all_that_a_retry_renders(farm: Farm) -> None:
    program = stand_in(farm.folder / "bin", BROKEN)
    scene = make_still(farm.folder)
    more = ("--resolution", "107x75", "--split", "tiles=3x2", "--retries", "0", "--sandbox", "off")
    done = farm.submit(scene, *more, "--povray", program)
    assert done.code == 1
    (failure,) = done.json["failures"]
    assert failure["message"].startswith(
        ("tile 64,0 to 107,32 of frame 1: ", "tile 64,32 to 107,75 of frame 1: ")
    )
    assert "+SC65" in Path(failure["log"]).read_text()
    assert done.json["parts"]["succeeded"] == 4
    started = program.parent / "started"
    started.unlink()
    other = ("-o", farm.folder / "other", "--split", "tiles=2x2")
    assert farm.submit(scene, *more, *other, "--povray", program).code == 1
    rendered = [line for line in started.read_text().splitlines() if "+SC" in line]
    assert len(rendered) == 4, ("its small picture is known", rendered)
    (program.parent / "mended").touch()
    started.unlink()
    assert farm.run("retry", done.json["job"]).code == 0
    rendered = [line for line in started.read_text().splitlines() if "+SC" in line]
    assert len(rendered) == 2, rendered


ONCE = """#!/bin/sh
case "$*" in *+SC65*+SR33*|*+SR33*+SC65*) [ -e {folder}/mended ] || {wrong} || exit 1;; esac
exec /usr/bin/env povray "$@"
"""
COMPUTED = '#include concat("hid", "den.inc")'
BALL = "sphere { <0.5, 0.5, -1>, 0.6 pigment { rgb <%s> } }"


@given(st.lists(st.none() | st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")), max_size=3))
def test_what_parts_opened_is_known_together_when_it_is_one_state(sets: list[dict[str, str] | None]) -> None:
    held = {pair for each in sets if each for pair in each.items()}
    certain = sets and None not in sets and len(held) == len(dict(held))
    assert together(sets) == (dict(held) if certain else None)


def test_a_part_with_another_margin_is_another_picture(tmp_path: Path) -> None:
    build = Build("testcard", "", (1,), "", "")
    request = Request("/shot.testcard", str(tmp_path))
    scene = Scene(request.scene, "testcard", "", "1", 24.0, (32, 18), None)
    work = Work("testcard", build, request.scene, request.settings, "")
    record = Record("shot", 1.0, request, "1", 1, 24.0, scene, build, work, fingerprint="take")
    ready = preparation.recalled(record, PoolConfig(), tmp_path)
    parts = [(Part(1, 0, 0, 8, 8, margin),) for margin in (2, 3)]
    one, other = (stills._ready_for(each, ready, tmp_path).fingerprints for each in parts)
    assert one.of(0) != other.of(0)
    assert one.whole != other.whole


@pytest.mark.parametrize("wrong", ["exit 1", "cp {folder}/other {folder}/hidden.inc"])
def test_a_picture_is_of_one_state_of_its_files(tmp_path: Path, home: Path, wrong: str) -> None:
    folder = tmp_path / "p"
    ini = make_scene(folder, frames=1, size=SIZE, extra=COMPUTED)
    hidden, program = folder / "hidden.inc", stand_in(tmp_path / "bin", ONCE, wrong=wrong.format(folder=folder))
    hidden.write_text(BALL % "0, 1, 0")
    (folder / "other").write_text(BALL % "0, 0, 1")
    alone = Request(str(ini), str(tmp_path / "out"), split="tiles=2x2", retries=0, workers=1)
    done = verbs.submit(replace(alone, sandbox=Sandbox.OFF, programs={"povray": str(program)}))
    (failure,) = done.failures
    assert failure.message.startswith(("tile 64,32 to", "files changed while")), failure
    (program.parent / "mended").touch()
    hidden.write_text(BALL % "1, 0, 0")
    assert verbs.retry(done.job).frames.succeeded == 1
    assert np.array_equal(pixels(tmp_path / "out/frames/tiny.0001.png"), by_hand(ini))


WAITING = """#!/bin/sh
echo "$@" >> {folder}/started
case "$*" in *+SC65*) while [ ! -e {folder}/go ]; do sleep 0.1; done;; esac
exec /usr/bin/env povray "$@"
"""


def test_a_frame_that_is_wanted_again_while_its_parts_are_rendered_is_rendered_again(farm: Farm) -> None:
    program, started = stand_in(farm.folder / "bin", WAITING), farm.folder / "bin/started"
    more = ("--resolution", "107x75", "--split", "tiles=3x2", "--sandbox", "off", "--povray", program)
    process = farm.start("submit", "--json", *more, "-o", farm.folder / "out", make_still(farm.folder))
    try:
        wait_for(lambda: started.exists() and "+SC65" in started.read_text(), "the last column of tiles")
        wait_for(lambda: farm.status(farm.only_job())["parts"]["succeeded"] >= 2, "tiles that are there")
        seen = pixels(farm.status(farm.only_job())["last_frame"])
        on_page = asyncio.run(seen_on_page(farm, farm.only_job()))
        assert farm.run("retry", farm.only_job(), "--frames", "1").code == 0
    finally:
        (program.parent / "go").touch()
        done = ended(process)
    assert done.code == 0, done.err
    whole = pixels(Path(done.json["last_frame"]))
    assert seen.shape == whole.shape
    assert np.array_equal(seen[:32, :64], whole[:32, :64]), "a picture is seen filling up"
    assert on_page.startswith(b"\xff\xd8"), on_page
    assert sum("+SC65" in line for line in started.read_text().splitlines()) == 4


async def seen_on_page(farm: Farm, job: str) -> bytes:
    small = Thumbnails()
    with contextlib.closing(Store(farm.home)) as store:
        shown = views.picture(read_on(store, Job.at(folder_of(farm.folder / "out", job))), 1, farm.home)
    try:
        made = await small.of(shown, 1, "small")
    finally:
        await small.close()
    assert isinstance(made, bytes), made
    return made


def test_a_split_job_that_ends_at_a_limit_goes_on(tmp_path: Path, home: Path) -> None:
    settings = Settings(resolution=(107, 75))
    wanted = Request(
        str(make_still(tmp_path / "p")), str(tmp_path / "out"), frames="1", settings=settings, split="tiles=2x1"
    )
    left = verbs.submit(wanted, terms=Terms(enough=lambda: True, products=False))
    assert left.frames.queued == 1
    assert verbs.resume(left.job).frames.succeeded == 1


@pytest.mark.parametrize(
    ("workers", "frames", "extra", "split", "note"),
    [
        (3, "1", "", "tiles=6", ""),
        (1, "1", "", None, "not split: whole frames keep all workers busy"),
        (3, "1-2", "", None, "not split: whole frames keep all workers busy"),
        (3, "1", AREA % "jitter", None, "jitter"),
    ],
)
def test_auto_splits_what_is_exact_among_the_workers_or_says_why_not(
    tmp_path: Path, home: Path, workers: int, frames: str, extra: str, split: str | None, note: str
) -> None:
    scene = make_scene(tmp_path / "p", frames=2, size=(640, 360), extra=extra)
    planned = verbs.plan(
        Request(str(scene), str(tmp_path / "out"), frames=frames, split="auto", workers=workers)
    )
    assert planned.split == split
    assert planned.parts == (6 if split else 0)
    assert any(note in each for each in planned.notes)


@pytest.mark.parametrize(
    ("scene", "workers", "split", "why"),
    [
        ({"block": 1, "uneven": ""}, 8, "tiles=12", ""),
        ({"block": 1, "uneven": ""}, -8, "tiles=8", ""),
        ({"block": 1, "uneven": ""}, -9, "samples=9", ""),
        ({"block": 1, "uneven": "adaptive"}, -9, "tiles=9", ""),
        ({"seams": "no tiles", "uneven": ""}, 8, "samples=8", ""),
        ({"seams": "no tiles", "uneven": "adaptive"}, 8, "", "no tiles"),
        ({"block": 1, "resolution": (100, 90)}, 8, "", "its picture is too small"),
    ],
)
def test_auto_takes_tiles_and_ranges_where_many_parts_have_a_start_each(
    scene: dict[str, Any], workers: int, split: str, why: str
) -> None:
    size = scene.pop("resolution", (640, 180))
    described = still(size, samples=64, **{"block": 0} | scene)
    assert exact(described, abs(workers), 12, apart=workers < 0) == (split, why)


@given(
    st.integers(1, 40),
    st.tuples(st.integers(150, 2000), st.integers(150, 2000)),
    st.sampled_from([1, 32]),
    st.lists(st.lists(st.floats(0, 1e3), min_size=9, max_size=9), min_size=5, max_size=5),
)
def test_tiles_of_equal_cost_cover_the_picture_and_begin_at_blocks(
    count: int, size: tuple[int, int], block: int, costs: list[list[float]]
) -> None:
    cut = cut_into(1, still(size, block=block), f"tiles={count}", costs)
    assert 1 <= len(cut) <= count
    assert sum(part.size[0] * part.size[1] for part in cut) == size[0] * size[1]
    assert all(part.left % block == part.top % block == 0 and min(part.size) >= 32 for part in cut)


def test_tiles_of_equal_cost_are_small_where_pixels_take_long() -> None:
    costs = np.ones((90, 160))
    costs[60:, 120:] = 99
    cut = cut_into(1, still((1920, 1080)), "tiles=16", costs.tolist())
    fine = costs.repeat(12, 0).repeat(12, 1)
    shares = [fine[p.top : p.bottom, p.left : p.right].sum() for p in cut]
    assert len(cut) == 16
    assert max(shares) < 1.1 * fine.sum() / 16
    first = cut_into(0, still((1920, 1080)), "tiles=4x3", costs.tolist())[0]
    assert (first.right, first.bottom) == (1920, 1080), "what takes longest begins first"


@pytest.mark.parametrize(("hidden", "split"), [("", "tiles=2"), (AREA % "jitter", None)])
def test_what_auto_chose_is_kept_with_the_job_and_is_no_split_where_that_differs(
    tmp_path: Path, home: Path, hidden: str, split: str | None
) -> None:
    ini = make_scene(tmp_path / "p", frames=1, size=(150, 100), extra=COMPUTED)
    (tmp_path / "p/hidden.inc").write_text(hidden)
    done = verbs.submit(Request(str(ini), str(tmp_path / "out"), split="auto", workers=2))
    assert done.parts == (Counts(total=2, succeeded=2) if split else None)
    told = any("not split: of a small picture's pixels" in note for note in done.notes)
    assert told == (split is None), done.notes
    record = json.loads((tmp_path / "out/job.json").read_text())
    assert (record["request"]["split"], record["split"]) == ("auto", split)
    assert np.array_equal(pixels(tmp_path / "out/frames/tiny.0001.png"), by_hand(ini))


SEAM = """
import bpy
def read(scene, *_):
    render, cube = scene.render, bpy.data.objects["Cube"]
    if render.use_border:
        data = open(bpy.path.abspath("//data.txt")).read()
        wrong = render.resolution_x == 200 and scene.frame_current == 1 and render.border_min_x > 0.2
        cube.scale.x = 0.001 if wrong else float(data)
bpy.app.handlers.frame_change_pre.append(read)
"""


@pytest.mark.slow
@pytest.mark.skipif(not (has_bpy() or has_blender()), reason="needs Blender")
def test_a_seam_costs_its_frame_and_what_parts_alone_opened_tells_frames_apart(
    tmp_path: Path, home: Path
) -> None:
    script = f"text = bpy.data.texts.new('h.py'); text.use_module = True; text.write({SEAM!r})"
    script += "; scene.cycles.use_adaptive_sampling = True"
    scene = blend(tmp_path / "p/all.blend", frames=(1, 2), size=(200, 64), samples=4, script=script)
    (tmp_path / "p/data.txt").write_text("1")
    trusting = Settings(trust_scripts=True)
    wanted = Request(str(scene), str(tmp_path / "out"), settings=trusting, split="tiles=2x1", no_video=True)
    done = verbs.submit(wanted)
    assert [each.frame for each in done.failures] == [1], done
    assert "differ where they meet" in done.failures[0].message
    assert verbs.plan(wanted).reused == 1
    (tmp_path / "p/data.txt").write_text("2")
    assert verbs.plan(wanted).reused == 0
    auto = replace(wanted, output=str(tmp_path / "auto"), frames="1", split="auto", workers=2)
    done = verbs.submit(auto)
    assert done.frames.succeeded == 1, done
    assert any("rendered as a whole" in note for note in done.notes), done.notes


def test_what_follows_from_pixels_before_is_refused_whichever_frame_has_it(farm: Farm) -> None:
    ini = make_scene(farm.folder, frames=2, size=SIZE, extra=f"#if (clock > 0.7) {AREA % 'jitter'} #end")
    done = farm.submit(ini, "--split", "tiles=2x1", "--no-video")
    assert done.code == 2
    assert "can't be split: of a small picture" in done.err
    assert not list((farm.folder / "out/frames").glob("*"))


@given(st.integers(2, 9), st.integers(1, 9), st.tuples(st.integers(2, 999), st.integers(2, 999)))
def test_tiles_cover_the_picture_and_begin_at_blocks(columns: int, rows: int, size: tuple[int, int]) -> None:
    try:
        cut = cut_into(1, still(size, block=32), f"tiles={columns}x{rows}")
    except InputError:
        assert size[0] < 32 * columns * 2 or size[1] < 32 * rows * 2
        return
    assert len(cut) == columns * rows
    whole, *others = proof(1, still(size, block=32), "tiles=2x2")
    for side, parts in ((size, cut), (whole.size, others)):
        covered = np.zeros(side[::-1], int)
        for part in parts:
            covered[part.top : part.bottom, part.left : part.right] += 1
            assert part.left % 32 == part.top % 32 == 0
        assert (covered == 1).all()


@pytest.mark.parametrize("kind", ["half.exr", "float.exr", "uint8.png", "uint16.png"])
def test_tiles_of_their_own_size_are_put_where_they_belong(tmp_path: Path, kind: str) -> None:
    depth, _, suffix = kind.partition(".")
    whole = np.random.default_rng(1).integers(0, 255, (150, 97, 4)).astype("float32") / 255
    parts = [Part(1, 0, 0, 97, 11), Part(1, 0, 11, 40, 150), Part(1, 40, 11, 97, 70), Part(1, 40, 70, 97, 150)]
    files = [tmp_path / f"{number}.{suffix}" for number in range(4)]
    for part, file in zip(parts, files, strict=True):
        write(file, whole[part.top : part.bottom, part.left : part.right], depth)
    write(tmp_path / f"whole.{suffix}", whole, depth)
    merge(list(zip(parts, files, strict=True)), (97, 150), tmp_path / f"merged.{suffix}")
    assert np.array_equal(pixels(tmp_path / f"merged.{suffix}"), pixels(tmp_path / f"whole.{suffix}"))


def test_a_picture_may_have_more_tiles_than_files_may_be_open(tmp_path: Path) -> None:
    whole = np.random.default_rng(1).random((40, 40, 4)).astype("float32")
    parts = cut_into(1, still((40, 40), margin=1), "tiles=10x10")
    pairs = [(part, tmp_path / f"{part.left}-{part.top}.exr") for part in parts]
    for part, path in pairs:
        left, top, right, bottom = part.reach((40, 40))
        write(path, whole[top:bottom, left:right], "float")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE,
        (max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 60, limits[1]),
    )
    try:
        assert not seam(pairs, (40, 40))
        merge(pairs, (40, 40), tmp_path / "merged.exr")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert np.array_equal(pixels(tmp_path / "merged.exr"), whole)


def test_tiles_that_differ_where_they_meet_are_not_merged(tmp_path: Path) -> None:
    whole = np.random.default_rng(1).random((70, 40, 4)).astype("float32")
    parts = [Part(1, 0, 0, 20, 70, 8), Part(1, 20, 0, 40, 70, 8)]
    files = [tmp_path / "0.exr", tmp_path / "1.exr"]
    write(files[0], whole[:, :28], "float")
    for column, code in ((25, 0), (18, 0), (19, 1), (20, 1)):
        changed = whole.copy()
        changed[66, column] += 1e-6
        write(files[1], changed[:, 12:], "float")
        where = seam(list(zip(parts, files, strict=True)), (40, 70))
        assert where.startswith("tile 0,0 to 20,70 of frame 1 and tile 20,0 to 40,70" if code else ""), where
        assert bool(where) == bool(code)


def test_a_small_picture_tells_what_pixels_take(tmp_path: Path) -> None:
    parts = [Part(1, 0, 0, 10, 9), Part(1, 0, 0, 4, 9), Part(1, 4, 0, 10, 9)]
    write(tmp_path / "whole.png", np.zeros((9, 10, 4)), "uint8")
    found = np.array(costs(tmp_path / "whole.png", parts, [5.0, 2.0, 4.0]))
    assert (round(found[:, :4].sum(), 6), round(found[:, 4:].sum(), 6)) == (1, 3), "less what starting takes"
    assert costs(tmp_path / "whole.png", parts, [5.0, 0.0, 4.0]) == []
    values = np.random.default_rng(1).random((9, 10, 5)).astype("float32")
    smooth = values + 1
    smooth[..., 4] = np.arange(10)
    smooth[4, 2:8:3, 4] = 900  # something else ran
    write_layers(tmp_path / "whole.exr", smooth, {"View.Combined": "RGBA", "View.Render Time": "X"})
    found = np.array(costs(tmp_path / "whole.exr", parts, [5.0, 2.0, 4.0]))
    assert np.allclose(found[:, 1:-1], np.arange(10)[1:-1], atol=1.01)
    both = np.concatenate([smooth, values[..., 4:] + 0.5], axis=-1)
    both[..., 4] *= both[..., 5]
    passes = {"View.Combined": "RGBA", "View.Render Time": "X", "View.Debug Sample Count": "X"}
    write_layers(tmp_path / "both.exr", both, passes)
    found = np.array(costs(tmp_path / "both.exr", parts, []))
    assert np.allclose(found[:, 1:-1] / both[:, 1:-1, 5], np.arange(10)[1:-1], atol=1.01), (
        "each has its samples"
    )
    write_layers(tmp_path / "count.exr", values, {"View.Combined": "RGBA", "View.Debug Sample Count": "X"})
    found = np.array(costs(tmp_path / "count.exr", parts, [5.0, 2.0, 4.0]))
    assert np.isclose(found[:, :4].sum(), 1, atol=0.02), "samples differ in what they take"
    assert np.isclose(found[0, 0] / found[0, 1], values[0, 0, 4] / values[0, 1, 4])


@pytest.mark.parametrize(("kind", "suffix"), [("half", "exr"), ("uint8", "png")])
def test_a_full_disk_ends_a_merge(tmp_path: Path, kind: str, suffix: str) -> None:
    part, full = (tmp_path / f"{name}.{suffix}" for name in ("part", "full"))
    write(part, np.random.default_rng(1).random((300, 200, 4)).astype("float32"), kind)
    full.symlink_to("/dev/full")
    with pytest.raises(OSError, match="can't be written"):
        merge([(Part(1, 0, 0, 200, 300), part)], (200, 300), full)


@pytest.mark.parametrize(("kind", "cut"), [("uint8.png", (0, 0, 20, 70)), ("float.exr", (0, 0, 40, 30))])
def test_a_step_along_the_edge_of_tiles_is_found(
    tmp_path: Path, kind: str, cut: tuple[int, int, int, int]
) -> None:
    depth, _, suffix = kind.partition(".")
    whole = np.random.default_rng(1).integers(90, 94, (70, 40, 4)).astype("float32") / 255
    whole[..., 3] = 1
    rest = (cut[2], 0, 40, 70) if cut[2] < 40 else (0, cut[3], 40, 70)
    parts = [Part(1, *rest), Part(1, *cut)]
    for brighter, found in ((0, 0), (20, 1)):
        files = [tmp_path / f"{number}{brighter}.{suffix}" for number in range(2)]
        for part, file in zip(parts, files, strict=True):
            more = brighter / 255 if part == parts[0] else 0
            write(file, whole[part.top : part.bottom, part.left : part.right] + more, depth)
        assert len(list(steps(list(zip(parts, files, strict=True)), (40, 70)))) == found


def test_ranges_of_samples_are_a_mean_of_them_and_data_is_that_of_the_first(tmp_path: Path) -> None:
    layers = {"Depth.Combined": "RGBA", "Depth.Depth": "Z", "Depth.Env": "RGB"}
    values = np.random.default_rng(1).random((3, 70, 9, 8)).astype("float32")
    parts = [Part(1, 0, 0, 9, 70, first=a, samples=b) for a, b in ((7, 4), (0, 7), (11, 21))]
    files = [tmp_path / f"{number}.exr" for number in range(3)]
    for file, each in zip(files, values, strict=True):
        write_layers(file, each, layers)
    merge(list(zip(parts, files, strict=True)), (9, 70), tmp_path / "merged.exr")
    expected = (4 * values[0].astype(float) + 7 * values[1] + 21 * values[2]) / 32
    expected[..., 4] = values[1, ..., 4]
    assert np.allclose(pixels(tmp_path / "merged.exr"), expected, rtol=1e-6, atol=0)


SAMPLED = """
scene.cycles.use_adaptive_sampling, scene.cycles.use_denoising = False, True
scene.render.film_transparent, scene.render.image_settings.color_mode = True, "RGBA"
layer = scene.view_layers[0]
layer.use_pass_position = layer.use_pass_object_index = layer.use_pass_mist = layer.use_pass_uv = True
layer.aovs.add().name = "mine"
camera.data.dof.use_dof, camera.data.dof.focus_distance, camera.data.dof.aperture_fstop = True, 5, 0.4
"""


@pytest.mark.skipif(not has_bpy(), reason="needs bpy")
def test_a_frame_of_sample_ranges_is_the_file_that_blender_writes(tmp_path: Path) -> None:
    build, size = build_named("bpy"), (23, 19)
    path = blend(tmp_path / "all.blend", size=size, samples=9, script=SAMPLED, saver="bpy")
    every, parts = Part(3, 0, 0, *size), cut_into(3, still(size, samples=9), "samples=3")
    whole = Work("blender", build, str(path), Settings(), str(tmp_path / "whole"))
    work = replace(
        whole,
        scratch=str(tmp_path / "parts"),
        settings=Settings(format="exr"),
        parts=(*parts, every),
        size=size,
    )
    *files, layers = rendered(work, 0, 1, 2, 3)
    merge(list(zip(parts, files, strict=True)), size, tmp_path / "merged.exr")
    assert not differing(every, layers, tmp_path / "merged.exr", near=True)
    last = replace(whole, scratch=str(tmp_path / "last"), merged={"3": str(tmp_path / "merged.exr")})
    (ours,), (theirs,) = rendered(last, 3), rendered(whole, 3)
    assert np.abs(pixels(ours) - pixels(theirs)).max() < 1.01 / 255
    assert describe(build, path, tmp_path / "looked").uneven == ""


def test_layers_in_parts_of_a_file_are_seen_and_merged(tmp_path: Path) -> None:
    """Blender 5 writes a part for each pass, the last of them with one channel."""
    layers = {"View.Combined": "RGBA", "View.Depth": "Z"}
    files = [tmp_path / "0.exr", tmp_path / "1.exr"]
    values = np.random.default_rng(1).random((9, 30, 5)).astype("float32")
    for number, file in enumerate(files):
        write_layers(file, values[:, number * 15 : number * 15 + 15], layers)
    assert look(files[0], 1).blank is None
    parts = [Part(1, 0, 0, 15, 9), Part(1, 15, 0, 30, 9)]
    merge(list(zip(parts, files, strict=True)), (30, 9), tmp_path / "merged.exr")
    assert np.array_equal(pixels(tmp_path / "merged.exr"), values)


def write_layers(path: Path, values: np.ndarray, layers: dict[str, str]) -> None:
    height, width, _ = values.shape
    specs = []
    for name, letters in layers.items():
        spec = oiio.ImageSpec(width, height, len(letters), "float")
        spec.channelnames = tuple(f"{name}.{letter}" for letter in letters)
        spec.attribute("oiio:subimagename", name)
        specs.append(spec)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), tuple(specs))
    first = 0
    for number, spec in enumerate(specs):
        assert number == 0 or output.open(str(path), spec, "AppendSubimage")
        output.write_image(np.ascontiguousarray(values[..., first : first + spec.nchannels]))
        first += spec.nchannels
    output.close()


EVERYTHING = """
scene.cycles.use_adaptive_sampling, scene.cycles.adaptive_threshold = True, 0.02
scene.cycles.adaptive_min_samples = 4
scene.cycles.use_denoising = bpy.app.version >= (4, 0, 0)  # Debian's 3.4 has no denoiser
scene.render.film_transparent, scene.render.image_settings.color_mode = True, "RGBA"
layer = scene.view_layers[0]
layer.use_pass_cryptomatte_object = layer.use_pass_z = layer.use_pass_vector = True
scene.view_layers.new("Second")
if hasattr(scene, "compositing_node_group"):
    tree = scene.compositing_node_group = bpy.data.node_groups.new("Tree", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    out = tree.nodes.new("NodeGroupOutput")
else:
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    out = tree.nodes.new("CompositorNodeComposite")
layers, glare = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeGlare")
tree.links.new(layers.outputs["Image"], glare.inputs[0])
tree.links.new(glare.outputs[0], out.inputs[0])
"""


def test_a_frame_of_merged_layers_is_the_file_that_blender_writes(build: Build, tmp_path: Path) -> None:
    saver = "bpy" if build.version >= (4,) else "blender"
    path = blend(tmp_path / "all.blend", size=(29, 21), samples=8, script=EVERYTHING, saver=saver)
    size, cuts = (29, 21), ((0, 0, 13, 8), (13, 0, 29, 8), (0, 8, 29, 21))
    step_and_pixel_to_compare = 2
    parts = tuple(Part(3, *cut, margin=step_and_pixel_to_compare) for cut in cuts)
    every = Part(3, 0, 0, *size)
    whole = Work("blender", build, str(path), Settings(), str(tmp_path / "whole"))
    tiles = replace(
        whole,
        scratch=str(tmp_path / "tiles"),
        settings=Settings(format="exr"),
        parts=(every, *parts),
        size=size,
    )
    layers, *files = rendered(tiles, 0, 1, 2, 3)
    assert not seam(list(zip(parts, files, strict=True)), size)
    merge(list(zip(parts, files, strict=True)), size, tmp_path / "merged.exr")
    assert not differing(every, layers, tmp_path / "merged.exr")
    assert told_costs(layers)
    assert not any(map(told_costs, files)), "how many of its tile's samples a pixel got is no tile's to say"
    last = replace(whole, scratch=str(tmp_path / "last"), merged={"3": str(tmp_path / "merged.exr")})
    (ours,), (theirs,) = rendered(last, 3), rendered(whole, 3)
    assert np.abs(pixels(ours) - pixels(theirs)).max() < 1.01 / 255
    damaged = (tmp_path / "merged.exr").read_bytes()[:5000]
    (tmp_path / "merged.exr").write_bytes(damaged)
    with opened_for(last) as session:
        (failed,) = session.render([3], 1, Path(last.scratch), Path(last.scratch) / "log")
    assert "merged layers can't be read" in getattr(failed, "message", ""), failed


def told_costs(layers: Path) -> bool:
    parts = oiio.ImageBuf(str(layers)).nsubimages
    names = [name for n in range(parts) for name in oiio.ImageBuf(str(layers), n, 0).spec().channelnames]
    return any("Sample Count" in name for name in names)


def rendered(work: Work, *numbers: int) -> list[Path]:
    with opened_for(work) as session:
        done = list(session.render(numbers, 2, Path(work.scratch), Path(work.scratch) / "log"))
    assert all(isinstance(each, Rendered) for each in done), done
    return [Path(each.path) for each in done if isinstance(each, Rendered)]


def test_a_scene_whose_tiles_are_not_the_whole_says_why(build: Build, tmp_path: Path) -> None:
    script = "scene.render.use_border = scene.view_layers[0].use_pass_vector = True"
    path = blend(tmp_path / "all.blend", script=script, saver="bpy" if build.version >= (4,) else "blender")
    for options, why in (({}, "a render region"), ({"engine": "WORKBENCH"}, "BLENDER_WORKBENCH")):
        found = describe(build, path, tmp_path / str(len(why)), **options)
        assert found.block == found.margin == 0
        assert why in found.uneven
        assert why in found.seams


def write(path: Path, values: np.ndarray, depth: str) -> None:
    picture = oiio.ImageBuf(oiio.ImageSpec(values.shape[1], values.shape[0], 4, depth))
    picture.set_pixels(oiio.ROI(), np.ascontiguousarray(values))
    assert picture.write(str(path), depth)
