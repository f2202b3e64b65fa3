"""One job's loop: reuse what is there, hand the rest to a pool, collect and look at what comes back, until
every frame is decided. All that it learns is in the store before it learns more, so it may die at any time."""

from __future__ import annotations

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from renderfarm import splitter, standing
from renderfarm.cache import FrameCache, is_as_recorded
from renderfarm.collector import Collector, OutputFullError, look_from, mark
from renderfarm.doctor import Look, Verdict, judge
from renderfarm.errors import MissingAssetsError, PoolError
from renderfarm.frames import FrameRange, ordered, parse
from renderfarm.inspector import withheld
from renderfarm.model import (
    RETRYABLE,
    Build,
    Failed,
    FrameFailure,
    FrameState,
    JobState,
    NodeChange,
    NodeStatus,
    Notice,
    Reason,
    Rendered,
    Request,
    Started,
    Status,
    Suspect,
    Task,
    Trouble,
    Update,
    Word,
)
from renderfarm.pace import Pace
from renderfarm.pools import JobRecord, Pool, PoolJob, RemotePool, open_pool
from renderfarm.preparation import Ready, with_copies
from renderfarm.renderers import renderer
from renderfarm.store import Change, Job, Store

Observer = Callable[[Status], None]
Kept = tuple[int, int, int, bytes | None]
"""frame, size, time and signature of a picture that is kept"""

POLL_SECONDS = 0.2
TELL_SECONDS = 0.25
WRITE_SECONDS = 1.0
"""how often other terminals see what nodes do"""
LOST_LIMIT = 10
"""times that a frame may lose its node before that counts against the frame"""
SHOWN_PATHS = 3
HOPELESS_FRAMES = 3
"""frames that fail for good in the same way, with none good, before the others are not tried"""
REMOTE_START_SECONDS = 8.0
"""from a task's start on a remote node to its first frame: program, view of the assets, renderer, scene"""
ENCODED_PIXELS_PER_SECOND = 30e6
"""until this machine has made a video; then its own figure"""


def frame_measure(take: str) -> str:
    """Name of the measure of a take's seconds per frame, all workers together."""
    return f"seconds per frame of {take}"


