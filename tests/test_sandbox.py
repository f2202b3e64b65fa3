"""What a renderer may see and do: write to its scratch folder, read the scene's; no network, no home."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from node_work import work_for

from renderfarm.errors import InputError
from renderfarm.farm import inspector
from renderfarm.farm.preparation import shut_in
from renderfarm.job.store import Store
from renderfarm.node import sandbox
from renderfarm.node.launch import ProcessLauncher
from renderfarm.node.program import Node
from renderfarm.renderers import SessionFailure
from renderfarm.words.request import Request, Sandbox
from renderfarm.words.states import Reason
from renderfarm.words.work import Work

works_here = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no bubblewrap: {sandbox.obstacle()}")
Inside = Callable[..., str]


@pytest.fixture
def work(tmp_path: Path, testcard: Callable[..., Path]) -> Work:
    (tmp_path / "scratch").mkdir()
    return work_for(testcard(tmp_path / "scene"), tmp_path / "scratch", sandbox=Sandbox.REQUIRE)


@pytest.fixture
def inside(work: Work) -> Inside:
    """Runs a line of Python as the renderer would run; what it printed."""

    def run(code: str, work: Work = work) -> str:
        scratch = Path(work.scratch)
        log = scratch / "said.log"
        argv = [str(Path(sys.executable).resolve()), "-S", "-c", code]
        process = ProcessLauncher(work)(argv, cwd=scratch, log=log)
        process.wait()
        return log.read_text().strip()

    return run


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which no program is on PATH."""
    monkeypatch.setenv("PATH", "")
    sandbox.obstacle.cache_clear()
    yield
    sandbox.obstacle.cache_clear()


def write(path: Path | str) -> str:
    return f"open({str(path)!r}, 'w').write('x'); print('written')"


@works_here
def test_the_scratch_folder_is_writable(inside: Inside, work: Work) -> None:
    assert inside(write(Path(work.scratch) / "new")) == "written"
    assert (Path(work.scratch) / "new").read_text() == "x"


@works_here
def test_the_scenes_folder_can_be_read_but_not_written(inside: Inside, work: Work) -> None:
    assert '"frames"' in inside(f"print(open({work.scene!r}).read())")
    assert "Read-only file system" in inside(write(Path(work.scene).parent / "new"))
    assert "Read-only file system" in inside(write(work.scene))


@works_here
def test_what_is_written_elsewhere_does_not_reach_the_machine(inside: Inside, tmp_path: Path) -> None:
    places = [Path(name) for name in ("/etc/new", "/usr/new", "/opt/new", "/etc/passwd", tmp_path / "stray")]
    before = [path.read_bytes() if path.exists() else None for path in places]
    tried = "\n".join(
        f"with contextlib.suppress(OSError): open({str(path)!r}, 'w').write('x')" for path in places
    )
    assert inside(f"import contextlib\n{tried}\nprint('tried')") == "tried"
    assert [path.read_bytes() if path.exists() else None for path in places] == before


