"""`python -m renderfarm` and the `renderfarm` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from renderfarm import cli

    sys.exit(cli.main())


if __name__ == "__main__":
    main()
