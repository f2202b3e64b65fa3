"""How well nodes share one frame, by what it is split into: the plot of docs/stills.md.

`python -m benchmarks.stills_nodes [SVG]` lets Blender measure what each pixel of a small picture costs (5.0 or
newer, its pass *Render Time*), and gives a frame with such costs, an hour of one node, to 4 to 128 nodes. Tiles
have their margins, and those of equal cost are cut by a coarse picture of its own, as a job does it.
"""

from __future__ import annotations

import heapq
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.stills import make
from renderfarm.job.tiles import COARSE, balanced, tiles
from renderfarm.pictures.reading import openimageio
from renderfarm.renderers import renderer
from renderfarm.words.work import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Costs = NDArray[Any]

MARGIN = 8
"""as Blender's tiles have with adaptive sampling; its module can only be imported inside"""
FRAME_SECONDS, START_SECONDS = 3600.0, 8.0 + 5.0
"""of one node; and from a part's task to its first pixel: start, then load and build"""
NODES = (4, 8, 16, 32, 64, 128)
SIZE, FINE = (320, 180), 6
"""what is measured, and how many pixels of the frame in either direction each of its pixels stands for"""
SCENE = """
cycles.use_adaptive_sampling, cycles.samples, cycles.adaptive_threshold = True, 128, 0.01
paint.node_tree.nodes['Principled BSDF'].inputs['Roughness'].default_value = 0.1
paint.node_tree.nodes['Principled BSDF'].inputs['Transmission Weight'].default_value = 1
scene.view_layers[0].cycles.pass_render_time = True
image.media_type = 'MULTI_LAYER_IMAGE'
image.file_format, render.filepath = 'OPEN_EXR_MULTILAYER', path + '.exr'
bpy.ops.render.render(write_still=True)
"""


def costs(folder: Path, size: tuple[int, int]) -> Costs:
    """What each pixel takes, in seconds of a frame that takes as long as wanted."""
    path = folder / f"scene{size[0]}.blend"
    make(renderer("blender").builds()[0], {str(path): SCENE}, size)
    pictures: list[Any] = [openimageio().ImageBuf(f"{path}.exr", part, 0) for part in range(2)]
    picture = next(each for each in pictures if "Render Time" in each.spec().channelnames[0])
    found: Costs = picture.get_pixels("float")[..., 0].astype(float)
    found = np.minimum(found, np.quantile(found, 0.999))  # others at work on this machine
    found *= FRAME_SECONDS / found.sum()
    return found


def equal(count: int, _: Costs) -> Sequence[Part]:
    """Tiles of equal size."""
    columns = max(1, round((count * SIZE[0] / SIZE[1]) ** 0.5))
    rows = -(-count // columns)
    return tiles(1, _size(), f"tiles={columns}x{rows}", 1, MARGIN)


def alike(count: int, coarse: Costs) -> Sequence[Part]:
    """Tiles of equal cost."""
    return balanced(1, _size(), coarse.tolist(), count, 1, MARGIN)


def _size() -> tuple[int, int]:
    return SIZE[0] * FINE, SIZE[1] * FINE


def taken(cost: Costs, part: Part) -> float:
    """What a tile takes with its margin."""
    left, top, right, bottom = part.reach(_size())
    return float(cost[top:bottom, left:right].sum())


WAYS: dict[str, tuple[Callable[[int, Costs], Sequence[Part]] | None, int, str]] = {
    "ranges of samples": (None, 1, "#1a7f37"),
    "tiles of equal cost": (alike, 1, "#0969da"),
    "equal tiles, two a node": (equal, 2, "#bf8700"),
    "equal tiles, one a node": (equal, 1, "#cf222e"),
}


def efficiency(parts: Sequence[float], nodes: int) -> float:
    """What the frame takes on one node, of what all nodes take together; each takes the next part."""
    free = [0.0] * nodes
    for seconds in parts:
        heapq.heapreplace(free, free[0] + START_SECONDS + seconds)
    return FRAME_SECONDS / (nodes * max(free))


def plot(found: dict[str, list[float]]) -> str:
    """A line for each way, over the number of nodes."""

    def across(number: int) -> int:
        return 60 + 90 * number

    def up(share: float) -> float:
        return 300 - 270 * share

    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 350" font-family="sans-serif">']
    lines.append('<rect width="760" height="350" fill="white"/>')
    for share in (0, 0.25, 0.5, 0.7, 1):
        lines.append(f'<path d="M60 {up(share)}H520" stroke="#d0d7de"/>')
        lines.append(f'<text x="52" y="{up(share) + 4}" text-anchor="end">{share:.0%}</text>')
    for number, nodes in enumerate(NODES):
        lines.append(f'<text x="{across(number)}" y="322" text-anchor="middle">{nodes}</text>')
    lines.append('<text x="290" y="342" text-anchor="middle">nodes</text>')
    for row, (way, shares) in enumerate(found.items()):
        points = " ".join(f"{across(n)},{up(share):.1f}" for n, share in enumerate(shares))
        colour = WAYS[way][2]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        lines.append(f'<text x="560" y="{60 + 24 * row}" fill="{colour}">{way}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Print the table, and draw it where a file is named."""
    with tempfile.TemporaryDirectory(prefix="stills-") as folder:
        cost = costs(Path(folder), SIZE).repeat(FINE, 0).repeat(FINE, 1) / FINE**2
        coarse = costs(Path(folder), (COARSE, COARSE * SIZE[1] // SIZE[0]))
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for way, (cut, each, _) in WAYS.items():
        for nodes in NODES:
            parts = cut(nodes * each, coarse) if cut else ()
            seconds = [taken(cost, part) for part in parts] or [FRAME_SECONDS / nodes] * nodes
            found[way].append(efficiency(seconds, nodes))
    print(f"| efficiency with | {' | '.join(map(str, NODES))} |")
    for way, shares in found.items():
        print(f"| {way} | {' | '.join(f'{share:.0%}' for share in shares)} |")
    for target in sys.argv[1:]:
        Path(target).write_text(plot(found))


if __name__ == "__main__":
    main()
