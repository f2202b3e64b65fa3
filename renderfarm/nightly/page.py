"""The morning report (written in its own room)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from renderfarm.nightly.model import Night


def write(night: Night, output: Path, history: Sequence[Night]) -> Path:
    """Write the report of a night."""
    path = output / night.night / "index.html"
    path.write_text(f"{night.night} {len(history)}")
    return path
