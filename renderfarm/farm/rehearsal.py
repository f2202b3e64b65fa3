"""What frames need where nobody says so beforehand: rendered once as small as can be, and watched.

Wanted where a scene travels, and where people ask what it needs. Elsewhere frames are watched while they are
rendered; where nothing can be watched, every file of the folders that the renderer is shown counts.
"""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from renderfarm.job.fingerprinting import shown
from renderfarm.job.store import Store
from renderfarm.node import trace
from renderfarm.node.guard import Guard
from renderfarm.node.sandbox import View, wanted
from renderfarm.queues.local import LocalPool
from renderfarm.queues.pool_job import PoolJob
from renderfarm.renderers import renderer, wildcards
from renderfarm.renderers.wildcards import kind, spans
from renderfarm.words.frames import parse
from renderfarm.words.scene import Asset, Needs, Scene, Wild
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Observed, Rendered, Trouble
from renderfarm.words.work import Task, Work

LEAST_SECONDS = 20.0
"""that a rehearsal may take, however short the job"""
SHARE = 0.1
"""of a job's expected time"""
SMALLEST = (8, 8)
"""pixels of a picture that shows what a frame looks for"""
PROGRAMS = ("/usr/local/",)
"""folders of what each machine has installed for itself, beside what people put there for scenes"""
RUN = 8
"""frames that one start of the renderer goes through"""
_POLL_SECONDS = 0.1
_NUMBERED = re.compile(r"(.*?)\d+(\D*)", re.DOTALL)


@dataclass
class Seen:
    """What a rehearsal found."""

    lists: dict[str, Observed] = field(default_factory=dict)
    """what was seen, by its name"""
    frames: dict[int, str] = field(default_factory=dict)
    """frame to the name of what was seen of it"""
    failures: list[Failed] = field(default_factory=list)

    def take(self, outcome: Rendered | Failed) -> None:
        """One frame's outcome."""
        if outcome.observed:
            self.lists.setdefault(outcome.observed.name, outcome.observed)
            self.frames[outcome.frame] = outcome.observed.name
        if isinstance(outcome, Failed):
            self.failures.append(outcome)

    def opened(self) -> dict[str, set[int]]:
        """Each file that was opened, with the frames that did."""
        found: dict[str, set[int]] = {}
        for frame, name in self.frames.items():
            for path in self.lists[name].opened:
                found.setdefault(path, set()).add(frame)
        return found

    def absent(self) -> set[str]:
        """All that was looked for in vain."""
        return {path for seen in self.lists.values() for path in seen.absent}

    def notes(self, work: Work) -> tuple[str, ...]:
        """What is there and was not shown."""
        view = View(work)
        found = (not_shown(view, seen) for seen in self.lists.values() if wanted(work.sandbox))
        return tuple(dict.fromkeys(f"{each} Move it beside the scene." for each in found if each))


def entangled(seen: Collection[Observed]) -> set[str]:
    """Names that are written and looked for as well."""
    looked = {name for each in seen for name in (*each.opened, *each.absent)}
    return looked & {name for each in seen for name in each.written}


def not_shown(view: View, seen: Observed) -> str:
    """A file that a scene finds by a name of its own making is not shown; its picture is another one."""
    hidden = next(filter(view.hides, seen.hidden), "")
    return f"{hidden} was looked for and not shown, as nothing in the scene names it." if hidden else ""


def needs(scene: Scene, work: Work, guard: Guard | None, store: Store, pace: float | None) -> Scene:
    """The scene with what its frames need, as far as that can be known before they are rendered.

    Where it travels, `pace` is the seconds that a frame is expected to take.
    """
    own = (os.path.dirname(scene.path),) if guard is None or guard.shows_folder else ()  # noqa: PTH120
    scene = replace(scene, folders=(*own, *scene.folders))
    frames = list(parse(work.settings.frames or scene.frames))
    if scene.ordered and work.traced:
        few = _ends(frames, 2)
        seen = _rehearsed(scene, work, store, few, LEAST_SECONDS)
        scene = replace(scene, ordered=bool(entangled(seen.lists.values())) or len(seen.frames) < len(few))
    if scene.ordered:
        scene = replace(scene, notes=(*scene.notes, "frames read files that the scene writes"))
    if not work.traced:
        note = f"{trace.obstacle()}, so every file of the scene's folder counts for every frame"
        scene = _all_shown(replace(scene, notes=(*scene.notes, note)))
    return scene if pace is None else _told(scene, work, store, frames, pace)


