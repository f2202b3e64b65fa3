"""What each event does to a ledger: one function an event, pure but for the ledger that it is handed.

Events may come twice: what is said of an attempt that has ended already changes nothing, and neither does what
has no function here.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any

from renderfarm.errors import FramesError
from renderfarm.job import events
from renderfarm.job.ledger import DECIDED, Frame, Ledger
from renderfarm.job.retry import tried_again
from renderfarm.words.states import Finding, FrameState, Reason
from renderfarm.words.status import Suspect
from renderfarm.words.updates import Failed, NodeChange, Rendered, Started


def fold(ledger: Ledger, event: object, time: float) -> None:
    """Take one event in, said at a time in seconds since the epoch."""
    if handler := _HANDLERS.get(type(event)):
        handler(ledger, event, time)
        if node := getattr(event, "node", ""):
            spans = ledger.nodes.spans
            first, last = spans.get(node, (time, time))
            spans[node] = (min(first, time), max(last, time))  # farm and node tell in no order


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
        if event.instead:
            told = f"a graphics card failed, and the processor rendered instead: {event.instead}"
            _noted(ledger, events.Noted(told), time)
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


def _taken(ledger: Ledger, event: events.Taken, time: float) -> None:
    ledger.nodes.pace.coming(event.node)
    ledger.nodes.states.setdefault(event.node, "loading")


def _ended(ledger: Ledger, event: events.Ended, time: float) -> None:
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


def _delivered(ledger: Ledger, event: events.Delivered, time: float) -> None:
    frame = ledger.touched(event.frame)
    # The farm knows: a node whose clock is ahead may have let it fail after the retry that this came of.
    if frame and frame.state is not FrameState.SUCCEEDED and event.attempt > frame.attempts:
        frame.attempts, frame.reason, frame.message = event.attempt, None, None
        _is_there(ledger, frame, event)


def _reused(ledger: Ledger, event: events.Reused, time: float) -> None:
    if frame := ledger.touched(event.frame):
        _is_there(ledger, frame, event)


def _is_there(ledger: Ledger, frame: Frame, event: events.Delivered | events.Reused) -> None:
    frame.size, frame.mtime, frame.fingerprint = event.size, event.mtime, event.fingerprint
    frame.reused = isinstance(event, events.Reused)
    ledger.run.newest = event.frame
    ledger.tally.move(frame, FrameState.SUCCEEDED)


def _doubted(ledger: Ledger, event: events.Doubted, time: float) -> None:
    if frame := ledger.touched(event.frame):
        message = f"{event.finding}: {event.detail}"
        ledger.tally.move(frame, FrameState.QUEUED)
        frame.doubted, frame.spent = True, 0
        failure = Failed(event.frame, Reason.BAD_PICTURE, message, attempt=frame.attempts)
        ledger.tries.setdefault(event.frame, []).append(failure)


def _suspected(ledger: Ledger, event: events.Suspected, time: float) -> None:
    told = zip(event.frames, event.findings, event.details, strict=False)
    ledger.remarks.suspected = {
        number: Suspect(number, Finding(finding), detail)
        for number, finding, detail in told
        if finding in tuple(Finding)  # newer versions know others
    }


def _retried(ledger: Ledger, event: events.Retried, time: float) -> None:
    from renderfarm.words.frames import parse  # nodes fold, too, and have no fileseq

    try:
        wanted = parse(event.frames) if event.frames else None
    except FramesError:
        return
    ledger.run.given_up, ledger.run.canceled = None, False
    for frame in list(ledger.of(*DECIDED) if wanted else ledger.of(FrameState.FAILED)):
        if wanted is None or frame.frame in wanted:
            ledger.reopen(frame.frame)


# What the farm does with the job


def _begun(ledger: Ledger, event: events.Begun, time: float) -> None:
    ledger.rest()
    run = ledger.run
    run.canceled = run.in_line = run.paused = False
    run.begun, ledger.remarks.made = time, events.Made()
    ledger.remarks.troubles.clear()
    for frame in list(ledger.of(FrameState.CANCELED)):
        ledger.tally.move(frame, FrameState.QUEUED)


def _queued(ledger: Ledger, event: events.Queued, time: float) -> None:
    ledger.run.in_line, ledger.run.begun = True, None


def _admitted(ledger: Ledger, event: events.Admitted, time: float) -> None:
    ledger.run.in_line, ledger.run.begun = False, time


def _left(ledger: Ledger, event: events.Left, time: float) -> None:
    ledger.rest()
    ledger.run.seconds += event.seconds
    ledger.run.in_line, ledger.run.begun = False, None


def _canceled(ledger: Ledger, event: events.Canceled, time: float) -> None:
    ledger.rest()
    ledger.run.canceled = True


def _paused(ledger: Ledger, event: events.Paused, time: float) -> None:
    ledger.run.paused = True


def _given_up(ledger: Ledger, event: events.GivenUp, time: float) -> None:
    ledger.rest()
    ledger.run.given_up = event.message


def _noted(ledger: Ledger, event: events.Noted, time: float) -> None:
    if event.note not in ledger.remarks.notes:
        ledger.remarks.notes.append(event.note)


def _made(ledger: Ledger, event: events.Made, time: float) -> None:
    ledger.remarks.made = event


_HANDLERS: dict[type, Callable[[Ledger, Any, float], None]] = {
    Started: _started,
    Rendered: _rendered,
    events.Delivered: _delivered,
    Failed: _failed,
    events.Reused: _reused,
    events.Saw: lambda ledger, event, time: ledger.sets.update({event.fingerprint: event.files}),
    events.Missed: lambda ledger, event, time: ledger.reopen(event.frame),
    events.Doubted: _doubted,
    events.Suspected: _suspected,
    events.Retried: _retried,
    events.Begun: _begun,
    events.Queued: _queued,
    events.Admitted: _admitted,
    events.Left: _left,
    events.Canceled: _canceled,
    events.Paused: _paused,
    events.GivenUp: _given_up,
    events.Taken: _taken,
    events.Ended: _ended,
    events.Noted: _noted,
    events.Troubled: lambda ledger, event, time: ledger.remarks.troubles.append(event.problem),
    events.Made: _made,
    NodeChange: _node_change,
}
