"""What a renderer opens and looks for in vain, as strace tells it; and what follows from that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from renderfarm import inspect
from renderfarm.errors import InputError, MissingAssetsError
from renderfarm.farm import inspector, rehearsal, verbs
from renderfarm.farm.copies import Keep
from renderfarm.job import observed
from renderfarm.job.store import Store
from renderfarm.node import program as node_program
from renderfarm.node import sandbox
from renderfarm.node.launch import ProcessLauncher
from renderfarm.node.trace import Trace, obstacle
from renderfarm.renderers import renderer
from renderfarm.words.request import Request, Sandbox, Settings
from renderfarm.words.scene import Needs
from renderfarm.words.stamps import TICK_SECONDS
from renderfarm.words.updates import Observed, Rendered
from renderfarm.words.work import Build, Task, Work
from tests.blender_scenes import has_blender, has_bpy, write_png
from tests.blender_scenes import make_scene as make_blend
from tests.povray_scenes import make_scene, make_still

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "it is there")
needs_povray = pytest.mark.skipif(shutil.which("povray") is None, reason="needs povray")
needs_blender = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="needs Blender")
Watch = Callable[[str], Observed]


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Trace]:
    (tmp_path / "project").mkdir()
    trace = Trace([str(tmp_path / "project")], [str(tmp_path / "project" / "spared")])
    yield trace
    trace.close()


def watch_only(tmp_path: Path, trace: Trace, script: str) -> None:
    project = tmp_path / "project"
    program = str(Path(sys.executable).resolve())
    command = trace.around([program, "-S", "-c", f"import os\n{script}"], program, project)
    subprocess.run(command, cwd=project, check=True, env={"PATH": os.environ["PATH"]})


@pytest.fixture
def watch(tmp_path: Path, trace: Trace) -> Watch:
    """Runs Python statements in the project; what they did with its files."""

    def run(script: str, picture: str | None = None, *, keeps: bool = False) -> Observed:
        watch_only(tmp_path, trace, script)
        return trace.frame(picture, keeps=keeps)

    return run


def names(found: tuple[str, ...]) -> list[str]:
    return [Path(path).name for path in found if "/project/" in path and not path.endswith("/")]


@pytest.mark.parametrize("name", ["plain.txt", "two words", 'q"uote', "grün", "a\\b", "new\nline", "d>, x"])
def test_what_is_opened_and_what_is_looked_for_in_vain_is_seen(tmp_path: Path, watch: Watch, name: str) -> None:
    (tmp_path / "project" / name).write_text("there")
    seen = watch(f"open({name!r}).read(); os.path.exists({name + '2'!r}); os.path.exists('no/{0}')")
    assert names(seen.opened) == [name]
    assert str(tmp_path / "project" / f"{name}2") in seen.absent


def test_what_the_process_itself_wrote_is_no_input(tmp_path: Path, watch: Watch) -> None:
    seen = watch(
        "open('made', 'w').close(); open('made').read(); os.rename('made', 'moved'); open('moved').read()"
    )
    assert (names(seen.opened), names(seen.absent)) == ([], [])
    assert {"made", "moved"} <= set(names(seen.written))


def test_what_is_looked_for_before_it_is_written_was_absent(watch: Watch) -> None:
    seen = watch("os.path.exists('cache') or open('cache', 'w').close(); open('cache').read()")
    assert (names(seen.opened), names(seen.absent), names(seen.written)) == ([], ["cache"], ["cache"])


def test_children_and_threads_are_seen_as_well(tmp_path: Path, watch: Watch) -> None:
    for name in ("one", "two"):
        (tmp_path / "project" / name).write_text("")
    seen = watch("import threading; threading.Thread(target=open, args=('one',)).start(); os.system('cat two')")
    assert names(seen.opened) == ["one", "two"]


def test_threads_are_not_stopped_at_calls_that_open_nothing(tmp_path: Path, watch: Watch) -> None:
    counted = tmp_path / "counted"
    watch(f"""
import threading, pathlib
def work():
    for _ in range(2000):
        os.getppid()
    status = open(f"/proc/self/task/{{threading.get_native_id()}}/status").read()
    pathlib.Path({str(counted)!r}).write_text(status.partition("\\nvoluntary_ctxt_switches:")[2].split()[0])
