"""Cuts a picture into parts that its renderer can render apart: tiles, or ranges of its samples."""

from __future__ import annotations

from itertools import pairwise

from renderfarm.errors import InputError
from renderfarm.words.scene import Scene
from renderfarm.words.work import Part

COARSE = 160
"""pixels along the longer side of the small picture that shows whether tiles are the whole"""
LEAST, TILES_PER_WORKER = 64, 2
"""pixels along a tile that nobody asked for, as margins cost, too; and such tiles for each worker"""
PROOF = (2, 5)
"""where that is cut, as a share: no power of two, at which much happens to agree"""


def parts(frame: int, scene: Scene, split: str) -> tuple[Part, ...]:
    """What a frame is split into; raises InputError for more parts than it has."""
    if count := _ranges(split):
        return ranges(frame, scene.resolution, scene.samples or 0, count)
    return tiles(frame, scene.resolution, split, scene.block, scene.margin)


def exact(scene: Scene, workers: int, most: int, *, apart: bool) -> tuple[str, str]:
    """What keeps so many workers busy and is the whole picture, in at most so many parts; else why nothing is.

    Tiles are equal bit by bit. But ranges take all the same time, so where every part has a start of its own
    (`apart`) they come first: in equal tiles most nodes wait for a few.
    """
    why = ""
    for way in (_means, _grid) if apart else (_grid, _means):
        split = way(scene, workers, most)
        refused = obstacle(scene, split)
        if split.endswith(("=1", "=1x1")):
            refused = refused or "its picture is too small"
        if not refused:
            return split, ""
        why = why or refused
    return "", why


def _means(scene: Scene, workers: int, most: int) -> str:
    return f"samples={max(1, min(workers, most, scene.samples or 0))}"


def _grid(scene: Scene, workers: int, most: int) -> str:
    """Several tiles for each worker: they don't take the same time."""
    width, height = scene.resolution
    least, wanted = max(LEAST, 2 * scene.block), min(most, TILES_PER_WORKER * workers)
    across = range(1, max(1, min(wanted, width // least)) + 1)
    shapes = [(each, max(1, min(wanted // each, height // least))) for each in across]
    columns, rows = max(shapes, key=lambda each: (each[0] * each[1], -abs(width * each[1] - height * each[0])))
    return f"tiles={columns}x{rows}"


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


def proof(frame: int, scene: Scene, split: str) -> tuple[tuple[int, int], tuple[Part, ...]]:
    """A small picture's size and its parts: the whole, and tiles or ranges of it."""
    size, block = scene.resolution, scene.block or 1
    longer = max(COARSE, 3 * block)
    scale = min(1.0, longer / max(size))
    small = max(block + 1, int(size[0] * scale)), max(block + 1, int(size[1] * scale))
    small = min(small[0], size[0]), min(small[1], size[1])
    whole = Part(frame, 0, 0, *small)
    if _ranges(split) and scene.samples:
        return small, (whole, *_cut_samples(frame, small, [0, *_share(scene.samples, 1), scene.samples]))
    across, down = ([0, *_share(side, block), side] for side in small)
    return small, (whole, *_cut(frame, across, down, scene.margin))


def _share(side: int, block: int) -> list[int]:
    at = side * PROOF[0] // PROOF[1] // block * block or block
    return [at] if at < side else []


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
