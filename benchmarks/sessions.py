"""What each further session of a scene costs: CPU seconds until it is ready, and memory that it doesn't share.

Four sessions are started one after the other, each in its own sandbox, as a job with four workers does; none
renders. Proportional memory counts a page that several processes share by parts (smaps_rollup, proc(5)).
Reach: 0.1 of the first session's CPU seconds, and 2.8 times its memory for all four.

    python -m benchmarks.sessions SCENE.blend [--sessions 4] [--blender blender]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import TICK
from renderfarm.node.process import NodeProcess
from renderfarm.renderers import renderer
from renderfarm.words.request import Settings
from renderfarm.words.work import Work


def main() -> None:
    """Print a line per session."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scene", type=Path)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--blender", default="blender")
    arguments = parser.parse_args()
    scene = arguments.scene.resolve()
    build = renderer("blender").builds(arguments.blender)[0]
    nodes: list[NodeProcess] = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["RENDERFARM_HOME"] = name
        work = Work("blender", build, str(scene), Settings(), name)
        try:
            for number in range(arguments.sessions):
                nodes.append(node := NodeProcess(f"w{number}"))
                node.look(replace(work, scratch=f"{name}/w{number}"))
                node.described()
                cpu = sum(map(_cpu_seconds, _tree(node.pid)))
                memory = sum(_proportional(pid) for each in nodes for pid in _tree(each.pid))
                print(
                    f"session {number + 1}: ready after {cpu:.2f} s of CPU; all {memory >> 20} MiB", flush=True
                )
        finally:
            for node in nodes:
                node.close()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _tree(int(child))


def _cpu_seconds(pid: int) -> float:
    """Of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def _proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
