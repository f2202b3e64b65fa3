"""The way in: `node.pyz cloud setup | prepare | task`. What a task says is read in Batch's own logs."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

from renderfarm.depots.redaction import redact
from renderfarm.errors import RenderfarmError
from renderfarm.queues.azure.on_node import exits

_PACKAGE = "renderfarm.queues.azure.on_node"
_COMMANDS = {"setup": ("setup", "set_up"), "prepare": ("task", "prepare"), "task": ("task", "render_task")}
_LOG = logging.getLogger(_PACKAGE)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One line without secrets."""
        return redact(super().format(record))


def main(arguments: Sequence[str]) -> int:
    """Do what the first argument says; the exit code. The last line on standard error tells what went wrong."""
    _log_to_streams()
    if len(arguments) != 1 or arguments[0] not in _COMMANDS:
        _LOG.error("usage: cloud %s", " | ".join(_COMMANDS))
        return 2
    module, function = _COMMANDS[arguments[0]]
    try:
        return int(getattr(importlib.import_module(f"{_PACKAGE}.{module}"), function)())
    except (RenderfarmError, OSError) as error:
        end = exits.ending(error)
    line = " ".join(end.message.split())
    _LOG.error("renderfarm: %s", f"{line.rstrip('.')} — {end.hint}" if end.hint else line)
    return end.code


def _log_to_streams() -> None:
    """What goes well on standard output, what doesn't on standard error."""
    handlers = (logging.StreamHandler(sys.stdout), logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(_Redacting("%(message)s"))
    handlers[0].addFilter(lambda record: record.levelno < logging.WARNING)
    handlers[1].setLevel(logging.WARNING)
    logger = logging.getLogger(_PACKAGE)
    logger.setLevel(logging.INFO)
    logger.handlers = list(handlers)
    logger.propagate = False
