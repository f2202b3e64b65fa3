"""A picture that fills up: the parts of a frame that are there over a coarse one, made when somebody looks."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from renderfarm.job.job import Job
from renderfarm.job.record import FRAMES, Record
from renderfarm.pictures.reading import GREY, flatten
from renderfarm.pictures.small import small
from renderfarm.words.states import FrameState
from renderfarm.words.work import Part

if TYPE_CHECKING:
    from PIL import Image

PROOF, FILLING = "proof", "filling"
LONGER = 1600
"""pixels along its longer side, at most"""
MOST_PIXELS = 1 << 25
"""of a range of samples; reading larger ones takes too long for a look"""


def so_far(folder: Path, frame: int | None = None) -> Path | None:
    """The picture of a split frame of the job in a folder, as far as it is there; of the one that moves.

    A file of another name whenever there is more of it; None where there is nothing. Raises StoreError.
    """
    below = Job.at(folder).refresh().parts
    if below is None:
        return None
    record, parts = below.record, below.record.work.parts
    frame = parts[below.ledger.run.newest or 0].frame if frame is None else frame
    coarse = next(folder.glob(f"{PROOF}{frame}/{FRAMES}/*.0000.*"), None)
    done = {each.frame for each in below.ledger.of(FrameState.SUCCEEDED)}
    there = {n: part for n, part in enumerate(parts) if part.frame == frame and n in done}
    if parts[0].samples and math.prod(record.work.size) > MOST_PIXELS:
        there = {}
    target = folder / FILLING / f"{frame}.{len(there)}.png"
    if not (there or coarse):
        return None
    if not target.exists():
        _fill(target, coarse, there, record)
    return target


def _fill(target: Path, coarse: Path | None, parts: dict[int, Part], record: Record) -> None:
    """What was made before, with the parts that came since; which it has stands in the file."""
    from PIL import Image, PngImagePlugin

    target.parent.mkdir(exist_ok=True)
    before = sorted(target.parent.glob(f"{target.name.partition('.')[0]}.*.png"))
    scale = min(1.0, LONGER / max(record.work.size))
    width, height = (max(1, round(side * scale)) for side in record.work.size)
    canvas = _small(coarse, (width, height), record) or Image.new("RGB", (width, height), (GREY,) * 3)
    there = set[int]()
    for path in before:
        with suppress(OSError, ValueError, KeyError), Image.open(path) as image:
            if (known := set(json.loads(image.info["parts"]))) <= parts.keys():
                canvas, there = image.convert("RGB"), known
    for number in sorted(parts.keys() - there):
        _paste(canvas, parts[number], sum(parts[n].samples for n in there), record.picture(number), record)
        there.add(number)
    note = PngImagePlugin.PngInfo()
    note.add_text("parts", json.dumps(sorted(there)))
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    canvas.save(draft, "PNG", pnginfo=note, compress_level=1)
    draft.replace(target)
    for path in before:
        path.unlink(missing_ok=True)


def _paste(canvas: Image.Image, part: Part, samples: int, path: Path, record: Record) -> None:
    """Put a part where it belongs; over ranges of so many samples as much of it as it has."""
    from PIL import Image

    size, scale = record.work.size, canvas.width / record.work.size[0]
    reach = part.reach(size) if record.scene.tiles else (0, 0, *size)
    left, top, right, bottom = (round(edge * scale) for edge in reach)
    a, b, c, d = (round(edge * scale) for edge in (part.left, part.top, part.right, part.bottom))
    if found := _small(path, (max(1, right - left), max(1, bottom - top)), record):
        share = part.samples / (samples + part.samples) if samples else 1.0
        tile = found.crop((a - left, b - top, c - left, d - top))
        canvas.paste(Image.blend(canvas.crop((a, b, c, d)), tile, share), (a, b))


def _small(path: Path | None, size: tuple[int, int], record: Record) -> Image.Image | None:
    """A picture of exactly that size; None where it can't be read."""
    found = small(path, size, record.scene.colour)
    return (flatten(found) if found.mode == "RGBA" else found).resize(size) if found else None
