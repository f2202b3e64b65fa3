"""POV-Ray: reading scenes, runs of frames, and pictures equal to those of POV-Ray run by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from povray_scenes import (
    CHECKER_PNG,
    make_scene,
    make_slow_scene,
    make_still,
    make_textured_scene,
)

from renderfarm import inspect, request
from renderfarm.errors import SceneError
from renderfarm.farm import rehearsal
from renderfarm.renderers import SessionFailure
from renderfarm.renderers.povray.logs import signs, verdict
from renderfarm.renderers.povray.renderer import RENDERER
from renderfarm.renderers.povray.run import at_once, first_run
from renderfarm.renderers.povray.scene import Animation
from renderfarm.renderers.povray.session import PovRaySession
from renderfarm.words.frames import parse
from renderfarm.words.request import Settings
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Work

pytestmark = pytest.mark.skipif(not RENDERER.builds(), reason="POV-Ray is not installed")


def launch(
    argv: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    pipes: bool = False,
    anew: bool = False,
    traced: bool = False,
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


Opener = Callable[..., PovRaySession]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens sessions as a node would, and closes them."""
    sessions = []

    def open_session(scene: Path, **settings: object) -> PovRaySession:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        build = RENDERER.builds()[0]
        work = Work("povray", build, str(scene), Settings(**settings), str(scratch))  # type: ignore[arg-type]
        sessions.append(RENDERER.open(work, launch))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


def render(session: PovRaySession, frames: Sequence[int], folder: Path) -> list[Rendered | Failed]:
    folder.mkdir(exist_ok=True)
    return list(session.render(frames, 1, folder, folder / "log.txt"))


def pictures(outcomes: list[Rendered | Failed]) -> dict[int, np.ndarray]:
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    assert not failed
    return {o.frame: pixels(Path(o.path)) for o in outcomes if isinstance(o, Rendered)}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def by_hand(ini: Path, folder: Path, *options: str) -> dict[int, np.ndarray]:
    """What POV-Ray gives when somebody starts it on the whole scene."""
    folder.mkdir()
    argv = ["povray", ini.name, f"+O{folder}/hand_.png", "-D", *options]
    subprocess.run(argv, cwd=ini.parent, check=True, capture_output=True)
    return {int("0" + path.stem.removeprefix("hand_")): pixels(path) for path in folder.glob("hand_*.png")}


def assert_same(ours: dict[int, np.ndarray], theirs: dict[int, np.ndarray]) -> None:
    assert ours
    for frame, picture in ours.items():
        assert np.array_equal(picture, theirs[frame]), f"frame {frame} differs"


# pixels and clocks


@pytest.mark.parametrize("cyclic", [False, True])
def test_frames_in_runs_alone_and_out_of_order_equal_those_of_the_whole_animation(
    tmp_path: Path, opened: Opener, cyclic: bool
) -> None:
    ini = make_scene(tmp_path / "scene", frames=4, cyclic=cyclic)
    ours = pictures(render(opened(ini), [2, 3, 1], tmp_path / "out"))
    theirs = by_hand(ini, tmp_path / "hand")
    assert list(ours) == [2, 3, 1]
    assert_same(ours, theirs)
    assert not np.array_equal(theirs[2], theirs[3])


def test_frames_with_photons_are_those_of_a_process_of_their_own(tmp_path: Path, opened: Opener) -> None:
    """POV-Ray gathers photons by what the frames before have left in its process."""
    target = "photons { target refraction on }"
    glass = f"sphere {{ y, 0.8 pigment {{ rgbt 0.9 }} interior {{ ior 1.5 }} {target} }}"
    extra = f"global_settings {{ photons {{ spacing 0.05 }} }} {glass}"
    ini = make_scene(tmp_path, frames=2, extra=extra)
    theirs = {frame: by_hand(ini, tmp_path / f"hand{frame}", f"+SF{frame}", f"+EF{frame}") for frame in (1, 2)}
    ours = pictures(render(opened(ini), [1, 2], tmp_path))
    assert_same(ours, {frame: found[frame] for frame, found in theirs.items()})


