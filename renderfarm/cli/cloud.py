"""Commands about what lies in the cloud: `renderfarm renderer`, `renderfarm gc`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from renderfarm.cli import output
from renderfarm.cli.options import json_option, remote_option
from renderfarm.cli.output import HELP, examples

if TYPE_CHECKING:
    from renderfarm.queues.remote_side import Package

DAYS = 14


@click.group(
    "renderer",
    context_settings=HELP,
    epilog=examples(
        "renderfarm renderer add blender-4.5.3-linux-x64.tar.xz --pool cloud",
        "renderfarm renderer list --pool cloud",
    ),
)
def renderers() -> None:
    """Keep renderers in your own storage for nodes to install."""


@renderers.command(
    context_settings=HELP,
    epilog=examples("renderfarm renderer add blender-4.5.3-linux-x64.tar.xz --pool cloud"),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="What pools call it; default from the file's name.")
@remote_option
@json_option
def add(file: Path, name: str | None, pool: str | None, as_json: bool) -> int:
    """Put FILE into your storage, once for all nodes.

    Blender's official tarball for Linux, a wheel of bpy, or a .deb of Blender or POV-Ray.
    """
    from renderfarm.farm import api
    from renderfarm.settings.checks import user_path

    with api.rented(pool) as rented:
        found = rented.add_package(user_path(file), name, lambda words: output.say(words, err=True))
    return _show([found], as_json=as_json)


@renderers.command("list", context_settings=HELP, epilog=examples("renderfarm renderer list --pool cloud"))
@remote_option
@json_option
def list_(pool: str | None, as_json: bool) -> int:
    """Say which renderers are there."""
    from renderfarm.farm import api

    with api.rented(pool) as rented:
        return _show(rented.packages(), as_json=as_json)


@renderers.command(context_settings=HELP, epilog=examples("renderfarm renderer remove blender-4.5.3"))
@click.argument("name")
@remote_option
def remove(name: str, pool: str | None) -> int:
    """Take a renderer away; nodes that have it keep it."""
    from renderfarm.farm import api

    with api.rented(pool) as rented:
        rented.remove_package(name)
    output.say(f"{name} is gone.")
    return 0


def _show(found: Sequence[Package], *, as_json: bool) -> int:
    from renderfarm.cli import text

    rows = [(each.name, each.renderer, each.version, text.size(each.bytes), each.sha256[:12]) for each in found]
    said = text.table(rows) or "None yet. Add one with: renderfarm renderer add FILE"
    return output.show({"packages": found}, lambda: said, as_json=as_json)


@click.command(
    context_settings=HELP,
    epilog=examples("renderfarm gc --pool cloud --dry-run", "renderfarm gc --pool cloud --older-than 30"),
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
def gc(days: float, dry_run: bool, pool: str | None, as_json: bool) -> int:
    """Remove from the cloud what old jobs left.

    Their frames and logs, and assets that no job needs and nobody sent for a week.
    What a job that goes on needs stays. Frames that were not collected are lost
    with their job.
    """
    from renderfarm.cli import text
    from renderfarm.farm import api

    with api.rented(pool) as rented:
        swept = rented.sweep(days, dry_run=dry_run)
    verb = "would go" if dry_run else "gone"
    what = f"{text.plural(len(swept.jobs), 'job')} and {text.plural(swept.assets, 'asset')}"
    lines = [*swept.jobs, f"{what} {verb}, {text.size(swept.bytes)}"]
    return output.show(swept, lambda: "\n".join(lines), as_json=as_json)


COMMANDS = (renderers, gc)
