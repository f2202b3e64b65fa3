"""Working on a job: its frames decided by the loop, then all that follows from them, however often that takes.

Whoever does it has claimed the job, so two never do.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from renderfarm.errors import Interrupted, RenderfarmError, SceneError
from renderfarm.farm import changes, preparation, products, remote, splitting, terms
from renderfarm.farm.cache import FrameCache
from renderfarm.farm.loop import Loop
from renderfarm.farm.preparation import Ready
from renderfarm.farm.terms import WHOLE, Observer, Terms, Until
from renderfarm.job import events
from renderfarm.job.home import farm_home
from renderfarm.job.job import Job
from renderfarm.job.record import Record
from renderfarm.job.shelf import Shelf
from renderfarm.job.snapshots import SNAPSHOT_EVENTS, read_on
from renderfarm.job.store import Store
from renderfarm.queues.turns import Turn
from renderfarm.words.frames import parse
from renderfarm.words.request import Request
from renderfarm.words.scene import Needs
from renderfarm.words.states import FrameState
from renderfarm.words.status import Status


def create(request: Request, ready: Ready, store: Store) -> Job:
    """The job of a scene that was looked at."""
    split, whole = splitting.decided(request, ready, store)
    record = Record(
        job="",
        created=time.time(),
        request=request,
        frames=ready.frames.text,
        total=len(ready.frames),
        fps=request.fps or ready.scene.fps,
        scene=ready.scene,
        renderer=ready.work.build,
        work=replace(ready.work, copies={}, inputs=()),
        sandbox="" if ready.pool.remote else preparation.shut_in(ready),
        fingerprint=ready.fingerprints.whole,
        fingerprints=ready.fingerprints,
        ingredients=ready.ingredients,
        split=split,
        notes=(*preparation.notes(request, ready, store), *filter(None, [whole])),
        pool=ready.pool.table,
    )
    return Shelf(farm_home()).add(record)


def claimed(job: Job) -> contextlib.AbstractContextManager[Job]:
    """The claim of whoever works on a job; raises JobBusyError."""
    message = f"Somebody else is working on {job.id}."
    return job.claimed(message, f"Watch it with `renderfarm status {job.id} --watch`.")


@dataclass
class JobInHand:
    """A job in hand."""

    store: Store
    job: Job
    observer: Observer | None = None
    terms: Terms = WHOLE

    def go_on(self, frames: str | None) -> Status:
        """Take the job up again, wherever its tasks are; `frames` are wanted anew."""
        with claimed(self.job), preparation.output_claimed(self.job.request) as scratch:
            self.job.take_orders()  # those that were meant for somebody who died
            recalled = remote.recall(self.job)
            if recalled and not self.job.record.split:  # which is merged here, from the scene
                ready = preparation.recalled(*recalled, scratch)
                self._requeue(ready, frames)
                return self.run(ready)
            if self.terms.until is Until.CAUGHT_UP and not recalled:
                self.terms = replace(self.terms, until=Until.DECIDED)
            return self._look_again(frames, scratch)

    def _look_again(self, frames: str | None, scratch: Path, turn: Turn | None = None) -> Status:
        """With the scene as it is now, or as its copies are."""
        known = self.job.record.ingredients
        wanted = {known.sha256, *known.assets.values()} if known else ()
        declared = self.job.record.scene.needs is Needs.DECLARED
        with preparation.prepared(
            self.job.request, self.store, scratch, wanted=wanted, declared=declared
        ) as ready:
            changes.recall(self.job, ready)
            ready = changes.in_order(ready) if self.job.record.scene.ordered else ready
            if ready.fingerprints.whole != self.job.record.fingerprint or changes.stale(self.store, self.job):
                changes.take_changes(self.store, self.job, ready, waited=turn is not None)
            self._requeue(ready, frames)
            return self.run(ready, turn)

    def _requeue(self, ready: Ready, frames: str | None) -> None:
        """Queue again what a retry asks for; a resume's loop does it by itself."""
        if frames is None:
            return
        wanted = parse(frames)
        delivered = [f.frame for f in self.job.ledger.of(FrameState.SUCCEEDED) if f.frame in wanted]
        cache = FrameCache(self.store)
        with self.store.transaction():
            for fingerprints in ready.origin(self.store).all():
                cache.forget(fingerprints, delivered)
        self.job.tell(events.Retried(frames))

    def run(self, ready: Ready, turn: Turn | None = None) -> Status:
        """Decide every frame and make what follows, with files as they are when the job's turn comes."""
        try:
            return self._run(ready, turn)
        except terms.Outdated as found:
            try:
                return self._look_again(None, ready.scratch.parent, found.turn)
            finally:
                found.turn.leave()

    def _run(self, ready: Ready, turn: Turn | None) -> Status:
        job = self.job
        job.tell(events.Begun())
        try:
            with contextlib.suppress(terms.Paused), _explained(job, ready):
                products.copy_record(job)
                try:
                    self._finish(ready, turn)
                except terms.Entangled as found:
                    ready = self._begin_again(ready, Path(str(found)).name)
                    self._finish(ready)
                while self._late_retries(ready):
                    self._finish(ready)
        except terms.Canceled:
            if ready.pool.remote:
                remote.settle(job, ready.pool)
            job.tell(events.Canceled())
        except terms.LeftToPool:
            self._look_ahead()
            return remote.up_to_date(job, job.status(alive=False))
        finally:
            with contextlib.suppress(OSError):  # on a full disk the time is lost, nothing else
                job.tell(events.Left(time.time() - job.ledger.run.begun if job.ledger.run.begun else 0.0))
        spare = frozenset(
            fingerprint for fingerprints in ready.origin(self.store).all() for fingerprint in fingerprints
        )
        FrameCache(self.store).prune(spare=spare)
        if job.ledger.counts().succeeded == job.total:
            preparation.forget_copies(Path(job.request.output))
        status = remote.up_to_date(job, job.status(alive=False))
        local = not (ready.pool.remote or job.parts)
        if not local:
            job.forget()  # or what is read now would be in memory twice
        self._look_ahead(live=local)
        return status

    def _look_ahead(self, *, live: bool = False) -> None:
        """Keep what a long job adds up to: the first look at it is no longer than any other then."""
        if self.job.total <= SNAPSHOT_EVENTS:
            return
        if live:
            self.store.keep_snapshot(self.job.folder, self.job.snapshot(live=True))
        else:
            read_on(self.store, Job.at(self.job.folder))

    def _finish(self, ready: Ready, turn: Turn | None = None) -> None:
        """Decide every frame, then make what follows from them; of a part of them only if that is wanted."""
        loop = Loop(self.store, self.job, ready, self.observer, self.terms, turn)
        with loop.growing:
            loop.run()
            if ready.fingerprints.observed and (known := ready.ingredients):
                self.job.restate(replace(self.job.record, ingredients=changes.with_seen(self.job, known)))
            if ready.pool.remote and not loop.partial:
                remote.settle(self.job.parts or self.job, ready.pool)
            if not loop.unfinished:
                loop.announce_assembly()
                products.make(self.store, self.job, ready, loop.growing.finish())

    def _begin_again(self, ready: Ready, name: str) -> Ready:
        """Throw away what was rendered side by side: frames look for a file that others write."""
        job, ready = self.job, changes.in_order(ready)
        self._requeue(ready, job.record.frames)
        job.ledger.rest()
        job.restate(replace(job.record, scene=ready.scene))
        job.tell(events.Noted(f"frames read {name}, which the scene writes: one worker renders them in order"))
        return ready

    def _late_retries(self, ready: Ready) -> bool:
        """Queue what was asked for while the video was made; whether there was anything."""
        wanted = [frames or None for what, frames in self.job.take_orders() if what == "retry"]
        if wanted:
            self.job.tell(events.Begun())  # the clock stopped before the report
        for frames in wanted:
            self._requeue(ready, frames)
        return bool(wanted)


@contextlib.contextmanager
def _explained(job: Job, ready: Ready) -> Iterator[None]:
    """Whatever stops the work says how to go on."""
    resume = f"renderfarm resume {job.id}"
    try:
        yield
    except KeyboardInterrupt as error:
        message = "Interrupted; what is finished is kept."
        if ready.pool.remote:
            message += (
                f" What reached pool {ready.pool.name} goes on there (renderfarm cancel {job.id} stops it)."
            )
        raise Interrupted(message, f"Go on with: {resume}") from error
    except SceneError:
        raise  # with the file it is another scene, which is submitted again
    except RenderfarmError as error:
        error.hint = f"{error.hint}\nThen go on with: {resume}".strip()
        raise
    except OSError as error:
        raise RenderfarmError(f"The job stopped: {error}.", f"Mend that, then go on with: {resume}") from error
