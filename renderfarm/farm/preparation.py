"""Everything before the first frame: the output folder claimed, the scene inspected, what can't work refused.

What comes out, `Ready`, is all that the loop needs besides the store.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from renderfarm.errors import InputError, MissingAssetsError, SceneError
from renderfarm.farm import inspector
from renderfarm.farm.cache import Origin
from renderfarm.farm.copies import Keep, Sources
from renderfarm.farm.inspector import Beginning, Inspection
from renderfarm.job import fingerprinting, observed
from renderfarm.job.fingerprint import Fingerprints, Ingredients
from renderfarm.job.home import claim
from renderfarm.job.record import FRAMES, LOGS, SCRATCH, Record
from renderfarm.job.store import Store
from renderfarm.node import strays
from renderfarm.node.process import NodeProcess
from renderfarm.renderers import renderer_for
from renderfarm.settings import config
from renderfarm.settings.pool import PoolConfig
from renderfarm.words import files, stamps
from renderfarm.words.frames import FrameRange, parse
from renderfarm.words.request import Request
from renderfarm.words.scene import Asset, Scene
from renderfarm.words.work import Build, Work

COPIES = "scene"
"""folder in there for copies of the scene"""
SHOWN_PATHS = 5


@dataclass(frozen=True)
class Ready:
    """A job's scene, looked at and split: all that the loop needs besides the store."""

    scene: Scene
    work: Work
    """for a node of any name: its scratch is the job's"""
    frames: FrameRange
    fingerprints: Fingerprints
    pool: PoolConfig
    ingredients: Ingredients | None = None
    """what the fingerprints are made of; None for a job that another machine fingerprinted"""
    nodes: str | None = None
    """what stands for a remote pool's nodes and what they install"""
    node: NodeProcess | None = None
    """the one that has the scene open"""
    sources: Sources = field(default_factory=Sources)
    """the scene's own files, where they are rendered from copies"""
    unconfined: str = ""
    """why renderers run without a sandbox on this machine; empty when they are in one"""

    @property
    def scratch(self) -> Path:
        """The folder for nodes, and for what is on its way."""
        return Path(self.work.scratch)

    def origin(self, store: Store) -> Origin:
        """What renders its frames."""
        return Origin(store, self.fingerprints, self.nodes)


def session_measure(request: Request) -> str:
    """Name of the measure of one session's seconds per frame, kept while the scene is edited."""
    asked = request.settings
    size = f"{asked.resolution} {asked.scale} {asked.samples} {asked.engine} {request.split or ''}".rstrip()
    return f"session seconds per frame of {request.scene} in {request.pool}: {size}"


def unpaid_measure(request: Request) -> str:
    """Name of the measure of the CPU seconds of a frame with which more sessions than one were no faster."""
    return session_measure(request).replace("session seconds", "unpaid CPU seconds", 1)


@contextlib.contextmanager
def output_claimed(request: Request) -> Iterator[Path]:
    """The output folder, made when missing and claimed; yields its scratch folder."""
    output = Path(request.output)
    scratch = output / SCRATCH
    if scratch.is_symlink():
        raise InputError(f"{scratch} is a link, which no sandbox follows.", "Put the folder itself there.")
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        (output / FRAMES).mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch):
            pass
    except OSError as error:
        message = f"The output folder {output} can't be written: {error.strerror}."
        raise InputError(message, "Choose another one with --output.") from error
    message = f"Another job is writing into {output} just now."
    with claim(scratch / "lock", message, "Wait for it (`renderfarm jobs`), or choose another --output."):
        yield scratch


@contextlib.contextmanager
def prepared(
    request: Request,
    store: Store,
    scratch: Path,
    *,
    look: bool = True,
    wanted: Container[str] | None = (),
    declared: bool = False,
    beginning: Beginning = Beginning(),  # noqa: B008 - frozen
) -> Iterator[Ready]:
    """Inspect the scene (keeping the node warm), refuse what can't work, and fingerprint the rest.

    Copies of the scene are made (none for None), or those of an earlier run taken that have a `wanted` hash.
    Raises NotRemembered when a renderer would have to look at the scene and must not.
    """
    pool = config.load().pool(request.pool)
    keep = None if wanted is None else Keep(scratch / COPIES, wanted)
    if keep and not wanted:  # of a job that this one takes the place of
        forget_copies(Path(request.output))
    with (
        _work_folder(scratch / "work") as work_folder,
        inspector.warm(
            request,
            work_folder,
            store,
            expected=store.measure(session_measure(request)) or 0.0,
            keep=keep,
            look=look,
            travels=pool.remote,
            declared=declared and not pool.remote,
            beginning=beginning,
        ) as inspection,
    ):
        _refuse(request, pool, inspection)
        yield _fingerprinted(request, store, pool, inspection)


