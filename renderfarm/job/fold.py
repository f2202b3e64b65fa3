"""What each event does to a ledger: one function an event, pure but for the ledger that it is handed.

Events may come twice: what is said of an attempt that has ended already changes nothing, and neither does what
has no function here.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any

from renderfarm.job.events import (
    Admitted,
    Begun,
    Canceled,
    Delivered,
    Doubted,
    Ended,
    GivenUp,
    Left,
    Made,
    Missed,
    Noted,
    Paused,
    Queued,
    Retried,
    Reused,
    Saw,
    Suspected,
    Taken,
    Troubled,
)
from renderfarm.job.ledger import DECIDED, Ledger
from renderfarm.job.retry import tried_again
from renderfarm.words.states import FrameState, Reason
from renderfarm.words.updates import Failed, NodeChange, Rendered, Started


def fold(ledger: Ledger, event: object, time: float) -> None:
    """Take one event in, said at a time in seconds since the epoch."""
    if handler := _HANDLERS.get(type(event)):
        handler(ledger, event, time)
        if node := getattr(event, "node", ""):
            spans = ledger.nodes.spans
            spans[node] = (spans.get(node, (time, time))[0], time)


# What nodes say


def _started(ledger: Ledger, event: Started, time: float) -> None:
    if frame := ledger.open(event.frame, event.attempt):
        frame.node, frame.started = event.node, time
        ledger.tally.move(frame, FrameState.RUNNING)
        ledger.nodes.states[event.node] = "working"
        ledger.nodes.pace.started(event.node, event.frame, time)


def _rendered(ledger: Ledger, event: Rendered, time: float) -> None:
    waits = ledger.open(event.frame, event.attempt)
    if frame := waits or ledger.unexplained(event.frame, event.attempt):
        ledger.nodes.pace.finished(event.node, event.seconds, time)
        frame.node, frame.seconds = intern(event.node), event.seconds
        frame.log = intern(event.log) if event.log else None
        frame.started, frame.lacking = time - event.seconds, event.lacking
        if waits:
            ledger.tally.waiting.add(event.frame)
        frame.rendered = event.attempt
        if event.build and event.build.label not in ledger.remarks.builds:
            ledger.remarks.builds.append(event.build.label)


def _failed(ledger: Ledger, event: Failed, time: float) -> None:
    if frame := ledger.open(event.frame, event.attempt):
        lost = event.reason is Reason.NODE_LOST
        frame.lost, frame.spent = frame.lost + lost, frame.spent + (not lost)
        again = tried_again(frame, event, ledger.retries)
        frame.attempts, frame.reason, frame.message = event.attempt, event.reason.value, event.message
        frame.log, frame.node, frame.seconds = event.log, event.node, event.seconds
        ledger.tally.waiting.discard(event.frame)
        ledger.tries.setdefault(event.frame, []).append(event)
        ledger.tally.move(frame, FrameState.QUEUED if again else FrameState.FAILED)


def _taken(ledger: Ledger, event: Taken, time: float) -> None:
    ledger.nodes.pace.coming(event.node)
    ledger.nodes.states.setdefault(event.node, "loading")


def _ended(ledger: Ledger, event: Ended, time: float) -> None:
    ledger.nodes.pace.left(event.node)
    ledger.nodes.states.pop(event.node, None)


def _node_change(ledger: Ledger, event: NodeChange, time: float) -> None:
    ledger.nodes.states[event.node] = event.state
    if event.state == "loading":
        ledger.nodes.pace.coming(event.node)
    if event.state == "gone":
        ledger.nodes.pace.left(event.node)
        del ledger.nodes.states[event.node]


# What the farm decides of frames


def _delivered(ledger: Ledger, event: Delivered, time: float) -> None:
    if frame := ledger.open(event.frame, event.attempt):
        frame.attempts, frame.reason, frame.message = event.attempt, None, None
        frame.size, frame.mtime, frame.reused, frame.fingerprint = (
            event.size,
            event.mtime,
            False,
            event.fingerprint,
        )
        ledger.run.newest = event.frame
        ledger.tally.move(frame, FrameState.SUCCEEDED)


def _reused(ledger: Ledger, event: Reused, time: float) -> None:
    frame = ledger.touched(event.frame)
    frame.size, frame.mtime, frame.reused, frame.fingerprint = event.size, event.mtime, True, event.fingerprint
    ledger.run.newest = event.frame
    ledger.tally.move(frame, FrameState.SUCCEEDED)


def _saw(ledger: Ledger, event: Saw, time: float) -> None:
    ledger.sets[event.fingerprint] = event.files


def _missed(ledger: Ledger, event: Missed, time: float) -> None:
    ledger.reopen(event.frame)


def _doubted(ledger: Ledger, event: Doubted, time: float) -> None:
    frame = ledger.touched(event.frame)
    message = f"{event.finding}: {event.detail}"
    ledger.tally.move(frame, FrameState.QUEUED)
    frame.doubted, frame.spent = True, 0
    failure = Failed(event.frame, Reason.BAD_PICTURE, message, attempt=frame.attempts)
    ledger.tries.setdefault(event.frame, []).append(failure)


def _suspected(ledger: Ledger, event: Suspected, time: float) -> None:
    told = list(zip(event.frames, event.findings, event.details, strict=False))
    for number in ledger.remarks.suspected:
        ledger.frames[number].finding = ledger.frames[number].detail = None
    ledger.remarks.suspected = tuple(number for number, _, _ in told)
    for number, finding, detail in told:
        frame = ledger.touched(number)
        frame.finding, frame.detail = finding, detail


def _retried(ledger: Ledger, event: Retried, time: float) -> None:
    from renderfarm.words.frames import parse  # nodes fold, too, and have no fileseq

    ledger.run.given_up, ledger.run.canceled = None, False
    wanted = parse(event.frames) if event.frames else None
    for frame in list(ledger.of(*DECIDED) if wanted else ledger.of(FrameState.FAILED)):
        if wanted is None or frame.frame in wanted:
            ledger.reopen(frame.frame)


# What the farm does with the job


def _begun(ledger: Ledger, event: Begun, time: float) -> None:
    ledger.rest()
    run = ledger.run
    run.canceled = run.in_line = run.paused = False
    run.begun, ledger.remarks.made = time, Made()
    ledger.remarks.troubles.clear()
    for frame in list(ledger.of(FrameState.CANCELED)):
        ledger.tally.move(frame, FrameState.QUEUED)


def _queued(ledger: Ledger, event: Queued, time: float) -> None:
    ledger.run.in_line, ledger.run.begun = True, None


def _admitted(ledger: Ledger, event: Admitted, time: float) -> None:
    ledger.run.in_line, ledger.run.begun = False, time


def _left(ledger: Ledger, event: Left, time: float) -> None:
    ledger.rest()
    ledger.run.seconds += event.seconds
    ledger.run.in_line, ledger.run.begun = False, None


def _canceled(ledger: Ledger, event: Canceled, time: float) -> None:
    ledger.rest()
    ledger.run.canceled = True


def _paused(ledger: Ledger, event: Paused, time: float) -> None:
    ledger.run.paused = True


def _given_up(ledger: Ledger, event: GivenUp, time: float) -> None:
    ledger.rest()
    ledger.run.given_up = event.message


def _noted(ledger: Ledger, event: Noted, time: float) -> None:
    if event.note not in ledger.remarks.notes:
        ledger.remarks.notes.append(event.note)


def _troubled(ledger: Ledger, event: Troubled, time: float) -> None:
    ledger.remarks.troubles.append(event.problem)


def _made(ledger: Ledger, event: Made, time: float) -> None:
    ledger.remarks.made = event


_HANDLERS: dict[type, Callable[[Ledger, Any, float], None]] = {
    Started: _started,
    Rendered: _rendered,
    Delivered: _delivered,
    Failed: _failed,
    Reused: _reused,
    Saw: _saw,
    Missed: _missed,
    Doubted: _doubted,
    Suspected: _suspected,
    Retried: _retried,
    Begun: _begun,
    Queued: _queued,
    Admitted: _admitted,
    Left: _left,
    Canceled: _canceled,
    Paused: _paused,
    GivenUp: _given_up,
    Taken: _taken,
    Ended: _ended,
    Noted: _noted,
    Troubled: _troubled,
    Made: _made,
    NodeChange: _node_change,
}
