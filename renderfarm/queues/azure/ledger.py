"""Which frames are with the cloud, and what became of them: pure bookkeeping over what storage and Batch say.

Nodes tell the same thing twice when they are preempted and begin again, and Batch may end a task before or
after its last word is read. Each frame comes out of here once for each attempt that was submitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from renderfarm.queues.azure import hearsay, layout
from renderfarm.queues.azure.on_node import exits
from renderfarm.words.model import (
    Failed,
    NodeChange,
    Reason,
    Rendered,
    Started,
    Task,
    Trouble,
    Update,
)

REASONS = {
    exits.MISSING: Reason.MISSING_FILE,
    exits.IMPOSSIBLE: Reason.SCENE_ERROR,
    exits.DISK_FULL: Reason.NODE_LOST,
}
"""exit code of a task to the reason for frames that said nothing themselves"""
TASK_ENDED = "TaskEnded"
"""why Batch says that a task has failed which was stopped from outside"""


@dataclass(frozen=True)
class Picture:
    """A frame that waits in storage."""

    receipt: Rendered
    blob: str
    sha256: str
    bytes: int


@dataclass
class Outcome:
    """What a look at the cloud brought."""

    updates: list[Update] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    silent: list[tuple[str, int, int]] = field(default_factory=list)
    """frames of tasks that ended well without a word: (task, frame, attempt)"""
    refused: bool = False
    """storage did not let a task in: its tokens have run out"""
    unfit: list[str] = field(default_factory=list)
    """tasks that their nodes could not even begin, or had no room for"""


class Ledger:
    """Frames by number; an open frame was submitted and has no outcome."""

    def __init__(self) -> None:
        self._attempts: dict[int, int] = {}
        """the newest attempt that was submitted"""
        self._open: dict[int, str] = {}
        """frame to its task"""
        self._tasks: dict[str, tuple[int, ...]] = {}
        self._failures: dict[int, Failed] = {}
        self._troubles: dict[str, str] = {}
        """node to why it can't start the renderer"""
        self._last_words: dict[str, str] = {}
        """task, as Batch calls it, to why it could not go on"""
        self._nodes: set[str] = set()

    @property
    def open_frames(self) -> int:
        """Frames without an outcome."""
        return len(self._open)

    def is_open(self, frame: int) -> bool:
        """Whether a frame is still awaited."""
        return frame in self._open

    def new(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks, without frames that were submitted before in this attempt or a later one."""
        for task in tasks:
            frames = tuple(f for f in task.frames if task.attempt > self._attempts.get(f, 0))
            if frames:
                yield replace(task, frames=frames)

    def submitted(self, task: Task) -> None:
        """A task is with Batch."""
        name = layout.task_id(task)
        self._tasks[name] = task.frames
        for frame in task.frames:
            if task.attempt >= self._attempts.get(frame, 0):
                self._attempts[frame] = task.attempt
                self._open[frame] = name

    def dropped(self, name: str) -> None:
        """A task will never run: its open frames may be submitted again."""
        for frame in self._tasks.pop(name, ()):
            if self._open.get(frame) == name:
                del self._open[frame]
                self._attempts[frame] -= 1

    def again(self) -> list[Task]:
        """The open frames as tasks, for another Batch job."""
        left = {
            name: tuple(f for f in frames if self._open.get(f) == name) for name, frames in self._tasks.items()
        }
        return [Task(frames, self._attempts[frames[0]]) for frames in left.values() if frames]

    def decided(self, frame: int, attempt: int | None = None) -> None:
        """A frame has an outcome that was found elsewhere: whatever is tried, or only up to this attempt."""
        if attempt is not None and self._attempts.get(frame, 0) > attempt:
            return
        self._open.pop(frame, None)
        self._failures.pop(frame, None)

    def heard(self, kind: str, value: Mapping[str, Any], outcome: Outcome) -> None:
        """One entry of a node's journal."""
        node = layout.node_name(hearsay.words(value.get("node", "")))
        value = {**value, "node": node}
        if kind == "Begun" and node not in self._nodes:
            self._nodes.add(node)
            outcome.updates.append(NodeChange(node, "loading", "loads the scene"))
        elif kind == "Trouble":
            self._troubles[node] = hearsay.words(value.get("message", ""))
        elif kind == "Ended" and value.get("message"):
            self._last_words[str(value.get("task"))] = hearsay.words(value["message"])
        elif kind in ("Started", "Rendered", "Failed") and self._awaits(value):
            self._frame_heard(kind, value, outcome)

    def _awaits(self, value: Mapping[str, Any]) -> bool:
        frame = hearsay.number(value, "frame")
        return frame is not None and frame in self._open and value.get("attempt", 1) == self._attempts[frame]

    def _frame_heard(self, kind: str, value: Mapping[str, Any], outcome: Outcome) -> None:
        if kind == "Started" and (started := hearsay.event(Started, value)):
            outcome.updates.append(started)
        elif kind == "Rendered" and (found := picture(value)):
            self.decided(found.receipt.frame)
            outcome.pictures.append(found)
        elif kind == "Failed" and (failure := hearsay.event(Failed, value)):
            # Not the last word: Batch tries the task again, and says when it will not.
            self._failures[failure.frame] = failure

    def ended(self, row: Mapping[str, Any], outcome: Outcome) -> None:
        """A task that Batch calls completed; journals were read since, so what is open has no picture."""
        name = str(row["id"])
        frames = [frame for frame in self._tasks.pop(name, ()) if self._open.get(frame) == name]
        info = row.get("executionInfo") or {}
        if _word(info.get("result")) == "success" or info.get("exitCode") == exits.GOOD:
            outcome.silent += [(name, frame, self._attempts[frame]) for frame in frames]
        elif was_refused(row):
            outcome.refused = bool(frames) or outcome.refused
            self._tasks.update({name: tuple(frames)} if frames else {})
        elif is_unfit(row):
            self._tasks.update({name: tuple(frames)} if frames else {})
            message = self._last_words.get(name, "The pool's nodes have no renderer that opens the scene.")
            outcome.updates.append(Trouble(Reason.SCENE_ERROR, message))
        else:
            reason, message = _reason(info)
            message = self._last_words.get(name, message)
            outcome.updates += [self.failed(frame, reason, message, task=name) for frame in frames]
            if reason is Reason.NODE_LOST:
                outcome.unfit.append(name)

    def failed(self, frame: int, reason: Reason, message: str, task: str = "") -> Failed:
        """The end of a frame: what its last attempt said, or else this."""
        said = self._failures.get(frame)
        self.decided(frame)
        if said is None:
            trouble = next(iter(self._troubles.values()), "") if reason is not Reason.NODE_LOST else ""
            said = Failed(frame, reason, trouble or message, task=task, attempt=self._attempts[frame])
        if said.reason is Reason.DISK_FULL:  # the node's disk, not the one that the frames go to
            said = replace(said, reason=Reason.NODE_LOST, message=f"On {said.node}: {said.message}")
        return replace(said, final=reason is not Reason.NODE_LOST)

    def give_up(self, reason: Reason, message: str) -> list[Failed]:
        """All open frames fail."""
        self._tasks.clear()
        return [self.failed(frame, reason, message) for frame in list(self._open)]


def has_ended(row: Mapping[str, Any]) -> bool:
    """Whether a task is over, well or not."""
    return bool((row.get("executionInfo") or {}).get("result"))


def was_stopped(row: Mapping[str, Any]) -> bool:
    """Whether a task was ended from outside: by somebody, by its limit, or together with its job."""
    info = row.get("executionInfo") or {}
    return (info.get("failureInfo") or {}).get("code") == TASK_ENDED


def was_refused(row: Mapping[str, Any]) -> bool:
    """Whether storage did not let a task in."""
    return (row.get("executionInfo") or {}).get("exitCode") == exits.REFUSED


def is_unfit(row: Mapping[str, Any]) -> bool:
    """Whether a task found that no node of its pool can render it."""
    return (row.get("executionInfo") or {}).get("exitCode") == exits.UNFIT


def picture(value: Mapping[str, Any]) -> Picture | None:
    """What a node says of a frame that it put into storage; None when that makes no sense."""
    found = hearsay.receipt(value)
    return Picture(*found) if found else None


def _reason(info: Mapping[str, Any]) -> tuple[Reason, str]:
    code, failure = info.get("exitCode"), info.get("failureInfo") or {}
    said = " ".join(str(failure.get(key)) for key in ("code", "message") if failure.get(key))
    if code in REASONS:
        return REASONS[code], f"The task ended with exit code {code}. {said}".strip()
    if code is not None:
        return Reason.CRASH, f"The node program ended with exit code {code}. {said}".strip()
    # Without an exit code nothing of ours ran: the node's fault, unless somebody stopped the task.
    reason = Reason.UNKNOWN if failure.get("code") == TASK_ENDED else Reason.NODE_LOST
    return reason, said or "The task ended without a reason."


def _word(value: object) -> str:
    return str(value or "").lower()
