"""Commands about what lies in the cloud: `renderfarm renderer`, `renderfarm gc`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from renderfarm.cli import output, text
from renderfarm.cli.options import json_option, remote_option
from renderfarm.cli.output import examples
from renderfarm.farm.remote import rented
from renderfarm.settings.checks import user_path

if TYPE_CHECKING:
    from renderfarm.queues.remote_side import Package

DAYS = 14


@click.group(
    "renderer",
    **examples(
        "renderfarm renderer add blender-4.5.3-linux-x64.tar.xz --pool cloud",
        "renderfarm renderer list --pool cloud",
    ),
)
def renderers() -> None:
    """Keep renderers in your own storage for nodes to install."""


@renderers.command(**examples("renderfarm renderer add blender-4.5.3-linux-x64.tar.xz --pool cloud"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="What pools call it; default from the file's name.")
@remote_option
@json_option
def add(file: Path, name: str | None, pool: str | None) -> int:
    """Put FILE into your storage, once for all nodes.

    Blender's official tarball for Linux, a wheel of bpy, or a .deb of Blender or POV-Ray.
    """
    with rented(pool) as side:
        return _show([side.add_package(user_path(file), name, lambda words: output.say(words, err=True))])


@renderers.command("list", **examples("renderfarm renderer list --pool cloud"))
@remote_option
@json_option
def list_(pool: str | None) -> int:
    """Say which renderers are there."""
    with rented(pool) as side:
        return _show(side.packages())


@renderers.command(**examples("renderfarm renderer remove blender-4.5.3"))
@click.argument("name")
@remote_option
def remove(name: str, pool: str | None) -> int:
    """Take a renderer away; nodes that have it keep it."""
    with rented(pool) as side:
        side.remove_package(name)
    output.say(f"{name} is gone.")
    return 0


def _show(found: Sequence[Package]) -> int:
    rows = [(each.name, each.renderer, each.version, text.size(each.bytes), each.sha256[:12]) for each in found]
    said = text.table(rows) or "None yet. Add one with: renderfarm renderer add FILE"
    return output.show({"packages": found}, said)


@click.command(
    **examples("renderfarm gc --pool cloud --dry-run", "renderfarm gc --pool cloud --older-than 30"),
)
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    default=DAYS,
    show_default=True,
    metavar="DAYS",
    help="Jobs that ended longer ago.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@remote_option
@json_option
def gc(days: float, dry_run: bool, pool: str | None) -> int:
    """Remove from the cloud what old jobs left.

    Their frames and logs, and assets that no job needs and nobody sent for a week.
    What a job that goes on needs stays. Frames that were not collected are lost
    with their job.
    """
    with rented(pool) as side:
        swept = side.sweep(days, dry_run=dry_run)
    what = f"{text.plural(len(swept.jobs), 'job')} and {text.plural(swept.assets, 'asset')}"
    return output.show(swept, "\n".join([*swept.jobs, text.gone(what, swept.bytes, dry_run=dry_run)]))


COMMANDS = (renderers, gc)
