"""Asks the renderer what a scene contains, before anything is rendered.

Which renderer may open the file is decided from the file itself; then a node opens the scene in a sandbox and
describes it. That node stays warm and renders afterwards. What was found is remembered as long as no file
changes, so a scene that was inspected before needs no renderer at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import InputError, RendererMissingError, RenderfarmError, SceneError, SessionError
from renderfarm.farm.copies import Keep, Sources, sources
from renderfarm.job.fingerprinting import file_hash
from renderfarm.job.home import farm_home
from renderfarm.job.record import LOGS
from renderfarm.job.store import Store
from renderfarm.node import trace
from renderfarm.node.guard import Guard
from renderfarm.node.process import NodeProcess, SessionTroubleError
from renderfarm.node.sandbox import View, wanted
from renderfarm.renderers import Renderer, renderer, renderer_for, wildcards
from renderfarm.request import scene_path
from renderfarm.words import stamps
from renderfarm.words.as_json import encode
from renderfarm.words.devices import devices
from renderfarm.words.request import Request, Sandbox, Settings
from renderfarm.words.scene import Asset, Needs, Scene
from renderfarm.words.stamps import Stamp
from renderfarm.words.states import Reason
from renderfarm.words.temporary import Temporary
from renderfarm.words.work import Build, Work

ROUNDS = 6
"""libraries that link libraries in other folders are found one level a round"""
FIRST_NODE = "w1"
MEANING = 10
"""changes whenever scenes are described in another way, so that what was remembered is not believed"""


Seen = list[int] | list[str]
"""a file's stamp, or what a folder lists"""


@dataclass(frozen=True)
class Beginning:
    """What goes on beside looking at a scene, so that the first frame is sooner there."""

    node: NodeProcess | None = None
    """one that was started before; closed by whoever started it unless it was taken over"""
    meanwhile: Callable[[], None] = lambda: None
    """called when a renderer begins to look"""


@dataclass(frozen=True)
class Inspection:
    """A scene that was looked at, and what is needed to render it."""

    scene: Scene
    work: Work
    """for a node of any name: its scratch is the job's"""
    unconfined: str = ""
    """why renderers run without a sandbox on this machine; empty when they are in one"""
    node: NodeProcess | None = None
    """the node that has it open; None when all was known already"""
    sources: Sources = field(default_factory=Sources)
    """the scene's own files, where they are rendered from copies"""
    seen: Mapping[str, Seen] = field(default_factory=dict)
    """the files that say what the scene needs, as they were when they were looked at"""

    def has_moved(self, path: str, found: Stamp) -> bool:
        """Whether a file is not the one that was looked at; links only change the last part of its stamp."""
        return path not in self.sources.hashes and list(found[:4]) != self.seen.get(path, [])[:4]


def inspect(
    scene: Path,
    settings: Settings | None = None,
    *,
    sandbox: Sandbox = Sandbox.AUTO,
    programs: Mapping[str, str] | None = None,
) -> Scene:
    """What a scene contains and needs. Raises SceneError, InputError or RendererMissingError."""
    request = Request(
        str(scene), "", settings=settings or Settings(), sandbox=sandbox, programs=dict(programs or {})
    )
    with (
        closing(Store(farm_home())) as store,
        Temporary() as folder,
        warm(request, folder, store, travels=True, declared=True) as inspection,
    ):
        return inspection.scene


@dataclass(frozen=True)
class Remembered:
    """What an inspection found, for as long as what it saw is as it was."""

    scene: Scene
    readable: tuple[str, ...]
    unconfined: str
    seen: Mapping[str, Seen]


class NotRemembered(Exception):  # noqa: N818 - not an error: a renderer must look
    """The scene, as it is now, was not looked at before."""


