"""What set-up installs: pinned with checksums, within the ranges that the project asks for, on every Python."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PINS = {name: ROOT / ".ci" / "pins" / f"{name}.txt" for name in ("program", "tests", "blender")}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
RANGES = {
    "program": PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"],
    "tests": PROJECT["project"]["dependencies"] + EXTRAS["dev"] + PROJECT["build-system"]["requires"],
    "blender": EXTRAS["blender"],
}


def pinned(name: str, python: str) -> dict[str, str]:
    """Version of each project that this Python gets."""
    wanted = [Requirement(line.rstrip(" \\")) for line in PINS[name].read_text().splitlines() if line[0] != " "]
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    fitting = [one for one in wanted if one.marker is None or one.marker.evaluate(here)]
    assert len({one.name for one in fitting}) == len(fitting)
    return {one.name: str(one.specifier).removeprefix("==") for one in fitting}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", PINS)
def test_pins_are_within_the_projects_ranges(name: str, python: str) -> None:
    if name == "blender" and python not in ("3.11", "3.13"):
        assert pinned(name, python) == {}
        return
    versions = pinned(name, python)
    for wanted in map(Requirement, RANGES[name]):
        assert versions[wanted.name.lower()] in wanted.specifier, wanted


@pytest.mark.parametrize("python", PYTHONS)
def test_the_files_agree(python: str) -> None:
    everything = pinned("tests", python)
    others = pinned("program", python) | pinned("blender", python)
    assert {name: version for name, version in others.items() if everything.get(name, version) != version} == {}


@pytest.mark.parametrize("name", PINS)
def test_every_pin_has_its_checksums_and_no_address(name: str) -> None:
    text = PINS[name].read_text()
    assert all("--hash=sha256:" in pin for pin in re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:])
    assert "://" not in text


def test_the_image_gets_what_set_up_installs() -> None:
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for name in ("bpy", "numpy", "zstandard"):
        assert arguments[name.upper()] == pinned("blender", "3.11")[name]
        assert arguments[f"{name.upper()}_SHA256"] in PINS["blender"].read_text()
