"""What all tests share: a farm home of their own, test card scenes, and an eye on what is left running."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import tether

from renderfarm.job.store import Store
from renderfarm.words.work import Build

tether.tie()  # before others keep a copy of the environment

import blender_scenes  # noqa: E402, F401 - so that it has one name
from farm_runs import PATIENCE_SECONDS, STARTED, Farm, end_all  # noqa: E402

# Where a machine forbids to keep what was compiled, each of a thousand Pythons compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# No day ends during a run: it is noon here.
os.environ["TZ"] = f"NOON{time.gmtime().tm_hour - 12:+d}"
time.tzset()

for _name in ("farm_runs", "blender_scenes"):  # of two names, and one list of what was started and stays warm
    sys.modules[f"tests.{_name}"] = sys.modules[_name]
pytest.register_assert_rewrite("pool_contract")

hypothesis.settings.register_profile("house", deadline=None, max_examples=60)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session", autouse=True)
def first_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The farm home of what outlives a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RENDERFARM_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A farm home and a configuration that nobody else uses; no test ever touches the real ones."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("RENDERFARM_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return folder


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The farm's memory."""
    with contextlib.closing(Store(home)) as opened:
        yield opened


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    """The command line with a home of its own."""
    return Farm(tmp_path / "farm")


@pytest.fixture(autouse=True)
def ends_what_it_starts() -> Iterator[None]:
    """No command line of a test outlives it; those of wider fixtures were started before."""
    STARTED.clear()
    yield
    end_all()


@pytest.fixture(scope="module", params=["bpy", "blender"])
def build(request: pytest.FixtureRequest) -> Build:
    """Each kind of Blender that is here."""
    from blender_runs import build_named

    return build_named(request.param)


@pytest.fixture
def testcard() -> Callable[..., Path]:
    """Writes a test card scene into a folder: `testcard(folder, frames="1-8", faults={…})`."""
    return write_testcard


def write_testcard(folder: Path, name: str = "card", **fields: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    scene = folder / f"{name}.testcard"
    scene.write_text(json.dumps({"frames": "1-8", "size": [32, 18], **fields}))
    return scene


@pytest.fixture
def survivors(tmp_path: Path) -> Callable[[], list[str]]:
    """Asks which processes of this test still run; waits a little for those that are dying."""

    def ask() -> list[str]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := list(running_with(str(tmp_path)))) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    return ask


@pytest.fixture
def nothing_left_running(survivors: Callable[[], list[str]]) -> Iterator[None]:
    """Fails a test after which a process of it still runs."""
    yield
    assert survivors() == []


def running_with(text: str) -> Iterator[str]:
    """Living processes that were started with this text in their environment or command line (proc(5))."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in command + environment:
            yield f"{folder.name}: {command.replace(bytes(1), b' ').decode(errors='replace')}"


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def fill_disk(file: Path) -> None:
    """Write a file until its disk is full."""
    with file.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        while True:
            opened.write(bytes(4096))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; only root can make one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system that fills up can be mounted only by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
