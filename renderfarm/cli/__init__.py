"""The command line: one group, one module per group of commands, everything else imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence

import click

from renderfarm.cli import cache, cloud, folder, jobs, machine, nightly, output, pool, scene, submit, trust
from renderfarm.cli.options import HELP, examples


@click.group(
    context_settings=HELP,
    epilog=examples(
        "renderfarm submit scene.blend --frames 1-500",
        "renderfarm status scene-1a2b --watch",
        "renderfarm doctor",
    ),
)
@click.version_option(package_name="renderfarm", prog_name="renderfarm")
def group() -> None:
    """Turn a Blender or POV-Ray scene into checked frames and a video."""


for _module in (submit, scene, jobs, folder, machine, cache, pool, cloud, nightly, trust):
    for _command in _module.COMMANDS:
        group.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's own) and return its exit code."""
    return output.run(group, argv)