def _fingerprinted(request: Request, store: Store, pool: PoolConfig, inspection: Inspection) -> Ready:
    """With all that its frames are rendered from, hashed and from now on watched."""
    scene, copied = inspection.scene, inspection.sources.hashes
    frames = parse(request.frames or scene.frames)
    since = time.time()
    found = fingerprinting.inputs(scene, store, copied)
    work, build = inspection.work, inspection.work.build
    ingredients = fingerprinting.ingredients(scene, pool.rendering(build), work.settings, found)
    fingerprints = fingerprinting.fingerprints_of(ingredients, scene, store, frames)
    if fingerprints.observed:
        observed.recall(fingerprints, str(Path(scene.path).parent), store, lacking(request, scene))
    inputs = fingerprinting.guarded(found, scene, frames, copied)
    writes = renderer_for(Path(scene.path)).writes
    looked_at = {scene.path, *(asset.path for asset in scene.assets if asset.certain or not writes)}
    for each in inputs:
        if each.stamp and each.path in looked_at and inspection.has_moved(each.path, each.stamp):
            raise stamps.being_written(each.path)
    nodes = _equipment(pool, scene, build)
    if named := Origin(store, fingerprints, nodes).known:  # by nodes elsewhere, last; for people
        ingredients = replace(ingredients, identity=named[0], label=named[1])
    work = replace(work, inputs=inputs, since=since)
    opened = (inspection.node, inspection.sources, inspection.unconfined)
    return Ready(scene, work, frames, fingerprints, pool, ingredients, nodes, *opened)


def _equipment(pool: PoolConfig, scene: Scene, build: Build) -> str | None:
    """What stands for a remote pool's nodes and what they install for a scene; None for a local pool."""
    if not pool.remote:
        return None
    from renderfarm.queues import open_remote_side

    with contextlib.closing(open_remote_side(pool)) as side:
        return side.equipment(scene, build)


def with_copies(ready: Ready) -> Ready:
    """The job with copies of the scene's own files, made now where they were not needed before."""
    return replace(ready, work=replace(ready.work, copies=ready.sources.copied()))


def cooled(ready: Ready) -> Ready:
    """The job with no renderer open."""
    if ready.node and not ready.node.taken:
        ready.node.taken = True
        ready.node.close()
    return replace(ready, node=None)


def has_changed(ready: Ready) -> bool:
    """Whether a file is not as it was when the scene was looked at."""
    return any(stamps.stamp(each.path) != each.stamp for each in ready.work.inputs)


def forget_copies(output: Path) -> None:
    """All frames are there: the scene that they were rendered from need not be kept."""
    files.remove(output / SCRATCH / COPIES)


def recalled(record: Record, pool: PoolConfig, scratch: Path) -> Ready:
    """A remote job on a machine that need not have its scene, nor a renderer."""
    folder = _emptied(scratch / "work")
    work = replace(record.work, scratch=str(folder), logs=str(record.output / LOGS))
    nodes = _equipment(pool, record.scene, record.renderer)
    fingerprints = record.fingerprints or Fingerprints(record.fingerprint)
    return Ready(record.scene, work, parse(record.frames), fingerprints, pool, nodes=nodes)


@contextlib.contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """A folder for nodes; nothing stays in it of a farm that was killed, or of a node that rendered nothing."""
    try:
        yield _emptied(folder)
    finally:
        files.remove(folder)


def _emptied(folder: Path) -> Path:
    """The folder, without what a farm that was killed left in it."""
    try:
        strays.kill(strays.noted(folder))
        files.remove(folder)
        folder.mkdir(exist_ok=True)
    except OSError as error:
        message = f"The folder {folder} can't be written: {error.strerror}."
        raise InputError(message, "Choose another one with --output.") from error
    return folder


def _refuse(request: Request, pool: PoolConfig, inspection: Inspection) -> None:
    """Say before a single frame is rendered what would go wrong with all of them."""
    scene = inspection.scene
    if request.after and not pool.kind.rented:
        message = f"Pool {pool.name!r} has no nodes of its own, so it has no --after."
        raise InputError(message, "Leave it out, or choose a cloud pool with --pool.")
    if pool.remote and request.together:
        raise InputError(f"Pool {pool.name!r} is not this machine, so it has no --together.", "Leave it out.")
    certain = _needed(request, scene)
    missing = [asset.path for asset in certain]
    withheld = {asset.path: f" (it {asset.withheld})" for asset in certain if asset.withheld}
    if missing and not request.allow_missing:
        shown = "".join(f"\n  {path}{withheld.get(path, '')}" for path in missing[:SHOWN_PATHS])
        more = f"\n  … and {len(missing) - SHOWN_PATHS} more" if len(missing) > SHOWN_PATHS else ""
        several = f"{len(missing)} files that the scene needs are"
        count = several if len(missing) > 1 else "A file that the scene needs is"
        hint = "Put them back, or render without them with --allow-missing."
        if withheld:
            hint = "Scenes may not name their way to everything: copy what this one needs into its folder."
        raise MissingAssetsError(f"{count} missing:{shown}{more}", tuple(missing), hint)
    if scene.newer and not request.allow_older:
        hint = "Install the version that saved it, or render what this one can read with --allow-older."
        raise SceneError(f"{inspection.work.build.label} says: {scene.newer}", hint)
    if scene.obstacle:
        raise SceneError(scene.obstacle, "Nothing was rendered.")


