"""Commands about pools: their tables, the nodes behind those in the cloud, and what else lies there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from renderfarm.cli import output, text
from renderfarm.cli.options import Checked, FileType, command, family, json_option, remote_option
from renderfarm.cli.output import clean
from renderfarm.farm.remote import rented
from renderfarm.settings import config
from renderfarm.settings.checks import days, user_path
from renderfarm.settings.pool import PoolConfig

if TYPE_CHECKING:
    from renderfarm.queues.remote_side import PoolStatus, PoolSummary
    from renderfarm.words.work import Package

DAYS = 14
name_argument = click.argument("name")


@family("renderfarm pool list", "renderfarm pool create cloud", "renderfarm pool show cloud")
def pool() -> None:
    """Look at pools, and manage those in the cloud."""


@command("renderfarm pool list", "renderfarm pool list cloud", name="list", under=pool)
@click.argument("name", required=False)
@json_option
def list_pools(name: str | None) -> int:
    """List the configured pools; `*` marks the default.

    With NAME, list all pools of that pool's Batch account: each node of them
    costs money.
    """
    if name is not None:
        with rented(name) as side:
            found = side.account.nodes.of_account()
        rows = text.table(map(_row, found)) if found else "The Batch account has no pools."
        return output.show({"pools": found}, rows)
    loaded = config.load()
    pools = loaded.pools.values()
    rows = text.table(("*" if p.name == loaded.default_pool else "", p.name, p.type) for p in pools)
    return output.show({"default": loaded.default_pool, "pools": [_json(p) for p in pools]}, rows)


def _json(found: PoolConfig) -> dict[str, object]:
    return {"name": found.name, "type": found.type, "options": found.options}


def _row(found: PoolSummary) -> tuple[str, ...]:
    size = f"{found.nodes} of {found.target} nodes"
    kind = "scales itself" if found.autoscale else "fixed size"
    standing = _standing_word(found.state, found.allocation)
    return (found.pool, found.vm_size, size, kind, standing, "" if found.ours else "not made by renderfarm")


def _standing_word(state: str, allocation: str) -> str:
    """`steady`, `resizing`, `deleting`: what Batch calls an active pool is one that is there."""
    return (allocation or "ready") if state == "active" else f"{state} {allocation}".strip()


@command("renderfarm pool show cloud", name="show", under=pool)
@name_argument
@json_option
def show_pool(name: str) -> int:
    """Say how the pool NAME is configured and how its nodes are."""
    found = config.load().table(name)
    options = ((key, _as_written(value)) for key, value in found.options.items())
    said = text.table((("name", found.name), ("type", found.type), *options))
    if not found.kind.rented:
        return output.show(_json(found), said)
    with rented(name) as side:
        standing = side.account.nodes.show()
    return output.show({**_json(found), "standing": standing}, "\n".join((said, "", *_standing(standing))))


def _as_written(value: object) -> str:
    """A value as the file has it, more or less."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _standing(standing: PoolStatus) -> Iterator[str]:
    yield text.table(_standing_rows(standing))
    for trouble in standing.troubles if standing.state != "missing" else ():
        yield click.style(clean(trouble.message), fg="red" if trouble.fatal else "yellow")
        if trouble.hint:
            yield f"  {clean(trouble.hint)}"


def _standing_rows(standing: PoolStatus) -> Iterator[tuple[str, str]]:
    yield "pool in Batch", f"{standing.pool}, {_standing_word(standing.state, standing.allocation)}"
    if standing.state == "missing":
        yield "", "submit makes it, or: renderfarm pool create " + standing.name
        return
    slots = text.plural(standing.slots_per_node, "task")
    yield "machines", f"{standing.vm_size}, {slots} at a time; {standing.image}"
    kind = f"scales itself up to {standing.maximum}" if standing.autoscale else "fixed size"
    spot = f"{standing.current_spot} of {standing.target_spot} spot"
    yield "nodes", f"{spot}, {standing.current_dedicated} of {standing.target_dedicated} dedicated; {kind}"
    if standing.nodes:
        yield "", ", ".join(f"{number} {state}" for state, number in sorted(standing.nodes.items()))
    yield "renderers", ", ".join(standing.renderers)
    cost = standing.cost_per_hour
    if cost is not None and cost.amount is not None:
        yield "costs now", f"{cost.amount:.2f} {cost.currency} per hour (prices of {cost.dated})"


