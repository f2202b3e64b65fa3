"""The verbs of nightly jobs: run a list, make its report, prune what is old."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from renderfarm.errors import InputError, Interrupted, RenderfarmError
from renderfarm.farm import notify, verbs
from renderfarm.farm.terms import Observer, Terms
from renderfarm.job.home import farm_home
from renderfarm.job.shelf import Shelf
from renderfarm.nightly import nights, outcome, planner, retention, shots
from renderfarm.nightly.limits import WithinLimits, refuse_unpriced
from renderfarm.nightly.model import Limits, Night, ShotList, ShotNight, ShotState
from renderfarm.nightly.shot_runner import ShotRunner, Tell, Way, is_remote
from renderfarm.words.as_json import encode
from renderfarm.words.status import Status

GO_ON_HOURS = 20
"""a run that died may be gone on with for so long, also past midnight"""


@dataclass(frozen=True)
class Wishes:
    """How a list is to be run."""

    finish_by: str | None = None
    """`07:00`, or a duration"""
    budget: float | None = None
    again: bool = False
    """render everything, known or not"""
    if_missed: str | None = None
    """a time of day: leave when a run began since then"""
    installed: datetime | None = None
    """nights before that were not missed"""
    notify: str | None = None
    """stronger than the list's"""
    notify_url: str | None = None


@dataclass(frozen=True)
class Forecast:
    """What a run would do with one shot."""

    name: str
    scene: str
    pool: str
    frames: int = 0
    reused: int = 0
    seconds: float | None = None
    error: str = ""


def run(
    path: Path, wishes: Wishes | None = None, observer: Observer | None = None, tell: Tell = lambda _: None
) -> Night | None:
    """Render a list; None when it was not missed. The night's `exit_code` says how it went.

    Raises ConfigError for a list with mistakes, StillRunning, Interrupted.
    """
    wishes = wishes or Wishes()
    listed = shots.read(path)
    began = datetime.now().astimezone()
    limits = _limits(listed, wishes, began)
    with nights.claim(listed.output):
        if wishes.if_missed and not _missed(listed.output, wishes.if_missed, wishes.installed, began):
            return None
        night, going_on = _begun(listed, began, limits)
        way = Way(wishes.again, going_on, observer, tell)
        runner = ShotRunner(listed, night, nights.history(listed.output, night.night), way)
        try:
            _work(runner)
        except (KeyboardInterrupt, Interrupted) as error:
            runner.stop.set()
            runner.write()
            message = "The night was interrupted; what is finished is kept."
            raise Interrupted(message, f"Go on with: renderfarm nightly run {path}") from error
        return _end(runner, wishes)


def report(path: Path, night: str | None = None, observer: Observer | None = None) -> tuple[Night, Path]:
    """Collect what remote pools have finished of a night (the newest), and write its report."""
    listed = shots.read(path)
    found = nights.read(_folder(listed.output, night))
    with contextlib.suppress(nights.StillRunning), nights.claim(listed.output):
        found = _collected(listed, found, observer)
        nights.write(found, listed.output)
    return found, _page(found, listed.output)


def forecast(path: Path) -> Iterator[Forecast]:
    """What a run would do with each shot, most important first; nothing is written."""
    listed = shots.read(path)
    night = Night(night=f"{date.today():%Y-%m-%d}", started="")  # noqa: DTZ011 - nights are local
    runner = ShotRunner(listed, night, [], Way())
    for shot in listed.shots:
        blank = Forecast(shot.name, str(shot.scene), shot.pool or "local")
        try:
            plan = verbs.plan(runner.request(shot))
        except RenderfarmError as error:
            yield replace(blank, error=error.message)
        else:
            yield replace(blank, frames=plan.frames, reused=plan.reused, seconds=plan.seconds)


def prune(
    path: Path, *, older_than: float | None = None, limit: int | None = None, dry_run: bool = False
) -> retention.Pruned:
    """Remove old frames of a list's nights (see `retention`)."""
    listed = shots.read(path)
    before = None if older_than is None else date.today() - timedelta(days=older_than)  # noqa: DTZ011
    with nights.claim(listed.output):
        return retention.prune(listed.output, listed.keep, before=before, limit=limit, dry_run=dry_run)


