"""Cuts a picture into parts that its renderer can render apart: tiles, or ranges of its samples."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from operator import add

from renderfarm.errors import InputError
from renderfarm.words.scene import Scene
from renderfarm.words.work import Part

COARSE = 160
"""pixels along the longer side of the small picture that shows whether tiles are the whole"""
LEAST, TILES_PER_WORKER = 64, 2
"""pixels along a tile that nobody asked for, as margins cost, too; and such tiles for each worker here"""
FEW = 8
"""workers among whom tiles of equal cost share a frame as well as ranges of samples do"""
PROOF = 0.2, 0.4, 0.6
"""where that is cut: at no power of two, at which much happens to agree"""
FLOOR = 0.05
"""of what a pixel takes on average is what each one takes at least, as far as a coarse picture can tell"""

Box = tuple[int, int, int, int]
"""left, top, right and bottom"""
Costs = Sequence[Sequence[float]]
"""what the pixels of a small picture took, by row"""


def parts(frame: int, scene: Scene, split: str, costs: Costs = ()) -> tuple[Part, ...]:
    """What a frame is split into; raises InputError for more parts than it has.

    `tiles=12` are of equal cost, as far as anybody knows `costs`, else alike in size. Long ones come first.
    """
    kind, _, much = split.partition("=")
    counts, size = [int(each) for each in much.split("x")], scene.resolution
    inside, most = _inside(costs or ((1.0,),), size), "x".join(str(-(-side // scene.block)) for side in size)
    if range_count(split):
        found, most = _ranges(frame, scene, _even(counts[0])), str(scene.samples)
    elif len(counts) > 1:
        found = _tiles(frame, scene, [_even(count) for count in counts])
    else:
        found, counts = _balanced(frame, scene, inside, counts[0]), [1]
    if len(found) < math.prod(counts):
        message = f"{size[0]} × {size[1]} pixels of {scene.samples or 'no'} samples are too few for {split}."
        raise InputError(message, f"At most: --split {kind}={most}")
    return tuple(sorted(found, key=lambda part: inside(part.reach(size)), reverse=True))


def exact(scene: Scene, workers: int, most: int, *, apart: bool) -> tuple[str, str]:
    """What keeps so many workers busy and is the whole picture, in at most so many parts; else why nothing is.

    Tiles are equal bit by bit. But ranges take all the same time, so where every part has a start of its own
    (`apart`) and there are many, they come first: in tiles some nodes wait for others.
    """
    why = ""
    least = max(LEAST, 2 * scene.block)
    room = (scene.resolution[0] // least) * (scene.resolution[1] // least)
    count = max(1, min(most, room, workers if apart else TILES_PER_WORKER * workers))
    ways = [f"tiles={count}", f"samples={max(1, min(workers, most, scene.samples or 0))}"]
    for split in reversed(ways) if apart and workers > FEW else ways:
        refused = obstacle(scene, split)
        if split.endswith("=1"):
            refused = refused or "its picture is too small"
        if not refused:
            return split, ""
        why = why or refused
    return "", why


def alike(one: Scene, other: Scene) -> bool:
    """Whether two scenes may be cut in the same places."""
    what = ("resolution", "samples", "block", "margin")
    return all(getattr(one, each) == getattr(other, each) for each in what)


def obstacle(scene: Scene, split: str) -> str:
    """Why parts would not make the whole picture, for people; empty where they do."""
    if range_count(split):
        return scene.uneven
    return scene.seams or ("" if scene.block else "its renderer has no tiles")


def range_count(split: str) -> int:
    """How many ranges of samples are asked for; 0 where tiles are."""
    kind, _, much = split.partition("=")
    return int(much) if kind == "samples" else 0


def _ranges(frame: int, scene: Scene, shares: Sequence[float]) -> list[Part]:
    edges = pairwise(_edges(scene.samples or 0, shares, 1))
    return [Part(frame, 0, 0, *scene.resolution, first=first, samples=end - first) for first, end in edges]


def _tiles(frame: int, scene: Scene, shares: Sequence[Sequence[float]]) -> list[Part]:
    sides = zip(scene.resolution, shares, strict=True)
    across, down = (list(pairwise(_edges(side, each, scene.block))) for side, each in sides)
    return [Part(frame, x[0], y[0], x[1], y[1], scene.margin) for y in down for x in across]


def _even(count: int) -> list[float]:
    return [number / count for number in range(1, count)]


def _edges(length: int, shares: Sequence[float], block: int) -> list[int]:
    """Where parts begin that are cut at shares of a length, and where the last one ends."""
    inner = {max(block, block * round(length * share / block)) for share in shares}
    return [0, *sorted(at for at in inner if at < length), length]


def _balanced(frame: int, scene: Scene, inside: Callable[[Box], float], count: int) -> list[Part]:
    """At most so many tiles that cost about the same with their margins: halved again and again.

    What margins cost is known of the halves when they have been cut once; then it is done again.
    """
    size, block, margin, dearer = scene.resolution, scene.block, scene.margin, dict[int, float]()
    least = max(LEAST // 2, block)

    def cut(box: Box, count: int, name: int) -> list[Part]:
        begin, end = (box[0], box[2]) if _is_wide(box) else (box[1], box[3])
        places = range(block * -(-(begin + least) // block), (end - least) // block * block + 1, block)
        found = [Part(frame, *box, margin)]
        if count > 1 and places:
            counts, names = (count // 2, count - count // 2), (2 * name, 2 * name + 1)

            def ahead(at: int) -> float:
                each = zip(_halves(box, at), counts, names, strict=True)
                one, other = (inside(half) * dearer.get(name, 1.0) / count for half, count, name in each)
                return one - other

            near = bisect_left(places, 0.0, key=ahead)
            best = min(places[max(0, near - 1) : near + 1], key=lambda at: abs(ahead(at)))
            halves = zip(_halves(box, best), counts, names, strict=True)
            found = [part for half in halves for part in cut(*half)]
        dearer[name] = sum(inside(part.reach(size)) for part in found) / inside(box)
        return found

    for _ in range(2 if margin else 1):
        found = cut((0, 0, *size), count, 1)
    return found


def _is_wide(box: Box) -> bool:
    return box[2] - box[0] >= box[3] - box[1]


def _halves(box: Box, at: int) -> tuple[Box, Box]:
    """What is before and behind a place along the longer side."""
    left, top, right, bottom = box
    if _is_wide(box):
        return (left, top, at, bottom), (at, top, right, bottom)
    return (left, top, right, at), (left, at, right, bottom)


def _inside(costs: Costs, size: tuple[int, int]) -> Callable[[Box], float]:
    """What boxes of a picture take, by a table of what is above and left of each corner of a coarse one."""
    columns, rows = len(costs[0]), len(costs)
    floor = FLOOR * sum(map(sum, costs)) / (columns * rows) or 1.0
    table = [[0.0] * (columns + 2)]
    for line in (*costs, costs[-1]):  # and a corner more, for what ends with the picture
        row = accumulate((floor + cost for cost in (*line, 0.0)), initial=0.0)
        table.append(list(map(add, table[-1], row)))

    def before(x: int, y: int) -> float:
        column, across = divmod(x * columns, size[0])
        row, down = divmod(y * rows, size[1])
        ends = [
            a + (b - a) * across / size[0]
            for a, b in (each[column : column + 2] for each in table[row : row + 2])
        ]
        return ends[0] + (ends[1] - ends[0]) * down / size[1]

    def inside(box: Box) -> float:
        left, top, right, bottom = box
        return before(right, bottom) - before(left, bottom) - before(right, top) + before(left, top)

    return inside


def proof(frame: int, scene: Scene, split: str) -> tuple[Part, ...]:
    """A small picture's parts: the whole, and tiles or ranges of it."""
    size, block = scene.resolution, scene.block or 1
    scale = min(1.0, max(COARSE, 3 * block) / max(size))
    width, height = (min(side, max(block + 1, int(side * scale))) for side in size)
    small = replace(scene, resolution=(width, height), block=block)
    # Where each tile is a process anyhow, and small: their times tell where the picture is expensive.
    shares = PROOF[::2] if block > 1 and scale < 1 else PROOF[1:2]
    by_samples = range_count(split) and scene.samples
    found = _ranges(frame, small, PROOF[1:2]) if by_samples else _tiles(frame, small, (shares, shares))
    return Part(frame, 0, 0, width, height), *found
