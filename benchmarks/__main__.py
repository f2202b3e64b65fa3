"""`python -m benchmarks [--quick] [CASE …]`: run the cases, print the table, keep it in benchmarks/out."""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from benchmarks.cases import CASES, Bench, Result
from renderfarm.queues.capacity import this_machine

OUT = Path(__file__).with_name("out")
HEAD = "| work | against | ours | theirs | ratio | reach | |\n|---|---|--:|--:|--:|--:|---|"


def main() -> int:
    """Run what was asked for; exit code 1 when a promise is not kept."""
    arguments = _arguments()
    OUT.mkdir(exist_ok=True)
    table = OUT / ("quick.md" if arguments.quick else "table.md")
    size = 0.25 if arguments.quick else 1.0
    folder = OUT / ("quick" if arguments.quick else "full")
    bench = Bench(folder, arguments.rounds, size, arguments.blender, arguments.plot)
    print(*_machine(arguments.blender), HEAD, sep="\n", flush=True)
    rows, kept = [], True
    for name in arguments.cases or CASES:
        for result in CASES[name](bench):
            rows.append(row(result))
            kept &= result.reached
            print(rows[-1], flush=True)
    table.write_text("\n".join([*_machine(arguments.blender), "", HEAD, *rows]) + "\n")
    return 0 if kept else 1


def row(result: Result) -> str:
    """One line of the table, in Markdown."""
    sign = "≥" if result.more_is_better else "≤"
    ours, theirs = f"{result.ours:.2f} {result.unit}", f"{result.theirs:.2f} {result.unit}"
    mark = "yes" if result.reached else "**no**"
    facts = [
        result.work,
        result.against,
        ours,
        theirs,
        f"{result.ratio:.3f}",
        f"{sign} {result.reach:.2f}",
        mark,
    ]
    return "| " + " | ".join(facts) + (f"; {result.remark}" if result.remark else "") + " |"


def _machine(blender: str) -> Iterator[str]:
    machine = this_machine()
    memory = machine.memory_bytes / (1 << 30)
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    yield f"{machine.cores} cores, {memory:.0f} GiB, {system}"
    names = ("pillow", "numpy", "OpenImageIO")
    tools = [
        _told_version([blender, "--version"]),
        _told_version(["povray", "--version"]),
        _told_version(["ffmpeg", "-version"]),
    ]
    yield ", ".join([*tools, *(f"{name} {version(name)}" for name in names)])


def _told_version(argv: list[str]) -> str:
    """The first line that names a version: POV-Ray complains first where it finds no povray.conf."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = [line for line in (done.stdout or done.stderr).splitlines() if re.match(r"[\w -]+ \d", line)]
    return " ".join(lines[0].split()[:3]) if lines else argv[0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure renderfarm's speed.")
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--quick", action="store_true", help="small scenes and few frames: does it work?")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each command (default 3)")
    parser.add_argument("--blender", default="blender", help="the Blender to measure with and against")
    parser.add_argument("--plot", action="store_true", help="draw docs/images/simulation.png (simulation)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