def with_lacking(scene: Scene, work: Work, store: Store) -> Scene:
    """The scene with those missing files as certain that its first frame looks for, as small as it can be."""
    unsure = {asset.path for asset in scene.missing if not asset.certain}
    if not unsure:
        return scene
    seen = _rehearsed_small(scene, work, store, [parse(scene.frames).first])
    looked = set(map(os.path.normpath, seen.absent())) & unsure
    return _surer(scene, looked)


def _surer(scene: Scene, paths: Container[str]) -> Scene:
    """The scene with these assets as certain, too."""
    assets = (replace(each, certain=each.certain or each.path in paths) for each in scene.assets)
    return replace(scene, assets=tuple(assets))


def with_unnamed(scene: Scene, work: Work, store: Store) -> Scene:
    """A scene that names what it needs, with all else that its first, middle and last frames open."""
    frames = list(parse(scene.frames))
    few = frames[:1] if scene.ordered else _ends(frames, 1)
    seen = _rehearsed_small(scene, work, store, few)
    needed = {asset.path for asset in scene.assets if asset.exists or len(seen.frames) < len(few)}
    scene = _surer(scene, needed | set(map(os.path.normpath, seen.absent())))
    apart = (*(f"{path}/" for path in (scene.path, *(asset.path for asset in scene.assets))), *PROGRAMS)
    new = [path for path in seen.opened() if not f"{path}/".startswith(apart)]
    wild = tuple(dict.fromkeys(each for path in sorted(new) for each in _series(path)))
    others = (str(path) for each in wild for path in wildcards.files(each))
    new += (path for path in others if not f"{path}/".startswith(apart))
    guard = Guard(Path(scene.path), work.named)
    found = [path for path in sorted({*new}) if os.path.isfile(path) and not guard.objection(path)]  # noqa: PTH113
    assets = (*scene.assets, *(_asset(path, scene) for path in found))
    notes = (*scene.notes, *seen.notes(work))
    return replace(scene, assets=assets, wild=(*scene.wild, *wild), needs=Needs.DECLARED, notes=notes)


def _series(path: str) -> Iterator[Wild]:
    """What frames that were not looked at may open instead: the same name with another number."""
    folder, name = os.path.split(path)
    stem, end = os.path.splitext(name)  # noqa: PTH122
    if match := _NUMBERED.fullmatch(stem):
        yield Wild(folder, f"{glob.escape(match[1])}[0-9]*{glob.escape(match[2] + end)}")


def _rehearsed_small(scene: Scene, work: Work, store: Store, frames: Sequence[int]) -> Seen:
    """Frames of a scene whose renderer makes what is seen small only when told."""
    settings = replace(work.settings, resolution=SMALLEST, scale=None, samples=1 if scene.samples else None)
    return _rehearsed(scene, replace(work, settings=settings), store, frames, LEAST_SECONDS)


def _told(scene: Scene, work: Work, store: Store, frames: Sequence[int], pace: float) -> Scene:
    """The scene with the files that a rehearsal opened; all that it is shown where that was cut short."""
    seen = _rehearsed(scene, work, store, frames, max(LEAST_SECONDS, SHARE * pace * len(frames)))
    lacking = tuple(_missing(scene, seen))
    notes = (*scene.notes, *_failures(seen), *seen.notes(work))
    scene = replace(scene, notes=notes, assets=(*scene.assets, *lacking))
    if not work.traced:
        return scene
    if len(seen.frames) < len(frames):
        looked = f"{len(seen.frames):,} of {len(frames):,} frames were looked at before"
        note = f"{looked}, so every file of the scene's folder counts for every frame"
        return _all_shown(replace(scene, notes=(*scene.notes, note)))
    opened = seen.opened()
    certain = [asset for asset in scene.assets if asset.certain and asset.path not in opened]
    every = len(seen.frames)
    found = [
        _asset(path, scene, spans(sorted(numbers)) if len(numbers) < every and not scene.ordered else None)
        for path, numbers in sorted(opened.items())
        if path != scene.path and os.path.exists(path)  # noqa: PTH110 - else the scene itself wrote it
    ]
    hidden = [_asset(path, scene) for path in sorted(seen.absent()) if os.path.exists(path)]  # noqa: PTH110
    wild = [Wild(os.path.dirname(path), glob.escape(os.path.basename(path))) for path in sorted(seen.absent())]  # noqa: PTH119, PTH120
    return replace(scene, assets=(*certain, *found, *hidden), wild=(*scene.wild, *wild), needs=Needs.DECLARED)


