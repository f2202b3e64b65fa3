"""What the start task found out about this node, for the tasks that render on it: `node.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from renderfarm.node.task import likeness
from renderfarm.queues.azure.on_node import place
from renderfarm.queues.azure.on_node.exits import IMPOSSIBLE, Exit
from renderfarm.renderers import renderer
from renderfarm.words import files
from renderfarm.words.as_json import read_json, to_json
from renderfarm.words.work import Build, Work

NAME = "node.json"


@dataclass(frozen=True)
class Found:
    """The renderers that rendered a probe frame here, and with what."""

    renderers: tuple[Build, ...] = ()
    devices: tuple[str, ...] = ()
    denoiser: bool = False


def write(found: Found, folder: Path) -> None:
    """Write it whole, readable for the tasks' user."""
    files.write(folder / NAME, to_json(found))
    (folder / NAME).chmod(0o644)


def choose(work: Work) -> Build:
    """The build that renders a job here; raises Exit when there is none.

    The one that the job was looked at with is preferred, then one of the same version, then the newest.
    """
    file = place.shared_folder() / NAME
    found = read_json(Found, file.read_bytes()) if file.exists() else Found()
    known = [build for build in found.renderers if build.renderer == work.renderer]
    known = known or renderer(work.renderer).builds()
    if not known:
        hint = "Name it as `renderer` of the pool, or use an image that has it."
        raise Exit(IMPOSSIBLE, f"This node has no {work.renderer}.", hint)
    return max(known, key=lambda build: likeness(build, work.build))
