"""What is seen while a job runs: the view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import re
import struct
import termios
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from renderfarm.cli import live, pictures
from renderfarm.words.states import Finding, JobState, Phase
from renderfarm.words.status import Counts, FrameFailure, NodeStatus, Status, Suspect


def failure(frame: int, message: str = "Segmentation fault") -> FrameFailure:
    return FrameFailure(frame, "crash", message, 3, "/out/logs/f0017.3.log")


STATUS = Status(
    job="shot-1a2b",
    state=JobState.RUNNING,
    scene="/project/shot.blend",
    pool="local",
    frames=Counts(total=500, succeeded=212, failed=3, queued=283, running=2, reused=40),
    failures=(failure(16), failure(17), failure(18), failure(19)),
    output="/out",
    frames_dir="/out/frames",
    video=None,
    contact_sheet=None,
    report=None,
    seconds=1022.0,
    eta_seconds=1390.0,
    phase=Phase.RENDERING,
    frames_per_minute=12.4,
    suspects=(Suspect(44, Finding.OUTLIER, "differs from both neighbours"),),
    nodes=(NodeStatus("local-1", "working", 213, 4.2), NodeStatus("local-2", "loading", None, 12.0)),
)


def test_a_frame_in_parts_is_seen_filling_up() -> None:
    split = replace(STATUS, frames=Counts(total=1, running=1), parts=Counts(total=12, succeeded=5))
    screen = Screen()
    live.LiveView(screen, size=(80, 20), draw=None)(split)
    assert "5/12  41 %" in screen.lines()[1]
    assert "0 of 1 frame, 5 of 12 parts" in live.progress_line(split)
    done = replace(split, frames=Counts(total=1, succeeded=1))
    assert "parts" not in live.progress_line(done)


class Screen(io.StringIO):
    """A terminal's text: what remains after cursor movements and erasing."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        rows, row, column = [""], 0, 0
        for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\x1b_.*?\x1b\\|\n|\r|[^\x1b\n\r]+", self.getvalue()):
            if moved := re.fullmatch(r"\x1b\[(\d+)([AB])", token):
                row += int(moved[1]) * (1 if moved[2] == "B" else -1)
            elif token in ("\x1b[K", "\x1b[J"):
                rows[row] = rows[row][:column]
                rows = rows[: row + 1] if token.endswith("J") else rows
            elif token in ("\r", "\n"):
                row, column = row + (token == "\n"), 0
                rows += [""] * (row + 1 - len(rows))
            elif not token.startswith("\x1b"):
                rows[row] = rows[row][:column] + token + rows[row][column + len(token) :]
                column += len(token)
        return rows


class Watch:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(status: Status, width: int = 100, height: int = 24) -> list[str]:
    screen = Screen()
    live.LiveView(screen, size=(width, height))(status)
    return [line.rstrip() for line in screen.lines()]


def test_the_view_shows_progress_pace_nodes_failures_and_suspects() -> None:
    assert shown(STATUS) == [
        "shot-1a2b  running  local",
        "━" * 36 + "─" * 48 + "  212/500  42 %",
        "12.4 frames/min · 23 min 10 s left · 17 min 2 s so far · 3 failed · 40 reused · 1 to look at",
        "  local-1  frame 213           4.2 s",
        "  local-2  loading              12 s",
        "  frames 16-19 failed: crash: Segmentation fault (3 tries, log /out/logs/f0017.3.log)",
        "  look at frame 44: outlier differs from both neighbours",
    ]


