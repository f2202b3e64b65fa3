"""What makes a machine a render node: installed, proven with a frame, and said so; or a reason why not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest
from blender_scenes import has_blender, has_bpy

from renderfarm.errors import ConfigError
from renderfarm.queues.azure import packages
from renderfarm.queues.azure.on_node import installation
from renderfarm.queues.azure.on_node.exits import Exit
from renderfarm.queues.azure.on_node.installation import install
from renderfarm.queues.azure.packages import Packages
from renderfarm.queues.azure.settings import CloudSettings, read
from renderfarm.queues.azure.start_task import StartTask, needs, node_program, start_task
from renderfarm.queues.azure.storage import Storage
from renderfarm.words.scene import Scene
from renderfarm.words.work import Package
from tests.azure_nodes import Ended, ended
from tests.azure_storage import new_storage
from tests.test_azure_settings import IDENTITY, table

SCRIPT = Path(packages.__file__).with_name("start.sh")
SCENE = Scene("/a.testcard", "testcard", "1", "1-1", 24.0, (64, 36), None)
needs_povray = pytest.mark.skipif(shutil.which("povray") is None, reason="povray is not installed")
needs_any_blender = pytest.mark.skipif(not (has_bpy() or has_blender()), reason="no Blender here")
needs_34 = pytest.mark.skipif(not has_blender(), reason="no blender executable on PATH")


@pytest.fixture
def storage() -> Storage:
    return new_storage()


def settings(**options: object) -> CloudSettings:
    return read(table(**options))


class Machine:
    """A machine on which start tasks run, as many as one likes."""

    def __init__(self, folder: Path) -> None:
        self.startup = folder / "startup" / "wd"
        self.startup.mkdir(parents=True)
        self.shared = folder / "shared"
        self.shared.mkdir()
        self._programs = folder / "bin"
        self._programs.mkdir()
        installer = self._programs / "apt-get"
        installer.write_text("#!/bin/sh\nexit 0\n")  # no test changes the machine that it runs on
        installer.chmod(0o755)

    @property
    def told(self) -> list[dict[str, object]]:
        return list(json.loads((self.shared / "renderfarm" / "node.json").read_text()))

    def start(self, task: StartTask, path: str = os.environ["PATH"]) -> Ended:
        """Do what Batch does: fetch the files, then run the command in a clean environment."""
        for file in task.body["resourceFiles"]:
            with urlopen(file["httpUrl"]) as answer:
                (self.startup / file["filePath"]).write_bytes(answer.read())
        values = {item["name"]: item["value"] for item in task.body["environmentSettings"]}
        environment = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), str(self._programs), path)),
            "HOME": str(self.startup),
            "AZ_BATCH_NODE_SHARED_DIR": str(self.shared),
            **values,
        }
        pipe = subprocess.PIPE
        argv = task.body["commandLine"].split()
        process = subprocess.Popen(argv, cwd=self.startup, env=environment, stdout=pipe, stderr=pipe, text=True)
        return ended(process)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


NOTHING = (packages.without_file("image"),)


def of(storage: Storage, chosen: tuple[Package, ...] = NOTHING, **wanted: object) -> StartTask:
    return start_task(storage, settings(), chosen, {"renderers": ["testcard"], **wanted})


def test_a_node_says_what_it_can_do_as_often_as_it_starts(storage: Storage, machine: Machine) -> None:
    for _ in range(2):
        done = machine.start(of(storage))
        assert (done.code, done.err) == (0, "")
        (build,) = machine.told
        assert build["renderer"] == "testcard"
    modes = {path.name: oct(path.stat().st_mode)[-4:] for path in (machine.shared / "renderfarm").iterdir()}
    assert (modes["node.json"], modes["assets"]) == ("0644", "1777"), "open to the tasks' user"


@needs_povray
def test_povray_is_proven_with_a_frame(storage: Storage, machine: Machine) -> None:
    done = machine.start(of(storage, renderers=["povray"]))
    assert (done.code, done.err) == (0, "")
    assert "rendered its probe frame" in done.out


@pytest.mark.slow
@needs_any_blender
def test_blender_is_proven_with_denoiser_and_device(storage: Storage, machine: Machine) -> None:
    denoiser = has_bpy()
    done = machine.start(of(storage, renderers=["blender"], denoiser=denoiser, device="CPU", engine="CYCLES"))
    assert (done.code, done.err) == (0, "")


@needs_any_blender
def test_a_node_without_the_device_says_so(storage: Storage, machine: Machine) -> None:
    done = machine.start(of(storage, renderers=["blender"], device="OPTIX"))
    assert done.code == 1
    assert "it needs OPTIX and finds CPU — Choose a GPU vm_size" in done.last_words
    assert not (machine.shared / "renderfarm" / "node.json").exists()


@needs_34
def test_a_node_without_the_denoiser_says_so(storage: Storage, machine: Machine, tmp_path: Path) -> None:
    done = machine.start(of(storage, (old_blender(storage, tmp_path),), renderers=["blender"], denoiser=True))
    assert (done.code, "has no denoiser" in done.last_words) == (1, True)


def test_a_node_without_a_renderer_says_so(storage: Storage, machine: Machine, tmp_path: Path) -> None:
    done = machine.start(of(storage, renderers=["povray"]), path=only(tmp_path, "bash", "env", "python3"))
    assert done.code == 1
    assert done.last_words.startswith("renderfarm: This node has no povray — Add one")


def test_a_node_without_python_says_so(storage: Storage, machine: Machine, tmp_path: Path) -> None:
    folder = only(tmp_path, "bash", "sh")
    done = subprocess.run(
        ["bash", str(SCRIPT)], capture_output=True, text=True, check=False, env={"PATH": folder}, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("renderfarm: There is no Python 3.10 or newer on this image")


def only(tmp_path: Path, *names: str) -> str:
    """A folder with just these programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name) or name)
    return str(folder)


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (7, 1)])
def test_the_users_own_script_runs_before_the_proof(
    storage: Storage, machine: Machine, tmp_path: Path, code: int, ends: int
) -> None:
    own = tmp_path / "own.sh"
    own.write_text(f"ls {machine.shared}/renderfarm > seen.txt\nexit {code}\n")
    task = start_task(storage, settings(start_task=str(own)), NOTHING, {"renderers": ["testcard"]})
    done = machine.start(task)
    assert done.code == ends
    assert "node.json" not in (machine.startup / "seen.txt").read_text()
    assert ("start script ended with 7" in done.err) == bool(code)


