"""`renderfarm cache`: the frames that are kept so that nothing is rendered twice."""

from __future__ import annotations

import re

import click

from renderfarm.cli import output, text
from renderfarm.cli.options import Checked, json_option
from renderfarm.cli.output import examples
from renderfarm.errors import InputError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)
MOST_BYTES = 2.0**63


def parse_size(value: object) -> int:
    """Bytes from `500MB`, `20G` or a number."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise InputError(f"{value!r} is not a size.", "Sizes read like 500MB or 20GB.")
    size = float(match[1]) * 1000.0 ** " kmgt".index(match[2].lower() or " ")
    if size >= MOST_BYTES:
        raise InputError(f"{str(value)[:20]}… is larger than any disk.", "Sizes read like 500MB or 20GB.")
    return int(size)


@click.group(**examples("renderfarm cache show", "renderfarm cache prune --to 10GB"))
def cache() -> None:
    """Show and prune the cache of rendered frames."""


@cache.command(**examples("renderfarm cache show"))
@json_option
def show() -> int:
    """Say how much the cache holds."""
    from renderfarm.farm import verbs

    usage = verbs.cache_usage()
    filled = f"{text.size(usage.bytes)} of at most {text.size(usage.limit)}"
    return output.show(usage, f"{text.plural(usage.frames, 'frame')}, {filled}")


@cache.command(**examples("renderfarm cache prune --to 10GB", "renderfarm cache prune --to 0 --dry-run"))
@click.option(
    "--to", "target", type=Checked(parse_size, name="SIZE"), help="Prune down to this size; default its limit."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def prune(target: int | None, dry_run: bool) -> int:
    """Throw the frames away that were not used for longest."""
    from renderfarm.farm import verbs

    pruned = verbs.cache_prune(target, dry_run)
    return output.show(pruned, text.gone(text.plural(pruned.frames, "frame"), pruned.bytes, dry_run=dry_run))


COMMANDS = (cache,)
