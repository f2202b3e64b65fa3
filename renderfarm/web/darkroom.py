"""Makes pictures smaller for the page: `python -m renderfarm.web.darkroom`, a process of its own.

So a picture of a hundred megabytes never swells the server, a broken one can't end it, and the renderers keep
the processor: the process is nicer than they are. An order is a line on standard input; the answer, on standard
output, is a length, then so many bytes of a picture, or after a negative length a sentence that says why there
is none. It imports little, as it starts while somebody waits.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from renderfarm.pictures.small import UNREADABLE, fitted, saved
from renderfarm.words.as_json import decode
from renderfarm.words.scene import Colour

KINDS = {"small": (480, "JPEG", 82), "large": (1600, "JPEG", 90), "exact": (1600, "PNG", 0)}
"""pixels of the longer side, format and quality"""
NICE = 5
IDLE_SECONDS = 120
"""then it leaves; the next picture starts another"""
LENGTH = struct.Struct(">i")


def _develop(order: bytes) -> bytes:
    """The picture that a line asks for, kept for the next time; raises what `UNREADABLE` names."""
    asked = json.loads(order)
    side, form, quality = KINDS[asked["kind"]]
    path: Path | None = Path(asked["path"])
    if path and path.is_dir():
        from renderfarm.farm.filling import so_far

        path = so_far(path, asked["frame"])
    if path is None:
        raise ValueError("nothing of it is there yet")
    data = saved(fitted(path, (side, side), decode(Colour, asked["view"])), form, quality=quality)
    with suppress(OSError):  # a folder that can't be written to, or a full disk: it is made again
        kept = Path(asked["keep"])
        kept.parent.mkdir(exist_ok=True)
        draft = kept.with_name(f".{kept.name}.{os.getpid()}")
        draft.write_bytes(data)
        draft.replace(kept)
    return data


def _answer(order: bytes, out: BinaryIO) -> None:
    try:
        data = _develop(order)
        head = LENGTH.pack(len(data))
    except (*UNREADABLE, MemoryError) as error:
        data = f"This picture can't be shown: {str(error) or type(error).__name__}.".encode(errors="replace")
        head = LENGTH.pack(-len(data))
    out.write(head + data)
    out.flush()


def main() -> None:
    """Answer until standard input ends: with the server, however that ends."""
    from PIL import Image

    Image.preinit()  # now: that takes longer than most pictures
    os.environ.setdefault("OPENIMAGEIO_THREADS", "1")  # it reads that when a picture asks for it
    os.nice(NICE)
    signal.alarm(IDLE_SECONDS)
    for line in sys.stdin.buffer:
        _answer(line, sys.stdout.buffer)
        signal.alarm(IDLE_SECONDS)


if __name__ == "__main__":
    main()
