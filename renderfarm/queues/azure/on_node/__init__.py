"""What the Azure pool adds to the node program; standard library only.

It is packed without anything of Azure's, so that image builds can.
"""

from __future__ import annotations

from pathlib import Path

PARTS = ("depots", "queues/azure/on_node", "queues/azure/layout.py")
COMMANDS = {"cloud": "renderfarm.queues.azure.on_node.program"}


def node_program(target: Path) -> Path:
    """Write the node program for the cloud: `python3 target cloud task`."""
    from renderfarm.node import archive

    return archive.build(target, PARTS, COMMANDS)
