"""Commands about jobs that exist: jobs, status, logs, resume, retry, cancel, collect."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from renderfarm.cli import output
from renderfarm.cli.options import HELP, examples, job_argument, json_option, of, quiet_option
from renderfarm.cli.plain import clean
from renderfarm.settings.options import OPTIONS

if TYPE_CHECKING:
    from renderfarm.words.model import Status

POLL_SECONDS = 0.5
REMOTE_POLL_SECONDS = 5.0
"""each look at a job that nobody follows here reads what all its nodes said"""
LOG_SECONDS = 2.0


@click.command(context_settings=HELP, epilog=examples("renderfarm jobs", "renderfarm jobs --json"))
@json_option
def jobs(as_json: bool) -> int:
    """List the farm's jobs."""
    from renderfarm.cli import text
    from renderfarm.farm import verbs

    found = verbs.jobs()
    if as_json:
        output.emit({"jobs": found})
    else:
        output.say(text.jobs(found) if found else "No jobs yet. Start one with: renderfarm submit SCENE")
    return 0


@click.command(
    context_settings=HELP,
    epilog=examples(
        "renderfarm status shot-1a2b", "renderfarm status shot --watch", "renderfarm status shot --json"
    ),
)
@job_argument
@click.option("-w", "--watch", is_flag=True, help="Keep watching until the job ends; Ctrl-C only leaves.")
@json_option
def status(job: str, watch: bool, as_json: bool) -> int:
    """Say where JOB stands.

    Frames, nodes, what failed and why, when it will be done. With --watch the
    exit code is that of the job: 0 when every frame is good, or is finished in
    the cloud and waits to be collected.
    """
    from renderfarm.cli import text
    from renderfarm.farm import verbs

    if watch:
        return _watch(job, as_json=as_json)
    found = verbs.status(job)
    if as_json:
        output.emit(found)
    else:
        output.say(text.job(found))
    return 0


def _watch(job: str, *, as_json: bool) -> int:
    from renderfarm.words.model import Phase

    try:
        last = _watch_lines(job) if as_json else _watch_view(job)
    except KeyboardInterrupt:
        output.say(f"\nThe job goes on. Stop it with: renderfarm cancel {job}", err=True)
        return output.INTERRUPTED
    rendered = last.phase is Phase.UNCOLLECTED and not (last.frames.failed or last.frames.queued)
    return _report(last, as_json=as_json) if rendered else output.finish(last, as_json=as_json)


def _pause(found: Status) -> float:
    from renderfarm.words.model import Phase

    return REMOTE_POLL_SECONDS if found.phase is Phase.REMOTE else POLL_SECONDS


def _watch_lines(job: str) -> Status:
    from renderfarm.farm import verbs

    while not (found := verbs.status(job, certain=True)).ended:
        output.emit(found)
        time.sleep(_pause(found))
    return found


def _watch_view(job: str) -> Status:
    from renderfarm.cli.live import observer
    from renderfarm.farm import verbs

    with observer() as show:
        while not (found := verbs.status(job, certain=True)).ended:
            show(found)
            time.sleep(_pause(found))
    return found


@click.command(
    context_settings=HELP,
    epilog=examples(
        "renderfarm logs shot-1a2b", "renderfarm logs shot --frame 17", "renderfarm logs shot --follow"
    ),
)
@job_argument
@click.option("--frame", type=int, metavar="N", help="Only the attempts that rendered this frame.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the job ends; Ctrl-C only leaves.")
def logs(job: str, frame: int | None, follow: bool) -> int:
    """Print the renderer's own output."""
    from renderfarm.farm import verbs

    shown: dict[str, int] = {}
    which = "" if frame is None else f" of frame {frame}"
    while True:
        over = not follow or verbs.status(job).ended
        for name, content in verbs.logs(job, frame):
            if news := content[shown.get(name, 0) :]:
                output.say(click.style(f"==> {clean(name)} <==", bold=True))
                output.say(output.harmless(news.rstrip("\n")))
                shown[name] = len(content)
        if over:
            if not shown:
                output.say(f"There is no log{which}: nothing of it was rendered for this job.", err=True)
            return 0
        time.sleep(LOG_SECONDS)


@click.command(
    context_settings=HELP, epilog=examples("renderfarm resume shot-1a2b", "renderfarm resume shot --json")
)
@job_argument
@json_option
@quiet_option
def resume(job: str, as_json: bool, quiet: bool) -> int:
    """Go on with JOB where it stopped.

    Only what is missing or bad is rendered.
    """
    from renderfarm.cli.live import observer
    from renderfarm.farm import verbs

    with observer(f"Taking up {job} …", quiet=quiet) as watch:
        found = verbs.resume(job, watch)
    return output.finish(found, as_json=as_json)


@click.command(
    context_settings=HELP,
    epilog=examples("renderfarm retry shot-1a2b", "renderfarm retry shot --frames 17,20-25"),
)
@job_argument
@of(OPTIONS["frames"], "These frames, good or not; default the failed ones.")
@json_option
@quiet_option
def retry(job: str, frames: str | None, as_json: bool, quiet: bool) -> int:
    """Render JOB's failed frames, or the frames given, again."""
    from renderfarm.cli.live import observer
    from renderfarm.farm import verbs

    with observer(f"Taking up {job} …", quiet=quiet) as watch:
        found = verbs.retry(job, frames, watch)
    if str(found.state) != "running":
        return output.finish(found, as_json=as_json)
    output.say(f"{found.job} is being worked on: it will take these frames again.", err=True)
    return _report(found, as_json=as_json)


@click.command(context_settings=HELP, epilog=examples("renderfarm cancel shot-1a2b"))
@job_argument
@json_option
def cancel(job: str, as_json: bool) -> int:
    """Stop JOB; finished frames are kept.

    Those that a remote pool has finished can still be fetched with
    `renderfarm collect JOB`.
    """
    from renderfarm.farm import verbs

    return _report(verbs.cancel(job), as_json=as_json)


@click.command(context_settings=HELP, epilog=examples("renderfarm collect shot-1a2b"))
@job_argument
@json_option
@quiet_option
def collect(job: str, as_json: bool, quiet: bool) -> int:
    """Fetch what a remote pool has finished of JOB so far.

    Works on any machine that has the pool in its configuration. Frames go where
    submit was told to put them, where that folder exists here, else to
    renders/<scene stem>. When nothing is left to render, the video is made too,
    and the exit code is the job's.
    """
    from renderfarm.cli.live import observer
    from renderfarm.farm import verbs

    with observer(f"Collecting {job} …", quiet=quiet) as watch:
        found = verbs.collect(job, watch)
    if found.frames.queued or found.frames.running:
        return _report(found, as_json=as_json)
    return output.finish(found, as_json=as_json)


def _report(found: Status, *, as_json: bool) -> int:
    from renderfarm.cli import text

    if as_json:
        output.emit(found)
    else:
        output.say(text.job(found))
    return 0


COMMANDS = (jobs, status, logs, resume, retry, cancel, collect)
