"""The graphics cards of a machine, as its kernel shows them: data that no renderer is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CARDS = ("nvidia[0-9]*", "dri/renderD*", "kfd", "dxg")
_DRIVERS = ("nvidiactl", "nvidia-uvm*", "nvidia-modeset", "nvidia-caps")


def devices(folder: Path = Path("/dev")) -> list[str]:
    """What programs open to render on all cards: NVIDIA's, those of Mesa and ROCm, WSL's."""
    cards = [str(path) for pattern in _CARDS for path in sorted(folder.glob(pattern))]
    return cards and [*cards, *(str(path) for pattern in _DRIVERS for path in sorted(folder.glob(pattern)))]


def chosen(found: Sequence[T], wanted: str) -> list[T]:
    """All cards (`auto`, `gpu`), or those of some numbers; none where one of these is not there."""
    if wanted in ("auto", "gpu"):
        return list(found)
    numbers = [int(number) for number in wanted.split(",")]
    return [found[number] for number in numbers] if max(numbers) < len(found) else []
