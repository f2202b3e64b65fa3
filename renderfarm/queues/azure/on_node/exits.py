"""How a program on a node ends: exit codes that the job's exit conditions know, and one line that says why."""

from __future__ import annotations

import errno

from renderfarm.depots.blobs import BlobError
from renderfarm.errors import RenderfarmError

GOOD = 0
FAILED = 1
"""trying again may help"""
REFUSED = 41
"""storage refuses us: the signature has run out, or a right is missing"""
HOPELESS = 42
"""no other task of the job would fare better: Batch ends it"""
DISK_FULL = 43
STOPPED = 143
"""told to stop (SIGTERM)"""


class Exit(RenderfarmError):  # noqa: N818 - an end, which may be wanted
    """Ends the program with a code, a message and the way out."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


def ending(error: RenderfarmError | OSError, what: str = "") -> Exit:
    """How an error ends the program; `what` says what could not be done."""
    if isinstance(error, Exit):
        return error
    code, hint = FAILED, getattr(error, "hint", "")
    if isinstance(error, BlobError):
        hint = "Batch tries again."
        if error.refused:
            code, hint = REFUSED, "The signature has run out, or lacks a right: resume the job."
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        code = DISK_FULL
    told = error.message if isinstance(error, RenderfarmError) else f"{type(error).__name__}: {error}."
    return Exit(code, f"{what} {told}".strip(), hint)
