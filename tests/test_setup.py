"""What `renderfarm setup` would do, for users without the repository; nothing is installed here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from renderfarm import cli
from renderfarm.errors import InputError
from renderfarm.farm import doctor
from renderfarm.renderers.blender import wheels


@pytest.fixture
def pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it yet."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def program(path: Path, code: int = 0) -> None:
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o755)


OTHER, BLENDER = ("3.11", "5.0") if sys.version_info[:2] != (3, 11) else ("3.13", "5.1")


def test_a_blender_gets_the_python_that_its_wheel_needs(pythons: Path) -> None:
    program(pythons / f"python{OTHER}")
    steps = list(doctor.steps([BLENDER]))
    place = str(Path(sys.prefix, "blenders", BLENDER))
    assert steps[0].command == (str(pythons / f"python{OTHER}"), "-I", "-m", "venv", place)
    assert [steps[1].command[0], steps[1].command[-1]] == [f"{place}/bin/python", f"bpy=={BLENDER}.*"]


def test_uv_brings_a_python_that_is_not_here_or_makes_no_environments(pythons: Path) -> None:
    program(pythons / f"python{OTHER}", code=127)
    with pytest.raises(InputError, match="as a Python package needs Python"):
        list(doctor.steps([BLENDER]))
    program(pythons / "uv")
    assert wheels.commands(BLENDER)[0][1:5] == ("venv", "--quiet", "--python", OTHER)  # type: ignore[index]


@pytest.mark.skipif(not Path("/usr/bin/dpkg-query").exists(), reason="no Debian")
def test_packages_that_are_missing_are_named_for_root(
    pythons: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("apt-get", "dpkg-query"):
        program(pythons / name)  # nothing is installed, says this one
    assert cli.main(["setup", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sudo apt-get update"
    assert {"povray", "ffmpeg", "bubblewrap", "libxi6"} <= set(lines[1].split())


def test_where_nothing_is_missing_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "steps", lambda versions: iter(()))
    assert cli.main(["setup", "--dry-run"]) == 0
    assert capsys.readouterr() == ("", "Nothing is missing.\n")


def test_a_step_that_fails_says_its_last_words() -> None:
    step = doctor.Step("", ("sh", "-c", "echo no network >&2; exit 4"))
    assert (step.take(), doctor.Step("", ("true",)).take()) == ("no network", "")
    assert doctor.Step("", ("true",), root=True).allowed == (os.geteuid() == 0)


def test_a_version_is_one_of_blenders() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "renderfarm", "setup", "--blender", "../x"], capture_output=True, text=True
    )
    assert (done.returncode, "is no version of Blender" in done.stderr) == (2, True)


def test_a_farm_home_on_a_networks_share_is_told(tmp_path: Path) -> None:
    mounts, home = tmp_path / "mounts", tmp_path / "my farm"
    place = str(tmp_path).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {place}/my\\040farm nfs4 rw 0 0\n")
    assert doctor.network_share(home / "jobs", mounts) == "nfs4"
    assert doctor.network_share(tmp_path, mounts) == ""