@command("renderfarm pool create cloud --nodes 2", name="create", under=pool)
@name_argument
@click.option("--nodes", type=click.IntRange(0, 1 << 31), metavar="N", help="Nodes that start at once.")
@json_option
def create(name: str, nodes: int | None) -> int:
    """Make the pool NAME before a job needs it, or update it."""
    with rented(name) as side:
        notes = side.create(nodes)
    return _told(notes or (f"pool {name!r} is as it should be",))


@command("renderfarm pool resize cloud 0", name="resize", under=pool)
@name_argument
@click.argument("nodes", type=click.IntRange(0, 1 << 31))
@json_option
def resize(name: str, nodes: int) -> int:
    """Let the pool NAME have at most NODES nodes until the next submit.

    Nodes that leave finish their tasks first.
    """
    with rented(name) as side:
        note = side.account.nodes.resize(nodes)
    return _told((note,))


@command("renderfarm pool delete cloud --wait", name="delete", under=pool)
@name_argument
@click.option("--wait", is_flag=True, help="Return when it is gone.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask when jobs still use it.")
@json_option
def delete(name: str, wait: bool, yes: bool) -> int:
    """Delete the pool NAME with its nodes; frames and jobs are kept.

    A job that is not over waits until there is a pool again.
    """
    with rented(name) as side:
        users = side.account.nodes.jobs()
        if users and not yes:
            shown = ", ".join(users[:3])
            still = f"{text.plural(len(users), 'job')} still {'uses' if len(users) == 1 else 'use'} it"
            click.confirm(f"{still} ({shown}). Delete it? (--yes doesn't ask)", abort=True, err=True)
        deleted = side.account.nodes.delete(wait=wait)
    how = ("is gone" if wait else "is being deleted") if deleted else "is not there"
    return _told((f"pool {name!r} {how}",))


def _told(notes: tuple[str, ...]) -> int:
    return output.show({"notes": notes}, "\n".join(map(clean, notes)))


@family(
    "renderfarm renderer add blender-4.5.3-linux-x64.tar.xz --pool cloud",
    "renderfarm renderer list --pool cloud",
)
def renderer() -> None:
    """Keep renderers in your own storage for nodes to install."""


@command("renderfarm renderer add blender-4.5.3-linux-x64.tar.xz --pool cloud", under=renderer)
@click.argument("file", type=FileType())
@click.option("--name", metavar="NAME", help="What pools call it; default from the file's name.")
@remote_option
@json_option
def add(file: Path, name: str | None, pool: str | None) -> int:
    """Put FILE into your storage, once for all nodes.

    Blender's official tarball for Linux, a wheel of bpy, or a .deb of Blender or POV-Ray.
    """
    with rented(pool) as side:
        progress = partial(output.say, err=True)
        return _show([side.account.packages.add(user_path(file), name, progress)])


@command("renderfarm renderer list --pool cloud", name="list", under=renderer)
@remote_option
@json_option
def list_(pool: str | None) -> int:
    """Say which renderers are there."""
    with rented(pool) as side:
        return _show(side.account.packages.all())


@command("renderfarm renderer remove blender-4.5.3", under=renderer)
@click.argument("name")
@remote_option
def remove(name: str, pool: str | None) -> int:
    """Take a renderer away; nodes that have it keep it."""
    with rented(pool) as side:
        side.account.packages.remove(name)
    output.say(f"{name} is gone.")
    return 0


def _show(found: Sequence[Package]) -> int:
    rows = [(each.name, each.renderer, each.version, text.size(each.bytes), each.sha256[:12]) for each in found]
    said = text.table(rows) or "None yet. Add one with: renderfarm renderer add FILE"
    return output.show({"packages": found}, said)


@command("renderfarm gc --pool cloud --dry-run", "renderfarm gc --pool cloud --older-than 30")
@click.option(
    "--older-than",
    "days",
    type=Checked(days, name="DAYS"),
    default=DAYS,
    show_default=True,
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