def test_a_start_script_that_is_not_there_is_told(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"start_task.*No such file"):
        start_task(storage, settings(start_task=str(tmp_path / "none.sh")), NOTHING, {})


def packed(storage: Storage, folder: Path, blender: Path, text: str) -> Package:
    """A tarball with one executable, added to storage."""
    blender.parent.mkdir(parents=True)
    blender.write_text(text)
    blender.chmod(0o755)
    file = folder / f"{blender.parent.name}.tar.xz"
    with tarfile.open(file, "w:xz") as archive:
        archive.add(blender.parent, blender.parent.name)
    return Packages(storage).add(file)


def old_blender(storage: Storage, folder: Path) -> Package:
    """This machine's Blender 3.4 as a package."""
    text = f'#!/bin/sh\nexec {shutil.which("blender")} "$@"\n'
    return packed(storage, folder, folder / "blender-3.4.1-linux-x64" / "blender", text)


@pytest.mark.slow
@needs_34
def test_a_tarball_is_unpacked_once_and_rendered_with(
    storage: Storage, machine: Machine, tmp_path: Path
) -> None:
    task = of(storage, (old_blender(storage, tmp_path),), renderers=["blender"])
    done = machine.start(task)
    assert (done.code, done.err) == (0, "")
    assert "Unpacking blender-3.4.1-linux-x64.tar.xz" in done.out
    (build,) = machine.told
    inside = "renderfarm/renderers/blender-3.4.1/blender-3.4.1-linux-x64/blender"
    assert build["path"] == str(machine.shared / inside)
    assert "Unpacking" not in machine.start(task).out


@pytest.mark.parametrize(
    ("data", "told"), [(b"something else", "its checksum differs"), (b"", "does not start on this image")]
)
def test_a_package_that_is_another_one_or_does_not_start_is_told(
    storage: Storage, machine: Machine, tmp_path: Path, data: bytes, told: str
) -> None:
    blender = tmp_path / "blender-4.5.3-linux-x64" / "blender"
    package = packed(storage, tmp_path, blender, "#!/bin/sh\nexit 127\n")
    if data:
        storage.at(storage.packages).put(packages.blob_name(package), data)
    done = machine.start(of(storage, (package,), renderers=["blender"]))
    assert (done.code, told in done.last_words) == (1, True)
    assert bool(list((machine.shared / "renderfarm").glob("renderers/*"))) == (not data)


