"""`python -m renderfarm` and the `renderfarm` command; whoever imports this is one of them."""

from __future__ import annotations

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


for _number in STOPS:
    signal.signal(_number, _leave)


def main() -> None:
    """Run the command line and leave with its exit code."""
    from renderfarm import cli

    code = cli.main()
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    if code == INTERRUPTED:
        # After an interrupt in an exec (a dataclass is made by one) Python leaves by SIGINT, caught or not.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
