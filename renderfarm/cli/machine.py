"""Commands about this machine: doctor, setup, completion, its cache of frames, the panel in its Blenders."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click

from renderfarm.cli import output, text
from renderfarm.cli.live import observer
from renderfarm.cli.options import Checked, FileType, command, family, json_option, of, pool_option
from renderfarm.cli.output import clean
from renderfarm.errors import InputError
from renderfarm.settings.options import OPTIONS

NOT_READY = 3
SHELLS = ("bash", "zsh", "fish")
MOST_BYTES = 2.0**63
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", re.IGNORECASE)


def _version(value: object) -> str:
    if not re.fullmatch(r"[1-9]\d?\.\d{1,2}", str(value)):
        raise InputError(f"{value!r} is no version of Blender.", "Write 4.5 or 5.3.")
    return str(value)


@command("renderfarm doctor", "renderfarm doctor --pool cloud", "renderfarm doctor --json", configured=True)
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


@command("renderfarm setup", "renderfarm setup --dry-run", "renderfarm setup --blender 5.3")
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
    from renderfarm.farm import doctor as doctors

    lacking = False
    for step in doctors.steps(versions):
        lacking = True
        if dry_run or not step.allowed:
            output.say(f"{'sudo ' * step.root}{shlex.join(step.command)}")
            continue
        output.say(f"{step.what} …", err=True)
        if trouble := step.take():
            output.say(clean(trouble), err=True)
            return NOT_READY
    if dry_run and not lacking:
        output.say("Nothing is missing.", err=True)
    return 0 if dry_run else int(ctx.invoke(doctor, pool="local"))


@command(
    'eval "$(renderfarm completion bash)"',
    'eval "$(renderfarm completion zsh)"',
    "renderfarm completion fish > ~/.config/fish/completions/renderfarm.fish",
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


def parse_size(value: object) -> int:
    """Bytes from `500MB`, `20G` or a number."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise InputError(f"{value!r} is not a size.", "Sizes read like 500MB or 20GB.")
    size = float(match[1]) * 1000.0 ** " kmgt".index(match[2].lower() or " ")
    if size >= MOST_BYTES:
        raise InputError(f"{str(value)[:20]}… is larger than any disk.", "Sizes read like 500MB or 20GB.")
    return int(size)


@family("renderfarm cache show", "renderfarm cache prune --to 10GB")
def cache() -> None:
    """Show and prune the cache of rendered frames."""


@command("renderfarm cache show", under=cache)
@json_option
def show() -> int:
    """Say how much the cache holds."""
    from renderfarm.farm import verbs

    usage = verbs.cache_usage()
    filled = f"{text.size(usage.bytes)} of at most {text.size(usage.limit)}"
    return output.show(usage, f"{text.plural(usage.frames, 'frame')}, {filled}")


@command("renderfarm cache prune --to 10GB", "renderfarm cache prune --to 0 --dry-run", under=cache)
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


@family("renderfarm addon install")
def addon() -> None:
    """A panel in Blender that submits the saved file and shows how it goes."""


@command(
    "renderfarm addon install",
    "renderfarm addon install --blender /opt/blender-4.5/blender",
    "renderfarm addon install --zip renderfarm.zip",
    under=addon,
)
@click.option("--zip", "file", type=FileType(), help="Only write the archive, to this file.")
@of(OPTIONS["blender"], "Only into this Blender.")
@json_option
def install(file: Path | None, blender: str | None) -> int:
    """Install the add-on into each Blender on this machine, and switch it on.

    The archive is kept, and can be installed by hand: Preferences, Add-ons, Install from Disk.
    """
    from renderfarm.farm import addon as addons
    from renderfarm.job.home import farm_home

    archive = addons.write((file or farm_home() / f"{addons.NAME}.zip").absolute())
    done = [] if file else list(addons.install(archive, blender))
    lines = [f"{clean(each.blender)}: {'installed' if each.ok else clean(each.detail)}" for each in done]
    lines += ["No Blender with a window was found here."] if not done and not file else []
    output.show({"archive": str(archive), "installed": done}, "\n".join([*lines, f"The archive: {archive}"]))
    return 0 if file or (done and all(each.ok for each in done)) else 1
