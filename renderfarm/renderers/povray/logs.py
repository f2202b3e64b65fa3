"""What POV-Ray's messages mean: reason, file, line and column of what went wrong.

POV-Ray wraps its messages at 80 columns and names a line, but no column; where it names the word it
stumbled over, the column is looked up in the file. The exit code is 1 for everything that the scene did
wrong, so only the words tell a missing file from a syntax error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from renderfarm.words.states import Reason

MOST_SIGNS = 10
COLUMNS = 80
_BEGINNINGS = ("File '", "Fatal error in ", "====")
"""of messages: the one before may have ended on the last column"""
_PLACE = re.compile(
    r"(?:File '(?P<file>.*?)' line (?P<line>\d+): )?(?P<possible>Possible )?Parse Error: (?P<words>.*)"
)
_NOT_FOUND = re.compile(r"Cannot find file '(.*?)', even after trying")
_OPENING = re.compile(
    r"Cannot open (?:include |input |font |.*?)?file|Cannot find (?:image )?file|file not found"
    r"|Cannot read media density file",
    re.I,
)
_FOUND_INSTEAD = re.compile(r"'?(?P<word>[^\s']+)'? (?:constant )?found instead")
_UNDECLARED = re.compile(r"(?:undeclared identifier|uninitialized identifier) '?([A-Za-z_]\w*)")
_MEMORY = re.compile(r"Memory allocation failure|out of memory|bad_alloc", re.I)
_DISK = re.compile(r"No space left|Cannot access data in file|Cannot write|disk full", re.I)
_TELLING = (
    re.compile(r"^(File '.*' line \d+: )?Parse Error:"),
    re.compile(r"^Fatal error|Problem with option|terminate called|what\(\):|Memory allocation|Cannot process"),
    re.compile(r"Cannot (find|open|read|write|access)|prohibited|No space left"),
    re.compile(r"Parse Warning|Render Warning|^Warning|Possible Parse Error"),
)
_KINDS = {"float": r"(?<![\w.])[-+]?\.?\d[\d.eE+-]*", "string": r'"', "literal": r'"'}


@dataclass(frozen=True)
class Verdict:
    """Why a run of POV-Ray stopped, in one line for people."""

    reason: Reason
    message: str
    lacks: str = ""
    """the file that is missing, as the scene names it"""


def messages(log: str) -> list[str]:
    """The log's messages with POV-Ray's line wrapping undone: at a blank, or in the middle of a long word."""
    joined: list[str] = []
    before = ""
    for line in log.replace("\r", "\n").splitlines():
        at_blank = line[:1] == " " and line[1:2] not in ("", " ")
        in_word = len(before) == COLUMNS and line[:1] not in ("", " ") and not line.startswith(_BEGINNINGS)
        if (at_blank or in_word) and before and not before.startswith(("==", "--")):
            joined[-1] += line.rstrip()
        else:
            joined.append(line.rstrip())
        before = line
    return joined


def signs(log: str) -> tuple[str, ...]:
    """The lines that tell what went wrong, most telling first, each once."""
    lines = messages(log)
    found = dict.fromkeys(line for kind in _TELLING for line in lines if kind.search(line))
    return tuple(found)[:MOST_SIGNS]


def verdict(code: int, log: str, source_line: Callable[[str, int], tuple[str, str]]) -> Verdict:
    """Classify a run that left a frame out.

    `source_line(file, line)` gives the file's name for people and the text of that line, empty when unknown.
    """
    lines = messages(log)
    text = "\n".join(lines)
    if _MEMORY.search(text):
        return Verdict(Reason.OUT_OF_MEMORY, "POV-Ray ran out of memory.")
    if _DISK.search(text):
        return Verdict(Reason.DISK_FULL, "POV-Ray could not write its picture: the disk is full.")
    if "Problem with option setting" in text or "Cannot process" in text:
        return Verdict(Reason.BAD_SETTING, "POV-Ray refuses one of the options of the ini or the command line.")
    complaints = [match for line in lines if (match := _PLACE.search(line))]
    errors = [match for match in complaints if not match["possible"]]
    fatal = [line for line in lines if line.startswith("Fatal error")]
    if errors and not _OPENING.search(errors[-1]["words"]):
        return Verdict(Reason.SCENE_ERROR, _sentence(errors[-1], source_line))
    missing = _missing(complaints, source_line)
    if missing and (errors or any(_OPENING.search(line) for line in fatal)):
        return Verdict(Reason.MISSING_FILE, *missing)
    if errors or fatal:
        last = _sentence(complaints[-1], source_line) if complaints else fatal[-1]
        return Verdict(Reason.SCENE_ERROR, last)
    return _from_code(code)


def _from_code(code: int) -> Verdict:
    if code == 0:
        return Verdict(Reason.NO_PICTURE, "POV-Ray said it was done and left no picture.")
    signal = -code if code < 0 else code - 128 if code > 128 else 0
    if signal:
        return Verdict(Reason.CRASH, f"POV-Ray died of signal {signal}.")
    return Verdict(Reason.UNKNOWN, f"POV-Ray stopped with exit code {code} and gave no reason.")


def _missing(
    complaints: list[re.Match[str]], source_line: Callable[[str, int], tuple[str, str]]
) -> tuple[str, str] | None:
    """The sentence about it, and the file's name."""
    for complaint in reversed(complaints):
        name = _NOT_FOUND.search(complaint["words"])
        if name and complaint["file"]:
            file, _ = source_line(complaint["file"], int(complaint["line"]))
            return f"{file}, line {complaint['line']}: the file {name[1]!r} is missing.", name[1]
        if name:
            return f"The file {name[1]!r} is missing.", name[1]
    return None


def _sentence(complaint: re.Match[str], source_line: Callable[[str, int], tuple[str, str]]) -> str:
    words = complaint["words"].strip()
    if not complaint["file"]:
        return words
    number = int(complaint["line"])
    file, text = source_line(complaint["file"], number)
    column = _column(words, text)
    where = f"{file}, line {number}" + (f", column {column}" if column else "")
    return f"{where}: {words}"


def _column(words: str, text: str) -> int:
    """Where on the line the word stands that POV-Ray stumbled over; 1 is the first column, 0 is unknown."""
    named = _UNDECLARED.search(words) or _FOUND_INSTEAD.search(words)
    if named is None or not text:
        return len(text) - len(text.lstrip()) + 1 if text.strip() else 0
    word = named[1]
    pattern = _KINDS.get(word) or (rf"\b{re.escape(word)}\b" if word.isidentifier() else re.escape(word))
    places = [match.start() for match in re.finditer(pattern, text)]
    return places[0] + 1 if places else len(text) - len(text.lstrip()) + 1 if text.strip() else 0
