"""The files that frames are rendered from, compared with what they were before the renderer opened them.

A warm renderer opens a file once, at any time between its start and the end of a frame. So a frame is good
when every file that it needs has the stamp that it had before that start. Another stamp over the same bytes
(somebody linked or touched the file, or changed it and put it back) tells nothing about what the renderer read:
that frame is rendered again by a renderer that opens everything anew. Other bytes are for `resume`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from renderfarm.errors import InputError
from renderfarm.renderers.wildcards import ranges
from renderfarm.words import stamps
from renderfarm.words.stamps import Stamp
from renderfarm.words.updates import Observed
from renderfarm.words.work import Input


class Inputs:
    """What one session's frames are rendered from."""

    def __init__(self, inputs: Sequence[Input] = (), since: float = 0.0) -> None:
        self._inputs = inputs
        self._since = since
        sure = [each for each in inputs if not each.perhaps]
        self._always = [each for each in sure if each.frames is None]
        self._own = [(ranges(each.frames), each) for each in sure if each.frames is not None]
        self._perhaps = {each.path: each for each in inputs if each.perhaps}
        self.sure = frozenset(each.path for each in sure)
        """what frames are known to need"""
        self._opened: dict[str, Stamp] = {}
        """the marks of all of them when the renderer opened"""
        self._changed: set[str] = set()

    def open(self) -> None:
        """Take the stamps, before a renderer opens any of the files."""
        for each in self._inputs:
            self._take(each)

    def newer(self, seconds: float) -> bool:
        """Whether one of them may have changed after that moment: then a renderer from then is of no use."""
        return any(stamps.is_newer(mark, seconds) for mark in self._opened.values())

    def moved(self, frame: int, seen: Observed | None = None) -> bool:
        """Whether a file that the frame needs was touched since the renderer started; see `changed`."""
        moved = [each for each in self._needed(frame, seen) if _mark(each.path) != self._opened.get(each.path)]
        for each in moved:
            self._take(each)
        return bool(moved)

    def changed(self, frame: int, seen: Observed | None = None) -> str:
        """The first file that the frame needs and that has other bytes now; empty when there is none."""
        if not self._changed:
            return ""
        return next((each.path for each in self._needed(frame, seen) if each.path in self._changed), "")

    def _needed(self, frame: int, seen: Observed | None) -> Iterator[Input]:
        yield from self._always
        for spans, each in self._own:
            if any(frame in span for span in spans):
                yield each
        if seen and self._since:
            yield from (self._perhaps[path] for path in seen.absent if path in self._perhaps)
            yield from filter(None, (self._open_input(path, seen.written) for path in seen.opened))

    def _open_input(self, path: str, written: Sequence[str]) -> Input | None:
        """A file that was opened, as it was when all were listed; one that came since was not there."""
        known = self._perhaps.get(path)
        foreign = known is None and not path.endswith("/") and path not in written
        new = foreign and stamps.is_newer(stamps.stamp(path), self._since)
        return Input(path, "", (), perhaps=True) if new else known

    def _take(self, each: Input) -> None:
        """The device is left out: each machine that shares a file system numbers it by itself."""
        found = stamps.stamp(each.path)
        if found[1:] != each.stamp[1:] and not (found and each.stamp and _is_same(each)):
            self._changed.add(each.path)
        self._opened[each.path] = (*found[:2], found[4]) if found else ()


def _mark(path: str) -> Stamp:
    """The parts of a stamp without which none of the others changes; for very many files after each frame."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_ctime_ns)


def _is_same(each: Input) -> bool:
    """Whether a file with another stamp still has the same bytes."""
    try:
        if os.path.isdir(each.path):  # noqa: PTH112
            return stamps.listing(each.path) == each.content
        return stamps.read(each.path)[1] == each.content
    except (OSError, InputError):
        return False
