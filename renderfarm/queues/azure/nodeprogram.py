"""The one file that runs on cloud nodes; made without anything of Azure, so that image builds can."""

from __future__ import annotations

from pathlib import Path

from renderfarm.node import archive

PARTS = ("depots", "queues/azure/on_node", "queues/azure/layout.py")
COMMANDS = {"cloud": "renderfarm.queues.azure.on_node.program"}


def node_program(target: Path) -> Path:
    """Write the node program for the cloud: `python3 target cloud task`."""
    return archive.build(target, PARTS, COMMANDS)