@pytest.mark.parametrize("width", [60, 80, 137, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    wide = replace(STATUS, failures=(failure(1, "very long " * 50),))
    assert all(len(line) <= width for line in shown(wide, width))


@pytest.mark.parametrize("height", [3, 8, 12])
def test_the_view_never_outgrows_the_terminal(height: int) -> None:
    many = replace(STATUS, nodes=tuple(NodeStatus(f"n{i}", "working", i, 1.0) for i in range(50)))
    assert len(shown(many, height=height)) <= height - 1


def test_nodes_that_do_not_fit_are_counted() -> None:
    many = replace(STATUS, nodes=tuple(NodeStatus(f"n{i}", "working", i, 1.0) for i in range(50)))
    assert any("… and 36 more nodes" in line for line in shown(many, height=15, width=70))


def test_nodes_that_do_not_fit_below_each_other_stand_beside_each_other() -> None:
    nodes = tuple(NodeStatus(f"w{i}", "working", 100 + i, 1.0) for i in (1, 10, 11, 2, 3))
    lines = shown(replace(STATUS, nodes=nodes), width=70, height=10)
    assert [line.split() for line in lines[3:6]] == [
        ["w1", "frame", "101", "1", "s", "w10", "frame", "110", "1", "s"],
        ["w2", "frame", "102", "1", "s", "w11", "frame", "111", "1", "s"],
        ["w3", "frame", "103", "1", "s"],
    ]


def test_a_redraw_replaces_what_was_there() -> None:
    screen, clock = Screen(), Watch()
    view = live.LiveView(screen, clock=clock, size=(100, 24))
    view(STATUS)
    clock.now = 10.0
    view(replace(STATUS, failures=(), suspects=(), frames=replace(STATUS.frames, succeeded=250)))
    lines = screen.lines()
    assert len(lines) == 5
    assert "250/500  50 %" in lines[1]


def test_the_view_says_what_happens_until_there_is_a_status_and_leaves_nothing_behind() -> None:
    screen = Screen()
    with live.LiveView(screen, "Looking at shot.blend …", size=(100, 24)) as view:
        assert screen.lines() == ["Looking at shot.blend …"]
        view(STATUS)
        assert screen.lines()[0].rstrip() == "shot-1a2b  running  local"
    assert screen.lines() == [""]
    assert "\x1b[?" not in screen.getvalue(), "the cursor and the screen are those of before"


def test_plain_lines_begin_with_what_happens_first() -> None:
    stream = io.StringIO()
    with live.PlainLines(stream, "Looking at shot.blend …"):
        assert stream.getvalue() == "Looking at shot.blend …\n"


def test_news_is_drawn_four_times_a_second_at_most() -> None:
    screen, clock = Screen(), Watch()
    view = live.LiveView(screen, clock=clock, size=(100, 24))
    for step in range(101):
        clock.now = step / 100
        view(replace(STATUS, frames=replace(STATUS.frames, succeeded=step)))
    assert screen.getvalue().count("shot-1a2b") == 5


def test_without_news_only_the_clocks_move_once_a_second() -> None:
    screen, clock = Screen(), Watch()
    view = live.LiveView(screen, clock=clock, size=(100, 24))
    for step in range(201):
        clock.now = step / 100
        view(replace(STATUS, seconds=STATUS.seconds + clock.now))
    assert screen.getvalue().count("shot-1a2b") == 3


def test_escape_sequences_in_a_renderers_words_do_not_reach_the_terminal() -> None:
    evil = replace(STATUS, failures=(failure(1, "\x1b[2Jgone\nand more\x07"),))
    assert any(r"\x1b[2Jgone\nand more\x07" in line for line in shown(evil))


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen()
    live.LiveView(screen, size=(100, 24))(STATUS)
    assert not re.search(r"\x1b\[3\d", screen.getvalue())


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(live.observer(stream=Screen()), live.PlainLines)


def test_a_real_terminal_gets_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(live.observer(stream=Screen()), live.LiveView)


def plain(*moments: tuple[float, Status], progress: bool = True) -> list[str]:
    """The plain lines after showing each status at its time."""
    stream, clock = io.StringIO(), Watch()
    observer = live.PlainLines(stream, progress=progress, clock=clock)
    for clock.now, status in moments:
        observer(status)
    return stream.getvalue().splitlines()


def test_a_plain_line_tells_progress_pace_and_time_left() -> None:
    calm = replace(STATUS, failures=(), frames=replace(STATUS.frames, failed=0))
    line = "shot-1a2b: rendering, 212 of 500 frames, 12.4 frames/min, 23 min 10 s left"
    assert plain((0.0, calm)) == [line]


def test_plain_lines_come_every_five_seconds() -> None:
    calm = replace(STATUS, failures=())
    going = [replace(calm, frames=replace(calm.frames, succeeded=step)) for step in range(31)]
    assert len(plain(*((step / 2, status) for step, status in enumerate(going)))) == 4


def test_while_no_frame_is_decided_there_are_no_more_lines() -> None:
    calm = replace(STATUS, failures=())
    assert len(plain(*((float(step), replace(calm, seconds=step)) for step in range(60)))) == 1


def test_a_new_phase_is_told_at_once() -> None:
    calm = replace(STATUS, failures=())
    lines = plain((0.0, calm), (0.5, replace(calm, phase=Phase.ASSEMBLING)))
    assert lines[1].startswith("shot-1a2b: assembling")


def test_a_new_failure_is_told_at_once_and_only_once() -> None:
    calm, bad = replace(STATUS, failures=()), replace(STATUS, failures=(failure(17),))
    lines = plain((0.0, calm), (0.5, bad), (1.0, bad))
    told = "shot-1a2b: frame 17 failed: crash: Segmentation fault (3 tries, log /out/logs/f0017.3.log)"
    assert lines[1:] == [told]


def test_a_flood_of_failures_is_cut_short() -> None:
    flood = replace(STATUS, failures=tuple(failure(n, f"reason {n}") for n in range(100)))
    lines = plain((0.0, flood), progress=False)
    assert len(lines) == 11
    assert lines[-1].endswith("… and 90 more failed")


def test_quiet_tells_failures_only() -> None:
    lines = plain((0.0, STATUS), (9.0, STATUS), progress=False)
    assert [line.split(" failed")[0] for line in lines] == ["shot-1a2b: frames 16-19"]


class Deserted(io.StringIO):
    """A stream whose reader went away."""

    tries = 0

    def write(self, text: str) -> int:
        self.tries += 1
        raise BrokenPipeError


def test_a_reader_who_went_away_is_not_written_to_again_and_does_not_stop_the_job() -> None:
    stream = Deserted()
    observer = live.PlainLines(stream)
    observer(STATUS)
    observer(replace(STATUS, phase=Phase.ASSEMBLING))
    assert stream.tries == 1


# Pictures


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, ""),
        ({"TERM": "xterm-kitty", "RENDERFARM_PICTURES": "off"}, ""),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, ""),
    ],
)
def test_a_terminal_says_by_its_name_that_it_shows_pictures(
    environment: dict[str, str], protocol: str, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 36), (200, 10, 10)).save(tmp_path / "a.png")
    draw = pictures.drawing(environment)
    marks = {"kitty": "\x1b_G", "iterm": "\x1b]1337;File=", "sixel": "\x1bPq"}
    assert (marks[protocol] in draw(tmp_path / "a.png")) if draw else not protocol
    assert draw is None or draw(tmp_path / "none.png") == ""


