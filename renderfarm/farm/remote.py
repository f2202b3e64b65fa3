"""Jobs whose pool goes on without this machine: found again from anywhere, asked, stopped.

What became of them is told by their nodes' journals, which are mirrored into the job's folder at each look.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from renderfarm.errors import ConfigError, PoolError, StoreError
from renderfarm.job import events
from renderfarm.job import record as records
from renderfarm.job.home import farm_home
from renderfarm.job.job import Job, parts_of
from renderfarm.job.record import Record
from renderfarm.job.shelf import Shelf
from renderfarm.queues import open_remote_side, place
from renderfarm.queues.remote_side import RemoteSide
from renderfarm.settings import config
from renderfarm.settings.pool import PoolConfig
from renderfarm.words.request import Request, Sandbox
from renderfarm.words.states import JobState, Phase
from renderfarm.words.status import Status

if TYPE_CHECKING:
    from renderfarm.queues.azure.remote_side import AzureSide


def remote_side(pool: PoolConfig) -> contextlib.closing[RemoteSide]:
    """The remote side of a pool, closed at the end."""
    return contextlib.closing(open_remote_side(pool))


class StrangePoolError(PoolError):
    """No configuration that counts here names the pool that a job went to, so nobody can be asked."""


def pool_of(job: Job) -> PoolConfig | None:
    """The remote pool that a job went to; None for a local job. Raises StrangePoolError."""
    kept, found = _kept(job), config.load().pools.get(job.request.pool)
    if not kept.remote:
        return None
    if found is None:
        raise _strange(kept, f"no configuration here has [pools.{kept.name}]")
    if found.type != kept.type:
        raise _strange(kept, f"[pools.{kept.name}] is of type {found.type!r} here")
    if place(found) != place(kept):
        raise _strange(kept, f"[pools.{kept.name}] is another one here ({place(found)})")
    return found


def _kept(job: Job) -> PoolConfig:
    """The pool as its job keeps it."""
    table = job.record.pool
    options = {key: value for key, value in table.items() if key != "type"}
    return PoolConfig(job.request.pool, str(table.get("type", "local")), options)


def _strange(kept: PoolConfig, why: str) -> StrangePoolError:
    message = f"Pool {kept.name!r} could not be asked: {why}. What is there goes on, and its nodes are billed."
    hint = f"Run this where [pools.{kept.name}] has {place(kept)}, or put that table into {config.user_file()}."
    return StrangePoolError(message, hint)


def find(name: str) -> Job:
    """The job with this id, beginning of one, or output folder; from a remote pool when the farm has none.

    Raises StoreError when there is none anywhere, PoolError when a pool that might have it could not be asked.
    """
    shelf = Shelf(farm_home())
    if shelf.has(name):
        return shelf.find(name)
    troubles = []
    for pool in config.load().pools.values():
        if pool.remote:
            try:
                with remote_side(pool) as asked:
                    if record := asked.recall(name):
                        return adopt(shelf, record, pool)
            except PoolError as error:
                troubles.append(f"{pool.name} could not be asked: {error.message}")
    try:
        return shelf.find(name)
    except StoreError as error:
        if troubles:
            raise PoolError(f"{error.message} {' '.join(troubles)}", error.hint) from error
        raise


def adopt(shelf: Shelf, record: Record, pool: PoolConfig) -> Job:
    """Remember a job that another machine submitted."""
    parts, record = record, record.whole or record
    request = moved(record.request, pool.name)
    job = shelf.add(replace(record, request=request, pool=pool.table))
    if parts.whole:
        records.write(replace(records.harmless(parts), whole=None), parts_of(job.folder))
    return job


def moved(request: Request, pool: str) -> Request:
    """A request with folders that exist here: the output it named where a farm used it, else the default one.

    Nodes run foreign scenes and write beside the record, so it names no program and no file but a video's.
    """
    from renderfarm.pictures.codecs import CONTAINERS

    output = Path(request.output)
    if not (output / "frames").is_dir():
        output = Path.cwd() / "renders" / Path(request.scene).stem
    video = request.video
    if video and not (Path(video).parent.is_dir() and Path(video).suffix.lower() in CONTAINERS):
        video = str(output / Path(video).name)
    audio = request.audio if request.audio and Path(request.audio).is_file() else None
    sandbox = Sandbox.AUTO if request.sandbox is Sandbox.OFF else request.sandbox
    own = replace(request, programs={}, sandbox=sandbox)
    return replace(own, output=str(output), video=video, audio=audio, pool=pool)


def recall(job: Job) -> tuple[Record, PoolConfig] | None:
    """What a job's pool knows of it; None for a local job, and for one that never reached its pool."""
    pool = pool_of(job)
    if pool is None:
        return None
    with remote_side(pool) as asked:
        record = asked.recall(job.id)
    own, known = job.record, record and (record.whole or record)
    if known and (known.job, known.fingerprint, known.frames) != (own.job, own.fingerprint, own.frames):
        message = f"The record of {job.id} in pool {pool.name} is not the one that this machine knows."
        raise PoolError(message, "Somebody changed it. Submit the scene again.")
    return (replace(record, request=job.request), pool) if record else None


