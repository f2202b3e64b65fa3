"""The node program as one file that any Python from 3.10 on runs."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from node_work import work_for

from renderfarm.node import archive
from renderfarm.node.task import Order
from renderfarm.words.as_json import to_json
from renderfarm.words.work import Task

OLDEST = (3, 10)
TOO_NEW = {
    "tomllib": {"*"},
    "enum": {"StrEnum", "ReprEnum", "verify", "member", "nonmember"},
    "datetime": {"UTC"},
    "typing": {"Self", "assert_never", "Never", "LiteralString", "override", "Unpack", "reveal_type"},
    "contextlib": {"chdir"},
    "hashlib": {"file_digest"},
    "itertools": {"batched"},
}
"""modules and names that came with Python 3.11 or later (What's New in Python 3.11 to 3.13)"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive.build(tmp_path_factory.mktemp("archive") / "node.pyz")


def sources(packed: Path) -> dict[str, ast.Module]:
    with zipfile.ZipFile(packed) as file:
        names = [name for name in file.namelist() if name.endswith(".py")]
        return {name: ast.parse(file.read(name), name, feature_version=OLDEST) for name in names}


def starts(python: str) -> bool:
    """Whether there is such an interpreter; a version manager's stand-in may be there and not start."""
    found = shutil.which(python)
    return (
        found is not None and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode
    )


def names_used(tree: ast.Module) -> set[tuple[str, str]]:
    """Modules and the names taken from them."""
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used |= {(alias.name, "*") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used |= {(node.module or "", name) for alias in node.names for name in (alias.name, "*")}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.add((node.value.id, node.attr))
    return used


@pytest.mark.parametrize("python", [sys.executable, "python3.10"], ids=["this Python", "the oldest"])
def test_the_archive_renders_a_task_with_a_bare_python(
    packed: Path, tmp_path: Path, testcard: Callable[..., Path], python: str
) -> None:
    if not starts(python):
        pytest.skip(f"{python} is not installed; the syntax and the names are checked all the same")
    scene = testcard(tmp_path / "scene")
    work = work_for(scene, tmp_path / "scratch")
    order = tmp_path / "job" / "queue" / "x.json"
    order.parent.mkdir(parents=True)
    order.write_text(to_json(Order("x", work, (Task((1, 2)),), 0)))
    argv = [python, "-I", "-S", str(packed), "task", str(order), "0", "n1", "1", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    frames = sorted((tmp_path / "job" / "frames").glob("*.png"))
    assert [path.read_bytes()[1:4] for path in frames] == [b"PNG", b"PNG"]


def test_the_archive_serves_like_the_package(packed: Path) -> None:
    argv = [sys.executable, "-I", "-S", str(packed), "serve", "w1"]
    assert subprocess.run(argv, input=b"", capture_output=True, check=False).returncode == 0


def test_no_bytecode_travels(packed: Path) -> None:
    with zipfile.ZipFile(packed) as file:
        assert not [name for name in file.namelist() if "__pycache__" in name]


def test_the_archive_parses_with_the_oldest_python(packed: Path) -> None:
    assert "renderfarm/node/program.py" in sources(packed)


def test_the_archive_uses_nothing_newer_than_the_oldest_python(packed: Path) -> None:
    newer = {
        (name, module, attribute)
        for name, tree in sources(packed).items()
        for module, attribute in names_used(tree)
        if attribute in TOO_NEW.get(module, ())
    }
    assert newer == set()


def test_the_archive_imports_only_the_standard_library(packed: Path) -> None:
    inside_blender = {"bpy", "mathutils", "addon_utils", "renderfarm"}
    foreign = {
        (name, module)
        for name, tree in sources(packed).items()
        for node in ast.walk(tree)
        for module in modules(node)
        if module not in sys.stdlib_module_names and module not in inside_blender
    }
    assert {module for _, module in foreign} <= {"zstandard", "numpy"}


def modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [(node.module or "").split(".")[0]]
    return []
