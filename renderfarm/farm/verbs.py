"""The farm's verbs: inspect → split → pool → collect → check → assemble, and everything about jobs.

Each verb opens the store, does its work and closes it; nothing runs in between. Who works on a job has claimed
it, so two never do.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import InputError, StoreError
from renderfarm.farm import preparation, remote, splitting
from renderfarm.farm.announcer import in_motion
from renderfarm.farm.cache import FrameCache, Pruned, Usage
from renderfarm.farm.experience import frame_measure
from renderfarm.farm.inspector import NotRemembered
from renderfarm.farm.preparation import Ready, session_measure
from renderfarm.farm.submitting import opened_store, told_how_to_go_on
from renderfarm.farm.submitting import submit as submit
from renderfarm.farm.tasks import busy
from renderfarm.farm.terms import WHOLE, Observer, Terms, Until
from renderfarm.job import events
from renderfarm.job.home import farm_home
from renderfarm.job.job import Job, extent
from renderfarm.job.record import folder_of
from renderfarm.job.shelf import Shelf, card_of, lost
from renderfarm.job.snapshots import keep, read_on
from renderfarm.job.store import Store
from renderfarm.queues import turns
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.remote_side import Bill
from renderfarm.settings.checks import frame_range
from renderfarm.words.frames import compact, parse
from renderfarm.words.request import Request
from renderfarm.words.scene import Scene
from renderfarm.words.status import Status
from renderfarm.words.temporary import Temporary

OBEYED_SECONDS = 30.0
"""how long to wait for who works on a job to do what was asked"""
SHOWN_FRAMES = 1000


@dataclass(frozen=True)
class Plan:
    """What a submit would do."""

    scene: Scene
    build: str
    frames: int
    range: str
    reused: int
    tasks: int | None
    """None: chosen while rendering, from measured frame times"""
    workers: int
    """sessions to begin with"""
    notes: tuple[str, ...]
    seconds: float | None
    """about how long, from frames of this scene that were rendered before; None when there are none"""
    bill: Bill | None = None
    """what a remote pool would be sent, and what it may cost"""
    parts: int = 0
    """tasks of frames that are split"""
    split: str | None = None
    """what each of them is split into"""


def reuse(request: Request, observer: Observer | None = None) -> Status | None:
    """The finished job of a scene whose frames are all there already; None when one would have to be rendered,
    or the scene looked at with a renderer."""
    with contextlib.suppress(NotRemembered):
        return submit(request, observer, known=True) if request.reuse else None
    return None


def plan(request: Request) -> Plan:
    """What a submit of this request would do; nothing is written but the memory of the inspection."""
    with opened_store() as store, Temporary() as folder:
        return _planned(request, store, folder)


def _planned(request: Request, store: Store, folder: Path) -> Plan:
    with preparation.prepared(request, store, folder, wanted=None) as ready:
        known = FrameCache(store).expected(ready.origin(store)) if request.reuse else {}
        reused = sum(frame in ready.frames for frame in known)
        left = len(ready.frames) - reused
        split, whole = splitting.decided(request, ready, store)
        parts = len(splitting.parts_of(ready, split)) * left // len(ready.frames)
        bill = _bill(request, ready, store, parts or left) if ready.pool.remote else None
        each = store.measure(frame_measure(ready.fingerprints.base))
        return Plan(
            scene=ready.scene,
            build=ready.work.build.label,
            frames=len(ready.frames),
            range=ready.frames.text,
            reused=reused,
            tasks=-(-left // request.chunk) if request.chunk else None,
            workers=busy(request, ready, parts or left),
            notes=(*preparation.notes(request, ready, store), *filter(None, [whole])),
            seconds=each * left if each and left else None,
            bill=bill,
            parts=parts,
            split=split,
        )


def _bill(request: Request, ready: Ready, store: Store, tasks: int) -> Bill | None:
    seconds = store.measure(session_measure(request))
    job = PoolJob("", ready.work, ready.scene, store.home, tasks, seconds=seconds)
    with remote.remote_side(ready.pool) as side:
        return side.bill(job)


def resume(
    job: str, observer: Observer | None = None, terms: Terms = WHOLE, frames: str | None = None
) -> Status:
    """Render what is missing or bad of a job, as far as the terms want that; `frames` are wanted anew.

    Raises JobBusyError while somebody else works on it, InputError when its scene changed.
    """
    from renderfarm.farm.job_in_hand import JobInHand

    with opened_store() as store, told_how_to_go_on(f"Go on with: renderfarm resume {job}"):
        return JobInHand(store, remote.find(job), observer, terms).go_on(frames)


def retry(job: str, frames: str | None = None, observer: Observer | None = None) -> Status:
    """Render the failed frames, or these frames, of a job again; on a running job, leave the order there."""
    frames = None if frames is None else frame_range(frames)
    found = remote.find(job)
    refuse_strange(found, frames)
    if found.alive and handed_over(found, frames):
        return status(job)
    return resume(job, observer, frames=frames)


def handed_over(job: Job, frames: str | None) -> bool:
    """Ask who works on a job to try frames again; false where that one ended without having heard it."""
    order = job.order("retry", frames or "")
    ledger = job.refresh().ledger
    if ledger.undecided or not ledger.remarks.made.report:  # so it looks for orders again
        return True
    wait_until(lambda: not order.exists() or not job.alive)
    with contextlib.suppress(FileNotFoundError):
        if not job.alive:
            order.unlink()
            return False
    return True


def cancel(job: str) -> Status:
    """Stop a job: finished frames are kept, the others become canceled."""
    found = remote.find(job)
    with _ordered(found, "cancel", lambda: False) as free:
        if free:
            remote.cancel(found)
            if found.ledger.undecided:
                found.tell(events.Canceled())
    return status(job)


def pause(job: str) -> Status:
    """Begin no other frame of a job: those in hand are finished, the others stay queued for `resume`.

    Raises InputError for a job of a pool that goes on without this machine.
    """
    found = remote.find(job)
    if pool := remote.pool_of(found):
        message = f"{found.id} goes on in pool {pool.name}, where it can't be paused."
        hint = f"Stop it with `renderfarm cancel {found.id}`; `renderfarm resume {found.id}` goes on."
        raise InputError(message, hint)
    with _ordered(found, "pause", lambda: found.refresh().ledger.run.paused) as free:
        if free and found.ledger.undecided and not found.ledger.run.paused:
            found.tell(events.Paused())
    return status(job)


@contextlib.contextmanager
def _ordered(job: Job, what: str, done: Callable[[], bool]) -> Iterator[bool]:
    """Ask that of who works on a job, and wait until it is done; whether nobody does: then it is ours."""
    if job.alive:
        job.order(what)
        wait_until(lambda: not job.alive or done())
    if job.alive:
        yield False
        return
    with job.claimed("The job has just been taken up.", "Try again."):
        yield True


def line_up(jobs: Sequence[str]) -> None:
    """Put jobs that wait for this machine into an order, the next one first; the others keep their places."""
    shelf = Shelf(home := farm_home())
    for job, priority in turns.priorities(home, jobs).items():
        shelf.named(job).order("priority", str(priority))


def wait_until(done: Callable[[], bool]) -> None:
    """Until somebody has done what was asked, or it takes too long."""
    deadline = time.monotonic() + OBEYED_SECONDS
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)


def status(job: str, *, certain: bool = False) -> Status:
    """Where a job stands; raises StoreError for an unknown one, PoolError where its pool can't be asked.

    Only a `certain` status needs the pool to be configured here; any other one says that it isn't.
    """
    with opened_store() as store:
        found = remote.find(job)
        told = look(store, found, whole=remote.elsewhere(found))
        told = remote.up_to_date(found, told, certain=certain)
        keep(store, found)
        return replace(told, last_frame=told.last_frame or filling(told))


def filling(status: Status) -> str | None:
    """The picture of a frame whose parts are under way, as far as it is there; made when somebody asks."""
    from renderfarm.farm.filling import so_far

    with contextlib.suppress(OSError, StoreError):  # to look is no work
        if status.parts and (made := so_far(folder_of(Path(status.output), status.job))):
            return str(made)
    return None


def jobs(states: Iterable[str] = (), since: float = 0.0, limit: int | None = None) -> list[Status]:
    """Jobs, the newest last: at most so many, in some of the states or phases, submitted since then.

    since: in seconds since the epoch.
    """
    with opened_store() as store:
        found = (_told(store, one) if isinstance(one, Job) else one for one in Shelf(store.home).jobs(since))
        wanted = (one for one in found if not states or {one.state, one.phase} & set(states))
        return list(itertools.islice(wanted, limit))[::-1]


def _told(store: Store, job: Job) -> Status:
    """A job's status; where its files can't be read, that: it hides no other job."""
    try:
        return remote.marked(job, look(store, job))
    except (OSError, StoreError) as error:
        return lost(job.id, card_of(job.record), error)


def look(store: Store, job: Job, *, whole: bool = False) -> Status:
    """A job's status by its journals: as it was told last where nothing was added since.

    whole: the job is to know all that its journals say, for who asks on.
    """
    at = extent(job.folder)
    if not job.alive and not whole and (known := store.recall(Status, job.id, at)) and known.submitted:
        return known
    status = read_on(store, job).status()
    if not status.ended:
        return in_motion(status, job, store)
    store.keep(job.id, status, extent(job.folder))
    return status


def collect(job: str, observer: Observer | None = None) -> Status:
    """Fetch what a remote pool has finished so far; frames of the local pool are delivered as they come."""
    found = remote.find(job)
    if remote.pool_of(found) is None or found.alive:
        return status(job)
    return resume(job, observer, Terms(Until.CAUGHT_UP))


def logs(job: str, frame: int | None = None) -> Iterator[tuple[str, str]]:
    """The renderer's own output as (file name, text), oldest first; of one frame when given."""
    found = remote.find(job).refresh()
    pool = remote.pool_of(found)
    names = found.ledger.logs(frame)
    if frame is not None and not names and pool is None:
        message = f"Frame {frame} of {found.id} has no log: it was not rendered for this job."
        raise InputError(message, f"See `renderfarm status {found.id}`.")
    below, numbers = found.parts or found, _parts_of(found, frame)
    of_parts = [below.record.log(name) for n in numbers for name in below.ledger.logs(n) if found.parts]
    for path in (*map(found.record.log, names), *of_parts):
        if path.is_file():
            yield path.name, path.read_text(encoding="utf-8", errors="replace")
    if pool:
        with remote.remote_side(pool) as side:
            for number in numbers if frame is not None else [None]:
                yield from side.logs(below, number)


def _parts_of(found: Job, frame: int | None) -> list[int]:
    """The numbers of a frame's parts, or of all, as long as they are kept; where it is not split, its own."""
    if found.parts is None:
        return [] if frame is None else [frame]
    return [n for n, part in enumerate(found.parts.record.work.parts) if frame in (None, part.frame)]


def cache_usage() -> Usage:
    """What the frame cache holds."""
    with opened_store() as store:
        return FrameCache(store).usage()


def cache_prune(limit: int | None = None, dry_run: bool = False) -> Pruned:
    """Remove the least recently used frames until the rest fits into `limit` bytes (the cache's own limit)."""
    with opened_store() as store:
        return FrameCache(store).prune(limit, dry_run)


def refuse_strange(job: Job, frames: str | None) -> None:
    """Raise InputError for frames that the job does not have."""
    own = parse(job.record.frames)
    strange = list(itertools.islice(parse(frames).beyond(own), SHOWN_FRAMES)) if frames else []
    if strange:
        message = f"{job.id} has no frames {compact(strange)}."
        raise InputError(message, f"It has {job.record.frames}.")
