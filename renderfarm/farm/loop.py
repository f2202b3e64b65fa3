"""One job's loop: reuse what is there, hand the rest to a pool, collect and look at what comes back.

It goes on until every frame is decided. All that it learns is in the journals before it learns more, so it may
die at any time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from renderfarm.farm import changes, experience, preparation, splitting, verdicts
from renderfarm.farm.announcer import Announcer
from renderfarm.farm.growing import Growing
from renderfarm.farm.job_frames import JobFrames, OutputFullError
from renderfarm.farm.orders import OBEY_SECONDS, OrdersLeft
from renderfarm.farm.preparation import Ready, session_measure, unpaid_measure, with_copies
from renderfarm.farm.stills import Stills
from renderfarm.farm.tasks import Tasks
from renderfarm.farm.terms import WHOLE, LeftToPool, Observer, Outdated, Paused, Terms, Until
from renderfarm.job import events
from renderfarm.job.events import Event
from renderfarm.job.job import Job
from renderfarm.job.ledger import DECIDED
from renderfarm.job.store import Store
from renderfarm.pictures import reading
from renderfarm.queues import Pool, open_pool
from renderfarm.queues.pool_job import PoolJob
from renderfarm.queues.turns import Turn
from renderfarm.words import files
from renderfarm.words.states import FrameState, Phase, Reason
from renderfarm.words.status import Status, Suspect
from renderfarm.words.updates import Failed, NodeChange, Notice, Rendered, Trouble, Update

POLL_SECONDS = 0.2


class Loop:
    """Renders what is missing of one job; whoever makes one has claimed the job."""

    def __init__(
        self,
        store: Store,
        job: Job,
        ready: Ready,
        observer: Observer | None = None,
        terms: Terms = WHOLE,
        turn: Turn | None = None,
    ) -> None:
        self._store = store
        self._job = job
        self._ready = ready
        self._terms = terms
        self._frames = JobFrames(store, job, ready)
        self._tasks = Tasks(store, job, ready)
        self._control = OrdersLeft(job, self._frames, self._tasks)
        self._announcer = Announcer(store, job, observer)
        self._turn = turn

    def run(self) -> list[Suspect]:
        """Until every frame is decided; returns what somebody should look at.

        Raises PoolError, OutputFullError or StoreError with work left, Canceled or Paused when somebody asked
        for that, LeftToPool when the job is left to its pool.
        """
        self._frames.miss()
        if self._terms.again and self._job.ledger.counts().failed:
            self._job.tell(events.Retried())
        self._take_known()
        self._announcer.tell(Phase.STARTING, force=True)
        try:
            if self._tasks.left and not self._ready.pool.remote and not self._turn:
                self._take_turn()
            return self._decide()
        finally:
            if self._turn:
                self._turn.leave()

    def _decide(self) -> list[Suspect]:
        while True:
            if self._tasks.left:
                self._render()
            if self.unfinished:
                return []
            suspects, doubted = verdicts.second_look(self._job, self._frames, partial=self.partial)
            if not doubted:
                return suspects
            verdicts.ask_again(self._job, self._frames, doubted)

    @property
    def growing(self) -> Growing:
        """What is made of the frames that are there."""
        return self._frames.growing

    @property
    def partial(self) -> bool:
        """Whether frames are left for another time."""
        return self._job.ledger.undecided > 0 and bool(self._tasks.beyond)

    @property
    def unfinished(self) -> bool:
        """Whether frames are left for another time and nothing is wanted yet of the others."""
        return self.partial and not self._terms.products

    def _take_known(self) -> None:
        if self._job.request.reuse:
            self._frames.reuse()
        if self._terms.frames is not None:
            self._tasks.limit(self._terms.frames)

    def _take_turn(self) -> None:
        """Wait until this machine is this job's; what others rendered meanwhile is known then."""
        request = self._job.request
        turn = Turn(self._store.home, self._job.id, request.priority or 0, together=request.together)
        self._turn = turn
        if turn.wait(0):
            return
        self._job.tell(events.Queued())
        self._ready = with_copies(preparation.cooled(self._ready))
        self._announcer.tell(Phase.WAITING, force=True)
        while not turn.wait(OBEY_SECONDS):
            self._control.obey(None, turn)
            self._announcer.tell(Phase.WAITING)
        self._job.tell(events.Admitted())
        if preparation.has_changed(self._ready):
            self._turn = None
            raise Outdated(turn)
        self._take_known()

    # Rendering

    def run_parts(self, wanted: frozenset[int]) -> bool:
        """Render these parts of frames in the turn of the frames' job; whether that was all that was wanted."""
        self._frames.miss()
        changes.begin_again(self._store, self._job, self._ready)
        self._job.tell(events.Begun(), events.Retried())
        if self._job.request.reuse:
            self._frames.reuse()
        self._tasks.leave(wanted)
        try:
            if self._tasks.left:
                self._render()
        finally:
            self._job.tell(events.Left(0.0))
        return all(self._job.ledger.state(part) in DECIDED for part in wanted)

    def _split(self) -> tuple[Stills | None, Ready]:
        """Render the parts of frames that are left, and merge them; none is left where some are not there."""
        record = self._job.record
        if not record.split:
            return None, self._ready
        wanted = list(self._tasks.open())
        stills = Stills(self._store, self._job, self._ready)
        for frame in dict.fromkeys((wanted[0], wanted[len(wanted) // 2], wanted[-1])):
            proof = stills.proof(frame)
            if not self._below(*proof, frozenset(range(len(proof[1].frames)))):
                self._tasks.stop()
                return stills, self._ready
            if why := stills.unlike(*proof):
                self._ready, split, note = splitting.otherwise(
                    record.request, self._ready, self._store, record.split, why
                )
                self._job.restate(replace(record, split=split))
                self._job.tell(events.Noted(note))
                return self._split()
        stills.cut()
        stills.begin(wanted)
        if not self._below(stills.job, stills.ready, stills.of(wanted)):
            self._tasks.stop()
            return stills, self._ready
        return stills, stills.merged(wanted)

    def _below(self, job: Job, ready: Ready, wanted: frozenset[int]) -> bool:
        def announce(_: Status) -> None:
            self._announcer.tell(Phase.RENDERING)

        until = self._terms.until if ready.pool.remote else Until.DECIDED
        terms = Terms(until, enough=self._terms.enough)
        with job.claimed("Somebody else renders its parts.", "Try again."):
            try:
                loop = Loop(self._store, job, ready, announce, terms, self._turn)
                return loop.run_parts(wanted)
            except Paused:
                self._job.tell(events.Paused())
                raise

    def _render(self) -> None:
        self._ready = with_copies(self._ready)
        parts = self._ready.work.parts
        stills, ready = (None, self._ready) if parts else self._split()
        if not self._tasks.left:
            return
        ready.scratch.mkdir(parents=True, exist_ok=True)
        pool = open_pool(ready.pool)
        try:
            self._tasks.begin()
            pool.prepare(self._pool_job(ready))
            again = self._tasks.more()
            until = self._terms.until if ready.pool.remote else Until.DECIDED
            if until is not Until.CAUGHT_UP:
                pool.submit(self._tasks.first())
                pool.submit(self._tasks.again(again))
            if not parts:
                self.growing.begin()
            reading.prepare()
            self._follow(pool, until)
        finally:
            pool.close()
            if stills:
                stills.forget()
            base, merged = self._ready.fingerprints.base, stills is not None
            experience.learn(self._job, base, self._store, merged=merged)
            files.remove(ready.scratch)
        if self._tasks.left:
            raise LeftToPool

    def _follow(self, pool: Pool, until: Until) -> None:
        """Until nothing of this time's frames is left, or the pool is to go on without us."""
        ledger = self._job.ledger
        while self._tasks.left and until is not Until.SUBMITTED:
            updates = pool.updates(POLL_SECONDS)
            self._apply(pool, updates)
            self._control.obey(pool)
            self._announcer.tell(Phase.RENDERING)
            if ledger.run.paused and self._tasks.left and not ledger.counts().running:
                raise Paused
            if self._tasks.left and self._terms.enough():
                self._tasks.stop()
                return
            if until is Until.CAUGHT_UP and not updates and pool.caught_up():
                return

    def _pool_job(self, ready: Ready) -> PoolJob:
        job, node = self._job, ready.node
        return PoolJob(
            id=job.id,
            work=replace(ready.work, journal=str(job.journals)),
            scene=ready.scene,
            home=self._store.home,
            turn=self._turn,
            frame_count=self._tasks.left,
            workers=preparation.workers(job.request, ready.scene),
            warm=node if node and not node.taken else None,
            record=job.record,
            folder=job.folder,
            retries=job.request.retries,
            seconds=self._store.measure(session_measure(job.request)),
            unpaid=self._store.measure(unpaid := unpaid_measure(job.request)),
            learn_unpaid=functools.partial(self._store.set_measure, unpaid),
            progress=functools.partial(self._announcer.tell, Phase.STARTING),
            good=self._tasks.settled,
            failed={f.frame: f.attempts for f in job.ledger.of(FrameState.QUEUED) if f.attempts},
        )

    # What nodes say

    def _apply(self, pool: Pool, updates: Iterable[Update | Event]) -> None:
        """Note what happened, and decide what follows from it."""
        failed: list[Failed] = []
        trouble: Trouble | None = None
        try:
            for update in updates:
                self._frames.observation.note(update)
                if isinstance(update, Trouble):
                    trouble = update
                    continue
                self._hear(update)
                if isinstance(update, Rendered | Failed):
                    failure = update if isinstance(update, Failed) else self._collected(update)
                    failed += [failure] if failure else []
        finally:
            self._frames.remember()
        self._conclude(pool, failed, trouble)

    def _conclude(self, pool: Pool, failed: list[Failed], trouble: Trouble | None) -> None:
        """Try again what the ledger has queued again, or stop where nothing can come of it."""
        ledger = self._job.ledger
        if again := [f for f in failed if ledger.state(f.frame) is FrameState.QUEUED]:
            pool.submit(self._tasks.again((f.frame, f.attempt + 1) for f in again))
        if not verdicts.rendered_well(ledger) and not self._ready.pool.remote:
            verdicts.refuse_missing(self._ready.scene, map(self._told, failed))
        if trouble or verdicts.is_hopeless(ledger):
            pool.cancel()
            verdicts.give_up(self._job, trouble)

    def _hear(self, update: Update | Event) -> None:
        """Take in what a node said, or its pool. What stands in the node's own journal is not for ours."""
        if isinstance(update, NodeChange) and self._job.ledger.nodes.states.get(update.node) == update.state:
            return
        if isinstance(update, Failed) and update.reason is Reason.DISK_FULL:
            message = f"Frame {self._told(update).frame}: {update.message}"
            raise OutputFullError(message, "Make room, then resume: every finished frame is kept.")
        lost = isinstance(update, Failed) and update.reason is Reason.NODE_LOST  # its node took the word along
        if isinstance(update, Notice):
            self._job.tell(events.Noted(update.message))
        elif isinstance(update, NodeChange) or lost:
            self._job.tell(update)
        else:
            self._job.hear(update)

    def _told(self, failure: Failed) -> Failed:
        """A failure as people know its frame, which may be that of a part."""
        return replace(failure, frame=self._job.record.frame_of(failure.frame))

    def _collected(self, receipt: Rendered) -> Failed | None:
        failure = self._frames.collect(receipt, Path(receipt.path))
        if failure:
            self._job.tell(failure)
        return failure

    def announce_assembly(self) -> None:
        """Every frame is decided: the nodes are gone, and the video comes next."""
        self._job.ledger.rest()
        self._announcer.tell(Phase.ASSEMBLING, force=True)
