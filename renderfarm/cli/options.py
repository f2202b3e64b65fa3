"""Options that commands share, and how their values are checked and where their defaults come from.

Flags beat `RENDERFARM_*` variables, which beat `renderfarm.toml`, which beats the user's file: click's own
machinery, fed from `config`. Every value goes through the same check as in the Python API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

import renderfarm
from renderfarm.cli.output import HELP, examples
from renderfarm.errors import InputError, RenderfarmError
from renderfarm.settings.options import GROUPS, OPTIONS, Names, NewsOptions, Option, Place, options_of

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
CONFIGURED = {**HELP, "auto_envvar_prefix": "RENDERFARM"}


class Checked(click.ParamType):  # type: ignore[type-arg]
    """A value with a check; its words, or files, are offered by shell completion."""

    def __init__(self, check: Callable[[Any], Any], like: Option | None = None, *, name: str = "") -> None:
        self.name = like.metavar if like else name
        self.check = check
        self.words = like.words if like else ()
        self.is_path = like is not None and like.names is not Names.NOTHING

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value in its final type."""
        try:
            return self.check(value)
        except InputError as error:
            self.fail(f"{error.message} {error.hint}".strip(), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The words to choose from, or the kind of value."""
        return "|".join(self.words) or self.name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words that begin like this."""
        if self.is_path:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class Switch(click.types.BoolParamType):
    """A flag, which files may set to whatever they like."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """True or false, also as the words that click knows."""
        if not isinstance(value, (bool, str)):
            self.fail(f"{value!r} is neither true nor false.", param, ctx)
        return super().convert(value, param, ctx)


class FileType(click.Path):
    """A path; whether there is such a file is asked, and said better, where it is used."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Where that may be."""
        if "\0" in str(value):
            self.fail(f"{value!r} is not a path.", param, ctx)
        return Path(value)


class JobType(click.ParamType):  # type: ignore[type-arg]
    """A job id or an unambiguous prefix of one."""

    name = "job"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text, if it is one: no id has bytes that are not."""
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail("No job and no folder of frames has a name that is not UTF-8.", param, ctx)
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The ids of the farm's jobs."""
        try:
            return [CompletionItem(s.job) for s in renderfarm.jobs() if s.job.startswith(incomplete)]
        except RenderfarmError:
            return []


class Several(click.Option):
    """An option that may be given several times, and stands in files as one text, a list or a table."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """All of them, wherever they are said."""
        value, source = super().consume_value(ctx, opts)
        if source is ParameterSource.DEFAULT_MAP and not isinstance(value, list):
            value = [*value.items()] if isinstance(value, dict) else [value]
        return value, source


class ConfiguredCommand(click.Command):
    """A command whose defaults may come from configuration files; its many options are shown in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each option below its heading, those without one last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                known = OPTIONS.get(param.name or "")
                sections.setdefault(GROUPS[known.group] if known else "Options", []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the files first, unless only help is wanted: a broken file must not hide it."""
        if not {"-h", "--help"} & set(args) and not ctx.resilient_parsing:
            from renderfarm.settings import config

            loaded = config.load()
            ctx.default_map = {"pool": loaded.default_pool, **loaded.defaults}
            ctx.meta["origins"] = loaded.origins
        return super().parse_args(ctx, args)


def of(option: Option, text: str = "") -> Decorator:
    """One option of the table, with another help text where its command means something else by it."""
    more: dict[str, Any] = {"type": Checked(option.item or option.checked, option)}
    if option.item:
        more |= {"cls": Several, "multiple": True}
        more["callback"] = lambda ctx, param, value: option.checked(value) if value else None
    if not option.metavar:
        more = {"is_flag": True, "type": Switch()}
    declared = filter(None, (option.short, option.flag, option.name))
    return click.option(*declared, envvar=option.variable, help=text or option.help, **more)


def group(*groups: type) -> Decorator:
    """The options of these groups, or of all, in the table's order."""
    return apply(*(of(option) for option in options_of(Place.COMMAND, *groups)))


def apply(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, shown in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def command(
    *lines: str, name: str | None = None, under: click.Group | None = None, configured: bool = False
) -> Callable[[Callable[..., Any]], click.Command]:
    """A command with these examples; options of a configured one may be set in files and by variables, too."""
    more = {"cls": ConfiguredCommand, "context_settings": CONFIGURED} if configured else {}
    return (under or click).command(name, **examples(*lines) | more)


def family(*lines: str) -> Callable[[Callable[..., Any]], click.Group]:
    """A command that others are under, with these examples."""
    return click.group(None, **examples(*lines))


json_option = click.option(
    "--json",
    is_flag=True,
    envvar="RENDERFARM_JSON",
    expose_value=False,
    callback=lambda ctx, _, wanted: ctx.meta.update(json=wanted),
    help="One JSON object on standard output.",
)
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, envvar="RENDERFARM_QUIET", help="No progress, only errors and the end."
)
job_argument = click.argument("job", type=JobType())
any_job_argument = click.argument("job", type=JobType(), required=False, default="")
pool_option = of(OPTIONS["pool"])
news_options = group(NewsOptions)
remote_option = of(OPTIONS["pool"], "Pool in the cloud; default the only one.")
