"""How well nodes share one frame, by what it is split into: the tables and the plot of docs/stills.md.

`python -m benchmarks.stills_nodes [SVG]` lets Blender measure what each pixel of a picture costs (5.0 or newer,
its pass *Render Time*), and gives a frame with such costs, an hour of one node, to 4 to 128 nodes. Tiles have
their margins, and those of equal cost are cut by a coarse picture of its own, as a job does it.
"""

from __future__ import annotations

import heapq
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.stills import make
from renderfarm.job.tiles import COARSE, parts
from renderfarm.pictures import merging
from renderfarm.renderers import renderer
from renderfarm.words.scene import Scene
from renderfarm.words.work import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Costs = NDArray[Any]

FRAME_SECONDS, START_SECONDS = 3600.0, 8.0 + 5.0
"""of one node; and from a part's task to its first pixel: start, then load and build"""
NODES = (4, 8, 16, 32, 64, 128)
SHOWN = 64
"""nodes whose time is told in full"""
SIZE = (256, 144)
"""what is measured; a frame has so many times as many pixels in either direction"""
SCENE = """
cycles.use_adaptive_sampling, cycles.samples, cycles.adaptive_threshold = {adaptive}, {samples}, 0.01
paint.node_tree.nodes['Principled BSDF'].inputs['Roughness'].default_value = 0.1
paint.node_tree.nodes['Principled BSDF'].inputs['Transmission Weight'].default_value = 1
told = scene.view_layers[0].cycles
told.pass_render_time = told.pass_debug_sample_count = True
image.media_type = 'MULTI_LAYER_IMAGE'
image.file_format, render.filepath = 'OPEN_EXR_MULTILAYER', path + '.exr'
bpy.ops.render.render(write_still=True)
"""
KINDS = {"fixed samples": (False, 64), "adaptive sampling": (True, 128)}
RANGES, ALIKE, EQUAL = "ranges of samples", "tiles of equal cost", "equal tiles"
WAYS = {
    ("fixed samples", 8, 0, RANGES): "#1a7f37",
    ("fixed samples", 8, 0, ALIKE): "#8250df",
    ("adaptive sampling", 64, 8, ALIKE): "#0a3069",
    ("adaptive sampling", 16, 8, ALIKE): "#0969da",
    ("adaptive sampling", 8, 4, ALIKE): "#54aeff",
    ("adaptive sampling", 8, 8, ALIKE): "#bf8700",
    ("adaptive sampling", 8, 8, EQUAL): "#cf222e",
}
"""kind of frame, how large it is, the tiles' margin, and what it is split into"""


def costs(folder: Path, kind: str, size: tuple[int, int]) -> Costs:
    """What each pixel takes, of a frame that takes as long as wanted."""
    path, (adaptive, samples) = folder / f"{kind}{size[0]}.blend", KINDS[kind]
    script = SCENE.format(adaptive=adaptive, samples=samples)
    make(renderer("blender").builds()[0], {str(path): script}, size)
    found: Costs = np.array(merging.costs(Path(f"{path}.exr"), [Part(1, 0, 0, *size)], []))
    found *= FRAME_SECONDS / found.sum()
    return found


def taken(times: int, margin: int, way: str, nodes: int, coarse: Costs, fine: Costs) -> list[float]:
    """Seconds of the parts that a frame is split into for so many nodes."""
    if way == RANGES:
        return [FRAME_SECONDS / nodes] * nodes
    size = SIZE[0] * times, SIZE[1] * times
    columns = max(1, round((nodes * SIZE[0] / SIZE[1]) ** 0.5))
    split = f"tiles={nodes}" if way == ALIKE else f"tiles={columns}x{max(1, nodes // columns)}"
    scene = Scene("", "blender", "", "1", 24.0, size, None, block=1, margin=margin)
    boxes = (part.reach(size) for part in parts(0, scene, split, coarse.tolist()))
    return [float(fine[top:bottom, left:right].sum()) for left, top, right, bottom in boxes]


def shares(seconds: Sequence[float], nodes: int) -> tuple[float, float, float]:
    """Of all nodes' time until the last has ended: what the frame takes on one, margins, starts.

    Each node takes the next part; what is left is waiting.
    """
    free = [0.0] * nodes
    for each in seconds:
        heapq.heapreplace(free, free[0] + START_SECONDS + each)
    whole = nodes * max(free)
    return FRAME_SECONDS / whole, (sum(seconds) - FRAME_SECONDS) / whole, len(seconds) * START_SECONDS / whole


def plot(found: dict[str, list[float]]) -> str:
    """A line for each way, over the number of nodes."""

    def across(number: int) -> int:
        return 60 + 90 * number

    def up(share: float) -> float:
        return 300 - 270 * share

    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 350" font-family="sans-serif">']
    lines.append('<rect width="1000" height="350" fill="white"/>')
    for share in (0, 0.25, 0.5, 0.7, 1):
        lines.append(f'<path d="M60 {up(share)}H520" stroke="#d0d7de"/>')
        lines.append(f'<text x="52" y="{up(share) + 4}" text-anchor="end">{share:.0%}</text>')
    for number, nodes in enumerate(NODES):
        lines.append(f'<text x="{across(number)}" y="322" text-anchor="middle">{nodes}</text>')
    lines.append('<text x="290" y="342" text-anchor="middle">nodes</text>')
    for row, ((way, each), colour) in enumerate(zip(found.items(), WAYS.values(), strict=True)):
        points = " ".join(f"{across(n)},{up(share):.1f}" for n, share in enumerate(each))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        lines.append(f'<text x="560" y="{60 + 24 * row}" fill="{colour}">{way}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Print the table, and draw it where a file is named."""
    maps: dict[str, list[Costs]] = {}
    with tempfile.TemporaryDirectory(prefix="stills-") as folder:
        for kind in KINDS:
            coarse = COARSE, COARSE * SIZE[1] // SIZE[0]
            maps[kind] = [costs(Path(folder), kind, size) for size in (coarse, SIZE)]
    found: dict[str, list[float]] = {}
    print(f"| efficiency with | {' | '.join(map(str, NODES))} | margins, starts, waiting of {SHOWN} |")
    for kind, times, margin, way in WAYS:
        coarse_map, fine = maps[kind]
        fine = (fine / times**2).astype("float32").repeat(times, 0).repeat(times, 1)
        told = {n: shares(taken(times, margin, way, n, coarse_map, fine), n) for n in NODES}
        name = f"{kind}, {SIZE[0] * times:,} × {SIZE[1] * times:,}, {way}" + f", margin {margin}" * bool(margin)
        found[name] = [told[nodes][0] for nodes in NODES]
        good, margins, starts = told[SHOWN]
        row = [*(f"{share:.0%}" for share in found[name])]
        row.append(f"{margins:.0%}, {starts:.0%}, {1 - good - margins - starts:.0%}")
        print(f"| {name} | {' | '.join(row)} |", flush=True)
    for target in sys.argv[1:]:
        Path(target).write_text(plot(found))


if __name__ == "__main__":
    main()
