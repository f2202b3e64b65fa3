"""One job's loop: reuse what is there, hand the rest to a pool, collect and look at what comes back, until
every frame is decided. All that it learns is in the store before it learns more, so it may die at any time."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from renderfarm.errors import MissingAssetsError, PoolError
from renderfarm.farm import preparation
from renderfarm.farm.cache import FrameCache, Restored, is_as_recorded
from renderfarm.farm.collector import Collector, Delivered, OutputFullError, look_from
from renderfarm.farm.inspector import withheld
from renderfarm.farm.preparation import Ready, session_measure, with_copies
from renderfarm.job import chunks, events, observed
from renderfarm.job.events import Event
from renderfarm.job.job import Job
from renderfarm.job.ledger import DECIDED
from renderfarm.job.store import Store
from renderfarm.job.takes import Takes
from renderfarm.pictures.check import Look, Verdict, judge
from renderfarm.queues import Pool, RemotePool, open_pool, turns
from renderfarm.queues.order import PoolJob
from renderfarm.queues.turns import Turn
from renderfarm.renderers import renderer
from renderfarm.words.frames import ordered
from renderfarm.words.model import (
    Build,
    Failed,
    FrameState,
    Input,
    NodeChange,
    Notice,
    Observed,
    Phase,
    Reason,
    Rendered,
    Request,
    Status,
    Suspect,
    Task,
    Trouble,
    Update,
    Word,
)

if TYPE_CHECKING:
    from renderfarm.queues.local import LocalPool

Observer = Callable[[Status], None]
Kept = tuple[int, int, int, bytes | None]
"""frame, size, time and signature of a picture that is kept"""

POLL_SECONDS = 0.2
TELL_SECONDS = 0.25
SHOWN_PATHS = 3
OBEY_SECONDS = 1.0
"""how often orders of other terminals are looked for"""
HOPELESS_FRAMES = 3
"""frames that fail for good in the same way, with none good, before the others are not tried"""
REMOTE_START_SECONDS = 8.0
"""from a task's start on a remote node to its first frame: program, view of the assets, renderer, scene"""
ENCODED_PIXELS_PER_SECOND = 30e6
"""until this machine has made a video; then its own figure"""


def frame_measure(take: str) -> str:
    """Name of the measure of a take's seconds per frame, all workers together."""
    return f"seconds per frame of {take}"


def encoding_measure(request: Request) -> str:
    """Name of the measure of this machine's speed with the codec of a job's video."""
    kind = request.codec or Path(request.video or "video.mp4").suffix
    return f"encoded pixels per second of {kind}"


def encoding_seconds(store: Store, request: Request, size: tuple[int, int], frames: int) -> float:
    """What a job's video will take, as far as this machine's experience tells."""
    speed = store.measure(encoding_measure(request)) or ENCODED_PIXELS_PER_SECOND
    return size[0] * size[1] * frames / speed


