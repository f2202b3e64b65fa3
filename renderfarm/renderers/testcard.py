"""A renderer that needs nothing installed: colour bars with the frame number coded in, and faults on request.

For trying a pool before a real renderer is there, for measuring what the farm itself costs, and for the
tests: the scene says which frames crash, hang or come out wrong. A `.testcard` file is JSON:

    {"frames": "1-48", "size": [64, 36], "fps": 24, "seconds": 0.0,
     "assets": ["beside.png"], "faults": {"7": {"what": "crash", "times": 1}}, "views": ["_L", "_R"],
     "cards": ["a graphics card to be pretended"]}

A fault is card (a crash on a graphics card), crash, error, hang, memory, garbage, truncated, nothing, blank,
magenta or wrong-size; `times` is the number of attempts it spoils (all when left out), `view` which of the
frame's pictures (0, the first).
"""

from __future__ import annotations

import json
import pkgutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from renderfarm.errors import SceneError
from renderfarm.renderers import Launcher, Preread, Renderer, SessionFailure
from renderfarm.renderers.scratch import end, length
from renderfarm.words.as_json import decode
from renderfarm.words.request import Settings
from renderfarm.words.scene import Asset, Scene, pictures
from renderfarm.words.states import Reason
from renderfarm.words.updates import Failed, Rendered
from renderfarm.words.work import Build, Work

FAULTS = (
    *("card", "crash", "error", "hang", "memory"),
    *("garbage", "truncated", "nothing", "blank", "magenta", "wrong-size"),
)
SIZE = (64, 36)


@dataclass(frozen=True)
class _Fault:
    what: str = ""
    times: int | None = None
    view: int = 0


@dataclass(frozen=True)
class Card:
    """What a test card may say, by type."""

    frames: str = "1-1"
    size: tuple[int, int] = SIZE
    fps: float = 24
    seconds: float = 0.0
    cpu_seconds: float | None = None
    assets: tuple[str, ...] = ()
    faults: dict[str, _Fault] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()


class TestcardRenderer(Renderer):
    """Test cards on every machine that runs Python."""

    name = "testcard"
    suffixes = (".testcard",)
    settings = frozenset({"resolution", "scale", "frames", "format", "device"})
    formats = frozenset({"png"})

    def builds(self, chosen: str | None = None, *, confined: bool = True) -> list[Build]:
        """The one build: this Python."""
        return [Build(self.name, sys.executable, (1,), "test card", "testcard-1")]

    def preread(self, scene: Path) -> Preread:
        """Check that the file is a test card; raises SceneError."""
        read_scene(scene)
        return Preread(saved_with="1")

    def installation(self, build: Build) -> list[Path]:
        """The Python that runs it."""
        return [Path(sys.base_prefix)]

    def sample(
        self, build: Build, folder: Path, *, denoise: bool, device: str, engine: str
    ) -> tuple[Path, Settings]:
        """One plain card."""
        path = folder / "sample.testcard"
        path.write_text(json.dumps({"frames": "1-1", "size": SIZE}))
        return path, Settings()

    def open(self, work: Work, launch: Launcher) -> TestcardSession:
        """Start the picture process."""
        return TestcardSession(work, launch)

    def signs(self, log: str) -> tuple[str, ...]:
        """Lines that speak of errors."""
        return tuple(line for line in log.splitlines() if "error" in line.lower())[:10]


def read_scene(path: Path) -> Card:
    """The scene; raises SceneError when it is no test card."""
    try:
        card = decode(Card, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        message = f"{path} can't be read as a test card: {error}."
        raise SceneError(message, "See what one is made of.") from error
    for frame, fault in card.faults.items():
        if fault.what not in FAULTS:
            raise SceneError(f"{path}: frame {frame} has an unknown fault.", f"Known: {', '.join(FAULTS)}.")
    return card


class TestcardSession:
    """One process that writes a picture per request line."""

    keeps = True

    def __init__(self, work: Work, launch: Launcher) -> None:
        self._work = work
        self._card = read_scene(Path(work.scene))
        self._size = work.settings.size(self._card.size)
        unknown = set(work.settings.overridden()) - TestcardRenderer.settings
        if unknown:
            message = f"A test card has no {', '.join(sorted(unknown))} to override."
            raise SessionFailure(Reason.BAD_SETTING, message)
        on_card = not work.processor and work.settings.on != "cpu"
        self._cards = self._card.cards if on_card else ()
        self.device = "PRETENDED" if self._cards else ""
        folder = Path(work.scratch)
        program = folder / "testcard_inside.py"
        program.write_bytes(pkgutil.get_data(__package__, "testcard_inside.py") or b"")
        self._log = folder / "testcard.log"
        argv = [str(Path(work.build.path).resolve()), "-S", str(program)]
        self._process = launch(argv, cwd=folder, log=self._log, pipes=True)

    def describe(self) -> Scene:
        """What the JSON says."""
        card = self._card
        files = [Path(self._work.scene).parent / name for name in card.assets]
        return Scene(
            path=self._work.scene,
            renderer="testcard",
            saved_with="1",
            frames=card.frames,
            fps=float(card.fps),
            resolution=self._size,
            camera=None,
            engine="testcard",
            assets=tuple(Asset(str(path), "image", path.exists(), length(path)) for path in files),
            notes=card.notes,
            views=card.views,
            device=self.device,
            cards=self._cards,
        )

    def render(
        self, frames: Sequence[int], threads: int, folder: Path, log: Path
    ) -> Iterator[Rendered | Failed]:
        """Ask for one picture after the other."""
        attempt = int(folder.name.rpartition(".")[2])
        with log.open("a", encoding="utf-8") as text:
            for frame in frames:
                started = time.monotonic()
                on = f" on {self._cards[(self._work.card or 0) % len(self._cards)]}" if self._cards else ""
                found = list(pictures(str(folder / f"{frame}.png"), len(self._card.views)))
                errors = (self._ask(frame, attempt, path, view) for view, path in enumerate(found))
                error = next(filter(None, errors), "")
                seconds = time.monotonic() - started
                print(f"frame {frame}: {error or 'done'}{on}", file=text, flush=True)
                if error:
                    yield Failed(frame, Reason.UNKNOWN, error, seconds)
                else:
                    cpu = min(seconds, seconds if self._card.cpu_seconds is None else self._card.cpu_seconds)
                    yield Rendered(
                        frame, found[0], seconds, cpu, threads=threads, views=len(found), device=self.device
                    )

    def _ask(self, frame: int, attempt: int, path: str, view: int) -> str:
        fault = self._card.faults.get(str(frame), _Fault())
        spoils = view == fault.view and (fault.times is None or attempt <= fault.times)
        what = "crash" if fault.what == "card" and self._cards else fault.what
        request = {
            "frame": frame + view,
            "path": path,
            "size": self._size,
            "seconds": self._card.seconds,
            "fault": what if spoils and what != "card" else "",
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SessionFailure(Reason.CRASH, "The test card process has no pipes.")
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
            answer = stdout.readline()
        except OSError:
            answer = b""
        if not answer:
            raise SessionFailure(
                Reason.CRASH, f"The test card process died with exit code {self._process.wait()}."
            )
        return str(json.loads(answer)["error"])

    def close(self) -> None:
        """Close its input, which ends it."""
        end(self._process)


RENDERER = TestcardRenderer()
