"""Starts the program."""

from __future__ import annotations

import sys

from renderfarm.queues.azure.on_node.program import main

raise SystemExit(main(sys.argv[1:]))