class Canceled(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The job was canceled from elsewhere."""


class Paused(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The job was paused from elsewhere, and no frame is in hand."""


class Outdated(Exception):  # noqa: N818 - not an error: people go on working
    """Files of the scene changed while the job waited for its turn, which it has now."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.turn = turn


class Stay(Word):
    """How long to stay with a job whose pool goes on without this machine."""

    END = "end"
    CAUGHT_UP = "caught up"
    """until everything that is finished by now is collected"""
    SUBMITTED = "submitted"


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Portion:
    """How much of a job to do this time; frames that are left stay queued, for `resume`."""

    frames: int | None = None
    """at most so many more, in the job's order"""
    enough: Callable[[], bool] = _never
    """asked a few times per second; true ends it, and what nodes on this machine have in hand is lost"""
    products: bool = True
    """make the video and the rest of what is there, although frames are left"""
    again: bool = True
    """take frames up again that have failed for good"""


WHOLE = Portion()


class Entangled(Exception):  # noqa: N818 - not an error: the job begins again, in order
    """Frames look for a file that others write; its name."""


class Away(Exception):  # noqa: N818 - not an error: the pool goes on
    """The job was left to its pool, with frames undecided."""


class Loop:
    """Renders what is missing of one job; whoever makes one has claimed the job."""

    def __init__(
        self,
        store: Store,
        job: Job,
        ready: Ready,
        observer: Observer | None = None,
        stay: Stay = Stay.END,
        portion: Portion = WHOLE,
        turn: Turn | None = None,
    ) -> None:
        self._store = store
        self._job = job
        self._ledger = job.ledger
        self._ready = ready
        self._observer = observer
        self._stay = stay
        self._portion = portion
        self._cache = FrameCache(store)
        request, scene = job.request, ready.inspection.scene
        stem = Path(request.scene).stem
        output = Path(request.output)
        picture_format = request.settings.format
        self._origin = ready.origin(store)
        self._collector = Collector(output, stem, picture_format, scene.resolution, self._cache, self._origin)
        self._traits = renderer(scene.renderer).concurrency
        self._handed: set[int] = set()
        """frames that need no first task any more"""
        self._beyond: frozenset[int] = frozenset()
        """frames that this portion leaves queued"""
        self._enough = False
        self._seen: dict[str, Observed] = {}
        """what nodes told of the files that frames opened, by its name"""
        self._disjoint = 0
        """how many of them were compared with each other"""
        self._inputs: dict[str, Input] = {}
        self._good = 0
        """frames rendered well in this run"""
        self._seconds = 0.0
        """that they took, each on its node"""
        self._begun = time.time()
        self._turn = turn
        self._told = self._obeyed = 0.0

    def run(self) -> list[Suspect]:
        """Until every frame is decided; returns what the doctor doubts.

        Raises PoolError, OutputFullError or StoreError with work left, Canceled or Paused when somebody asked
        for that, Away when the job is left to its pool.
        """
        self._recall()
        self._take_known()
        self._tell(Phase.STARTING, force=True)
        try:
            if self._left and not self._ready.pool.remote and not self._turn:
                self._take_turn()
            return self._decide()
        finally:
            if self._turn:
                self._turn.leave()

    def _decide(self) -> list[Suspect]:
        while True:
            if self._left:
                self._render()
            if self.unfinished:
                return []
            suspects, doubted = self._judge()
            if not doubted:
                return suspects
            self._ask_again(doubted)

    @property
    def _left(self) -> int:
        """Frames of this portion without an outcome."""
        return self._ledger.undecided - len(self._beyond)

    @property
    def partial(self) -> bool:
        """Whether this portion left frames queued."""
        return self._ledger.undecided > 0 and (self._enough or bool(self._beyond))

    @property
    def unfinished(self) -> bool:
        """Whether this portion left frames queued and wants nothing made of the others yet."""
        return self.partial and not self._portion.products

    # What is there already

    def _recall(self) -> None:
        """Queue again what is not there any more, and what failed if it is to be taken up again."""
        for frame in list(self._ledger.of(FrameState.SUCCEEDED)):
            if not is_as_recorded(self._collector.path(frame.frame), frame.size or 0, frame.mtime or 0):
                self._job.tell(events.Missed(frame.frame))
        if self._portion.again and self._ledger.counts().failed:
            self._job.tell(events.Retried())

    def _take_known(self) -> None:
        if self._job.request.reuse:
            self._reuse()
        self._limit()

    def _limit(self) -> None:
        """Leave what is beyond this portion for another time."""
        if self._portion.frames is not None:
            order = ordered(self._ready.frames, self._order)
            left = (frame for frame in order if self._ledger.state(frame) not in DECIDED)
            self._beyond = frozenset(itertools.islice(left, self._portion.frames, None))

    def _reuse(self) -> None:
        """Take frames of the same takes from the cache."""
        takes = self._origin.expected
        known = self._cache.known(takes) if takes else {}
        if not takes or not known:
            return
        open_frames = (f for f in sorted(known) if f in self._ready.frames)
        wanted = [frame for frame in open_frames if self._ledger.state(frame) not in DECIDED]
        targets = {frame: self._collector.path(frame) for frame in wanted}
        restored = list(self._cache.restore(takes, known, targets))
        if takes.observed:
            used = {takes.of(each.frame) for each in restored} - self._ledger.sets.keys()
            self._job.tell(*(events.Saw(t, files) for t, files in self._store.sets(takes.base) if t in used))
        self._job.tell(*(self._reused(takes, each) for each in restored))
        if restored:
            with self._store.transaction():
                self._cache.touch(takes, self._job.request.scene, (each.frame for each in restored))

    @staticmethod
    def _reused(takes: Takes, frame: Restored) -> events.Reused:
        take = takes.of(frame.frame) if takes.observed else ""
        return events.Reused(frame.frame, frame.size, frame.mtime, take)

    # Rendering

    def _take_turn(self) -> None:
        """Wait until this machine is this job's; what others rendered meanwhile is known then."""
        request = self._job.request
        turn = Turn(self._store.home, self._job.id, request.priority or 0, together=request.together)
        self._turn = turn
        if turn.wait(0):
            return
        self._job.tell(events.Queued())
        self._ready = with_copies(preparation.cooled(self._ready))
        self._tell(Phase.WAITING, force=True)
        while not turn.wait(OBEY_SECONDS):
            self._obey(None)
            self._tell(Phase.WAITING)
        self._job.tell(events.Admitted())
        if preparation.has_changed(self._ready):
            self._turn = None
            raise Outdated(turn)
        self._begun = time.time()
        self._take_known()

    def _render(self) -> None:
        self._ready = with_copies(self._ready)
        pool = open_pool(self._ready.pool)
        try:
            self._handed = {f for f in self._ledger.frames if self._ledger.state(f) in DECIDED} | self._beyond
            again = [frame for frame in self._ledger.of(FrameState.QUEUED) if frame.attempts]
            again = [frame for frame in again if frame.frame not in self._beyond]
            pool.prepare(self._pool_job())
            self._handed.update(frame.frame for frame in again)
            if self._stay is not Stay.CAUGHT_UP:
                pool.submit(self._tasks())
                pool.submit(self._tries([(frame.frame, frame.attempts + 1) for frame in again]))
            self._follow(pool)
        finally:
            pool.close()
            self._measure_frames()
            shutil.rmtree(self._ready.scratch, ignore_errors=True)
        if self._left and not self._enough:
            raise Away

    def _follow(self, pool: Pool) -> None:
        """Until nothing of this portion is left, or the pool is to go on without us."""
        while self._left and self._stay is not Stay.SUBMITTED:
            updates = pool.updates(POLL_SECONDS)
            self._apply(pool, updates)
            self._obey(pool)
            self._tell(Phase.RENDERING)
            if self._ledger.paused and self._left and not self._ledger.counts().running:
                raise Paused
            if self._left and self._portion.enough():
                self._enough = True
                return
            if self._stay is Stay.CAUGHT_UP and not updates and cast("RemotePool", pool).caught_up():
                return

    def _pool_job(self) -> PoolJob:
        job, inspection = self._job, self._ready.inspection
        return PoolJob(
            id=job.id,
            work=replace(inspection.work, journal=str(job.journals)),
            scene=inspection.scene,
            home=self._store.home,
            turn=self._turn,
            frame_count=self._left,
            workers=preparation.workers(job.request, inspection.scene),
            warm=inspection.node if inspection.node and not inspection.node.taken else None,
            record=job.record,
            folder=job.folder,
            retries=job.request.retries,
            seconds=self._store.measure(session_measure(job.request)),
            progress=functools.partial(self._tell, Phase.STARTING),
            good=frozenset(self._handed - self._beyond),
            failed={f.frame: f.attempts for f in self._ledger.of(FrameState.QUEUED) if f.attempts},
        )

    def _tasks(self) -> Iterator[Task]:
        """The frames that are left, in tasks: made while nodes ask, or all at once for a remote pool."""
        frames, order, pool = self._ready.frames, self._order, self._ready.pool
        if not pool.remote or self._job.request.chunk or self._ready.inspection.scene.ordered:
            return chunks.split(frames, order, frozenset(self._handed), self._chunk)
        left = [frame for frame in ordered(frames, order) if frame not in self._handed]
        seconds = self._store.measure(session_measure(self._job.request))
        return chunks.plan_chunks(left, seconds, REMOTE_START_SECONDS, pool.sessions)

    def _tries(self, again: Sequence[tuple[int, int]]) -> list[Task]:
        """Tasks for frames to be tried again, with their attempts: together where each runs through others."""
        if not self._ready.inspection.scene.ordered:
            return [Task((frame,), attempt) for frame, attempt in again]
        attempts = sorted({attempt for _, attempt in again})
        return [Task(tuple(sorted(f for f, a in again if a == attempt)), attempt) for attempt in attempts]

    @property
    def _order(self) -> str:
        return "sequential" if self._ready.inspection.scene.ordered else self._job.request.order

    def _measure_frames(self) -> None:
        """Remember what a frame of this take costs, for those who ask before they submit."""
        if self._good and self._seconds:
            seconds = (time.time() - self._begun) / self._good
            self._store.set_measure(frame_measure(self._ready.takes.base), seconds)
            self._store.set_measure(session_measure(self._job.request), self._seconds / self._good)

    def _chunk(self) -> int:
        if self._job.request.chunk:
            return self._job.request.chunk
        if self._ready.inspection.scene.ordered:
            return max(1, self._left)
        pace = self._ledger.pace
        sessions = max(1, len(pace.nodes()))
        return chunks.chunk_size(self._traits, pace.seconds_per_frame(), self._left, sessions)

    # What nodes say

    def _apply(self, pool: Pool, updates: Iterable[Update | Event]) -> None:
        """Note what happened, and decide what follows from it."""
        kept: dict[Build | None, list[Kept]] = {}
        failed: list[Failed] = []
        trouble: Trouble | None = None
        try:
            for update in updates:
                if isinstance(update, Rendered | Failed) and update.observed:
                    self._seen.setdefault(update.observed.name, update.observed)
                if isinstance(update, Rendered):
                    self._hear(pool, update)
                    outcome = self._collect(pool, update)
                    if isinstance(outcome, Failed):
                        self._job.tell(outcome)
                        failed.append(outcome)
                    else:
                        row = (update.frame, outcome.size, outcome.mtime, outcome.mark)
                        kept.setdefault(update.build, []).append(row)
                elif isinstance(update, Failed):
                    failed.append(self._heard_failure(pool, update))
                elif isinstance(update, Trouble):
                    trouble = update
                else:
                    self._hear(pool, update)
        finally:
            self._keep(kept)
        again = [f for f in failed if self._ledger.state(f.frame) is FrameState.QUEUED]
        if again:
            pool.submit(self._tries([(f.frame, f.attempt + 1) for f in again]))
        if not self._good_frames and not self._ready.pool.remote:
            self._refuse_missing(failed)
        if trouble or self._is_hopeless():
            self._give_up(pool, trouble)

    def _hear(self, pool: Pool, update: Update | Event) -> None:
        """Take in what a node said, or its pool. What stands in the node's own journal is not for ours."""
        if isinstance(update, NodeChange) and self._ledger.nodes.get(update.node) == update.state:
            return
        if isinstance(update, Notice):
            self._job.tell(events.Noted(update.message))
        elif not pool.writes_journals or isinstance(update, NodeChange) or _is_lost(update):
            self._job.tell(update)
        else:
            self._job.hear(update)

    def _heard_failure(self, pool: Pool, failure: Failed) -> Failed:
        if failure.reason is Reason.DISK_FULL:
            message = f"Frame {failure.frame}: {failure.message}"
            raise OutputFullError(message, "Make room, then resume: every finished frame is kept.")
        self._hear(pool, failure)
        self._handed.add(failure.frame)
        return failure

    def _collect(self, pool: Pool, receipt: Rendered) -> Delivered | Failed:
        take = self._seen_take(receipt) if self._ready.takes.observed else ""
        outcome = self._collector.collect(receipt, pool.fetch(receipt))
        self._handed.add(receipt.frame)
        if isinstance(outcome, Delivered):
            size, mtime = outcome.size, outcome.mtime
            self._job.tell(events.Delivered(receipt.frame, receipt.attempt, size, mtime, take))
            self._good += 1
            self._seconds += receipt.seconds
        return outcome

    def _seen_take(self, receipt: Rendered) -> str:
        """The take of a frame by what it was seen to open; empty where that is not certain."""
        takes, work = self._ready.takes, self._ready.inspection.work
        takes.own.pop(str(receipt.frame), None)
        if receipt.observed is None:
            return ""
        seen = self._seen.get(receipt.observed.name, receipt.observed)
        self._refuse_entangled()
        self._inputs = self._inputs or {each.path: each for each in work.inputs}
        folder = os.path.dirname(work.scene)  # noqa: PTH120
        files = observed.files(seen, folder, self._inputs, work.since, self._store)
        if files is None:
            return ""
        take = takes.own[str(receipt.frame)] = observed.take(takes.base, files)
        if take not in self._ledger.sets:
            self._job.tell(events.Saw(take, files))
            self._store.add_set(takes.base, take, files)
        return take

    def _refuse_entangled(self) -> None:
        """Stop when frames that were rendered side by side turn out to depend on each other."""
        if self._ready.inspection.scene.ordered or self._job.total == 1 or self._disjoint == len(self._seen):
            return
        looked = {name for seen in self._seen.values() for name in (*seen.opened, *seen.absent)}
        both = sorted(looked & {name for seen in self._seen.values() for name in seen.written})
        if both:
            raise Entangled(both[0])
        self._disjoint = len(self._seen)

    def _keep(self, kept: Mapping[Build | None, list[Kept]]) -> None:
        """Remember good frames under what rendered them."""
        if not kept:
            return
        with self._store.transaction():
            for build, rows in kept.items():
                if takes := self._origin.of(build):
                    self._cache.keep(takes, self._job.request.scene, rows)
                if self._origin.learn(build) and build and self._ready.parts:
                    made_by = replace(self._ready.parts, identity=build.identity, label=build.label)
                    self._job.restate(replace(self._job.record, parts=made_by))

    @property
    def _good_frames(self) -> int:
        """Frames that were rendered well for this job, now or before."""
        counts = self._ledger.counts()
        return counts.succeeded - counts.reused

    def _refuse_missing(self, failures: Sequence[Failed]) -> None:
        """Stop at the first frame that lacks a file, in the renderer's own words."""
        first = next((failure for failure in failures if failure.reason is Reason.MISSING_FILE), None)
        if first is None:
            return
        kept_back = [asset for asset in self._ready.inspection.scene.missing if asset.withheld]
        why = "".join(f"\n  {withheld(asset.path, asset.withheld)}" for asset in kept_back[:SHOWN_PATHS])
        hint = "Copy what the scene needs into its folder" if kept_back else "Put the file back"
        message = f"Frame {first.frame}: {first.message}{why}"
        paths = tuple(asset.path for asset in kept_back)
        raise MissingAssetsError(message, paths, f"{hint}, then submit again.")

    def _is_hopeless(self) -> bool:
        """Nothing is good, and several frames failed for good in the same way.

        Those whose files changed say nothing of the others.
        """
        if self._ledger.counts().failed < HOPELESS_FRAMES or self._good_frames:
            return False
        reasons = {frame.reason for frame in self._ledger.of(FrameState.FAILED)}
        return len(reasons) == 1 and Reason.INPUT_CHANGED not in reasons

    def _give_up(self, pool: Pool, trouble: Trouble | None) -> None:
        """Don't try the frames that are left: they would fail like those before."""
        pool.cancel()
        first = next(self._ledger.of(FrameState.FAILED), None)
        if trouble and first is None:
            raise PoolError(trouble.message, "Run `renderfarm doctor`.")
        why = trouble.message if trouble else f"the frames before it failed: {first.message}" if first else ""
        self._job.tell(events.GivenUp(why))

    def _obey(self, pool: Pool | None) -> None:
        """Do what another terminal asked for."""
        if time.monotonic() - self._obeyed < OBEY_SECONDS:
            return
        self._obeyed = time.monotonic()
        for what, text in self._job.take_orders():
            if what == "cancel":
                if pool:
                    pool.cancel()
                raise Canceled
            if what == "pause":
                self._pause(pool)
            elif (again := self._retried(text)) and pool:
                pool.submit(again)

    def _pause(self, pool: Pool | None) -> None:
        """Begin no other frame; those in hand are worth finishing."""
        self._job.tell(events.Paused())
        if pool is None:
            raise Paused
        cast("LocalPool", pool).drain()

    def _retried(self, text: str) -> list[Task]:
        """Tasks for failed frames, or for some decided frames, that somebody wants again."""
        before = {f.frame: f.state for f in self._ledger.of(FrameState.FAILED, FrameState.SUCCEEDED)}
        self._job.tell(events.Retried(text))
        again = [frame for frame in before if self._ledger.state(frame) is FrameState.QUEUED]
        for frame in again:
            if before[frame] is FrameState.SUCCEEDED:
                self._forget(frame)
        return self._tries([(frame, self._ledger.frames[frame].attempts + 1) for frame in again])

    def _forget(self, frame: int) -> None:
        """Take a delivered frame back."""
        for takes in self._origin.all():
            self._cache.forget(takes, [frame])
        self._collector.discard(frame)

    # The doctor's second look, now that every frame has its neighbours

    def _judge(self) -> tuple[list[Suspect], list[Verdict]]:
        """Suspicions to report, and frames that deserve a second attempt."""
        evidence = {each.frame for each in self._ledger.of(FrameState.SUCCEEDED) if each.lacking}
        suspects, doubted = [], []
        allowed = self._job.request.allow_missing
        for verdict in judge(self._looks(), evidence=evidence, expects_magenta=allowed):
            twice = verdict.certain and self._ledger.frames[verdict.frame].doubted
            if verdict.certain and not twice and not self.partial:
                doubted.append(verdict)
            else:
                detail = f"{verdict.detail} (rendered twice, the same)" if verdict.certain else verdict.detail
                suspects.append(Suspect(verdict.frame, verdict.finding, detail))
        if suspects or self._ledger.suspects():
            self._job.tell(events.suspected(suspects))
        return suspects, doubted

    def _looks(self) -> Iterator[Look]:
        """How the delivered frames look, ascending: as it was remembered when they were collected."""
        size = self._ready.inspection.scene.resolution
        marks: dict[int, tuple[int, int, bytes | None]] = {}
        for takes in self._origin.all():
            marks.update(self._cache.known(takes))
        for frame in self._ledger.of(FrameState.SUCCEEDED):
            *_, mark = marks.get(frame.frame, (0, 0, None))
            yield look_from(frame.frame, size, mark) if mark else self._collector.look(frame.frame)

    def _ask_again(self, doubted: list[Verdict]) -> None:
        """Count a picture that can't be right as a failed attempt; the next rendering decides."""
        for verdict in doubted:
            self._job.tell(events.Doubted(verdict.frame, verdict.finding.value, verdict.detail))
            self._forget(verdict.frame)

    # What people see

    def _tell(self, phase: Phase, doing: str = "", *, force: bool = False) -> None:
        now = time.monotonic()
        if self._observer and (force or now - self._told >= TELL_SECONDS):
            self._told = now
            self._observer(replace(self.status(phase), doing=doing))

    def status(self, phase: Phase) -> Status:
        """The job as it stands."""
        status = lined_up(self._job.status(alive=True), self._store.home)
        eta = None if status.eta_seconds is None else status.eta_seconds + seconds_after(self._job, self._store)
        phase = Phase.PAUSING if phase is Phase.RENDERING and self._ledger.paused else phase
        return replace(status, phase=phase, eta_seconds=eta, suspects=())

    def announce_assembly(self) -> None:
        """Every frame is decided: the nodes are gone, and the video comes next."""
        self._ledger.rest()
        self._tell(Phase.ASSEMBLING, force=True)


def lined_up(status: Status, home: Path) -> Status:
    """A waiting job's status with its place in this machine's line."""
    found = turns.place(home, status.job) if status.phase is Phase.WAITING else None
    return replace(status, place=found[0], behind=found[1]) if found else status


def seconds_after(job: Job, store: Store) -> float:
    """What the video will take once the frames are there, as far as this machine's experience tells."""
    if job.request.no_video or job.total < 2:
        return 0.0
    width, height = job.record.scene.resolution
    speed = store.measure(encoding_measure(job.request)) or ENCODED_PIXELS_PER_SECOND
    return width * height * job.total / speed


def _is_lost(update: Update | Event) -> bool:
    """Whether it tells of a frame that its node took along."""
    return isinstance(update, Failed) and update.reason is Reason.NODE_LOST