(thread := threading.Thread(target=work)).start()
thread.join()
""")
    assert int(counted.read_text()) < 1000, "times that it waited for somebody"


def test_a_night_of_processes_leaves_no_heap_of_traces(tmp_path: Path, trace: Trace, watch: Watch) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / "project" / name).write_text("")
        assert names(watch(f"open({name!r})").opened) == [name]
    (folder,) = {path.parent for path, _, _ in trace._files}
    assert len(list(folder.iterdir())) == 1


def test_what_is_opened_after_a_picture_belongs_to_the_next(tmp_path: Path, trace: Trace, watch: Watch) -> None:
    for name in ("first", "second"):
        (tmp_path / "project" / name).write_text("")
    out = tmp_path / "out"
    out.mkdir()
    script = f"""
import pathlib
for name in ("first", "second"):
    picture = pathlib.Path({str(out)!r}, name + ".png")
    picture.unlink(missing_ok=True)
    open(name).read()
    picture.touch()
"""
    seen = watch(script, str(out / "first.png"))  # type: ignore[call-arg]
    assert names(seen.opened) == ["first"]
    assert names(trace.frame(str(out / "second.png"), keeps=False).opened) == ["second"]


def test_a_folder_that_is_listed_counts_and_a_temporary_file_does_not(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "project" / "sub").mkdir()
    seen = watch("import tempfile; os.listdir('sub'); os.stat('sub'); tempfile.NamedTemporaryFile(dir='sub')")
    assert str(tmp_path / "project" / "sub") + "/" in seen.opened
    assert names(seen.opened) == []


def test_looks_of_the_farms_own_are_left_out_but_for_files_that_are_opened(
    tmp_path: Path, trace: Trace, watch: Watch
) -> None:
    for name in ("loaded", "listed", "opened", "after"):
        (tmp_path / "project" / name).mkdir() if name == "listed" else (tmp_path / "project" / name).touch()
    watch("open('loaded').read()", keeps=True)  # type: ignore[call-arg]
    with trace.apart():
        watch_only(tmp_path, trace, "os.path.exists('loaded0'); os.listdir('listed'); open('opened').read()")
    seen = watch("open('after').read()", keeps=True)  # type: ignore[call-arg]
    assert names(seen.opened) == ["after", "loaded", "opened"]
    assert not [path for path in (*seen.opened, *seen.absent) if path.endswith(("loaded0", "listed/"))]


def test_a_way_back_out_of_a_link_is_as_the_kernel_takes_it(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "project" / "deep" / "below").mkdir(parents=True)
    (tmp_path / "project" / "deep" / "a.txt").write_text("")
    (tmp_path / "project" / "link").symlink_to("deep/below")
    seen = watch("open('link/../a.txt').read(); os.path.exists('deep/below/../none')")
    (found,) = (path for path in seen.opened if path.endswith("a.txt"))
    assert Path(found).samefile(tmp_path / "project" / "deep" / "a.txt")
    assert str(tmp_path / "project" / "deep" / "none") in seen.absent


def test_nothing_counts_that_is_spared_or_the_systems(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "project" / "spared").write_text("")
    (tmp_path / "outside").write_text("")
    seen = watch(
        "open('spared').read(); open('/etc/passwd').read(); open('../outside').read(); open('/dev/null')"
    )
    assert [Path(path).name for path in seen.opened if path.startswith(str(tmp_path))] == ["outside"]
    assert not [path for path in seen.opened if path.startswith(("/etc/", "/usr/", "/dev/"))]


def swap_link(project: Path) -> None:
    (project / "new").symlink_to("v2")
    (project / "new").replace(project / "tex")


def swap_folder(project: Path) -> None:
    (project / "v1").rename(project / "old")
    (project / "v2").rename(project / "v1")


@pytest.mark.parametrize("change", [swap_link, swap_folder, lambda project: (project / "none").touch()])
def test_files_that_may_not_be_those_that_were_opened_make_no_fingerprint(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    (tmp_path / "tex").symlink_to("v1")
    seen = Observed("seen", (str(tmp_path / "tex" / "a.txt"),), (str(tmp_path / "none"),))
    time.sleep(TICK_SECONDS)
    since = time.time()
    with closing(Store(tmp_path)) as store:
        found = observed.files(seen, str(tmp_path), {}, since, store)
        assert found
        assert {name: len(content) for name, content in found.items()} == {"tex/a.txt": 64, "none": 6}
        change(tmp_path)
        assert observed.files(seen, str(tmp_path), {}, since, store) is None


@pytest.mark.skipif(bool(sandbox.obstacle()), reason=sandbox.obstacle() or "it is there")
@needs_povray
def test_a_file_that_no_renderer_can_have_been_shown_is_not_read(tmp_path: Path) -> None:
    """A node that names a pipe elsewhere would keep its farm waiting for ever."""
    os.mkfifo(tmp_path / "pipe")
    told = Observed("forged", (str(tmp_path / "pipe"),))
    work = Work(
        "povray", Build("povray", "/bin/true", (1,), "", ""), str(make_still(tmp_path / "p")), Settings(), "/s"
    )
    assert not sandbox.View(work).shows(told.opened[0])
    with closing(Store(tmp_path)) as store:
        assert observed.files(told, str(tmp_path), {}, 0.0, store) is None


# What follows from it


def request(scene: Path, output: Path, *, trust: bool = False, **more: object) -> Request:
    small = Settings(resolution=(16, 12), trust_scripts=trust)
    return Request(str(scene), str(output), settings=small, no_video=True, **more)  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to write into /")
def test_a_folder_whose_name_only_begins_like_one_of_the_systems_counts(watch: Watch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="library-", dir="/"))
    try:
        (folder / "wood.txt").write_text("there")
        assert str(folder / "wood.txt") in watch(f"open('{folder}/wood.txt').read()").opened
    finally:
        shutil.rmtree(folder)


@needs_povray
def test_an_unrelated_file_costs_no_frame_and_one_that_was_looked_for_does(tmp_path: Path, home: Path) -> None:
    (tmp_path / "p" / "lib").mkdir(parents=True)
    (tmp_path / "p" / "lib" / "part.inc").write_text("sphere { y, 0.1 }")
    scene = make_scene(tmp_path / "p", frames=3, extra='#include "part.inc"', options=("Library_Path=lib",))
    wanted = request(scene, tmp_path / "out")
    assert verbs.submit(wanted).frames.reused == 0
    (tmp_path / "p" / "unrelated.txt").write_text("new")
    assert verbs.plan(wanted).reused == 3
    (tmp_path / "p" / "part.inc").write_text("sphere { y, 0.2 }")
    assert verbs.plan(wanted).reused == 0
    (tmp_path / "p" / "part.inc").unlink()
    assert verbs.submit(wanted).frames.reused == 3


def test_a_file_of_the_surroundings_that_a_scene_looks_for_and_is_not_shown_is_told(
    tmp_path: Path, home: Path
) -> None:
    looks = '#if (file_exists(concat("../data", "/on.txt"))) sphere { y, 0.1 } #end'
    wanted = request(make_scene(tmp_path / "p", frames=2, extra=looks), tmp_path / "out")
    hidden = tmp_path / "data" / "on.txt"
    hidden.parent.mkdir()
    hidden.write_text("")
    assert len([note for note in verbs.submit(wanted).notes if f"{hidden} was looked for" in note]) == 1


READS = """
import bpy, os
def read(scene, *_):
    names = ("../aside/data", "first/data", "second/data", f"second/{scene.frame_current}")
    path = next(filter(os.path.exists, (bpy.path.abspath(f"//{name}.txt") for name in names)))
    bpy.data.objects["Cube"].scale.x = float(open(path).read())
