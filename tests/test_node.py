"""The node program: renders what it is told, says what happened, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import fill_disk
from farm_runs import PATIENCE_SECONDS
from node_work import Heard, work_for

import renderfarm
from renderfarm.errors import SessionError
from renderfarm.node import archive, sandbox
from renderfarm.node.launch import ProcessLauncher
from renderfarm.node.pictures import defect
from renderfarm.node.process import NodeProcess, SessionTroubleError, close_all
from renderfarm.node.program import Event, Node
from renderfarm.node.task import Order
from renderfarm.node.watch import Watch
from renderfarm.words.as_json import decode, encode
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.states import Reason
from renderfarm.words.updates import Rendered, Started
from renderfarm.words.work import Task

pytestmark = pytest.mark.usefixtures("nothing_left_running")

SANDBOXES = [Sandbox.OFF, *([] if sandbox.obstacle() else [Sandbox.REQUIRE])]
Card = Callable[..., Path]
Hear = Callable[..., Heard]


@pytest.fixture
def hear(tmp_path: Path, testcard: Card) -> Iterator[Hear]:
    """Starts a node with a test card open: `hear(faults={…}, work={…})`."""
    opened: list[NodeProcess] = []

    def start(work: dict[str, Any] | None = None, **fields: Any) -> Heard:
        scene = testcard(tmp_path / "scene", **fields)
        heard = Heard(work_for(scene, tmp_path / "scratch", **(work or {})))
        opened.append(heard.node)
        return heard

    yield start
    close_all(opened)


def fault(what: str, frame: int = 2, **more: int) -> dict[str, object]:
    return {str(frame): {"what": what, **more}}


def in_short(outcomes: list[tuple[str, Any]]) -> list[tuple[int, str]]:
    """Frame and reason, or frame and nothing where it is good."""
    return [(value["frame"], value.get("reason", "")) for _, value in outcomes]


def test_events_are_the_farms_own_types_as_json(hear: Hear) -> None:
    heard = hear()
    heard.render(1)
    started = next(value for kind, value in heard.lines if kind == "Started")
    assert (
        encode(decode(Started, started))
        == started
        == {
            "frame": 1,
            "task": "f0001",
            "attempt": 1,
            "node": "w1",
        }
    )


def test_a_full_disk_is_the_reason_and_the_node_lives(tmp_path: Path, tiny_disk: Path, testcard: Card) -> None:
    heard = Heard(work_for(testcard(tmp_path / "scene"), tiny_disk / "scratch"))
    heard.render(1)
    fill_disk(tiny_disk / "filler")
    assert in_short(heard.render(2)) == [(2, "disk-full")]
    (tiny_disk / "filler").unlink()
    assert in_short(heard.render(3)) == [(3, "")]
    heard.node.close()


def test_the_log_of_a_finished_task_moves_to_its_shelf(hear: Hear, tmp_path: Path) -> None:
    ((_, value),) = hear(work={"logs": str(tmp_path / "logs")}).render(1)
    assert value["log"] == str(tmp_path / "logs" / "f0001.1.log")
    assert Path(value["log"]).read_text() == "frame 1: done\n"


def test_no_half_picture_is_left_lying_about(hear: Hear, tmp_path: Path) -> None:
    hear(faults=fault("truncated")).render(1, 2)
    assert [path.name for path in (tmp_path / "scratch").rglob("*.png")] == ["1.png"]


@pytest.mark.parametrize(("shut_in", "frame"), list(zip(SANDBOXES, (1, 2), strict=False)))
def test_a_frame_that_hangs_times_out_and_the_others_render(hear: Hear, shut_in: Sandbox, frame: int) -> None:
    heard = hear(faults=fault("hang", frame), work={"frame_seconds": 0.7, "sandbox": shut_in})
    outcomes = in_short(heard.render(1, 2, 3))
    assert outcomes == [(n, "timeout" if n == frame else "") for n in (1, 2, 3)]


@pytest.mark.parametrize("shut_in", SANDBOXES)
def test_a_node_that_is_stopped_while_its_renderer_hangs_leaves_nothing(hear: Hear, shut_in: Sandbox) -> None:
    heard = hear(faults=fault("hang"), work={"sandbox": shut_in})
    heard.node.render(Task((2,)), 1)
    heard.until(lambda kind, value: kind == "Started")
    heard.node.stop()
    heard.until_dead()


@pytest.mark.parametrize("shut_in", SANDBOXES)
def test_a_killed_node_takes_its_renderer_with_it(
    hear: Hear, survivors: Callable[[], list[str]], shut_in: Sandbox
) -> None:
    heard = hear(faults=fault("hang"), work={"sandbox": shut_in})
    heard.render(1)
    heard.node.render(Task((2,)), 1)
    heard.until(lambda kind, value: kind == "Started")
    os.kill(heard.node.pid, signal.SIGKILL)
    assert "exit code -9" in heard.until_dead().message
    assert survivors() == []


def test_a_node_does_not_outlive_its_farm(
    tmp_path: Path, testcard: Card, survivors: Callable[[], list[str]]
) -> None:
    """A farm that is killed closes the node's input, whatever it was doing."""
    scene = testcard(tmp_path / "scene", faults=fault("hang"))
    program = (
        "import sys; from node_work import Heard, work_for; from pathlib import Path\n"
        "from renderfarm.words.work import Task\n"
        "heard = Heard(work_for(Path(sys.argv[1]), Path(sys.argv[2])))\n"
        "heard.node.render(Task((2,)), 1); heard.until(lambda kind, value: kind == 'Started')\n"
        "print('hangs', flush=True); sys.stdin.read()"
    )
    farm = subprocess.Popen(
        [sys.executable, "-c", program, scene, tmp_path / "scratch"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert farm.stdout
    assert farm.stdin
    assert farm.stdout.readline() == b"hangs\n"
    farm.kill()
    farm.communicate()
    assert survivors() == []


def test_a_node_whose_farm_died_in_the_middle_of_a_line_goes() -> None:
    node = NodeProcess("w1")
    os.write(node._stdin.fileno(), b'["open",{"renderer":"testc')
    node._stdin.close()
    assert node._process.wait(PATIENCE_SECONDS) == 0
    node.close()


def test_a_frame_that_waits_to_be_handed_over_has_taken_no_time(tmp_path: Path, testcard: Card) -> None:
    said: list[Event] = []

    def say(event: Event) -> None:
        said.append(event)
        time.sleep(3.3 if isinstance(event, Rendered) and event.frame == 1 else 0)

    node = Node(work_for(testcard(tmp_path / "scene"), tmp_path / "scratch", frame_seconds=3.0), "w1", say)
    node.render(Task((1, 2)), 1)
    node.drop()
    assert [type(event) for event in said] == [Started, Rendered, Started, Rendered]


def test_what_is_started_while_all_is_being_killed_dies(tmp_path: Path, testcard: Card) -> None:
    launch = ProcessLauncher(work_for(testcard(tmp_path / "scene"), tmp_path))
    launch.kill()
    process = launch(["sleep", "600"], cwd=tmp_path, log=tmp_path / "log")
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL


def test_a_scene_that_takes_too_long_to_open_is_ended(tmp_path: Path, testcard: Card) -> None:
    launch = ProcessLauncher(work_for(testcard(tmp_path / "scene"), tmp_path))
    watch = Watch(launch, frame_seconds=0.05, memory_bytes=None)
    process = launch(["sleep", "600"], cwd=tmp_path, log=tmp_path / "log")
    watch.begin("Opening the scene", 0.1)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert watch.verdict == (Reason.TIMEOUT, "Opening the scene took longer than 0.1 s.")


def test_a_picture_that_cannot_be_read_fails_its_frame(tmp_path: Path, testcard: Card) -> None:
    """Root is not asked for permissions unless it lacks that right; what the renderer writes has none."""
    program = (
        "import os, sys; from pathlib import Path; from node_work import work_for\n"
        "from renderfarm.node.program import Node; from renderfarm.words.work import Task\n"
        "scratch, said = Path(sys.argv[2]), []\n"
        "for name in ('home', 'tmp'): (scratch / name).mkdir(parents=True)\n"
        "(scratch / 'testcard_inside.py').touch(); (scratch / 'testcard.log').touch()\n"
        "node = Node(work_for(Path(sys.argv[1]), scratch), 'w1', said.append)\n"
        "before = os.umask(0o777); node.open(); os.umask(before)\n"
        "node.render(Task((1,)), 1); node.drop()\n"
        "print(said[-1].reason, said[-1].message)"
    )
    rights = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    argv = [*rights, sys.executable, "-c", program, testcard(tmp_path / "scene"), tmp_path / "scratch"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("unknown [Errno 13] Permission denied"), done.stderr


def test_a_pipe_in_the_place_of_a_picture_stops_no_node(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(OSError, match="no regular file"):
        defect(tmp_path / "1.png")


def test_opening_the_same_work_again_keeps_the_session_warm(hear: Hear, tmp_path: Path) -> None:
    heard = hear()
    heard.render(1)
    program = (tmp_path / "scratch" / "testcard_inside.py").stat().st_mtime_ns
    heard.node.open(work_for(tmp_path / "scene" / "card.testcard", tmp_path / "scratch"))
    heard.render(2)
    assert (tmp_path / "scratch" / "testcard_inside.py").stat().st_mtime_ns == program


def test_a_scene_is_described(hear: Hear, tmp_path: Path) -> None:
    heard = hear(frames="3-9")
    heard.node.look(work_for(tmp_path / "scene" / "card.testcard", tmp_path / "scratch"))
    scene, obstacle = heard.node.described()
    assert (scene.frames, obstacle) == ("3-9", "switched off")


def test_trouble_with_a_scene_is_raised_with_its_reason(hear: Hear, tmp_path: Path) -> None:
    heard = hear()
    scene = tmp_path / "scene" / "card.testcard"
    heard.node.look(work_for(scene, tmp_path / "other", settings=Settings(samples=4)))
    with pytest.raises(SessionTroubleError, match="no samples") as caught:
        heard.node.described()
    assert caught.value.trouble.reason is Reason.BAD_SETTING


def test_a_node_ignores_python_files_in_the_working_directory(
    hear: Hear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "queue", "renderfarm"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    assert in_short(hear().render(1)) == [(1, "")]


def test_a_node_that_is_gone_shows_at_the_next_read_and_orders_do_no_harm(hear: Hear) -> None:
    heard = hear()
    os.kill(heard.node.pid, signal.SIGKILL)
    heard.until_dead()
    heard.node.render(Task((1,)), 1)
    heard.node.stop()
    with pytest.raises(SessionError):
        list(heard.node.read())


# What a cluster's task runs


@pytest.fixture
def order(tmp_path: Path, testcard: Card) -> Callable[..., Path]:
    """Writes an order into a job's folder: `order([1, 2], faults={…})`."""

    def write(*tasks: list[int], work: dict[str, Any] | None = None, retries: int = 1, **fields: Any) -> Path:
        scene = testcard(tmp_path / "scene", **fields)
        told = work_for(scene, tmp_path / "unused", **(work or {}))
        path = tmp_path / "job" / "queue" / "x.json"
        path.parent.mkdir(parents=True)
        path.write_text(
            json.dumps(encode(Order("x", told, tuple(Task(tuple(frames)) for frames in tasks), retries)))
        )
        return path

    return write


def run(*argv: object) -> tuple[int, list[list[Any]]]:
    done = subprocess.run([sys.executable, *map(str, argv)], capture_output=True, text=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def carry_out(order: Path, number: int = 0) -> tuple[int, list[tuple[str, Any]]]:
    """Exit code of a task, and what its node wrote, but for starts."""
    code, _ = run("-m", "renderfarm.node", "task", order, number, "n1", 1, 0)
    journals = (order.parent.parent / "journal").glob(f"n1-x.{number}-*.jsonl")
    said = [json.loads(line)[:2] for path in sorted(journals) for line in path.read_text().splitlines()]
    return code, [(kind, value) for kind, value in said if kind not in ("Schema", "Started", "Taken")]


def test_a_task_of_an_order_leaves_its_pictures_and_says_each_frame(order: Callable[..., Path]) -> None:
    path = order([5], [1, 2])
    code, said = carry_out(path, 1)
    assert code == 0
    *rendered, ended = [(kind, value.get("frame")) for kind, value in said]
    assert sorted(rendered) == [("Rendered", 1), ("Rendered", 2)], "delivered side by side"
    assert ended == ("Ended", None)
    pictures = [path.parent.parent / value["path"] for kind, value in said if kind == "Rendered"]
    assert [picture.read_bytes()[1:4] for picture in pictures] == [b"PNG", b"PNG"]


def test_a_frame_that_fails_is_tried_again_on_the_node_as_often_as_the_ledger_says(
    order: Callable[..., Path],
) -> None:
    code, said = carry_out(order([1, 2], faults=fault("crash"), retries=1))
    assert code == 0
    failed = [(value["attempt"], value["final"]) for kind, value in said if kind == "Failed"]
    assert failed == [(1, False), (2, True)]
    assert [value["frame"] for kind, value in said if kind == "Rendered"] == [1]


def test_a_nodes_full_disk_is_told_of_the_node_and_costs_the_frame_nothing(
    order: Callable[..., Path], tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tiny_disk))
    code, said = carry_out(order([2], faults=fault("truncated")))
    assert code == 1
    assert [(kind, value.get("reason")) for kind, value in said] == [("Trouble", "disk-full"), ("Ended", None)]


def test_attempts_that_do_not_count_leave_a_task_all_its_tries(order: Callable[..., Path]) -> None:
    path = order([2], faults=fault("crash", times=4), retries=1)
    told = json.loads(path.read_text())
    told["tasks"] = [{"frames": [2], "attempt": 4, "spent": 0}]
    path.write_text(json.dumps(told))
    _, said = carry_out(path, 0)
    outcomes = [
        (kind, value["attempt"], value.get("final")) for kind, value in said if kind in ("Failed", "Rendered")
    ]
    assert outcomes == [("Failed", 4, False), ("Rendered", 5, None)]


def test_a_task_that_begins_anew_renders_only_what_is_missing(order: Callable[..., Path]) -> None:
    path = order([1, 2])
    carry_out(path)
    picture = path.parent.parent / "frames" / "0002.1.png"
    kept = picture.with_name("0001.1.png").stat().st_mtime_ns
    picture.unlink()
    _, said = carry_out(path)
    assert sorted(value["frame"] for kind, value in said if kind == "Rendered") == [1, 1, 2, 2]
    assert picture.exists()
    assert picture.with_name("0001.1.png").stat().st_mtime_ns == kept


def test_a_task_whose_renderer_does_not_start_says_trouble_with_its_nodes_name(
    order: Callable[..., Path],
) -> None:
    code, said = carry_out(order([1], work={"settings": {"samples": 4}}))
    assert code == 1
    assert [(kind, value.get("reason"), value["node"]) for kind, value in said] == [
        ("Trouble", "bad-setting", "n1"),
        ("Ended", None, "n1"),
    ]


@pytest.mark.parametrize("argv", [(), ("serve",), ("dance", "x")])
def test_a_node_that_is_started_wrongly_exits_with_2(argv: tuple[str, ...]) -> None:
    assert run("-m", "renderfarm.node", *argv)[0] == 2


def test_the_package_is_not_needed_to_import_a_node() -> None:
    """Only what the archive holds may be imported on a node."""
    program = "import sys, renderfarm.node.__main__\nprint(*(m for m in sys.modules if 'renderfarm.' in m))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(renderfarm.__file__).parents[1])},
    )
    parts = {part.removesuffix(".py").partition("/")[0] for part in archive.PARTS}
    assert {module.split(".")[1] for module in done.stdout.split()} <= parts
