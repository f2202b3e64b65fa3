"""`renderfarm nightly`: a list of shots, rendered each night, and the report of the morning after."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from renderfarm.cli import output, text
from renderfarm.cli.live import PlainLines
from renderfarm.cli.machine import parse_size
from renderfarm.cli.options import Checked, FileType, apply, command, family, json_option, of, quiet_option
from renderfarm.cli.output import clean
from renderfarm.errors import InputError
from renderfarm.farm.terms import Observer
from renderfarm.nightly import planner, schedule
from renderfarm.nightly import run as runs
from renderfarm.nightly.model import Night
from renderfarm.nightly.shot_runner import told
from renderfarm.nightly.shots import read
from renderfarm.settings.checks import days
from renderfarm.settings.options import OPTIONS
from renderfarm.words.durations import duration
from renderfarm.words.status import Status

CLOCK = Checked(schedule.clock, name="HH:MM")


def _moment(value: object) -> str:
    planner.moment(str(value), datetime.now().astimezone())
    return str(value)


def _amount(value: object) -> float:
    try:
        amount = float(str(value))
    except ValueError:
        amount = 0.0
    if not 0 < amount < float("inf"):
        raise InputError(f"{value!r} is not an amount of money.", "Write a number such as 12.50.")
    return amount


list_argument = click.argument("shots", type=FileType(), metavar="SHOTS")
limit_options = apply(
    click.option(
        "--finish-by",
        type=Checked(_moment, name="TIME"),
        help="Stop at this time of day, or after so long: 07:00, 5h.",
    ),
    click.option(
        "--budget",
        type=Checked(_amount, name="AMOUNT"),
        help="Spend no more than this, in the pool's currency.",
    ),
)


@family(
    "renderfarm nightly run shots.toml",
    "renderfarm nightly install shots.toml --at 02:00",
    "renderfarm nightly report shots.toml --open",
)
def nightly() -> None:
    """Render a list of shots each night: only what changed, with a report in the morning."""


@command(
    "renderfarm nightly run shots.toml",
    "renderfarm nightly run shots.toml --finish-by 07:00",
    "renderfarm nightly run shots.toml --dry-run",
    under=nightly,
)
@list_argument
@limit_options
@click.option("--all", "again", is_flag=True, help="Render every frame, changed or not.")
@click.option("--if-missed", type=CLOCK, help="Leave when a run began since this time of day.")
@click.option("--installed", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), hidden=True)
@of(OPTIONS["notify"], "Gets the summary as JSON on standard input; `desktop` shows a message.")
@of(OPTIONS["notify_url"], "The summary is posted there as JSON.")
@click.option("--dry-run", is_flag=True, help="Only say what would be rendered.")
@json_option
@quiet_option
def run(shots: Path, dry_run: bool, quiet: bool, **wishes: Any) -> int:
    """Render the shots of a list whose inputs changed.

    Exit code 0: all is good. 1: some shots failed. 2: the list has mistakes. 3: the
    last run is still at work. 4: stopped at a limit with work left.
    """
    if dry_run:
        found = list(runs.forecast(shots))
        said = text.table((each.name, each.pool, _cost(each)) for each in found)
        return output.show({"shots": found}, said)
    wanted = runs.Wishes(**wishes)
    watch, tell = _watchers(quiet)
    night = runs.run(shots, wanted, watch, tell)
    if night is None:
        tell("Nothing was missed.")
        return 0
    return _finish(shots, night)


def _watchers(quiet: bool) -> tuple[Observer, Callable[[str], None]]:
    """What is shown of jobs, each with a memory of its own as several may run at once, and of shots."""
    lines: dict[str, PlainLines] = {}

    def watch(status: Status) -> None:
        lines.setdefault(status.job, PlainLines(sys.stderr, progress=not quiet))(status)

    def tell(line: str) -> None:
        if not quiet:
            output.say(clean(line), err=True)

    return watch, tell


def _finish(shots: Path, night: Night) -> int:
    summary = runs.summary(night, read(shots).output)
    output.show(summary, _text(night, str(summary["report"])))
    return night.exit_code


def _text(night: Night, report: str) -> str:
    lines = [f"Night {night.night}: {text.plural(len(night.shots), 'shot')}"]
    for shot in night.shots:
        lines.append(f"  {clean(told(shot))}")
        lines += [f"    {clean(line)}" for line in (*shot.why, *shot.hint.splitlines())]
        lines += [f"    problem: {clean(line)}" for line in shot.problems]
        lines += [f"    {clean(shot.advice)}"] if shot.advice else []
    lines += [f"  {clean(problem)}" for problem in night.problems]
    return "\n".join([*lines, f"  report  {report}"])


def _cost(each: runs.Forecast) -> str:
    left = each.frames - each.reused
    known = f", about {duration(each.seconds)}" if each.seconds and left else ""
    return each.error or f"{left:,} of {text.plural(each.frames, 'frame')} to render{known}"


@command(
    "renderfarm nightly report shots.toml --open",
    "renderfarm nightly report shots.toml --night 2026-11-20",
    under=nightly,
)
@list_argument
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@click.option("--night", metavar="DATE", help="Of this night, such as 2026-11-20; default the newest.")
@json_option
@quiet_option
def report(shots: Path, show: bool, night: str | None, quiet: bool) -> int:
    """Collect what remote pools have finished, and write the morning report.

    The exit code is the night's.
    """
    found, page = runs.report(shots, night, _watchers(quiet)[0])
    if show and not webbrowser.open(page.resolve().as_uri()):
        output.say(f"There is no browser here; the report is {page}.", err=True)
    return _finish(shots, found)


@command("renderfarm nightly check shots.toml", under=nightly)
@list_argument
@json_option
def check(shots: Path) -> int:
    """Look for mistakes in a list; nothing is rendered, no scene is opened."""
    found = read(shots)
    rows = ((shot.name, str(shot.priority), shot.pool or "", str(shot.scene)) for shot in found.shots)
    listed = text.table((("SHOT", "PRIORITY", "POOL", "SCENE"), *rows))
    return output.show(found, f"{listed}\n{text.plural(len(found.shots), 'shot')}, no mistakes")


@command(
    "renderfarm nightly install shots.toml --at 02:00",
    "renderfarm nightly install shots.toml --at 22:30 --finish-by 07:00",
    under=nightly,
)
@list_argument
@click.option("--at", required=True, type=CLOCK, help="Time of day at which it runs.")
@limit_options
def install(shots: Path, at: str, finish_by: str | None, budget: float | None) -> int:
    """Run a list every night: by a systemd user timer, or by cron where there is none.

    Shows what it writes. A night that was missed (the machine was off) is caught up once.
    """
    installed = schedule.install(shots, at, finish_by, budget)
    output.say("\n\n".join(f"{path}:\n{content.rstrip()}" for path, content in installed.written.items()))
    output.say(f"\n{installed.told}\nTake it away with: renderfarm nightly uninstall {shots}")
    return 0


@command("renderfarm nightly uninstall shots.toml", under=nightly)
@list_argument
def uninstall(shots: Path) -> int:
    """Take away what `install` wrote, and nothing else."""
    removed = schedule.uninstall(shots)
    output.say("\n".join(f"removed {what}" for what in removed) or "Nothing was installed.")
    return 0


@command(
    "renderfarm nightly prune shots.toml --dry-run",
    "renderfarm nightly prune shots.toml --older-than 30d --to 200GB",
    under=nightly,
)
@list_argument
@click.option("--older-than", type=Checked(days, name="DAYS"), help="Also frames of nights older than this.")
@click.option(
    "--to", "target", type=Checked(parse_size, name="SIZE"), help="Also the oldest, until the rest fits."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def prune(shots: Path, older_than: float | None, target: int | None, dry_run: bool) -> int:
    """Remove frames of old nights, as each shot's `keep` says.

    Reports and videos stay. The newest good picture of each frame always stays.
    """
    pruned = runs.prune(shots, older_than=older_than, limit=target, dry_run=dry_run)
    rows = text.table((each.night, each.shot, text.plural(each.frames, "frame")) for each in pruned.gone)
    total = text.gone(text.plural(pruned.frames, "frame"), pruned.bytes, dry_run=dry_run)
    return output.show(pruned, "\n".join(filter(None, (rows, f"{total} freed"))))
