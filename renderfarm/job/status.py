"""How a job stands in the words of the contract, from its record and its ledger."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from renderfarm.job.ledger import Ledger
from renderfarm.job.record import FRAMES, Record, moment
from renderfarm.words.states import Phase
from renderfarm.words.status import FrameFailure, NodeStatus, Status


def status(record: Record, ledger: Ledger, *, alive: bool) -> Status:
    """A job that somebody works on, or nobody."""
    run, remarks, now = ledger.run, ledger.remarks, time.time()
    made, output = remarks.made, record.output
    found = Status(
        job=record.job,
        state=ledger.job_state(alive),
        scene=record.request.scene,
        pool=record.request.pool,
        frames=ledger.counts(alive),
        failures=tuple(_here(record, failure) for failure in ledger.failures()),
        output=str(output),
        frames_dir=str(output / FRAMES),
        video=_path(output, made.video),
        contact_sheet=_path(output, made.contact_sheet),
        report=_path(output, made.report),
        seconds=run.seconds + (now - run.begun if alive and run.begun else 0.0),
        eta_seconds=None,
        phase=(Phase.PAUSED if run.paused else Phase.INTERRUPTED) if ledger.undecided else Phase.DONE,
        suspects=() if alive else tuple(ledger.suspects()),
        notes=tuple(dict.fromkeys((*remarks.notes, *(f"rendered with {build}" for build in remarks.builds)))),
        problems=(*remarks.troubles, *made.problems),
        submitted=moment(record.created),
        ended=not alive,
        last_frame=None if run.newest is None else str(record.picture(run.newest)),
    )
    return _moving(found, ledger, now) if alive else found


def with_parts(whole: Status, record: Record, ledger: Ledger, *, alive: bool) -> Status:
    """A job whose frames are split, with what is under them: the job of their parts."""
    whole = replace(whole, parts=ledger.counts(alive))
    if not alive or not ledger.nodes.states:
        return whole
    moving = _moving(whole, ledger, time.time())
    nodes = (replace(n, frame=None if n.frame is None else record.frame_of(n.frame)) for n in moving.nodes)
    return replace(whole, nodes=tuple(nodes), eta_seconds=moving.eta_seconds)


def _path(output: Path, name: str | None) -> str | None:
    """Where something is that was made, by its name in the output folder."""
    return None if name is None else str(output / name)


def _here(record: Record, failure: FrameFailure) -> FrameFailure:
    return replace(failure, log=str(record.log(failure.log))) if failure.log else failure


def _moving(status: Status, ledger: Ledger, now: float) -> Status:
    """The status of a job that somebody works on."""
    pace, left = ledger.nodes.pace, ledger.undecided
    rate = pace.rate(now)
    nodes = (
        NodeStatus(
            node, ledger.nodes.states.get(node, "working"), frame, now - since if frame is not None else 0.0
        )
        for node, frame, since in pace.nodes()
    )
    return replace(
        status,
        phase=_phase(ledger),
        nodes=tuple(nodes),
        frames_per_minute=None if rate is None else rate * 60,
        eta_seconds=pace.seconds_left(left, now) if left else 0.0,
    )


def _phase(ledger: Ledger) -> Phase:
    if not ledger.undecided:
        return Phase.ASSEMBLING
    if ledger.run.in_line or ledger.run.paused:
        return Phase.WAITING if ledger.run.in_line else Phase.PAUSING
    return Phase.RENDERING if ledger.nodes.states or ledger.frames else Phase.STARTING
