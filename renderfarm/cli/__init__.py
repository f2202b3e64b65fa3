"""The command line: one group, one module per group of commands, everything else imported when it is used."""

from __future__ import annotations

from collections.abc import Sequence

import click

from renderfarm.cli import (
    addon,
    cache,
    cloud,
    folder,
    jobs,
    machine,
    nightly,
    output,
    pool,
    scene,
    submit,
    trust,
    web,
)
from renderfarm.cli.options import HELP, examples

SECTIONS = {
    "Rendering": ("submit", "inspect"),
    "Jobs": ("jobs", "status", "logs", "pause", "resume", "retry", "cancel", "collect", "web"),
    "Frames": ("assemble", "check"),
    "Every night": ("nightly",),
    "Cloud": ("pool", "renderer", "gc"),
}
"""commands by the heading of their help; those that stand in none come last"""


class Commands(click.Group):
    """The group of all commands, whose help shows them in the order in which people need them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command below its heading."""
        listed = {name for names in SECTIONS.values() for name in names}
        rest = [name for name, each in self.commands.items() if name not in listed and not each.hidden]
        width = max(map(len, self.commands))
        for heading, names in {**SECTIONS, "This machine": rest}.items():
            texts = [self.commands[name].get_short_help_str(formatter.width - width - 6) for name in names]
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), text) for name, text in zip(names, texts, strict=True)])


@click.group(
    cls=Commands,
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


for _module in (submit, scene, jobs, folder, machine, cache, pool, cloud, nightly, trust, addon, web):
    for _command in _module.COMMANDS:
        group.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's own) and return its exit code."""
    return output.run(group, argv)
