"""Brings a job's assets to this node before its first task: the job preparation task."""

from __future__ import annotations

import logging
import time

from renderfarm.queues.azure.on_node import place
from renderfarm.queues.azure.on_node.assets import Store
from renderfarm.queues.azure.on_node.exits import GOOD, IMPOSSIBLE, Exit
from renderfarm.queues.azure.on_node.manifest import Manifest, from_json

_LOG = logging.getLogger(__name__)


def prepare() -> int:
    """Bring what the node doesn't have yet; the exit code. Raises Exit."""
    began = time.monotonic()
    manifest = _manifest()
    store = Store(place.shared("assets"), place.shared("locks"))
    brought = store.bring(manifest, place.containers().assets)
    seconds = time.monotonic() - began
    _LOG.info("%d files are here, %d of them came in %.1f s.", len(manifest.files), brought, seconds)
    return GOOD


def _manifest() -> Manifest:
    path = place.inputs_folder() / "manifest.json"
    try:
        return from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Exit(
            IMPOSSIBLE, f"The job's manifest can't be read: {error}.", "Submit the job again."
        ) from error
