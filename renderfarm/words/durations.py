"""How long something took or will take, as people read it, in terminals and in reports."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """`0.42 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{round(seconds, 3):.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours >= 48:
        return _both(f"{hours // 24} d", hours % 24, "h")
    if hours:
        return _both(f"{hours} h", left, "min")
    return _both(f"{minutes} min", rest, "s") if minutes else f"{rest} s"


def _both(whole: str, rest: int, unit: str) -> str:
    return f"{whole} {rest} {unit}" if rest else whole
