"""One task of a job on a rented node: the node program's own way (`renderfarm.node.task`), with blobs as depot.

Idempotent: what is in storage already is not rendered again, so a task that was preempted and begins anew does
only what is missing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from renderfarm.depots.redaction import redact
from renderfarm.errors import SceneError
from renderfarm.job import events
from renderfarm.job.ledger import Ledger
from renderfarm.node.lanes import Stopped
from renderfarm.node.task import Machine, Run, build_for
from renderfarm.queues.azure import layout
from renderfarm.queues.azure.on_node import exits, place
from renderfarm.queues.azure.on_node.assets import Store, view
from renderfarm.queues.azure.on_node.exits import Exit
from renderfarm.queues.azure.on_node.journal import Journal
from renderfarm.queues.azure.on_node.manifest import Manifest, from_json
from renderfarm.renderers import SessionFailure, renderer
from renderfarm.renderers.scratch import is_own
from renderfarm.words.as_json import decode, read_json
from renderfarm.words.request import SUFFIXES
from renderfarm.words.states import RETRYABLE, Reason
from renderfarm.words.updates import Trouble
from renderfarm.words.work import Build, Work

SCRATCH = "scratch"
_LOG = logging.getLogger(__name__)


def render_task() -> int:
    """Render what RENDERFARM_TASK names; the exit code. Raises Exit, and BlobError when storage fails.

    The journal calls the task over where Batch will not begin it again.
    """
    text = os.environ.get(layout.TASK, "")
    try:
        task, retries = layout.asked_of(text)
    except ValueError as error:
        raise Exit(exits.HOPELESS, f"{layout.TASK} says no frames: {text!r}.") from error
    depot = place.containers().job
    name, node = layout.task_id(task), Machine(layout.node_name(place.node_name()), 1 / place.slots())
    with Journal(depot, place.node_name()) as journal:
        journal.add(events.Taken(name, node.name))
        run = Run(task, retries, node, depot, journal, rented=True)
        try:
            _render(run)
            code = _exit_code(run.ledger)
        except Exit as end:
            if end.code != exits.HOPELESS:
                raise
            told = redact(f"{end.message} {end.hint}".strip())
            journal.add(Trouble(Reason.SCENE_ERROR, told, node.name))
            journal.add(events.Ended(name, node.name, end.code))
            raise
        journal.add(events.Ended(name, node.name, code))
    return code


def _exit_code(ledger: Ledger) -> int:
    """Good where every frame has an outcome; another one where that is the same word against each of them.

    One frame's scene error stops no job: the frame alone may be at fault.
    """
    reasons = [Reason(failure.reason) for failure in ledger.failures()]
    alike = len(set(reasons)) == 1 and not ledger.counts().succeeded and reasons[0] not in RETRYABLE
    return exits.HOPELESS if alike and (len(reasons) > 1 or Reason.MISSING_FILE in reasons) else exits.GOOD


def prepare() -> int:
    """The job preparation task: bring the assets that the node doesn't have yet; the exit code. Raises Exit."""
    began = time.monotonic()
    manifest = _manifest()
    brought = _store().bring(manifest, place.containers().assets)
    seconds = time.monotonic() - began
    _LOG.info("%d files are here, %d of them came in %.1f s.", len(manifest.files), brought, seconds)
    return exits.GOOD


def _store() -> Store:
    return Store(place.shared("assets"))


def _manifest() -> Manifest:
    try:
        return from_json((place.inputs_folder() / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        message = f"The job's manifest can't be read: {error}."
        raise Exit(exits.HOPELESS, message, "Submit the job again.") from error


def _render(run: Run) -> None:
    """Render the frames that are not in storage."""
    manifest, store, assets = _manifest(), _store(), place.containers().assets
    template = decode(Work, json.loads((place.inputs_folder() / "job.json").read_bytes())["work"])
    scratch = place.working_folder() / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    (place.working_folder() / "logs").mkdir(exist_ok=True)
    if run.take_up(SUFFIXES[template.settings.format]):
        bring = functools.partial(store.bring, manifest, assets)
        bring()
        with view(manifest, store, place.working_folder() / "project", bring) as folder:
            _render_in(run, _moved(template, manifest, folder))
    shutil.rmtree(scratch, ignore_errors=True)


def _builds(name: str) -> Sequence[Build]:
    """Builds of a renderer that rendered a probe frame here; where none was asked for, all that there are."""
    file = place.node_file()
    found = read_json(tuple[Build, ...], file.read_bytes()) if file.exists() else ()
    return [build for build in found if build.renderer == name] or renderer(name).builds()


def _render_in(run: Run, work: Work) -> None:
    try:
        run.render(work, work.build)
    except SessionFailure as failure:
        code = exits.FAILED if failure.reason in RETRYABLE else exits.HOPELESS
        raise Exit(
            exits.DISK_FULL if failure.reason is Reason.DISK_FULL else code, failure.message
        ) from failure
    except Stopped as stopped:
        raise Exit(exits.STOPPED, "The task was stopped.") from stopped
    finally:
        _keep_logs(Path(work.scratch) / "work", Path(work.logs))


def _moved(template: Work, manifest: Manifest, project: Path) -> Work:
    """The work as it is on this node; raises Exit where no build here renders it."""
    working = place.working_folder()
    work = replace(
        template,
        scene=str(project / manifest.scene),
        scratch=str(working / SCRATCH),
        readable=(),
        named=(str(project),),
        logs=str(working / "logs"),
        rebase=(manifest.root, str(project)),
    )
    try:
        return replace(work, build=build_for(work, _builds(work.renderer), manifest.needs))
    except SessionFailure as failure:
        hint = "Add a package with `renderfarm renderer add` and name it as `renderer` of the pool."
        raise Exit(exits.HOPELESS, f"This node can't render the scene: {failure.message}.", hint) from failure
    except SceneError as error:
        raise Exit(exits.HOPELESS, error.message, error.hint) from error


def _keep_logs(scratch: Path, logs: Path) -> None:
    """What renderers wrote goes up with the task's other logs."""
    for log in scratch.glob("*/*.log"):
        with contextlib.suppress(OSError):
            if is_own(log, scratch):
                shutil.move(log, logs / f"{log.stem}.{log.parent.name}.log")