def test_a_wheel_is_unpacked_into_a_python_of_its_own(tmp_path: Path) -> None:
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    wheel = tmp_path / f"bpy-5.0.1-{tag}-{tag}-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("bpy/__init__.py", "")
        archive.writestr("bpy-5.0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: bpy\nVersion: 5.0.1\n")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wanted = Package("blender-5.0.1", "blender", "5.0.1", wheel.name, sha256, 0, "wheel")
    (build,) = install(wanted, tmp_path, tmp_path / "renderers")
    assert build.version == (5, 0, 1)
    assert build.path == str(tmp_path / "renderers" / "blender-5.0.1" / "bin" / "python")


def test_a_wheel_for_a_python_that_is_not_there_is_told(tmp_path: Path) -> None:
    wheel = tmp_path / "bpy-9.0.0-cp399-cp399-manylinux_2_28_x86_64.whl"
    wheel.write_bytes(b"x")
    sha256 = hashlib.sha256(b"x").hexdigest()
    wanted = Package("blender-9", "blender", "9.0.0", wheel.name, sha256, 0, "wheel")
    with pytest.raises(Exit, match=r"needs python3\.99, which this image doesn't have"):
        install(wanted, tmp_path, tmp_path / "renderers")


def test_what_apt_get_says_last_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = tmp_path / "apt-get"
    says = "echo 'E: Unable to locate package x' >&2"
    installer.write_text(f"#!/bin/sh\n{says}\nexit 100\n")
    installer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Exit, match=r"no-such-package can't be installed: E: Unable to locate package x"):
        installation.from_distribution(["no-such-package"])


def test_the_fingerprint_is_of_what_nodes_install(storage: Storage, tmp_path: Path) -> None:
    own = tmp_path / "own.sh"
    own.write_text("true\n")
    plain, gpu = of(storage), of(storage, device="GPU")
    scripted = start_task(storage, settings(start_task=str(own)), NOTHING, {"renderers": ["testcard"]})
    assert plain.fingerprint == gpu.fingerprint
    other = of(storage, (packages.without_file("distribution"),))
    assert len({plain.fingerprint, scripted.fingerprint, other.fingerprint}) == 3


def test_tokens_let_nodes_read_one_file_each_and_with_an_identity_there_are_none(storage: Storage) -> None:
    urls = [file["httpUrl"] for file in of(storage).body["resourceFiles"]]
    assert all("sp=r&" in url and "sr=b&" in url for url in urls)
    with_identity = settings(identity=IDENTITY, identity_client_id="c")
    storage._settings = dataclasses.replace(storage._settings, identity=IDENTITY)
    task = start_task(storage, with_identity, NOTHING, {})
    assert "sig=" not in json.dumps(task.body)
    assert {file["identityReference"]["resourceId"] for file in task.body["resourceFiles"]} == {IDENTITY}


def test_in_a_container_the_start_task_runs_there_as_root(storage: Storage) -> None:
    task = start_task(storage, settings(container_image="ghcr.io/me/node:1"), NOTHING, {})
    assert task.body["containerSettings"]["imageName"] == "ghcr.io/me/node:1"
    assert task.body["containerSettings"]["workingDirectory"] == "taskWorkingDirectory"


def test_a_denoised_scene_needs_a_denoiser() -> None:
    scene = dataclasses.replace(SCENE, renderer="blender", engine="CYCLES", denoised=True)
    wanted = needs(scene, "gpu")
    assert (wanted["denoiser"], wanted["device"], wanted["engine"]) == (True, "GPU", "CYCLES")


def test_the_node_program_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    one, two = node_program(tmp_path / "one.pyz"), node_program(tmp_path / "two.pyz")
    assert one.read_bytes() == two.read_bytes()


def test_the_start_script_is_in_the_wheel_s_package_data() -> None:
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert "queues/azure/*.sh" in tomllib.loads(text)["tool"]["setuptools"]["package-data"]["renderfarm"]
