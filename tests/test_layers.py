"""The house rules of docs/architecture.md, read from the syntax trees: who imports whom, and who knows what."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "renderfarm"

ROWS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("words",),
    ("renderers",),
    ("pictures",),
    ("job",),
    ("depots",),
    ("node",),
    ("settings",),
    ("queues",),
    ("reports",),
    ("request",),
    ("farm",),
    ("nightly", "web"),
    ("",),
    ("cli",),
    ("__main__",),
)
"""Rooms, bottom to top: modules or packages that import only from rows below; "" is `import renderfarm`."""

ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row}
ON_NODES = (
    "errors", "words.as_json", "words.devices", "words.files", "words.renderers", "words.request",
    "words.scene", "words.stamps", "words.states", "words.status", "words.temporary", "words.updates",
    "words.work", "renderers", "job.events", "job.fold", "job.home", "job.journal", "job.ledger", "job.pace",
    "job.retry", "depots", "node", "queues.azure.on_node",
)  # fmt: skip
THIRD_PARTY_ON_NODES = {
    "renderers.blender.blendfile": {"zstandard"},
    "renderers.blender": {"bpy", "mathutils", "_cycles"},
}
"""module (or the beginning of its name) to what it may import beyond the standard library"""
PROGRAMS = {"node.__main__", "web.darkroom", "renderers.blender.inside", "renderers.testcard_inside"}
"""run as processes of their own, whose parent reads their output and exit code"""
STOPPING = "words.stopping"
"""ends a process in which something does not let go"""
LOUD = {"print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"}
MOST_METHODS, MOST_ATTRIBUTES = 20, 10
BLENDER_SWITCHES = {"--factory-startup", "--python", "--python-exit-code", "--disable-autoexec", "-noaudio"}


def modules() -> dict[str, ast.Module]:
    """Every module by its name below `renderfarm`, which itself is ""."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] == "addon":  # Blender's own: it only runs our command line
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()


def room(module: str) -> str | None:
    """The room a module is in: the longest of its names that has a row."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in ROW_OF), None)


def imports(name: str) -> Iterator[tuple[str, int]]:
    """Absolute dotted names that a module imports, with the line, wherever in the module they are."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"renderfarm.{name}:{node.lineno} imports relatively"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def own_imports(name: str) -> Iterator[tuple[str, int]]:
    """Modules of ours that a module imports, by their names below `renderfarm`."""
    for dotted, line in imports(name):
        package, _, rest = dotted.partition(".")
        if package == "renderfarm":
            yield next((m for m in (rest, rest.rpartition(".")[0]) if m in MODULES), ""), line


def calls(name: str) -> Iterator[tuple[str, int]]:
    """The functions that a module calls, as they are written; `print` into a file of its own is no printing."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Call):
            files = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "file"]
            if not files or files[0].startswith("sys."):
                yield ast.unparse(node.func), node.lineno


def check(offences: Iterable[str]) -> None:
    """Fail with all of them."""
    found = list(offences)
    assert not found, "\n" + "\n".join(found)


def test_every_module_has_a_row() -> None:
    check(
        f"renderfarm.{name} is in no room: give it a row in ROWS of {Path(__file__).name}, above everything "
        "that it imports and below everything that imports it."
        for name in MODULES
        if room(name) is None
    )


def test_every_row_has_its_modules() -> None:
    check(f"there is no renderfarm.{name}: take it out of ROWS" for name in ROW_OF.keys() - MODULES)


def test_a_room_imports_only_from_rows_below() -> None:
    check(
        f"renderfarm.{name}:{line} imports renderfarm.{imported}: {there!r} is no row below {here!r}."
        for name in MODULES
        for imported, line in own_imports(name)
        for here, there in [(room(name), room(imported))]
        if here is not None and there is not None and here != there and ROW_OF[there] >= ROW_OF[here]
    )


def test_no_circle_ties_modules_of_a_room_together() -> None:
    check(f"{' and '.join(sorted(circle))} import each other" for circle in circles())


def circles() -> set[frozenset[str]]:
    """Modules that reach each other through their imports; a package stands above what is in it."""
    needed = {name: {other for other, _ in own_imports(name)} - {name} for name in MODULES}
    reached = {name: reachable(name, needed) for name in MODULES}
    return {
        frozenset(other for other in reached[name] if name in reached[other])
        for name in MODULES
        if name in reached[name]
    }


def reachable(start: str, needed: dict[str, set[str]]) -> set[str]:
    """All that a module imports, and what that imports."""
    found: set[str] = set()
    ahead = list(needed[start])
    while ahead:
        if (name := ahead.pop()) not in found:
            found.add(name)
            ahead += needed[name]
    return found


def test_what_runs_on_nodes_needs_only_the_standard_library() -> None:
    check(
        f"renderfarm.{name}:{line} imports {imported}"
        for name in MODULES
        if name.startswith(ON_NODES)
        for imported, line in imports(name)
        if imported.split(".")[0] not in {"renderfarm", *sys.stdlib_module_names, *third_party(name)}
    )


def third_party(name: str) -> set[str]:
    return {
        library for start, more in THIRD_PARTY_ON_NODES.items() if name.startswith(start) for library in more
    }


def test_only_the_command_line_prints_or_exits() -> None:
    check(
        f"renderfarm.{name}:{line} calls {call}"
        for name in MODULES
        if room(name) not in ("cli", "__main__") and name not in PROGRAMS | {STOPPING}
        for call, line in calls(name)
        if call in LOUD
    )


def test_only_the_azure_pool_imports_azure() -> None:
    check(
        f"renderfarm.{name}:{line} imports {imported}"
        for name in MODULES
        if not name.startswith("queues.azure")
        for imported, line in imports(name)
        if imported.split(".")[0] == "azure"
    )


def test_only_the_blender_renderer_knows_its_command_line() -> None:
    check(
        f"renderfarm.{name}:{node.lineno} says {node.value}"
        for name, tree in MODULES.items()
        if not name.startswith("renderers.blender")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in BLENDER_SWITCHES
    )


def test_no_module_runs_a_shell() -> None:
    check(
        f"renderfarm.{name} passes shell= on line {node.value.lineno}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "shell"
    )


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield f"{name}.{node.name}", node


def size(node: ast.ClassDef) -> tuple[int, int]:
    """Methods of a class, and attributes; a record (frozen, or without methods) may have as many as it says."""
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    written = (each for each in ast.walk(node) if isinstance(each, ast.Attribute))
    names = {
        each.attr for each in written if isinstance(each.ctx, ast.Store) and ast.unparse(each.value) == "self"
    }
    names |= {ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign)}
    record = not methods or any("frozen=True" in ast.unparse(each) for each in node.decorator_list)
    return len(methods), 0 if record else len(names)


def test_no_class_is_a_house_of_its_own() -> None:
    found = {name: size(node) for name, node in classes()}
    large = {
        name for name, (methods, names) in found.items() if methods > MOST_METHODS or names > MOST_ATTRIBUTES
    }
    check(f"renderfarm.{name} has {found[name]} methods and attributes" for name in large)


def test_no_python_is_started_that_takes_modules_from_the_folder_somebody_works_in() -> None:
    starts = re.compile(r"""\bpython["']?, "-[mc]"|executable, "-[mc]\"""")
    assert [path.name for path in PACKAGE.rglob("*.py") if starts.search(path.read_text())] == ["builds.py"], (
        "start it with -P, of 3.10 with -I; builds.py asks by renderers.asking, which goes to / first"
    )
