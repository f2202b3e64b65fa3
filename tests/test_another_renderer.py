"""Another renderer is one module and its line in the table: nothing else of the package is touched here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "renderfarm"
LINE = '    "toy": Known("toy", "Toy Renderer"),\n'
MODULE = '''
import sys
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.renderers import Equipment, Preread, Renderer, SessionFailure
from renderfarm.words.request import Settings
from renderfarm.words.scene import Scene
from renderfarm.words.states import Reason
from renderfarm.words.updates import Rendered
from renderfarm.words.work import Build

PROGRAM = """
import struct, sys, zlib
frame, path = int(sys.argv[1]), sys.argv[2]
rows = b"".join(bytes([0, *(min(255, 8 * x + 4 * y + frame) for x in range(16))]) for y in range(9))
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
head = struct.pack(">IIBBBBB", 16, 9, 8, 0, 0, 0, 0)
parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
open(path, "wb").write(b"\\\\x89PNG\\\\r\\\\n\\\\x1a\\\\n" + b"".join(chunk(*part) for part in parts))
"""


class Toy(Renderer):
    name = "toy"
    suffixes = (".toy",)
    settings = frozenset({"format"})
    formats = frozenset({"png"})
    equipment = Equipment(remedy="apt-get install -y toy", distribution=("toy",))

    def builds(self, chosen=None, *, confined=True):
        path = Path(chosen or sys.executable)
        return [Build("toy", str(path.resolve()), (2, 1), "Toy 2.1", "toy-2.1")] if path.exists() else []

    def preread(self, scene):
        if not scene.read_text().startswith("toy"):
            raise SceneError(f"{scene} is no toy.")
        return Preread(saved_with="2.1", sources=(str(scene),))

    def installation(self, build):
        return [Path(sys.base_prefix)]

    def sample(self, build, folder, *, denoise, device, engine):
        (folder / "sample.toy").write_text("toy")
        return folder / "sample.toy", Settings()

    def open(self, work, launch):
        return Session(work, launch)

    def signs(self, log):
        return tuple(log.splitlines()[-1:])


class Session:
    keeps = False
    device = ""

    def __init__(self, work, launch):
        self._work, self._launch = work, launch

    def describe(self):
        return Scene(self._work.scene, "toy", "2.1", "1-3", 24.0, (16, 9), None)

    def render(self, frames, threads, folder, log):
        for frame in frames:
            path = folder / f"{frame}.png"
            argv = [self._work.build.path, "-S", "-c", PROGRAM, str(frame), str(path)]
            if self._launch(argv, cwd=folder, log=log).wait():
                raise SessionFailure(Reason.CRASH, "The toy broke.")
            yield Rendered(frame, str(path), 0.01, threads=threads)

    def close(self):
        pass


RENDERER = Toy()
'''

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that has one more renderer."""
    package = tmp_path_factory.mktemp("package") / "renderfarm"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "renderers" / "toy.py").write_text(MODULE)
    table = package / "words" / "renderers.py"
    table.write_text(table.read_text().replace("RENDERERS = {\n", "RENDERERS = {\n" + LINE))
    return package


@pytest.fixture
def run(tmp_path: Path, package: Path) -> Run:
    """Runs its command line in a folder with a scene of that renderer."""
    (tmp_path / "shot.toy").write_text("toy")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(package.parent),
            "RENDERFARM_HOME": str(tmp_path / "home"),
        }
        argv = [sys.executable, "-m", "renderfarm", *arguments]
        return subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return run


def test_its_scenes_are_inspected(run: Run) -> None:
    found = json.loads(run("inspect", "shot.toy", "--json").stdout)
    assert (found["renderer"], found["frames"], found["resolution"]) == ("toy", "1-3", [16, 9])


def test_its_frames_are_rendered(run: Run, tmp_path: Path) -> None:
    done = run("submit", "shot.toy", "--json", "--no-video")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["notes"][0] == "rendered with Toy 2.1"
    assert len(list((tmp_path / "renders/shot/frames").glob("*.png"))) == 3


def test_users_name_its_program(run: Run) -> None:
    assert "The Toy Renderer to use." in run("submit", "--help").stdout
    done = run("submit", "shot.toy", "--toy", "/nowhere/toy")
    assert "/nowhere/toy is not a toy that runs" in done.stderr


def test_the_doctor_knows_it(run: Run) -> None:
    items = {item["name"]: item for item in json.loads(run("doctor", "--json").stdout)["items"]}
    assert items["Toy Renderer"]["ok"]
    assert items["Toy Renderer"]["detail"].startswith("Toy 2.1, ")


def test_a_folder_is_told_which_files_are_scenes(run: Run, tmp_path: Path) -> None:
    assert "shot.toy" in run("submit", str(tmp_path)).stderr