def summary(night: Night, output: Path) -> dict[str, object]:
    """A night for scripts: what `--json` prints and notifications carry."""
    folder = output / night.night
    states = [shot.state for shot in night.shots]
    return {
        "night": night.night,
        "list": night.title,
        "exit_code": night.exit_code,
        "started": night.started,
        "ended": night.ended,
        "report": str(folder / "index.html"),
        "shots": {"total": len(states), **{str(state): states.count(state) for state in ShotState}},
        "frames": encode(night.frames),
        "failed": [_failed(shot) for shot in night.shots if shot.state is ShotState.FAILED],
        "removed": list(night.removed),
        "problems": list(night.problems),
        "limits": encode(night.limits),
        "each": [_short(shot, folder) for shot in night.shots],
    }


def _failed(shot: ShotNight) -> dict[str, object]:
    first = shot.failures[0] if shot.failures else None
    why = shot.error or (f"frame {first.frame}: {first.reason}: {first.message}" if first else "")
    return {
        "shot": shot.name,
        "why": why,
        "frames": [each.frame for each in shot.failures],
        "advice": shot.advice,
        "retry": shot.retry,
    }


def _short(shot: ShotNight, folder: Path) -> dict[str, object]:
    video = shot.video and str(folder / shot.video)
    kept = ("name", "state", "job", "frames", "why", "error", "problems", "cost", "currency")
    return {**{name: encode(getattr(shot, name)) for name in kept}, "video": video}


# Beginning and ending


def _limits(listed: ShotList, wishes: Wishes, began: datetime) -> Limits:
    by = planner.moment(wishes.finish_by, began).astimezone(UTC).isoformat() if wishes.finish_by else None
    if wishes.budget is None:
        return Limits(by)
    refuse_unpriced(listed)
    return Limits(by, wishes.budget, listed.currency)


def _missed(output: Path, clock: str, installed: datetime | None, now: datetime) -> bool:
    """Whether no run began since a time of day was last, and the list was to be run then."""
    due = planner.last(clock, now)
    began = (datetime.fromisoformat(night.begun or night.started) for night in nights.history(output))
    return due >= (installed or due) and all(moment < due for moment in began)


def _begun(listed: ShotList, now: datetime, limits: Limits) -> tuple[Night, bool]:
    """The night to work on, and whether a run of it died before."""
    last = next(reversed(nights.history(listed.output)), None)
    tonight, begun = f"{now:%Y-%m-%d}", now.astimezone(UTC).isoformat()
    if last and last.ended is None:
        young = now - datetime.fromisoformat(last.started) < timedelta(hours=GO_ON_HOURS)
        if young or last.night == tonight:
            return replace(last, limits=limits, begun=begun), True
    started = last.started if last and last.night == tonight else begun
    return Night(tonight, started, limits=limits, title=listed.path.stem, begun=begun), False


def _work(runner: ShotRunner) -> None:
    left = runner.reuse(runner.begin())
    if runner.night.limited:
        WithinLimits(runner).work(left)
        return
    far = [shot for shot in left if is_remote(shot.pool)]
    if far:
        runner.hand_over(far)
    runner.render([shot for shot in left if shot not in far])


def _end(runner: ShotRunner, wishes: Wishes) -> Night:
    """Report, notify, and let go of what is old; recorded last, so that a run that dies here does it again."""
    listed = runner.listed
    earlier = [n for n in nights.history(listed.output) if n.night < runner.night.night]
    names = {shot.name for shot in listed.shots}
    removed = [s.name for s in earlier[-1].shots if s.name not in names] if earlier else []
    night = replace(
        runner.night,
        ended=datetime.now(UTC).isoformat(),
        removed=tuple(removed),
        exit_code=exit_code(runner.night.shots),
        problems=(*_limit_reached(runner.night), *_let_go(listed)),
    )
    troubles = [*_told_as_page(night, listed.output), *_notified(night, listed, wishes)]
    if troubles:
        night = replace(night, problems=(*night.problems, *troubles))
        _told_as_page(night, listed.output)
    nights.write(night, listed.output)
    return night


