"""What a renderer opens and looks for in vain, as strace tells it; and what follows from that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from renderfarm import inspect
from renderfarm.errors import InputError
from renderfarm.farm import rehearsal, verbs
from renderfarm.node import sandbox
from renderfarm.node.launch import ProcessLauncher
from renderfarm.node.trace import Trace, obstacle
from renderfarm.words.model import Build, Needs, Observed, Request, Sandbox, Settings, Work
from tests.povray_scenes import make_scene, make_still

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=obstacle() or "it is there")
needs_povray = pytest.mark.skipif(shutil.which("povray") is None, reason="needs povray")
Watch = Callable[[str], Observed]


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Trace]:
    (tmp_path / "project").mkdir()
    trace = Trace([str(tmp_path / "project")], [str(tmp_path / "project" / "spared")])
    yield trace
    trace.close()


@pytest.fixture
def watch(tmp_path: Path, trace: Trace) -> Watch:
    """Runs Python statements in the project; what they did with its files."""

    def run(script: str, picture: str | None = None, *, keeps: bool = False) -> Observed:
        project = tmp_path / "project"
        program = str(Path(sys.executable).resolve())
        command = trace.around([program, "-S", "-c", f"import os\n{script}"], program, project)
        subprocess.run(command, cwd=project, check=True, env={"PATH": os.environ["PATH"]})
        return trace.frame(picture, keeps=keeps)

    return run


def names(found: tuple[str, ...]) -> list[str]:
    return [Path(path).name for path in found if "/project/" in path]


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
    assert (names(seen.opened), seen.absent) == ([], ())
    assert {"made", "moved"} <= set(names(seen.written))


def test_what_is_looked_for_before_it_is_written_was_absent(watch: Watch) -> None:
    seen = watch("os.path.exists('cache') or open('cache', 'w').close(); open('cache').read()")
    assert (names(seen.opened), names(seen.absent), names(seen.written)) == ([], ["cache"], ["cache"])


def test_children_and_threads_are_seen_as_well(tmp_path: Path, watch: Watch) -> None:
    for name in ("one", "two"):
        (tmp_path / "project" / name).write_text("")
    seen = watch("import threading; threading.Thread(target=open, args=('one',)).start(); os.system('cat two')")
    assert names(seen.opened) == ["one", "two"]


def test_what_is_opened_after_a_picture_belongs_to_the_next(tmp_path: Path, trace: Trace, watch: Watch) -> None:
    for name in ("first", "second"):
        (tmp_path / "project" / name).write_text("")
    out = tmp_path / "out"
    out.mkdir()
    script = (
        f"for n in ('first', 'second'):\n open(n).read(); open({str(out)!r} + '/' + n + '.png', 'w').close()"
    )
    seen = watch(script, str(out / "first.png"))  # type: ignore[call-arg]
    assert names(seen.opened) == ["first"]
    assert names(trace.frame(str(out / "second.png"), keeps=False).opened) == ["second"]


def test_nothing_counts_that_is_spared_or_the_systems(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "project" / "spared").write_text("")
    (tmp_path / "outside").write_text("")
    seen = watch(
        "open('spared').read(); open('/etc/passwd').read(); open('../outside').read(); open('/dev/null')"
    )
    assert [Path(path).name for path in seen.opened if path.startswith(str(tmp_path))] == ["outside"]
    assert not [path for path in seen.opened if path.startswith(("/etc/", "/usr/", "/dev/"))]


# What follows from it


def request(scene: Path, output: Path, **more: object) -> Request:
    small = Settings(resolution=(16, 12))
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


@needs_povray
def test_a_project_that_is_copied_elsewhere_is_known_there(tmp_path: Path, home: Path) -> None:
    scene = make_still(tmp_path / "p", extra='#include "part.inc"')
    (tmp_path / "p" / "part.inc").write_text("sphere { y, 0.1 }")
    verbs.submit(request(scene, tmp_path / "out"))
    shutil.copytree(tmp_path / "p", tmp_path / "q")
    assert verbs.plan(request(tmp_path / "q" / scene.name, tmp_path / "out2")).reused == 1


@needs_povray
def test_what_frames_were_seen_to_open_stands_in_journal_and_record(tmp_path: Path, home: Path) -> None:
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
    (path,) = (word for word in trace.around(["true"], "true", tmp_path) if "renderfarm-trace-" in word)
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