bpy.app.handlers.frame_change_pre.append(read)
"""


@needs_blender
def test_a_file_that_a_script_reads_and_no_data_block_names_costs_the_frames_that_it_changes(
    tmp_path: Path, home: Path
) -> None:
    script = f"text = bpy.data.texts.new('h.py'); text.use_module = True; text.write({READS!r})"
    scene = make_blend(tmp_path / "p" / "tiny.blend", frames=(1, 2), script=script)
    data = tmp_path / "p" / "second" / "data.txt"
    data.parent.mkdir(parents=True)
    data.write_text("2")
    wanted = request(scene, tmp_path / "out", trust=True)
    assert verbs.submit(wanted).frames.reused == 0
    (tmp_path / "p" / "unrelated.txt").write_text("")
    assert verbs.plan(wanted).reused == 2
    first = tmp_path / "p" / "first" / "data.txt"
    first.parent.mkdir()
    first.write_text("3")
    assert verbs.plan(wanted).reused == 0
    first.unlink()
    assert verbs.plan(wanted).reused == 2
    data.write_text("1")
    assert verbs.plan(wanted).reused == 0


@needs_blender
@pytest.mark.parametrize("travels", [True, False])
def test_what_a_script_reads_travels_with_a_scene_that_does_and_what_is_not_shown_to_it_is_told(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, travels: bool
) -> None:
    monkeypatch.setattr(rehearsal, "LEAST_SECONDS", 120.0)  # others may be at work here
    script = f"text = bpy.data.texts.new('h.py'); text.use_module = True; text.write({READS!r})"
    scene = make_blend(tmp_path / "p" / "tiny.blend", frames=(1, 4), script=script)
    data = [tmp_path / "p" / "second" / f"{frame}.txt" for frame in range(1, 5)]
    aside = tmp_path / "aside" / "data.txt"
    for path in (aside, *data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("2")
    with closing(Store(home)) as store:
        request = Request(str(scene), "", settings=Settings(trust_scripts=True))
        with inspector.warm(request, tmp_path / "work", store, travels=travels) as found:
            named = {asset.path for asset in found.scene.assets}
    assert named == ({*map(str, data)} if travels else set())
    assert len([note for note in found.scene.notes if f"{aside} was looked for" in note]) == travels


@needs_povray
def test_a_scene_is_copied_before_it_is_looked_at_and_not_once_more(tmp_path: Path, home: Path) -> None:
    request, copies = Request(str(make_still(tmp_path / "p")), ""), Keep(tmp_path / "copies")
    with (
        closing(Store(home)) as store,
        inspector.warm(request, tmp_path / "work", store, keep=copies, declared=True) as found,
    ):
        looked_at = {path: Path(copy).stat().st_ino for path, copy in found.sources.copies.items()}
        rendered = {path: Path(copy).stat().st_ino for path, copy in found.sources.copied().items()}
    assert looked_at == rendered
    assert request.scene in rendered


HIDDEN = """
bpy.ops.mesh.primitive_plane_add()
bpy.context.object.hide_render = True
bpy.context.object.data.materials.append(textured("Hidden", "//hidden.png")[0])
cube.data.materials[0] = textured("Shown", "//shown.png")[0]
"""
APPEARS = """
insert(bpy.context.object, "hide_render", {1: True, 2: False})
"""


@needs_blender
def test_a_picture_that_no_frame_opens_costs_none_and_may_be_missing(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "LEAST_SECONDS", 120.0)  # others may be at work here
    scene = make_blend(tmp_path / "p" / "tiny.blend", frames=(1, 2), script=HIDDEN)
    write_png(tmp_path / "p" / "shown.png")
    with closing(Store(home)) as store:
        small = Request(str(scene), "", settings=Settings(resolution=(16, 12)))
        with inspector.warm(small, tmp_path / "work", store, travels=True) as found:
            assert [asset.certain for asset in found.scene.missing] == [False]
    wanted = request(scene, tmp_path / "out")
    done = verbs.submit(wanted)
    assert done.frames.succeeded == 2
    assert any("not looked for in a first look" in note and "hidden.png" in note for note in done.notes)
    write_png(tmp_path / "p" / "hidden.png")
    assert verbs.plan(wanted).reused == 2


@pytest.mark.slow
@needs_blender
def test_a_frame_that_looks_for_a_missing_picture_is_delivered_only_where_that_is_allowed(
    tmp_path: Path, home: Path
) -> None:
    scene = make_blend(tmp_path / "p" / "tiny.blend", frames=(1, 2), script=HIDDEN + APPEARS)
    wanted = request(scene, tmp_path / "out")
    with pytest.raises(MissingAssetsError, match=r"A file that the scene needs is missing:\n.*/shown.png\nPut"):
        verbs.submit(wanted)
    write_png(tmp_path / "p" / "shown.png")
    assert verbs.submit(replace(wanted, allow_missing=True)).frames.succeeded == 2
    assert verbs.plan(wanted).reused == 1
    with pytest.raises(MissingAssetsError, match=r"Frame 2: .*hidden.png is missing"):
        verbs.submit(wanted)
    write_png(tmp_path / "p" / "shown.png", (200, 0, 0))
    assert verbs.plan(wanted).reused == 0


@needs_blender
def test_a_session_whose_frames_open_more_and_more_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_program, "MOST_NEW", 1)
    script = f"text = bpy.data.texts.new('h.py'); text.use_module = True; text.write({READS!r})"
    scene = make_blend(tmp_path / "p" / "tiny.blend", script=script)
    (tmp_path / "p" / "second").mkdir()
    for frame in range(1, 5):
        (tmp_path / "p" / "second" / f"{frame}.txt").write_text("1")
    told: list[object] = []
    settings = Settings(resolution=(16, 12), trust_scripts=True)
    build = renderer("blender").builds()[0]
    work = Work("blender", build, str(scene), settings, str(tmp_path / "w"), traced=True)
    node = node_program.Node(work, "n", told.append)
    try:
        for frame in range(1, 5):
            node.render(Task((frame,)), 1)
    finally:
        node.drop()
    seen = [each.observed.opened for each in told if isinstance(each, Rendered) and each.observed]
    data = [[Path(path).stem for path in paths if path.endswith(".txt")] for paths in seen]
    assert data == [["1"], ["1", "2"], ["1", "2", "3"], ["1", "4"]], "what was saved is frame 1"


@needs_povray
def test_a_program_above_the_project_hides_nothing_of_it(tmp_path: Path, home: Path) -> None:
    (program := tmp_path / "povray").write_text('#!/bin/sh\nexec /usr/bin/env povray "$@"\n')
    program.chmod(0o755)
    scene = make_still(tmp_path / "p", extra='#include concat("par", "t.inc")')
    (tmp_path / "p" / "part.inc").write_text("sphere { y, 0.1 }")
    wanted = request(scene, tmp_path / "out", sandbox=Sandbox.OFF, programs={"povray": str(program)})
    verbs.submit(wanted)
    assert verbs.plan(wanted).reused == 1
    (tmp_path / "p" / "part.inc").write_text("sphere { y, 0.2 }")
    assert verbs.plan(wanted).reused == 0


@needs_povray
def test_what_frames_were_seen_to_open_stands_in_journal_and_record_and_is_known_of_a_copy_of_the_project(
    tmp_path: Path, home: Path
) -> None:
    scene = make_still(tmp_path / "p", extra='#include "part.inc"\n#if (file_exists("none")) #end')
    (tmp_path / "p" / "part.inc").write_text("sphere { y, 0.1 }")
    job = verbs.submit(request(scene, tmp_path / "out")).job
    lines = (tmp_path / "out" / ".renderfarm" / job / "journal" / "farm.jsonl").read_text().splitlines()
    (seen,) = [value for kind, value, _ in map(json.loads, lines) if kind == "Saw"]
    assert seen["files"]["none"] == "absent"
    assert len(seen["files"]["part.inc"]) == 64
    record = json.loads((tmp_path / "out" / "job.json").read_text())
    assert record["scene"]["needs"] == "opened"
    assert "part.inc" in record["parts"]["assets"]
    shutil.copytree(tmp_path / "p", tmp_path / "q")
    assert verbs.plan(request(tmp_path / "q" / scene.name, tmp_path / "out2")).reused == 1


@needs_povray
def test_without_strace_every_file_of_the_folder_counts(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", without_strace(tmp_path / "bin"))
    obstacle.cache_clear()
    try:
        scene = make_still(tmp_path / "p")
        wanted = request(scene, tmp_path / "out")
        job = verbs.submit(wanted)
        assert any("strace is not installed" in note for note in job.notes)
        assert verbs.plan(wanted).reused == 1
        (tmp_path / "p" / "unrelated.txt").write_text("new")
        assert verbs.plan(wanted).reused == 0
        with pytest.raises(InputError, match="changed since"):
            verbs.resume(job.job)
    finally:
        obstacle.cache_clear()


@needs_povray
def test_a_pass_that_takes_too_long_is_cut_short_and_every_file_counts(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "LEAST_SECONDS", 0.0)
    scene = make_scene(tmp_path / "p", frames=3)
    (tmp_path / "p" / "unrelated.txt").write_text("")
    found = inspect(scene)
    assert found.needs is Needs.SHOWN
    assert {"tiny.pov", "unrelated.txt"} <= {Path(asset.path).name for asset in found.assets}
    assert any("of 3 frames were looked at before" in note for note in found.notes)


@pytest.mark.skipif(bool(sandbox.obstacle()), reason=sandbox.obstacle() or "it is there")
def test_the_trace_lies_where_no_scene_can_write(tmp_path: Path, trace: Trace) -> None:
    (path,) = (word for word in trace.around(["true"], "true", tmp_path) if "renderfarm-held-" in word)
    assert Path(path).is_file()
    scratch = tmp_path / "out"
    scratch.mkdir()
    work = Work("testcard", Build("testcard", "/bin/true", (1,), "", ""), str(tmp_path / "project/s.testcard"),
                Settings(), str(scratch), sandbox=Sandbox.REQUIRE)  # fmt: skip
    log = scratch / "log"
    ProcessLauncher(work)(["/bin/sh", "-c", f"ls {path}; echo forged >>{path}"], cwd=scratch, log=log).wait()
    assert "No such file" in log.read_text()
    assert Path(path).read_text() == ""


def without_strace(folder: Path) -> str:
    """A search path on which all programs are but that one."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if program.name != "strace" and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)
