"""Commands about this machine and its pools: doctor, setup, completion."""

from __future__ import annotations

import re
import shlex
import sys

import click

from renderfarm.cli import output, text
from renderfarm.cli.live import observer
from renderfarm.cli.options import Checked, configured, json_option, pool_option
from renderfarm.cli.output import examples
from renderfarm.cli.plain import clean
from renderfarm.errors import InputError

NOT_READY = 3
SHELLS = ("bash", "zsh", "fish")


def _version(value: object) -> str:
    if not re.fullmatch(r"[1-9]\d?\.\d{1,2}", str(value)):
        raise InputError(f"{value!r} is no version of Blender.", "Write 4.5 or 5.3.")
    return str(value)


@click.command(**configured("renderfarm doctor", "renderfarm doctor --pool cloud", "renderfarm doctor --json"))
@pool_option
@json_option
def doctor(pool: str) -> int:
    """Say whether this machine and the pool are ready.

    Names what is missing, and the command that mends it. Exit code 0 means
    that a job can run, 3 that something needed is missing.
    """
    from renderfarm.farm import doctor as doctors

    with observer("Looking at renderers, this machine and the pool …", quiet=not sys.stderr.isatty()):
        items = doctors.examine(pool)
    ready = all(item.ok for item in items if item.needed)
    verdict = "Ready." if ready else "Not ready: see what is marked with ✗."
    output.show({"ready": ready, "pool": pool, "items": items}, f"{text.checklist(items)}\n{verdict}")
    return 0 if ready else NOT_READY


@click.command(**examples("renderfarm setup", "renderfarm setup --dry-run", "renderfarm setup --blender 5.3"))
@click.option(
    "--blender",
    "versions",
    multiple=True,
    metavar="VERSION",
    type=Checked(_version, name="VERSION"),
    help="This Blender, such as 4.5, in an environment of its own; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.pass_context
def setup(ctx: click.Context, versions: tuple[str, ...], dry_run: bool) -> int:
    """Install what rendering needs and isn't here.

    Packages of Debian or Ubuntu, as root; otherwise the command is named. A
    Blender, where there is none, as a Python package. Exit codes are those of
    `renderfarm doctor`, which looks at the end.
    """
    from renderfarm.farm import setup as setups

    for step in setups.steps(versions):
        if dry_run or not step.allowed:
            output.say(f"{'sudo ' * step.root}{shlex.join(step.command)}")
            continue
        output.say(f"{step.what} …", err=True)
        if trouble := step.take():
            output.say(clean(trouble), err=True)
            return NOT_READY
    return 0 if dry_run else int(ctx.invoke(doctor, pool="local"))


@click.command(
    **examples(
        'eval "$(renderfarm completion bash)"',
        'eval "$(renderfarm completion zsh)"',
        "renderfarm completion fish > ~/.config/fish/completions/renderfarm.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    With it, SHELL completes renderfarm's commands, options, their values, files and jobs.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.", ctx)
    output.say(kind(ctx.find_root().command, {}, output.PROGRAM, output.COMPLETE_VARIABLE).source())
    return 0


COMMANDS = (doctor, setup, completion)