def _ends(frames: Sequence[int], first: int) -> list[int]:
    """The first frames, the middle and the last."""
    return list(dict.fromkeys([*frames[:first], frames[len(frames) // 2], frames[-1]]))


def _rehearsed(scene: Scene, work: Work, store: Store, frames: Sequence[int], seconds: float) -> Seen:
    """Frames at the smallest size, until the first that lacks a file or the time is up."""
    seen, deadline = Seen(), time.monotonic() + seconds
    scratch = str(Path(work.scratch).parent / "rehearsal")
    small = replace(work, rehearsal=True, scratch=scratch, logs="")
    few = min(len(frames), 8) if renderer(work.renderer).writes and not scene.ordered else 1
    with closing(LocalPool()) as pool:
        pool.prepare(PoolJob("", small, scene, store.home, len(frames), workers=few))
        pool.submit([Task(run) for run in _runs(frames, len(frames) if scene.ordered else RUN)])
        left = set(frames)
        while left and time.monotonic() < deadline:
            for update in pool.updates(_POLL_SECONDS):
                if isinstance(update, Trouble):
                    return seen
                if isinstance(update, Rendered | Failed):
                    seen.take(update)
                    left.discard(update.frame)
            if any(failure.reason is Reason.MISSING_FILE for failure in seen.failures):
                break
    return seen


def _runs(frames: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """The frames in runs; those at the ends and in the middle first, should the time be short."""
    telling = [] if size >= len(frames) else _ends(frames, 1)
    yield from ((frame,) for frame in telling)
    left = [frame for frame in frames if frame not in telling]
    yield from (tuple(left[at : at + size]) for at in range(0, len(left), size))


def _missing(scene: Scene, seen: Seen) -> Iterator[Asset]:
    """The files that frames failed for; one that is there is only kept from the renderer."""
    hidden = {os.path.basename(path) for path in seen.absent() if os.path.exists(path)}  # noqa: PTH110, PTH119
    for failure in seen.failures:
        if failure.reason is Reason.MISSING_FILE and os.path.basename(failure.lacks) not in hidden:  # noqa: PTH119
            path = os.path.join(os.path.dirname(scene.path), failure.lacks)  # noqa: PTH118, PTH120
            yield Asset(os.path.normpath(path), kind(path), False, 0, failure.lacks)


def _failures(seen: Seen) -> Iterable[str]:
    others = (failure for failure in seen.failures if failure.reason is not Reason.MISSING_FILE)
    return (f"frame {failure.frame}: {failure.message}" for failure in others)


def _asset(path: str, scene: Scene, frames: str | None = None) -> Asset:
    name = next((asset.used_by for asset in scene.assets if asset.path == path), "")
    name = name or os.path.relpath(path, os.path.dirname(scene.path))  # noqa: PTH120
    size = os.path.getsize(path) if os.path.exists(path) else 0  # noqa: PTH110, PTH202
    return Asset(path, kind(path), True, size, name, frames)


def _all_shown(scene: Scene) -> Scene:
    """Every file of the folders counts, and each that comes into them."""
    known = {asset.path for asset in scene.assets}
    others = [str(path) for path in shown(scene)]
    assets = [_asset(path, scene) for path in sorted(others) if path not in known and path != scene.path]
    wild = [Wild(folder, "*", deep=True) for folder in scene.folders]
    return replace(scene, assets=(*scene.assets, *assets), wild=(*scene.wild, *wild), needs=Needs.SHOWN)
