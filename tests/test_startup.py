"""Nothing heavy is imported before it is used: modules are compared, not milliseconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from farm_runs import Farm, card, processes

import renderfarm

LIGHT = {"click", "renderfarm"}


def modules_after(statement: str) -> set[str]:
    """Names of the modules that a statement adds to a bare interpreter."""
    report = "print(json.dumps(sorted(set(sys.modules) - before)))"
    code = f"import json, sys; before = set(sys.modules); {statement}; {report}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def foreign(modules: set[str]) -> set[str]:
    return {name.split(".")[0] for name in modules} - sys.stdlib_module_names - LIGHT


def test_the_command_line_imports_none_of_the_farms_rooms() -> None:
    ours = {name for name in modules_after("import renderfarm.cli") if name.startswith("renderfarm.")}
    rooms = {name for name in ours if not name.startswith("renderfarm.cli")}
    assert rooms == {"renderfarm.errors", "renderfarm.words", "renderfarm.words.stopping"}


def test_help_needs_no_more_than_the_command_line() -> None:
    statement = "import renderfarm.cli; renderfarm.cli.main(['submit', '--help'])"
    assert foreign(modules_after(statement)) == set()


def test_a_submit_without_a_page_imports_nothing_of_it(tmp_path: Path) -> None:
    scene = card(tmp_path / "card.testcard", "1-1")
    argv = ["submit", "-q", "-o", str(tmp_path / "out"), str(scene)]
    found = modules_after(f"import renderfarm.cli; renderfarm.cli.main({argv})")
    assert "renderfarm.farm.job_in_hand" in found
    assert not {name for name in found if name.startswith(("renderfarm.web", "starlette", "uvicorn", "anyio"))}


def test_a_node_that_was_started_beforehand_is_the_first_worker(tmp_path: Path) -> None:
    farm = Farm(tmp_path)
    scene = card(tmp_path / "card.testcard", "1-2")
    farm.submit(scene, "--workers", "1", "--no-video")
    again = farm.submit(scene, "--workers", "1", "--no-video", "--no-reuse", "-o", tmp_path / "other")
    journals = [*tmp_path.rglob("w1-*.jsonl")]
    assert (again.code, len(journals)) == (0, 2)
    assert not processes(tmp_path)


def test_the_package_imports_nothing_of_its_own() -> None:
    ours = {name for name in modules_after("import renderfarm") if name.startswith("renderfarm")}
    assert ours == {"renderfarm"}


def test_the_api_imports_the_standard_library_only() -> None:
    assert foreign(modules_after("from renderfarm import submit, Status, RenderfarmError")) == set()


@pytest.mark.parametrize("name", [n for n in renderfarm.__all__ if n != "__version__"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(renderfarm, name).__doc__


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sumbit'"):
        renderfarm.sumbit  # noqa: B018