def test_a_start_number_and_a_step_keep_the_clock(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", frames=9, first=100)
    outcomes = render(opened(ini), [100, 104, 108], tmp_path / "out")
    assert_same(pictures(outcomes), by_hand(ini, tmp_path / "hand", "+STP4"))
    assert len({Path(o.path).parent for o in outcomes if isinstance(o, Rendered)}) == 1, "one start is enough"


def test_a_frame_before_the_first_has_the_clock_run_on(tmp_path: Path, opened: Opener) -> None:
    early = make_scene(tmp_path / "a", frames=5, first=1)
    late = make_scene(tmp_path / "b", frames=3, first=3, options=("+KI0.5",))
    ours = pictures(render(opened(late), [1], tmp_path / "out"))
    assert_same(ours, by_hand(early, tmp_path / "hand"))


def test_a_frame_after_the_last_has_the_clock_run_on(tmp_path: Path, opened: Opener) -> None:
    long = make_scene(tmp_path / "a", frames=9)
    short = make_scene(tmp_path / "b", frames=5, options=("+KF0.5",))
    assert_same(pictures(render(opened(short), [9], tmp_path / "out")), by_hand(long, tmp_path / "hand"))


def test_a_frame_number_longer_than_the_last_one_is_found(tmp_path: Path, opened: Opener) -> None:
    outcomes = render(opened(make_scene(tmp_path / "scene", frames=4)), [12345], tmp_path / "out")
    assert list(pictures(outcomes)) == [12345]


def test_a_pov_without_frames_is_a_still(tmp_path: Path, opened: Opener) -> None:
    pov = make_still(tmp_path / "scene")
    session = opened(pov, resolution=(32, 24))
    assert session.describe().frames == "1-1"
    ours = pictures(render(session, [1], tmp_path / "out"))
    assert_same({0: ours[1]}, by_hand(pov, tmp_path / "hand", "+W32", "+H24"))


def test_a_pov_with_a_range_runs_its_clock_from_0_to_1_over_it(tmp_path: Path, opened: Opener) -> None:
    pov = make_still(tmp_path / "scene")
    session = opened(pov, resolution=(32, 24), frames="1-5")
    assert session.describe().frames == "1-5"
    ours = pictures(render(session, [2, 5], tmp_path / "out"))
    assert_same(ours, by_hand(pov, tmp_path / "hand", "+W32", "+H24", "+KFF5"))


def test_one_frame_of_a_range_of_one_has_a_clock(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", frames=1, first=5, extra="sphere { clock*y, 0.1 }")
    whole = make_scene(tmp_path / "whole", frames=2, first=5, extra="sphere { clock*y, 0.1 }")
    assert_same(pictures(render(opened(ini), [5], tmp_path / "out")), by_hand(whole, tmp_path / "hand"))


def test_negative_frames_fail_and_the_others_are_rendered(tmp_path: Path, opened: Opener) -> None:
    outcomes = render(opened(make_scene(tmp_path / "scene")), [-1, 1], tmp_path / "out")
    assert isinstance(outcomes[0], Failed)
    assert outcomes[0].reason is Reason.SCENE_ERROR
    assert "no negative frames" in outcomes[0].message
    assert isinstance(outcomes[1], Rendered)


# settings and the ini's own options


def test_resolution_and_scale_override_the_scene(tmp_path: Path, opened: Opener) -> None:
    session = opened(make_scene(tmp_path / "scene"), resolution=(64, 40), scale=50)
    assert session.describe().resolution == (32, 20)
    assert pictures(render(session, [1], tmp_path / "out"))[1].shape == (20, 32, 3)


def test_an_option_reaches_the_scene(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", extra="#ifdef (Tall) sphere { y, 1 } #end")
    ours = pictures(render(opened(ini, options={"Declare": "Tall=1"}), [1], tmp_path / "out"))
    assert_same(ours, by_hand(ini, tmp_path / "hand", "Declare=Tall=1"))
    plain = pictures(render(opened(ini), [1], tmp_path / "plain"))
    assert not np.array_equal(plain[1], ours[1])


@pytest.mark.parametrize(("format", "mode"), [("jpeg", "JPEG"), ("png", "PNG")])
def test_the_format_is_the_one_asked_for(tmp_path: Path, opened: Opener, format: str, mode: str) -> None:
    ini = make_scene(tmp_path / "scene", options=("Output_File_Type=P",))
    [outcome] = render(opened(ini, format=format), [2], tmp_path / "out")
    assert isinstance(outcome, Rendered)
    with Image.open(outcome.path) as image:
        assert image.format == mode


def test_exr_frames_are_whole_when_they_are_handed_over(tmp_path: Path, opened: Opener) -> None:
    import OpenImageIO

    session = opened(make_scene(tmp_path / "scene"), format="exr")
    folder = tmp_path / "out"
    folder.mkdir()
    shapes = []
    for outcome in session.render([1, 2, 3], 1, folder, folder / "log.txt"):
        assert isinstance(outcome, Rendered)
        shapes.append(OpenImageIO.ImageBuf(outcome.path).get_pixels(OpenImageIO.FLOAT).shape)
    assert shapes == [(24, 32, 3)] * 3


def test_sixteen_bits_of_the_ini_are_kept(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", options=("+FN16",))
    [outcome] = render(opened(ini), [1], tmp_path / "out")
    assert isinstance(outcome, Rendered)
    assert Path(outcome.path).read_bytes()[24] == 16


def test_output_display_pause_and_streams_of_the_ini_do_not_matter(tmp_path: Path, opened: Opener) -> None:
    folder = tmp_path / "scene"
    options = (
        "Output_File_Name=../elsewhere/x_",
        "Output_to_File=off",
        "Display=on",
        "+P",
        "All_File=streams.txt",
        "+GA",
        "Create_Ini=made.ini",
        "Create_Histogram=on",
        "+C",
        "+WT8 +V",
    )
    ini = make_scene(folder, options=options)
    before = sorted(path.name for path in folder.iterdir())
    assert list(pictures(render(opened(ini), [1], tmp_path / "out"))) == [1]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_shell_commands_of_the_ini_do_not_run_and_are_noted(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", options=(f"Pre_Scene_Command=touch {tmp_path}/ran",))
    session = opened(ini)
    assert any("pre_scene_command" in note for note in session.describe().notes)
    render(session, [1], tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert "touch" not in (tmp_path / "out" / "log.txt").read_text(), "POV-Ray isn't even asked"


def test_the_users_own_povray_ini_does_not_leak_in(
    tmp_path: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "home" / ".povray" / "3.7"
    own.mkdir(parents=True)
    (own / "povray.ini").write_text("Width=99\nDeclare=Tall=1\n")
    ini = make_scene(tmp_path / "scene", extra="#ifdef (Tall) sphere { y, 1 } #end")
    clean = by_hand(ini, tmp_path / "hand")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert_same(pictures(render(opened(ini), [1], tmp_path / "out")), clean)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"options": {"Output_File_Name": "x"}}, "Output_File_Name"),
        ({"options": {"+KFF20": ""}}, "--frames"),
        ({"options": {"Width": "20"}}, "--resolution"),
        ({"options": {"Post_Frame_Command": "id"}}, "Post_Frame_Command"),
    ],
)
def test_an_option_that_is_the_farms_is_refused(
    tmp_path: Path, opened: Opener, settings: dict[str, object], word: str
) -> None:
    with pytest.raises(SessionFailure, match=word) as caught:
        opened(make_scene(tmp_path / "scene"), **settings)
    assert caught.value.reason is Reason.BAD_SETTING


def test_an_option_that_povray_does_not_know_is_a_bad_setting(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(SessionFailure, match="'Nonsense=3'") as caught:
        opened(make_scene(tmp_path / "scene"), options={"Nonsense": "3"})
    assert caught.value.reason is Reason.BAD_SETTING


# what goes wrong


def test_a_syntax_error_in_an_include_names_the_include(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", extra='#include "bad.inc"')
    (tmp_path / "scene" / "bad.inc").write_text("\n\nsphere { 0, }\n")
    [outcome] = render(opened(ini), [1], tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert outcome.message.startswith("bad.inc, line 3, column 13: ")


def test_an_error_in_some_frames_spares_the_others(tmp_path: Path, opened: Opener) -> None:
    extra = '#if (frame_number = 2 | frame_number = 3)\n#error "not this one"\n#end'
    outcomes = render(opened(make_scene(tmp_path / "scene", extra=extra)), [1, 2, 3, 4, 5], tmp_path / "out")
    assert [type(outcome) for outcome in outcomes] == [Rendered, Failed, Failed, Rendered, Rendered]
    assert all("not this one" in getattr(outcomes[place], "message", "") for place in (1, 2))


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ('#include "gone.inc"', "gone.inc"),
        ('sphere { 0, 1 pigment { image_map { png "gone.png" } } }', "gone.png"),
        ('text { ttf "gone.ttf" "a" 1, 0 }', "gone.ttf"),
    ],
)
def test_a_missing_file_is_named_by_inspection_and_by_rendering(
    tmp_path: Path, opened: Opener, extra: str, name: str
) -> None:
    ini = make_scene(tmp_path / "scene", frames=1, extra=extra)
    assert [Path(asset.path).name for asset in inspect(ini).missing] == [name]
    session = opened(ini)
    [outcome] = render(session, [1], tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.MISSING_FILE
    assert name in outcome.message


def test_a_render_stopped_from_outside_ends_the_session(tmp_path: Path, opened: Opener) -> None:
    started: list[subprocess.Popen[bytes]] = []
    session = opened(make_slow_scene(tmp_path / "scene"))
    session._launch = lambda *args, **kwargs: started.append(launch(*args, **kwargs)) or started[-1]  # type: ignore[func-returns-value]
    folder = tmp_path / "out"
    folder.mkdir()

    def stop() -> None:
        while not started:
            time.sleep(0.01)
        os.killpg(started[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=stop, daemon=True)
    killer.start()
    with pytest.raises(SessionFailure, match="stopped from outside"):
        list(session.render([1, 2], 1, folder, folder / "log.txt"))
    killer.join()


def test_a_full_disk_is_told_apart(tmp_path: Path, opened: Opener) -> None:
    session = opened(make_scene(tmp_path / "scene", size=(400, 300)))
    limit = ["bwrap", "--dev-bind", "/", "/", "--size", "100000", "--tmpfs"]
    if subprocess.run([*limit, "/tmp", "true"], capture_output=True, check=False).returncode:
        pytest.skip("bubblewrap can't make a small disk here")

    def in_small_disk(argv: Sequence[str], **kwargs: object) -> subprocess.Popen[bytes]:
        output = next(word for word in argv if word.startswith("+O"))
        place = str(Path(output[2:].strip('"')).parent)
        return launch([*limit, place, "--chdir", str(kwargs["cwd"]), *argv], **kwargs)  # type: ignore[arg-type]

    session._launch = in_small_disk  # type: ignore[assignment]
    [outcome] = render(session, [1], tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.DISK_FULL


def test_no_process_is_left_when_nobody_waits_for_the_rest(tmp_path: Path, opened: Opener) -> None:
    started: list[subprocess.Popen[bytes]] = []
    session = opened(make_scene(tmp_path / "scene"))
    session._launch = lambda *args, **kwargs: started.append(launch(*args, **kwargs)) or started[-1]  # type: ignore[func-returns-value]
    folder = tmp_path / "out"
    folder.mkdir()
    frames = session.render([1, 2, 3], 1, folder, folder / "log.txt")
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert started[0].poll() is not None


def test_signs_put_the_error_before_the_warnings() -> None:
    log = (
        "==== [Parsing...] ====\n"
        "File 'a.pov' line 1: Parse Warning: something is old.\n"
        "File 'a.pov' line 3: Parse Error: No matching } in 'sphere', undeclared\n"
        " identifier 'pigmnt' found instead\n"
        "Fatal error in parser: Cannot parse input.\n"
    )
    found = signs(log)
    assert found[0].endswith("undeclared identifier 'pigmnt' found instead")
    assert found[-1].endswith("something is old.")


def test_a_message_that_ends_on_the_last_column_is_not_joined_with_the_next() -> None:
    first = "Possible Parse Error: Cannot find file 'a.inc', even after trying to append."
    second = f"File '{'b' * 50}.pov' line 3: Parse Error: Cannot open include file a.inc."
    assert signs(f"{first:.<80}\n{second}\n") == (second, f"{first:.<80}")


# names


@pytest.mark.parametrize("name", ["it's Åà", "-lead", "a;b[c]%d"])
def test_a_scene_and_a_folder_of_any_name_render(tmp_path: Path, opened: Opener, name: str) -> None:
    ini = make_scene(tmp_path / name, name=name)
    assert list(pictures(render(opened(ini), [1, 2], tmp_path / name / f"out {name}"))) == [1, 2]


def test_a_name_with_a_newline_renders(tmp_path: Path, opened: Opener) -> None:
    pov = make_still(tmp_path / "two\nlines", name="two\nlines")
    session = opened(pov, resolution=(32, 24))
    assert list(pictures(render(session, [1], tmp_path / "two\nlines" / "out"))) == [1]


def test_a_line_of_a_log_that_was_broken_before_a_dash_goes_on_with_the_next() -> None:
    log = "File '" + "x/run".rjust(74, "x")
    log += "\n-a1.pov' line 7: Parse Error: No matching } in 'sphere', undeclared"
    log += "\n identifier 'pigmnt' found instead"
    found = verdict(1, log, lambda file, line: ("grün.pov", "sphere { 0, 1 pigmnt { rgb 1 } }"))
    assert found.message.startswith("grün.pov, line 7, column 15: ")


def test_an_error_in_a_scene_of_an_odd_name_tells_that_name(tmp_path: Path, opened: Opener) -> None:
    pov = make_still(tmp_path / "scene", name="grün", extra="\nsphere { 0, 1 pigmnt { rgb 1 } }")
    [outcome] = render(opened(pov, resolution=(32, 24)), [1], tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.SCENE_ERROR
    assert outcome.message.startswith("grün.pov, line 7, column 15: ")
    assert "undeclared identifier 'pigmnt'" in outcome.message


# reading


def test_assets_are_found_through_includes_and_the_library_path(tmp_path: Path, opened: Opener) -> None:
    ini = make_textured_scene(tmp_path / "scene", frames=1)
    library = tmp_path / "library"
    library.mkdir()
    (library / "checker.png").write_bytes(CHECKER_PNG)
    (tmp_path / "scene" / "checker.png").unlink()
    ini.write_text(ini.read_text() + "Library_Path=../library\n")
    found = {(Path(a.path).name, a.kind, a.exists) for a in inspect(ini).assets}
    assert found == {
        ("textured.pov", "include", True),
        ("box.inc", "include", True),
        ("checker.png", "image", True),
    }
    session = opened(ini)
    assert session.describe().folders == (str(library),)
    assert list(pictures(render(session, [1], tmp_path / "out"))) == [1]


def test_files_that_come_with_povray_are_no_assets(tmp_path: Path) -> None:
    extra = '#include "colors.inc"\ntext { ttf "timrom.ttf" "a" 0.1, 0 }'
    assert [asset.used_by for asset in inspect(make_scene(tmp_path, frames=1, extra=extra)).assets] == [
        "tiny.pov"
    ]


@pytest.mark.parametrize(
    ("extra", "kind", "name"),
    [
        ('height_field { "h.png" }', "image", "h.png"),
        ('sphere { 0,1 normal { bump_map { jpeg "b.jpg" } } }', "image", "b.jpg"),
        ('#declare F = function { pattern { image_pattern { png "p.png" } } };', "image", "p.png"),
        ('media { density { density_file df3 "v.df3" } }', "volume", "v.df3"),
        ('#fopen In "points.txt" read', "text", "points.txt"),
        ('#declare Map = "m.png"; sphere { 0,1 pigment { image_map { png Map } } }', "image", "m.png"),
    ],
)
def test_every_way_to_name_a_file_is_seen(tmp_path: Path, extra: str, kind: str, name: str) -> None:
    assets = inspect(make_scene(tmp_path, frames=1, extra=extra)).missing
    assert [(Path(asset.path).name, asset.kind) for asset in assets] == [(name, kind)]


def test_a_name_that_differs_in_case_is_missing_with_a_hint(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", extra='#include "SHAPE.INC"')
    (tmp_path / "scene" / "shape.inc").write_text("")
    [outcome] = render(opened(ini), [1], tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert "the file 'SHAPE.INC' is missing. There is 'shape.inc'" in outcome.message


def test_a_file_that_the_scene_checks_for_may_be_missing(tmp_path: Path) -> None:
    extra = '#if (file_exists("maybe.inc"))\n#include "maybe.inc"\n#end'
    assert not inspect(make_scene(tmp_path, frames=1, extra=extra)).missing


def test_an_ini_means_what_povray_says_it_means(tmp_path: Path, opened: Opener) -> None:
    make_still(tmp_path)
    (tmp_path / "size.ini").write_text("Height = 77 ; tall\n")
    ini = tmp_path / "scene.ini"
    lines = ("# first", "+W10 +H11 +KFF20 # all of them", "+kc declare=a=0", "size", "tiny.pov", 'width="12"')
    ini.write_text("\n".join((*lines, "[other]", "Width=99", "")))
    scene = opened(ini).describe()
    assert scene.resolution == (12, 77)
    assert scene.frames == "1-20"
    assert opened(ini, section="other").describe().resolution == (99, 77)
    assert [Path(asset.path).name for asset in scene.assets] == ["size.ini", "tiny.pov"]


@pytest.mark.parametrize(
    "lines",
    [
        ("Final_Frame=10", "Subset_Start_Frame=0.25", "Subset_End_Frame=0.75", "Frame_Step=2"),
        ("# made by hand", "Final_Frame=4 # the last"),
        ("+kff4 +kc declare=fp=0",),
        ("Final_Frame=3", "Library_Path=a,b,c", "Initial_Clock=2"),
        ("Final_Frame=2", "Final_Clock=3 Initial_Clock=9"),
        ("Final_Frame=8", "Subset_Start_Frame=3", "+EF4"),
    ],
)
def test_frames_and_clocks_are_those_of_povray_itself(
    tmp_path: Path, opened: Opener, lines: tuple[str, ...]
) -> None:
    make_still(tmp_path / "scene")
    ini = tmp_path / "scene" / "scene.ini"
    ini.write_text("\n".join(("Input_File_Name=tiny.pov", "Width=32", "Height=24", *lines, "")))
    clean = by_hand(ini, tmp_path / "hand")
    session = opened(ini)
    frames = list(parse(session.describe().frames))
    assert frames == sorted(clean)
    assert_same(pictures(render(session, frames, tmp_path / "out")), clean)


def test_a_section_is_chosen_as_on_povrays_command_line(tmp_path: Path, opened: Opener) -> None:
    ini = make_scene(tmp_path / "scene", frames=1, options=("[small]", "Width=16", "[tall]", "Height=40"))
    [outcome] = render(opened(ini, section="tall"), [1], tmp_path / "out")
    assert isinstance(outcome, Rendered)
    assert pixels(Path(outcome.path)).shape[:2] == (40, 32)


def test_a_section_is_named_after_the_file_as_for_povray(tmp_path: Path) -> None:
    ini = make_scene(tmp_path, frames=1, options=("[small]", "Width=16"))
    wanted = request.build(f"{ini}[small]")
    assert (wanted.scene, wanted.settings) == (str(ini), Settings(section="small"))
    assert inspect(f"{ini}[small]").resolution == (16, 24)
    (tmp_path / "tiny.ini[small]").write_text(ini.read_text())
    assert request.build(f"{ini}[small]").settings.section is None
    with pytest.raises(SceneError, match="There is no file"):
        request.build(tmp_path / "gone.ini[small]")


def test_the_range_of_the_ini_beats_the_frames_asked_for(tmp_path: Path, opened: Opener) -> None:
    scene = opened(make_scene(tmp_path, frames=8), frames="5-20").describe()
    assert scene.frames == "1-8"
    assert any("outside the scene's own 1-8" in note for note in scene.notes)


@pytest.mark.parametrize(
    ("cost", "processes"), [(0.0, 1), (0.03, 4), (0.125, 3), (0.25, 2), (0.5, 2), (0.72, 1), (14.4, 1)]
)
def test_processes_of_frames_that_sleep_fill_a_core(cost: float, processes: int) -> None:
    assert at_once(cost) == processes


def test_short_frames_are_rendered_by_several_processes_as_by_hand(tmp_path: Path, opened: Opener) -> None:
    extra = '#if (frame_number = 9)\n#error "not this one"\n#end'
    session = opened(ini := make_scene(tmp_path / "scene", frames=13, extra=extra))
    [one] = render(session, [1], tmp_path / "one")
    outcomes = render(session, range(2, 14), tmp_path / "out")
    commands = (tmp_path / "out" / "log.txt").read_text().count("$ cd ")
    assert [o.frame for o in outcomes if isinstance(o, Failed)] == [9]
    assert [o.frame for o in outcomes] == list(range(2, 14))
    assert commands > 2
    good = [one, *(o for o in outcomes if isinstance(o, Rendered))]
    hand = [
        by_hand(ini, tmp_path / first, f"+SF{first}", f"+EF{last}")
        for first, last in (("1", "8"), ("10", "13"))
    ]
    assert_same(pictures(good), hand[0] | hand[1])


def test_one_start_renders_evenly_spaced_frames() -> None:
    animation = Animation(first=1, last=20, start=1, end=20)
    taken = []
    left = [1, 2, 3, 10, 12, 14, 9, 4]
    while left:
        run = first_run(left, animation)
        assert run is not None
        taken.append(run.frames)
        del left[: len(run.frames)]
    assert taken == [(1, 2, 3), (10, 12, 14), (9,), (4,)]


@pytest.mark.parametrize("content", [b"", b"background { rgb <1, 0.5, 0> } // \0\n\0\0"])
def test_a_scene_that_is_hardly_a_text_renders_as_povray_renders_it(
    tmp_path: Path, opened: Opener, content: bytes
) -> None:
    pov = tmp_path / "odd.pov"
    pov.write_bytes(content)
    ours = pictures(render(opened(pov, resolution=(8, 6)), [1], tmp_path / "out"))
    assert_same({0: ours[1]}, by_hand(pov, tmp_path / "hand", "+W8", "+H6"))


@pytest.mark.parametrize("content", ["", "nonsense here\n", "gone.ini\n", "scene.ini\n"])
def test_an_ini_that_povray_refuses_is_refused_in_its_words(
    tmp_path: Path, opened: Opener, content: str
) -> None:
    ini = tmp_path / "scene.ini"
    ini.write_text(content)
    with pytest.raises(SessionFailure, match=r"POV-Ray does not understand scene\.ini: ") as caught:
        opened(ini)
    assert caught.value.reason is Reason.SCENE_ERROR


def test_an_ini_that_names_no_scene_that_is_there_fails_as_povray_does(tmp_path: Path, opened: Opener) -> None:
    make_still(tmp_path, name="Main")
    (tmp_path / "scene.ini").write_text("Input_File_Name=main.pov\n")
    session = opened(tmp_path / "scene.ini")
    [outcome] = render(session, [1], tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.MISSING_FILE
    assert "'main.pov'" in outcome.message
    assert "'Main.pov'" in outcome.message


def test_a_scene_for_a_newer_povray_fails_in_its_words(tmp_path: Path, opened: Opener) -> None:
    (tmp_path / "new.pov").write_text("#version 9.9;\nsphere { 0, 1 }\n")
    [outcome] = render(opened(tmp_path / "new.pov"), [1], tmp_path / "out")
    assert isinstance(outcome, Failed)
    assert "9.9 or later" in outcome.message


def test_what_the_machines_own_povray_ini_says_tells_builds_apart(tmp_path: Path) -> None:
    program, ini = tmp_path / "bin" / "povray", tmp_path / "etc" / "povray" / "3.7" / "povray.ini"
    for path, text in ((program, "#!/bin/sh\necho POV-Ray 3.7.0.9"), (ini, "Antialias=off")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    program.chmod(0o755)
    (before,) = RENDERER.builds(str(program))
    ini.write_text("Antialias=on")
    (after,) = RENDERER.builds(str(program))
    assert before.label == after.label == "POV-Ray 3.7.0.9"
    assert before.identity != after.identity


def test_an_executable_that_is_not_povray_is_no_build() -> None:
    assert RENDERER.builds("/bin/true") == []
    assert RENDERER.builds("no-such-renderer") == []


def test_the_sample_scene_needs_its_include_and_its_picture_and_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "LEAST_SECONDS", 120.0)  # others may be at work here
    scene = inspect(Path(__file__).parent.parent / "scenes" / "povray" / "balloons.ini")
    assert {Path(asset.path).name for asset in scene.assets} == {"balloons.pov", "balloon.inc", "gores.png"}
    assert all(asset.exists for asset in scene.assets)
    assert (scene.notes, scene.frames) == ((), "1-48")


def test_a_name_that_povray_loses_is_found_all_the_same(tmp_path: Path, opened: Opener) -> None:
    make_still(tmp_path, name="Åsa voilà")
    ini = tmp_path / "scene.ini"
    ini.write_text("Input_File_Name=Åsa voilà.pov\r\nWidth=9\r\nHeight=7\r\n", encoding="utf-8")
    assert list(pictures(render(opened(ini), [1], tmp_path / "out"))) == [1]