def settle(job: Job, pool: PoolConfig) -> None:
    """A job has ended: let go of what it rented. A service that is away then costs money, not frames."""
    try:
        with remote_side(pool) as asked:
            note = asked.settle(job)
    except PoolError as error:
        message = f"pool {pool.name} could not be told that the job has ended: {error.message}"
        job.tell(events.Troubled(message))
        return
    if note:
        job.tell(events.Noted(note))


def marked(job: Job, status: Status) -> Status:
    """A status that does not call a job interrupted which its pool may go on with; nobody is asked."""
    if status.phase is not Phase.INTERRUPTED or not elsewhere(job):
        return status
    return replace(status, state=JobState.RUNNING, phase=Phase.LEFT, ended=False)


def elsewhere(job: Job) -> bool:
    """Whether it went to a pool that goes on without this machine."""
    return _kept(job).remote


def up_to_date(job: Job, status: Status, *, certain: bool = False) -> Status:
    """A status brought up to date by the job's pool, unless it is local or followed by somebody just now.

    Where nothing here names its pool, the status says so, or PoolError is raised if it has to be `certain`.
    """
    if status.phase not in (Phase.INTERRUPTED, Phase.DONE):
        return status
    try:
        pool = pool_of(job)
        if pool is None:
            return status
        with remote_side(pool) as asked:
            if not asked.recall(job.id):  # it never got there
                return status
            if below := job.refresh().parts:
                return _over_parts(status, asked.status(below, below.status(alive=False)))
            return asked.status(job, status)
    except PoolError as error:
        if status.phase is Phase.DONE:
            return status  # only its cost is not known
        if isinstance(error, StrangePoolError) and not certain:
            return replace(marked(job, status), notes=(*status.notes, *str(error).splitlines()))
        raise


def _over_parts(status: Status, below: Status) -> Status:
    """A job's status with that of its frames' parts, which are all that its pool knows."""
    paid = {name: getattr(below, name) for name in ("node_hours", "cost", "currency")}
    status = replace(status, parts=below.frames, **paid)
    if status.phase is Phase.DONE or below.phase in (Phase.INTERRUPTED, Phase.DONE):
        return status
    return replace(status, state=below.state, phase=below.phase, ended=below.ended)


def cancel(job: Job) -> None:
    """Stop what a job's pool does for it, if it has one that knows the job."""
    pool = pool_of(job)
    if pool is None:
        return
    with remote_side(pool) as asked:
        was_there = asked.cancel(job.parts or job)
    if was_there:
        settle(job, pool)


@contextlib.contextmanager
def rented(pool: str | None = None) -> Iterator[AzureSide]:
    """What a pool offers besides rendering: nodes, renderers, storage. Without a name it is the default pool's,
    or that of the only one that is rented; raises ConfigError for one that is not paid for."""
    loaded = config.load()
    others = [each for each in loaded.pools.values() if each.kind.rented]
    chosen = loaded.pool(pool)
    if pool is None and not chosen.kind.rented and len(others) == 1:
        (chosen,) = others
    if chosen.remote and not chosen.kind.rented:
        message = f"The nodes of pool {chosen.name!r} are not made, resized or paid for through renderfarm."
        raise ConfigError(message, f"See them with: renderfarm doctor --pool {chosen.name}")
    with remote_side(chosen) as opened:
        yield cast("AzureSide", opened)