def session_measure(request: Request) -> str:
    """Name of the measure of one session's seconds per frame, kept while the scene is edited."""
    asked = request.settings
    size = f"{asked.resolution} {asked.scale} {asked.samples} {asked.engine}"
    return f"session seconds per frame of {request.scene} in {request.pool}: {size}"


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
    ) -> None:
        self._store = store
        self._job = job
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
        self._pace = Pace()
        self._counts: Counter[FrameState] = Counter()
        self._reused = 0
        self._done: set[int] = set()
        """frames that need no first task any more"""
        self._beyond: frozenset[int] = frozenset()
        """frames that this portion leaves queued"""
        self._enough = False
        self._tried: dict[int, int] = {}
        """attempts of earlier runs, for frames that failed in them"""
        self._spent: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()
        self._last: dict[int, tuple[Reason, str]] = {}
        self._failures: dict[int, FrameFailure] = {}
        self._doubted: set[int] = set()
        self._good = 0
        """frames rendered well in this run"""
        self._good_before = 0
        """in the run that this one goes on with, when it is to end as if there had been only one"""
        self._seconds = 0.0
        """that they took, each on its node"""
        self._begun = time.time()
        self._told = self._written = 0.0
        self._node_states: dict[str, str] = {}

    def run(self) -> list[Suspect]:
        """Until every frame is decided; returns what the doctor doubts.

        Raises PoolError, OutputFullError or StoreError with work left, Canceled when somebody asked for that,
        Away when the job is left to its pool.
        """
        self._recall()
        if self._job.request.reuse:
            self._reuse()
        self._limit()
        self._tell("starting", force=True)
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
        return self._undecided - len(self._beyond)

    @property
    def _undecided(self) -> int:
        decided = (FrameState.SUCCEEDED, FrameState.FAILED, FrameState.CANCELED)
        return self._job.total - sum(self._counts[state] for state in decided)

    @property
    def partial(self) -> bool:
        """Whether this portion left frames queued."""
        return self._undecided > 0 and (self._enough or bool(self._beyond))

    @property
    def unfinished(self) -> bool:
        """Whether this portion left frames queued and wants nothing made of the others yet."""
        return self.partial and not self._portion.products

    # What is there already

    def _recall(self) -> None:
        """Read what earlier runs did; frames that are not good, or not there any more, are queued again."""
        good: list[int] = []
        again: list[Change] = []
        for row in self._store.frames(self._job.id):
            path = self._collector.path(row.frame)
            if row.state is FrameState.SUCCEEDED and is_as_recorded(path, row.size or 0, row.mtime or 0):
                good.append(row.frame)
                self._reused += row.reused
                if row.finding:
                    self._doubted.add(row.frame)
                continue
            if row.state is FrameState.FAILED and not self._portion.again:
                self._failures[row.frame] = standing.failure_of(row)
                continue
            attempts = 0 if row.state is FrameState.SUCCEEDED else row.attempts
            if attempts:
                self._tried[row.frame] = attempts
            if row.state is not FrameState.QUEUED:
                again.append(Change(row.frame, FrameState.QUEUED, attempts))
        with self._store.transaction():
            self._store.record(self._job.id, again)
        self._done.update(good, self._failures)
        self._counts[FrameState.SUCCEEDED] = len(good)
        self._counts[FrameState.FAILED] = len(self._failures)
        if not self._portion.again:
            self._good_before = len(good) - self._reused
            self._recall_attempts()

    def _recall_attempts(self) -> None:
        """Count what earlier runs tried as if this one had."""
        for frame, _, reason, message, *_ in self._store.attempts(self._job.id):
            counted = self._lost if reason == Reason.NODE_LOST else self._spent
            counted[frame] += 1
            self._last[frame] = (Reason(reason), message)

    def _limit(self) -> None:
        """Leave what is beyond this portion for another time."""
        if self._portion.frames is not None:
            order = ordered(self._ready.frames, self._job.request.order)
            left = (frame for frame in order if frame not in self._done)
            self._beyond = frozenset(itertools.islice(left, self._portion.frames, None))
            self._done.update(self._beyond)

    def _reuse(self) -> None:
        """Take frames of the same takes from the cache."""
        takes = self._origin.expected
        known = self._cache.known(takes) if takes else {}
        if not takes or not known:
            return
        wanted = (f for f in sorted(known) if f in self._ready.frames and f not in self._done)
        targets = {frame: self._collector.path(frame) for frame in wanted}
        changes = [
            Change(
                frame.frame,
                FrameState.SUCCEEDED,
                reused=1,
                size=frame.size,
                mtime=frame.mtime,
                signature=frame.signature,
            )
            for frame in self._cache.restore(takes, known, targets)
        ]
        with self._store.transaction():
            self._store.record(self._job.id, changes)
            self._cache.touch(takes, self._job.request.scene, (change.frame for change in changes))
        self._done.update(change.frame for change in changes)
        self._counts[FrameState.SUCCEEDED] += len(changes)
        self._reused += len(changes)

    # Rendering

    def _render(self) -> None:
        self._ready = with_copies(self._ready)
        pool = open_pool(self._ready.pool)
        try:
            pool.prepare(self._pool_job())
            again = [Task((f,), n + 1) for f, n in self._tried.items() if f not in self._done]
            self._done.update(self._tried)
            self._tried.clear()
            if self._stay is not Stay.CAUGHT_UP:
                pool.submit(self._tasks())
                pool.submit(again)
            while self._left and self._stay is not Stay.SUBMITTED:
                updates = pool.updates(POLL_SECONDS)
                self._apply(pool, updates)
                self._obey(pool)
                self._tell("rendering")
                if self._left and self._portion.enough():
                    self._enough = True
                    break
                if self._stay is Stay.CAUGHT_UP and not updates and cast("RemotePool", pool).caught_up():
                    break
        finally:
            pool.close()
            self._measure_frames()
            shutil.rmtree(self._ready.scratch, ignore_errors=True)
        if self._left and not self._enough:
            raise Away

    def _pool_job(self) -> PoolJob:
        job, inspection = self._job, self._ready.inspection
        record = JobRecord(
            id=job.id,
            request=job.request,
            range=job.range,
            total=job.total,
            take=job.take,
            takes=self._ready.takes,
            scene=inspection.scene,
            build=inspection.build,
            work=replace(inspection.work, copies={}, inputs=()),
            notes=job.notes,
            created=job.created,
        )
        return PoolJob(
            id=job.id,
            work=inspection.work,
            scene=inspection.scene,
            home=self._store.home,
            frame_count=self._left,
            workers=job.request.workers,
            warm=inspection.node if inspection.node and not inspection.node.taken else None,
            record=record,
            seconds=self._store.measure(session_measure(job.request)),
            progress=self._tell,
            good=frozenset(self._done - self._beyond),
            failed=dict(self._tried),
        )

    def _tasks(self) -> Iterator[Task]:
        """The frames that are left, in tasks: made while nodes ask, or all at once for a remote pool."""
        frames, order, pool = self._ready.frames, self._job.request.order, self._ready.pool
        if not pool.remote or self._job.request.chunk:
            return splitter.split(frames, order, frozenset(self._done), self._chunk)
        left = [frame for frame in ordered(frames, order) if frame not in self._done]
        seconds = self._store.measure(session_measure(self._job.request))
        return splitter.plan_chunks(left, seconds, REMOTE_START_SECONDS, pool.sessions)

    def _measure_frames(self) -> None:
        """Remember what a frame of this take costs, for those who ask before they submit."""
        if self._good:
            seconds = (time.time() - self._begun) / self._good
            self._store.set_measure(frame_measure(self._ready.takes.base), seconds)
            self._store.set_measure(session_measure(self._job.request), self._seconds / self._good)

    def _chunk(self) -> int:
        if self._job.request.chunk:
            return self._job.request.chunk
        sessions = max(1, len(self._pace.nodes()))
        return splitter.chunk_size(self._traits, self._pace.seconds_per_frame(), self._left, sessions)

    def _apply(self, pool: Pool, updates: Iterable[Update]) -> None:
        """Store what happened; of several changes of one frame in one go only the last is written."""
        changes: dict[int, Change] = {}
        failures: list[Failed] = []
        kept: dict[Build | None, list[Kept]] = {}
        again: list[Task] = []
        trouble: Trouble | None = None
        try:
            for update in updates:
                if isinstance(update, Started):
                    changes[update.frame] = self._started(update)
                elif isinstance(update, Rendered):
                    outcome = self._collect(pool, update)
                    if isinstance(outcome, Failed):
                        failures.append(outcome)
                        changes[update.frame] = self._failed(outcome, again)
                    else:
                        changes[update.frame] = outcome
                        row = (update.frame, outcome.size or 0, outcome.mtime or 0, outcome.signature)
                        kept.setdefault(update.build, []).append(row)
                elif isinstance(update, Failed):
                    failures.append(update)
                    changes[update.frame] = self._failed(update, again)
                elif isinstance(update, NodeChange):
                    self._node_changed(update)
                elif isinstance(update, Notice):
                    self._note(update.message)
                else:
                    trouble = update
        finally:
            self._write(changes.values(), failures, kept)
        if again:
            pool.submit(again)
        if self._good + self._good_before == 0 and not self._ready.pool.remote:
            self._refuse_missing(failures)
        if trouble or self._is_hopeless():
            self._give_up(pool, trouble)

    def _write(
        self, changes: Iterable[Change], failures: list[Failed], kept: dict[Build | None, list[Kept]]
    ) -> None:
        with self._store.transaction():
            self._store.record(self._job.id, changes)
            self._store.add_attempts(self._job.id, failures)
            for build, rows in kept.items():
                if takes := self._origin.of(build):
                    self._cache.keep(takes, self._job.request.scene, rows)
                if self._origin.learn(build) and build and self._ready.parts:
                    made_by = replace(self._ready.parts, identity=build.identity, label=build.label)
                    self._store.set_parts(self._job.id, made_by)

    def _started(self, update: Started) -> Change:
        self._pace.started(update.node, update.frame, time.monotonic())
        self._node_states[update.node] = "working"
        attempts = update.attempt - 1
        return Change(update.frame, FrameState.RUNNING, attempts, node=update.node, started=time.time())

    def _collect(self, pool: Pool, receipt: Rendered) -> Change | Failed:
        self._pace.finished(receipt.node, receipt.seconds, time.monotonic())
        outcome = self._collector.collect(receipt, pool.fetch(receipt))
        if isinstance(outcome, Failed):
            return outcome
        self._done.add(receipt.frame)
        self._counts[FrameState.SUCCEEDED] += 1
        self._good += 1
        self._seconds += receipt.seconds
        return Change(
            receipt.frame,
            FrameState.SUCCEEDED,
            receipt.attempt,
            message="; ".join(receipt.warnings) or None,
            log=receipt.log,
            node=receipt.node,
            started=time.time() - receipt.seconds,
            seconds=receipt.seconds,
            size=outcome.size,
            mtime=outcome.mtime,
            signature=mark(outcome.look),
        )

    def _failed(self, failure: Failed, again: list[Task]) -> Change:
        """Decide about another try; what failed the same way twice in its pixels won't get better."""
        if failure.reason is Reason.DISK_FULL:
            message = f"Frame {failure.frame}: {failure.message}"
            raise OutputFullError(message, "Make room, then resume: every finished frame is kept.")
        frame = failure.frame
        counted = self._lost if failure.reason is Reason.NODE_LOST else self._spent
        counted[frame] += 1
        limit = LOST_LIMIT if counted is self._lost else self._job.request.retries
        same = failure.reason is Reason.BAD_PICTURE and self._last.get(frame) == (
            failure.reason,
            failure.message,
        )
        self._last[frame] = (failure.reason, failure.message)
        facts = {
            "reason": failure.reason.value,
            "message": failure.message,
            "log": failure.log,
            "node": failure.node,
        }
        if failure.reason in RETRYABLE and counted[frame] <= limit and not same and not failure.final:
            again.append(Task((frame,), failure.attempt + 1))
            self._done.add(frame)
            return Change(frame, FrameState.QUEUED, failure.attempt, **facts)
        self._counts[FrameState.FAILED] += 1
        self._done.add(frame)
        reason = failure.reason.value
        self._failures[frame] = FrameFailure(
            frame, reason, failure.message, failure.attempt, failure.log or None
        )
        return Change(frame, FrameState.FAILED, failure.attempt, seconds=failure.seconds, **facts)

    def _node_changed(self, update: NodeChange) -> None:
        self._node_states[update.node] = update.state
        if update.state == "loading":
            self._pace.coming(update.node)
        if update.state == "gone":
            self._pace.left(update.node)
            del self._node_states[update.node]

    def _note(self, message: str) -> None:
        """Keep what the pool wants people to know."""
        notes = self._store.job(self._job.id).notes
        if message not in notes:
            self._store.update_job(self._job.id, notes=[*notes, message])
            self._job = replace(self._job, notes=(*notes, message))

    def _is_hopeless(self) -> bool:
        """Many failed in the same way and none is good. Those whose files changed say nothing of the others."""
        reasons = {failure.reason for failure in self._failures.values()}
        alike = len(reasons) == 1 and Reason.INPUT_CHANGED not in reasons
        return alike and self._good + self._good_before == 0 and len(self._failures) >= HOPELESS_FRAMES

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

    def _give_up(self, pool: Pool, trouble: Trouble | None) -> None:
        """Don't try the frames that are left: they would fail like those before."""
        pool.cancel()
        if trouble and not self._failures:
            raise PoolError(trouble.message, "Run `renderfarm doctor`.")
        first = next(iter(self._failures.values()), None)
        why = trouble.message if trouble else f"the frames before it failed: {first.message}" if first else ""
        decided = set(self._failures)
        changes = [
            Change(frame, FrameState.FAILED, reason=Reason.GIVEN_UP.value, message=f"Not tried: {why}")
            for frame in self._ready.frames
            if frame not in decided and self._store.state(self._job.id, frame) is not FrameState.SUCCEEDED
        ]
        with self._store.transaction():
            self._store.record(self._job.id, changes)
        for change in changes:
            failure = FrameFailure(change.frame, Reason.GIVEN_UP.value, change.message or "", 0, None)
            self._failures[change.frame] = failure
        self._counts[FrameState.FAILED] = len(self._failures)

    def _obey(self, pool: Pool) -> None:
        """Do what another terminal asked for."""
        if time.monotonic() - self._written < WRITE_SECONDS:
            return
        for what, text in self._store.take_orders(self._job.id):
            if what == "cancel":
                pool.cancel()
                raise Canceled
            pool.submit(list(self._requeued(parse(text) if text else None)))

    def _requeued(self, frames: FrameRange | None) -> Iterator[Task]:
        """Tasks for failed frames, or for some decided frames, that somebody wants again."""
        decided = (FrameState.FAILED,) if frames is None else (FrameState.FAILED, FrameState.SUCCEEDED)
        rows = [
            row for row in self._store.frames(self._job.id, *decided) if frames is None or row.frame in frames
        ]
        for row in rows:
            self._forget(row.frame, row.state)
        with self._store.transaction():
            self._store.record(self._job.id, [Change(r.frame, FrameState.QUEUED, r.attempts) for r in rows])
        for row in rows:
            yield Task((row.frame,), row.attempts + 1)

    def _forget(self, frame: int, state: FrameState) -> None:
        """A decided frame is open again."""
        self._counts[state] -= 1
        self._failures.pop(frame, None)
        self._spent.pop(frame, None)
        self._last.pop(frame, None)
        if state is FrameState.SUCCEEDED:
            for takes in self._origin.all():
                self._cache.forget(takes, [frame])
            self._collector.discard(frame)

    # The doctor's second look, now that every frame has its neighbours

    def _judge(self) -> tuple[list[Suspect], list[Verdict]]:
        """Suspicions to report, and frames that deserve a second attempt."""
        evidence: set[int] = set()

        def looks() -> Iterator[Look]:
            for row in self._store.frames(self._job.id, FrameState.SUCCEEDED):
                if row.message and "does not exist" in row.message:
                    evidence.add(row.frame)
                yield look_from(row.frame, self._ready.inspection.scene.resolution, row.signature or b"0||")

        suspects, doubted = [], []
        for verdict in judge(looks(), evidence=evidence, expects_magenta=self._job.request.allow_missing):
            if verdict.certain and verdict.frame not in self._doubted and not self.partial:
                doubted.append(verdict)
            else:
                detail = f"{verdict.detail} (rendered twice, the same)" if verdict.certain else verdict.detail
                suspects.append(Suspect(verdict.frame, verdict.finding, detail))
        with self._store.transaction():
            self._store.set_findings(self._job.id, [(s.frame, s.finding.value, s.detail) for s in suspects])
        return suspects, doubted

    def _ask_again(self, doubted: list[Verdict]) -> None:
        """Count a picture that can't be right as a failed attempt; the next rendering decides."""
        frames = {verdict.frame: verdict for verdict in doubted}
        rows = [r for r in self._store.frames(self._job.id, FrameState.SUCCEEDED) if r.frame in frames]
        for row in rows:
            self._forget(row.frame, row.state)
            self._done.discard(row.frame)
            self._tried[row.frame] = row.attempts
        failures = [
            Failed(
                r.frame,
                Reason.BAD_PICTURE,
                f"{frames[r.frame].finding}: {frames[r.frame].detail}",
                attempt=r.attempts,
            )
            for r in rows
        ]
        with self._store.transaction():
            self._store.add_attempts(self._job.id, failures)
            self._store.record(self._job.id, [Change(r.frame, FrameState.QUEUED, r.attempts) for r in rows])
        self._doubted.update(frames)

    # What people see

    def _tell(self, phase: str, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._written >= WRITE_SECONDS:
            self._written = now
            self._publish(phase, now)
        if self._observer and (force or now - self._told >= TELL_SECONDS):
            self._told = now
            self._observer(self.status(phase))

    def _publish(self, phase: str, now: float) -> None:
        offset = time.time() - now
        nodes = [
            (name, self._node_states.get(name, "working"), frame, since + offset)
            for name, frame, since in self._pace.nodes()
        ]
        with self._store.transaction():
            rate, eta = self._pace.rate(now), self._seconds_left(now)
            self._store.update_job(self._job.id, phase=phase, begun=self._begun, rate=rate, eta=eta)
            self._store.set_nodes(self._job.id, nodes)

    def _seconds_left(self, now: float) -> float | None:
        rendering = self._pace.seconds_left(self._left, now) if self._left else 0.0
        return None if rendering is None else rendering + self.seconds_after()

    def seconds_after(self) -> float:
        """What the video will take once the frames are there, as far as this machine's experience tells."""
        if self._job.request.no_video or self._job.total < 2:
            return 0.0
        size = self._ready.inspection.scene.resolution
        return encoding_seconds(self._store, self._job.request, size, self._job.total)

    def announce_assembly(self) -> None:
        """Every frame is decided: the nodes are gone, and the video comes next."""
        self._pace = Pace()
        self._node_states.clear()
        self._tell("assembling", force=True)

    def status(self, phase: str) -> Status:
        """The job as it stands, without asking the store."""
        now = time.monotonic()
        running = sum(frame is not None for _, frame, _ in self._pace.nodes())
        counts = Counter({**self._counts, FrameState.RUNNING: min(running, self._left)})
        nodes = [
            NodeStatus(
                name, self._node_states.get(name, "working"), frame, now - since if frame is not None else 0.0
            )
            for name, frame, since in self._pace.nodes()
        ]
        return standing.compose(
            self._job,
            frames=standing.count(self._job.total, counts, self._reused),
            state=JobState.RUNNING,
            phase=phase,
            failures=self._failures.values(),
            suspects=(),
            nodes=nodes,
            seconds=self._job.seconds + time.time() - self._begun,
            eta=self._seconds_left(now),
            rate=self._pace.rate(now),
        )
