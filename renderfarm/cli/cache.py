"""`renderfarm cache`: the frames that are kept so that nothing is rendered twice."""

from __future__ import annotations

import re

import click

from renderfarm.cli import output
from renderfarm.cli.options import Checked, json_option
from renderfarm.cli.output import HELP, examples
from renderfarm.errors import InputError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)
MOST_BYTES = 2.0**63
_POWERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_size(value: object) -> int:
    """Bytes from `500MB`, `20G` or a number."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise InputError(f"{value!r} is not a size.", "Sizes read like 500MB or 20GB.")
    size = float(match[1]) * _POWERS[match[2].lower()]
    if size >= MOST_BYTES:
        raise InputError(f"{str(value)[:20]}… is larger than any disk.", "Sizes read like 500MB or 20GB.")
    return int(size)


@click.group(
    context_settings=HELP, epilog=examples("renderfarm cache show", "renderfarm cache prune --to 10GB")
)
def cache() -> None:
    """Show and prune the cache of rendered frames."""


@cache.command(context_settings=HELP, epilog=examples("renderfarm cache show"))
@json_option
def show(as_json: bool) -> int:
    """Say how much the cache holds."""
    from renderfarm.cli import text
    from renderfarm.farm import verbs

    usage = verbs.cache_usage()
    filled = f"{text.size(usage.bytes)} of at most {text.size(usage.limit)}"
    said = f"{text.plural(usage.frames, 'frame')}, {filled}"
    return output.show(usage, lambda: said, as_json=as_json)


@cache.command(
    context_settings=HELP,
    epilog=examples("renderfarm cache prune --to 10GB", "renderfarm cache prune --to 0 --dry-run"),
)
@click.option(
    "--to", "target", type=Checked(parse_size, name="SIZE"), help="Prune down to this size; default its limit."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def prune(target: int | None, dry_run: bool, as_json: bool) -> int:
    """Throw the frames away that were not used for longest."""
    from renderfarm.cli import text
    from renderfarm.farm import verbs

    pruned = verbs.cache_prune(target, dry_run)
    verb = "would go" if dry_run else "gone"
    said = f"{text.plural(pruned.frames, 'frame')} {verb}, {text.size(pruned.bytes)}"
    return output.show(pruned, lambda: said, as_json=as_json)


COMMANDS = (cache,)
