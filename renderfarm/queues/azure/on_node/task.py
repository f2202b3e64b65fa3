"""One task of a job: its frames are rendered, each goes to storage as soon as it is whole, the journal tells.

Idempotent: a frame that is in storage already is not rendered again, so a task that was preempted and begins
anew does only what is missing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from renderfarm.depots.redaction import redact
from renderfarm.errors import SceneError
from renderfarm.node.lanes import Lanes, Stopped, stopped_by_sigterm
from renderfarm.node.program import Event
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.on_node import exits, nodefile, place, spans
from renderfarm.queues.azure.on_node.assets import Store
from renderfarm.queues.azure.on_node.delivery import Delivery, Receipt, delivered_before
from renderfarm.queues.azure.on_node.exits import Exit
from renderfarm.queues.azure.on_node.journal import Journal
from renderfarm.queues.azure.on_node.manifest import Manifest, from_json
from renderfarm.queues.azure.on_node.view import view
from renderfarm.renderers import SessionFailure, renderer
from renderfarm.renderers.scratch import is_own
from renderfarm.words.model import (
    SUFFIXES,
    Build,
    Failed,
    Reason,
    Rendered,
    Started,
    Task,
    Trouble,
    Work,
    decode,
    encode,
)

LOOKS_AT_ONCE = 8
SCRATCH = "scratch"
LEAVING = "leaving"
_LOG = logging.getLogger(__name__)


@dataclass
class Tally:
    """What became of the frames so far."""

    rendered: int = 0
    reasons: list[Reason] = field(default_factory=list)
    """of those that failed"""

    def exit_code(self) -> int:
        """Good, worth another try, or a file missing in every frame.

        One frame's scene error stops no job: the frame alone may be at fault.
        """
        if not self.reasons:
            return exits.GOOD
        alike = set(self.reasons) if not self.rendered else set()
        if alike == {Reason.MISSING_FILE} or (len(self.reasons) > 1 and len(alike) == 1):
            return exits.of_reason(*alike)
        return exits.DISK_FULL if Reason.DISK_FULL in self.reasons else exits.FAILED


class Run:
    """A task in progress: hears what its sessions say and passes it on."""

    def __init__(
        self, task: Task, build: Build, device: str, journal: Journal, delivery: Delivery, receipts: TextIO
    ) -> None:
        self._task = task
        self._name = layout.task_id(task)
        self._build = build
        self._device = device
        self._journal = journal
        self._delivery = delivery
        self._receipts = receipts
        self._lock = threading.Lock()
        self.tally = Tally()
        self.tries = _tries(task)

    def hear(self, event: Event) -> None:
        """Take one event of a session; raises BlobError when storage does not take what came before."""
        if isinstance(event, Trouble):
            self._journal.add("Trouble", event)
            return
        value = self._own(event)
        if isinstance(event, Started):
            self._journal.add("Started", value, lazy=True)
        elif isinstance(event, Failed):
            self._note("Failed", value)
            _LOG.info("Frame %d failed: %s", event.frame, event.message)
        else:
            suffix = Path(event.path).suffix[1:]
            blob = layout.frame_blob(event.frame, self._task.attempt, suffix)
            picture = _taken(Path(event.path), Path(blob).name)
            self._delivery.hand_over(picture, {**value, "path": blob}, blob, self.delivered)

    def _own(self, event: Started | Rendered | Failed) -> Receipt:
        """The event as this task's: sessions render parts of it, and later tries under other numbers."""
        named = replace(event, task=self._task.id, attempt=self._task.attempt)
        value: Receipt = encode(named)
        if isinstance(named, (Rendered, Failed)):
            log = f"{layout.LOGS}{self._name}/{Path(named.log).name}" if named.log else ""
            value |= {"log": log, "build": encode(self._named()), "device": self._device}
        return value

    def _named(self) -> Build:
        """The build, told apart by what it computes with: pixels of a graphics card are not those of a CPU."""
        known = self._build.identity
        return (
            self._build if self._device == "CPU" else replace(self._build, identity=f"{known} {self._device}")
        )

    def delivered(self, receipt: Receipt) -> None:
        """A frame is in storage, now or since an earlier try."""
        self._note("Rendered", receipt)
        _LOG.info("Frame %(frame)d: %(seconds).1f s, %(bytes)d bytes, in storage.", receipt)

    def _note(self, kind: str, value: Receipt) -> None:
        with self._lock:
            if kind == "Rendered":
                self.tally.rendered += 1
            else:
                self.tally.reasons.append(Reason(value["reason"]))
            self._receipts.write(json.dumps([kind, value]) + "\n")
            self._receipts.flush()
        self._journal.add(kind, value)


def render_task() -> int:
    """Render what RENDERFARM_TASK names; the exit code. Raises Exit, and BlobError when storage fails."""
    task = _asked_for(os.environ.get("RENDERFARM_TASK", ""))
    outputs = place.containers().outputs
    working = place.working_folder()
    (working / "logs").mkdir(exist_ok=True)
    said = {"task": layout.task_id(task), "node": place.node_name()}
    with (
        (working / "receipts.jsonl").open("w", encoding="utf-8") as receipts,
        Journal(outputs, place.node_name()) as journal,
    ):
        begun = {**said, "dedicated": place.is_dedicated(), "try": _tries(task)}
        journal.add("Begun", begun, lazy=True)
        try:
            code = _run(task, journal, receipts)
        except Exit as end:
            told = redact(f"{end.message} {end.hint}".strip())
            journal.add("Ended", {**said, "code": end.code, "message": told})
            raise
        journal.add("Ended", {**said, "code": code})
    if code != exits.GOOD:
        _count_try(task)
    return code


