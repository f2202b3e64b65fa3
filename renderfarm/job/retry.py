"""Whether a frame whose attempt failed is tried again: the one place that decides, on the farm and on nodes."""

from __future__ import annotations

from renderfarm.job.ledger import Frame
from renderfarm.words.states import RETRYABLE, Reason
from renderfarm.words.updates import Failed

LOST_LIMIT = 10
"""times that a frame may lose its node before that counts against the frame"""


def tried_again(frame: Frame, failure: Failed, retries: int) -> bool:
    """Whether there is to be another attempt, of a frame that has this one counted, but not yet its reason.

    What failed the same way twice in its pixels won't get better.
    """
    same = (frame.reason, frame.message) == (failure.reason.value, failure.message)
    hopeless = failure.final or (same and failure.reason is Reason.BAD_PICTURE)
    within = frame.spent <= retries and frame.lost <= LOST_LIMIT
    return failure.reason in RETRYABLE and within and not hopeless