def _needed(request: Request, scene: Scene) -> list[Asset]:
    """Missing files that pictures would lack, or the film that is wanted of them: nobody hears a picture."""
    several = len(parse(request.frames or scene.frames)) > 1
    silent = not (request.video or (several and not request.no_video))
    return [asset for asset in scene.missing if asset.certain and not (silent and asset.kind == "sound")]


def lacking(request: Request, scene: Scene) -> frozenset[str]:
    """Missing files that no frame may be seen to look for: those that the scene names, unless allowed."""
    if request.allow_missing or renderer_for(Path(scene.path)).writes:
        return frozenset()
    return frozenset(asset.path for asset in scene.missing if asset.kind != "sound")


def workers(request: Request, scene: Scene) -> int | None:
    """How many may render at once: one where frames read what those before wrote; None: as many as suit."""
    return 1 if scene.ordered else request.workers


def notes(request: Request, ready: Ready, store: Store) -> tuple[str, ...]:
    """What the user should know before looking at pictures."""
    scene, build = ready.scene, ready.work.build
    what = f"inspected with {build.label} here" if ready.pool.remote else f"rendered with {build.label}"
    notes = [what, *scene.notes]
    notes += [scene.newer] if scene.newer else []
    notes += _order_notes(ready)
    unread = [name for name in renderer_for(Path(request.scene)).equipment.variables if os.environ.get(name)]
    notes += [
        f"{name} ({os.environ[name]}) does not count here: say the same in the scene or with --option"
        for name in unread
    ]
    if request.reuse and ready.origin(store).expected is None:
        notes.append(f"nothing is reused: what nodes of pool {ready.pool.name!r} render with is not known yet")
    if ready.unconfined:
        notes.append(shut_in(ready))
    notes += [inspector.withheld(asset.path, asset.withheld) for asset in scene.missing if asset.withheld]
    if unused := [asset.path for asset in scene.missing if not (asset.certain or asset.withheld)]:
        more = ", …" if len(unused) > SHOWN_PATHS else ""
        notes.append(f"not there, and not looked for in a first look: {', '.join(unused[:SHOWN_PATHS])}{more}")
    if certain := len(_needed(request, scene)):
        count = f"{certain} files are" if certain > 1 else "a file is"
        notes.append(f"{count} missing, as allowed: pictures will lack what is in them")
    if scene.blocked_scripts:
        blocked = ", ".join(scene.blocked_scripts[:SHOWN_PATHS])
        notes.append(f"scripts did not run ({blocked}), so pixels may be wrong; --trust-scripts runs them")
    outside = _outside(ready.frames, parse(scene.frames))
    if outside and request.frames:
        notes.append(f"frames outside the scene's own range {scene.frames}: {outside}")
    return tuple(notes)


def shut_in(ready: Ready) -> str:
    """How renderers are shut in on this machine, in words."""
    return f"no sandbox: {ready.unconfined}" if ready.unconfined else "bubblewrap"


def _order_notes(ready: Ready) -> Iterator[str]:
    """What it costs that frames follow from those before them, or that they are taken apart."""
    scene = ready.scene
    if scene.unbaked:
        way = "--allow-unbaked splits them"
        apart = "frames rendered apart may differ from a full run"
        yield f"not baked: {scene.unbaked}; {f'bake them, or {way}' if scene.ordered else apart}"
    if scene.ordered:
        before = sum(frame < ready.frames.first for frame in parse(scene.frames))
        cost = f", after running through {before} before them" if before else ""
        yield f"one worker renders the frames in order{cost}"


def _outside(frames: FrameRange, own: FrameRange) -> str:
    """The frames before and after the scene's own first and last."""
    if frames.first >= own.first and frames.last <= own.last:
        return ""
    spans = [(frames.first, min(frames.last, own.first - 1)), (max(frames.first, own.last + 1), frames.last)]
    return ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in spans if a <= b)
