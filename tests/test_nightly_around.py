"""Around a night: who is told, how long frames are kept."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest

from renderfarm.farm import notify
from renderfarm.nightly import retention
from tests.faulty_http import Answer, Faulty, Request
from tests.nights import Project, names


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.card("a")
    made.write(a={"scene": "a.testcard"})
    return made


# Notifications


@dataclass
class Hook:
    """A server that refuses so many posts, and keeps what all said."""

    url: str = ""
    refusals: list[int] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)

    def rule(self, request: Request) -> Answer:
        self.asked.append(request)
        return Answer(self.refusals.pop(0) if self.refusals else 200)


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    with Faulty(0, made.rule) as port:
        made.url = f"http://127.0.0.1:{port}/hook?token=secret"
        yield made


def test_a_command_gets_the_summary_on_standard_input_and_a_url_as_json(project: Project, hook: Hook) -> None:
    program = project.folder / "tell me"
    program.write_text(f'#!/bin/sh\necho "$1" > {project.folder}/word\ncat > {project.folder}/told.json\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    project.write(top={"notify_url": hook.url}, a={"scene": "a.testcard"})
    done = project.run("--json", "--quiet", "--notify", f"'{program}' 'two words; $(x)'")
    assert json.loads((project.folder / "told.json").read_text()) == done.json
    assert (project.folder / "word").read_text() == "two words; $(x)\n", "no shell has looked at it"
    (post,) = hook.asked
    assert (post.headers["Content-Type"], json.loads(post.body)) == ("application/json", done.json)


@pytest.mark.parametrize(
    ("command", "why"),
    [("false", "ended with code 1"), ("no-such-program", "could not be run"), ("'", "can't be read")],
)
def test_a_command_that_fails_says_why(command: str, why: str) -> None:
    assert why in notify.by_command(command, {})


def test_a_command_that_fails_is_a_problem_and_no_failed_night(project: Project) -> None:
    done = project.run("--notify", "false")
    assert done.code == 0
    assert any("ended with code 1" in problem for problem in project.record()["problems"])


def test_a_post_is_tried_again_where_that_may_help(hook: Hook) -> None:
    hook.refusals = [503, 429]
    pauses: list[float] = []
    assert notify.by_url(hook.url, {"night": "x"}, sleep=pauses.append) == ""
    assert pauses == [0.0, *notify.PAUSES_SECONDS[:2]]
    assert len(hook.asked) == 3


def test_a_post_that_is_refused_for_good_is_not_tried_again(hook: Hook) -> None:
    hook.refusals = [404]
    trouble = notify.by_url(hook.url, {}, sleep=lambda _: None)
    assert "it answered 404" in trouble
    assert "secret" not in trouble
    assert len(hook.asked) == 1


def test_an_address_that_nobody_answers_is_a_problem_in_the_end() -> None:
    assert "was not told" in notify.by_url("http://127.0.0.1:9/x", {}, sleep=lambda _: None)


# Retention


def kept(output: Path) -> dict[str, list[int]]:
    """Night to the frames that are there."""
    found = {}
    for night in sorted(output.glob("20*")):
        found[night.name] = sorted(int(path.stem.split(".")[1]) for path in night.glob("a/frames/*.png"))
    return found


def lay_out(output: Path, **frames: list[int]) -> None:
    """Nights of a shot, each frame a file of its own of 1,000 bytes."""
    for name, numbers in frames.items():
        night = output / f"2026-11-{name[1:]}"
        (night / "a/frames").mkdir(parents=True)
        (night / "night.json").write_text("{}")
        (night / "a/a.mp4").write_text("the video")
        for number in numbers:
            (night / f"a/frames/a.{number:04d}.png").write_bytes(f"{name} {number}".encode().ljust(1000))


def test_so_many_nights_are_kept(tmp_path: Path) -> None:
    lay_out(tmp_path, n10=[1, 2], n11=[1, 2], n12=[1, 2], n13=[1, 2])
    pruned = retention.prune(tmp_path, {"a": 2})
    assert kept(tmp_path) == {"2026-11-10": [], "2026-11-11": [], "2026-11-12": [1, 2], "2026-11-13": [1, 2]}
    assert (pruned.frames, pruned.bytes) == (4, 4000)
    assert (tmp_path / "2026-11-10/a/a.mp4").exists()


def test_the_newest_good_picture_of_a_frame_always_stays(tmp_path: Path) -> None:
    lay_out(tmp_path, n10=[1, 2, 3], n11=[1, 2], n12=[1], n13=[])
    retention.prune(tmp_path, {"a": 1}, before=date(2027, 1, 1), limit=0)
    assert kept(tmp_path) == {"2026-11-10": [3], "2026-11-11": [2], "2026-11-12": [1], "2026-11-13": []}


def test_old_nights_go_by_age(tmp_path: Path) -> None:
    lay_out(tmp_path, n10=[1], n11=[1], n12=[1])
    retention.prune(tmp_path, {}, before=date(2026, 11, 11))
    assert kept(tmp_path) == {"2026-11-10": [], "2026-11-11": [1], "2026-11-12": [1]}


def test_the_oldest_nights_go_until_the_rest_fits(tmp_path: Path) -> None:
    lay_out(tmp_path, n10=[1, 2], n11=[1, 2], n12=[1, 2])
    retention.prune(tmp_path, {}, limit=4000)
    assert kept(tmp_path) == {"2026-11-10": [], "2026-11-11": [1, 2], "2026-11-12": [1, 2]}


def test_hard_links_cost_nothing_and_free_nothing(tmp_path: Path) -> None:
    lay_out(tmp_path, n10=[], n11=[1])
    (tmp_path / "2026-11-10/a/frames/a.0001.png").hardlink_to(tmp_path / "2026-11-11/a/frames/a.0001.png")
    assert retention.prune(tmp_path, {}, limit=1000).frames == 0
    assert retention.prune(tmp_path, {"a": 1}).bytes == 0


def test_a_dry_run_removes_nothing_and_says_the_same(tmp_path: Path) -> None:
    lay_out(tmp_path, n10=[1, 2], n11=[1])
    before = kept(tmp_path)
    dry = retention.prune(tmp_path, {"a": 1}, dry_run=True)
    assert kept(tmp_path) == before
    assert retention.prune(tmp_path, {"a": 1}) == dry
    assert [(gone.frames, gone.kept) for gone in dry.gone] == [(1, 1)]


@pytest.mark.slow
def test_a_night_lets_go_of_what_its_shots_do_not_keep(project: Project) -> None:
    project.write(a={"scene": "a.testcard", "keep": 1})
    project.run()
    project.card("a", size=[48, 18])
    project.run(day=1)
    assert not (project.nights[0] / "a/frames").exists()
    assert project.frames("a") == names("a", range(1, 5))


@pytest.mark.slow
def test_prune_says_first_what_would_go(project: Project) -> None:
    project.run()
    project.card("a", size=[48, 18])
    project.run(day=40)
    dry = project.nightly("prune", project.list, "--older-than", "30d", "--dry-run", day=40)
    assert "4 frames would go" in dry.out
    assert len(project.frames("a", 0)) == 4
    done = project.nightly("prune", project.list, "--older-than", "30d", "--json", day=40)
    assert done.json["frames"] == 4
    assert not (project.nights[0] / "a/frames").exists()