@works_here
def test_a_program_that_links_in_the_scenes_folder_lead_to_is_found(work: Work, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    for name, target in (("program", "../else/a"), ("../else/a", "b"), ("../else/b", "/bin/true")):
        (Path(work.scene).parent / name).symlink_to(target)
    program = str(Path(work.scene).parent / "program")
    linked = replace(work, build=replace(work.build, path=program))
    log = tmp_path / "log"
    assert ProcessLauncher(linked)([program], cwd=Path(work.scratch), log=log).wait() == 0, log.read_text()


@works_here
def test_files_beside_the_scenes_folder_are_invisible(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    assert "FileNotFoundError" in inside(f"print(open({str(tmp_path / 'secret')!r}).read())")


@works_here
def test_the_home_is_invisible(
    inside: Inside, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "user"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    assert inside("import os; print(os.path.expanduser('~'))") == f"{work.scratch}/home"
    assert inside(f"import os; print(os.path.exists({str(home)!r}))").endswith("False")


@works_here
def test_a_scene_in_the_home_itself_shows_only_itself(
    inside: Inside, tmp_path: Path, testcard: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "user"
    scene = testcard(home)
    (home / "secret").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    work = work_for(scene, tmp_path / "scratch", sandbox=Sandbox.REQUIRE)
    assert inside(f"import os; print(os.listdir({str(home)!r}))", work) == "['card.testcard']"


@works_here
def test_nothing_that_is_mounted_can_be_taken_away_or_opened(inside: Inside, work: Work) -> None:
    """Nor by root, whom bubblewrap would leave all rights."""
    tried = "libc.umount2(b'/tmp', 2), libc.mount(None, folder, None, 4096 | 32, None)"
    code = f"import ctypes; libc, folder = ctypes.CDLL(None), {os.fsencode(Path(work.scene).parent)!r}"
    assert inside(f"{code}; print({tried})") == "-1 -1"


@works_here
def test_the_network_is_unreachable(inside: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        connect = f"import socket; socket.create_connection({address!r}, 5); print('connected')"
        here = subprocess.run([sys.executable, "-c", connect], capture_output=True, text=True, check=True)
        assert here.stdout == "connected\n"
        assert "Connection refused" in inside(connect) or "unreachable" in inside(connect)


@works_here
def test_other_processes_are_invisible(inside: Inside) -> None:
    assert inside(f"import os; print(os.path.exists('/proc/{os.getpid()}/cmdline'))") == "False"


@works_here
def test_more_folders_can_be_shown(inside: Inside, tmp_path: Path, work: Work) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "wood.png").write_text("wood")
    shown = work_for(Path(work.scene), tmp_path / "scratch", sandbox=Sandbox.REQUIRE, readable=(str(library),))
    assert sandbox.View(shown).shows(library / "wood.png")
    assert not sandbox.View(work).shows(library / "wood.png")
    assert inside(f"print(open({str(library / 'wood.png')!r}).read())", shown) == "wood"


@works_here
def test_secrets_of_the_environment_do_not_get_in(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDERFARM_BATCH_KEY", "hush-4711")
    assert "hush-4711" not in inside("import os; print(dict(os.environ))")


def test_without_a_sandbox_the_environment_is_clean_all_the_same(
    inside: Inside, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDERFARM_BATCH_KEY", "hush-4711")
    off = work_for(Path(work.scene), Path(work.scratch), sandbox=Sandbox.OFF)
    said = inside("import os; print(os.environ['HOME'], dict(os.environ))", off)
    assert said.startswith(f"{work.scratch}/home ")
    assert "hush-4711" not in said


@pytest.mark.usefixtures("no_bubblewrap")
def test_require_without_bubblewrap_is_an_error_that_says_what_to_install(work: Work) -> None:
    with pytest.raises(SessionFailure, match="apt-get install bubblewrap") as caught:
        Node(work, "w1", lambda event: None).open()
    assert caught.value.reason is Reason.BAD_SETTING


def described(scene: Path, scratch: Path, home: Path, choice: Sandbox) -> str:
    store = Store(home)
    try:
        with inspector.warm(Request(str(scene), "", sandbox=choice), scratch, store) as inspection:
            return shut_in(inspection)
    finally:
        store.close()


@pytest.mark.usefixtures("no_bubblewrap", "nothing_left_running")
def test_require_without_bubblewrap_stops_the_inspection(work: Work, tmp_path: Path, home: Path) -> None:
    with pytest.raises(InputError, match="--sandbox require: bubblewrap is not installed"):
        described(Path(work.scene), tmp_path / "scratch", home, Sandbox.REQUIRE)


@pytest.mark.usefixtures("no_bubblewrap", "nothing_left_running")
def test_auto_without_bubblewrap_works_and_says_so(work: Work, tmp_path: Path, home: Path) -> None:
    said = described(Path(work.scene), tmp_path / "scratch", home, Sandbox.AUTO)
    assert "no sandbox: bubblewrap is not installed" in said


@works_here
@pytest.mark.usefixtures("nothing_left_running")
@pytest.mark.parametrize(("choice", "said"), [("auto", "bubblewrap"), ("off", "no sandbox: switched off")])
def test_whether_there_is_a_sandbox_is_said(
    work: Work, tmp_path: Path, home: Path, choice: str, said: str
) -> None:
    assert described(Path(work.scene), tmp_path / "scratch", home, Sandbox(choice)).startswith(said)
