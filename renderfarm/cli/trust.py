"""`renderfarm trust`: what a project's files want to say beyond how to render, and whether they may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from renderfarm.cli import output, text
from renderfarm.cli.options import FileType, command, json_option
from renderfarm.cli.output import clean
from renderfarm.errors import ConfigError, InputError
from renderfarm.settings import config
from renderfarm.settings import trust as memory
from renderfarm.settings.checks import absolute, is_file
from renderfarm.settings.trust import Seen, Trust, Wish, standing

LIST = "shots.toml"
HASH_DIGITS = 12


@command(
    "renderfarm trust",
    "renderfarm trust --show project/",
    "renderfarm trust project/shots.toml --yes",
    "renderfarm trust --revoke project/",
)
@click.argument("path", type=FileType(), metavar="[DIR]", default=Path())
@click.option("--show", is_flag=True, help="Only say what the files would be allowed.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@click.option("--revoke", is_flag=True, help="Trust them no more.")
@click.option("--list", "listing", is_flag=True, help="List all files that are trusted.")
@json_option
def trust(path: Path, show: bool, yes: bool, revoke: bool, listing: bool) -> int:
    """Allow what a project's files say beyond how to render.

    Looks at the renderfarm.toml in or above DIR (default: here) and at its
    shots.toml; a list of another name is given itself. Says which programs,
    addresses, pools and folders they name, and asks. The answer holds until one
    of the files, or of those that they name, changes.
    """
    if sum((show, yes, revoke, listing)) > 1:
        raise click.UsageError("--show, --yes, --revoke and --list exclude each other.")
    if listing:
        paths = [str(found) for found in memory.trusted()]
        return output.show({"files": paths}, "\n".join(map(clean, paths)) or "Nothing is trusted.")
    if revoke:
        paths = [str(found) for found in _files(path) if memory.revoke(found)]
        said = "\n".join(f"{clean(found)} is trusted no more." for found in paths) or "It was not trusted."
        return output.show({"revoked": paths}, said)
    wishes = [(wish, memory.look(wish)) for wish in _wishes(path)]
    new = [each for each in wishes if standing(each[0]) in (Trust.UNTRUSTED, Trust.CHANGED)]
    if not output.as_json():
        output.say("\n\n".join(_text(wish, seen) for wish, seen in wishes), err=bool(new and not show))
    if new and not show:
        _confirm(yes)
        for wish, seen in new:
            memory.remember(wish, seen)
    if output.as_json():
        output.emit({"files": [_json(wish, seen) for wish, seen in wishes]})
    elif new and not show:
        output.say("Trusted, until one of these files changes.")
    return 0


def _files(path: Path) -> list[Path]:
    """The files that a folder's project has; raises ConfigError where there is none."""
    given = Path(absolute(path))
    if is_file(given):
        return [given]
    if not given.is_dir():
        raise InputError(f"There is no file or folder {path}.", "Check the path.")
    given = given.resolve()
    found = [each for each in (config.project_file(given), given / LIST) if each and is_file(each)]
    if not found:
        message = f"There is no {config.FILE_NAME} in or above {given}, and no {LIST} in it."
        raise ConfigError(message, "There is nothing to trust.")
    return found


def _wishes(path: Path) -> Iterator[Wish]:
    from renderfarm.nightly import shots

    for found in _files(path):
        yield config.wish(found) if found.name == config.FILE_NAME else shots.wish(found)


def _confirm(yes: bool) -> None:
    """Ask, unless that was answered; raises InputError where nobody is there to ask."""
    if yes:
        return
    try:
        click.confirm("Allow this?", abort=True, err=True)
    except click.Abort:
        output.say(err=True)
        message = "Nothing was allowed."
        raise InputError(message, "renderfarm trust --yes does not ask.") from None


def _text(wish: Wish, seen: Seen) -> str:
    found = standing(wish)
    if found is Trust.HARMLESS:
        return f"{clean(str(wish.path))} only says how to render: it needs no trust."
    words = {Trust.TRUSTED: "is trusted to say", Trust.CHANGED: "has changed; it says"}
    rows = [(f"  {clean(power.key)}", clean(power.value)) for power in wish.powers]
    files = [(f"  {clean(str(path))}", _hash(seen[str(path)])) for path in wish.named]
    lines = [
        f"{clean(str(wish.path))} {words.get(found, 'wants to say')}:{_owner(wish.path)}",
        text.table(rows),
    ]
    return "\n".join([*lines, *(["with these files as they are now:", text.table(files)] if files else [])])


def _hash(noted: dict[str, object]) -> str:
    return f"SHA-256 {str(noted['sha256'])[:HASH_DIGITS]}…" if noted["sha256"] else "is not there"


def _owner(path: Path) -> str:
    """A remark about a file that belongs to somebody else."""
    owner = path.stat().st_uid
    if owner in (0, os.getuid()):
        return ""
    try:
        return f" (it belongs to {path.owner()})"
    except KeyError:
        return f" (it belongs to user {owner})"


def _json(wish: Wish, seen: Seen) -> dict[str, Any]:
    return {
        "path": str(wish.path),
        "standing": standing(wish).value,
        "powers": [{"key": power.key, "value": power.value} for power in wish.powers],
        "files": [{"path": str(path), "sha256": seen[str(path)]["sha256"]} for path in wish.named],
    }
