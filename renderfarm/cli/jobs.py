"""Commands about jobs that exist: jobs, status, logs, resume, retry, cancel, pause, collect."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

import click

import renderfarm
from renderfarm.cli import output, text
from renderfarm.cli.live import observer
from renderfarm.cli.news import News, finish, report
from renderfarm.cli.options import (
    Checked,
    any_job_argument,
    command,
    job_argument,
    json_option,
    news_options,
    quiet_option,
)
from renderfarm.cli.output import clean
from renderfarm.errors import InputError
from renderfarm.settings.checks import duration
from renderfarm.settings.options import OPTIONS
from renderfarm.words.states import Phase
from renderfarm.words.status import Status
from renderfarm.words.stopping import INTERRUPTED

POLL_SECONDS = 0.5
REMOTE_POLL_SECONDS = 5.0
"""each look at a job that nobody follows here reads what all its nodes said"""
LOG_SECONDS = 2.0
STATES = ("queued", "running", "succeeded", "failed", "canceled", "waiting", "paused", "interrupted")
SHOWN_JOBS = 20


def _since(value: object) -> float:
    """A moment, in seconds since the epoch, from a date, a date with a time of day, or so long ago."""
    written = str(value).strip()
    if days := re.fullmatch(r"(\d{1,5})d", written):
        return time.time() - int(days[1]) * 86400
    try:
        return datetime.fromisoformat(written).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return time.time() - duration(written)
    except InputError:
        raise InputError(f"{value!r} is no time.", "Write 2026-11-30, '2026-11-30 08:00', 12h or 7d.") from None


@command("renderfarm jobs", "renderfarm jobs --limit 10", "renderfarm jobs --state failed --since 7d --json")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these; repeatable.")
@click.option(
    "--since", type=Checked(_since, name="TIME"), help="Submitted since 2026-11-30, or 12h or 7d ago."
)
@click.option("--limit", type=click.IntRange(1, 1 << 31), metavar="N", help="Only the newest so many.")
@json_option
def jobs(states: tuple[str, ...], since: float | None, limit: int | None) -> int:
    """List the farm's jobs, the newest last."""
    found = renderfarm.jobs(states, since or 0.0, limit)
    none = (
        "There is no such job." if states or since else "No jobs yet. Start one with: renderfarm submit SCENE"
    )
    return output.show({"jobs": found}, text.jobs(found) if found else none)


def _newest(job: str) -> str:
    """The job that was named, else the newest one."""
    if job:
        return job
    for found in renderfarm.jobs(limit=1):
        return found.job
    raise InputError("There are no jobs yet.", "Start one with: renderfarm submit SCENE")


def _only(job: str, verb: str, *fits: Callable[[Status], bool]) -> str:
    """The job that was named, else the only one that fits, in the first way that any does; raises StoreError,
    InputError."""
    from renderfarm.farm import remote

    if job:
        remote.find(job)  # an unknown one is told at once; a folder says more than its id where it was moved
        return job
    known = renderfarm.jobs()
    found = next(filter(None, ([status for status in known if fit(status)] for fit in fits)), [])
    if not found:
        raise InputError(f"There is no job to {verb}.", "See them with: renderfarm jobs")
    if len(found) > 1:
        message = f"There are {len(found):,} jobs to {verb}:\n{text.jobs(found[-SHOWN_JOBS:])}"
        raise InputError(message, f"Name one: renderfarm {verb} {found[-1].job}")
    return found[0].job


@command("renderfarm status shot-1a2b", "renderfarm status shot --watch", "renderfarm status shot --json")
@any_job_argument
@click.option("-w", "--watch", is_flag=True, help="Keep watching until the job ends; Ctrl-C only leaves.")
@json_option
@news_options
def status(job: str, watch: bool, notify: str | None, notify_url: str | None) -> int:
    """Say where JOB stands, or the newest job.

    Frames, nodes, what failed and why, when it will be done. With --watch the
    exit code is that of the job: 0 when every frame is good, or is finished in
    the cloud and waits to be collected; then --notify is told.
    """
    job = _newest(job)
    if not watch:
        return report(renderfarm.status(job))
    try:
        return News(notify, notify_url).after(partial(_watched, job), _seen_off)
    except KeyboardInterrupt:
        output.say(f"\nThe job goes on. Stop it with: renderfarm cancel {job}", err=True)
        return INTERRUPTED


def _watched(job: str) -> Status:
    """The job's end, with all that happens until then shown."""
    told = None
    with observer(quiet=output.as_json()) as show:
        while not (found := renderfarm.status(job, certain=True)).ended:
            if not output.as_json():
                show(found)
            elif told != (told := _still(found)):
                output.emit(found)
            time.sleep(REMOTE_POLL_SECONDS if found.phase is Phase.REMOTE else POLL_SECONDS)
    return found


