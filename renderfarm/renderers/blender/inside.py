"""The warm Blender: loads the scene once, then renders frame after frame on request. Runs inside Blender.

Requests come as lines of JSON on standard input; answers leave on a private copy of standard output, each
behind a record separator, because Blender's own prints share the descriptor until the copy is made.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import bpy

from renderfarm.renderers.blender import (
    animation,
    cards,
    compositor,
    describe,
    layers,
    obstacles,
    overrides,
    persistence,
    physics,
    rebasing,
    sequences,
)
from renderfarm.renderers.blender.overrides import Refused
from renderfarm.words.as_json import decode, encode
from renderfarm.words.request import Settings
from renderfarm.words.states import Reason

_OF_3D = ("camera", "engine", "samples", "view_layer")
RECORD = "\x1e"
"""First character of an answer, as in RFC 7464; other lines are not ours."""


class Warm:
    """The open scene and what rendering its next frame depends on."""

    def __init__(self, path: str, settings: Settings, order: dict[str, Any]) -> None:
        rebase = order["rebase"]
        bpy.context.preferences.edit.use_negative_frames = True
        _load(path, settings.trust_scripts)
        if rebase:
            rebasing.rebase(*rebase)
        self.settings = settings
        self.is_used = False
        self._since = (0.0, 0.0)
        self.before = describe.output(bpy.context.scene)
        self.scene, self.notes = overrides.apply(settings)
        if idle := self._idle():
            raise Refused(
                f"The scene's picture is that of its video sequence, in which --{idle[0]} changes nothing: "
                "leave it out, or choose another scene with --scene."
            )
        self.cards = cards.choose(
            self.scene, settings.on, order["card"], self.notes, processor=order["processor"]
        )
        compositor.guard_outputs(self.scene, self.notes)
        self.stopped_scripts = [] if settings.trust_scripts else overrides.stop_freestyle(self.scene)
        self.persistence = persistence.Persistence(self.scene, settings.options, _say)
        saved = overrides.engine_of_file(self.scene) if settings.engine is None else ""
        self.obstacle = obstacles.obstacle(self.scene, saved)
        self.notes += [*self.persistence.notes, *filter(None, [self.obstacle])]

    def _idle(self) -> list[str]:
        """What was asked of a 3D scene that is not rendered."""
        if not sequences.shows_strips(self.scene):
            return []
        asked = [name for name in _OF_3D if getattr(self.settings, name) is not None]
        asked += [f"option {name}" for name in ("denoise", "seed") if name in self.settings.options]
        return [name.replace("_", "-") for name in asked]

    @functools.cached_property
    def is_ordered(self) -> bool:
        """Whether frames follow from those before them."""
        return bool(physics.unbaked(self.scene)) and not self.settings.allow_unbaked

    def describe(self) -> dict[str, object]:
        """The Scene as JSON-ready values."""
        described = describe.describe(self.scene, self.settings, self.before, self.notes, self.stopped_scripts)
        described = dataclasses.replace(described, device=self.cards.kind, cards=self.cards.names)
        return dict(encode(dataclasses.replace(described, obstacle=self.obstacle, ordered=self.is_ordered)))

    def render(self, request: dict[str, Any], tell: Callable[..., None]) -> None:
        """Render frames, or parts of some, telling of each a receipt or the reason for none."""
        frames: list[int] = request["frames"]
        folder = Path(request["folder"])
        overrides.set_threads(self.scene, request["threads"])
        self.is_used = True
        self._lap()
        if self.obstacle:
            for frame in frames:
                tell(failed={"frame": frame, "reason": Reason.SCENE_ERROR, "message": self.obstacle})
        elif self.is_ordered:
            self._render_in_order(frames, folder, tell)
        else:
            for frame in frames:
                self._render_alone(frame, folder, request, tell)

    def _render_alone(
        self, number: int, folder: Path, request: dict[str, Any], tell: Callable[..., None]
    ) -> None:
        frame, *part = request["parts"].get(str(number), (number,))
        _say(f"frame {frame}")
        if part:
            layers.tile(self.scene, *part)

        def render() -> list[Path]:
            if part:
                return self.persistence.render_part(frame, folder / f"part{number}_")
            return self.persistence.render(frame, folder)

        try:
            with layers.merged(self.scene, request["merged"].get(str(number))):
                paths, instead = self._by_card(render)
        except (RuntimeError, OSError) as error:
            tell(failed={"frame": number, "message": str(error)})
        else:
            tell(rendered=self._receipt(number, paths, instead))

    def _by_card(self, render: Callable[[], list[Path]]) -> tuple[list[Path], str]:
        """What is rendered, and why the processor did it instead of the card."""
        try:
            return render(), ""
        except RuntimeError as error:
            if not self.cards.names:
                raise
            with cards.spared(self.scene):
                return render(), " ".join(str(error).removeprefix("Error: ").split())

    def _render_in_order(self, frames: list[int], folder: Path, tell: Callable[..., None]) -> None:
        """All frames in one go, which ends with the first that fails."""
        left = set(frames)

        def written(frame: int, paths: list[Path]) -> None:
            _say(f"frame {frame}")
            left.remove(frame)
            tell(rendered=self._receipt(frame, paths))

        message = "Blender ended the animation before this frame."
        try:
            animation.run_through(self.scene, frozenset(frames), folder / "frame_", written)
        except (RuntimeError, OSError) as error:
            message = str(error)
        for frame in sorted(left):
            tell(failed={"frame": frame, "message": message})

    def _receipt(self, frame: int, paths: list[Path], instead: str = "") -> dict[str, object]:
        seconds, cpu_seconds = self._lap()
        return {
            "frame": frame,
            "path": str(paths[0]),
            "views": len(paths),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "threads": self.scene.render.threads,
            "device": "" if instead else self.cards.kind,
            "instead": instead,
        }

    def _lap(self) -> tuple[float, float]:
        """Wall clock and CPU seconds since the last call."""
        now = time.perf_counter(), _cpu_seconds()
        seconds = now[0] - self._since[0], now[1] - self._since[1]
        self._since = now
        return seconds


def _load(path: str, trust_scripts: bool) -> None:
    try:
        bpy.ops.wm.open_mainfile(filepath=path, use_scripts=trust_scripts, load_ui=False)
    except RuntimeError as error:
        message = " ".join(str(error).removeprefix("Error: ").split())
        raise Refused(f"Blender can't open {path}: {message}", Reason.SCENE_ERROR) from error


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)


def _log_to(path: str) -> None:
    _flush()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _answer(answers: TextIO, **answer: object) -> None:
    _flush()
    answers.write(RECORD + json.dumps({**answer, "said": os.fstat(1).st_size}) + "\n")
    answers.flush()


def _serve(requests: TextIO, answers: TextIO) -> None:
    order = json.loads(requests.readline())
    bpy.app.handlers.load_post.append(bpy.app.handlers.persistent(physics.make_readable))
    try:
        warm = _open(order)
    except Refused as refused:
        _answer(answers, failure={"reason": refused.reason, "message": refused.message})
        return
    _answer(answers, ready=True, device=warm.cards.kind if warm.cards.names else "")
    for line in requests:
        if warm.is_ordered and warm.is_used:  # what it remembers is of the frames that were rendered last
            warm = _open(order)
        _obey(warm, json.loads(line), answers)


def _open(order: dict[str, Any]) -> Warm:
    """Load the scene; raises Refused."""
    return Warm(order["scene"], decode(Settings, order["settings"]), order)


def _obey(warm: Warm, request: dict[str, Any], answers: TextIO) -> None:
    if request["do"] == "describe":
        _answer(answers, scene=warm.describe())
        return
    _log_to(request["log"])
    tell = functools.partial(_answer, answers)
    warm.render(request, tell)


def _say(text: str) -> None:
    print(f"renderfarm: {text}", flush=True)  # noqa: T201 - the log is this process's output


def main() -> None:
    """Serve until the requests end, then leave without Blender's own exit, which may hang or crash."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(2, 1)
    exit_code = 9
    try:
        _serve(requests, answers)
        exit_code = 0
    finally:
        if exit_code:
            traceback.print_exc()
        _flush()
        os._exit(exit_code)
