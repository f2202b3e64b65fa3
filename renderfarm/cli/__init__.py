"""The command line: one group, one module per group of commands, each imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from renderfarm.cli import output
from renderfarm.cli.output import examples

COMMANDS = {
    "Rendering": {
        "submit": ("submit", "Render SCENE: watch it, check every frame, make the video."),
        "inspect": ("folder", "Say what SCENE contains and which files it needs."),
    },
    "Jobs": {
        "jobs": ("jobs", "List the farm's jobs, the newest last."),
        "status": ("jobs", "Say where JOB stands, or the newest job."),
        "logs": ("jobs", "Print the renderer's own output of JOB, or of the newest job."),
        "pause": ("jobs", "Let JOB rest; `renderfarm resume JOB` goes on."),
        "resume": ("jobs", "Go on with JOB where it stopped."),
        "retry": ("jobs", "Render JOB's failed frames, or the frames given, again."),
        "cancel": ("jobs", "Stop JOB; finished frames are kept."),
        "collect": ("jobs", "Fetch what a remote pool has finished of JOB so far."),
        "web": ("web", "Show jobs in a browser while they render: frames, film, times, logs."),
    },
    "Frames": {
        "assemble": ("folder", "Make the video OUT of the frames in a folder, or of a job's."),
        "check": ("folder", "Look at the pixels of the frames in a folder, or of a job's."),
    },
    "Every night": {
        "nightly": (
            "nightly",
            "Render a list of shots each night: only what changed, with a report in the morning.",
        ),
    },
    "Cloud": {
        "pool": ("pool", "Look at pools, and manage those in the cloud."),
        "renderer": ("pool", "Keep renderers in your own storage for nodes to install."),
        "gc": ("pool", "Remove from the cloud what old jobs left."),
    },
    "This machine": {
        "doctor": ("machine", "Say whether this machine and the pool are ready."),
        "setup": ("machine", "Install what rendering needs and isn't here."),
        "completion": ("machine", "Print the completion script of a shell."),
        "cache": ("machine", "Show and prune the cache of rendered frames."),
        "trust": ("trust", "Allow what a project's files say beyond how to render."),
        "addon": ("machine", "A panel in Blender that submits the saved file and shows how it goes."),
    },
    "": {"_run": ("submit", "")},
}
"""by the heading of their help, in the order in which people need them: the module of each, and what it does"""
MODULES = {name: module for section in COMMANDS.values() for name, (module, _) in section.items()}


class Commands(click.Group):
    """The group of all commands; what its help shows of them needs none of their modules."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command from its module, where it has the same name."""
        if cmd_name not in MODULES:
            return None
        module = importlib.import_module(f"renderfarm.cli.{MODULES[cmd_name]}")
        found: click.Command = getattr(module, cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command below its heading."""
        width = max(map(len, MODULES))
        for heading, section in filter(lambda each: each[0], COMMANDS.items()):
            commands = (click.Command(name.ljust(width), help=text) for name, (_, text) in section.items())
            with formatter.section(heading):
                rows = [(c.name or "", c.get_short_help_str(formatter.width - width - 6)) for c in commands]
                formatter.write_dl(rows)


@click.group(
    cls=Commands,
    commands={name: click.Command(name, hidden=name.startswith("_")) for name in MODULES},
    **examples(
        "renderfarm submit scene.blend --frames 1-500",
        "renderfarm status scene-1a2b --watch",
        "renderfarm doctor",
    ),
)
@click.version_option(package_name="renderfarm", prog_name="renderfarm")
def group() -> None:
    """Turn a Blender or POV-Ray scene into checked frames and a video."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: this process's own) and return its exit code."""
    return output.run(group, argv)
