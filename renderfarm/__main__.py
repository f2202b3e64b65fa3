"""`python -m renderfarm` and the `renderfarm` command."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from renderfarm import cli

        code = cli.main()
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        # After an interrupt in an exec (a dataclass is made by one) Python leaves by SIGINT, caught or not.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
