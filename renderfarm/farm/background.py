"""Jobs that a process of their own works on, which nobody waits for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from renderfarm.errors import InputError, JobBusyError, RenderfarmError
from renderfarm.farm import preparation, verbs
from renderfarm.farm.submitting import opened_store, submit
from renderfarm.farm.terms import Observer, Terms, Until
from renderfarm.job import events
from renderfarm.job.home import farm_home
from renderfarm.job.job import Job
from renderfarm.job.record import LOGS
from renderfarm.job.shelf import Shelf
from renderfarm.queues import turns
from renderfarm.renderers.scratch import appending
from renderfarm.settings import config
from renderfarm.words.request import Request
from renderfarm.words.status import Status

_ORPHAN = "import os, subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True); os._exit(0)"


def detach(
    request: Request, observer: Observer | None = None, variables: Mapping[str, str] | None = None
) -> Status:
    """Check the scene, create the job and start it in the background; returns at once.

    A job of a remote pool is handed over first: the observer sees its files go up. `variables` are for the
    environment of the process in the background; raises InputError where there is none.
    """
    pool = config.load().pool(request.pool)
    if pool.remote and any((variables or {}).values()):
        message = f"Pool {pool.name!r} goes on without this machine, so nobody here can tell when it is done."
        raise InputError(message, "Follow it instead: renderfarm status JOB --watch --notify …")
    if pool.remote:
        return submit(request, observer, Terms(Until.SUBMITTED))
    with opened_store() as store:
        with (
            preparation.output_claimed(request) as scratch,
            preparation.prepared(request, store, scratch) as ready,
        ):
            from renderfarm.farm.job_in_hand import create

            preparation.with_copies(ready)
            job = create(request, ready, store)
        _start(job, variables=variables)
        verbs.wait_until(lambda: _is_at_work(job, store.home))
        return verbs.look(store, job)


def go_on(job: str, frames: str | None = None, *, again: bool = False) -> None:
    """Start `resume`, or `retry` of frames, in the background; returns at once."""
    found = Shelf(farm_home()).find(job)
    verbs.refuse_strange(found, frames)
    if again and found.alive and verbs.handed_over(found, frames):
        return
    if found.alive:
        raise JobBusyError(f"Somebody else is working on {job}.", "Wait until it rests.")
    _start(found, *(("--again", frames or "") if again else ()))
    verbs.wait_until(lambda: found.alive)


def run_detached(job: str, again: str | None = None) -> Status:
    """Work on a job that `detach` created, or try frames of it again: the background process."""
    from renderfarm.farm.job_in_hand import claimed

    try:
        return verbs.resume(job) if again is None else verbs.retry(job, again or None)
    except RenderfarmError as error:
        with contextlib.suppress(RenderfarmError), claimed(found := Shelf(farm_home()).find(job)):
            found.tell(events.Troubled(error.message))
        raise


def _start(job: Job, *more: str, variables: Mapping[str, str] | None = None) -> None:
    """Start a process that works on the job and belongs to nobody: an orphan, so that it is never a zombie."""
    log = Path(job.request.output) / LOGS / "farm.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    package = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    alone = (sys.executable, "-P")  # nothing of the folder that the user works in is taken for a module
    with appending(log) as output:
        subprocess.run(
            [*alone, "-c", _ORPHAN, *alone, "-m", "renderfarm", "_run", job.id, *more],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(variables or {}), "PYTHONPATH": search},
            check=True,
        )


def _is_at_work(job: Job, home: Path) -> bool:
    """Whether the background process has begun, and stands in line where others do."""
    tickets = turns.line(home)
    if not tickets or not job.alive:
        return job.alive
    ledger = job.refresh().ledger
    renders = any(ticket.job == job.id and ticket.renders for ticket in tickets)
    return renders or ledger.run.in_line or not ledger.undecided
