"""How a program on a node ends: exit codes that the job's exit conditions know, and one line that says why."""

from __future__ import annotations

import errno

from renderfarm.depots.blobs import BlobError
from renderfarm.errors import RenderfarmError
from renderfarm.words.states import Reason

GOOD = 0
FAILED = 1
"""trying again may help"""
MISSING = 40
"""a file that the scene needs is not there"""
REFUSED = 41
"""storage refuses us: the signature has run out, or a right is missing"""
IMPOSSIBLE = 42
"""the scene can't be rendered with these settings"""
DISK_FULL = 43
UNFIT = 44
"""no renderer of this pool's nodes can open the scene"""
STOPPED = 143
"""told to stop (SIGTERM)"""
HOPELESS = (MISSING, IMPOSSIBLE, UNFIT)
"""no other task of the job would fare better: Batch ends it"""

_OF_REASON = {
    Reason.MISSING_FILE: MISSING,
    Reason.SCENE_ERROR: IMPOSSIBLE,
    Reason.BAD_SETTING: IMPOSSIBLE,
    Reason.DISK_FULL: DISK_FULL,
}


class Exit(RenderfarmError):  # noqa: N818 - an end, which may be wanted
    """Ends the program with a code, a message and the way out."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


def of_reason(reason: Reason) -> int:
    """The exit code for why nothing could be rendered."""
    return _OF_REASON.get(reason, FAILED)


def of_error(error: OSError) -> int:
    """The exit code for a file that can't be written."""
    return DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else FAILED


def of_refusal(error: BlobError) -> tuple[int, str]:
    """The exit code where storage did not do what it was asked for, and the way out."""
    if error.refused:
        return REFUSED, "The signature has run out, or lacks a right: resume the job."
    return FAILED, "Batch tries again."