@contextmanager
def warm(
    request: Request,
    scratch: Path,
    store: Store,
    *,
    expected: float = 0.0,
    keep: Keep | None = None,
    look: bool = True,
    travels: bool = False,
    declared: bool = False,
    beginning: Beginning = Beginning(),
) -> Iterator[Inspection]:
    """Inspect a scene; a node that was started is closed at the end unless it was taken over by then.

    Where it `travels`, all files that its frames need are wanted before one is rendered; with `declared` a
    renderer that names them is believed: nobody sees what else is opened. `expected` are seconds of a frame,
    where one of the scene was rendered before. With `keep`, the scene's own files are rendered from copies
    where a renderer can be given these. Raises NotRemembered instead of starting a node unless it may `look`.
    """
    renderer = renderer_for(scene_path(request.scene))
    _refuse_unsupported(renderer, request.settings)
    work, files = _work(request, renderer, scratch)
    traced = not trace.obstacle() and (renderer.writes or not declared)
    work = dataclasses.replace(work, traced=traced, card=None if travels else 0)
    copied = keep and (renderer.opens_copies or wanted(request.sandbox))
    own = sources(files, keep, store) if keep and copied else Sources()
    found, node = store.recall(Remembered, _key(work, own, store, travels=travels)), beginning.node
    if found is None or found.seen != _seen(found.scene, own):
        if not look:
            raise NotRemembered
        own = dataclasses.replace(own, copies=own.copied())
        pace = expected if travels else None
        found, node = _look(dataclasses.replace(work, copies=own.copies), own, store, pace, beginning)
    try:
        work = _for_frames(dataclasses.replace(work, readable=found.readable), found.scene, travels=travels)
        yield Inspection(found.scene, work, found.unconfined, node, own, found.seen)
    finally:
        if node and not node.taken:
            node.close()


def _work(request: Request, renderer: Renderer, scratch: Path) -> tuple[Work, tuple[str, ...]]:
    """What a node that looks needs to know; it goes on and renders, so it has the job's limit and logs. And the
    scene's own files."""
    path, settings = Path(request.scene), request.settings
    if request.frames and "frames" in renderer.settings:
        settings = dataclasses.replace(settings, frames=request.frames)
    confined = request.sandbox is not Sandbox.OFF
    build = choose_build(renderer, path, request.programs.get(renderer.name), confined=confined)
    preread = renderer.preread(path)
    work = Work(
        renderer=renderer.name,
        build=build,
        scene=request.scene,
        settings=settings,
        scratch=str(scratch),
        sandbox=request.sandbox,
        frame_seconds=request.timeout,
        logs=request.output and str(Path(request.output) / LOGS),
        readable=preread.paths,
        named=tuple(renderer.named(path, settings)),
    )
    return work, preread.sources


def choose_build(renderer: Renderer, scene: Path, chosen: str | None, *, confined: bool = True) -> Build:
    """The newest installed build that may open the scene; raises RendererMissingError."""
    builds = renderer.builds(chosen) if confined else renderer.builds(chosen, confined=False)
    if not builds:
        what = f"{chosen} is not a {renderer.name} that runs" if chosen else f"No {renderer.name} is installed"
        raise RendererMissingError(f"{what}, so {scene.name} can't be rendered.", "Run `renderfarm doctor`.")
    preread = renderer.preread(scene)
    refusals = []
    for build in builds:
        refusal = renderer.accepts(build, preread)
        if not refusal:
            return build
        refusals.append(refusal)
    hint = f"Install a newer build, or name one with --{renderer.name}."
    raise RendererMissingError(" ".join(refusals), hint)


def _refuse_unsupported(renderer: Renderer, settings: Settings) -> None:
    for name in settings.overridden():
        if name not in renderer.settings and name != "trust_scripts":
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{renderer.name} scenes have no {option} to override.", f"Leave {option} out.")
    if settings.format not in renderer.formats:
        message = f"{renderer.name} can't write {settings.format} here."
        raise InputError(message, f"Choose one of {', '.join(sorted(renderer.formats))}.")


def _look(
    work: Work, own: Sources, store: Store, pace: float | None, beginning: Beginning
) -> tuple[Remembered, NodeProcess]:
    """What a node says of the scene, shown more files as they turn out to be needed; and that node.

    `pace` is what a frame of a scene that travels is expected to take; None for one that doesn't.
    """
    from renderfarm.farm import rehearsal

    travels, writes = pace is not None, renderer(work.renderer).writes
    node, before = beginning.node or NodeProcess(FIRST_NODE), dict[str, Seen]()
    try:
        key = _key(work, own, store, travels=travels)
        for _ in range(ROUNDS):
            since = time.time()
            opened = dataclasses.replace(work, scratch=str(Path(work.scratch) / FIRST_NODE))
            node.look(opened)
            beginning.meanwhile()
            scene, obstacle = node.described()
            guard = None if obstacle else Guard(Path(work.scene), work.named)
            if writes:
                scene = rehearsal.needs(scene, opened, guard, store, pace)
            assets = tuple(_on_this_machine(asset, guard) for asset in scene.assets)
            scene = dataclasses.replace(scene, assets=assets)
            seen = _seen(scene, own)
            moved = _moved(scene, seen, before, since)
            hidden = [] if obstacle else _hidden(scene, opened)
            if not hidden and not moved:
                break
            work = dataclasses.replace(work, readable=(*work.readable, *hidden))
            if moved:
                node.close()
                node, before = NodeProcess(FIRST_NODE), seen
        if moved:
            raise stamps.being_written(moved)
        scene = scene if guard is None else _told(scene, work, guard)
        if scene.needs is Needs.OPENED and not writes:
            look = rehearsal.with_unnamed if travels else rehearsal.with_lacking
            scene = look(scene, opened, store)
            seen |= _seen(scene, own)
        found = Remembered(scene, work.readable, obstacle, seen)
        store.keep(key, found)
        return found, node
    except SessionTroubleError as error:
        node.close()
        raise _explained(error, work) from error
    except BaseException:
        node.close()
        raise


