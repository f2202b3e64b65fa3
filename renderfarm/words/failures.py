"""Frames that failed, told once for all that failed alike, and what to do about them.

The one place that decides what people are advised to do next: by reasons and states, never by words.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from renderfarm.words.states import Phase, Reason
from renderfarm.words.status import FrameFailure, Status

_MENDED = {
    Reason.SCENE_ERROR: "Mend the scene",
    Reason.MISSING_FILE: "Put the file back",
    Reason.BAD_SETTING: "Take that setting out",
}
"""what has to be done before another try can do better; such a scene is another one"""


F = TypeVar("F", bound=FrameFailure)


def alike(failures: Iterable[F]) -> list[list[F]]:
    """Failures with the same reason and message together, in the order of their first ones."""
    found: dict[tuple[str, str], list[F]] = {}
    for failure in failures:
        found.setdefault((failure.reason, failure.message), []).append(failure)
    return list(found.values())


@dataclass(frozen=True)
class Advice:
    """The next step."""

    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.command}" if self.command else f"{self.text}."


def advice(status: Status, again: str = "submit it again") -> Advice | None:
    """What to do about a job that nobody works on, if anything; `again` is how its scene gets another try."""
    if not status.ended:
        return None
    reasons = {failure.reason for failure in status.failures}
    resume = f"renderfarm resume {shlex.quote(status.job)}"
    if status.phase in (Phase.INTERRUPTED, Phase.PAUSED) and Reason.MISSING_FILE not in reasons:
        return Advice("Go on with", resume)
    if Reason.INPUT_CHANGED in reasons:
        return Advice("Render those frames from the files as they are now", resume)
    if first := next((what for reason, what in _MENDED.items() if reason in reasons), None):
        return Advice(f"{first}, then {again}: frames that are good are not rendered twice")
    return Advice("Try again with", f"renderfarm retry {shlex.quote(status.job)}") if reasons else None
