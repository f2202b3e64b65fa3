"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

SHOWN_CHARACTERS = 40
"""of the name, in that of the draft: two long names together are none"""


def write(path: Path, content: str | bytes) -> None:
    """Write a file that nobody ever sees half of, not even on another machine; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name[:SHOWN_CHARACTERS]}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        draft.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
