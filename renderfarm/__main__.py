"""`python -m renderfarm` and the `renderfarm` command; whoever imports this is one of them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED = 130
STOPS = (signal.SIGINT, signal.SIGTERM)


def _leave(number: int, frame: FrameType | None) -> None:
    """Nothing has begun that would have to be cleaned up."""
    os.write(2, b"Stopped.\n")
    os._exit(INTERRUPTED)


def _complete_surroundings() -> None:
    """What the caller closed leads nowhere, else the next file to be opened, a database say, is in its place.

    A home that is empty or relative is none: the system's list of users has one.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
    for name in ("HOME", "XDG_DATA_HOME"):
        if not os.environ.get(name, "/").startswith("/"):
            del os.environ[name]


for _number in STOPS:
    signal.signal(_number, _leave)
_complete_surroundings()


def main() -> None:
    """Run the command line and leave with its exit code."""
    from renderfarm import cli

    code = cli.main()
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    # All is closed, and taking Python apart costs more than some commands. After an interrupt in an exec
    # (a dataclass is made by one) it would leave by SIGINT besides, caught or not.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
