"""What a scene may not name its way to: hidden folders, keys, other people's homes, the system's own places."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from renderfarm import submit
from renderfarm.errors import MissingAssetsError
from renderfarm.farm import inspector
from renderfarm.node import guard as guards
from renderfarm.node import sandbox
from renderfarm.node.guard import Guard
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.scene import Scene
from renderfarm.words.work import Work
from tests import blender_scenes, povray_scenes
from tests.farm_runs import Done, Farm
from tests.node_work import work_for

works_here = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no bubblewrap: {sandbox.obstacle()}")
needs_povray = pytest.mark.skipif(shutil.which("povray") is None, reason="needs povray")
needs_blender = pytest.mark.skipif(
    not (blender_scenes.has_bpy() or blender_scenes.has_blender()), reason="needs Blender"
)
BALL = "sphere { y, 0.4 pigment { rgb 1 } }\n"
HIDDEN = "lies in a hidden folder of a home"


@pytest.fixture
def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of this user, with a marker where nobody else should look."""
    folder = tmp_path / "homes" / "ann"
    written(folder / ".secret" / "marker.inc", BALL)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def bob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of somebody else."""
    folder = tmp_path / "homes" / "bob"
    written(folder / "marker.inc", BALL)
    monkeypatch.setattr(guards, "_people", lambda: frozenset({str(folder)}))
    return folder


def written(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# What is decided


@pytest.mark.parametrize("name", [".secret/marker.inc", "work/.git/config", ".netrc", ".local/share/fonts.png"])
def test_what_is_hidden_in_the_home_is_not_shown(ann: Path, tmp_path: Path, name: str) -> None:
    assert Guard(tmp_path / "s.pov").objection(ann / name) == HIDDEN


@pytest.mark.parametrize(
    "name",
    [
        "wood.png",
        "work/wood.png",
        ".fonts/a.ttf",
        ".local/share/fonts/b/a.ttf",
        "show/.blender_project/project.toml",
    ],
)
def test_what_else_lies_in_the_home_and_fonts_are(ann: Path, tmp_path: Path, name: str) -> None:
    assert Guard(tmp_path / "s.pov").objection(written(ann / name)) == ""


def test_another_users_home_is_not_shown(ann: Path, bob: Path, tmp_path: Path) -> None:
    assert Guard(tmp_path / "s.pov").objection(bob / "marker.inc") == "lies in another user's home"


def test_a_scene_in_another_users_home_may_name_what_is_there_and_not_hidden(ann: Path, bob: Path) -> None:
    guard = Guard(bob / "shot" / "s.pov")
    assert guard.objection(bob / "marker.inc") == ""
    assert guard.objection(bob / ".ssh" / "config") == HIDDEN


def test_homes_of_the_system_are_known() -> None:
    assert "/root" in guards._people()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "/proc/self/environ", "/run/secrets/x", "/var/lib/x", "/dev/zero", "/var/spool/x"]
)
def test_the_systems_own_places_are_not_shown(tmp_path: Path, name: str) -> None:
    assert Guard(tmp_path / "s.pov").objection(name) == "belongs to the system"


@pytest.mark.parametrize("name", ["/run/media/ann/disk/a.png", "/var/tmp/a.png", "/usr/share/fonts/a.ttf"])
def test_disks_and_fonts_in_them_are(tmp_path: Path, name: str) -> None:
    assert Guard(tmp_path / "s.pov").objection(name) == ""


@pytest.mark.parametrize("name", ["backup/ann/.ssh/config", "id_rsa", "krb5cc_1000", "site.pem"])
def test_keys_are_not_shown_wherever_they_are(tmp_path: Path, name: str) -> None:
    assert Guard(tmp_path / "project" / "s.pov").objection(tmp_path / name) == "looks like a key"


@pytest.mark.parametrize("name", ["/", "/etc", "/home", "/root", "/tmp", "/var/tmp", "~", "~/.."])
def test_a_folder_that_holds_too_much_is_not_shown_whoever_names_it(
    ann: Path, tmp_path: Path, name: str
) -> None:
    folder = str(Path(name).expanduser())
    assert Guard(tmp_path / "s.pov", [folder]).objection(folder).startswith("is a home, a folder of the system")


def test_a_socket_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert Guard(tmp_path / "s.pov").objection(tmp_path / "pipe") == "is no file"


def test_links_are_followed_to_their_end(ann: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "second").symlink_to(ann / ".secret")
    (project / "first").symlink_to(tmp_path / "second")
    (project / "round").symlink_to(project / "round")
    guard = Guard(project / "s.pov")
    assert guard.objection(project / "first" / "marker.inc") == HIDDEN
    assert guard.objection(project / "round") == ""
    assert guard.objection(project / "wood.png") == ""


@pytest.mark.parametrize("folder", [".", ".cache/x", ".secret"])
def test_the_scenes_own_folder_is_its_own_wherever_it_lies(ann: Path, folder: str) -> None:
    guard = Guard(ann / folder / "s.pov")
    assert guard.shows_folder == (folder != ".")
    assert guard.objection(ann / folder / "s.pov") == ""
    assert guard.objection(ann / folder / "wood.png") == ""
    assert guard.objection(ann / ".other" / "wood.png") == HIDDEN


def test_what_the_user_names_is_shown(ann: Path, tmp_path: Path) -> None:
    assert Guard(tmp_path / "s.pov", [str(ann / ".secret")]).objection(ann / ".secret/marker.inc") == ""


def test_a_scene_does_not_name_its_way_into_a_job_of_the_farm(ann: Path, tmp_path: Path) -> None:
    path = tmp_path / "out/.renderfarm/work/w1/link"
    assert Guard(tmp_path / "project" / "s.pov").objection(path) == "belongs to a job of the farm"


# What a renderer sees

Card = Callable[..., Path]


def read(work: Work, path: Path) -> bytes | None:
    """What a process in the sandbox reads in a file."""
    command = sandbox.command(["cat", str(path)], tuple(sandbox.View(work).mounts()), Path("/"))
    done = subprocess.run(command, capture_output=True, check=False)
    assert b"bwrap" not in done.stderr
    return None if done.returncode else done.stdout


@pytest.fixture
def work(tmp_path: Path, testcard: Card) -> Callable[..., Work]:
    """Work on a scene that names files."""

    def make(*names: Path, scene: Path = tmp_path / "project", named: tuple[str, ...] = ()) -> Work:
        (tmp_path / "scratch").mkdir(exist_ok=True)
        readable = tuple(map(str, names))
        return work_for(testcard(scene), tmp_path / "scratch", readable=readable, named=named)

    return make


@works_here
def test_no_renderer_sees_what_is_withheld_whoever_asks_for_it(ann: Path, work: Callable[..., Work]) -> None:
    marker = ann / ".secret" / "marker.inc"
    assert read(work(marker, marker.parent, ann, ann.parent, Path("/")), marker) is None
    assert read(work(named=(str(marker.parent),)), marker)


@works_here
def test_of_a_folder_in_the_home_the_hidden_part_is_covered(ann: Path, work: Callable[..., Work]) -> None:
    library = ann / "library"
    names = ("a/wood.png", ".git/config", "a/.netrc", "a/id_rsa")
    wood, *secrets = [written(library / name, "x") for name in names]
    (library / ".link").symlink_to(ann)
    asked = work(library)
    assert read(asked, wood) == b"x"
    assert [read(asked, path) or b"" for path in secrets] == [b""] * 3


@works_here
def test_a_file_is_seen_by_all_names_that_lead_to_it(tmp_path: Path, work: Callable[..., Work]) -> None:
    real = written(tmp_path / "disk" / "maps" / "wood.png", "wood")
    (tmp_path / "mount").symlink_to(tmp_path / "disk")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "maps").symlink_to(tmp_path / "mount" / "maps")
    named = tmp_path / "project" / "maps" / "wood.png"
    asked = work(named)
    assert sandbox.View(asked).shows(named)
    assert [read(asked, path) for path in (named, tmp_path / "mount/maps/wood.png", real)] == [b"wood"] * 3


@works_here
def test_a_renderer_that_lies_in_the_home_does_not_show_the_home(
    ann: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[..., Work]
) -> None:
    program = written(ann / "povray", "#!/bin/sh\n")
    asked = work()
    asked = replace(asked, renderer="povray", build=replace(asked.build, renderer="povray", path=str(program)))
    assert read(asked, program)
    assert read(asked, written(ann / "letter.txt")) is None


# What is told


def described(scene: Path, **options: str) -> Scene:
    return inspector.inspect(scene, Settings(options=options), sandbox=Sandbox.REQUIRE)


@works_here
@needs_povray
def test_a_povray_scene_gets_no_hidden_include_and_the_job_says_why(ann: Path, tmp_path: Path) -> None:
    marker = ann / ".secret" / "marker.inc"
    scene = povray_scenes.make_still(tmp_path / "project", extra=f'#include "{marker}"')
    done = submitted(tmp_path, scene)
    assert done.code == 2
    assert f"{marker} is not shown to the renderer: it {HIDDEN}." in done.err
    assert "Copy what the scene needs into its folder" in done.err
    assert not list((tmp_path / "farm" / "out").glob("frames/*"))


def submitted(tmp_path: Path, scene: Path, *more: object) -> Done:
    return Farm(tmp_path / "farm").submit(scene, "--no-video", "--sandbox", "require", *more)


@works_here
@needs_povray
def test_a_povray_ini_does_not_name_its_way_to_a_hidden_library(ann: Path, tmp_path: Path) -> None:
    library = ann / ".secret"
    options = (f'Library_Path="{library}"',)
    scene = povray_scenes.make_scene(tmp_path / "p", frames=1, extra='#include "marker.inc"', options=options)
    found = described(scene)
    assert [(asset.path, asset.withheld) for asset in found.missing] == [(str(library / "marker.inc"), HIDDEN)]
    assert f"{library} is not shown to the renderer: it {HIDDEN}." in found.notes


@works_here
@needs_povray
def test_a_hidden_library_that_the_user_names_is_used(ann: Path, tmp_path: Path) -> None:
    scene = povray_scenes.make_still(tmp_path / "project", extra='#include "marker.inc"')
    assert submitted(tmp_path, scene, "--option", f"Library_Path={ann / '.secret'}").code == 0


@works_here
@needs_povray
def test_a_link_in_a_povray_project_does_not_lead_to_a_hidden_file(ann: Path, tmp_path: Path) -> None:
    scene = povray_scenes.make_still(tmp_path / "project", extra='#include "ball.inc"')
    (tmp_path / "project" / "ball.inc").symlink_to(ann / ".secret" / "marker.inc")
    assert [asset.withheld for asset in described(scene).missing] == [HIDDEN]


@works_here
@needs_povray
@pytest.mark.parametrize("folder", [".cache/x", "."])
def test_a_povray_scene_in_a_hidden_folder_or_the_home_itself_renders(
    ann: Path, tmp_path: Path, folder: str
) -> None:
    written(ann / folder / "ball.inc", BALL)
    scene = povray_scenes.make_still(ann / folder, extra='#include "ball.inc"')
    assert submitted(tmp_path, scene).code == 0


@works_here
@needs_blender
@pytest.mark.parametrize("way", ["by its name", "through a link"])
def test_a_blender_scene_gets_no_hidden_picture_and_it_says_so(ann: Path, tmp_path: Path, way: str) -> None:
    project, marker = tmp_path / "project", ann / ".secret" / "marker.png"
    blender_scenes.write_png(marker)
    project.mkdir()
    (project / "wood.png").symlink_to(marker)
    name = str(marker) if way == "by its name" else "//wood.png"
    script = f'cube.data.materials[0] = textured("T", {name!r})[0]'
    scene = blender_scenes.make_scene(project / "s.blend", frames=(1, 1), script=script)
    (missing,) = described(scene).missing
    assert missing.withheld == HIDDEN
    assert missing.path in (str(marker), str(project / "wood.png"))


@works_here
def test_without_a_sandbox_nothing_is_withheld(ann: Path, tmp_path: Path, testcard: Card) -> None:
    scene = testcard(tmp_path / "project", assets=[str(ann / ".secret" / "marker.inc")])
    assert inspector.inspect(scene, sandbox=Sandbox.OFF).missing == ()
    (missing,) = inspector.inspect(scene, sandbox=Sandbox.REQUIRE).missing
    assert missing.withheld == HIDDEN


def test_what_is_withheld_counts_as_missing_by_name(ann: Path, tmp_path: Path, testcard: Card) -> None:
    marker = ann / ".secret" / "marker.inc"
    scene = testcard(tmp_path / "project", assets=[str(marker)])
    if sandbox.obstacle():
        pytest.skip("no bubblewrap")
    with pytest.raises(MissingAssetsError) as caught:
        submit(scene, output=tmp_path / "out")
    assert caught.value.paths == (str(marker),)


@needs_povray
def test_the_first_frame_that_lacks_a_file_ends_the_job_in_povrays_words(tmp_path: Path) -> None:
    scene = povray_scenes.make_scene(tmp_path / "project", frames=40, extra='#include "gone.inc"')
    done = Farm(tmp_path / "farm").submit(scene, "--no-video")
    assert done.code == 2
    assert "tiny.pov, line 6: the file 'gone.inc' is missing." in done.err
    assert "then submit again" in done.err
    assert "resume" not in done.err


@needs_povray
def test_code_that_is_never_run_needs_no_file(tmp_path: Path) -> None:
    scene = povray_scenes.make_still(tmp_path / "project", extra='#if (0) #include "gone.inc" #end')
    done = Farm(tmp_path / "farm").submit(scene, "--no-video", "--resolution", "32x24")
    assert done.code == 0, done.err