def _told_as_page(night: Night, output: Path) -> list[str]:
    """Write the morning report; what went wrong must not spoil the night."""
    try:
        _page(night, output)
    except (RenderfarmError, OSError) as error:
        return [f"no morning report: {error}"]
    return []


def exit_code(done: Sequence[ShotNight]) -> int:
    """0 all good, 1 some shots failed, 4 stopped at a limit with work left."""
    if any(shot.is_bad for shot in done):
        return 1
    return 4 if any(shot.state is ShotState.LIMITED for shot in done) else 0


def _limit_reached(night: Night) -> list[str]:
    left = [shot.frames.left for shot in night.shots if shot.state is ShotState.LIMITED]
    told = f"stopped at the limit with {sum(left):,} frames left; the next night goes on from there"
    return [told] if left else []


def _let_go(listed: ShotList) -> list[str]:
    try:
        retention.prune(listed.output, listed.keep)
    except OSError as error:
        return [f"frames of old nights could not be removed: {error}"]
    return []


def _notified(night: Night, listed: ShotList, wishes: Wishes) -> list[str]:
    told = summary(night, listed.output)
    command, url = wishes.notify or listed.notify, wishes.notify_url or listed.notify_url
    where = None if wishes.notify else listed.path.parent
    good = sum(shot.state is ShotState.SUCCEEDED for shot in night.shots)
    headline = f"{night.title}: {good:,} of {len(night.shots):,} shots succeeded"
    return notify.tell(command, url, told, headline, where)


def _page(night: Night, output: Path) -> Path:
    from renderfarm.nightly import page

    return page.write(night, output, nights.history(output, night.night))


# The morning after


def _folder(output: Path, night: str | None) -> Path:
    folders = nights.all_nights(output)
    if night is None and folders:
        return folders[-1]
    for folder in folders:
        if folder.name == night:
            return folder
    known = ", ".join(folder.name for folder in folders[-5:])
    raise InputError(
        f"There is no night {night} in {output}." if night else f"There is no night in {output} yet.",
        f"The newest are {known}." if known else "Run the list first: renderfarm nightly run shots.toml",
    )


def _collected(listed: ShotList, night: Night, observer: Observer | None) -> Night:
    """The night with what has become of its jobs since: collected, or retried by hand."""
    done = tuple(_refreshed(listed, night, shot, observer) for shot in night.shots)
    if night.ended:
        return replace(night, shots=done, exit_code=exit_code(done))
    return replace(
        night, shots=done, exit_code=1, problems=("the run was cut short; the next one goes on with it",)
    )


def _is_open(status: Status) -> bool:
    return status.frames.queued + status.frames.running > 0


def _refreshed(listed: ShotList, night: Night, shot: ShotNight, observer: Observer | None) -> ShotNight:
    open_still = shot.state is ShotState.RUNNING or shot.frames.left or shot.frames.failed
    if shot.job is None or not open_still or (shot.error and shot.state is not ShotState.RUNNING):
        return shot
    unfinished = ShotState.LIMITED if night.limited else ShotState.CANCELED
    try:
        if shot.state is ShotState.RUNNING:
            verbs.collect(shot.job, observer)
        status = verbs.status(shot.job)
        if shot.state is ShotState.RUNNING and status.ended and _is_open(status):
            verbs.collect(shot.job, observer)  # its last tasks ended after the look
            status = verbs.status(shot.job)
        if not status.ended:
            unfinished = ShotState.RUNNING
        elif shot.state is ShotState.RUNNING and _is_open(status):
            verbs.resume(shot.job, observer, Terms(frames=0, again=False))
            status = verbs.status(shot.job)
    except RenderfarmError as error:
        return replace(shot, error=f"could not be collected: {error.message}", hint=error.hint)
    job = Shelf(farm_home()).find(shot.job).refresh()
    found = outcome.with_status(shot, status, job, listed.output / night.night, unfinished)
    earlier = nights.before(shot.name, night.night, nights.history(listed.output, night.night))
    return found if found.why else outcome.with_reasons(found, earlier and earlier[1], again=False)