def _seen_off(last: Status) -> int:
    rendered = last.phase is Phase.UNCOLLECTED and not (last.frames.failed or last.frames.queued)
    return report(last) if rendered else finish(last)


def _still(found: Status) -> Status:
    """The status without what changes while nothing happens."""
    nodes = tuple(replace(node, seconds=0.0) for node in found.nodes)
    return replace(found, seconds=0.0, eta_seconds=None, frames_per_minute=None, nodes=nodes)


@command("renderfarm logs shot-1a2b", "renderfarm logs shot --frame 17", "renderfarm logs shot --follow")
@any_job_argument
@click.option("--frame", type=int, metavar="N", help="Only the attempts that rendered this frame.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the job ends; Ctrl-C only leaves.")
def logs(job: str, frame: int | None, follow: bool) -> int:
    """Print the renderer's own output of JOB, or of the newest job."""
    job = _newest(job)
    shown: dict[str, int] = {}
    which = "" if frame is None else f" of frame {frame}"
    while True:
        over = not follow or renderfarm.status(job).ended
        for name, content in renderfarm.logs(job, frame):
            if news := content[shown.get(name, 0) :]:
                output.say(click.style(f"==> {clean(name)} <==", bold=True))
                output.say(output.harmless(news.rstrip("\n")))
                shown[name] = len(content)
        if over:
            if not shown:
                output.say(f"There is no log{which}: nothing of it was rendered for this job.", err=True)
            return 0
        time.sleep(LOG_SECONDS)


@command("renderfarm resume shot-1a2b", "renderfarm resume shot --json")
@any_job_argument
@json_option
@quiet_option
@news_options
def resume(job: str, quiet: bool, notify: str | None, notify_url: str | None) -> int:
    """Go on with JOB where it stopped.

    Only what is missing or bad is rendered. JOB may be left out where only one is
    interrupted or canceled.
    """
    job = _only(job, "resume", lambda told: told.ended and bool(told.frames.queued or told.frames.canceled))

    def work() -> Status:
        with observer(f"Taking up {job} …", quiet=quiet) as watch:
            return renderfarm.resume(job, watch)

    return News(notify, notify_url).after(work)


@command("renderfarm retry shot-1a2b", "renderfarm retry shot --frames 17,20-25")
@any_job_argument
@click.option(
    "-f",
    "--frames",
    type=Checked(OPTIONS["frames"].checked, OPTIONS["frames"]),
    help="These frames, good or not; default the failed ones.",
)  # a range in the environment is what to submit
@json_option
@quiet_option
def retry(job: str, frames: str | None, quiet: bool) -> int:
    """Render JOB's failed frames, or the frames given, again.

    JOB may be left out where only one has failed frames.
    """
    job = _only(job, "retry", lambda found: found.frames.failed > 0)
    with observer(f"Taking up {job} …", quiet=quiet) as watch:
        found = renderfarm.retry(job, frames, watch)
    if found.ended:
        return finish(found)
    output.say(f"{found.job} is being worked on: it will take these frames again.", err=True)
    return report(found)


@command("renderfarm cancel shot-1a2b")
@any_job_argument
@json_option
def cancel(job: str) -> int:
    """Stop JOB; finished frames are kept.

    Those that a remote pool has finished can still be fetched with
    `renderfarm collect JOB`. JOB may be left out where only one is at work, or
    where none is and only one was interrupted.
    """
    return report(
        renderfarm.cancel(
            _only(job, "cancel", lambda told: not told.ended, lambda told: told.frames.queued > 0)
        )
    )


@command("renderfarm pause shot-1a2b")
@any_job_argument
@json_option
def pause(job: str) -> int:
    """Let JOB rest; `renderfarm resume JOB` goes on.

    Frames in hand are finished, no other is begun, and the next job in line gets
    the machine. (`cancel` stops at once; what was in hand is rendered again.)
    JOB may be left out where only one is at work.
    """
    return report(renderfarm.pause(_only(job, "pause", lambda told: not told.ended)))


@command("renderfarm collect shot-1a2b")
@job_argument
@json_option
@quiet_option
def collect(job: str, quiet: bool) -> int:
    """Fetch what a remote pool has finished of JOB so far.

    Works on any machine that has the pool in its configuration. Frames go where
    submit was told to put them, where that folder exists here, else to
    renders/<scene stem>. When nothing is left to render, the video is made too,
    and the exit code is the job's.
    """
    with observer(f"Collecting {job} …", quiet=quiet) as watch:
        found = renderfarm.collect(job, watch)
    return report(found) if found.frames.queued or found.frames.running else finish(found)
