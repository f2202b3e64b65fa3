"""`renderfarm submit`: render a scene here and now, in the background, or only say what would be done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from renderfarm import request
from renderfarm.cli import output
from renderfarm.cli.news import News
from renderfarm.cli.options import FileType, apply, command, group, json_option, news_options, quiet_option
from renderfarm.cli.output import clean
from renderfarm.cli.web import page
from renderfarm.words.request import Request
from renderfarm.words.states import Phase
from renderfarm.words.status import Status

if TYPE_CHECKING:
    from renderfarm.node.process import NodeProcess

_SOURCES = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)

mode_options = apply(
    click.option("--dry-run", is_flag=True, help="Only say what would be done."),
    click.option("--web", is_flag=True, help="Show it in a browser while it renders."),
    click.option("--detach", is_flag=True, help="Return at once; the job goes on in the background."),
    json_option,
    quiet_option,
)


@command(
    "renderfarm submit shot.blend --frames 1-500",
    "renderfarm submit shot.blend -f 1-100x10 --scale 50 --samples 16",
    "renderfarm submit anim.ini -o out --video out/anim.webm",
    "renderfarm submit shot.blend --preview 10",
    "renderfarm submit shot.blend --order progressive --detach",
    "renderfarm submit shot.blend --pool cloud --dry-run",
    configured=True,
)
@click.argument("scene", type=FileType())
@group()
@mode_options
@click.pass_context
def submit(
    ctx: click.Context,
    /,
    scene: Path,
    dry_run: bool,
    web: bool,
    detach: bool,
    quiet: bool,
    notify: str | None,
    notify_url: str | None,
    preview: int | None,
    **options: Any,
) -> int:
    """Render SCENE: watch it, check every frame, make the video.

    Each option can also be set in renderfarm.toml or as an environment variable:
    RENDERFARM_RETRIES=3 means --retries 3.
    """
    _settle_video(ctx, options)
    given = {name: value for name, value in options.items() if value is not None}
    wanted = request.described(scene, given)
    if dry_run:
        from renderfarm.cli import text
        from renderfarm.farm import verbs

        plan = verbs.plan(wanted)
        return output.show(text.plan_json(plan), text.plan(plan))
    if web and detach:
        raise click.UsageError("--web shows what renders here; with --detach, start it by: renderfarm web", ctx)
    news = News(notify, notify_url)
    small = [request.preview(wanted, preview)] if preview else []
    if detach:
        return _detach(wanted, small, news, quiet=quiet)
    with page() if web else contextlib.nullcontext(), _node(wanted) as node:
        return _render(wanted, small, news, node, quiet=quiet)


def _settle_video(ctx: click.Context, options: dict[str, Any]) -> None:
    """Let the stronger of --video and --no-video win; from the same source they contradict each other."""
    if not (options["video"] and options["no_video"]):
        return
    said = (ctx.get_parameter_source(name) for name in ("video", "no_video"))
    video, no_video = (_SOURCES.index(source or ParameterSource.DEFAULT_MAP) for source in said)
    if video == no_video:
        raise click.UsageError("--video and --no-video exclude each other.", ctx)
    options["video" if no_video < video else "no_video"] = None


def _detach(wanted: Request, before: Sequence[Request], news: News, *, quiet: bool) -> int:
    from renderfarm.cli.live import observer
    from renderfarm.farm import background

    with observer(f"Looking at {wanted.scene} …", quiet=quiet) as watch:
        for each in before:
            output.say(_preview(background.detach(each, watch)), err=True)
        status = background.detach(wanted, watch, news.variables)
    return output.show(status, _detached(status))


def _preview(status: Status) -> str:
    film = status.video or f"will be in {status.output}"
    return f"The preview, {status.frames.succeeded:,} of {status.frames.total:,} frames: {clean(film)}"


def _detached(status: Status) -> str:
    where = "in the background" if status.node_hours is None else f"in pool {status.pool}"
    when = " once its turn has come" if status.place else ""
    lines = [
        f"{status.job} renders {status.frames.total:,} frames {where}{when}.",
        f"Watch it:  renderfarm status {status.job} --watch",
        f"Stop it:   renderfarm cancel {status.job}",
    ]
    if status.node_hours is not None:
        fetch = f"Fetch it:  renderfarm collect {status.job}   (from any machine with this pool's table)"
        lines.insert(2, fetch)
    return "\n".join(lines)


@contextlib.contextmanager
def _node(wanted: Request) -> Iterator[NodeProcess | None]:
    """A node that starts while the farm is imported, for a scene of which nothing is there yet."""
    if Path(wanted.output).exists():
        yield None
        return
    from renderfarm.node.process import NodeProcess

    node = NodeProcess("w1", wanted.scene)
    try:
        yield node
    finally:
        if not node.taken:
            node.close()


def _render(
    wanted: Request, before: Sequence[Request], news: News, node: NodeProcess | None, *, quiet: bool
) -> int:
    from renderfarm.cli.live import observer
    from renderfarm.farm import submitting

    def work() -> Status:
        for each in before:
            with observer(f"Looking at {each.scene} …", quiet=quiet) as watch:
                small = submitting.submit(each, watch)
            output.say(_preview(small), err=True)
            if small.phase is Phase.PAUSED:
                return small
        with observer(f"Looking at {wanted.scene} …", quiet=quiet) as watch:
            return submitting.submit(wanted, watch, node=node)

    return news.after(work)


@click.command("_run", hidden=True)
@click.argument("job")
@click.option("--again")
@news_options
def _run(job: str, again: str | None, notify: str | None, notify_url: str | None) -> int:
    """Work on a job in the background; started by submit --detach, and by the page."""
    from renderfarm.farm import background

    return News(notify, notify_url).after(partial(background.run_detached, job, again))
