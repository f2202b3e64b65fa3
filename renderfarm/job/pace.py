"""How fast a job goes and when it will be done."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW = 64
"""frames whose times count"""
NEWEST_WEIGHT = 0.4


@dataclass
class _Node:
    mean: float | None = None
    """seconds of a frame, the newest counting most"""
    frames: int = 0
    frame: int | None = None
    since: float = 0.0


class Pace:
    """Measures nodes as frames come and go. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._finished: deque[float] = deque(maxlen=WINDOW)

    def coming(self, node: str) -> None:
        """A node loads the scene and will render like the others."""
        self._nodes.setdefault(node, _Node())

    def started(self, node: str, frame: int, now: float) -> None:
        """A node began a frame."""
        known = self._nodes.setdefault(node, _Node())
        known.frame, known.since = frame, now

    def finished(self, node: str, seconds: float, now: float) -> None:
        """A node finished a frame; 0.0 seconds are no measurement, but less than the clock shows."""
        known = self._nodes.setdefault(node, _Node())
        known.frame = None
        known.frames += 1
        self._finished.append(now)
        if seconds <= 0:
            return
        # A session's first frame also warms it up, so the second one replaces it.
        if known.mean is None or known.frames == 2:
            known.mean = seconds
        else:
            known.mean += NEWEST_WEIGHT * (seconds - known.mean)

    def left(self, node: str) -> None:
        """A node went away: what all made together until now says nothing about the others."""
        self._nodes.pop(node, None)
        self._finished.clear()

    def seconds_per_frame(self) -> float | None:
        """Mean of the nodes' frame times; None before the first that was measured."""
        means = [node.mean for node in self._nodes.values() if node.mean is not None]
        return sum(means) / len(means) if means else None

    def rate(self, now: float) -> float | None:
        """Frames a second that all nodes make together; None before the first that was measured."""
        mean = self.seconds_per_frame()
        if mean is None:
            return None
        if len(self._finished) == WINDOW and now - self._finished[0] < WINDOW * mean:
            return (WINDOW - 1) / max(now - self._finished[0], 1e-9)
        return sum(1 / max(node.mean or mean, 1e-9) for node in self._nodes.values())

    def seconds_left(self, frames_left: int, now: float) -> float | None:
        """When `frames_left` frames (those in hand included) will be rendered; None when unknown."""
        rate, mean = self.rate(now), self.seconds_per_frame()
        if rate is None or mean is None:
            return None
        in_hand = sum(
            min(1.0, (now - n.since) / (n.mean or mean)) for n in self._nodes.values() if n.frame is not None
        )
        return max(0.0, frames_left - in_hand) / rate

    def nodes(self) -> list[tuple[str, int | None, float]]:
        """Each node, the frame that it renders, and since when."""
        return [(name, node.frame, node.since) for name, node in sorted(self._nodes.items())]