def _run(task: Task, journal: Journal, receipts: TextIO) -> int:
    """Render the frames that are not in storage; the exit code."""
    containers = place.containers()
    manifest = from_json((place.inputs_folder() / "manifest.json").read_bytes())
    template = decode(Work, _record()["work"])
    store = Store(place.shared("assets"), place.shared("locks"))
    build, device = nodefile.choose(template)

    def bring() -> int:
        return store.bring(manifest, containers.assets)

    shutil.rmtree(place.working_folder() / SCRATCH, ignore_errors=True)
    with Delivery(containers.outputs) as delivery:
        run = Run(task, build, device, journal, delivery, receipts)
        left = _left(task, template, run)
        if left:
            bring()
            with view(manifest, store, place.working_folder() / "project", bring) as folder:
                _render(left, _moved(template, manifest, build, folder), run)
    for name in (SCRATCH, LEAVING):
        shutil.rmtree(place.working_folder() / name, ignore_errors=True)
    return run.tally.exit_code()


def _asked_for(text: str) -> Task:
    try:
        asked = json.loads(text)
        return Task(spans.read(asked["frames"]), int(asked["attempt"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Exit(exits.IMPOSSIBLE, f"RENDERFARM_TASK says no frames: {text!r}.") from error


def _record() -> Mapping[str, Any]:
    record: Mapping[str, Any] = json.loads((place.inputs_folder() / "job.json").read_bytes())
    return record


def _left(task: Task, work: Work, run: Run) -> Task | None:
    """The frames that are not in storage; of those that are, the journal is told again."""
    client = place.containers().inputs
    suffix = SUFFIXES[work.settings.format]
    names = [layout.frame_blob(frame, task.attempt, suffix) for frame in task.frames]
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
        found = list(threads.map(lambda name: delivered_before(client, name), names))
    for receipt in filter(None, found):
        run.delivered(receipt)
    left = tuple(frame for frame, receipt in zip(task.frames, found) if receipt is None)  # noqa: B905
    return replace(task, frames=left) if left else None


def _moved(template: Work, manifest: Manifest, build: Build, project: Path) -> Work:
    """The work as it is on this node."""
    working = place.working_folder()
    scene = project / manifest.scene
    chosen = renderer(template.renderer)
    try:
        told = chosen.preread(scene)
        objection = chosen.accepts(build, replace(told, needs=max(told.needs, manifest.needs)))
    except SceneError as error:
        raise Exit(exits.IMPOSSIBLE, error.message, error.hint) from error
    if objection:
        hint = "Add a package with `renderfarm renderer add` and name it as `renderer` of the pool."
        raise Exit(exits.UNFIT, f"The pool's nodes can't render the scene: {objection}.", hint)
    return replace(
        template,
        build=build,
        scene=str(scene),
        scratch=str(working / SCRATCH),
        readable=(),
        named=(str(project),),
        logs=str(working / "logs"),
        rebase=(manifest.root, str(project)),
    )


def _render(task: Task, work: Work, run: Run) -> None:
    """Render with as many sessions as suit the renderer."""
    lanes = Lanes(work, len(task.frames), run.hear, place.node_name(), 1 / place.slots())
    try:
        with stopped_by_sigterm(lanes):
            lanes.open()
            lanes.render(replace(task, attempt=task.attempt + run.tries))
    except SessionFailure as failure:
        run.hear(Trouble(failure.reason, failure.message, place.node_name()))
        raise Exit(exits.of_reason(failure.reason), failure.message) from failure
    except Stopped as stopped:
        raise Exit(exits.STOPPED, "The task was stopped.") from stopped
    finally:
        lanes.close()
        _keep_logs(Path(work.scratch), Path(work.logs))


def _taken(picture: Path, name: str) -> Path:
    """A picture, where what runs in the sandbox can't put a link in its place any more."""
    folder = place.working_folder() / LEAVING
    folder.mkdir(exist_ok=True)
    target = picture.replace(folder / name)
    if not is_own(target, folder):
        target.unlink()
        raise Exit(exits.IMPOSSIBLE, f"The renderer put a link in the place of {picture.name}.")
    return target


def _keep_logs(scratch: Path, logs: Path) -> None:
    """What renderers wrote goes up with the task's other logs."""
    for log in scratch.glob("*/*.log"):
        with contextlib.suppress(OSError):
            if is_own(log, scratch):
                shutil.move(log, logs / f"{log.stem}.{log.parent.name}.log")


def _tries(task: Task) -> int:
    """How often this task has failed on this node; Batch doesn't tell."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return int(_tries_file(task).read_text())
    return 0


def _count_try(task: Task) -> None:
    count = _tries(task) + 1
    with contextlib.suppress(OSError):
        _tries_file(task).write_text(str(count))


def _tries_file(task: Task) -> Path:
    job = os.environ.get("AZ_BATCH_JOB_ID", "job")
    return place.shared("tries") / f"{job}.{layout.task_id(task)}"
