"""Programs that we start see no key of anybody's, and one that is asked for its version sees little else."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renderfarm.node import sandbox
from renderfarm.renderers import asking, renderer
from tests.farm_runs import Farm, card

works_here = pytest.mark.skipif(bool(sandbox.obstacle()), reason=f"no bubblewrap: {sandbox.obstacle()}")
KEYS = {
    "RENDERFARM_BATCH_KEY": "c2VjcmV0",
    "RENDERFARM_STORAGE_KEY": "c2VjcmV0",
    "AZURE_CLIENT_SECRET": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "GOOGLE_APPLICATION_CREDENTIALS": "/secret.json",
    "GITHUB_TOKEN": "secret",
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has keys of several clouds in the environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


def tool(folder: Path, script: str, answers: str, name: str = "tool") -> Path:
    """A program that does something and then says it is a renderer."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\necho {shlex.quote(answers)}\n")
    path.chmod(0o755)
    return path


def found(name: str, path: Path, *, confined: bool) -> bool:
    """Whether a renderer's description takes a program for one of its builds."""
    return bool(renderer(name).builds(str(path), confined=confined))


SEES_KEYS = "env | grep -q -e KEY -e SECRET -e TOKEN -e RENDERFARM -e AZURE && exit 1"
ANSWERS = {"povray": "POV-Ray 3.7.0.10.unofficial", "blender": "Blender 4.5.3"}


@pytest.mark.parametrize("confined", [True, False])
@pytest.mark.parametrize("name", ANSWERS)
def test_who_is_asked_for_a_version_sees_no_keys(name: str, confined: bool, tmp_path: Path) -> None:
    asked = tool(tmp_path, SEES_KEYS, ANSWERS[name])
    assert found(name, asked, confined=confined)


@works_here
@pytest.mark.parametrize("name", ANSWERS)
def test_who_is_asked_for_a_version_writes_nothing(name: str, tmp_path: Path) -> None:
    marks = (tmp_path / "mark", Path.home() / f".mark-{os.getpid()}", Path(f"/var/mark-{os.getpid()}"))
    script = "\n".join(f"(echo x > {shlex.quote(str(mark))}) 2>/dev/null" for mark in marks)
    assert found(name, tool(tmp_path, script, ANSWERS[name]), confined=True)
    assert [mark for mark in marks if mark.exists()] == []


@works_here
def test_who_is_asked_for_a_version_sees_no_home_and_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "somebody"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id").write_text("secret")
    monkeypatch.setenv("HOME", str(home))
    script = f"test -e {home}/.ssh && exit 1\n test $(ls /sys/class/net | wc -w) -gt 99 && exit 1"
    assert found("povray", tool(home / "apps", script, ANSWERS["povray"]), confined=True)
    assert not found("povray", tool(home / "apps", script, ANSWERS["povray"], "other"), confined=False)


@works_here
def test_a_program_right_in_a_home_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert found("povray", tool(tmp_path, "", ANSWERS["povray"]), confined=True)


@works_here
def test_a_program_that_fails_when_it_is_confined_is_not_run_outside(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert not found("povray", tool(tmp_path, f"echo x > {mark} || exit 1", ANSWERS["povray"]), confined=True)
    assert not mark.exists()


def test_a_python_is_asked_with_all_that_is_installed_in_it() -> None:
    answer = asking.ask([sys.executable, "-c", "import click, sys; print(sys.prefix)"], confined=True)
    assert answer.stdout.decode().strip() == sys.prefix


def test_a_node_and_its_renderer_see_no_keys(tmp_path: Path) -> None:
    farm = Farm(tmp_path / "farm")
    farm.environment |= KEYS
    scene = card(tmp_path / "a.testcard", "1-2", seconds=1.0)
    process = farm.start("submit", scene, "--workers", "1", "--sandbox", "off", "--quiet")
    seen = environments_below(process)
    process.communicate()
    assert process.returncode == 0
    assert len(seen) >= 2
    for command, text in seen.items():
        assert (command, [name for name in KEYS if name in text]) == (command, [])


def environments_below(process: subprocess.Popen[str]) -> dict[str, str]:
    """The environments of all programs that a process starts, by their command lines, until it ends."""
    seen: dict[str, str] = {}
    own = {""}
    while process.poll() is None:
        for child in descendants(process.pid):
            try:
                own.add(Path(f"/proc/{process.pid}/cmdline").read_text())
                command = Path(f"/proc/{child}/cmdline").read_text()
                seen[command] = Path(f"/proc/{child}/environ").read_text()
            except OSError:
                continue
        time.sleep(0.01)
    # A child that has not begun its program yet is a copy of its parent.
    return {command: text for command, text in seen.items() if command not in own}


def descendants(pid: int) -> list[int]:
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *descendants(child))]
