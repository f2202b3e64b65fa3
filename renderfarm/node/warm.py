"""A renderer that is kept open: started, watched, asked why it died, closed so that nothing of it is left."""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Set
from pathlib import Path

from renderfarm.node import sandbox
from renderfarm.node.launch import ProcessLauncher
from renderfarm.node.trace import Trace
from renderfarm.node.watch import Watch
from renderfarm.renderers import Session, SessionFailure, renderer
from renderfarm.words import stamps
from renderfarm.words.request import Sandbox
from renderfarm.words.scene import Scene
from renderfarm.words.states import Reason
from renderfarm.words.updates import Observed
from renderfarm.words.work import Work

FULL_BYTES = 1 << 20
"""a file system with less space than this is full"""
OPENING_SECONDS = 1800.0
"""that a scene may take to open where its frames have a limit, unless that is longer"""
MOST_OPENINGS = 5
"""times in a row that a session is opened anew because files moved under it"""


class WarmSession:
    """The session of one node, while there is one."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.session: Session | None = None
        self.began = 0.0
        """when it was started, in seconds since the epoch"""
        self._launcher: ProcessLauncher | None = None
        self._watch: Watch | None = None

    @property
    def keeps(self) -> bool:
        """Whether what was opened for a frame counts for those after it."""
        return self.session is not None and self.session.keeps

    def open(self) -> Session:
        """The session, started if there is none; raises SessionFailure."""
        if self.session:
            return self.session
        if self._work.sandbox is Sandbox.REQUIRE and sandbox.obstacle():
            raise SessionFailure(Reason.BAD_SETTING, f"--sandbox require: {sandbox.obstacle()}.")
        for _ in range(MOST_OPENINGS):
            before = self._shown()
            session = self._start()
            if self._shown() == before:
                return session
            self.drop()  # the kernel takes a mount away when its place is renamed over
        message = f"{Path(self._work.scene).name} is saved faster than it can be opened."
        raise SessionFailure(Reason.INPUT_CHANGED, message)

    def _start(self) -> Session:
        self._launcher = ProcessLauncher(self._work)
        self._watch = Watch(self._launcher, self._work.frame_seconds, self._work.memory_bytes)
        self.began = time.time()
        self._watch.begin("Opening the scene", OPENING_SECONDS)
        try:
            Path(self._work.scratch).mkdir(parents=True, exist_ok=True)
            self.session = renderer(self._work.renderer).open(self._work, self._launcher)
            self._watch.rest()
        except (SessionFailure, OSError) as failure:
            failed = self.explained(failure)
            self.drop()
            raise failed from failure
        return self.session

    def _shown(self) -> list[stamps.Stamp]:
        """The files that copies are mounted over."""
        return [stamps.stamp(path) for path in self._work.copies]

    def drop(self) -> None:
        """Close it."""
        if self._watch:
            self._watch.end()
        if self.session:
            self.session.close()
        self.kill()
        self.session = self._launcher = self._watch = None

    def kill(self) -> None:
        """Kill the renderer now; safe from another thread."""
        if launcher := self._launcher:
            launcher.kill()
            launcher.put_away()

    def clock(self, *, running: bool) -> None:
        """A frame begins, or none is being rendered."""
        if self._watch:
            self._watch.begin() if running else self._watch.rest()

    def seen(self, picture: str | None, known: Set[str]) -> Observed | None:
        """What was opened for the frame that came out as this picture; None where that can't be seen."""
        return self._trace.frame(picture, keeps=self.keeps, known=known) if self._trace else None

    def describe(self) -> Scene:
        """What the scene contains; raises SessionFailure. Looking for its files makes none of them needed."""
        session = self.open()
        with self._trace.apart() if self._trace else contextlib.nullcontext():
            return session.describe()

    @property
    def _trace(self) -> Trace | None:
        return self._launcher.trace if self._launcher else None

    def explained(self, failure: SessionFailure | OSError) -> SessionFailure:
        """The failure, corrected by what only the node knows."""
        if self._watch and self._watch.verdict:
            return SessionFailure(*self._watch.verdict)
        if isinstance(failure, OSError):
            if failure.errno in (errno.ENOSPC, errno.EDQUOT):
                return SessionFailure(Reason.DISK_FULL, f"The disk is full: {failure}.")
            return SessionFailure(Reason.UNKNOWN, f"{failure}.")
        if failure.reason in (Reason.CRASH, Reason.UNKNOWN, Reason.NO_PICTURE) and self.disk_full():
            return SessionFailure(Reason.DISK_FULL, f"The disk is full. {failure.message}")
        return failure

    def disk_full(self) -> bool:
        """Whether nothing can be written any more."""
        try:
            return shutil.disk_usage(self._work.scratch).free < FULL_BYTES
        except OSError:
            return False
