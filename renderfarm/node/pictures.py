"""Is a file structurally a whole picture? The cheap look that needs no image library.

The farm decodes every frame later; a node only makes sure that it hands over no half file.
"""

from __future__ import annotations

import os
from pathlib import Path

from renderfarm.words import files

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
EXR = b"\x76\x2f\x31\x01"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def defect(path: Path) -> str:
    """What is wrong with a picture file, in a few words; empty when it looks whole. Raises OSError."""
    with files.opened(path) as file:
        head = file.read(24)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 12))
        tail = file.read()
    if not head:
        return "the file is empty"
    if head.startswith(PNG):
        return "" if tail[4:8] == b"IEND" else "the PNG has no end"
    if head.startswith(JPEG):
        return "" if tail.rstrip(b"\0").endswith(b"\xff\xd9") else "the JPEG has no end"
    if head.startswith(EXR) or head[:4] in TIFF:
        return ""
    return "the file is not a PNG, JPEG, EXR or TIFF"
