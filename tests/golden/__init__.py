"""Twenty small jobs whose whole outside was recorded: texts, exit codes, JSON and output folders.

What people script against must not change by accident while the inside is rebuilt. `python -m tests.golden`
records them anew, after a change that is meant; the difference is then read in the commit.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.farm_runs import Done, Farm

FOLDER = Path(__file__).parent
CARD = {"frames": "1-4", "size": [32, 18]}
BY_THE_WAY = re.compile(r": rendering,|: frames? \S+ failed: ")
"""what is said while a job renders: how much at once is chance"""
MEASURED = frozenset({"seconds", "eta_seconds", "frames_per_minute", "bytes", "submitted", "last_frame"})
REPLACED = (
    (re.compile(r"\b([a-z]+)-[0-9a-f]{4}\b"), r"\1-XXXX"),
    (re.compile(r"\d+(\.\d+)? (frames/min|kB|MB|B)\b"), r"N \2"),
    (re.compile(r"(?<![\w.-])\d+(\.\d+)? ?(ms|s|min|m|h)\b"), "TIME"),
    (re.compile(r"\bTIME {2,}"), "TIME  "),  # a column is as wide as what was measured
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"), "DATE"),
    (re.compile(r"POV-Ray [\d.]+"), "POV-Ray VERSION"),
)


def stories() -> dict[str, dict[str, Any]]:
    """All of them, by name."""
    return tomllib.loads((FOLDER / "stories.toml").read_text())


def recorded(name: str) -> Path:
    """The file that holds what is right."""
    return FOLDER / f"{name}.txt"


def play(name: str, folder: Path) -> str:
    """All that a user can see of one story, played in an empty folder."""
    story, farm = stories()[name], Farm(folder)
    for file, content in story["files"].items():
        text = content if isinstance(content, str) else json.dumps({**CARD, **content})
        (folder / file).write_text(text)
    parts = [line for step in story["steps"] for line in _played(farm, step)]
    return _plain("\n".join([*parts, "files:", *_tree(folder)]) + "\n", folder)


def _played(farm: Farm, step: str) -> Iterator[str]:
    yield f"$ renderfarm {step}"
    if "{job}" in step:
        step = step.format(job=farm.run("jobs", "--json").json["jobs"][-1]["job"])
    done = farm.run(*step.split())
    yield f"exit {done.code}"
    yield from (f"> {line}" for line in _out(done))
    yield from sorted(f"! {line}" for line in done.err.splitlines() if not BY_THE_WAY.search(line))


def _out(done: Done) -> list[str]:
    if not done.out.startswith("{"):
        return done.out.splitlines()
    return json.dumps(_timeless(done.json), indent=1, sort_keys=True).splitlines()


def _timeless(value: Any) -> Any:
    """JSON without what differs from run to run."""
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if not isinstance(value, dict):
        return value
    measured = {name for name in MEASURED & value.keys() if value[name] is not None}
    return {name: "MEASURED" if name in measured else _timeless(item) for name, item in value.items()}


def _tree(folder: Path) -> list[str]:
    """Files that users see: not the farm home, not what is hidden."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    seen = (
        path for path in paths if path.parts[0] != "home" and not any(p.startswith(".") for p in path.parts)
    )
    return sorted(f"  {path}" for path in seen)


def _plain(text: str, folder: Path) -> str:
    text = text.replace(str(folder), "FOLDER")
    for pattern, word in REPLACED:
        text = pattern.sub(word, text)
    return text