def _for_frames(work: Work, scene: Scene, *, travels: bool) -> Work:
    """The work as nodes get it that render: what is needed elsewhere is known by then."""
    ordered = scene.ordered and renderer(work.renderer).writes
    return dataclasses.replace(work, ordered=ordered, traced=work.traced and not travels)


def _moved(scene: Scene, seen: Mapping[str, Seen], before: Mapping[str, Seen], since: float) -> str:
    """A file that the renderer may have read in another state than was seen afterwards; empty for none."""
    maybe = (str(path) for wild in scene.wild for path in wildcards.files(wild))
    now = {**{path: list(stamps.stamp(path)) for path in maybe}, **seen}
    newer = (path for path, found in now.items() if found != before.get(path) and _is_newer(found, since))
    return next(newer, "")


def _is_newer(found: Seen, since: float) -> bool:
    return len(found) > 1 and stamps.is_newer(tuple(map(int, found)), since)


def _explained(error: SessionTroubleError, work: Work) -> RenderfarmError:
    reason = error.trouble.reason
    if reason is Reason.BAD_SETTING:
        return InputError(error.message, "Leave that setting out, or choose another value.")
    if reason is Reason.INPUT_CHANGED:
        return InputError(error.message, "Submit it again when nothing writes it any more.")
    if reason in (Reason.SCENE_ERROR, Reason.MISSING_FILE):
        return SceneError(error.message, "Mend the scene, then submit it again.")
    return SessionError(
        f"{work.build.label} could not open {work.scene}: {error.message}", "Run `renderfarm doctor`."
    )


def _on_this_machine(asset: Asset, guard: Guard | None) -> Asset:
    """Judge an asset from outside the sandbox, where it may be hidden; without one nothing is withheld."""
    path = Path(asset.path)
    there = path.exists()
    withheld = guard.objection(path) if guard and there else ""
    size = path.stat().st_size if there and path.is_file() else asset.bytes
    return dataclasses.replace(asset, exists=there and not withheld, bytes=size, withheld=withheld)


def _hidden(scene: Scene, work: Work) -> list[str]:
    """Assets that exist but that the sandbox does not show."""
    view = View(work)
    named = {*scene.folders, *(asset.path for asset in scene.assets if asset.exists)}
    return sorted(path for path in named if path not in work.readable and not view.shows(path))


def _told(scene: Scene, work: Work, guard: Guard) -> Scene:
    """The scene with a note for each folder that it or the user names and that its renderer does not see."""
    known = {asset.path for asset in scene.assets}
    others = [(path, guard.objection(path)) for path in (*work.named, *work.readable) if path not in known]
    notes = [withheld(path, reason) for path, reason in others if reason and Path(path).exists()]
    return dataclasses.replace(scene, notes=(*scene.notes, *notes))


def withheld(path: str, reason: str) -> str:
    """Why a file is not shown, in a sentence."""
    return f"{path} is not shown to the renderer: it {reason}."


def _key(work: Work, own: Sources, store: Store, *, travels: bool) -> str:
    scene = own.hashes.get(work.scene) or file_hash(work.scene, store)
    facts = [MEANING, work.scene, scene, work.build.identity, work.build.path, encode(work.settings)]
    facts += [work.sandbox.value, wanted(work.sandbox), work.traced, travels, devices()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _seen(scene: Scene, own: Sources) -> dict[str, Seen]:
    """The stamp of each asset, as libraries and includes say what else is needed, and what might be one."""
    seen: dict[str, Seen] = {asset.path: list(stamps.stamp(asset.path)) for asset in scene.assets}
    seen[scene.path] = list(stamps.stamp(scene.path))
    seen |= {path: [sha256] for path, sha256 in own.hashes.items()}
    for wild in scene.wild:
        found = sorted(str(path) for path in wildcards.files(wild))
        digest = hashlib.sha256("\n".join(found).encode(errors="surrogateescape")).hexdigest()
        seen[f"{wild.folder} {wild.pattern} {wild.deep}"] = [digest]
    return seen
