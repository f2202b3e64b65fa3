"""Options that commands share, and how their values are checked and where their defaults come from.

Flags beat `RENDERFARM_*` variables, which beat `renderfarm.toml`, which beats the user's file: click's own
machinery, fed from `config`. Every value goes through the same check as in the Python API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from renderfarm import request
from renderfarm.errors import InputError, RenderfarmError

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
HELP = {"help_option_names": ["-h", "--help"]}
CONFIGURED = {**HELP, "auto_envvar_prefix": "RENDERFARM"}


class Checked(click.ParamType):  # type: ignore[type-arg]
    """A value checked by a function of `request`; `words` are offered by shell completion."""

    def __init__(self, name: str, check: Callable[[Any], Any], words: tuple[str, ...] = ()) -> None:
        self.name = name
        self.check = check
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as it came, once it is known to be good."""
        try:
            self.check(value)
        except InputError as error:
            self.fail(f"{error.message} {error.hint}".strip(), param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """The words to choose from, or the kind of value."""
        return "|".join(self.words) or self.name

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words that begin like this."""
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class JobType(click.ParamType):  # type: ignore[type-arg]
    """A job id or an unambiguous prefix of one."""

    name = "job"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The ids of the farm's jobs."""
        from renderfarm import farm

        try:
            return [CompletionItem(s.job) for s in farm.jobs() if s.job.startswith(incomplete)]
        except RenderfarmError:
            return []


class ConfiguredCommand(click.Command):
    """A command whose defaults may come from configuration files."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the files first, unless only help is wanted: a broken file must not hide it."""
        if not {"-h", "--help"} & set(args) and not ctx.resilient_parsing:
            from renderfarm import config

            loaded = config.load()
            ctx.default_map = {"pool": loaded.default_pool, **loaded.defaults}
            ctx.meta["origins"] = loaded.origins
        return super().parse_args(ctx, args)


def examples(*lines: str) -> str:
    """The examples at the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def checked(*flags: str, kind: str, text: str, check: str = "", words: tuple[str, ...] = ()) -> Decorator:
    """An option whose value `request` must accept; it checks by the option's own name unless told otherwise."""
    name = check or flags[-1].lstrip("-").replace("-", "_")
    return click.option(*flags, type=Checked(kind, _check(name), words), help=text, envvar=_variable(flags))


def _variable(flags: tuple[str, ...]) -> str:
    long = next(flag for flag in flags if flag.startswith("--"))
    return f"RENDERFARM_{long.lstrip('-').replace('-', '_').upper()}"


def _check(name: str) -> Callable[[Any], Any]:
    return request.frame_range if name == "frames" else lambda value: request.checked({name: value})


def apply(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, shown in this order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


json_option = click.option(
    "--json", "as_json", is_flag=True, envvar="RENDERFARM_JSON", help="One JSON object on standard output."
)
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, envvar="RENDERFARM_QUIET", help="No progress, only errors and the end."
)
job_argument = click.argument("job", type=JobType())
pool_option = checked("-p", "--pool", kind="NAME", text="Pool that renders; default local, this machine.")
remote_option = checked("-p", "--pool", kind="NAME", text="Pool in the cloud; default the only one.")

renderer_options = apply(
    checked("--blender", kind="PATH", text="The Blender to use."),
    checked("--povray", kind="PATH", text="The POV-Ray to use."),
    checked(
        "--sandbox", kind="WHEN", words=request.SANDBOXES, text="Run renderers inside bubblewrap; default auto."
    ),
)
settings_options = apply(
    checked("--resolution", kind="WxH", text="Size of the picture in pixels."),
    checked("--scale", kind="PERCENT", text="Percent of the resolution."),
    checked("--samples", kind="N", text="Samples per pixel."),
    checked("--camera", kind="NAME", text="Camera to look through."),
    checked("--scene", "scene_name", kind="NAME", check="scene_name", text="Scene inside the file."),
    checked("--view-layer", kind="NAME", text="Only this view layer."),
    checked("--engine", kind="NAME", text="Render engine, such as CYCLES."),
    click.option(
        "--option",
        "options",
        multiple=True,
        type=Checked("KEY=VALUE", _check("options")),
        envvar="RENDERFARM_OPTION",
        help="Handed to the renderer; repeatable.",
    ),
    click.option("--trust-scripts", is_flag=True, help="Run the scripts inside the scene."),
)
video_options = apply(
    checked("--fps", kind="RATE", text="Frames per second of the video; the scene's own by default."),
    checked("--audio", kind="FILE", text="Sound track of the video."),
    checked("--codec", kind="NAME", text="Video codec: h264, h265, av1, prores or vp9."),
    checked("--crf", kind="N", text="Quality of the video: smaller is better and bigger."),
    checked(
        "--missing", kind="WHAT", words=request.MISSING, text="What the video does about gaps; default fail."
    ),
)
