"""What it costs to see which files a frame opens: pairs of the same frames, watched and not.

`python -m benchmarks.tracing [PAIRS] [SCENE.blend ...]` prints CPU time: of POV-Ray's frames, or of Blender's
sessions with the .blend open; renderer, strace and node together.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path
from statistics import mean

from renderfarm.node.program import Event, Node
from renderfarm.renderers import renderer
from renderfarm.words.request import Sandbox, Settings
from renderfarm.words.work import Task, Work

FRAMES = 8
SCENES = Path(__file__).parent.parent / "scenes" / "povray"
INCLUDES = "".join(f'#include "{name}.inc"\n' for name in ("colors", "textures", "metals", "stones", "woods"))
BALL = (
    "camera { location -4*z look_at 0 } light_source { <2, 4, -5> 1 } sphere { clock*y, 1 pigment { rgb 1 } }"
)


def own_seconds() -> float:
    """CPU time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def used_below() -> float:
    """CPU time of the processes that were waited for, and of this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime + own_seconds()


def _unheard(_: Event) -> None:
    """What the node says is not measured."""


def session(scene: Path, *, watch: bool) -> float:
    """CPU seconds of a Blender session that renders a few small frames, from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="tracing-") as folder:
        scratch = Path(folder) / ".renderfarm" / "w1"
        scratch.mkdir(parents=True)
        build = renderer("blender").builds()[0]
        settings = Settings(resolution=(160, 90), samples=4)
        work = Work("blender", build, str(scene), settings, str(scratch), sandbox=Sandbox.OFF, traced=watch)
        node = Node(work, "w1", _unheard)  # bubblewrap does not wait for its children, so their time is lost
        before = used_below()
        node.render(Task(tuple(range(1, FRAMES + 1))), 2)
        node.drop()
        return used_below() - before


def rendered(scene: Path, size: tuple[int, int], *, watch: bool, apart: bool) -> float:
    """CPU seconds for one frame of a scene, of several in one start of POV-Ray or each by itself."""
    with tempfile.TemporaryDirectory(prefix="tracing-") as folder:
        scratch = Path(folder) / ".renderfarm" / "w1"
        scratch.mkdir(parents=True)
        settings = Settings(resolution=size, frames=f"1-{FRAMES}")
        build = renderer("povray").builds()[0]
        work = Work("povray", build, str(scene), settings, str(scratch), sandbox=Sandbox.OFF, traced=watch)
        node = Node(work, "w1", _unheard)  # bubblewrap does not wait for its children, so their time is lost
        node.open()
        before = used_below()
        frames = tuple(range(1, FRAMES + 1))
        for run in [(frame,) for frame in frames] if apart else [frames]:
            node.render(Task(run), 1)
        node.drop()
        return (used_below() - before) / FRAMES


def main(pairs: int = 5, *blends: str) -> None:
    """Measure and print."""
    for blend in blends:
        found = [
            [session(Path(blend).absolute(), watch=watch) for watch in (False, True)] for _ in range(pairs)
        ]
        plain, more = mean(a for a, _ in found), mean(b - a for a, b in found)
        print(f"{Path(blend).name}, a session of {FRAMES} frames: {plain:.2f} s, watched {more:+.2f} s")
    if not blends:
        povray(pairs)


def povray(pairs: int) -> None:
    """POV-Ray's frames."""
    with tempfile.TemporaryDirectory(prefix="tracing-") as folder:
        light, many = Path(folder) / "light.pov", Path(folder) / "many.pov"
        light.write_text(BALL)
        many.write_text(INCLUDES + BALL)
        for name, scene, size in (
            ("one sphere", light, (64, 48)),
            ("five includes", many, (64, 48)),
            ("balloons", SCENES / "balloons.ini", (320, 180)),
        ):
            for apart in (True, False):
                found = [
                    [rendered(scene, size, watch=watch, apart=apart) for watch in (False, True)]
                    for _ in range(pairs)
                ]
                plain, more = mean(a for a, _ in found), mean(b - a for a, b in found)
                way = "each frame by itself" if apart else "in one start"
                print(f"{name}, {way}: {plain * 1000:.0f} ms, watched {more * 1000:+.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1] if sys.argv[1:] else 5), *sys.argv[2:])
