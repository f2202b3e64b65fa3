"""Cuts a picture into parts that its renderer can render apart: tiles, or ranges of its samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import TypeVar

from renderfarm.errors import InputError
from renderfarm.words.scene import Scene
from renderfarm.words.work import Part

COARSE = 160
"""pixels along the longer side of the small picture that shows whether tiles are the whole"""
LEAST, TILES_PER_WORKER = 64, 2
"""pixels along a tile that nobody asked for, as margins cost, too; and such tiles for each worker here"""
FEW = 8
"""workers among whom tiles of equal cost share a frame as well as ranges of samples do"""
PROOF = 5
"""where that is cut, as shares: no power of two, at which much happens to agree"""
FLOOR = 0.05
"""of what a pixel takes on average is what each one takes at least, as far as a coarse picture can tell"""

T = TypeVar("T")
Costs = Sequence[Sequence[float]]
"""what the pixels of a small picture took, by row"""


def parts(frame: int, scene: Scene, split: str, costs: Costs = ()) -> tuple[Part, ...]:
    """What a frame is split into; raises InputError for more parts than it has.

    `tiles=12` are of equal cost, as far as anybody knows `costs`; without they are alike in size.
    """
    if count := _ranges(split):
        return ranges(frame, scene.resolution, scene.samples or 0, count)
    if "x" in split:
        return tiles(frame, scene.resolution, split, scene.block, scene.margin)
    count = int(split.partition("=")[2])
    return balanced(frame, scene.resolution, costs or ((1.0,),), count, scene.block, scene.margin)


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
    if _ranges(split):
        return scene.uneven
    return scene.seams or ("" if scene.block else "its renderer has no tiles")


def _ranges(split: str) -> int:
    """How many ranges of samples are asked for; 0 where tiles are."""
    kind, _, much = split.partition("=")
    return int(much) if kind == "samples" else 0


def ranges(frame: int, size: tuple[int, int], samples: int, count: int) -> tuple[Part, ...]:
    """The samples of a picture in so many ranges of about the same length."""
    if count > samples:
        raise InputError(f"{samples} samples are not {count} ranges.", f"At most: --split samples={samples}")
    return _cut_samples(frame, size, [samples * number // count for number in range(count + 1)])


def _cut_samples(frame: int, size: tuple[int, int], edges: list[int]) -> tuple[Part, ...]:
    return tuple(Part(frame, 0, 0, *size, first=a, samples=b - a) for a, b in pairwise(edges))


def tiles(frame: int, size: tuple[int, int], split: str, block: int, margin: int = 0) -> tuple[Part, ...]:
    """The tiles of `tiles=3x2`, beginning at multiples of `block`; raises InputError for what is too small."""
    columns, rows = map(int, split.partition("=")[2].split("x"))
    across, down = _edges(size[0], columns, block), _edges(size[1], rows, block)
    if len(across) <= columns or len(down) <= rows:
        most = f"{-(-size[0] // block)}x{-(-size[1] // block)}"
        message = (
            f"A picture of {size[0]} × {size[1]} pixels has no {columns} × {rows} tiles of {block} pixels."
        )
        raise InputError(message, f"At most: --split tiles={most}")
    return _cut(frame, across, down, margin)


def balanced(
    frame: int, size: tuple[int, int], costs: Costs, count: int, block: int, margin: int = 0
) -> tuple[Part, ...]:
    """At most so many tiles of about the same cost: cut across the longer side, again and again."""
    least = max(LEAST // 2, block)
    floor = FLOOR * sum(map(sum, costs)) / sum(map(len, costs)) or 1.0

    def cut(left: int, top: int, right: int, bottom: int, count: int) -> Iterator[Part]:
        across = right - left >= bottom - top
        begin, end = (left, right) if across else (top, bottom)
        if count < 2 or end - begin < 2 * least:
            yield Part(frame, left, top, right, bottom, margin)
            return
        strip = [_stretch(row, left, right, size[0]) for row in _stretch(costs, top, bottom, size[1])]
        sums = [floor * len(each) + sum(each) for each in (zip(*strip, strict=True) if across else strip)]
        half = sum(sums) * (count // 2) / count
        before = sum(each <= half for each in accumulate(sums))
        share = (before + (half - sum(sums[:before])) / sums[before]) / len(sums)
        at = block * round((begin + share * (end - begin)) / block)
        at = min(max(at, block * -(-(begin + least) // block)), (end - least) // block * block)
        yield from cut(left, top, *((at, bottom) if across else (right, at)), count // 2)
        yield from cut(*((at, top) if across else (left, at)), right, bottom, count - count // 2)

    return tuple(cut(0, 0, *size, count))


def _stretch(values: Sequence[T], begin: int, end: int, side: int) -> Sequence[T]:
    """What stands, of values along a side, between two of its pixels."""
    first = begin * len(values) // side
    return values[first : max(first + 1, round(end * len(values) / side))]


def proof(frame: int, scene: Scene, split: str) -> tuple[tuple[int, int], tuple[Part, ...]]:
    """A small picture's size and its parts: the whole, and tiles or ranges of it."""
    size, block = scene.resolution, scene.block or 1
    longer = max(COARSE, 3 * block)
    scale = min(1.0, longer / max(size))
    small = max(block + 1, int(size[0] * scale)), max(block + 1, int(size[1] * scale))
    small = min(small[0], size[0]), min(small[1], size[1])
    whole = Part(frame, 0, 0, *small)
    if _ranges(split) and scene.samples:
        return small, (whole, *_cut_samples(frame, small, [0, *_share(scene.samples), scene.samples]))
    # Where each tile is a process anyhow, and small: their times tell where the picture is expensive.
    shares = (1, 3) if block > 1 and scale < 1 else (2,)
    across, down = ([0, *_share(side, block, shares), side] for side in small)
    return small, (whole, *_cut(frame, across, down, scene.margin))


def _share(side: int, block: int = 1, shares: tuple[int, ...] = (2,)) -> list[int]:
    return sorted({at for n in shares if (at := side * n // PROOF // block * block or block) < side})


def _edges(side: int, count: int, block: int) -> list[int]:
    """Where tiles of about the same size begin, and where the last one ends."""
    inner = {block * round(side * i / count / block) for i in range(1, count)}
    return [0, *sorted(at for at in inner if 0 < at < side), side]


def _cut(frame: int, across: list[int], down: list[int], margin: int) -> tuple[Part, ...]:
    return tuple(
        Part(frame, left, top, right, bottom, margin)
        for top, bottom in pairwise(down)
        for left, right in pairwise(across)
    )
