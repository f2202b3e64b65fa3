"""What Blender's log and exit code say about a frame that went wrong."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

from renderfarm.words.states import Reason

_PREFIX = re.compile(r"^\d+:\d+(?::\d+)?\.\d+\s+(\S+)\s+\|\s+(.*)$")
"""Since 5.0 a line starts with the time and the part of Blender that speaks."""
_HARMLESS = re.compile(
    r"CUEW|HIPEW|EGL|OpenXR|XDG_RUNTIME|libdecor|Color management: |ALSA|not an error|no error|"
    r"pyrna_enum_to_py|Quit$|renderfarm: frame",
    re.IGNORECASE,
)
_WORST = re.compile(
    r"out of memory|malloc returns null|no space left|segmentation|^\w*Error: |cannot render|can't open|"
    r"build without|EXCEPTION_|abort",
    re.IGNORECASE,
)
_BAD = re.compile(
    r"\b(error|traceback|fail\w*|cannot|can't|unable|does not exist|not a blend)\b", re.IGNORECASE
)
_DOUBTFUL = re.compile(r"\b(warn\w*|missing|not found|disabled for|restricted access)\b", re.IGNORECASE)
_REASONS = (
    (
        re.compile(r"malloc returns null|out of memory|std::bad_alloc|MemoryError", re.IGNORECASE),
        Reason.OUT_OF_MEMORY,
    ),
    (re.compile(r"no space left|disk full", re.IGNORECASE), Reason.DISK_FULL),
    (
        re.compile(
            r"no camera|build without|can't open|not a blend|newer version|animation format|no render layer|"
            r"no view layer|image too small|unsupported|could not be loaded|failed to read blend",
            re.IGNORECASE,
        ),
        Reason.SCENE_ERROR,
    ),
    (re.compile(r"does not exist|cannot find lib|no such file", re.IGNORECASE), Reason.MISSING_FILE),
)
_LACKING = re.compile(r"does not exist")
_SIGNS = 10


def signs(log: str) -> tuple[str, ...]:
    """The telling lines of a log, worst first, each once, at most ten."""
    lines = _told(log)
    ranked = [line for kind in (_WORST, _BAD, _DOUBTFUL) for line in lines if kind.search(line)]
    return tuple(dict.fromkeys(ranked))[:_SIGNS]


def _told(log: str) -> list[str]:
    lines = (_PREFIX.sub(r"\1: \2", line.strip()) for line in log.splitlines())
    return [line for line in lines if line and not _HARMLESS.search(line)]


def lacking(told: Iterable[str]) -> bool:
    """Whether the signs of a log speak of a file that is not there, as of a picture that Cycles looks for."""
    return any(map(_LACKING.search, told))


def reason(text: str) -> Reason:
    """The reason that a message or the signs of a log speak of."""
    return next((why for pattern, why in _REASONS if pattern.search(text)), Reason.UNKNOWN)


def death(exit_code: int | None, told: Iterable[str], memory_kills: int) -> tuple[Reason, str]:
    """Why the process ended, from its exit code (128 + n and -n are signal n) and the signs of its log."""
    told = list(told)
    line = told[0] if told else ""
    number = -exit_code if exit_code is not None and exit_code < 0 else (exit_code or 0) - 128
    why = reason("\n".join(told))
    if number == signal.SIGKILL and memory_kills:
        return Reason.OUT_OF_MEMORY, "Blender was killed because memory ran out."
    if 0 < number < signal.NSIG:
        message = f"Blender crashed ({_signal_name(number)})" + (f": {line}" if line else ".")
        return (why if why is Reason.OUT_OF_MEMORY else Reason.CRASH), message
    return why, line or f"Blender ended without a word (exit code {exit_code})."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
