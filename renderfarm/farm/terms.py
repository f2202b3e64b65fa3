"""What a run of the loop is to do of a job, and how it may end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from renderfarm.words.states import Word
from renderfarm.words.status import Status

if TYPE_CHECKING:
    from renderfarm.queues.turns import Turn

Observer = Callable[[Status], None]


class Canceled(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The job was canceled from elsewhere."""


class Paused(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The job was paused from elsewhere, and no frame is in hand."""


class Outdated(Exception):  # noqa: N818 - not an error: people go on working
    """Files of the scene changed while the job waited for its turn, which it has now."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self.turn = turn


class Until(Word):
    """Until when to follow a job whose pool goes on without this machine."""

    DECIDED = "decided"
    """every frame has an outcome"""
    CAUGHT_UP = "caught up"
    """everything that is finished by now is collected"""
    SUBMITTED = "submitted"


@dataclass(frozen=True)
class Terms:
    """How much of a job to do this time; frames that are left stay queued, for `resume`."""

    until: Until = Until.DECIDED
    frames: int | None = None
    """at most so many more, in the job's order"""
    enough: Callable[[], bool] = lambda: False
    """asked a few times per second; true ends it, and what nodes on this machine have in hand is lost"""
    products: bool = True
    """make the video and the rest of what is there, although frames are left"""
    again: bool = True
    """take frames up again that have failed for good"""


WHOLE = Terms()


class Entangled(Exception):  # noqa: N818 - not an error: the job begins again, in order
    """Frames look for a file that others write; its name."""


class LeftToPool(Exception):  # noqa: N818 - not an error: the pool goes on
    """The job was left to its pool, with frames undecided."""