@pytest.mark.parametrize(("pixels", "height"), [((800, 312), 143), ((0, 0), 110), ((1600, 960), 440)])
def test_sixels_fit_the_rows_that_the_terminal_gives_them(
    pixels: tuple[int, int], height: int, tmp_path: Path
) -> None:
    Image.new("RGB", (1920, 1080)).save(tmp_path / "a.png")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, *pixels))
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w") as terminal:
        draw = pictures.drawing({"TERM": "mlterm"}, terminal)
        assert draw
        assert re.search(f'"1;1;\\d+;{height}#', draw(tmp_path / "a.png"))


def test_kittys_chunks_are_the_picture() -> None:
    picture = Image.effect_noise((160, 90), 90).convert("RGB")
    said = re.findall("\x1b_G[^;]*m=([01]);([^\x1b]+)\x1b", pictures.kitty(picture))
    assert [more for more, _ in said] == ["1"] * (len(said) - 1) + ["0"]
    with Image.open(io.BytesIO(base64.b64decode("".join(part for _, part in said)))) as shown:
        assert shown.tobytes() == picture.tobytes()


def test_sixels_are_the_colours_of_the_picture() -> None:
    picture = Image.new("RGB", (3, 7), (255, 0, 0))
    picture.putpixel((1, 0), (0, 0, 255))
    said = pictures.sixel(picture)
    blue, red = (re.search(f"#(\\d+);2;{colour}", said)[1] for colour in ("0;0;100", "100;0;0"))  # type: ignore[index]
    assert said.startswith('\x1bPq"1;1;3;7')
    assert f"#{blue}?@?$" in said, "one bit of the middle column"
    assert f"#{red}~}}~$" in said
    assert said.endswith(f"-#{red}@@@$-\x1b\\"), "and the seventh row in the next band"


def test_a_picture_stands_above_the_text_and_goes_with_it() -> None:
    drawn: list[Path] = []
    screen, now = Screen(), [0.0]

    def draw(path: Path) -> str:
        drawn.append(path)
        return "\x1b[0m"

    with live.LiveView(screen, clock=lambda: now[0], size=(80, 40), draw=draw) as view:
        for picture in ("/a.png", "/a.png", "/b.png", "/c.png"):
            view(replace(STATUS, last_frame=picture))
            now[0] += 1.5
        assert [*map(str, drawn)] == ["/a.png", "/b.png"], "not more often than every two seconds"
        assert screen.lines()[pictures.ROWS].startswith("shot-1a2b")
        assert pictures.LET_GO not in screen.getvalue()
    assert screen.getvalue().count(pictures.LET_GO) == 1, "kitty keeps what is not let go of"
    assert screen.lines() == [""]
